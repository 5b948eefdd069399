"""A NIR graph without subgraphs: nodes by dotted name, edges, one input, one output.

A subgraph's own ``Input`` and ``Output`` become ports: nodes that pass on what they get. What a
published file gets wrong is set right where only one reading is left, and then said in a note.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from l2mu_compile.errors import ModelError
from l2mu_compile.nir_file import NirNode
from l2mu_compile.paths import printable

PORT = "Port"
MAX_NOTES = 4

Edges = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class FlatGraph:
    """``nodes`` in the order in which ``edges`` first name them. No node is a graph."""

    nodes: dict[str, NirNode]
    edges: Edges
    input: str
    output: str
    notes: tuple[str, ...] = ()

    @cached_property
    def into(self) -> Mapping[str, list[str]]:
        """Nodes with an edge to each node, in the file's order."""
        return self._neighbours((target, source) for source, target in self.edges)

    @cached_property
    def out_of(self) -> Mapping[str, list[str]]:
        """Nodes with an edge from each node, in the file's order."""
        return self._neighbours(self.edges)

    def _neighbours(self, pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
        """The second of ``pairs`` by the first."""
        found: dict[str, list[str]] = {name: [] for name in self.nodes}
        for name, other in pairs:
            found[name].append(other)
        return found


def flatten(graph: NirNode) -> FlatGraph:
    """``graph`` with its subgraphs' nodes among its own.

    Raises `ModelError` naming node and rule: edges between nodes that are not there, nodes that
    nothing reaches or that lead nowhere, several inputs or outputs.
    """
    notes: list[str] = []
    nodes, edges = _spread(graph, "", notes)
    nodes, edges, start = _end(nodes, edges, "Input")
    nodes, edges, end = _end(nodes, edges, "Output")
    _check_connected(nodes, edges, start, end)
    order = {name: None for edge in edges for name in edge}
    return FlatGraph({name: nodes[name] for name in order}, edges, start, end, tuple(notes))


def shown(name: str) -> str:
    """A node's name in a message: one line, not long."""
    text = printable(name)
    return text if 0 < len(text) <= 60 else repr(text[:60])


def _spread(graph: NirNode, prefix: str, notes: list[str]) -> tuple[dict[str, NirNode], Edges]:
    """All nodes and edges of a graph and its subgraphs, with ``prefix`` before their names."""
    nodes: dict[str, NirNode] = {}
    edges: list[tuple[str, str]] = []
    for name, node in graph.nodes.items():
        if node.kind != "NIRGraph":
            _put(nodes, prefix + name, node)
            continue
        below, inner = _spread(node, f"{prefix}{name}.", notes)
        for path, found in below.items():
            _put(nodes, path, found)
        edges += inner
    for source, target in _own_edges(graph, nodes, prefix, notes):
        leaving = _endpoint(graph, nodes, prefix, source, "Output")
        edges.append((leaving, _endpoint(graph, nodes, prefix, target, "Input")))
    if prefix:
        nodes = {name: _as_port(node) for name, node in nodes.items()}
    return nodes, tuple(edges)


def _put(nodes: dict[str, NirNode], name: str, node: NirNode) -> None:
    if name in nodes:
        raise ModelError(f"{shown(name)}: two nodes have this name")
    nodes[name] = node


def _as_port(node: NirNode) -> NirNode:
    return replace(node, kind=PORT) if node.kind in ("Input", "Output") else node


def _own_edges(
    graph: NirNode, nodes: Mapping[str, NirNode], prefix: str, notes: list[str]
) -> Edges:
    """The graph's own edges, each once, with a name that is wrong put right."""
    counts = Counter(graph.edges)
    twice = [(edge, count) for edge, count in counts.items() if count > 1]
    for (source, target), count in twice[:MAX_NOTES]:
        pair = f"{shown(prefix + source)} -> {shown(prefix + target)}"
        notes.append(f"edge {pair} is there {count} times; taken once")
    if len(twice) > MAX_NOTES:
        notes.append(f"so are {len(twice) - MAX_NOTES} more edges")
    named = {name for edge in counts for name in edge}
    unknown = {n for n in named if n not in graph.nodes and prefix + n not in nodes}
    left = set(graph.nodes) - named
    if len(unknown) == 1 and len(left) == 1:
        wrong, right = unknown.pop(), left.pop()
        notes.append(
            f"edges name {shown(prefix + wrong)}, which is no node; taken for "
            f"{shown(prefix + right)}, the only node without edges"
        )
        renamed = {wrong: right}
        return tuple((renamed.get(a, a), renamed.get(b, b)) for a, b in counts)
    return tuple(counts)


def _endpoint(graph: NirNode, nodes: dict[str, NirNode], prefix: str, name: str, side: str) -> str:
    """The node that an edge starts or ends at: of a subgraph, its port."""
    found = graph.nodes.get(name)
    if found is None or found.kind != "NIRGraph":
        if prefix + name not in nodes:
            raise ModelError(f"an edge names {shown(prefix + name)}, which is no node")
        return prefix + name
    ports = [n for n, node in found.nodes.items() if node.kind == side]
    if len(ports) != 1:
        raise ModelError(
            f"{shown(prefix + name)}: a subgraph with {len(ports)} {side} nodes; it must have one"
        )
    return f"{prefix}{name}.{ports[0]}"


def _end(
    nodes: dict[str, NirNode], edges: Edges, kind: str
) -> tuple[dict[str, NirNode], Edges, str]:
    """The graph's only Input or Output; where a file has none, the one end there is gets one."""
    found = [name for name, node in nodes.items() if node.kind == kind]
    if len(found) > 1:
        names = ", ".join(shown(name) for name in found)
        raise ModelError(f"{len(found)} {kind} nodes ({names}); a network has one")
    if found:
        return nodes, edges, found[0]
    inner = {edge[kind == "Input"] for edge in edges}
    ends = [name for name in nodes if name not in inner]
    if len(ends) != 1:
        raise ModelError(f"no {kind} node, and {len(ends)} nodes where one could be")
    name = f"{kind.lower()}_{ends[0]}"
    edge = (name, ends[0]) if kind == "Input" else (ends[0], name)
    return {**nodes, name: NirNode(kind)}, (*edges, edge), name


def _check_connected(nodes: dict[str, NirNode], edges: Edges, start: str, end: str) -> None:
    sources, targets = {a for a, _ in edges}, {b for _, b in edges}
    if start in targets:
        raise ModelError(f"{shown(start)}: an Input node with an edge to it")
    if end in sources:
        raise ModelError(f"{shown(end)}: an Output node with an edge from it")
    for name, node in nodes.items():
        if name not in targets and name != start:
            raise ModelError(f"{shown(name)} ({node.kind}): nothing leads to it")
        if name not in sources and name != end:
            raise ModelError(f"{shown(name)} ({node.kind}): leads nowhere")
