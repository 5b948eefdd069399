"""NIR graphs as Networks: everything between two populations becomes one projection.

Nodes without a state (`Linear`, `Affine`, `Scale`, `Flatten`, `Delay`, convolutions, pools, ports
of subgraphs) are composed in float64. Edges that close a cycle read the spikes of the step before,
as in all tools that step through time; a `Delay` node of one step says so itself. Where it is not
the spikes or membranes of one population that lead to the output, leaky integrators that forget at
once take their place: their membranes are what the graph puts out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from l2mu_compile.errors import ModelError
from l2mu_compile.network import (
    IDENTIFIER,
    RESERVED,
    Input,
    Network,
    Population,
    Readout,
    identifier,
)
from l2mu_compile.neurons import LI, Neuron
from l2mu_compile.nir_extras import Extras, read_extras
from l2mu_compile.nir_file import NirNode, read_nir
from l2mu_compile.nir_graph import PORT, FlatGraph, flatten, shown
from l2mu_compile.nir_maps import CONVOLUTIONS, POOLS, Slide, slides
from l2mu_compile.nir_neurons import FIELDS, cell
from l2mu_compile.nir_reading import NirOptions, Reading, reading, said_in_metadata
from l2mu_compile.nir_signals import (
    Matrix,
    Room,
    Signal,
    Terms,
    delayed,
    dense,
    identity,
    linear,
    raised,
    scaled,
    slid,
    summed,
    total,
)
from l2mu_compile.nir_sizes import Sizes, sizes, weight_of
from l2mu_compile.projection import Projection
from l2mu_compile.structure import structured
from l2mu_compile.verify import verify


@dataclass(frozen=True)
class Imported:
    """A network that was read, and lines the user should see."""

    network: Network
    notes: tuple[str, ...]


def import_nir(
    path: Path,
    options: NirOptions | None = None,
    readout: str | None = None,
    name: str | None = None,
) -> Imported:
    """Read a ``.nir`` file.

    ``options`` is what the user says of it (see `l2mu_compile.nir_reading`), ``readout`` the rule
    to decide by: if None the file's own, else spikes counted, or the last membrane where there are
    none. ``name`` is the network's, else the file's own.

    Raises `ModelError` naming file, node and rule for whatever is not supported or makes no sense.
    """
    try:
        file = read_nir(path)
        options = options or NirOptions()
        read = reading(options, said_in_metadata(file.metadata))
        extras = read_extras(file.metadata)
        graph = flatten(file)
        _check_kinds(graph)
        sliding = slides(graph)
        found = sizes(graph, sliding)
        layers, last = _layers(graph, found, sliding, read)
        late = _put_in_time(graph, layers)
        network = _network(graph, layers, last, found.out[graph.input], extras)
        network = network.replace(name=_named(name or extras.name or path.stem, (), "l2mu"))
        if readout is not None:
            network = network.replace(readout=replace(network.readout, rule=readout))
        verify(network)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    notes = [read.note()] if read.assumed else []
    notes += [*graph.notes, *_late_note(late)]
    if readout is None and extras.rule is None and network.readout.rule != "spike_count":
        notes.append(f"decides by {network.readout.rule} of {network.readout.population}")
    return Imported(network, tuple(notes))


@dataclass(eq=False)
class _Layer:
    """A population on its way: what it hears, by (node, steps of delay)."""

    neuron: Neuron
    signal: Signal

    @property
    def terms(self) -> Terms:
        return self.signal.terms

    @property
    def bias(self) -> NDArray:
        return self.signal.bias


def _check_kinds(graph: FlatGraph) -> None:
    known = {*FIELDS, *_STATELESS, *CONVOLUTIONS, *POOLS, "Input", "Output"}
    for name, node in graph.nodes.items():
        if node.kind not in known:
            raise ModelError(
                f"{shown(name)} is a {shown(node.kind)}: there is no such kind of node, or it is "
                "too new"
            )


# What is not finite is refused by its name once it is a weight, a bias or a parameter.
_QUIETLY = np.errstate(over="ignore", invalid="ignore", divide="ignore")


@_QUIETLY
def _layers(
    graph: FlatGraph, found: Sizes, sliding: Mapping[str, Slide], read: Reading
) -> tuple[dict[str, _Layer], str]:
    """Every population by the node it is, and the node to read out, which may be the output."""
    cells = {
        name: cell(node, name, found.out[name], read)
        for name, node in graph.nodes.items()
        if node.kind in FIELDS
    }
    room = Room()
    put_out = {name: identity(name, found.out[name], room) for name in (graph.input, *cells)}

    def arriving(name: str) -> Signal:
        return total([put_out[source] for source in graph.into[name]])

    for name in _stateless(graph, put_out):
        node = graph.nodes[name]
        try:
            if name in sliding:
                put_out[name] = _slid(node, arriving(name), sliding[name])
            else:
                put_out[name] = _STATELESS[node.kind](node, name, arriving(name), read)
        except ModelError as error:
            raise ModelError(f"{shown(name)} ({node.kind}): {error}") from None
    layers = {}
    for name, made in cells.items():
        signal = scaled(arriving(name), made.gain)
        if made.echo.any():
            echo = scaled(identity(name, made.echo.size, room), made.echo)
            signal = total([signal, delayed(echo, 1)])
        layers[name] = _Layer(made.neuron, raised(signal, made.drive))
    end = arriving(graph.output)
    last = end.only_source()
    if last is None or last not in cells:
        last = graph.output
        layers[last] = _Layer(LI(np.array(0, np.float32)), end)
    return layers, last


def _stateless(graph: FlatGraph, sources: Iterable[str]) -> list[str]:
    """Nodes without a state, each after those that lead to it."""
    between = set(graph.nodes) - set(sources) - {graph.output}
    order: nx.DiGraph[str] = nx.DiGraph()
    order.add_nodes_from(name for name in graph.nodes if name in between)
    order.add_edges_from((a, b) for a, b in graph.edges if a in between and b in between)
    try:
        return list(nx.topological_sort(order))
    except nx.NetworkXUnfeasible:
        cycle = [shown(edge[0]) for edge in nx.find_cycle(order)]
        raise ModelError(f"a cycle without a neuron: {' -> '.join(cycle[:6])}") from None


@_QUIETLY
def _put_in_time(graph: FlatGraph, layers: dict[str, _Layer]) -> list[tuple[str, str]]:
    """Let what closes a cycle read the step before; returns (source, target) of these."""
    late = _closing(graph, layers)
    for source, target in late:
        terms, room = layers[target].terms, layers[target].signal.room
        matrix, before = terms.pop((source, 0)), terms.get((source, 1))
        terms[source, 1] = matrix if before is None else summed(before, matrix, room)
    for target, layer in layers.items():
        for source, delay in layer.terms:
            if delay > 1 or (delay and source == graph.input):
                raise ModelError(
                    f"{shown(target)}: hears {shown(source)} {delay} steps late; one step is "
                    "supported, and of spikes, not of the input"
                )
            if source in layers and not _spikes(layers[source]):
                raise ModelError(
                    f"{shown(target)}: hears {shown(source)}, a leaky integrator, which has no "
                    "spikes; it can only be read out"
                )
    return late


def _spikes(layer: _Layer) -> bool:
    return not isinstance(layer.neuron, LI)


def _closing(graph: FlatGraph, layers: dict[str, _Layer]) -> list[tuple[str, str]]:
    """Edges between populations that lead back, seen from the input, within a cycle."""
    wiring: nx.DiGraph[str] = nx.DiGraph()
    wiring.add_nodes_from(layers)
    wiring.add_edges_from(
        (source, target)
        for target, layer in layers.items()
        for source, delay in layer.terms
        if delay == 0 and source != graph.input
    )
    place = {name: i for i, name in enumerate(_by_distance(graph, layers))}
    rings = enumerate(nx.strongly_connected_components(wiring))
    ring = {name: i for i, names in rings for name in names}
    return [(a, b) for a, b in wiring.edges if ring[a] == ring[b] and place[a] >= place[b]]


def _by_distance(graph: FlatGraph, layers: Iterable[str]) -> list[str]:
    """Nodes, those that fewest edges from the input lead to first."""
    wiring: nx.DiGraph[str] = nx.DiGraph(graph.edges)
    far = nx.single_source_shortest_path_length(wiring, graph.input)
    return sorted(layers, key=lambda name: far.get(name, len(graph.nodes)))


def _network(
    graph: FlatGraph, layers: dict[str, _Layer], last: str, inputs: int, extras: Extras
) -> Network:
    source = _named(graph.input, (), "x")
    names = {graph.input: source}
    for node in _by_distance(graph, layers):
        names[node] = _named(node, names.values(), "p")
    populations = {
        name: extras.shaped(_population(node, name, layers[node]))
        for node, name in names.items()
        if node in layers
    }
    projections = [
        _projection(extras, layers[target], target, names[s], name, delay, matrix)
        for target, name in names.items()
        if target in layers
        for (s, delay), matrix in layers[target].terms.items()
    ]
    natural = "spike_count" if _spikes(layers[last]) else "last_membrane"
    natural = "mean_membrane" if last == graph.output else natural
    return Network(
        "l2mu",
        Input(source, inputs, spiking=extras.spiking),
        tuple(populations[name] for name in extras.order(populations)),
        tuple(extras.in_order(projections)),
        extras.decided(Readout(names[last], extras.rule or natural)),
        window=extras.window,
        full_window=extras.full_window,
    )


def _named(text: str, taken: Iterable[str], fallback: str) -> str:
    """A node's own name where it can be one in C."""
    usable = IDENTIFIER.match(text) and text not in RESERVED and text not in taken
    return text if usable else identifier(text, taken, fallback)


