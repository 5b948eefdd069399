"""The Network: structure, order, naming and immutability."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from networks import f32, feed_forward, i8, integer_toy, l2mu, late_reader, li, lif

from l2mu_compile.errors import ModelError
from l2mu_compile.network import (
    IDENTIFIER,
    RESERVED,
    Buffer,
    Input,
    Population,
    identifier,
    spiking,
    with_neuron,
)
from l2mu_compile.projection import Projection

BLOCK = f32([[1, 2], [3, 4], [5, 6]])


def test_a_dense_projection() -> None:
    p = Projection("a", "b", BLOCK)
    assert (p.name, p.shape, p.shared, p.fan_out, p.synapses) == ("b.a", (3, 2), False, 3, 6)
    assert p.dense() is p.weight


def test_a_shared_block_repeats_along_the_diagonal() -> None:
    p = Projection("a", "b", BLOCK, delay=1, blocks=2)
    assert (p.name, p.shape, p.shared) == ("b.a.last", (6, 4), True)
    assert (p.fan_out, p.synapses) == (3, 12)
    expected = np.zeros((6, 4), np.float32)
    expected[:3, :2] = expected[3:, 2:] = BLOCK
    assert np.array_equal(p.dense(), expected)


def test_distinct_blocks_follow_each_other_along_the_diagonal() -> None:
    p = Projection("a", "b", np.stack([BLOCK, -BLOCK]), blocks=2)
    assert (p.shape, p.shared, p.fan_out, p.synapses) == ((6, 4), False, 3, 12)
    assert np.array_equal(p.dense()[:3, :2], BLOCK)
    assert np.array_equal(p.dense()[3:, 2:], -BLOCK)
    assert not p.dense()[:3, 2:].any() and not p.dense()[3:, :2].any()


def test_a_weight_of_zero_is_no_synapse() -> None:
    block = f32([[1, 0], [3, 0], [5, 6]])
    dense, shared = Projection("a", "b", block), Projection("a", "b", block, blocks=2)
    distinct = Projection("a", "b", np.stack([block, 0 * block]), blocks=2)
    assert (dense.fan_outs.tolist(), dense.fan_out, dense.synapses) == ([3, 1], 2, 4)
    assert (shared.fan_outs.tolist(), shared.fan_out, shared.synapses) == ([3, 1, 3, 1], 2, 8)
    assert (distinct.fan_outs.tolist(), distinct.fan_out, distinct.synapses) == ([3, 1, 0, 0], 1, 4)


def test_populations_of_cells_have_the_product_as_size() -> None:
    assert Population("m", (70, 7), lif()).size == 490


def test_arrays_cannot_be_written() -> None:
    network = l2mu()
    for name, array in network.tensors().items():
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
        assert name
    with pytest.raises(FrozenInstanceError):
        network.name = "other"  # type: ignore[misc]


def test_a_population_by_name() -> None:
    assert l2mu().population("m").shape == (3, 4)
    with pytest.raises(ModelError, match="network cell has no population 'q'"):
        l2mu().population("q")


def test_projections_into_a_population_keep_the_networks_order() -> None:
    assert [p.name for p in l2mu().into("h")] == ["h.enc", "h.m", "h.h.last"]
    assert [p.name for p in l2mu().out_of("m")] == ["u.m.last", "m.m.last", "h.m"]


def test_sources_update_before_their_readers() -> None:
    network = l2mu()
    backwards = network.replace(populations=network.populations[::-1])
    assert [p.name for p in backwards.order()] == ["enc", "u", "m", "h", "out"]


def test_independent_populations_update_as_listed() -> None:
    network = late_reader().replace(projections=())
    assert [p.name for p in network.order()] == ["a", "b"]
    swapped = network.replace(populations=network.populations[::-1])
    assert [p.name for p in swapped.order()] == ["b", "a"]


def test_a_delayed_projection_does_not_order_its_ends() -> None:
    network = late_reader()
    back = Projection("b", "a", f32(np.eye(2)), delay=1)
    network = network.replace(projections=(*network.projections, back))
    assert [p.name for p in network.order()] == ["a", "b"]


def test_a_cycle_without_delay_is_refused_by_name() -> None:
    network = feed_forward()
    loop = Projection("out", "h", f32(np.zeros((3, 2))))
    with pytest.raises(ModelError, match=r"without delay form a cycle: (h -> out|out -> h)"):
        network.replace(projections=(*network.projections, loop)).order()


def test_the_graph_has_a_node_per_population_and_an_edge_per_projection() -> None:
    network = l2mu()
    graph = network.graph()
    assert set(graph) == {"x", "enc", "u", "m", "h", "out"}
    edges = [data["projection"] for _, _, data in graph.edges(data=True)]
    assert sorted(p.name for p in edges) == sorted(p.name for p in network.projections)


def test_a_map_that_changes_nothing_returns_the_same_network() -> None:
    network = l2mu()
    assert network.map_populations(lambda p: p) is network
    assert network.map_projections(lambda p: p) is network


def test_a_map_changes_every_node() -> None:
    network = l2mu().map_populations(lambda p: replace(p, rate=0.5))
    assert all(p.rate == 0.5 for p in network.populations)
    network = network.map_projections(lambda p: replace(p, kernel="k"))
    assert all(p.kernel == "k" for p in network.projections)


def test_equal_networks_are_equal_and_one_bit_makes_them_differ() -> None:
    assert l2mu() == l2mu()
    assert l2mu() != l2mu(seed=1)
    negative = replace(feed_forward().projections[0], weight=f32([[1, -0.0], [0, 1], [0.5, 0.5]]))
    assert feed_forward() != feed_forward().replace(
        projections=(negative, feed_forward().projections[1])
    )


def test_tensors_are_named_after_their_owner_and_scalars_are_not_among_them() -> None:
    network = l2mu(lambda n: lif(np.full(n, 0.5), 1.0), sensors=None)
    names = set(network.tensors())
    assert {"enc.beta", "enc.bias", "h.h.last", "m.u", "enc.x"} <= names
    assert not any(name.endswith(".threshold") or name.startswith("x.") for name in names)


def test_packed_weights_take_half_a_byte_each_and_two_for_a_quantum() -> None:
    weight = i8(np.ones((3, 20)))
    plain = Projection("h", "out", weight)
    packed = replace(plain, quantum=np.int32(1))
    assert (plain.bits, plain.stored_bytes) == (8, 60)
    assert (packed.bits, packed.stored_bytes) == (4, 20 * 2 + 3 * 2)
    ternary = replace(packed, grid="ternary")
    assert (ternary.bits, ternary.stored_bytes) == (2, 20 * 1 + 3 * 2)
    assert (packed.grid, replace(ternary, quantum=None).grid) == ("int4", None)
    assert Projection("h", "out", f32(weight)).bits == 32
    toy = integer_toy()
    fewer = toy.replace(projections=(toy.projections[0], packed))
    more = toy.replace(projections=(toy.projections[0], plain))
    assert more.parameter_bytes() - fewer.parameter_bytes() == 60 - 46


def test_parameter_bytes_count_arrays_and_scalars() -> None:
    # 12 weights, and beta and threshold of two populations, 4 bytes each.
    assert feed_forward().parameter_bytes() == 4 * (12 + 4)


def test_classes_are_the_readouts_neurons() -> None:
    assert l2mu().classes == 3


def test_with_neuron_changes_only_what_it_names() -> None:
    changed = with_neuron(feed_forward().population("h"), threshold=f32(2))
    assert changed.neuron == lif(0.5, 2)


def test_only_leaky_integrators_do_not_spike() -> None:
    assert spiking(Population("p", (1,), lif()))
    assert not spiking(Population("p", (1,), li()))


def test_buffers_overlap_when_they_share_a_byte() -> None:
    first = Buffer("a", "uint16_t", 3, 4, "state")
    assert first.end == 10
    assert first.overlaps(Buffer("b", "float", 1, 9, "state"))
    assert not first.overlaps(Buffer("b", "float", 1, 10, "state"))
    assert not first.overlaps(Buffer("b", "int32_t", 1, 0, "state"))


def test_the_input_takes_scalars_and_arrays() -> None:
    entry = Input("x", 2, scale=f32(2), offset=f32([1, 2]))
    assert (entry.scale.shape, entry.offset.shape) == ((), (2,))  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "taken", "expected"),
    [
        ("spk u;", ["spk_u"], "spk_u_2"),
        ("spk u;", ["spk_u", "spk_u_2"], "spk_u_3"),
        ("2nd", [], "p_2nd"),
        ("", [], "p"),
        ("int", [], "int_2"),
        ("été", [], "t"),
    ],
)
def test_identifiers(text: str, taken: list[str], expected: str) -> None:
    assert identifier(text, taken) == expected


@given(st.text(max_size=80), st.lists(st.text(max_size=5), max_size=3))
def test_any_text_becomes_a_fresh_identifier_of_c(text: str, others: list[str]) -> None:
    taken = [identifier(other) for other in others]
    name = identifier(text, taken)
    assert IDENTIFIER.match(name)
    assert re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name)
    assert name not in RESERVED and name not in taken
