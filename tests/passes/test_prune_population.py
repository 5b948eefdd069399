"""prune-population: what leaves, what stays in its place, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from drawn_networks import float_networks, integer_networks, windows_for
from hypothesis import given, settings
from hypothesis import strategies as st
from network_texts import read, show
from networks import f32, integer_toy, l2mu, samples, undecided

from l2mu_compile.errors import ModelError, UsageError
from l2mu_compile.interpreter import run
from l2mu_compile.network import Network
from l2mu_compile.passbase import Context
from l2mu_compile.passes.prune_population import PrunePopulation
from l2mu_compile.surgery import units
from l2mu_compile.verify import verify

CRITERIA = ("readout", "rate", "magnitude", "redundancy")

# On samples of 1, a spikes in every step, b never, c in every other one, d in every third.
FOUR = """
    network n stage=traced window=none
      input      x : f32[1]
      population h : lif[4] beta=0.0 threshold=1.0 reset=subtract
      population r : lif[4] beta=1.0 threshold=@r.threshold reset=zero
      population out : lif[1] beta=0.5 threshold=1.0 reset=subtract
      projection x -> h : dense[4,1] @h.x
      projection x -> r : dense[4,1] @r.x
      projection h -> out : dense[1,4] @out.h
      projection r -> out : dense[1,4] @out.r
      readout    out : spike_count
    r.threshold = [0.5, 5.0, 1.5, 2.5]
    h.x = [[3.0], [4.0], [5.0], [6.0]]
    r.x = [[1.0], [0.0], [1.0], [1.0]]
    out.h = [[0.5, 0.5, 0.5, 0.5]]
    out.r = [[0.25, 0.5, 1.0, 2.0]]
