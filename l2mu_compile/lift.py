"""Lift: an fx graph of a few time steps becomes a Network of one.

1. **Re-roll.** Call ``k`` of every neuron is step ``k``. Its current must be an affine function of
   sample ``k``, of spikes of step ``k`` (delay 0) and of spikes of step ``k - 1`` (delay 1); its
   state must be its own of step ``k - 1``, untouched.
2. **Extract.** What depends on no source is evaluated once, in the model's own dtype. The rest is
   run on unit vectors in float64, checked to be affine on random vectors, and rounded to float32
   once. Unit vectors are scaled by a power of two so large that biases vanish beside them: a plain
   linear layer's weights come out bit for bit. Every step must repeat step 1, and step 0 too where
   it has sources.
3. **Recover structure.** Block-diagonal matrices become blocks; a population driven by shared
   blocks of ``d`` rows is a population of cells of ``d`` neurons.
4. **Merge per-channel encoders.** Published encoders hold one small linear layer and one neuron
   module per sensor channel, and concatenate their spikes. Populations of the same dynamics and
   size that each read their own slice of the input, and are always consumed together, become one
   population behind one projection with a distinct block per channel. Parameters are concatenated,
   or stay scalar where all agree. No spike changes; only the order of neurons is fixed, by channel.
5. **Read out.** The output must be the spikes of one population (times a positive constant), per
   step or summed over time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import gcd
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.fx import Node
from torch.fx.node import map_aggregate
from torch.utils import _pytree as pytree

from l2mu_compile.errors import ModelError, UsageError
from l2mu_compile.network import (
    READOUT_RULES,
    Input,
    Network,
    Population,
    Projection,
    Readout,
    identifier,
)
from l2mu_compile.neurons import Neuron, parameter_names
from l2mu_compile.trace import NeuronRecord, Trace, operation, source_line

UNIT = 2.0**100
TOLERANCE = 1e-9
INPUT = "x"


def lift(trace: Trace, name: str = "l2mu", readout: str | None = None) -> Network:
    """The Network (stage "traced") that computes what the traced module computes.

    ``readout`` is one of `READOUT_RULES`; None means ``spike_count`` for a module that returns
    spikes. A module that returns membranes needs it. Raises `ModelError` naming the operation, its
    source line and the neuron for whatever a Network cannot express.
    """
    if readout is not None and readout not in READOUT_RULES:
        raise UsageError(f"readout must be one of {', '.join(READOUT_RULES)}, not {readout!r}")
    with _one_thread(), torch.no_grad():
        graph = Dataflow(trace)
        layers = [_reroll(graph, record) for record in _update_order(graph)]
        target, rule = _read_out(graph, readout)
    layers = _merge_encoders(layers, trace.inputs, target)
    return _network(trace, name, layers, target, rule)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Many small products: threads only wait for each other, the more so on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


# ---- the fx graph as functions of its sources ----


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


# Operations that look only at their arguments' shapes.
_SHAPE_ONLY = re.compile(r"aten\.(zeros|ones|full|empty|new_\w+)(_like)?\.")


class Dataflow:
    """The traced graph, ready to evaluate any node from given source values, in float64.

    Writes in place (``record[step] = spikes``) are honoured: a node depends on the last write to
    the storage it reads, and evaluation follows program order.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.nodes: list[Node] = list(trace.graph.nodes)
        self.calls: dict[str, list[Node]] = {path: [] for path in trace.neurons}
        self.sources: dict[Node, Source] = {}
        self._inputs = set(trace.program.graph_signature.user_inputs)
        self._base: dict[Node, Node] = {}
        self._written: dict[Node, Node] = {}
        self.needs: dict[Node, list[Node]] = {}
        self._last_write: dict[Read, Node] = {}
        self._slices: dict[Read, list[Node]] = {}
        self._keys: dict[Any, int] = {}
        for position, node in enumerate(self.nodes):
            node.meta["position"] = position
            self._add(node)
        self.dynamic = self._find_dynamic()
        self._constants: dict[Any, Any] = {}
        self._evaluate_constants()

    def _add(self, node: Node) -> None:
        args: Any = node.args
        if node.op == "placeholder" and node.name in self._inputs:
            self.sources[node] = SAMPLES
        elif _is_update(node):
            self.calls[args[-1]].append(node)
        elif operation(node) == "getitem" and _is_update(args[0]):
            update, index = args
            kinds = _LIF_OUTPUTS if len(update.args) == 3 else _CUBA_OUTPUTS
            path = update.args[-1]
            self.sources[node] = Source(kinds[index], path, len(self.calls[path]) - 1)
        self._base[node] = self._base_of(node)
        reads = [] if node in self.sources or _shape_only(node) else list(node.all_input_nodes)
        for n in reads:
            if self._base[n] in self._written:
                self._last_write[Read(n, node)] = self._written[self._base[n]]
        writes = (self._last_write.get(Read(n, node)) for n in reads)
        self.needs[node] = [*reads, *dict.fromkeys(w for w in writes if w is not None)]
        for target in _writes(node):
            self._written[self._base[target]] = node

    def _base_of(self, node: Node) -> Node:
        """The node whose storage this one's value may share; itself if it is fresh."""
        if node.op != "call_function" or _is_update(node) or node in self.sources:
            return node
        if operation(node) == "getitem":
            return self._base[node.all_input_nodes[0]]
        schema = getattr(node.target, "_schema", None)
        if schema is None or all(r.alias_info is None for r in schema.returns):
            return node
        for argument, value in zip(schema.arguments, node.args, strict=False):
            if argument.alias_info is not None and isinstance(value, Node):
                return self._base[value]
        return node

    def _find_dynamic(self) -> set[Node]:
        """Nodes that depend on a source, or share storage with a value that does."""
        volatile: set[Node] = set()
        while True:
            dynamic: set[Node] = set()
            for node in self.nodes:
                depends = any(n in dynamic for n in self.needs[node])
                fresh = node in self.sources or _is_update(node)
                if fresh or depends or self._base[node] in volatile:
                    dynamic.add(node)
            touched = {self._base[t] for node in dynamic for t in _writes(node)}
            if touched <= volatile:
                return dynamic
            volatile |= touched

    def _evaluate_constants(self) -> None:
        """Evaluate, in program order and in its own dtype, everything that depends on no source."""
        tensors = self.trace.tensors()
        for node in self.nodes:
            if node.op == "placeholder" and node not in self.sources:
                value = tensors.get(node.name)
                self._constants[node] = None if value is None else value.detach().cpu()
            elif node.op == "call_function" and node not in self.dynamic and node.users:
                self._constants[node] = self._call(node, self._constants, exact=True)
            elif node in self.dynamic:
                for n in node.all_input_nodes:
                    if n not in self.dynamic and self._base[n] in self._written:
                        self._constants[node, n] = _copied(self._constants[n])

    def _call(self, node: Node, values: Mapping[Node, Any], exact: bool = False) -> Any:
        if _random(node):
            raise ModelError(f"{_at(node)} draws random numbers; a compiled model cannot")
        if node.op == "placeholder":
            return _doubled(self._constants[node].clone())

        def fill(argument: Any) -> Any:
            if isinstance(argument, torch.dtype) and argument.is_floating_point and not exact:
                return torch.float64
            if isinstance(argument, torch.device):
                return torch.device("cpu")
            if not isinstance(argument, Node):
                return argument
            if _shape_only(node):
                return torch.zeros(argument.meta["val"].shape, dtype=argument.meta["val"].dtype)
            if argument in values:
                return values[argument]
            frozen = self._constants.get((node, argument))
            return _doubled(self._constants[argument] if frozen is None else frozen)

        arguments = map_aggregate(node.args, fill)
        options = map_aggregate(node.kwargs, fill)
        result = node.target(*arguments, **options)  # type: ignore[operator]
        if re.match(r"aten\.(new_)?empty", str(node.target)):
            result.zero_()
        return result if exact else _doubled(result)

    def slice(self, read: Read) -> list[Node]:
        """The nodes to evaluate for a value, in program order, down to the sources."""
        if read not in self._slices:
            found, pending = set(), [read.node, self._last_write.get(read, read.node)]
            while pending:
                here = pending.pop()
                if here in self.dynamic and here not in found:
                    found.add(here)
                    pending += self.needs[here]
            self._slices[read] = sorted(found, key=lambda n: n.meta["position"])
        return self._slices[read]

    def leaves(self, read: Read) -> list[Source]:
        """Sources a value depends on, in order of first use."""
        found: dict[Source, None] = {}
        for here in self.slice(read):
            uses = [n for n in self.needs[here] if n in self.sources]
            found |= dict.fromkeys(self.sources[n] for n in uses)
        if read.node in self.sources:
            found[self.sources[read.node]] = None
        return list(found)

    def shape(self, source: Source) -> tuple[int, ...]:
        """Shape of a source's value, batch axis included."""
        if source == SAMPLES:
            trace = self.trace
            order = (trace.steps, trace.batch) if trace.time_first else (trace.batch, trace.steps)
            return (*order, trace.inputs)
        return (self.trace.batch, *self.trace.neurons[source.path].shape)

    def run(self, read: Read, values: Mapping[Source, Tensor]) -> Any:
        """A value for these source values; sources left out are zero."""
        return self.run_all(read, values)[read.node]

    def run_all(self, read: Read, values: Mapping[Source, Tensor]) -> dict[Node, Any]:
        """What every node of the value's slice computes."""
        if read.node not in self.dynamic:
            frozen = self._constants.get((read.reader, read.node))
            return {read.node: _doubled(self._constants[read.node] if frozen is None else frozen)}
        found: dict[Node, Any] = {}
        for here in self.slice(read):
            source = self.sources.get(here)
            if source is None:
                found[here] = self._call(here, found)
            elif source in values:
                found[here] = values[source].clone()
            else:
                found[here] = torch.zeros(self.shape(source), dtype=torch.float64)
        return found

    def sample_axis(self) -> int:
        """Time axis of the samples."""
        return 0 if self.trace.time_first else 1

    def key(self, read: Read, step: int) -> int | None:
        """A number that is equal for computations that are the same but for the step they are in.

        None where writes in place make the form of a computation say too little.
        """
        if any(_writes(n) for n in self.slice(read)):
            return None
        return self._key(read.node, step, {})

    def _key(self, node: Node, step: int, seen: dict[Node, int]) -> int:
        if node not in seen:
            form = self._form(node, step, seen)
            seen[node] = self._keys.setdefault(form, len(self._keys))
        return seen[node]

    def _form(self, node: Node, step: int, seen: dict[Node, int]) -> Any:
        if node in self.sources:
            kind, path, at = self.sources[node]
            return kind, path, at - step if at >= 0 else "window"
        sample = self._sample_step(node)
        if sample is not None:
            return "sample", sample - step
        if node.op == "placeholder" or _shape_only(node) or self._base[node] in self._written:
            return "node", node.name

        def fill(argument: Any) -> Any:
            if not isinstance(argument, Node):
                return argument
            return "#", self._key(argument, step, seen)

        parts = map_aggregate((node.args, dict(node.kwargs)), fill)
        return str(node.target), repr(parts)

    def _sample_step(self, node: Node) -> int | None:
        """The step whose sample this node reads, if it plainly picks one."""
        if node.op != "call_function":
            return None
        args: Any = node.args
        axis, name = self.sample_axis(), operation(node)
        if name == "aten.select" and self.sources.get(args[0]) == SAMPLES and args[1] == axis:
            return int(args[2])
        if name == "getitem" and operation(args[0]) == "aten.unbind":
            whole, over = (*args[0].args, 0)[:2]
            if self.sources.get(whole) == SAMPLES and over == axis:
                return int(args[1])
        return None


