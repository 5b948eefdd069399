"""What kernels are tried with: sizes, numbers, weights, and who spikes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from kernel_machines import Array, Variant
from numpy.typing import NDArray

from l2mu_compile.grids import GRIDS, Grid

SIZES = (*range(1, 34), 63, 64, 65, 127, 128, 129, 255, 256, 257)
NUMBERS = {"f32": np.float32, "i16": np.int16, "i32": np.int32, "i64": np.int64, "i8": np.int8}


def same(got: NDArray, wanted: NDArray) -> None:
    assert got.dtype == wanted.dtype
    assert got.tobytes() == wanted.tobytes(), (got, wanted)


def states(rng: np.random.Generator, numbers: str, size: int) -> NDArray:
    """Any accumulators or membranes."""
    if numbers == "i16":
        return rng.integers(-(2**15), 2**15, size).astype(np.int16)
    if numbers == "i32":
        return rng.integers(-2000, 2000, size).astype(np.int32)
    special = np.float32([0.0, -0.0, 1e-45, -1e-40, 1.0, np.inf])
    values = rng.normal(size=size).astype(np.float32) * 2
    return np.where(rng.random(size) < 0.2, rng.choice(special, size), values)


def states_before(rng: np.random.Generator, numbers: str, rows: NDArray) -> NDArray:
    """Any accumulators that any of ``rows`` can be added to; all of them often lead to an end of
    the range."""
    if numbers != "i16":
        return states(rng, numbers, rows.shape[1])
    least = -(2**15) - np.minimum(rows, 0).sum(axis=0, dtype=np.int64)
    greatest = 2**15 - 1 - np.maximum(rows, 0).sum(axis=0, dtype=np.int64)
    anything = rng.integers(least, greatest, endpoint=True)
    chosen = rng.integers(0, 4, len(least))
    return np.choose(chosen, [least, greatest, anything, anything]).astype(np.int16)


def filled(numbers: str, values: NDArray, filling: int = 0) -> NDArray:
    """An array of narrow numbers is filled up to a multiple of 8 elements."""
    if numbers != "i16":
        return values
    return np.append(values, np.full(-len(values) % 8, filling, values.dtype))


def array(numbers: str, values: NDArray, filling: int = 0) -> Array:
    """One element for each neuron, as well aligned as kernels may expect."""
    return Array(filled(numbers, values, filling), align=4)


def activities(rng: np.random.Generator, size: int) -> Iterator[NDArray]:
    """Who of ``size`` spikes: one at either end, then every number of them from none to all (of
    many only some numbers)."""
    for end in (0, -1):
        fired = np.zeros(size, bool)
        fired[end] = True
        yield fired
    some = {*range(10), size // 3, size // 2, size - 2, size - 1, size}
    for count in range(size + 1) if size <= 33 else sorted(some):
        yield rng.permutation(np.arange(size) < count)


def spike_list(fired: NDArray) -> NDArray:
    indices = np.flatnonzero(fired)
    listed = np.full(1 + len(fired), 0xFFFF, np.uint16)
    listed[0] = len(indices)
    listed[1 : 1 + len(indices)] = indices
    return listed


def unwritten_list(size: int) -> Array:
    return Array(np.full(1 + size, 0xFFFF, np.uint16))


def weights(rng: np.random.Generator, numbers: str, *shape: int) -> NDArray:
    if numbers.startswith("i8"):
        return rng.integers(-128, 128, shape).astype(np.int8)
    if grid := packing(numbers):
        quantum = rng.choice(grid.quanta, shape[-1])
        return (rng.choice(grid.multiples, shape) * quantum).astype(np.int16)
    return rng.normal(size=shape).astype(np.float32)


def packing(numbers: str) -> Grid | None:
    """The grid of a kernel's packed weights."""
    return next((g for g in GRIDS.values() if numbers.startswith(g.numbers)), None)


def of_weights(kernel: Variant) -> str:
    """The numbers that weights are."""
    return kernel.numbers.partition("_")[0]


def of_targets(kernel: Variant) -> str:
    """The numbers that accumulators are."""
    return sums_of(kernel.numbers)


def sums_of(numbers: str) -> str:
    return numbers.rpartition("_")[2]


def with_rows(start: NDArray, rows: NDArray) -> NDArray:
    """``start`` plus each of ``rows`` in turn, as numbers like it."""
    if start.dtype != np.float32:
        return start + rows.sum(axis=0, dtype=start.dtype)
    total = start.copy()
    for row in rows:
        total += row
    return total
