"""The order in which kernels of dense projections read weights of a byte each, or of floats."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.targets.layouts import (
    Layout,
    filled,
    in_turn,
    set_of,
    swapped,
    tiles,
    unsigned,
)


def weights_for(kernel: str, weights: NDArray) -> NDArray:
    """``weights`` ``[sources, targets]`` of a dense projection as ``kernel`` reads them, flat."""
    *_, sums, kernel_set = kernel.split("_")
    layout = LAYOUTS.get(f"{sums}_{kernel_set}") or LAYOUTS.get(kernel_set)
    return weights.ravel() if layout is None else layout(weights)


def multiply_weights_for(kernel: str, weights: NDArray) -> NDArray:
    """``weights`` ``[sources, targets]`` of a dense projection as a multiplying ``kernel`` reads
    them, flat."""
    return MULTIPLY_LAYOUTS[set_of(kernel)](weights)


# ---- kernels that add ----------------------------------------------------------------------------


def _rows(multiple: int, weights: NDArray) -> NDArray:
    """Rows filled up with zeros to a multiple of so many targets."""
    return filled(weights, multiple).ravel()


def _dsp(weights: NDArray) -> NDArray:
    """Rows filled up with zeros to a multiple of 8; in every four the middle two are swapped."""
    return swapped(filled(weights, 8)).ravel()


def _fpu(weights: NDArray) -> NDArray:
    """Tiles of 16, 8, 4, 2 and 1 targets, each ``[sources, targets]``."""
    return in_turn(tiles(weights, (16, 8, 4, 2, 1)))


def _m0(weights: NDArray) -> NDArray:
    """Tiles of 16 targets, and of 4 where 8 or less are left, each ``[sources, targets]``, filled
    up with zeros; of every four the middle two are swapped, and every weight is a byte without sign
    that is 128 greater."""
    multiple = 16 if -weights.shape[1] % 16 < 8 else 4
    return unsigned(in_turn(tiles(swapped(filled(weights, multiple)), (16, 4))))


def _mve(weights: NDArray) -> NDArray:
    """Tiles of 56 targets, the last one narrower, each ``[sources, targets]``, filled up with zeros
    to a multiple of 8. In every 16 of a tile the first and the last 8 take turns, and the first
    are bytes without sign that are 128 greater."""
    return in_turn([_mve_tile(strip) for strip in _strips(56, filled(weights, 8))])


def _mve_tile(tile: NDArray) -> NDArray:
    paired = tile.shape[1] // 16 * 16
    pairs = tile[:, :paired].reshape(len(tile), -1, 2, 8).copy()
    pairs[:, :, 0] = unsigned(pairs[:, :, 0])
    turns = pairs.swapaxes(2, 3).reshape(len(tile), paired)
    return np.concatenate([turns, tile[:, paired:]], axis=1)


def _in_strips(width: int, layout: Layout, weights: NDArray) -> NDArray:
    """Strips of so many targets, each as the set's kernel for int16 sums wants them."""
    return in_turn([layout(strip) for strip in _strips(width, weights)])


def _strips(width: int, weights: NDArray) -> list[NDArray]:
    """Columns cut into strips of so many targets, of which the last may be narrower."""
    return [weights[:, i : i + width] for i in range(0, weights.shape[1], width)]


# ---- kernels that multiply -----------------------------------------------------------------------


def _dotprod(weights: NDArray) -> NDArray:
    """Tiles of 64, 16 and 4 targets, filled up with zeros. In a tile come sixteens of sources, in
    those fours of targets, in those fours of sources: each ``[4 targets, 4 sources]``."""
    whole = _with_sixteens(filled(weights, 4))
    return in_turn([_dotprod_tile(tile) for tile in tiles(whole, (64, 16, 4))])


def _dotprod_tile(tile: NDArray) -> NDArray:
    sources, targets = tile.shape
    return tile.reshape(sources // 16, 4, 4, targets // 4, 4).transpose(0, 3, 1, 4, 2)


def _mve_multiply(weights: NDArray) -> NDArray:
    """Tiles of 7 targets, then of 6, as many as make no others needed or can be, then of one: in
    each sixteens of sources, ``[targets, 16]``, filled up with zeros."""
    targets = weights.shape[1]
    sixes = 6 * min(-targets % 7, targets // 6)
    sevens = (targets - sixes) // 7 * 7
    whole = _with_sixteens(weights)
    found = tiles(whole[:, :sevens], (7,)) + tiles(whole[:, sevens:], (6, 1))
    return in_turn([tile.reshape(-1, 16, tile.shape[1]).swapaxes(1, 2) for tile in found])


def _vnni(weights: NDArray) -> NDArray:
    """Fours of sources, each ``[targets, 4]``, filled up with zeros to 16 of both."""
    whole = _with_sixteens(filled(weights, 16))
    return whole.reshape(-1, 4, whole.shape[1]).swapaxes(1, 2).ravel()


def _with_sixteens(weights: NDArray) -> NDArray:
    """Sources of zeros are added up to a multiple of 16."""
    return filled(weights.T, 16).T


# Targets of a strip: STRIP of each set's kernel for int32 sums.
_STRIPS = {
    "avx2": 128,
    "avx512": 256,
    "dsp": 128,
    "m0": 128,
    "mve": 112,
    "neon32": 96,
    "neon64": 160,
}
_NARROW_LAYOUTS: dict[str, Layout] = {
    "avx2": partial(_rows, 8),
    "avx512": partial(_rows, 32),
    "dsp": _dsp,
    "m0": _m0,
    "mve": _mve,
    "neon32": partial(_rows, 8),
    "neon64": partial(_rows, 8),
}
LAYOUTS: dict[str, Layout] = {
    "fpu": _fpu,
    **_NARROW_LAYOUTS,
    **{
        f"i32_{kernel_set}": partial(_in_strips, width, _NARROW_LAYOUTS[kernel_set])
        for kernel_set, width in _STRIPS.items()
    },
}
MULTIPLY_LAYOUTS: dict[str, Layout] = {
    "dotprod": _dotprod,
    "mve": _mve_multiply,
    "vnni": _vnni,
}