_LIF_OUTPUTS = ("spikes", "membrane")
_CUBA_OUTPUTS = ("spikes", "synaptic", "membrane")


def _is_update(node: Any) -> bool:
    return isinstance(node, Node) and str(node.target).startswith("l2mu.")


def _shape_only(node: Node) -> bool:
    return node.op == "call_function" and _SHAPE_ONLY.match(f"{node.target}.") is not None


def _writes(node: Node) -> list[Node]:
    """Arguments this node writes to in place."""
    schema = getattr(node.target, "_schema", None)
    if schema is None or node.op != "call_function" or operation(node) == "aten.detach_":
        return []
    pairs = zip(schema.arguments, node.args, strict=False)
    aliased = [(a.alias_info, v) for a, v in pairs if a.alias_info and isinstance(v, Node)]
    return [value for alias, value in aliased if alias.is_write]


def _random(node: Node) -> bool:
    tags = getattr(node.target, "tags", ())
    inactive = "dropout" in str(node.target) and False in (*node.args, *node.kwargs.values())
    return torch.Tag.nondeterministic_seeded in tags and not inactive


def _doubled(value: Any) -> Any:
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.double()
    return value


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


def _at(node: Node) -> str:
    line = source_line(node)
    return f"{operation(node)} ({line})" if line else operation(node)


