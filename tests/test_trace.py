"""What a trace says, and that the traced module comes back as it was."""

from __future__ import annotations

import copy
import logging
import warnings

import numpy as np
import pytest
import snntorch
import torch
from models import Net
from snntorch import SpikingNeuron, utils
from torch import nn

from l2mu_compile.errors import ModelError, UsageError
from l2mu_compile.neurons import LIF
from l2mu_compile.trace import Trace, source_line, trace


def updates(found: Trace) -> list[str]:
    return [node.args[-1] for node in found.graph.nodes if "l2mu." in str(node.target)]


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
    assert "# models.py:" in found.table()
    node = next(n for n in found.graph.nodes if "linear" in n.name)
    assert source_line(node).endswith("result = self.spk_a(self.fc(sample), *state)")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_refuses_weights_that_are_not_finite(value):
    module = Net()
    module.fc.weight.data[1, 2] = value
    with pytest.raises(ModelError, match=r"fc\.weight holds values that are not finite"):
        trace(module)


UNREADABLE = {
    "lazy": (lambda net: setattr(net, "fc", nn.LazyLinear(6)), "fc.weight of Net is not init.*run"),
    "meta": (
        lambda net: net.to("meta"),
        "fc.weight of Net is on the meta device.*load the",
    ),
    "complex": (
        lambda net: net.fc.register_parameter("bias", nn.Parameter(torch.zeros(6) * 1j)),
        "fc.bias of Net is complex64",
    ),
    "sparse": (
        lambda net: net.register_buffer("mask", torch.eye(3).to_sparse()),
        r"mask of Net is not a dense tensor; store it with .to_dense\(\)",
    ),
}


@pytest.mark.parametrize("change, message", UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_refuses_tensors_without_plain_numbers(change, message):
    module = Net()
    change(module)
    with pytest.raises(ModelError, match=message):
        trace(module, 3)


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_a_lazy_module_that_has_run_is_like_any_other():
    module = Net()
    module.fc = nn.LazyLinear(6)
    module(torch.rand(2, 2, 3))
    assert trace(module).inputs == 3


def test_the_type_of_numbers_is_that_of_the_currents():
    assert trace(Net()).dtypes() == {"spk_a": "float32", "spk_out": "float32"}
    assert set(trace(Net().double()).dtypes().values()) == {"float64"}


def test_samples_are_float32_if_any_parameter_is():
    class Scaled(Net):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3, dtype=torch.float64))

        def forward(self, x):
            return super().forward(x * self.scale.to(x.dtype))

    module = Scaled()
    assert next(module.parameters()).dtype == torch.float64
    assert set(trace(module, 3).dtypes().values()) == {"float32"}


def test_failures_name_the_line():
    with pytest.raises(
        ModelError, match=r"fails on .*division by zero \(test_trace.py:\d+: .*1 / 0"
    ):
        trace(Net(run=lambda net, x: 1 / 0))


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


def test_the_number_of_inputs_is_positive():
    with pytest.raises(UsageError, match="inputs must be at least 1, not 0"):
        trace(Net(), 0)


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
