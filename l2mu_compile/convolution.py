"""Convolutions: how a small kernel slides over a map of source neurons.

Neurons of a map ``(channels, height, width)`` are numbered row by row, channel by channel; maps of
one dimension have a height of 1. On each axis, a target at ``o`` reads with the kernel's ``k``-th
row (or column) the pooled source at ``o · stride - padding + k · dilation``, if there is one, and
each pooled source is the sum of ``pool`` neighbouring ones; those that fill no pool are not read.
So the full matrix is, with `Convolution.reads` R of either axis::

    W[(o, y, x), (c, v, u)] = Σ_ij kernel[o, c, i, j] · R_height[i, y, v] · R_width[j, x, u]

in which no two summands are not zero: a source reaches a target by one weight.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Pair = tuple[int, int]
Map = tuple[int, int, int]
MAX_READS = 2**24  # kernel rows times target rows times source rows, of an axis


@dataclass(frozen=True)
class Tap:
    """Row ``kernel`` of a kernel, and the rows of the ``target`` map that read with it as many of
    the ``source`` map."""

    kernel: int
    target: slice
    source: slice


@dataclass(frozen=True)
class Convolution:
    """What maps a convolution joins, and how; pairs are of height and width.

    ``padding`` is before the first row and column; how much is behind the last follows from the
    size of the ``target`` map. ``groups`` of channels are convolved each on its own.
    """

    source: Map
    target: Map
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    pool: Pair = (1, 1)

    @property
    def shape(self) -> tuple[int, int]:
        """(target size, source size)."""
        return math.prod(self.target), math.prod(self.source)

    @property
    def positions(self) -> int:
        """Targets of a channel, which share its weights."""
        return self.target[1] * self.target[2]

    def problem(self, kernel: tuple[int, ...]) -> str | None:
        """What is wrong with it for kernels of shape ``[out, in of a group, height, width]``."""
        for field in fields(self)[2:]:
            values = np.atleast_1d(getattr(self, field.name))
            least = 0 if field.name == "padding" else 1
            if values.min() < least or values.max() >= 2**16:
                return f"{field.name} {values.tolist()} is outside [{least}, {2**16 - 1}]"
        if min(*self.source, *self.target, *kernel) < 1:
            return f"nothing to convolve: maps {self.source} and {self.target}, kernel {kernel}"
        if self.source[0] % self.groups or self.target[0] % self.groups:
            return f"{self.source[0]} and {self.target[0]} channels are no {self.groups} groups"
        if kernel[:2] != (self.target[0], self.source[0] // self.groups):
            return (
                f"kernels are for {kernel[1]} channels to {kernel[0]}, not "
                f"{self.source[0] // self.groups} to {self.target[0]}"
            )
        if any(pool > size for pool, size in zip(self.pool, self.source[1:], strict=True)):
            return f"pools {list(self.pool)} of a map of {list(self.source[1:])}"
        reads = (k * p * n for k, p, n in zip(kernel[2:], self.pool, self.target[1:], strict=True))
        if max(reads) >= 2**16:
            return f"kernel {list(kernel[2:])} reads more than {2**16 - 1} rows or columns in all"
        for size, target, source in zip(kernel[2:], self.target[1:], self.source[1:], strict=True):
            if size * target * source > MAX_READS:
                return f"{size} rows read {source} for {target}; at most {MAX_READS} triples"
        return None

    def taps(self, axis: int, size: int) -> list[Tap]:
        """How a kernel of so many rows reads along an axis, 0 or 1: of every target, the sources
        in ascending order."""
        stride, padding = self.stride[axis], self.padding[axis]
        pool, targets = self.pool[axis], self.target[axis + 1]
        pooled = self.source[axis + 1] // pool
        found = []
        for k in range(size):
            offset = k * self.dilation[axis] - padding
            first = max(-(offset // stride), 0)
            end = min(-((offset - pooled) // stride), targets)
            if first >= end:
                continue
            start = (first * stride + offset) * pool
            step, stop = stride * pool, start + (end - first - 1) * stride * pool + 1
            found += [
                Tap(k, slice(first, end), slice(start + s, stop + s, step)) for s in range(pool)
            ]
        return found

    def reads(self, axis: int, size: int) -> NDArray:
        """int64 ``[size, targets, sources]``: 1 where the k-th row of a kernel of ``size`` joins a
        source to a target."""
        found = np.zeros((size, self.target[axis + 1], self.source[axis + 1]), np.int64)
        for tap in self.taps(axis, size):
            targets = np.arange(found.shape[1])[tap.target]
            found[tap.kernel, targets, np.arange(found.shape[2])[tap.source]] = 1
        return found

    def tables(self, axis: int, size: int, of_targets: bool) -> tuple[NDArray, NDArray, NDArray]:
        """What a kernel of ``size`` rows reads along an axis, for every source in turn, or target:
        uint16 ``[sources + 1]`` where each one's reads start, and for each read the kernel's row
        and the row at the other end, ascending."""
        found = np.argwhere(self.reads(axis, size))
        kernel, target, source = found.T
        own, other = (target, source) if of_targets else (source, target)
        order = np.lexsort((other, own))
        count = self.target[axis + 1] if of_targets else self.source[axis + 1]
        start = np.searchsorted(own[order], np.arange(count + 1))
        stored = np.uint16
        return start.astype(stored), kernel[order].astype(stored), other[order].astype(stored)

    def dense(self, kernel: NDArray) -> NDArray:
        """The full matrix ``[target size, source size]``."""
        full = np.zeros((*self.target, *self.source), kernel.dtype)
        for to, source, weight, row, column in self._joined(kernel):
            ys, xs = np.arange(self.target[1])[row.target], np.arange(self.target[2])[column.target]
            vs = np.arange(self.source[1])[row.source]
            us = np.arange(self.source[2])[column.source]
            part = full[to, :, :, source]
            part[:, ys[:, None], xs, vs[:, None], us] = weight[:, None, None]
        return full.reshape(self.shape)

    def kernel_in(self, full: NDArray, shape: tuple[int, ...]) -> NDArray:
        """The kernel of this ``shape`` in a ``full`` matrix that `dense` made; 0 in what nothing
        reads with."""
        kernel = np.zeros(shape, full.dtype)
        maps = full.reshape(*self.target, *self.source)
        for to, source, weight, row, column in self._joined(kernel):
            y, x, v, u = (s.start for s in (row.target, column.target, row.source, column.source))
            weight[:] = maps[to, y, x, source, v, u]
        return kernel

    def _joined(self, kernel: NDArray) -> Iterator[tuple[slice, int, NDArray, Tap, Tap]]:
        """(target channels, source channel, weights, row, column), sources in ascending order."""
        out, of_group = kernel.shape[0] // self.groups, kernel.shape[1]
        rows, columns = self.taps(0, kernel.shape[2]), self.taps(1, kernel.shape[3])
        for group in range(self.groups):
            to = slice(group * out, (group + 1) * out)
            for source in range(of_group):
                for row in rows:
                    for column in columns:
                        weight = kernel[to, source, row.kernel, column.kernel]
                        yield to, group * of_group + source, weight, row, column

    def targets_of(self, kernel: NDArray) -> NDArray:
        """Sums of ``kernel`` (or as many values) over the sources of each target, ``[targets]``."""
        heights, widths = (self.reads(a, kernel.shape[a + 2]).sum(axis=2) for a in (0, 1))
        return np.einsum("cij,iy,jx->cyx", kernel.sum(axis=1), heights, widths).ravel()

    def sources_of(self, kernel: NDArray) -> NDArray:
        """Sums of ``kernel`` (or as many values) over the targets of each source, ``[sources]``."""
        heights, widths = (self.reads(a, kernel.shape[a + 2]).sum(axis=1) for a in (0, 1))
        out = kernel.reshape(self.groups, -1, *kernel.shape[1:]).sum(axis=1)
        out = out.reshape(self.source[0], *kernel.shape[2:])
        return np.einsum("cij,iv,ju->cvu", out, heights, widths).ravel()

    def applied(self, kernel: NDArray, values: NDArray) -> NDArray:
        """The full matrix times ``values`` ``[..., sources]``."""
        maps = values.reshape(-1, *self.source)
        total = np.zeros((len(maps), *self.target), np.result_type(kernel, values))
        for to, source, weight, row, column in self._joined(kernel):
            read = maps[:, source, row.source, column.source]
            total[:, to, row.target, column.target] += weight[:, None, None] * read[:, None]
        return total.reshape(*values.shape[:-1], self.shape[0])

    def transposed(self, kernel: NDArray, values: NDArray) -> NDArray:
        """The full matrix, transposed, times ``values`` ``[targets]``."""
        maps = values.reshape(self.target)
        total = np.zeros(self.source, np.result_type(kernel, values))
        for to, source, weight, row, column in self._joined(kernel):
            read = maps[to, row.target, column.target]
            total[source, row.source, column.source] += np.tensordot(weight, read, 1)
        return total.ravel()

    def add_spikes(self, total: NDArray, kernel: NDArray, spikes: NDArray) -> None:
        """Add to ``total`` ``[B, targets]`` what ``spikes``, bool ``[B, sources]``, bring; to each
        target source after source."""
        totals, maps = total.reshape(-1, *self.target), spikes.reshape(-1, *self.source)
        for to, source, weight, row, column in self._joined(kernel):
            heard = maps[:, source, row.source, column.source][:, None]
            if heard.any():
                part = totals[:, to, row.target, column.target]
                np.add(part, weight[:, None, None], out=part, where=heard)

    def add_samples(self, total: NDArray, kernel: NDArray, samples: NDArray) -> None:
        """Add weights times ``samples`` ``[B, sources]`` to ``total`` ``[B, targets]``, to each
        target source after source."""
        totals, maps = total.reshape(-1, *self.target), samples.reshape(-1, *self.source)
        for to, source, weight, row, column in self._joined(kernel):
            heard = maps[:, source, row.source, column.source][:, None]
            totals[:, to, row.target, column.target] += weight[:, None, None] * heard
