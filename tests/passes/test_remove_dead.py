"""remove-dead: what reaches no readout, or never spikes, leaves; all else stays as it was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from drawn_networks import float_networks, integer_networks, windows_for
from hypothesis import given, settings
from hypothesis import strategies as st
from network_texts import applied, assert_becomes, read
from networks import f32, feed_forward, integer_toy, l2mu, lif, planned

from l2mu_compile.interpreter import run
from l2mu_compile.network import Population
from l2mu_compile.passbase import Context
from l2mu_compile.passes.remove_dead import RemoveDead
from l2mu_compile.projection import Projection


def test_a_neuron_that_reaches_no_readout_leaves_with_its_synapses() -> None:
    assert_becomes(
        RemoveDead(),
        """
        network n stage=traced window=none
          input      x : f32[1]
          population h : lif[3] beta=@h.beta threshold=1.0 reset=subtract bias=@h.bias rate=0.5
          population out : lif[1] beta=0.5 threshold=1.0 reset=subtract
          projection x -> h : dense[3,1] @h.x
          projection h -> h : dense[3,3] @h.h.last delay=1
          projection h -> out : dense[1,3] @out.h
          readout    out : spike_count
        h.beta = [0.25, 0.5, 0.75]
        h.bias = [1.0, 2.0, 3.0]
        h.x = [[1.0], [2.0], [3.0]]
        h.h.last = [[0.0, 0.0, 1.0], [2.0, 2.0, 2.0], [3.0, 0.0, 0.0]]
        out.h = [[1.0, 0.0, 0.0]]
        """,
        """
        network n stage=traced window=none
          input      x : f32[1]
          population h : lif[2] beta=@h.beta threshold=1.0 reset=subtract bias=@h.bias
          population out : lif[1] beta=0.5 threshold=1.0 reset=subtract
          projection x -> h : dense[2,1] @h.x
          projection h -> h : dense[2,2] @h.h.last delay=1
          projection h -> out : dense[1,2] @out.h
          readout    out : spike_count
        h.beta = [0.25, 0.75]
        h.bias = [1.0, 3.0]
        h.x = [[1.0], [3.0]]
        h.h.last = [[0.0, 1.0], [3.0, 0.0]]
        out.h = [[1.0, 0.0]]
        """,
    )


WEAK = """
    network n stage=traced window=none
      input      x : f32[1]
      population a : lif[1] beta=0.5 threshold=1.0 reset=subtract
      population b : lif[1] beta=0.5 threshold={} reset=subtract
      population out : lif[1] beta=0.5 threshold=1.0 reset=subtract
      projection x -> a : dense[1,1] @a.x
      projection a -> b : dense[1,1] @b.a
      projection b -> out : dense[1,1] @out.b
      projection x -> out : dense[1,1] @out.x
      readout    out : spike_count
    a.x = [[1.0]]
    b.a = [[1.0]]
    out.b = [[1.0]]
    out.x = [[1.0]]
