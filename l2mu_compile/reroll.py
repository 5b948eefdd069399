"""Re-roll: the steps of a window are shown to repeat, and one of them is kept.

Call ``k`` of every neuron is step ``k``. Its state must be its own of step ``k - 1``, untouched;
its current is read off at step 1 (`affine`), and every other step must repeat it: step 0 but for
spikes of a step before, later ones entirely. A step that is the same computation over later
sources repeats step 1 for certain; any other is evaluated.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.fx import Node
from torch.fx.node import map_aggregate

from l2mu_compile.affine import (
    AffineMap,
    Claim,
    check_sources,
    extract,
    follows,
    require_affine,
)
from l2mu_compile.dataflow import (
    CUBA_OUTPUTS,
    SAMPLES,
    Dataflow,
    Read,
    Source,
    located,
    shape_only,
    written,
)
from l2mu_compile.errors import ModelError
from l2mu_compile.neurons import Neuron
from l2mu_compile.trace import NeuronRecord, operation


@dataclass(frozen=True)
class Layer:
    """One step of a neuron: its dynamics, and its current as a bias and weights.

    Weights are float32 ``[neurons, source neurons]`` by (source path, delay). ``members`` are the
    paths of the neuron modules it holds, in order and all of one size, if it is made of several.
    """

    path: str
    shape: tuple[int, ...]
    neuron: Neuron
    bias: NDArray
    weights: dict[tuple[str, int], NDArray] = field(default_factory=dict)
    members: tuple[str, ...] = ()


def reroll(graph: Dataflow) -> list[Layer]:
    """One step of every neuron, in the order they update within a step.

    Raises `ModelError` naming the neuron, the step and the operation that is not one repeated step.
    """
    paths = sorted(graph.calls, key=lambda path: graph.position(graph.calls[path][1]))
    odd = {path: _odd_steps(graph, path) for path in paths}
    require_affine(graph, [claim for path in paths for claim in _claims(graph, path, odd[path])])
    return [_one_step(graph, graph.trace.neurons[path], odd[path]) for path in paths]


def _odd_steps(graph: Dataflow, path: str) -> list[int]:
    """Steps 0 and 1, and all whose current is not plainly the computation of step 1."""
    forms, steps = _Forms(graph), len(graph.calls[path])
    form = forms.of(graph.current(path, 1), 1)
    known = (form is not None and forms.of(graph.current(path, k), k) == form for k in range(steps))
    return [k for k, alike in enumerate(known) if k < 2 or not alike]


def _claims(graph: Dataflow, path: str, steps: list[int]) -> list[Claim]:
    """What must be affine: the currents of these steps, and states unless plainly passed on."""
    states = [
        Claim(f"the {kind} of {path} before step {step}", read)
        for step in range(len(graph.calls[path]))
        for kind, read in _states(graph, path, step)
        if not _is_passed_on(graph, Source(kind, path, step - 1), read)
    ]
    currents = [Claim(f"the current of {path} at step {k}", graph.current(path, k)) for k in steps]
    return currents + states


def _one_step(graph: Dataflow, record: NeuronRecord, odd: list[int]) -> Layer:
    """Read step 1 of a neuron and prove that all its steps are alike."""
    path, last = record.path, len(graph.calls[record.path]) - 1
    for step in range(last + 1):
        _check_state(graph, path, step)
    first = extract(graph, path, 1)
    for step in odd:
        if 1 < step < last:
            check_sources(graph, path, step)
            if follows(graph, path, step, first):
                continue
        if step != 1:
            _check_same(path, step, first, extract(graph, path, step))
    return _narrowed(record, first)


def _narrowed(record: NeuronRecord, current: AffineMap) -> Layer:
    """Bias and weights rounded to float32, once."""
    weights = {key: weight.astype(np.float32) for key, weight in current.weights.items()}
    layer = Layer(
        record.path, record.shape, record.neuron, current.bias.astype(np.float32), weights
    )
    if not all(np.isfinite(a).all() for a in (layer.bias, *weights.values())):
        raise ModelError(f"the weights into {record.path} are not finite in float32")
    return layer


def _states(graph: Dataflow, path: str, step: int) -> list[tuple[str, Read]]:
    """The states neuron ``path`` is given at ``step``, by kind."""
    call = graph.calls[path][step]
    nodes: Any = call.args[1:-1]
    kinds = CUBA_OUTPUTS[-len(nodes) :]
    return [(kind, Read(node, call)) for kind, node in zip(kinds, nodes, strict=True)]


def _is_passed_on(graph: Dataflow, before: Source, read: Read) -> bool:
    return graph.sources.get(read.node) == before and len(graph.slice(read)) == 1


def _check_state(graph: Dataflow, path: str, step: int) -> None:
    """State must start at zero and pass from step to step untouched."""
    for kind, read in _states(graph, path, step):
        before = Source(kind, path, step - 1)
        if _is_passed_on(graph, before, read):
            continue
        values = graph.random(graph.leaves(read), step)
        found = graph.run(read, values)
        if step == 0 and bool(found.any()):
            raise ModelError(f"{path} starts a window with a {kind} that is not zero")
        if step == 0 or (before in values and torch.equal(found, values[before])):
            continue
        own = any(s.path == path for s in values)
        reason = f"by {located(read.node)}" if own else "and does not continue the last step's"
        raise ModelError(
            f"the {kind} of {path} is changed between steps {step - 1} and {step} {reason}; "
            "only the neuron itself may change its state"
        )


def _check_same(path: str, step: int, first: AffineMap, other: AffineMap) -> None:
    """Step ``step`` must have the map of step 1, bit for bit; step 0 but for delayed spikes."""
    where = "the first step" if step == 0 else f"step {step}"
    if not np.array_equal(first.bias.astype(np.float32), other.bias.astype(np.float32)):
        raise ModelError(f"{where} of {path} differs from step 1: its constant current is another")
    zero = np.zeros((first.bias.size, 1))
    for key in {**first.weights, **other.weights}:
        source, delay = key
        if step == 0 and delay == 1:
            continue
        one, two = (m.weights.get(key, zero).astype(np.float32) for m in (first, other))
        if not (one == two).all():
            raise ModelError(f"{where} of {path} differs from step 1: its weights from {source}")


class _Forms:
    """Numbers that are equal for computations that are the same but for the step they are in."""

    def __init__(self, graph: Dataflow) -> None:
        self.graph = graph
        self._numbers: dict[Any, int] = {}

    def of(self, read: Read, step: int) -> int | None:
        """The number of a computation in ``step``.

        None where writes in place make the form of a computation say too little.
        """
        if any(written(node) for node in self.graph.slice(read)):
            return None
        return self._number(read.node, step, {})

    def _number(self, node: Node, step: int, seen: dict[Node, int]) -> int:
        if node not in seen:
            form = self._form(node, step, seen)
            seen[node] = self._numbers.setdefault(form, len(self._numbers))
        return seen[node]

    def _form(self, node: Node, step: int, seen: dict[Node, int]) -> Any:
        graph = self.graph
        if node in graph.sources:
            kind, path, at = graph.sources[node]
            return kind, path, at - step if at >= 0 else "window"
        sample = _sample_step(graph, node)
        if sample is not None:
            return "sample", sample - step
        if node.op == "get_attr" or shape_only(node) or graph.is_written(node):
            return "node", node.name

        def fill(argument: Any) -> Any:
            if not isinstance(argument, Node):
                return argument
            return "#", self._number(argument, step, seen)

        parts = map_aggregate((node.args, dict(node.kwargs)), fill)
        return str(node.target), repr(parts)


def _sample_step(graph: Dataflow, node: Node) -> int | None:
    """The step whose sample this node reads, if it plainly picks one."""
    if node.op != "call_function":
        return None
    args: Any = node.args
    axis, name = graph.time_axis(), operation(node)
    if name == "aten.select" and graph.sources.get(args[0]) == SAMPLES and args[1] == axis:
        return int(args[2])
    if name == "getitem" and operation(args[0]) == "aten.unbind":
        whole, over = (*args[0].args, 0)[:2]
        if graph.sources.get(whole) == SAMPLES and over == axis:
            return int(args[1])
    return None
