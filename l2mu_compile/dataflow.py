"""Dataflow: a traced fx graph as functions of its sources.

Sources are the samples and what neurons put out. What depends on no source is evaluated once, in
the model's own dtype; any other value can be evaluated for given source values, in float64. Writes
in place (``record[step] = spikes``) are honoured: a node depends on the last write to the storage
it reads, and evaluation follows program order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.fx import Node
from torch.fx.node import map_aggregate

from l2mu_compile.errors import ModelError
from l2mu_compile.trace import Trace, operation, source_line

INPUT = "x"
LIF_OUTPUTS = ("spikes", "membrane")
CUBA_OUTPUTS = ("spikes", "synaptic", "membrane")


class Source(NamedTuple):
    """Where values enter: the samples, or what neuron ``path`` put out at ``step``."""

    kind: str
    path: str = INPUT
    step: int = -1

    def __str__(self) -> str:
        if self.kind == "samples":
            return "the samples"
        return f"the {self.kind} of {self.path} at step {self.step}"


SAMPLES = Source("samples")


class Read(NamedTuple):
    """The value of ``node`` at the time ``reader`` reads it, after writes in place before that."""

    node: Node
    reader: Node


class Dataflow:
    """The traced graph, ready to evaluate any node from given source values.

    ``calls`` lists the updates of every neuron in program order: call ``k`` is step ``k``.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.nodes: list[Node] = list(trace.graph.nodes)
        self.calls: dict[str, list[Node]] = {path: [] for path in trace.neurons}
        self.sources: dict[Node, Source] = {}
        self._storage: dict[Node, Node] = {}
        self._writers: dict[Node, Node] = {}
        self._needs: dict[Node, list[Node]] = {}
        self._last_write: dict[Read, Node] = {}
        self._slices: dict[Read, list[Node]] = {}
        self._order = {node: position for position, node in enumerate(self.nodes)}
        for node in self.nodes:
            self._add(node)
        self.dynamic = self._find_dynamic()
        self._constants: dict[Node, Any] = {}
        self._frozen: dict[Read, Any] = {}
        self._evaluate_constants()

    def _add(self, node: Node) -> None:
        self._add_source(node)
        self._storage[node] = self._storage_of(node)
        reads = [] if node in self.sources or shape_only(node) else list(node.all_input_nodes)
        for n in reads:
            if self._storage[n] in self._writers:
                self._last_write[Read(n, node)] = self._writers[self._storage[n]]
        writers = (self._last_write.get(Read(n, node)) for n in reads)
        self._needs[node] = [*reads, *dict.fromkeys(w for w in writers if w is not None)]
        for target in written(node):
            self._writers[self._storage[target]] = node

    def _add_source(self, node: Node) -> None:
        args: Any = node.args
        if node.op == "placeholder":
            self.sources[node] = SAMPLES
        elif is_update(node):
            self.calls[args[-1]].append(node)
        elif operation(node) == "getitem" and is_update(args[0]):
            update, index = args
            kinds = LIF_OUTPUTS if len(update.args) == 3 else CUBA_OUTPUTS
            path = update.args[-1]
            self.sources[node] = Source(kinds[index], path, len(self.calls[path]) - 1)

    def _storage_of(self, node: Node) -> Node:
        """The node whose storage this one's value may share; itself if it is fresh."""
        if node.op != "call_function" or is_update(node) or node in self.sources:
            return node
        if operation(node) == "getitem":
            return self._storage[node.all_input_nodes[0]]
        schema = getattr(node.target, "_schema", None)
        if schema is None or all(r.alias_info is None for r in schema.returns):
            return node
        return next((self._storage[n] for n, _ in _aliased(node)), node)

    def _find_dynamic(self) -> set[Node]:
        """Nodes that depend on a source, or share storage with a value that does."""
        volatile: set[Node] = set()
        while True:
            dynamic: set[Node] = set()
            for node in self.nodes:
                depends = any(n in dynamic for n in self._needs[node])
                fresh = node in self.sources or is_update(node)
                if fresh or depends or self._storage[node] in volatile:
                    dynamic.add(node)
            touched = {self._storage[t] for node in dynamic for t in written(node)}
            if touched <= volatile:
                return dynamic
            volatile |= touched

    def _evaluate_constants(self) -> None:
        """Evaluate, in program order and in its own dtype, everything that depends on no source."""
        for node in self.nodes:
            if node.op == "get_attr":
                tensor = self.trace.tensors[str(node.target)].detach().cpu()
                self._constants[node] = tensor.clone() if node in self._writers else tensor
            elif node in self.dynamic:
                for n in node.all_input_nodes:
                    if n not in self.dynamic and self.is_written(n):
                        self._frozen[Read(n, node)] = _copied(self._constants[n])
            elif node.op == "call_function" and (node.users or written(node)):
                self._constants[node] = self._call(node, self._constants, exact=True)

    def _call(self, node: Node, values: Mapping[Node, Any], exact: bool = False) -> Any:
        """What a node computes from ``values`` and constants; in float64 unless ``exact``."""
        if _random(node):
            raise ModelError(f"{located(node)} draws random numbers; a compiled model cannot")
        if node.op == "get_attr":
            return _doubled(self._constants[node].clone())

        def fill(argument: Any) -> Any:
            if isinstance(argument, torch.dtype) and argument.is_floating_point and not exact:
                return torch.float64
            if isinstance(argument, torch.device):
                return torch.device("cpu")
            if not isinstance(argument, Node):
                return argument
            if shape_only(node):
                return torch.zeros(argument.meta["val"].shape, dtype=argument.meta["val"].dtype)
            return values[argument] if argument in values else self._constant(Read(argument, node))

        arguments = map_aggregate(node.args, fill)
        options = map_aggregate(node.kwargs, fill)
        result = node.target(*arguments, **options)  # type: ignore[operator]
        if re.match(r"aten\.(new_)?empty", str(node.target)):
            result.zero_()
        return result if exact else _doubled(result)

    def _constant(self, read: Read) -> Any:
        frozen = self._frozen.get(read)
        return _doubled(self._constants[read.node] if frozen is None else frozen)

    def slice(self, read: Read) -> list[Node]:
        """The nodes to evaluate for a value, in program order, down to the sources."""
        if read not in self._slices:
            found, pending = set(), [read.node, self._last_write.get(read, read.node)]
            while pending:
                here = pending.pop()
                if here in self.dynamic and here not in found:
                    found.add(here)
                    pending += self._needs[here]
            self._slices[read] = sorted(found, key=self.position)
        return self._slices[read]

    def leaves(self, read: Read) -> list[Source]:
        """Sources a value depends on, in order of first use."""
        found: dict[Source, None] = {}
        for here in self.slice(read):
            uses = [n for n in self._needs[here] if n in self.sources]
            found |= dict.fromkeys(self.sources[n] for n in uses)
        if read.node in self.sources:
            found[self.sources[read.node]] = None
        return list(found)

    def run(self, read: Read, values: Mapping[Source, Tensor]) -> Any:
        """A value for these source values; sources left out are zero."""
        if read.node not in self.dynamic:
            return self._constant(read)
        return dict(self.evaluate(self.slice(read), values))[read.node]

    def evaluate(
        self, nodes: Sequence[Node], values: Mapping[Source, Tensor]
    ) -> Iterator[tuple[Node, Any]]:
        """Nodes, in program order and with all they need before them, and what each computes."""
        found: dict[Node, Any] = {}
        for here in nodes:
            source = self.sources.get(here)
            if source is None:
                found[here] = self._call(here, found)
            elif source in values:
                found[here] = values[source].clone()
            else:
                found[here] = torch.zeros(self.shape(source), dtype=torch.float64)
            yield here, found[here]

    def shape(self, source: Source) -> tuple[int, ...]:
        """Shape of a source's value, batch axis included."""
        if source == SAMPLES:
            trace = self.trace
            order = (trace.steps, trace.batch) if trace.time_first else (trace.batch, trace.steps)
            return (*order, trace.inputs)
        return (self.trace.batch, *self.trace.neurons[source.path].shape)

    def random(
        self, leaves: Iterable[Source], seed: int, scale: float = 1.0
    ) -> dict[Source, Tensor]:
        """Values for these sources, normally distributed with standard deviation ``scale``."""
        generator = torch.Generator().manual_seed(seed)
        return {
            leaf: scale * torch.randn(self.shape(leaf), dtype=torch.float64, generator=generator)
            for leaf in leaves
        }

    def current(self, path: str, step: int) -> Read:
        """The current neuron ``path`` receives at ``step``."""
        call = self.calls[path][step]
        return Read(call.args[0], call)  # type: ignore[arg-type]

    def position(self, node: Node) -> int:
        """The place of a node in program order."""
        return self._order[node]

    def time_axis(self) -> int:
        """Time axis of the samples."""
        return 0 if self.trace.time_first else 1

    def is_written(self, node: Node) -> bool:
        """True if something writes in place to the storage of this node's value."""
        return self._storage[node] in self._writers


