"""How many values each node of a NIR graph takes and puts out.

Files leave this open in places: parameters may be scalars for a whole layer, and the shape of an
``Input`` may have axes of a batch or of time before its channels. What neighbours say decides.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.errors import ModelError
from l2mu_compile.nir_file import NirNode
from l2mu_compile.nir_graph import FlatGraph, shown
from l2mu_compile.nir_maps import Slide
from l2mu_compile.nir_neurons import FIELDS
from l2mu_compile.verify import MAX_NEURONS, MAX_POPULATIONS

_ARRAYS = {**FIELDS, "Scale": ("scale",), "Delay": ("delay",)}


@dataclass(frozen=True)
class Sizes:
    """Values that each node takes (``arriving``) and puts out (``out``), by name."""

    arriving: dict[str, int]
    out: dict[str, int]


def sizes(graph: FlatGraph, slides: Mapping[str, Slide]) -> Sizes:
    """The sizes of all nodes; `ModelError` naming nodes that do not fit each other."""
    found = Sizes({}, {})
    for name, node in graph.nodes.items():
        if name in slides:
            out, arriving = slides[name].convolution.shape
            _set(found, name, (arriving, out))
        else:
            _set(found, name, _own(name, node))
    _spread(graph, found, list(found.out))
    declared = _declared(graph.nodes[graph.input])
    if graph.input not in found.out and declared:
        _set(found, graph.input, (math.prod(declared),) * 2)
        _spread(graph, found, [graph.input])
    for name, node in graph.nodes.items():
        if name not in found.out:
            raise ModelError(f"{shown(name)} ({node.kind}): nothing tells how many neurons it has")
    _check_neurons(graph, found)
    _check(graph, found)
    return found


def weight_of(name: str, node: NirNode) -> NDArray:
    """The weights of a Linear or Affine node."""
    weight = node.fields.get("weight")
    if weight is None or isinstance(weight, str):
        raise ModelError(f"{shown(name)} ({node.kind}): has no weight")
    if weight.ndim < 2 or weight.size == 0:
        raise ModelError(
            f"{shown(name)} ({node.kind}): weight has shape {list(weight.shape)}, no matrix"
        )
    if not np.isfinite(weight).all():
        raise ModelError(f"{shown(name)} ({node.kind}): weight holds NaN or infinity")
    return weight


def _own(name: str, node: NirNode) -> tuple[int, int] | None:
    if node.kind in ("Linear", "Affine"):
        shape = weight_of(name, node).shape
        blocks = int(np.prod(shape[:-2]))
        return blocks * shape[-1], blocks * shape[-2]
    arrays = [node.fields.get(field) for field in _ARRAYS.get(node.kind, ())]
    most = max((a.size for a in arrays if isinstance(a, np.ndarray)), default=0)
    return (most, most) if most > 1 else None


def _set(found: Sizes, name: str, size: tuple[int, int] | None) -> None:
    if size is not None:
        found.arriving[name], found.out[name] = size


def _spread(graph: FlatGraph, found: Sizes, start: Iterable[str]) -> None:
    """Nodes that put out as much as they take learn it from their neighbours."""
    waiting = deque(start)
    while waiting:
        name = waiting.popleft()
        near = [(n, found.out[name]) for n in graph.out_of[name]]
        near += [(n, found.arriving[name]) for n in graph.into[name]]
        for other, size in near:
            if other not in found.out:
                _set(found, other, (size, size))
                waiting.append(other)


def _check_neurons(graph: FlatGraph, found: Sizes) -> None:
    """No more than a network may have, before memory is taken for any."""
    neurons = [name for name, node in graph.nodes.items() if node.kind in FIELDS]
    if len(neurons) > MAX_POPULATIONS:
        raise ModelError(f"{len(neurons)} nodes of neurons; at most {MAX_POPULATIONS}")
    for name in (graph.input, *neurons):
        if found.out[name] > MAX_NEURONS:
            kind = graph.nodes[name].kind
            raise ModelError(
                f"{shown(name)} ({kind}): has {found.out[name]} values; at most {MAX_NEURONS}"
            )


def _check(graph: FlatGraph, found: Sizes) -> None:
    for source, target in graph.edges:
        if found.out[source] != found.arriving[target]:
            raise ModelError(
                f"{shown(source)} puts out {found.out[source]} values, {shown(target)} takes "
                f"{found.arriving[target]}"
            )
    for name in (graph.input, graph.output):
        shape = _declared(graph.nodes[name])
        if shape and found.out[name] not in np.cumprod(shape[::-1]):
            raise ModelError(
                f"{shown(name)} ({graph.nodes[name].kind}): has shape {list(shape)}, but its "
                f"neighbours take it for {found.out[name]} values"
            )


def _declared(node: NirNode) -> tuple[int, ...]:
    """The shape in an Input or Output node; () if it says none that could be one."""
    shape = node.fields.get("shape")
    if not isinstance(shape, np.ndarray) or shape.ndim > 1 or not np.isfinite(shape).all():
        return ()
    values = shape.reshape(-1)
    usable = ((values >= 1) & (values < 2**31) & (values == np.floor(values))).all()
    return tuple(int(v) for v in values) if usable and values.size <= 8 else ()
