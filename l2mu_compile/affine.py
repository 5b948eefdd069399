"""Affine: a neuron's current at one step, read off as a bias and weights.

The current must be an affine function of the step's own sample, of spikes of the same step
(delay 0) and of spikes of the step before (delay 1). First every operation between the sources and
the currents is required to be affine by itself, for a kink may cancel, or be missed, further down
(`require_affine`). Then the current is run on unit vectors in float64 and checked on random
vectors, so any mix of operations will do. Unit vectors are scaled by a power of two so large that
biases vanish beside them: the weights of a plain linear layer come out bit for bit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.fx import Node

from l2mu_compile.dataflow import INPUT, SAMPLES, Dataflow, Read, Source, located
from l2mu_compile.errors import ModelError
from l2mu_compile.trace import operation, source_line

UNIT = 2.0**100
TOLERANCE = 1e-9

# Operations with kinks where random vectors never come: at values that are tiny, huge, or not
# finite, or wherever their arguments say.
_RARE_KINKS = re.compile(
    r"aten\.(nan\w*|(hard|soft)shrink|clamp\w*|clip|hardtanh|fmax|fmin|maximum|minimum)_?$"
)


class AffineMap(NamedTuple):
    """``bias [neurons]`` and weights ``[neurons, source neurons]`` by (source path, delay)."""

    bias: NDArray
    weights: dict[tuple[str, int], NDArray]


class Claim(NamedTuple):
    """A value that must be affine; ``what`` names it in errors."""

    what: str
    read: Read


def require_affine(graph: Dataflow, claims: Sequence[Claim]) -> None:
    """Refuse, by operation and source line, what keeps one of these values from being affine.

    Every value between the sources and the claims must be real, of float32 precision at least, and
    an affine function of all sources: it must add up on random vectors of several sizes.
    """
    slices = [graph.slice(claim.read) for claim in claims]
    nodes = sorted(set().union(*slices), key=graph.position)
    found = culprit(graph, nodes)
    if found is not None:
        node, reason = found
        what = next(c.what for c, part in zip(claims, slices, strict=True) if node in part)
        raise ModelError(
            f"{what} is not an affine function of spikes and samples: {reason}; "
            "between neurons only linear layers are supported"
        )


def culprit(graph: Dataflow, nodes: Sequence[Node]) -> tuple[Node, str] | None:
    """The first of these nodes (as `Dataflow.evaluate` takes them) that is not affine, and why."""
    for node in nodes:
        value = node.meta.get("val")
        dtype = value.dtype if isinstance(value, Tensor) else torch.float32
        if not dtype.is_floating_point or torch.finfo(dtype).bits < 32:
            return node, f"{located(node)} gives {str(dtype).removeprefix('torch.')} values"
        if _RARE_KINKS.match(operation(node)):
            return node, located(node)
    sources = [graph.sources[node] for node in nodes if node in graph.sources]
    for scale in (1.0, 1e4, UNIT):
        a, b = (graph.random(sources, seed, scale) for seed in (1, 2))
        total = {source: a[source] + b[source] for source in sources}
        for runs in zip(*(graph.evaluate(nodes, v) for v in ({}, a, b, total)), strict=True):
            node = runs[0][0]
            if not _adds_up(*(value for _, value in runs)):
                return node, located(node)
    return None


def extract(graph: Dataflow, path: str, step: int) -> AffineMap:
    """The current of ``path`` at ``step``, in float64, checked to be all there is.

    The current must be affine (`require_affine`). Raises `ModelError` if it reads what it may not
    or mixes the windows of a batch.
    """
    current = graph.current(path, step)
    sources = check_sources(graph, path, step)
    rest = _rows(graph.run(current, {}))
    if not (rest == rest[:1]).all():
        raise ModelError(f"the bias of {path} differs between windows: {located(current.node)}")
    found = AffineMap(rest[0], {})
    for source in sources:
        key = (INPUT, 0) if source == SAMPLES else (source.path, step - source.step)
        found.weights[key] = _columns(graph, current, source, step, found.bias)
    if not follows(graph, path, step, found):
        raise ModelError(
            f"the current of {path} at step {step} mixes the windows of a batch: "
            f"{located(current.node)}"
        )
    return found


def check_sources(graph: Dataflow, path: str, step: int) -> list[Source]:
    """Sources the current of ``path`` at ``step`` may read; `ModelError` if it reads others."""
    current = graph.current(path, step)
    leaves = graph.leaves(current)
    allowed = [leaf for leaf in leaves if leaf == SAMPLES or _is_near(leaf, step)]
    values, other = graph.random(leaves, step), graph.random(leaves, graph.trace.steps)
    plain = graph.run(current, values)

    def matter(some: Sequence[Source]) -> bool:
        moved = graph.run(current, {**values, **{leaf: other[leaf] for leaf in some}})
        return not torch.equal(moved, plain)

    far = [leaf for leaf in leaves if leaf not in allowed]
    if far and matter(far):
        leaf = next((leaf for leaf in far if matter([leaf])), far[0])
        raise ModelError(
            f"the current of {path} at step {step} reads {leaf}"
            f"{_where_read(graph, current, leaf)}; only spikes of the same step or the step "
            "before can be projected"
        )
    others = [k for k in range(graph.trace.steps) if k != step] if SAMPLES in leaves else []
    if others and not torch.equal(_run_moved(graph, current, values, others), plain):
        same = (torch.equal(_run_moved(graph, current, values, [k]), plain) for k in others)
        first = next((k for k, alike in zip(others, same, strict=True) if not alike), others[0])
        raise ModelError(
            f"the current of {path} at step {step} reads sample {first}"
            f"{_where_read(graph, current, SAMPLES)}; a step may only read its own sample"
        )
    return allowed


def _is_near(leaf: Source, step: int) -> bool:
    return leaf.kind == "spikes" and leaf.step in (step, step - 1)


def _run_moved(
    graph: Dataflow, current: Read, values: Mapping[Source, Tensor], steps: list[int]
) -> Tensor:
    """The current for ``values`` but with other samples at ``steps``."""
    axis, index = graph.time_axis(), torch.tensor(steps)
    other = graph.random([SAMPLES], graph.trace.steps)[SAMPLES].index_select(axis, index)
    return graph.run(current, {**values, SAMPLES: values[SAMPLES].index_copy(axis, index, other)})


def _where_read(graph: Dataflow, current: Read, leaf: Source) -> str:
    for here in graph.slice(current):
        if any(graph.sources.get(n) == leaf for n in here.all_input_nodes) and source_line(here):
            return f" ({source_line(here)})"
    return ""


def follows(graph: Dataflow, path: str, step: int, expected: AffineMap) -> bool:
    """True if random vectors, binary and real, give the current that bias and weights say."""
    current = graph.current(path, step)
    generator = torch.Generator().manual_seed(step)
    matrices = {key: torch.from_numpy(weight.T) for key, weight in expected.weights.items()}
    for scale in (0.0, 1.0, 1e-3, 1e4):
        values, total = {}, torch.from_numpy(expected.bias)
        size = total.abs()
        for (origin, delay), matrix in matrices.items():
            shape = (graph.trace.batch, matrix.shape[0])
            rows = torch.randn(shape, dtype=torch.float64, generator=generator)
            rows = rows * scale if scale else (rows > 0).double()
            source = SAMPLES if origin == INPUT else Source("spikes", origin, step - delay)
            values[source] = _value(graph, source, rows, step)
            total = total + rows @ matrix
            size = size + rows.abs() @ matrix.abs()
        found = graph.run(current, values).flatten(1)
        if not bool(((found - total).abs() <= TOLERANCE * size + 1e-30).all()):
            return False
    return True


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
    value.select(graph.time_axis(), step).copy_(rows)
    return value


def _rows(value: Tensor) -> NDArray:
    return value.reshape(value.shape[0], -1).numpy()


def _adds_up(zero: Any, one: Any, two: Any, both: Any) -> bool:
    """True if ``f(a + b) - f(0)`` is ``f(a) - f(0) + f(b) - f(0)``; tuples are left to parts."""
    if not isinstance(zero, Tensor):
        return True
    size = zero.abs() + one.abs() + two.abs() + both.abs()
    bound = TOLERANCE * (size + size.amax() if size.numel() else size)
    return bool(((one + two - zero - both).abs() <= bound).all())