# Operations that look only at their arguments' shapes.
_SHAPE_ONLY = re.compile(r"aten\.(zeros|ones|full|empty|new_\w+)(_like)?\.")


def shape_only(node: Node) -> bool:
    """True if a node's value does not depend on its arguments' values."""
    return node.op == "call_function" and _SHAPE_ONLY.match(f"{node.target}.") is not None


def is_update(node: Any) -> bool:
    """True for a neuron update."""
    return isinstance(node, Node) and str(node.target).startswith("l2mu.")


def written(node: Node) -> list[Node]:
    """Arguments this node writes to in place."""
    if node.op != "call_function":
        return []
    return [argument for argument, is_write in _aliased(node) if is_write]


def _aliased(node: Node) -> Iterator[tuple[Node, bool]]:
    """Arguments whose storage this node writes to (True) or its result may share (False)."""
    schema = getattr(node.target, "_schema", None)
    for position, parameter in enumerate(schema.arguments if schema else ()):
        if parameter.alias_info is not None:
            by_place = position < len(node.args)
            value: Any = node.args[position] if by_place else node.kwargs.get(parameter.name)
            for each in value if isinstance(value, (list, tuple)) else (value,):
                if isinstance(each, Node):
                    yield each, parameter.alias_info.is_write


def _random(node: Node) -> bool:
    tags = getattr(node.target, "tags", ())
    inactive = "dropout" in str(node.target) and False in (*node.args, *node.kwargs.values())
    return torch.Tag.nondeterministic_seeded in tags and not inactive


def _doubled(value: Any) -> Any:
    """Floating-point tensors in float64; anything else as it is."""
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.double()
    return value


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


def located(node: Node) -> str:
    """An operation and the line it comes from, for messages."""
    if operation(node) == "getitem":
        return located(node.all_input_nodes[0])
    line = source_line(node)
    return f"{operation(node)} ({line})" if line else operation(node)