# ---- re-rolling: one step's currents ----


@dataclass(frozen=True)
class Layer:
    """One step of a neuron: its dynamics, and its current as a bias and weights.

    Weights are float32 ``[neurons, source neurons]`` by (source path, delay).
    """

    path: str
    shape: tuple[int, ...]
    neuron: Neuron
    bias: NDArray
    weights: dict[tuple[str, int], NDArray] = field(default_factory=dict)


def _update_order(graph: Dataflow) -> list[NeuronRecord]:
    """Neurons in the order they update within step 1."""
    records = graph.trace.neurons.values()
    return sorted(records, key=lambda r: graph.calls[r.path][1].meta["position"])


def _reroll(graph: Dataflow, record: NeuronRecord) -> Layer:
    """Read step 1 of a neuron and prove that all its steps are alike."""
    calls = graph.calls[record.path]
    for step, call in enumerate(calls):
        _check_state(graph, record.path, step, call)
    form = graph.key(_current(calls[1]), 1)
    bias, weights = _extract(graph, record.path, 1)
    for step, call in enumerate(calls):
        if step == 1 or (step > 1 and form is not None and graph.key(_current(call), step) == form):
            continue
        if 1 < step < len(calls) - 1:
            _check_sources(graph, record.path, step)
            _check_affine(graph, record.path, step, bias, weights)
        else:
            _check_same(record.path, step, (bias, weights), _extract(graph, record.path, step))
    narrow = {key: weight.astype(np.float32) for key, weight in weights.items()}
    layer = Layer(record.path, record.shape, record.neuron, bias.astype(np.float32), narrow)
    if not all(np.isfinite(a).all() for a in (layer.bias, *narrow.values())):
        raise ModelError(f"the weights into {record.path} are not finite in float32")
    return layer


