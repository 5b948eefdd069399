"""Affine: a neuron's current at one step, read off as a bias and weights.

The current must be an affine function of the step's own sample, of spikes of the same step
(delay 0) and of spikes of the step before (delay 1). It is run on unit vectors in float64 and
checked on random vectors, so any mix of operations will do. Unit vectors are scaled by a power of
two so large that biases vanish beside them: the weights of a plain linear layer come out bit for
bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2mu_compile.dataflow import INPUT, SAMPLES, Dataflow, Read, Source, doubled, located
from l2mu_compile.errors import ModelError
from l2mu_compile.trace import source_line

UNIT = 2.0**100
TOLERANCE = 1e-9


class AffineMap(NamedTuple):
    """``bias [neurons]`` and weights ``[neurons, source neurons]`` by (source path, delay)."""

    bias: NDArray
    weights: dict[tuple[str, int], NDArray]


def extract(graph: Dataflow, path: str, step: int) -> AffineMap:
    """The current of ``path`` at ``step``, in float64, checked to be all there is.

    Raises `ModelError` if the current reads what it may not or is not affine.
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
    check_affine(graph, path, step, found)
    return found


def check_sources(graph: Dataflow, path: str, step: int) -> list[Source]:
    """Sources the current of ``path`` at ``step`` may read; `ModelError` if it reads others."""
    current = graph.current(path, step)
    leaves = graph.leaves(current)
    allowed = [leaf for leaf in leaves if leaf == SAMPLES or _is_near(leaf, step)]
    values = graph.random(leaves, step)
    plain = graph.run(current, values)
    for leaf in leaves:
        moved = {**values, leaf: values[leaf] + 1}
        if leaf not in allowed and not torch.equal(graph.run(current, moved), plain):
            raise ModelError(
                f"the current of {path} at step {step} reads {leaf}"
                f"{_where_read(graph, current, leaf)}; only spikes of the same step or the step "
                "before can be projected"
            )
    others = [k for k in range(graph.trace.steps) if k != step] if SAMPLES in leaves else []
    if others and not torch.equal(_run_moved(graph, current, values, others), plain):
        same = (torch.equal(_run_moved(graph, current, values, [k]), plain) for k in others)
        other = next((k for k, alike in zip(others, same, strict=True) if not alike), others[0])
        raise ModelError(
            f"the current of {path} at step {step} reads sample {other}"
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


def check_affine(graph: Dataflow, path: str, step: int, expected: AffineMap) -> None:
    """Random vectors, binary and real, small and large, must give what bias and weights say."""
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
            raise ModelError(_not_affine(graph, path, step, current))


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


def _not_affine(graph: Dataflow, path: str, step: int, current: Read) -> str:
    """Name the first operation between the sources and the current that is not affine."""
    leaves = graph.leaves(current)
    for scale in (1.0, 1e4, UNIT):
        a, b = (graph.random(leaves, seed) for seed in (1, 2))
        a, b = ({leaf: scale * v for leaf, v in values.items()} for values in (a, b))
        total = {leaf: a[leaf] + b[leaf] for leaf in leaves}
        runs = [graph.run_all(current, values) for values in ({}, a, b, total)]
        for here in graph.slice(current):
            zero, one, two, both = (doubled(run[here]) for run in runs)
            if isinstance(zero, Tensor) and not _adds_up(zero, one, two, both):
                return (
                    f"the current of {path} at step {step} is not an affine function of spikes and "
                    f"samples: {located(here)}; between neurons only linear layers are supported"
                )
    return f"the current of {path} at step {step} mixes the windows of a batch or is not affine"


def _adds_up(zero: Tensor, one: Tensor, two: Tensor, both: Tensor) -> bool:
    if not zero.is_floating_point():
        return torch.equal(zero, one) and torch.equal(zero, two)
    size = zero.abs() + one.abs() + two.abs() + both.abs()
    bound = TOLERANCE * (size + size.amax() if size.numel() else size)
    return bool(((one + two - zero - both).abs() <= bound).all())
