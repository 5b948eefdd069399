"""The order in which kernels read the weights of samples."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.targets.layouts import Layout, ending_full, set_of, unsigned


def input_weights_for(kernel: str, weights: NDArray, shift: NDArray | None = None) -> NDArray:
    """``weights`` ``[rows, columns]`` or ``[blocks, rows, columns]`` of samples as ``kernel`` reads
    them, ``[blocks, stored]``; one block where all are the same.

    ``shift``, one for all targets or one each, is what their sums are shifted by.
    """
    blocks = weights.reshape(-1, *weights.shape[-2:])
    stored = _stored(kernel, blocks, np.asarray(0 if shift is None else shift))
    return stored.reshape(len(stored), -1)


def _stored(kernel: str, blocks: NDArray, shift: NDArray) -> NDArray:
    """``blocks`` ``[blocks, rows, columns]`` in the kernel's order."""
    floats, kernel_set = "_f32" in kernel, set_of(kernel)
    if not floats and kernel_set in SHIFTED_INPUT_LAYOUTS:
        return SHIFTED_INPUT_LAYOUTS[kernel_set](blocks, shift)
    layout = (FLOAT_INPUT_LAYOUTS if floats else INPUT_LAYOUTS).get(kernel_set)
    return blocks if layout is None else layout(np.swapaxes(blocks, 1, 2))


def _dsp(blocks: NDArray, shift: NDArray) -> NDArray:
    """Of one column: int32 weights times 2^(23 - shift), which are more blocks where shifts differ.

    Of many: tiles of 4 targets, for every two columns of which there are 8 weights, filled up with
    zeros: the first column's of two targets, the second's, and the same of two more.
    """
    rows, columns = blocks.shape[1:]
    if columns == 1:
        return _scaled(blocks[..., 0], shift).view(np.int8)
    filled = np.pad(blocks, ((0, 0), (0, -rows % 4), (0, columns % 2)))
    tiles = filled.reshape(len(blocks), -1, 2, 2, (columns + 1) // 2, 2)
    return tiles.transpose(0, 1, 4, 2, 5, 3)


def _scaled(weights: NDArray, shift: NDArray) -> NDArray:
    """A product of 23 bits, rounded after a greater shift, is 0."""
    left = 23 - (shift.reshape(-1, weights.shape[1]) if shift.ndim else shift)
    scaled = np.where(left < 0, 0, weights.astype(np.int32) << np.maximum(left, 0))
    same = (scaled == scaled[0]).all()
    return np.ascontiguousarray(scaled[:1] if same else scaled, "<i4")


# Those below get ``blocks`` ``[blocks, columns, rows]``.


def _mve(blocks: NDArray) -> NDArray:
    """By columns, but for 16 and more of them by rows."""
    return blocks if blocks.shape[1] < 16 else np.swapaxes(blocks, 1, 2)


def _neon(blocks: NDArray) -> NDArray:
    """Eights in each column; see `ending_full`."""
    return ending_full(blocks, 8)


def _m0(blocks: NDArray) -> NDArray:
    """Eights of rows, each ``[columns, 8]``, then rows; every weight is a byte without sign that is
    128 greater."""
    whole = blocks.shape[2] // 8 * 8
    eights = blocks[:, :, :whole].reshape(*blocks.shape[:2], -1, 8).swapaxes(1, 2)
    rest = blocks[:, :, whole:].swapaxes(1, 2)
    return unsigned(_side_by_side(eights, rest))


def _avx2(blocks: NDArray) -> NDArray:
    """Eights in each column, see `ending_full`, then pairs."""
    return _pairs(ending_full(blocks, 8))


def _pairs(blocks: NDArray) -> NDArray:
    """In every two columns the weights of a row are neighbours; an odd last column is as it is."""
    paired = blocks.shape[1] // 2 * 2
    pairs = np.stack([blocks[:, :paired:2], blocks[:, 1:paired:2]], axis=-1)
    return _side_by_side(pairs, blocks[:, paired:])


def _side_by_side(*parts: NDArray) -> NDArray:
    """``[blocks, stored]``: of each block one part after the other."""
    return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)


INPUT_LAYOUTS: dict[str, Layout] = {
    "avx2": _avx2,
    "avx512": _pairs,
    "m0": _m0,
    "mve": _mve,
    "neon": _neon,
}
SHIFTED_INPUT_LAYOUTS: dict[str, Callable[[NDArray, NDArray], NDArray]] = {"dsp": _dsp}
FLOAT_INPUT_LAYOUTS: dict[str, Layout] = {
    "avx512": np.asarray,
    "fpu": np.asarray,
    "neon64": np.asarray,
}