def _current(call: Node) -> Read:
    return Read(call.args[0], call)  # type: ignore[arg-type]


def _check_state(graph: Dataflow, path: str, step: int, call: Node) -> None:
    """State must start at zero and pass from step to step untouched."""
    states = call.args[1:-1]
    for kind, node in zip(_CUBA_OUTPUTS[-len(states) :], states, strict=True):
        assert isinstance(node, Node)
        before = Source(kind, path, step - 1)
        if graph.sources.get(node) == before and len(graph.slice(Read(node, call))) == 1:
            continue
        read = Read(node, call)
        values = _random_values(graph, graph.leaves(read), step)
        found = graph.run(read, values)
        if step == 0 and bool(found.any()):
            raise ModelError(f"{path} starts a window with a {kind} that is not zero")
        if step == 0 or (before in values and torch.equal(found, values[before])):
            continue
        own = any(s.path == path for s in values)
        reason = f"by {_at(node)}" if own else "and does not continue the last step's"
        raise ModelError(
            f"the {kind} of {path} is changed between steps {step - 1} and {step} {reason}; "
            "only the neuron itself may change its state"
        )


def _check_sources(graph: Dataflow, path: str, step: int) -> list[Source]:
    """Sources the current really depends on; refuses those a Network has no projection for."""
    current = _current(graph.calls[path][step])
    leaves = graph.leaves(current)
    allowed: list[Source] = []
    foreign: list[Source] = []
    for leaf in leaves:
        near = leaf.kind == "spikes" and leaf.step in (step, step - 1)
        (allowed if near or leaf == SAMPLES else foreign).append(leaf)
    values = _random_values(graph, leaves, step)
    plain = graph.run(current, values)
    for leaf in foreign:
        if not torch.equal(graph.run(current, {**values, leaf: values[leaf] + 1}), plain):
            raise ModelError(
                f"the current of {path} at step {step} reads {leaf}"
                f"{_reader(graph, current, leaf)}; only spikes of the same step or the step "
                "before can be projected"
            )
    if SAMPLES in leaves:
        for other in range(graph.trace.steps):
            moved = values[SAMPLES].clone()
            moved.select(graph.sample_axis(), other).add_(1)
            found = graph.run(current, {**values, SAMPLES: moved})
            if other != step and not torch.equal(found, plain):
                raise ModelError(
                    f"the current of {path} at step {step} reads sample {other}"
                    f"{_reader(graph, current, SAMPLES)}; a step may only read its own sample"
                )
    return allowed


def _reader(graph: Dataflow, current: Read, leaf: Source) -> str:
    for here in graph.slice(current):
        if any(graph.sources.get(n) == leaf for n in here.all_input_nodes) and source_line(here):
            return f" ({source_line(here)})"
    return ""


def _random_values(graph: Dataflow, leaves: Iterable[Source], seed: int) -> dict[Source, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        leaf: torch.randn(graph.shape(leaf), dtype=torch.float64, generator=generator)
        for leaf in leaves
    }


Maps = tuple[NDArray, dict[tuple[str, int], NDArray]]


