"""What tracing accepts, finds out, refuses by name, and leaves untouched."""

from __future__ import annotations

import copy
import logging
import warnings

import numpy as np
import pytest
import snntorch
import torch
from snntorch import SpikingNeuron, utils
from torch import nn

from l2mu_compile.errors import ModelError, UsageError
from l2mu_compile.l2mu import L2MU, L2MUConfig
from l2mu_compile.neurons import LIF, CuBaLIF
from l2mu_compile.trace import Trace, source_line, trace


class Net(nn.Module):
    """One layer of ``neuron``, another that classifies; ``run`` may replace the loop."""

    def __init__(self, neuron=None, run=None, hidden=6, **options):
        super().__init__()
        self.fc = nn.Linear(3, hidden)
        self.spk_a = neuron if neuron is not None else snntorch.Leaky(beta=0.9, **options)
        self.out = nn.Linear(hidden, 4)
        self.spk_out = snntorch.Leaky(beta=0.8)
        self.run = run

    def forward(self, x):
        if self.run:
            return self.run(self, x)
        state, out_state, record = (), (), []
        for sample in x:
            spk, *state = self.layer(sample, state)
            spk, *out_state = self.spk_out(self.out(spk), *out_state)
            record.append(spk)
        return torch.stack(record)

    def layer(self, sample, state):
        result = self.spk_a(self.fc(sample), *state)
        result = result if isinstance(result, tuple) else (result,)
        return result[:1] if self.spk_a.init_hidden else result


def updates(found: Trace) -> list[str]:
    return [node.args[-1] for node in found.graph.nodes if "l2mu." in str(node.target)]


# ---- what it finds ----


def test_one_node_per_neuron_update():
    found = trace(Net())
    assert updates(found) == ["spk_a", "spk_out"] * 3
    assert (found.steps, found.inputs, found.time_first, found.window) == (3, 3, True, None)
    assert found.inputs_found and not trace(Net(), 3).inputs_found
    assert found.neurons["spk_a"].shape == (6,)
    assert found.neurons["spk_a"].neuron == LIF(np.float32(0.9), np.float32(1.0), "subtract")


def test_prints_its_neurons_and_its_graph():
    found = trace(Net())
    assert str(found).splitlines() == [
        "trace of Net: 3 steps, input [time, batch, inputs]",
        "  3 inputs (smallest number that runs)",
        "  spk_a : lif[6] beta=0.9 threshold=1 reset=subtract",
        "  spk_out : lif[4] beta=0.8 threshold=1 reset=subtract",
    ]
    assert "l2mu.lif(linear, zeros, spk_a)" in found.table()
    assert "# test_trace.py:" in found.table()
    node = next(n for n in found.graph.nodes if "linear" in n.name)
    assert source_line(node).endswith("spk, *state = self.layer(sample, state)")


@pytest.mark.parametrize(
    "hidden", [{}, {"init_hidden": True}, {"init_hidden": True, "output": True}]
)
@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
def test_neuron_kinds_resets_and_hidden_states(reset, hidden):
    leaky = snntorch.Leaky(0.5, reset_mechanism=reset, **hidden)
    assert trace(Net(leaky), 3).neurons["spk_a"].neuron == LIF(0.5, 1.0, reset)
    synaptic = snntorch.Synaptic(0.5, 0.25, reset_mechanism=reset, **hidden)
    expected = CuBaLIF(0.5, 0.25, 1.0, "clamp" if reset == "zero" else reset)
    assert trace(Net(synaptic), 3).neurons["spk_a"].neuron == expected


def test_a_changed_reset_mechanism_is_read_where_snntorch_reads_it():
    module = Net(snntorch.Leaky(0.5, reset_mechanism="zero"))
    module.spk_a.reset_mechanism = "none"  # snnTorch 1.0 keeps the function it was built with
    assert trace(module, 3).neurons["spk_a"].neuron.reset == "zero"