"""


def pruned(network: Network, x: np.ndarray, **options: object) -> Network:
    before = show(network)
    after = PrunePopulation(**options).apply(network, Context(samples=x))  # type: ignore[arg-type]
    assert show(network) == before, "a pass changed its argument"
    verify(after)
    return after


def ones(steps: int = 12) -> np.ndarray:
    return f32(np.ones((1, steps, 1)))


def test_constant_neurons_leave_as_bias_whatever_the_sparsity() -> None:
    after = pruned(read(FOUR), ones(), sparsity=0.0, population="r")
    assert show(after) == show(
        read("""
        network n stage=traced window=none
          input      x : f32[1]
          population h : lif[4] beta=0.0 threshold=1.0 reset=subtract
          population r : lif[2] beta=1.0 threshold=@r.threshold reset=zero
          population out : lif[1] beta=0.5 threshold=1.0 reset=subtract bias=@out.bias
          projection x -> h : dense[4,1] @h.x
          projection x -> r : dense[2,1] @r.x
          projection h -> out : dense[1,4] @out.h
          projection r -> out : dense[1,2] @out.r
          readout    out : spike_count
        r.threshold = [1.5, 2.5]
        out.bias = [0.25]
        h.x = [[3.0], [4.0], [5.0], [6.0]]
        r.x = [[1.0], [1.0]]
        out.h = [[0.5, 0.5, 0.5, 0.5]]
        out.r = [[1.0, 2.0]]
        """)
    )
    for kept, name in ((slice(None), "h"), (slice(2, 4), "r"), (slice(None), "out")):
        was, now = (run(n, ones(), ("spikes",)).spikes[name] for n in (read(FOUR), after))
        np.testing.assert_array_equal(was[..., kept], now)


def test_what_matters_least_leaves_and_its_mean_stays() -> None:
    """Of c and d, d spikes less: its mean of 1/3 times its weight of 2 is the bias it leaves."""
    after = pruned(read(FOUR), ones(), sparsity=0.75, population="r", criterion="rate")
    assert after.population("r").neuron.threshold.tolist() == [1.5]
    assert after.population("out").bias == pytest.approx([0.25 + 2 / 3])


def test_each_criterion_has_its_own_choice() -> None:
    """c hands on 1/2, d 2/3; c spikes more; c has a weight in of 2/3 and out of 1, d 2/5 and 2."""
    chosen = {}
    for criterion in ("rate", "readout", "magnitude"):
        after = pruned(read(FOUR), ones(), sparsity=0.75, population="r", criterion=criterion)
        chosen[criterion] = after.population("r").neuron.threshold.tolist()
    assert chosen == {"rate": [1.5], "readout": [2.5], "magnitude": [2.5]}


def test_twins_hand_over_their_synapses() -> None:
    text = FOUR.replace("r.threshold = [0.5, 5.0, 1.5, 2.5]", "r.threshold = [1.5, 1.5, 2.5, 3.5]")
    network = read(text.replace("r.x = [[1.0], [0.0]", "r.x = [[1.0], [1.0]"))
    after = pruned(network, ones(), sparsity=0.25, population="r", criterion="redundancy")
    assert after.population("r").neuron.threshold.tolist() == [1.5, 2.5, 3.5]
    (weights,) = (p.weight for p in after.projections if p.name == "out.r")
    assert weights.tolist() == [[0.75, 1.0, 2.0]]
    assert after.population("out").bias is None
    was, now = (run(n, ones(), ("spikes",)).spikes["out"] for n in (network, after))
    np.testing.assert_array_equal(was, now)


def test_weights_that_are_handed_over_are_multiples_no_more() -> None:
    network = integer_toy()
    twins = replace(network.projections[0], weight=np.int8([[4, -4], [4, -4]]), shift=np.int32(2))
    packed = [replace(p, quantum=np.int32([30, 5])) for p in network.projections[1:]]
    packed[0] = replace(packed[0], weight=np.int8([[30, -30], [-5, 30]]))
    network = network.replace(projections=(twins, packed[0])).map_populations(
        lambda p: replace(p, bias=None)
    )
    x = ones(24) * f32([1.2, 0])  # of 19, where a threshold is 20
    after = pruned(network, x, sparsity=0.5, population="h", criterion="redundancy")
    (left,) = (p for p in after.projections if p.name == "out.h")
    assert left.weight.tolist() == [[0], [25]]
    assert left.quantum is None


def test_a_memory_cell_leaves_with_its_input_neuron() -> None:
    network = l2mu()
    label = units(network)
    assert len(np.unique(label["u"])) == 3
    np.testing.assert_array_equal(label["m"], np.repeat(label["u"], 4))
    assert not np.isin(label["h"], label["u"]).any()
    after = pruned(network, samples(network), sparsity=0.34, population="m", criterion="magnitude")
    sizes = {p.name: p.shape for p in after.populations}
    assert sizes == {"enc": (6,), "u": (2,), "m": (2, 4), "h": (5,), "out": (3,)}
    assert {p.name: p.blocks for p in after.projections if p.blocks} == {
        "enc.x": 2,
        "m.u": 2,
        "m.m.last": 2,
    }


def test_each_block_of_samples_loses_as_many_neurons() -> None:
    network = l2mu()
    after = pruned(network, samples(network), sparsity=0.34, population="enc", criterion="rate")
    (weights,) = (p.weight for p in after.projections if p.name == "enc.x")
    assert weights.shape == (2, 2, 1)
    assert after.population("enc").shape == (4,)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_network_keeps_its_rules(data: st.DataObject) -> None:
    """What is left is a valid network that runs, with a readout as it was."""
    network = undecided(data.draw(st.one_of(float_networks(), integer_networks())))
    x = data.draw(windows_for(network))
    criterion = data.draw(st.sampled_from(CRITERIA))
    sparsity = data.draw(st.sampled_from((0.0, 0.3, 0.6)))
    try:
        after = pruned(network, x, sparsity=sparsity, criterion=criterion)
    except ModelError as error:
        assert "at least one must stay" in str(error) or "not alike" in str(error)
        return
    assert after.classes == network.classes
    run(after, x)


def test_a_sparsity_that_empties_a_population_is_refused() -> None:
    with pytest.raises(ModelError, match=r"4 of 4 units of r would leave \(4 never change"):
        pruned(read(FOUR), f32(np.zeros((1, 3, 1))), sparsity=0.0, population="r")
    with pytest.raises(ModelError, match=r"4 of 4 units of h would leave"):
        pruned(read(FOUR), ones(), sparsity=0.9, criterion="magnitude")


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, float("nan")])
def test_a_sparsity_that_makes_no_sense(sparsity: float) -> None:
    with pytest.raises(UsageError, match="sparsity must be from 0 to below 1"):
        PrunePopulation(sparsity=sparsity)


def test_a_network_that_decides_early_is_refused() -> None:
    early = read(FOUR.replace("out : spike_count", "out : spike_count margins=[2]"))
    with pytest.raises(ModelError, match="run prune-population before early-exit"):
        PrunePopulation().apply(early, Context(samples=ones()))


def test_windows_are_needed() -> None:
    with pytest.raises(UsageError, match="needs windows: give --calibrate"):
        PrunePopulation().apply(read(FOUR), Context())


@pytest.mark.parametrize("name", ["out", "x", "nobody"])
def test_a_population_that_cannot_be_pruned(name: str) -> None:
    with pytest.raises(UsageError, match=f"cannot prune '{name}'; populations that can be: h, r"):
        pruned(read(FOUR), ones(), population=name)