def _extract(graph: Dataflow, path: str, step: int) -> Maps:
    """Bias and weights (float64) of a neuron's current at ``step``, checked to be all there is."""
    current = _current(graph.calls[path][step])
    sources = _check_sources(graph, path, step)
    rest = _rows(graph.run(current, {}))
    if not (rest == rest[:1]).all():
        raise ModelError(f"the bias of {path} differs between windows: {_at(current.node)}")
    weights = {}
    for source in sources:
        key = (INPUT, 0) if source == SAMPLES else (source.path, step - source.step)
        weights[key] = _columns(graph, current, source, step, rest[0])
    _check_affine(graph, path, step, rest[0], weights)
    return rest[0], weights


def _columns(graph: Dataflow, current: Read, source: Source, step: int, bias: NDArray) -> NDArray:
    """The matrix from ``source`` to a current: one run per batch of unit vectors."""
    shape, batch = graph.shape(source), graph.trace.batch
    size = int(np.prod(shape[2:] if source == SAMPLES else shape[1:]))
    matrix = np.empty((bias.size, size))
    for start in range(0, size, batch):
        count = min(batch, size - start)
        units = torch.zeros(batch, size, dtype=torch.float64)
        units[torch.arange(count), torch.arange(start, start + count)] = UNIT
        found = _rows(graph.run(current, {source: _value(graph, source, units, step)}))
        matrix[:, start : start + count] = ((found - bias) / UNIT)[:count].T
    return matrix


def _value(graph: Dataflow, source: Source, rows: Tensor, step: int) -> Tensor:
    """Rows ``[batch, neurons]`` as this source's value; samples are zero at other steps."""
    if source != SAMPLES:
        return rows.reshape(graph.shape(source))
    value = torch.zeros(graph.shape(source), dtype=torch.float64)
    value.select(graph.sample_axis(), step).copy_(rows)
    return value


def _rows(value: Tensor) -> NDArray:
    return value.reshape(value.shape[0], -1).numpy()


def _check_affine(
    graph: Dataflow, path: str, step: int, bias: NDArray, weights: Mapping[Any, NDArray]
) -> None:
    """Random vectors, binary and real, small and large, must give what bias and weights say."""
    current = _current(graph.calls[path][step])
    generator = torch.Generator().manual_seed(step)
    matrices = {key: torch.from_numpy(weight.T) for key, weight in weights.items()}
    for scale in (0.0, 1.0, 1e-3, 1e4):
        values, expected = {}, torch.from_numpy(bias)
        size = expected.abs()
        for (origin, delay), matrix in matrices.items():
            shape = (graph.trace.batch, matrix.shape[0])
            rows = torch.randn(shape, dtype=torch.float64, generator=generator)
            rows = rows * scale if scale else (rows > 0).double()
            source = SAMPLES if origin == INPUT else Source("spikes", origin, step - delay)
            values[source] = _value(graph, source, rows, step)
            expected = expected + rows @ matrix
            size = size + rows.abs() @ matrix.abs()
        found = graph.run(current, values).flatten(1)
        if not bool(((found - expected).abs() <= TOLERANCE * size + 1e-30).all()):
            raise ModelError(_not_affine(graph, path, step, current))


def _not_affine(graph: Dataflow, path: str, step: int, current: Read) -> str:
    """Name the first operation between the sources and the current that is not affine."""
    leaves = graph.leaves(current)
    for scale in (1.0, 1e4, UNIT):
        a, b = (_random_values(graph, leaves, seed) for seed in (1, 2))
        a, b = ({leaf: scale * v for leaf, v in values.items()} for values in (a, b))
        total = {leaf: a[leaf] + b[leaf] for leaf in leaves}
        runs = [graph.run_all(current, values) for values in ({}, a, b, total)]
        for here in graph.slice(current):
            zero, one, two, both = (_doubled(run[here]) for run in runs)
            if isinstance(zero, Tensor) and not _adds_up(zero, one, two, both):
                return (
                    f"the current of {path} at step {step} is not an affine function of spikes "
                    f"and samples: {_at(here)}; between neurons only linear layers are supported"
                )
    return f"the current of {path} at step {step} mixes the windows of a batch or is not affine"


def _adds_up(zero: Tensor, one: Tensor, two: Tensor, both: Tensor) -> bool:
    if not zero.is_floating_point():
        return torch.equal(zero, one) and torch.equal(zero, two)
    size = zero.abs() + one.abs() + two.abs() + both.abs()
    bound = TOLERANCE * (size + size.amax() if size.numel() else size)
    return bool(((one + two - zero - both).abs() <= bound).all())