"""


def test_a_neuron_that_never_spikes_leaves_and_so_do_those_that_only_it_hears() -> None:
    # A current of at most 1 and a decay of 1/2 keep the membrane of b at or below 2.
    after = applied(RemoveDead(), read(WEAK.format("2.1")))
    assert [p.name for p in after.populations] == ["out"]
    assert [p.name for p in after.projections] == ["out.x"]


def test_a_neuron_that_may_spike_stays() -> None:
    network = read(WEAK.format("1.9"))
    assert applied(RemoveDead(), network) is network


def test_neurons_that_only_inhibit_themselves_awake_are_not_kept() -> None:
    network = read(WEAK.format("0.1"))
    inhibited = replace(network.projections[1], weight=f32([[-1]]))
    parts = list(network.projections)
    parts[1] = inhibited
    after = applied(RemoveDead(), network.replace(projections=tuple(parts)))
    assert [p.name for p in after.populations] == ["out"]


def test_a_block_stays_while_any_of_its_neurons_is_needed() -> None:
    text = """
        network n stage=traced window=none
          input      x : f32[3]
          population m : lif[3,2] beta=0.5 threshold=1.0 reset=subtract
          population out : lif[1] beta=0.5 threshold=1.0 reset=subtract
          projection x -> m : dense[6,3] @m.x
          projection m -> m : {} @m.m.last delay=1
          projection m -> out : dense[1,6] @out.m
          readout    out : spike_count
        m.x = [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0], {}]
        m.m.last = {}
        out.m = [[0.0, 1.0, 0.0, 0.0, 0.0, 1.0]]
    """
    rest = "[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]"
    diagonal = "[[1.0, 0.0], [0.0, 1.0]]"
    for structure, weights in (
        ("blocks[2,2]x3", diagonal),
        ("blocks[3,2,2]", f"[{diagonal}, [[9.0, 9.0], [9.0, 9.0]], {diagonal}]"),
    ):
        after = applied(RemoveDead(), read(text.format(structure, rest, weights)))
        assert after.population("m").shape == (2, 2)
        loop = after.into("m")[1]
        assert loop.blocks == 2
        expected = [1, 0, 0, 1] if loop.shared else [1, 0, 0, 1] * 2
        assert loop.weight.ravel().tolist() == expected
        assert after.into("out")[0].weight.tolist() == [[0, 1, 0, 1]]
        assert after.into("m")[0].weight.shape == (4, 3)


def test_the_readouts_neurons_stay_even_if_silent() -> None:
    network = feed_forward()
    silent = replace(network.projections[1], weight=f32([[1, 1, 1], [0, 0, 0]]))
    after = applied(RemoveDead(), network.replace(projections=(network.projections[0], silent)))
    assert after.classes == 2


def test_a_population_nobody_reads_leaves() -> None:
    network = feed_forward()
    spare = Population("spare", (4,), lif())
    network = network.replace(
        populations=(*network.populations, spare),
        projections=(*network.projections, Projection("h", "spare", f32(np.ones((4, 3))))),
    )
    notes: list[str] = []
    after = RemoveDead().apply(network, Context(note=notes.append))
    assert after == feed_forward()
    assert notes == ["remove-dead: 4 neurons removed"]


def test_shifts_leave_with_their_neurons() -> None:
    toy = integer_toy()
    cut = replace(toy.projections[1], weight=np.int8([[30, 0], [-7, 0]]))
    loop = replace(toy.projections[2], weight=np.int8([[0, 0], [5, 0]]))
    after = applied(RemoveDead(), toy.replace(projections=(toy.projections[0], cut, loop)))
    assert after.projections[0].shift is not None
    assert after.projections[0].shift.tolist() == [2]
    assert after.population("h").bias is not None


def test_quanta_leave_with_their_neurons() -> None:
    toy = integer_toy()
    cut = replace(toy.projections[1], weight=np.int8([[30, 0], [-7, 0]]))
    loop = replace(toy.projections[2], weight=np.int8([[5, 0], [7, 0]]), quantum=np.int32([5, 7]))
    after = applied(RemoveDead(), toy.replace(projections=(toy.projections[0], cut, loop)))
    assert after.projections[2].weight.tolist() == [[5]]
    assert after.projections[2].quantum is not None
    assert after.projections[2].quantum.tolist() == [5]


def test_a_planned_network_is_left_alone() -> None:
    network = planned(l2mu())
    assert RemoveDead().apply(network, Context()) is network


@pytest.mark.parametrize("make", [float_networks, integer_networks])
def test_the_readout_is_exactly_as_before(make: object) -> None:
    @settings(max_examples=60)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        network = data.draw(make())  # type: ignore[operator]
        x = data.draw(windows_for(network))
        after = applied(RemoveDead(), network)
        wanted, got = run(network, x, ("membranes",)), run(after, x, ("membranes",))
        name = network.readout.population
        assert np.array_equal(wanted.membranes[name], got.membranes[name])
        assert np.array_equal(wanted.scores, got.scores)
        assert np.array_equal(wanted.decisions, got.decisions)

    check()