def _population(node: str, name: str, layer: _Layer) -> Population:
    bias = _float32(layer.bias, node, "bias") if layer.bias.any() else None
    return Population(name, (layer.bias.size,), layer.neuron, bias)


def _projection(
    extras: Extras, layer: _Layer, node: str, source: str, target: str, delay: int, matrix: Matrix
) -> Projection:
    if isinstance(matrix, Slide):
        kernel = _float32(matrix.kernel, node, "weights")
        return Projection(source, target, kernel, delay, convolution=matrix.convolution)
    weight = _float32(dense(matrix, layer.signal.room), node, "weights")
    full = Projection(source, target, weight, delay)
    known = extras.in_form(full)
    if known is not None:
        return known
    weight, blocks = structured(full.weight, 0)
    return replace(full, weight=weight, blocks=blocks)


def _float32(values: NDArray, node: str, what: str) -> NDArray:
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float32)
    if not np.isfinite(rounded).all():
        raise ModelError(f"{shown(node)}: {what} too large for float32")
    return rounded


def _late_note(late: list[tuple[str, str]]) -> list[str]:
    if not late:
        return []
    pairs = ", ".join(f"{shown(source)} -> {shown(target)}" for source, target in late[:4])
    more = f" and {len(late) - 4} more" if len(late) > 4 else ""
    return [f"a step late, to close cycles: {pairs}{more}"]