def _check_same(path: str, step: int, first: Maps, other: Maps) -> None:
    """Step ``step`` must have the maps of step 1, bit for bit; step 0 but for delayed spikes."""
    (bias, weights), (other_bias, other_weights) = first, other
    where = "the first step" if step == 0 else f"step {step}"
    if not np.array_equal(bias.astype(np.float32), other_bias.astype(np.float32)):
        raise ModelError(f"{where} of {path} differs from step 1: its constant current is another")
    for key in {**weights, **other_weights}:
        source, delay = key
        if step == 0 and delay == 1:
            continue
        zero = np.zeros((bias.size, 1))
        one, two = (w.get(key, zero).astype(np.float32) for w in (weights, other_weights))
        if not (one == two).all():
            raise ModelError(f"{where} of {path} differs from step 1: its weights from {source}")


# ---- per-channel encoders ----


def _merge_encoders(layers: list[Layer], inputs: int, target: str) -> list[Layer]:
    """Merge every group of per-channel encoders; see the module docstring."""
    for group in _sibling_groups(layers, target):
        ordered = _by_slice(group, inputs)
        if ordered and _consumed_together(layers, {g.path for g in group}):
            layers = _merge(layers, ordered)
    return layers


def _sibling_groups(layers: list[Layer], target: str) -> list[list[Layer]]:
    groups: dict[Any, list[Layer]] = {}
    for layer in layers:
        if set(layer.weights) == {(INPUT, 0)} and layer.path != target:
            readers = frozenset(r.path for r in layers if _reads(r, layer.path))
            alike = (type(layer.neuron), layer.neuron.reset, layer.bias.size, readers)
            groups.setdefault(alike, []).append(layer)
    return [group for group in groups.values() if len(group) > 1]


def _reads(reader: Layer, path: str) -> bool:
    return any(source == path for source, _ in reader.weights)


def _consumed_together(layers: list[Layer], paths: set[str]) -> bool:
    used = False
    for layer in layers:
        for delay in (0, 1):
            read = {source for source, d in layer.weights if d == delay} & paths
            used |= bool(read)
            if read and read != paths:
                return False
    return used


def _by_slice(group: list[Layer], inputs: int) -> list[Layer] | None:
    """The group by the input slices it reads, if these are equal, disjoint and complete."""
    width, rest = divmod(inputs, len(group))
    if rest or not width:
        return None
    places: dict[int, Layer] = {}
    for layer in group:
        used = np.flatnonzero(layer.weights[INPUT, 0].any(axis=0)) // width
        if used.size == 0 or (used != used[0]).any() or int(used[0]) in places:
            return None
        places[int(used[0])] = layer
    return [places[k] for k in range(len(group))]


def _merge(layers: list[Layer], group: list[Layer]) -> list[Layer]:
    paths = [layer.path for layer in group]
    merged = Layer(
        path=_common_path(paths),
        shape=(sum(layer.bias.size for layer in group),),
        neuron=_joined_neuron(group),
        bias=np.concatenate([layer.bias for layer in group]),
        weights={(INPUT, 0): np.concatenate([layer.weights[INPUT, 0] for layer in group])},
    )
    first = min(i for i, layer in enumerate(layers) if layer.path in paths)
    result = []
    for i, layer in enumerate(layers):
        if i == first:
            result.append(merged)
        elif layer.path not in paths:
            result.append(replace(layer, weights=_joined_weights(layer, paths, merged.path)))
    return result


def _joined_weights(layer: Layer, paths: list[str], merged: str) -> dict[tuple[str, int], NDArray]:
    weights = {}
    for (source, delay), weight in layer.weights.items():
        if source not in paths:
            weights[source, delay] = weight
        elif (merged, delay) not in weights:
            parts = [layer.weights[path, delay] for path in paths]
            weights[merged, delay] = np.concatenate(parts, axis=1)
    return weights


def _joined_neuron(group: list[Layer]) -> Neuron:
    values: dict[str, Any] = {}
    for name in parameter_names(group[0].neuron):
        parts = [
            np.broadcast_to(getattr(layer.neuron, name), (layer.bias.size,)) for layer in group
        ]
        scalar = all(getattr(layer.neuron, name).ndim == 0 for layer in group)
        joined = np.concatenate(parts)
        values[name] = joined[0] if scalar and (joined == joined[0]).all() else joined
    return replace(group[0].neuron, **values)


