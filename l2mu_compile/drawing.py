"""A network as a drawing: populations one below the other in the order they update, wires beside.

Spikes of this step run down the right-hand side, those of the last step up the left-hand side. All
synapses of one source on one side hang on one bus; every projection has a row of its own on its
target, so that no label meets another, whatever the network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from l2mu_compile.network import Network, Population
from l2mu_compile.projection import Projection

MOST_POPULATIONS, MOST_PROJECTIONS = 60, 240  # drawn

CARD, CARD_LINE, CARD_PADDING = 220, 17, 12
ROW, GAP, TOP = 32, 22, 34
LABEL, LABEL_LETTERS = 350, 50  # room for a projection's label, in pixels and letters
NAME_LETTERS, TITLE_LETTERS = 17, 24
TRACK = 16  # from one bus to the next
THIN, THICK = 1.5, 7.0
HEAD = 9  # an arrow's


@dataclass(frozen=True)
class Card:
    """A population or the input: a box with its left top corner at ``x``, ``y``."""

    name: str
    title: str
    lines: tuple[str, ...]
    kind: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Wire:
    """A path of SVG, ``width`` wide; ``kind`` is ``spikes`` or ``samples``."""

    path: str
    width: float
    kind: str


@dataclass(frozen=True)
class Label:
    """What is said of a projection, from (``anchor`` start) or up to (end) ``x``."""

    name: str
    text: str
    full: str
    anchor: str
    x: float
    y: float


@dataclass(frozen=True)
class Drawing:
    """All of a drawing; ``left_out`` says what it lacks, ``headings`` what a side shows."""

    width: float
    height: float
    cards: tuple[Card, ...]
    wires: tuple[Wire, ...]
    heads: tuple[tuple[str, str], ...]
    joints: tuple[tuple[float, float], ...]
    labels: tuple[Label, ...]
    headings: tuple[Label, ...]
    left_out: str


@dataclass(frozen=True)
class _Bus:
    """All drawn synapses of ``source`` on one side; ``rows`` are heights on their targets."""

    source: str
    kind: str
    leaves: float
    rows: tuple[float, ...]
    track: int = 0

    @property
    def top(self) -> float:
        return min(self.leaves, *self.rows)

    @property
    def bottom(self) -> float:
        return max(self.leaves, *self.rows)


def draw(network: Network, rates: Mapping[str, float | None]) -> Drawing:
    """``network``, with wires as wide as the spikes per neuron and step that ``rates`` has."""
    populations = network.order()[:MOST_POPULATIONS]
    names = [network.input.name, *(p.name for p in populations)]
    wanted = [p for p in network.projections if p.source in names and p.target in names]
    shown = wanted[:MOST_PROJECTIONS]
    right, left = (_Side(names, [p for p in shown if p.delay == d]) for d in (0, 1))
    tops, bottom = _tops(network, populations, (right, left))
    buses = [side.buses(network, tops) for side in (right, left)]
    room = [TRACK * (max((b.track for b in side), default=-1) + 2) for side in buses]
    x = room[1] + LABEL if left.projections else TRACK
    edges = ((x + CARD, 1), (x, -1))
    wires, heads, joints, labels = [], [], [], []
    widths = _widths(rates)
    for side, side_buses, (edge, way) in zip((right, left), buses, edges, strict=True):
        for bus in side_buses:
            at = edge + way * (LABEL + TRACK * (bus.track + 1))
            width = THIN if bus.kind == "samples" else widths.get(bus.source, THIN)
            wires.append(Wire(_bus_path(bus, edge, at, way), width, bus.kind))
            heads += [_head(edge, y, way, bus.kind, width) for y in bus.rows]
            joints += [(at, y) for y in (bus.leaves, *bus.rows) if bus.top < y < bus.bottom]
        labels += [_label(p, edge, side.row(p, tops), way, network) for p in side.projections]
    cards = tuple(
        _card(network, name, rates, x, tops[name], _height(network, name, (right, left)))
        for name in names
    )
    headings = [_heading("this step’s spikes", edges[0][0], 1)] if right.projections else []
    if left.projections:
        headings.append(_heading("last step’s spikes, delay 1", edges[1][0], -1))
    return Drawing(
        width=x + CARD + (LABEL + room[0] if right.projections else TRACK),
        height=bottom,
        cards=cards,
        wires=tuple(sorted(wires, key=lambda wire: -wire.width)),
        heads=tuple(heads),
        joints=tuple(joints),
        labels=tuple(labels),
        headings=tuple(headings),
        left_out=_left_out(network, len(populations), len(shown)),
    )


class _Side:
    """One side of the cards: which rows there are on each, from its top."""

    def __init__(self, names: list[str], projections: Iterable[Projection]) -> None:
        self.projections = tuple(projections)
        self.up = any(p.delay for p in self.projections)
        place = {name: i for i, name in enumerate(names)}

        def distance(p: Projection) -> int:
            return abs(place[p.source] - place[p.target])

        self.rows: dict[str, list[str]] = {}
        for name in names:
            arriving = sorted((p for p in self.projections if p.target == name), key=distance)
            leaving = any(p.source == name for p in self.projections)
            rows = [p.name for p in (reversed(arriving) if self.up else arriving)]
            own = [f"out of {name}"] if leaving else []
            self.rows[name] = [*own, *rows] if self.up else [*rows, *own]

    def row(self, p: Projection, tops: Mapping[str, float]) -> float:
        """The height of its wire on its target."""
        return self._at(p.target, p.name, tops)

    def buses(self, network: Network, tops: Mapping[str, float]) -> list[_Bus]:
        """One for every source, on tracks on which none meets another; short ones are inside."""
        found = []
        for source in dict.fromkeys(p.source for p in self.projections):
            mine = [p for p in self.projections if p.source == source]
            rows = tuple(sorted(self.row(p, tops) for p in mine))
            kind = "samples" if network.multiplies(mine[0]) else "spikes"
            found.append(_Bus(source, kind, self._at(source, f"out of {source}", tops), rows))
        tracks: list[list[_Bus]] = []
        placed = []
        for bus in sorted(found, key=lambda b: (b.bottom - b.top, b.top)):
            free = (i for i, taken in enumerate(tracks) if not any(_meet(bus, b) for b in taken))
            track = next(free, len(tracks))
            if track == len(tracks):
                tracks.append([])
            tracks[track].append(bus)
            placed.append(_Bus(bus.source, bus.kind, bus.leaves, bus.rows, track))
        return placed

    def _at(self, name: str, row: str, tops: Mapping[str, float]) -> float:
        return tops[name] + ROW * (self.rows[name].index(row) + 0.75)


def _meet(a: _Bus, b: _Bus) -> bool:
    return a.top - ROW / 2 < b.bottom and b.top - ROW / 2 < a.bottom


def _widths(rates: Mapping[str, float | None]) -> dict[str, float]:
    """Of wires, in proportion to rates, the largest `THICK`."""
    most = max((r for r in rates.values() if r), default=1.0)
    return {name: max(THIN, THICK * (r or 0.0) / most) for name, r in rates.items()}


def _tops(
    network: Network, populations: Iterable[Population], sides: tuple[_Side, _Side]
) -> tuple[dict[str, float], float]:
    tops, y = {}, float(TOP)
    for name in (network.input.name, *(p.name for p in populations)):
        tops[name] = y
        y += _height(network, name, sides) + GAP
    return tops, y


def _height(network: Network, name: str, sides: tuple[_Side, _Side]) -> float:
    lines = 4 if name == network.readout.population else 2 if name == network.input.name else 3
    rows = max(len(side.rows[name]) for side in sides)
    return max(ROW * rows + ROW / 4, lines * CARD_LINE + 2 * CARD_PADDING)


def _card(
    network: Network,
    name: str,
    rates: Mapping[str, float | None],
    x: float,
    y: float,
    height: float,
) -> Card:
    if name == network.input.name:
        what = "spikes" if network.input.spiking else "samples"
        lines: tuple[str, ...] = (f"{times(maps(network, name))} channels of {what}",)
        kind = "input"
    else:
        p = network.population(name)
        rate = rates.get(name)
        spikes = "" if rate is None else f", {100 * rate:.1f} % spikes"
        lines = (
            f"{times(maps(network, name))} neurons, {p.neuron.kind}",
            membranes(network, p) + spikes,
        )
        kind = "population"
    if name == network.readout.population:
        lines, kind = (*lines, f"decides by {network.readout.rule.replace('_', ' ')}"), "readout"
    return Card(name, shortened(name, TITLE_LETTERS), lines, kind, x, y, CARD, height)


def membranes(network: Network, p: Population) -> str:
    """What they are kept in: ``float32`` or ``16-bit``."""
    return f"{p.membrane_bits}-bit" if network.quantized else "float32"


def maps(network: Network, name: str) -> tuple[int, ...]:
    """The shape of a population or the input: channels, height and width where convolutions read
    or write it."""
    for p in network.projections:
        if p.convolution is not None and name in (p.source, p.target):
            shape = p.convolution.target if name == p.target else p.convolution.source
            return shape if max(shape[1:]) > 1 else shape[:1]
    entry = network.input
    return (entry.size,) if name == entry.name else network.population(name).shape


def structure(p: Projection) -> str:
    """``490 × 70``, targets times sources, how often which blocks, or the kernels that slide."""
    if p.convolution is not None:
        return f"conv {times(p.weight.shape)}"
    rows, columns = p.weight.shape[-2:]
    if not p.blocks:
        return f"{rows:,} × {columns:,}"
    return f"{p.blocks:,} {'shared blocks' if p.shared else 'blocks'} {rows:,} × {columns:,}"


def sliding(p: Projection) -> str:
    """How the kernels of a convolution slide, where that is not one by one."""
    if p.convolution is None:
        return ""
    usual = {"padding": (0, 0), "groups": 1}
    found = {n: getattr(p.convolution, n) for n in ("stride", "padding", "dilation", "groups")}
    return ", ".join(
        f"{name} {value if isinstance(value, int) else times(value)}"
        for name, value in (found | {"pool": p.convolution.pool}).items()
        if value != usual.get(name, (1, 1))
    )


def times(sizes: Iterable[int]) -> str:
    """``16 × 2``."""
    return " × ".join(f"{size:,}" for size in sizes)


def _label(p: Projection, edge: float, y: float, way: int, network: Network) -> Label:
    name = shortened(p.source, NAME_LETTERS)
    bits = "float32" if p.weight.dtype.kind == "f" else f"{p.bits}-bit"
    rest = f" · {bits} · {p.synapses:,} syn."
    text = structure(p) + rest
    details = ", ".join(filter(None, (structure(p), sliding(p))))
    full = f"{p.source} to {p.target}, delay {p.delay}: {details}{rest}"
    text = shortened(text, LABEL_LETTERS - len(name))
    anchor = "start" if way > 0 else "end"
    return Label(name, text, full, anchor, edge + way * (HEAD + 7), y - 8)


def _heading(text: str, edge: float, way: int) -> Label:
    anchor = "start" if way > 0 else "end"
    return Label("", text, text, anchor, edge + way * (HEAD + 7), TOP - 14)


def _bus_path(bus: _Bus, edge: float, at: float, way: int) -> str:
    parts = [f"M{edge:g} {bus.leaves:g}H{at:g}", f"M{at:g} {bus.top:g}V{bus.bottom:g}"]
    parts += [f"M{at:g} {y:g}H{edge + way * HEAD:g}" for y in bus.rows]
    return "".join(parts)


def _head(edge: float, y: float, way: int, kind: str, width: float) -> tuple[str, str]:
    """An arrow's head, and its kind."""
    half = max(4.0, width / 2 + 2.5)
    base = edge + way * (HEAD + 1)
    return f"M{edge:g} {y:g}L{base:g} {y - half:g}V{y + half:g}Z", kind


def _left_out(network: Network, populations: int, projections: int) -> str:
    parts = []
    for shown, there, what in (
        (populations, len(network.populations), "populations"),
        (projections, len(network.projections), "projections"),
    ):
        if shown < there:
            parts.append(f"{there - shown:,} of {there:,} {what}")
    return f"Left out: {' and '.join(parts)}." if parts else ""


def shortened(text: str, letters: int) -> str:
    """``text``, cut to so many letters."""
    return text if len(text) <= letters else f"{text[: letters - 1]}…"
