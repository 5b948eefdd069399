"""Which neurons are accepted, what is read off them, and how others are refused."""

from __future__ import annotations

import numpy as np
import pytest
import snntorch
import torch
from models import Net
from torch import nn

from l2mu_compile.errors import ModelError
from l2mu_compile.neurons import LIF, CuBaLIF
from l2mu_compile.trace import trace


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
    (
        lambda: snntorch.Leaky(1.5),
        r"spk_a.beta must be .* not 1.5; snnTorch .* store.* spk_a.beta.data.clamp_\(0, 1\)$",
    ),
    (lambda: snntorch.Leaky(0.9, graded_spikes_factor=0.0), "graded_spikes_factor must be .* not"),
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
