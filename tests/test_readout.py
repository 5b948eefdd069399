"""Which outputs a module may return, and the rule that is read off them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models import Feedforward, Recurrent, exact, float64, simulate

from l2mu_compile.errors import ModelError, UsageError
from l2mu_compile.lift import lift
from l2mu_compile.trace import trace


@pytest.fixture(autouse=True)
def double_precision():
    with float64():
        yield


def test_spike_sum_and_mean_over_time_are_a_count():
    module = exact(Recurrent(total="mean"), 2)
    network = lift(trace(module, 3))
    assert network.readout.rule == "spike_count"
    samples = torch.randn(20, 4, 3)
    found = simulate(network, samples.numpy())["out"].mean(0)
    np.testing.assert_allclose(found, module(samples).detach().numpy())


class Membranes(Feedforward):
    def __init__(self, what="all"):
        super().__init__()
        self.what = what

    def forward(self, x):
        spikes, membranes = super().forward(x)
        return {
            "all": membranes,
            "last": membranes[-1],
            "mean": membranes.mean(0),
            "flipped": spikes.flip(-1),
            "softmax": spikes.sum(0).softmax(-1),
            "some": spikes[..., :2],
            "last_spikes": spikes[-1],
            "flat": spikes.reshape(-1, 4),
        }[self.what]


def test_a_membrane_needs_a_rule():
    traced = trace(Membranes(), 5)
    with pytest.raises(ModelError, match=r"returns the membrane of lif2.*readout=.*max_membrane"):
        lift(traced)
    assert lift(traced, readout="max_membrane").readout.rule == "max_membrane"
    with pytest.raises(UsageError, match="readout must be one of"):
        lift(traced, readout="argmax")


@pytest.mark.parametrize("what, rule", [("last", "last_membrane"), ("mean", "mean_membrane")])
def test_one_membrane_per_window_says_its_rule(what, rule):
    assert lift(trace(Membranes(what), 5)).readout.rule == rule


@pytest.mark.parametrize("what", ["flipped", "softmax", "some", "last_spikes", "flat"])
def test_other_outputs_are_refused(what):
    with pytest.raises(ModelError, match=r"Membranes returns .*spikes of one neuron layer"):
        lift(trace(Membranes(what), 5))


def test_spikes_may_be_read_by_membrane():
    assert lift(trace(Feedforward(), 5), readout="mean_membrane").readout.rule == "mean_membrane"
