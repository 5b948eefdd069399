"""The drawing of a network: everything is there, and nothing lies on anything else."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import drawn_networks
import networks
from hypothesis import given, settings

from l2mu_compile.drawing import CARD, LABEL, ROW, THICK, THIN, Drawing, draw, shortened
from l2mu_compile.network import Network
from l2mu_compile.projection import Projection


def bars(path: str) -> list[tuple[float, float, float, float]]:
    """The lines of a path of M, H and V: left, top, right, bottom."""
    found = []
    x = y = 0.0
    for part in path.replace("M", "\nM").replace("H", "\nH").replace("V", "\nV").split("\n")[1:]:
        kind, numbers = part[0], [float(n) for n in part[1:].split()]
        if kind == "M":
            x, y = numbers
            continue
        ends = (numbers[0], y) if kind == "H" else (x, numbers[0])
        found.append((min(x, ends[0]), min(y, ends[1]), max(x, ends[0]), max(y, ends[1])))
        x, y = ends
    return found


def check(network: Network, drawing: Drawing) -> None:
    assert [card.name for card in drawing.cards] == [
        network.input.name,
        *(p.name for p in network.order()),
    ]
    for above, below in combinations(drawing.cards, 2):
        assert above.y + above.height < below.y
    sources = {(p.source, p.delay) for p in network.projections}
    assert len(drawing.wires) == len(sources)
    assert len(drawing.labels) == len(drawing.heads) == len(network.projections)
    rows = sorted((label.anchor, label.y) for label in drawing.labels)
    for (side, y), (other, below) in combinations(rows, 2):
        assert side != other or below - y >= ROW
    lines = [bars(wire.path) for wire in drawing.wires]
    tracks = [[b for b in wire if b[0] == b[2]] for wire in lines]
    for one, two in combinations(tracks, 2):
        for a in one:
            assert all(a[0] != b[0] or a[3] < b[1] or b[3] < a[1] for b in two)
    left = drawing.cards[0].x
    for wire in lines:
        for a in wire:
            assert a[0] >= 0 and a[2] <= drawing.width and a[1] >= 0 and a[3] <= drawing.height
            if a[0] == a[2]:  # no label's room is crossed
                assert a[0] <= left - LABEL or a[0] >= left + CARD + LABEL


@settings(max_examples=40)
@given(drawn_networks.float_networks())
def test_nothing_lies_on_anything_else(network: Network) -> None:
    check(network, draw(network, {}))


def test_wires_are_as_wide_as_neurons_spike_often() -> None:
    drawing = draw(networks.recurrent(), {"h": 0.5, "out": 0.25})
    check(networks.recurrent(), drawing)
    widths = {(wire.kind, wire.width) for wire in drawing.wires}
    assert widths == {("samples", THIN), ("spikes", THICK)}
    drawing = draw(networks.chain(3), {"p0": 0.1, "p1": 0.4, "p2": None})
    assert [wire.width for wire in drawing.wires] == [THICK, THICK / 4, THIN]


def test_labels_say_what_projections_are() -> None:
    drawing = draw(networks.l2mu(), {})
    check(networks.l2mu(), drawing)
    full = {label.full for label in drawing.labels}
    assert "m to m, delay 1: 3 shared blocks 4 × 4 · float32 · 48 syn." in full
    assert {label.anchor for label in drawing.labels if "delay 1" in label.full} == {"end"}
    assert "decides by spike count" in drawing.cards[-1].lines


def test_of_large_networks_a_part_is_drawn() -> None:
    drawing = draw(networks.chain(70), {})
    assert len(drawing.cards) == 61 and len(drawing.labels) == 60
    assert drawing.left_out == "Left out: 10 of 70 populations and 10 of 70 projections."
    weight = networks.f32([[1.0]])
    toy = networks.chain(1, 1)
    many = tuple(Projection("p0", "p0", weight, delay=1) for _ in range(250))
    drawing = draw(replace(toy, projections=(*toy.projections, *many)), {})
    assert drawing.left_out == "Left out: 11 of 251 projections."


def test_long_names_are_cut() -> None:
    assert shortened("a" * 10, 10) == "a" * 10
    assert shortened("a" * 11, 10) == "a" * 9 + "…"
