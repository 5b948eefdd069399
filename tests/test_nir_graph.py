"""Graphs without subgraphs, and signals without nodes between neurons."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from l2mu_compile import nir_signals
from l2mu_compile.errors import ModelError
from l2mu_compile.nir_file import NirNode
from l2mu_compile.nir_graph import PORT, FlatGraph, flatten
from l2mu_compile.nir_signals import Room, delayed, dense, identity, linear, raised, scaled, total
from l2mu_compile.nir_sizes import sizes


def graph(nodes: dict[str, Any], *edges: str) -> NirNode:
    """Nodes by kind, or graphs; edges as ``a b c``: a to b and b to c."""
    made = {n: NirNode(kind) if isinstance(kind, str) else kind for n, kind in nodes.items()}
    pairs = tuple(pair for row in edges for pair in pairwise(row.split()))
    return NirNode("NIRGraph", nodes=made, edges=pairs)


def inner(**more: Any) -> NirNode:
    return graph({"i": "Input", "n": "LIF", "o": "Output", **more}, "i n o")


def test_graphs_in_graphs() -> None:
    middle = graph({"i": "Input", "deep": inner(), "o": "Output"}, "i deep o")
    flat = flatten(graph({"in": "Input", "m": middle, "out": "Output"}, "in m out"))
    kinds = {name: node.kind for name, node in flat.nodes.items()}
    assert kinds == {
        "in": "Input",
        "out": "Output",
        "m.i": PORT,
        "m.o": PORT,
        "m.deep.i": PORT,
        "m.deep.n": "LIF",
        "m.deep.o": PORT,
    }
    assert (flat.input, flat.output, flat.notes) == ("in", "out", ())
    assert flat.into["m.deep.i"] == ["m.i"]
    assert flat.out_of["m.deep.o"] == ["m.o"]


def test_an_edge_to_a_node_in_a_subgraph_by_its_dotted_name() -> None:
    flat = flatten(
        graph({"in": "Input", "s": inner(), "w": "Linear", "out": "Output"}, "in s out", "s w s.n")
    )
    assert flat.into["s.n"] == ["s.i", "w"]


def test_edges_twice_are_taken_once() -> None:
    flat = flatten(graph({"in": "Input", "n": "LIF", "out": "Output"}, "in n out", "in n"))
    assert flat.into["n"] == ["in"]
    assert flat.notes == ("edge in -> n is there 2 times; taken once",)


def test_many_edges_twice_are_not_all_noted() -> None:
    names = [f"n{i}" for i in range(9)]
    way = f"in {' '.join(names)} out"
    flat = flatten(graph({"in": "Input", **dict.fromkeys(names, "LIF"), "out": "Output"}, way, way))
    assert len(flat.edges) == 10
    assert flat.notes[-1] == "so are 6 more edges"
    assert len(flat.notes) == 5


def test_graphs_without_ends_get_them_where_one_could_be() -> None:
    flat = flatten(graph({"a": "Linear", "n": "LIF"}, "a n"))
    assert (flat.input, flat.output) == ("input_a", "output_n")
    assert flat.edges == (("a", "n"), ("input_a", "a"), ("n", "output_n"))


REFUSED = {
    "two ways in": (
        graph({"a": "LIF", "b": "LIF", "c": "LIF"}, "a c", "b c"),
        "no Input node, and 2",
    ),
    "no way out": (
        graph({"i": "Input", "a": "LIF", "b": "LIF"}, "i a b a"),
        "no Output node, and 0 nodes where one could be",
    ),
    "ports": (
        graph({"in": "Input", "s": inner(j="Input"), "out": "Output"}, "in s out"),
        "s: a subgraph with 2 Input nodes; it must have one",
    ),
    "one name": (
        graph({"in": "Input", "s": inner(), "s.n": "LIF", "out": "Output"}, "in s s.n out"),
        "s.n: two nodes have this name",
    ),
    "two wrong names": (
        graph({"in": "Input", "n": "LIF", "out": "Output"}, "in x y out"),
        "an edge names x, which is no node",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name: str) -> None:
    made, message = REFUSED[name]
    with pytest.raises(ModelError) as caught:
        flatten(made)
    assert message in str(caught.value)


def test_names_that_would_break_a_line_are_shown_without() -> None:
    with pytest.raises(ModelError) as caught:
        flatten(graph({"in": "Input", "a\nb" + "c" * 99: "LIF", "out": "Output"}, "in out"))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 120


# ---- sizes -------------------------------------------------------------------------------------


def sized(**fields: Any) -> NirNode:
    return NirNode("LIF", {name: np.asarray(value, float) for name, value in fields.items()})


def row(*nodes: NirNode) -> FlatGraph:
    names = [*map(str, range(len(nodes)))]
    made = {
        "in": NirNode("Input"),
        **dict(zip(names, nodes, strict=True)),
        "out": NirNode("Output"),
    }
    return flatten(NirNode("NIRGraph", nodes=made, edges=tuple(pairwise(["in", *names, "out"]))))


def test_sizes_come_from_either_side() -> None:
    weight = NirNode("Linear", {"weight": np.ones((3, 2))})
    found = sizes(row(sized(tau=1), NirNode("Flatten"), weight, sized(tau=[1], r=2)), {})
    assert found.out == {"in": 2, "0": 2, "1": 2, "2": 3, "3": 3, "out": 3}
    assert found.arriving["2"] == 2


def test_nothing_tells_a_size() -> None:
    with pytest.raises(ModelError, match="nothing tells how many neurons it has"):
        sizes(row(sized(tau=1)), {})


# ---- signals -----------------------------------------------------------------------------------


def test_maps_are_composed_as_matrices_are() -> None:
    rng = np.random.default_rng(0)
    a, b, bias, factor = (rng.normal(size=s) for s in ((3, 2), (4, 3), 3, 4))
    x = rng.normal(size=2)
    signal = scaled(linear(raised(linear(identity("x", 2, Room()), a), bias), b), factor)
    assert np.allclose(signal.terms["x", 0] @ x + signal.bias, factor * (b @ (a @ x + bias)))


def test_diagonals_stay_diagonals_until_they_meet_a_matrix() -> None:
    d, full = np.array([2.0, 3.0]), np.array([[1.0, 4.0], [5.0, 6.0]])
    diagonal = scaled(identity("x", 2, Room()), d)
    assert diagonal.terms["x", 0].shape == (2,)
    both = total(
        [diagonal, linear(identity("x", 2, Room()), full), delayed(identity("x", 2, Room()), 1)]
    )
    assert np.array_equal(both.terms["x", 0], full + np.diag(d))
    assert np.array_equal(dense(both.terms["x", 1], Room()), np.eye(2))
    assert np.array_equal(linear(diagonal, full).terms["x", 0], full * d)


def test_only_what_a_node_puts_out_unchanged_is_its_output() -> None:
    one = identity("x", 2, Room())
    assert one.only_source() == "x"
    assert delayed(one, 1).only_source() is None
    assert raised(one, np.ones(2)).only_source() is None
    assert scaled(one, np.full(2, 2.0)).only_source() is None
    assert total([one, identity("y", 2, Room())]).only_source() is None


def test_matrices_too_large_are_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nir_signals, "MAX_MATRIX", 99)
    with pytest.raises(ModelError, match="joins 10 to 10 neurons; at most 99 pairs"):
        dense(np.ones(10), Room())
    with pytest.raises(ModelError, match="joins 10 to 10 neurons"):
        linear(linear(identity("x", 10, Room()), np.ones((1, 10))), np.ones((10, 1)))


def test_what_a_graph_may_take_is_bounded_in_all() -> None:
    room = Room(numbers=1000, products=5000)
    signal = identity("x", 10, room)
    for _ in range(8):
        linear(signal, np.ones((10, 10)))
    with pytest.raises(ModelError, match=r"matrices hold more than \d+ numbers in all"):
        linear(signal, np.ones((10, 10)))
    room = Room(products=5000)
    signal = linear(identity("x", 10, room), np.ones((10, 10)))
    with pytest.raises(ModelError, match=r"takes more than \d+ multiplications to put together"):
        for _ in range(5):
            linear(signal, np.ones((10, 10)))
