"""Layout, number of inputs and hard-coded windows are found; uneven updates are refused."""

from __future__ import annotations

import pytest
import torch
from models import Net, hard_coded

from l2mu_compile.errors import ModelError, UsageError
from l2mu_compile.l2mu import L2MU, L2MUConfig
from l2mu_compile.trace import trace


def batch_first(net, x):
    spikes = [net.spk_a(net.fc(x[:, t]))[0] for t in range(x.size(1))]
    return torch.stack([net.spk_out(net.out(spk))[0] for spk in spikes], dim=1)


def test_batch_first_is_found():
    found = trace(Net(run=batch_first))
    assert not found.time_first and found.inputs == 3 and found.steps == 3


@pytest.mark.parametrize("steps, axis", [(40, 0), (40, 1), (3, 0), (8, 1), (17, 0)])
def test_hard_coded_windows_are_found(steps, axis):
    found = trace(Net(run=hard_coded(steps, axis)))
    assert (found.window, found.steps, found.time_first) == (steps, steps, axis == 0)
    assert sum("l2mu.lif" in str(node.target) for node in found.graph.nodes) == 2 * steps


def test_a_module_that_accepts_one_length_only_needs_the_window():
    def run(net, x):
        assert x.shape[0] == 7, "seven steps please"
        return hard_coded(7)(net, x)

    with pytest.raises(ModelError, match=r"Net.forward fails on .*seven steps please.*window="):
        trace(Net(run=run), 3)
    assert trace(Net(run=run), 3, window=7).window == 7


def test_window_of_free_code_is_kept_for_the_network():
    found = trace(Net(), window=50)
    assert (found.window, found.steps) == (50, 3)
    with pytest.raises(ModelError, match="runs 8 steps whatever its window; window=50"):
        trace(Net(run=hard_coded(8)), window=50)
    with pytest.raises(UsageError, match="at least 2"):
        trace(Net(), window=1)


@pytest.mark.parametrize("encoder", ["plain", "single", "stacked"])
def test_number_of_inputs_is_found(encoder):
    config = L2MUConfig(
        **{"inputs": 5, "classes": 3, "hidden_size": 8, "memory_size": 4, "order": 2, "theta": 9},
        **{"encoder": encoder, "pop_size": 3, "encoding_size": 7, "output_transformer_size": 6},
    )
    assert trace(L2MU(config)).inputs == 5


def twice(net, x):
    state, record = None, []
    for sample in x:
        for _ in range(2):
            spk, state = net.spk_a(net.fc(sample), state)
        record.append(net.spk_out(net.out(spk), None)[0])
    return torch.stack(record)


def at_once(net, x):
    return net.spk_a(net.fc(x))[0]


def never(net, x):
    return net.fc(x)


def flat(net, x):
    return torch.stack([net.spk_a(net.fc(sample).flatten(), None)[0] for sample in x])


@pytest.mark.parametrize(
    "run, message",
    [
        (twice, "spk_a is updated 6 times in a window of 3 steps"),
        (at_once, "spk_a receives a current of shape|spk_a is updated 1 times"),
        (never, "never calls its snnTorch neurons"),
        (flat, r"spk_a receives a current of shape \[12\] for a batch of 2"),
    ],
)
def test_refuses_updates_that_are_not_one_per_step(run, message):
    with pytest.raises(ModelError, match=message):
        trace(Net(run=run), 3)
