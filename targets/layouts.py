"""Layouts: in which order a kernel reads its weights, and what such orders are made of.

Those of each kind of kernel are in `l2mu_compile.targets.dense_layouts`, `packed_layouts`,
`structured_layouts` and `input_layouts`, by what a kernel's name ends in: a kernel set, and before
it the numbers of sums if the set's kernels for others differ. Weights come ``[sources, targets]``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Layout = Callable[[NDArray], NDArray]


def set_of(kernel: str) -> str:
    """What a kernel's name ends in: its set, where it is of one."""
    return kernel.rpartition("_")[2]


def filled(weights: NDArray, multiple: int) -> NDArray:
    """Zeros are added to every row up to a multiple of so many targets."""
    return np.pad(weights, ((0, 0), (0, -weights.shape[1] % multiple)))


def swapped(rows: NDArray) -> NDArray:
    """In every four of a row the middle two are swapped, so that pairs of every other byte are
    neighbours."""
    return rows.reshape(len(rows), -1, 4)[:, :, [0, 2, 1, 3]].reshape(rows.shape)


def unsigned(weights: NDArray) -> NDArray:
    """Every weight is a byte without sign that is 128 greater."""
    raised: NDArray = weights ^ np.int8(-128)
    return raised


def tiles(weights: NDArray, widths: Sequence[int]) -> list[NDArray]:
    """Columns cut into as many tiles of the first width as there are, then of the next."""
    found, start = [], 0
    for width in widths:
        while weights.shape[1] - start >= width:
            found.append(weights[:, start : start + width])
            start += width
    return found


def in_turn(parts: Sequence[NDArray]) -> NDArray:
    """One part after the other, flat."""
    return np.concatenate([part.ravel() for part in parts])


def ending_full(rows: NDArray, many: int) -> NDArray:
    """Rows of ``many`` and more are whole groups of so many. The last is of the last elements:
    zeros come before those that are in no other."""
    width = rows.shape[-1]
    if width < many:
        return rows
    whole = (width - 1) // many * many
    gap = np.zeros((*rows.shape[:-1], -width % many), rows.dtype)
    return np.concatenate([rows[..., :whole], gap, rows[..., whole:]], axis=-1)
