"""fold-threshold: neurons measured in units of their own threshold."""

from __future__ import annotations

import numpy as np
import pytest
from network_texts import applied, assert_becomes, read
from networks import cuba, f32, feed_forward, integer_toy, l2mu, li, lif, samples

from l2mu_compile.interpreter import run
from l2mu_compile.network import READOUT_RULES, Network
from l2mu_compile.neurons import LIF, CuBaLIF
from l2mu_compile.passes.fold_threshold import FoldThreshold


def test_weights_and_bias_are_divided_by_each_neurons_threshold() -> None:
    assert_becomes(
        FoldThreshold(),
        """
        network n stage=folded window=none
          input      x : f32[2]
          population h : lif[2] beta=0.5 threshold=@h.threshold reset=subtract bias=@h.bias
          population out : lif[1] beta=0.5 threshold=0.5 reset=zero
          projection x -> h : dense[2,2] @h.x
          projection h -> out : dense[1,2] @out.h
          readout    out : spike_count
        h.threshold = [2.0, 4.0]
        h.bias = [1.0, 1.0]
        h.x = [[1.0, 2.0], [3.0, -4.0]]
        out.h = [[1.0, 3.0]]
        """,
        """
        network n stage=folded window=none
          input      x : f32[2]
          population h : lif[2] beta=0.5 threshold=1.0 reset=subtract bias=@h.bias
          population out : lif[1] beta=0.5 threshold=1.0 reset=zero
          projection x -> h : dense[2,2] @h.x
          projection h -> out : dense[1,2] @out.h
          readout    out : spike_count
        h.bias = [0.5, 0.25]
        h.x = [[0.5, 1.0], [0.75, -1.0]]
        out.h = [[2.0, 6.0]]
        """,
    )


SHARED = """
    network n stage=folded window=none
      input      x : f32[2]
      population h : lif[2,2] beta=0.5 threshold=@h.threshold reset=subtract
      projection x -> h : blocks[2,1]x2 @h.x
      readout    h : spike_count
    h.threshold = {}
    h.x = [[1.0], [2.0]]
"""


def test_neurons_that_share_a_block_row_and_a_threshold_are_folded() -> None:
    after = applied(FoldThreshold(), read(SHARED.format("[2.0, 4.0, 2.0, 4.0]")))
    assert after.projections[0].shared
    assert after.projections[0].weight.tolist() == [[0.5], [0.5]]


def test_neurons_that_share_a_block_row_but_no_threshold_are_left_alone() -> None:
    network = read(SHARED.format("[2.0, 4.0, 2.0, 8.0]"))
    assert applied(FoldThreshold(), network) is network


@pytest.mark.parametrize("rule", [rule for rule in READOUT_RULES if rule != "spike_count"])
def test_membranes_that_are_compared_keep_their_units(rule: str) -> None:
    network = feed_forward(lif(0.5, 2), rule)
    after = applied(FoldThreshold(), network)
    assert after.population("h").neuron.threshold == 1
    assert after.population("out") == network.population("out")
    assert after.projections[1] == network.projections[1]


@pytest.mark.parametrize(
    "network",
    [feed_forward(), feed_forward(li(), "last_membrane").replace(projections=()), integer_toy()],
    ids=["thresholds of one", "no thresholds", "integers"],
)
def test_nothing_to_fold(network: Network) -> None:
    assert applied(FoldThreshold(), network) is network


@pytest.mark.parametrize("kind", [LIF, CuBaLIF])
@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
def test_power_of_two_thresholds_fold_exactly(kind: type, reset: str) -> None:
    neuron = lif(0.9, 0.5, reset) if kind is LIF else cuba(0.7, 0.9, 0.25, reset)
    network = l2mu(lambda n: neuron, sensors=None)
    after = applied(FoldThreshold(), network)
    x = samples(network, steps=20)
    before_run, after_run = (run(n, x, ("spikes", "membranes")) for n in (network, after))
    for p in network.populations:
        assert np.array_equal(before_run.spikes[p.name], after_run.spikes[p.name])
        scaled = before_run.membranes[p.name] / p.neuron.threshold
        assert scaled.tobytes() == after_run.membranes[p.name].tobytes()
    assert before_run.spike_totals["h"] > 0


def test_other_thresholds_fold_up_to_rounding() -> None:
    network = feed_forward(lif(0.5, 0.3))
    after = applied(FoldThreshold(), network)
    x = f32(np.abs(samples(network, steps=4)))
    before_run, after_run = (run(n, x, ("membranes",)) for n in (network, after))
    scaled = before_run.membranes["h"] / f32(0.3)
    assert np.allclose(scaled, after_run.membranes["h"], rtol=1e-5)