def test_parameters_are_scalars_or_one_per_neuron():
    learned = {"learn_beta": True, "learn_threshold": True}
    layer = snntorch.Leaky(torch.tensor([0.5]), threshold=torch.rand(6) + 1, **learned)
    neuron = trace(Net(layer), 3).neurons["spk_a"].neuron
    assert neuron.beta.shape == () and neuron.beta == np.float32(0.5)
    np.testing.assert_array_equal(neuron.threshold, layer.threshold.detach().numpy())
    module = Net(snntorch.Leaky(torch.full((1, 6), 0.25)))
    assert trace(module, 3).neurons["spk_a"].neuron.beta.shape == (6,)


def batch_first(net, x):
    spikes = [net.spk_a(net.fc(x[:, t]))[0] for t in range(x.size(1))]
    return torch.stack([net.spk_out(net.out(spk))[0] for spk in spikes], dim=1)


def test_batch_first_is_found():
    found = trace(Net(run=batch_first))
    assert not found.time_first and found.inputs == 3 and found.steps == 3


def hard_coded(steps, axis=0):
    def run(net, x):
        a, b, record = net.spk_a.init_leaky(), net.spk_out.reset_mem(), []
        for t in range(steps):
            spk, a = net.spk_a(net.fc(x.select(axis, t)), a)
            spk, b = net.spk_out(net.out(spk), b)
            record.append(spk)
        return torch.stack(record), a

    return run


@pytest.mark.parametrize("steps, axis", [(40, 0), (40, 1), (3, 0), (8, 1), (17, 0)])
def test_hard_coded_windows_are_found(steps, axis):
    found = trace(Net(run=hard_coded(steps, axis)))
    assert (found.window, found.steps, found.time_first) == (steps, steps, axis == 0)
    assert updates(found).count("spk_a") == steps


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


# ---- what it leaves untouched ----


class Stateful(Net):
    """Keeps state on itself, in lists, in buffers, and uses hidden-state neurons."""

    def __init__(self):
        super().__init__(snntorch.Leaky(0.9, init_hidden=True))
        self.drop = nn.Dropout(0.5)
        self.register_buffer("seen", torch.zeros(()))
        self.log, self.h = [], None

    def forward(self, x):
        utils.reset(self)
        self.seen.add_(1)
        self.h = torch.empty(0)
        mem = None
        for sample in x:
            self.h = self.spk_a(self.drop(self.fc(sample)) + (self.h if self.h.numel() else 0))
            spk, mem = self.spk_out(self.out(self.h), mem)
            self.log.append(spk)
        return torch.stack(self.log[-len(x) :])


def test_the_module_comes_back_as_it_was():
    module = Stateful().train()
    module.drop.eval()
    module(torch.rand(4, 2, 3))
    other = snntorch.Leaky(0.5, init_hidden=True)
    other(torch.ones(2, 3))
    other_mem = other.mem
    before = [(m, dict(m.__dict__), dict(m._buffers)) for m in module.modules()]
    values = copy.deepcopy(module.state_dict())
    mem, log, instances = module.spk_a.mem.clone(), list(module.log), SpikingNeuron.instances
    torch.manual_seed(1)
    random = torch.get_rng_state()
    threads = torch.get_num_threads()
    trace(module)
    for m, attributes, buffers in before:
        assert m.__dict__.keys() == attributes.keys()
        assert all(m.__dict__[name] is value for name, value in attributes.items())
        assert all(m._buffers[name] is value for name, value in buffers.items())
    assert all(torch.equal(values[name], value) for name, value in module.state_dict().items())
    assert module.training and not module.drop.training
    assert torch.equal(module.spk_a.mem, mem)
    assert all(a is b for a, b in zip(module.log, log, strict=True))
    assert SpikingNeuron.instances is instances and other.mem is other_mem
    assert torch.equal(torch.get_rng_state(), random) and torch.get_num_threads() == threads
    assert module(torch.rand(4, 2, 3)).requires_grad


