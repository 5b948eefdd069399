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


def input_weights_for(kernel: str, weights: NDArray) -> NDArray:
    """``weights`` ``[..., rows, columns]`` of samples as ``kernel`` reads them, flat."""
    layout = INPUT_LAYOUTS.get(kernel.rpartition("_")[2])
    return weights.ravel() if layout is None else layout(np.swapaxes(weights, -1, -2))


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


def _neon(weights: NDArray) -> NDArray:
    """Every source's weights filled up with zeros to a multiple of 8."""
    return np.pad(weights, ((0, 0), (0, -weights.shape[1] % 8))).ravel()


def _neon_blocks(rows: NDArray) -> NDArray:
    """Fours in each row; see `_ending_full`."""
    return _ending_full(rows, 4).ravel()


def _neon_input(blocks: NDArray) -> NDArray:
    """Eights in each row; see `_ending_full`."""
    return _ending_full(blocks, 8).ravel()


def _ending_full(rows: NDArray, many: int) -> NDArray:
    """Rows of ``many`` and more are whole groups of so many. The last is of the last elements:
    zeros come before those that are in no other."""
    width = rows.shape[-1]
    if width < many:
        return rows
    whole = (width - 1) // many * many
    gap = np.zeros((*rows.shape[:-1], -width % many), rows.dtype)
    return np.concatenate([rows[..., :whole], gap, rows[..., whole:]], axis=-1)


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


LAYOUTS: dict[str, Callable[[NDArray], NDArray]] = {"dsp": _dsp, "neon32": _neon, "neon64": _neon}
BLOCK_LAYOUTS: dict[str, Callable[[NDArray], NDArray]] = {
    "dsp": _dsp_blocks,
    "neon": _neon_blocks,
}
INPUT_LAYOUTS: dict[str, Callable[[NDArray], NDArray]] = {"neon": _neon_input}