def _common_path(paths: list[str]) -> str:
    """``list.0 list.1`` is ``list``; ``enc.spk_x enc.spk_y`` is ``enc``; else ``encoder``."""
    split = [path.split(".") for path in paths]
    shared = []
    for parts in zip(*split, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return ".".join(shared) or "encoder"


# ---- structure ----


def _structured(weight: NDArray, cells: int) -> tuple[NDArray, int]:
    """A dense matrix as (weight, blocks) of least storage; shared blocks per cell come first."""
    counts = _block_counts(weight)
    options = [(b, k) for k in counts for b in [_blocks(weight, k)]]
    fitting = [(b, k) for b, k in options if k == cells and b.ndim == 2]
    best = min(fitting or options, key=lambda option: option[0].size, default=None)
    return (weight, 0) if best is None else best


def _block_counts(weight: NDArray) -> list[int]:
    """All k > 1 for which the matrix is exactly block diagonal with k equal-sized blocks."""
    rows, columns = weight.shape
    common = gcd(rows, columns)
    if common == 1 or np.count_nonzero(weight) > weight.size // 2:
        return []
    row, column = np.nonzero(weight)
    divisors = (k for k in range(2, common + 1) if common % k == 0)
    return [k for k in divisors if np.array_equal(row // (rows // k), column // (columns // k))]


def _blocks(weight: NDArray, count: int) -> NDArray:
    """The diagonal blocks: ``[rows, columns]`` if all equal, else ``[count, rows, columns]``."""
    rows, columns = weight.shape[0] // count, weight.shape[1] // count
    index = np.arange(count)
    blocks = weight.reshape(count, rows, count, columns)[index, :, index, :]
    return blocks[0] if (blocks == blocks[:1]).all() else blocks


def _cells(layer: Layer) -> int:
    """How many memory cells a layer has: the count its shared blocks agree on, or 0.

    Blocks of one row (an identity, say) speak for no grouping, but do not contradict one.
    """
    agreed: set[int] = set()
    for weight in layer.weights.values():
        shared = {k for k in _block_counts(weight) if _blocks(weight, k).ndim == 2}
        if shared and max(shared) < layer.bias.size:
            agreed = agreed & shared or agreed or shared
    if len(layer.shape) > 1 and layer.shape[0] in agreed:
        return layer.shape[0]
    return max(agreed, default=0)


# ---- the readout ----


def _read_out(graph: Dataflow, readout: str | None) -> tuple[str, str]:
    """The neuron the module's output is read from, and the rule."""
    results = [_matched(graph, reads) for reads in _results(graph)]
    spikes = [r for r in results if r and r[1] == "spike_count"]
    if spikes:
        return spikes[0][0], readout or "spike_count"
    found = next((r for r in results if r), None)
    if found is None:
        raise ModelError(_unreadable(graph))
    path, rule = found
    if readout is None and rule == "":
        raise ModelError(
            f"{graph.trace.module} returns the membrane of {path}, not spikes; say how to decide "
            f"with readout=, one of {', '.join(READOUT_RULES)}"
        )
    return path, readout or rule


def _results(graph: Dataflow) -> list[list[Read]]:
    """The module's outputs in order; a list of one tensor per step counts as one output."""
    program = graph.trace.program
    output = graph.nodes[-1].args[0]
    user = [
        n
        for n, spec in zip(output, program.graph_signature.output_specs, strict=True)  # type: ignore[arg-type]
        if spec.kind.name == "USER_OUTPUT"
    ]
    tree = pytree.tree_unflatten(user, program.call_spec.out_spec)
    sequences = _sequences(tree, graph.trace.steps)
    return [[Read(node, graph.nodes[-1]) for node in nodes] for nodes in sequences]


def _sequences(tree: Any, steps: int) -> list[list[Node]]:
    if isinstance(tree, Node):
        return [[tree]]
    entries = list(tree.values()) if isinstance(tree, dict) else tree
    if not isinstance(entries, (list, tuple)):
        return []
    if len(entries) == steps and all(isinstance(e, Node) for e in entries):
        shapes = {tuple(e.meta["val"].shape) for e in entries}
        if len(shapes) == 1 and len(next(iter(shapes))) == 2:
            return [list(entries)]
    return [sequence for entry in entries for sequence in _sequences(entry, steps)]


def _matched(graph: Dataflow, reads: Sequence[Read]) -> tuple[str, str] | None:
    """(neuron, rule) if this output is a neuron's spikes or membranes; "" for bare membranes."""
    leaves = list(dict.fromkeys(leaf for read in reads for leaf in graph.leaves(read)))
    values = _random_values(graph, leaves, 7)
    found = [_doubled(graph.run(read, values)) for read in reads]
    if not all(isinstance(f, Tensor) and f.is_floating_point() for f in found):
        return None
    output = _time_major(torch.stack(found) if len(found) > 1 else found[0], graph.trace)
    if output is None:
        return None
    for kind in ("spikes", "membrane"):
        for path in dict.fromkeys(s.path for s in leaves if s.kind == kind):
            steps = range(graph.trace.steps)
            shown = [values.get(Source(kind, path, k)) for k in steps]
            rows = [None if s is None else s.reshape(s.shape[0], -1) for s in shown]
            rule = _compare(output, rows, kind)
            if rule is not None:
                return path, rule
    return None


def _time_major(output: Tensor, trace: Trace) -> Tensor | None:
    """``[T, B, C]`` from either layout; ``[B, C]`` as it is; None for other shapes."""
    if output.ndim >= 3 and tuple(output.shape[:2]) == (trace.batch, trace.steps):
        output = output.transpose(0, 1)
    if output.ndim >= 3 and tuple(output.shape[:2]) == (trace.steps, trace.batch):
        return output.flatten(2)
    return output if output.ndim == 2 and output.shape[0] == trace.batch else None


def _compare(output: Tensor, rows: Sequence[Tensor | None], kind: str) -> str | None:
    """The rule by which ``output`` shows a neuron's values ``rows`` (one per step), if it does."""
    if output.ndim == 2:
        last = rows[-1]
        if kind == "membrane" and last is not None and _proportional(output, last):
            return "last_membrane"
        kept = [r for r in rows if r is not None]
        if len(kept) == len(rows) and _proportional(output, torch.stack(kept).sum(0)):
            return "spike_count" if kind == "spikes" else "mean_membrane"
        return None
    kept = [r for r in rows if r is not None]
    if len(kept) < len(rows) or not _proportional(output, torch.stack(kept)):
        return None
    return "spike_count" if kind == "spikes" else ""


def _proportional(output: Tensor, values: Tensor) -> bool:
    """True if ``output`` is ``values`` times one positive constant."""
    if output.shape != values.shape:
        return False
    factor = output.flatten()[0] / values.flatten()[0]
    return bool(factor > 0) and torch.allclose(output, factor * values, rtol=1e-6, atol=1e-9)


def _unreadable(graph: Dataflow) -> str:
    module, results = graph.trace.module, _results(graph)
    shapes = ", ".join(str(list(r[0].node.meta["val"].shape)) for r in results) or "no tensor"
    leaves = {s.path for reads in results for r in reads for s in graph.leaves(r)} - {INPUT}
    made = f", made of what {' and '.join(sorted(leaves))} put out" if leaves else ""
    lines = [_at(r[0].node) for r in results if r[0].node.op == "call_function"]
    return (
        f"{module} returns {shapes}{made}: {lines[0] if lines else 'a constant'}; it must return "
        "the spikes of one neuron layer, unpermuted: [T, B, C], [B, T, C] or their sum over time"
    )


# ---- names and the Network ----


def _network(trace: Trace, name: str, layers: list[Layer], target: str, rule: str) -> Network:
    names = _names([layer.path for layer in layers])
    populations, projections = [], []
    for layer in layers:
        cells, size = _cells(layer), layer.bias.size
        shape = (cells, size // cells) if cells else (size,)
        bias = layer.bias if layer.bias.any() else None
        populations.append(Population(names[layer.path], shape, layer.neuron, bias))
        ordered = sorted(layer.weights.items(), key=lambda item: item[0][0] != INPUT)
        for (source, delay), weight in ordered:
            if weight.any():
                stored, blocks = _structured(weight, cells)
                ends = names.get(source, INPUT), names[layer.path]
                projections.append(Projection(*ends, stored, delay=delay, blocks=blocks))
    return Network(
        name=identifier(name, fallback="net"),
        input=Input(INPUT, trace.inputs),
        populations=tuple(populations),
        projections=tuple(projections),
        readout=Readout(names[target], rule),
        window=trace.window,
    )


def _names(paths: list[str]) -> dict[str, str]:
    """Short unique C identifiers: the last part of each path, with more before it if needed."""
    names: dict[str, str] = {}
    for path in paths:
        parts = [re.sub(r"^(spk|lif)_(?=[A-Za-z])", "", part) for part in path.split(".")]
        for count in range(1, len(parts) + 1):
            short = "_".join(parts[-count:])
            others = [p for p in paths if p != path]
            if short[:1].isalpha() and not any(_tail(p, count) == short for p in others):
                break
        names[path] = identifier(short, taken=[INPUT, *names.values()])
    return names


def _tail(path: str, count: int) -> str:
    parts = [re.sub(r"^(spk|lif)_(?=[A-Za-z])", "", part) for part in path.split(".")]
    return "_".join(parts[-count:])