def _array(node: NirNode, field: str) -> NDArray:
    found = node.fields.get(field)
    if not isinstance(found, np.ndarray):
        raise ModelError(f"has no {field}")
    if not found.size:
        raise ModelError(f"{field} holds nothing")
    if not np.isfinite(found).all():
        raise ModelError(f"{field} holds NaN or infinity")
    return found.astype(np.float64).reshape(-1)


def _sized(values: NDArray, size: int, field: str) -> NDArray:
    if values.size not in (1, size):
        raise ModelError(f"{field} has {values.size} values for {size}")
    return np.broadcast_to(values, size)


def _linear(node: NirNode, name: str, signal: Signal, read: Reading) -> Signal:
    return linear(signal, weight_of(name, node))


def _affine(node: NirNode, name: str, signal: Signal, read: Reading) -> Signal:
    result = linear(signal, weight_of(name, node))
    return raised(result, _sized(_array(node, "bias"), result.size, "bias"))


def _slid(node: NirNode, signal: Signal, slide: Slide) -> Signal:
    result = slid(signal, slide)
    if "bias" not in node.fields:
        return result
    channels, *positions = slide.convolution.target
    bias = _sized(_array(node, "bias"), channels, "bias")
    return raised(result, np.repeat(bias, int(np.prod(positions))))


def _scale(node: NirNode, name: str, signal: Signal, read: Reading) -> Signal:
    return scaled(signal, _sized(_array(node, "scale"), signal.size, "scale"))


def _delay(node: NirNode, name: str, signal: Signal, read: Reading) -> Signal:
    steps = _array(node, "delay") / read.dt
    count = np.round(steps)
    if (count != count[0]).any() or not 0 <= count[0] <= 1 or (abs(steps - count) > 1e-3).any():
        shown_steps = steps[np.argmax(np.abs(steps - 0.5))]
        raise ModelError(
            f"delays by {shown_steps:g} steps of dt={read.dt:g}; none or one, the same for all, is "
            "supported (--nir dt=...)"
        )
    return delayed(signal, int(count[0]))


def _same(node: NirNode, name: str, signal: Signal, read: Reading) -> Signal:
    return signal


Stateless = Callable[[NirNode, str, Signal, Reading], Signal]

_STATELESS: dict[str, Stateless] = {
    "Linear": _linear,
    "Affine": _affine,
    "Scale": _scale,
    "Flatten": _same,
    "Delay": _delay,
    PORT: _same,
}
