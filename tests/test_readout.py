"""Which outputs a module may return, and the rule that is read off them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models import Feedforward, Recurrent, Twist, exact, float64, simulate

from l2mu_compile.errors import ModelError, UsageError
from l2mu_compile.lift import lift, lift_with_places
from l2mu_compile.readout import Shown, outputs, shows
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


KINKED = {
    "above zero": (lambda s, m: (s > 0).to(s.dtype), r"aten\.gt \(test_readout.py.* bool values"),
    "branch": (lambda s, m: torch.where(s.sum() == 2, s + 1, s), r"aten\.eq .* bool values"),
    "integers": (lambda s, m: s.sum(0).long(), r"aten\.to.* gives int64 values"),
    "classes": (lambda s, m: s.sum(0).argmax(1), r"aten\.argmax .* gives int64 values"),
    "clamped": (lambda s, m: s.sum(0).clamp(max=1e35), r"aten\.clamp "),
    "finite": (lambda s, m: s.nan_to_num(), r"aten\.nan_to_num "),
    "half": (lambda s, m: s.half(), r"aten\.to.* gives float16 values"),
    "membranes": (lambda s, m: m.clamp(-1e35, 1e35), r"aten\.clamp "),
}


@pytest.mark.parametrize("name", KINKED)
def test_outputs_that_are_not_affine_are_refused_by_operation(name):
    result, message = KINKED[name]
    with pytest.raises(ModelError, match=message) as caught:
        lift(trace(Twist(result=result), 5), readout="mean_membrane")
    assert "Twist returns" in str(caught.value)


WHERE = {
    "tensor": (lambda s, m: s, ("spikes", "every", (False, 0))),
    "list": (lambda s, m: list(s), ("spikes", "every", (True, 0))),
    "pair": (lambda s, m: (m, s), ("spikes", "every", (False, 1))),
    "dictionary": (lambda s, m: {"m": m, "s": list(s)}, ("spikes", "every", (True, 0))),
    "with classes": (lambda s, m: (s.sum(0).argmax(1), s.sum(0)), ("spikes", "sum", (False, 1))),
    "three": (lambda s, m: (m[-1], s.sum(0), m.mean(0)), ("spikes", "sum", (False, 1))),
    "batch first": (lambda s, m: s.transpose(0, 1) * 0.5, ("spikes", "every", (False, 0))),
    "last": (lambda s, m: m[-1], ("membrane", "last", (False, 0))),
    "mean": (lambda s, m: [m.mean(0)], ("membrane", "sum", (False, 0))),
}


@pytest.mark.parametrize("name", WHERE)
def test_what_is_shown_and_where(name):
    result, (kind, steps, place) = WHERE[name]
    found = lift_with_places(trace(Twist(result=result), 5)).shown
    assert found == Shown("lif2", kind, steps, place)


def test_outputs_in_a_tree():
    step, whole = torch.zeros(7, 4), torch.zeros(3, 7, 4)
    tree = {"a": [step, step, step], "b": (whole, None, 5)}
    found = {place: len(tensors) for place, tensors in outputs(tree, 3).items()}
    assert found == {(True, 0): 3, **{(False, k): 1 for k in range(4)}}
    assert [place for place in outputs([step, whole, step], 3) if place[0]] == []


def test_outputs_are_compared_up_to_a_positive_factor():
    rows = torch.randn(6, 5, 4)
    assert shows([rows * 3], rows, "every")
    assert shows([rows.transpose(0, 1)], rows, "every")
    assert shows(list(rows), rows, "every")
    assert shows([rows.mean(0)], rows, "sum") and not shows([rows[:5].sum(0)], rows, "sum")
    assert shows([rows[-1]], rows, "last") and not shows([rows[-2]], rows, "last")
    assert shows([rows[:1, :, :].flatten(0, 1)], rows[:1], "every")
    assert not shows([-rows], rows, "every") and not shows([rows + 1e-4], rows, "every")
    silent = torch.zeros(6, 5, 4)
    assert shows([silent], silent, "every") and not shows([silent + 1e-4], silent, "every")
