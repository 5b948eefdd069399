"""The module runs as it is, every update is written down, and nothing of it stays behind."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import snntorch
import torch
from models import Feedforward, Net, Twist
from snntorch import SpikingNeuron, utils
from torch import nn

from l2mu_compile.errors import ModelError
from l2mu_compile.frontend import from_module
from l2mu_compile.original import BATCH, ForwardError


def windows(count=4, steps=30, inputs=5, seed=2):
    """Float32 noise around a level of its own in each window."""
    draw = np.random.default_rng(seed).normal
    return (draw(size=(count, steps, inputs)) + 2 * draw(size=(count, 1, inputs))).astype("f4")


def original(module, inputs=5, **options):
    torch.manual_seed(1)
    return from_module(module, inputs, **options).original


def test_spikes_and_membranes_are_the_modules_own():
    found = original(Feedforward(neuron=lambda: snntorch.Leaky(0.8)))
    recording = found.run(windows())[0]
    with torch.no_grad():
        spikes, membranes = found.module(torch.from_numpy(windows()).transpose(0, 1))
    assert spikes.any() and not spikes.all()
    np.testing.assert_array_equal(recording.spikes["lif2"], spikes.transpose(0, 1) > 0)
    np.testing.assert_array_equal(recording.membranes["lif2"], membranes.transpose(0, 1))
    torch.testing.assert_close(recording.output[0], spikes)
    assert recording.spikes["lif1"].shape == (4, 30, 12)
    assert set(recording.spikes) == set(recording.membranes) == {"lif1", "lif2"}


@pytest.mark.parametrize(
    "hidden", [{}, {"init_hidden": True}, {"init_hidden": True, "output": True}]
)
@pytest.mark.parametrize("kind", [snntorch.Leaky, snntorch.Synaptic])
def test_neurons_are_watched_however_they_are_called(kind, hidden):
    decays = (0.9,) if kind is snntorch.Leaky else (0.5, 0.9)

    def run(net, x):
        state, out, record = (), (), []
        for sample in x:
            result = net.spk_a.forward(net.fc(sample), *state)
            result = result if isinstance(result, tuple) else (result,)
            state = () if net.spk_a.init_hidden else result[1:]
            spk, *out = net.spk_out(net.out(result[0]), *out)
            record.append(spk)
        return torch.stack(record)

    found = original(Net(kind(*decays, **hidden), run=run), 3)
    recording = found.run(windows(inputs=3))[0]
    assert recording.spikes["spk_a"].any() and recording.membranes["spk_a"].any()


@pytest.mark.parametrize(
    ("rule", "score"),
    [
        ("spike_count", lambda s, m: s.sum(0)),
        ("last_membrane", lambda s, m: m[-1]),
        ("max_membrane", lambda s, m: m.max(0).values),
        ("mean_membrane", lambda s, m: m.mean(0)),
    ],
)
def test_decisions_follow_the_rule(rule, score):
    module = Feedforward(neuron=lambda: snntorch.Leaky(0.8))
    found = original(module, readout=rule)
    x = windows(BATCH + 3)
    with torch.no_grad():
        scores = score(*module(torch.from_numpy(x).transpose(0, 1)))
    decisions = found.decide(x)
    np.testing.assert_array_equal(decisions, scores.numpy().argmax(1))
    assert decisions.dtype == np.int64 and len(set(decisions.tolist())) > 1


class Busy(nn.Module):
    """Keeps all it can on itself, resets all neurons it can reach, and prints."""

    def __init__(self):
        super().__init__()
        self.fc, self.lif = nn.Linear(5, 4), snntorch.Leaky(0.9, init_hidden=True)
        self.drop = nn.Dropout(0.9)
        self.register_buffer("calls", torch.zeros(()))
        self.log = []

    def forward(self, x):
        print("busy")
        utils.reset(self)
        self.calls += 1
        self.log.append([self.lif(self.drop(self.fc(sample))) for sample in x])
        return torch.stack(self.log[-1])


def test_the_module_comes_back_as_it_was(capsys):
    found = original(Busy().train())
    other = snntorch.Leaky(0.5, init_hidden=True)
    other(torch.ones(2, 3))
    module, state, memory = found.module, copy.deepcopy(found.module.state_dict()), other.mem
    instances = SpikingNeuron.instances
    decisions = found.decide(windows())
    np.testing.assert_array_equal(decisions, found.decide(windows()))
    assert capsys.readouterr() == ("", "")
    assert module.training and module.drop.training and module.log == []
    assert all(torch.equal(state[name], value) for name, value in module.state_dict().items())
    assert "forward" not in module.lif.__dict__ and module.lif.mem.numel() == 0
    assert other.mem is memory and SpikingNeuron.instances is instances
    assert module(torch.rand(4, 2, 5)).requires_grad


def test_only_the_first_of_several_runs_starts_anew():
    class Keeps(Busy):
        def forward(self, x):
            return torch.stack([self.lif(self.fc(sample)) for sample in x])

    found = original(Keeps())
    x = windows()
    first, second = found.run(x, x)
    assert not np.array_equal(first.membranes["lif"], second.membranes["lif"])
    again = found.run(x)[0]
    np.testing.assert_array_equal(first.membranes["lif"], again.membranes["lif"])
    np.testing.assert_array_equal(
        second.membranes["lif"][:, 0] * 0, first.membranes["lif"][:, 0] * 0
    )


def test_failures_of_forward_name_the_line_and_leave_nothing_behind():
    def current(net, s, x, t, past):
        assert len(x) != 30, "not thirty"
        return net.fc2(s)

    found = original(Twist(current))
    message = (
        r"Twist.forward fails on windows of 30 steps: not thirty \(test_original.py:\d+: assert"
    )
    with pytest.raises(ForwardError, match=message):
        found.run(windows())
    assert "forward" not in found.module.lif1.__dict__ and found.module.training


def test_every_neuron_is_updated_once_per_step():
    found = original(Twist(lambda n, s, x, t, past: n.fc2(s)))
    found.module.forward = lambda x: Twist.forward(found.module, x[:-1])
    with pytest.raises(ModelError, match="lif1 is updated 29 times in a window of 30 steps"):
        found.run(windows())
