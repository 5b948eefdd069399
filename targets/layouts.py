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
    tiles = _tiles(_swapped(_filled(weights, 4)), (16, 8, 4))
    return np.concatenate([tile.ravel() for tile in tiles])


def _fpu(weights: NDArray) -> NDArray:
    """Tiles of 16, 8, 4, 2 and 1 targets, each ``[sources, targets]``."""
    return np.concatenate([tile.ravel() for tile in _tiles(weights, (16, 8, 4, 2, 1))])


def _m0(weights: NDArray) -> NDArray:
    """Tiles of 16 targets, and of 4 where 8 or less are left, each ``[sources, targets]``, filled
    up with zeros; of every four the middle two are swapped, and every weight is a byte without sign
    that is 128 greater."""
    multiple = 16 if -weights.shape[1] % 16 < 8 else 4
    tiles = _tiles(_swapped(_filled(weights, multiple)), (16, 4))
    return np.concatenate([tile.ravel() for tile in tiles]) ^ np.int8(-128)


def _mve(weights: NDArray) -> NDArray:
    """Tiles of 56 targets, the last one narrower, each ``[sources, targets]``, filled up with zeros
    to a multiple of 8. In every 16 of a tile the first and the last 8 take turns, and the first
    are bytes without sign that are 128 greater."""
    filled = _filled(weights, 8)
    starts = range(0, filled.shape[1], 56)
    return np.concatenate([_mve_tile(filled[:, i : i + 56]).ravel() for i in starts])


def _mve_tile(tile: NDArray) -> NDArray:
    paired = tile.shape[1] // 16 * 16
    pairs = tile[:, :paired].reshape(len(tile), -1, 2, 8).copy()
    pairs[:, :, 0] ^= np.int8(-128)
    turns = pairs.swapaxes(2, 3).reshape(len(tile), paired)
    return np.concatenate([turns, tile[:, paired:]], axis=1)


def _dsp_blocks(rows: NDArray) -> NDArray:
    """In every complete four of a row the middle two are swapped."""
    whole = rows.shape[1] // 4 * 4
    return np.concatenate([_swapped(rows[:, :whole]), rows[:, whole:]], axis=1).ravel()


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


def _filled(weights: NDArray, multiple: int) -> NDArray:
    """Zeros are added to every row up to a multiple of so many targets."""
    return np.pad(weights, ((0, 0), (0, -weights.shape[1] % multiple)))


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


def _eights(weights: NDArray) -> NDArray:
    """Rows filled up with zeros to a multiple of 8."""
    return _filled(weights, 8).ravel()


def _avx512(weights: NDArray) -> NDArray:
    """Rows filled up with zeros to a multiple of 32."""
    return _filled(weights, 32).ravel()


LAYOUTS: dict[str, Callable[[NDArray], NDArray]] = {
    "avx2": _eights,
    "avx512": _avx512,
    "dsp": _dsp,
    "fpu": _fpu,
    "m0": _m0,
    "mve": _mve,
    "neon32": _eights,
    "neon64": _eights,
}
BLOCK_LAYOUTS: dict[str, Callable[[NDArray], NDArray]] = {
    "dsp": _dsp_blocks,
    "neon": _neon_blocks,
}
INPUT_LAYOUTS: dict[str, Callable[[NDArray], NDArray]] = {"fpu": np.ravel, "neon": _neon_input}