def test_the_module_comes_back_after_a_refusal():
    module = Net(run=lambda net, x: 1 / 0)
    with pytest.raises(ModelError, match="division by zero"):
        trace(module)
    assert "forward" not in module.spk_a.__dict__ and module.training


def test_quiet(caplog, capfd):
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        trace(Stateful())
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_dropout_is_traced_as_inference():
    assert not any("bernoulli" in str(n.target) for n in trace(Stateful()).graph.nodes)


def test_state_left_over_from_a_run_does_not_matter():
    module = Stateful()
    module(torch.rand(5, 61, 3))
    module(torch.rand(5, 2, 3))
    assert updates(trace(module)) == ["spk_a", "spk_out"] * 3


def test_shapes_decide_branches_but_values_may_not():
    def run(net, x):
        return Net().forward(x) if x.sum() > 0 else hard_coded(3)(net, x)

    with pytest.raises(ModelError, match=r"Net.forward cannot be traced: .*values"):
        trace(Net(run=run), 3)


# ---- what it refuses ----


class OwnNeuron(snntorch.Leaky):
    def forward(self, input_, mem=None):
        return super().forward(input_ * 2, mem)


def noisy(shifted):
    return torch.sigmoid(shifted)


REFUSED = [
    (lambda: snntorch.Leaky(0.9, inhibition=True), "spk_a uses inhibition=True"),
    (lambda: snntorch.Leaky(0.9, state_quant=lambda v: v), "spk_a uses state_quant"),
    (lambda: snntorch.Leaky(0.9, reset_delay=False), "spk_a uses reset_delay=False"),
    (lambda: snntorch.RLeaky(0.9, all_to_all=False), "spk_a is a RLeaky, which is not supported"),
    (lambda: snntorch.RSynaptic(0.9, 0.8, linear_features=6), "spk_a is a RSynaptic"),
    (lambda: snntorch.Alpha(0.9, 0.8), "spk_a is a Alpha"),
    (lambda: snntorch.Lapicque(0.9), "spk_a is a Lapicque"),
    (lambda: snntorch.LeakyParallel(3, 6), "spk_a is a LeakyParallel"),
    (lambda: OwnNeuron(0.9), "spk_a is a OwnNeuron"),
    (lambda: snntorch.Leaky(0.9, spike_grad=noisy), "spk_a has a spike_grad"),
    (lambda: snntorch.Leaky(1.5), "spk_a.beta must be between 0 and 1, not 1.5"),
    (lambda: snntorch.Leaky(-0.5), "spk_a.beta must be between 0 and 1, not -0.5"),
    (lambda: snntorch.Synaptic(2.0, 0.5), "spk_a.alpha must be between 0 and 1, not 2"),
    (lambda: snntorch.Leaky(0.9, threshold=0.0), "spk_a.threshold must be positive, not 0"),
    (lambda: snntorch.Leaky(float("nan")), "spk_a.beta holds values that are not finite"),
    (lambda: snntorch.Leaky(0.9, threshold=float("inf")), "spk_a.threshold holds values"),
    (lambda: snntorch.Leaky(torch.rand(5)), r"spk_a.beta has shape \[5\].*\[6\] neurons"),
]


@pytest.mark.parametrize("make, message", REFUSED)
@pytest.mark.filterwarnings("ignore:Inhibition")
def test_refuses_neurons_by_name(make, message):
    with pytest.raises(ModelError, match=message) as caught:
        trace(Net(make()), 3)
    assert "\n" not in str(caught.value)


def test_refuses_modules_without_neurons():
    with pytest.raises(ModelError, match="Linear has no snnTorch neurons"):
        trace(nn.Linear(3, 4))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_refuses_weights_that_are_not_finite(value):
    module = Net()
    module.fc.weight.data[1, 2] = value
    with pytest.raises(ModelError, match=r"fc\.weight holds values that are not finite"):
        trace(module)


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
