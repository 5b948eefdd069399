"""The order in which a kernel reads its weights, by the kernel set that its name ends in."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def weights_for(kernel: str, weights: NDArray) -> NDArray:
    """``weights`` ``[sources, targets]`` of a dense projection as ``kernel`` reads them, flat."""
    layout = LAYOUTS.get(kernel.rpartition("_")[2])
    return weights.ravel() if layout is None else layout(weights)


def block_weights_for(kernel: str, weights: NDArray) -> NDArray:
    """``weights`` ``[sources, rows]`` of blocks (or many such) as ``kernel`` reads them, flat."""
    layout = BLOCK_LAYOUTS.get(kernel.rpartition("_")[2])
    rows = weights.reshape(-1, weights.shape[-1])
    return rows.ravel() if layout is None else layout(rows)


def _dsp(weights: NDArray) -> NDArray:
    """Tiles of 16, 8 and 4 targets, each ``[sources, targets]``, filled up with zeros; in every
    four the middle two are swapped, so that pairs of every other byte are neighbours."""
    sources, targets = weights.shape
    filled = np.zeros((sources, -(-targets // 4) * 4), weights.dtype)
    filled[:, :targets] = weights
    return np.concatenate([tile.ravel() for tile in _tiles(_swapped(filled), (16, 8, 4))])


def _dsp_blocks(rows: NDArray) -> NDArray:
    """In every complete four of a row the middle two are swapped."""
    whole = rows.shape[1] // 4 * 4
    return np.concatenate([_swapped(rows[:, :whole]), rows[:, whole:]], axis=1).ravel()


def _swapped(rows: NDArray) -> NDArray:
    return rows.reshape(len(rows), -1, 4)[:, :, [0, 2, 1, 3]].reshape(rows.shape)


def _tiles(weights: NDArray, widths: tuple[int, ...]) -> list[NDArray]:
    """Columns cut into as many tiles of the first width as there are, then of the next."""
    found, start = [], 0
    for width in widths:
        while weights.shape[1] - start >= width:
            found.append(weights[:, start : start + width])
            start += width
    return found


def _avx2(weights: NDArray) -> NDArray:
    """Rows filled up with zeros to a multiple of 8."""
    return _filled(weights, 8).ravel()


def _avx512(weights: NDArray) -> NDArray:
    """Rows filled up with zeros to a multiple of 32."""
    return _filled(weights, 32).ravel()


def _filled(rows: NDArray, multiple: int) -> NDArray:
    return np.pad(rows, ((0, 0), (0, -rows.shape[1] % multiple)))


LAYOUTS: dict[str, Callable[[NDArray], NDArray]] = {
    "avx2": _avx2,
    "avx512": _avx512,
    "dsp": _dsp,
}
BLOCK_LAYOUTS: dict[str, Callable[[NDArray], NDArray]] = {"dsp": _dsp_blocks}
