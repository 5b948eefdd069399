"""The order in which a kernel reads its weights, by what its name ends in: a kernel set, and before
it the numbers of sums if the set's kernels for others differ."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.grids import GRIDS, Grid


def weights_for(kernel: str, weights: NDArray) -> NDArray:
    """``weights`` ``[sources, targets]`` of a dense projection as ``kernel`` reads them, flat."""
    *_, sums, kernel_set = kernel.split("_")
    layout = LAYOUTS.get(f"{sums}_{kernel_set}") or LAYOUTS.get(kernel_set)
    return weights.ravel() if layout is None else layout(weights)


def multiply_weights_for(kernel: str, weights: NDArray) -> NDArray:
    """``weights`` ``[sources, targets]`` of a dense projection as a multiplying ``kernel`` reads
    them, flat."""
    return MULTIPLY_LAYOUTS[kernel.rpartition("_")[2]](weights)


def packed_weights_for(kernel: str, multiples: NDArray) -> NDArray:
    """``multiples`` of quanta ``[sources, targets]`` of a dense projection as ``kernel`` reads
    them, flat: uint8 ``[bytes]``, of which those bits come first that have the lower values."""
    grid, kernel_set = _packing(kernel)
    per_byte = 8 // grid.bits
    layout = PACKED_LAYOUTS.get((grid.numbers, kernel_set), partial(_neighbours, per_byte))
    return layout(grid.codes(multiples)).ravel()


def _packing(kernel: str) -> tuple[Grid, str]:
    """The grid whose weights a kernel reads, and the kernel's set."""
    words = kernel.split("_")
    grid = next(grid for grid in GRIDS.values() if grid.numbers in words)
    return grid, words[-1]


def sparse_weights_for(kernel: str, tiles: NDArray) -> NDArray:
    """Weights ``[tiles, targets of one]`` of a sparse projection as ``kernel`` reads them, flat."""
    layout = SPARSE_LAYOUTS.get(kernel.rpartition("_")[2])
    singles = tiles.shape[1] == 1
    return tiles.ravel() if singles or layout is None else layout(tiles).ravel()


def filled_quanta(quanta: NDArray) -> NDArray:
    """int16, filled up with zeros to a multiple of 8."""
    return np.pad(quanta.astype(np.int16), (0, -len(quanta) % 8))


def block_weights_for(kernel: str, weights: NDArray) -> NDArray:
    """``weights`` ``[sources, rows]`` of blocks (or many such) as ``kernel`` reads them, flat."""
    *_, sums, kernel_set = kernel.split("_")
    layout = BLOCK_LAYOUTS.get(f"{sums}_{kernel_set}")
    rows = weights.reshape(-1, weights.shape[-1])
    return rows.ravel() if layout is None else layout(rows)


def slide_weights(kernel: NDArray, groups: int) -> NDArray:
    """A convolution's ``kernel`` as kernels for spikes read it, ``[source channel, row, column, out
    channel of the group]``, flat."""
    by_group = kernel.reshape(groups, -1, *kernel.shape[1:])
    return by_group.transpose(0, 2, 3, 4, 1).ravel()


def input_weights_for(kernel: str, weights: NDArray, shift: NDArray | None = None) -> NDArray:
    """``weights`` ``[rows, columns]`` or ``[blocks, rows, columns]`` of samples as ``kernel`` reads
    them, ``[blocks, stored]``; one block where all are the same.

    ``shift``, one for all targets or one each, is what their sums are shifted by.
    """
    name = kernel.rpartition("_")[2]
    blocks = weights.reshape(-1, *weights.shape[-2:])
    if "_f32" not in kernel and name in SHIFTED_INPUT_LAYOUTS:
        stored = SHIFTED_INPUT_LAYOUTS[name](blocks, np.asarray(0 if shift is None else shift))
    else:
        layout = (FLOAT_INPUT_LAYOUTS if "_f32" in kernel else INPUT_LAYOUTS).get(name)
        stored = blocks if layout is None else layout(np.swapaxes(blocks, 1, 2))
    return stored.reshape(len(stored), -1)


def _dsp(weights: NDArray) -> NDArray:
    """Rows filled up with zeros to a multiple of 8; in every four the middle two are swapped, so
    that pairs of every other byte are neighbours."""
    return _swapped(_filled(weights, 8)).ravel()


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


def _neighbours(per_byte: int, codes: NDArray) -> NDArray:
    """So many targets in a byte, row after row."""
    several = _filled(codes, per_byte).reshape(len(codes), -1, per_byte)
    return _joined(several, np.arange(per_byte) * (8 // per_byte))


def _pairs_of_tiles(codes: NDArray) -> NDArray:
    """Tiles of 16 and 8 targets, each ``[sources, targets]``, filled up to a multiple of 8; two
    neighbours in a byte."""
    tiles = _tiles(_filled(codes, 8), (16, 8))
    return np.concatenate([_neighbours(2, tile).ravel() for tile in tiles])


def _sixteens(codes: NDArray) -> NDArray:
    """Tiles of 16 targets, each ``[sources, 16]`` in words: of every four, the bytes are 0, 2, 1
    and 3; of these the first have bits 0 and 1, the next 4 and 5, then 2 and 3, then 6 and 7."""
    tiles = _tiles(_filled(codes, 16), (16,))
    fours = np.concatenate(tiles).reshape(-1, 4, 4)[..., [0, 2, 1, 3]]
    return _joined(fours.swapaxes(1, 2), np.array([0, 4, 2, 6]))


def _joined(parts: NDArray, places: NDArray) -> NDArray:
    """Bytes of several codes, on the last axis, each at its place."""
    joined: NDArray = np.bitwise_or.reduce(parts << places.astype(np.uint8), axis=-1)
    return joined


def _words(*widths: int) -> Callable[[NDArray], NDArray]:
    """Tiles of so many targets, each ``[sources, targets]``, filled up to a multiple of 8. A word
    has eight targets: the first four are the lower halves of bytes 0, 2, 1 and 3, the next four the
    upper ones."""

    def tile(nibbles: NDArray) -> NDArray:
        eights = nibbles.reshape(len(nibbles), -1, 2, 4)[..., [0, 2, 1, 3]]
        return eights[:, :, 0] | eights[:, :, 1] << 4

    def layout(nibbles: NDArray) -> NDArray:
        tiles = _tiles(_filled(nibbles, widths[-1]), widths)
        return np.concatenate([tile(one).ravel() for one in tiles])

    return layout


def _parts(per_byte: int, *widths: int) -> Callable[[NDArray], NDArray]:
    """Tiles of so many targets, each ``[sources, targets]``, filled up to a multiple of the last
    width. The lowest bits of its bytes are the first part of a tile's targets."""

    def layout(codes: NDArray) -> NDArray:
        tiles = _tiles(_filled(codes, widths[-1]), widths)
        return np.concatenate([_joined_parts(per_byte, tile).ravel() for tile in tiles])

    return layout


def _mve_parts(per_byte: int) -> Callable[[NDArray], NDArray]:
    """As `_parts` of 16 and 8 bytes; of 16 bytes the first and the last 8 take turns."""

    def layout(codes: NDArray) -> NDArray:
        widths = 16 * per_byte, 8 * per_byte
        tiles = _tiles(_filled(codes, widths[-1]), widths)
        rows = [_joined_parts(per_byte, tile) for tile in tiles]
        whole = [row.reshape(len(row), -1, 8).swapaxes(1, 2) for row in rows]
        return np.concatenate([row.ravel() for row in whole])

    return layout


def _joined_parts(per_byte: int, tile: NDArray) -> NDArray:
    """Bytes ``[sources, bytes]`` of a tile's parts."""
    parts = tile.reshape(len(tile), per_byte, -1).swapaxes(1, 2)
    return _joined(parts, np.arange(per_byte) * (8 // per_byte))


def _m0_tiles(tiles: NDArray) -> NDArray:
    """In every four the middle two are swapped; every weight is a byte without sign that is 128
    greater."""
    stored: NDArray = _swapped(tiles) ^ np.int8(-128)
    return stored


def _dsp_blocks(rows: NDArray) -> NDArray:
    """Fours in each row (see `_ending_full`), in each of which the middle two are swapped."""
    fours = _ending_full(rows, 4)
    return (_swapped(fours) if fours.shape[1] >= 4 else fours).ravel()


def _neon_blocks(rows: NDArray) -> NDArray:
    """Fours in each row; see `_ending_full`."""
    return _ending_full(rows, 4).ravel()


def _dsp_input(blocks: NDArray, shift: NDArray) -> NDArray:
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


def _mve_input(blocks: NDArray) -> NDArray:
    """By columns, but for 16 and more of them by rows."""
    return blocks if blocks.shape[1] < 16 else np.swapaxes(blocks, 1, 2)


def _neon_input(blocks: NDArray) -> NDArray:
    """Eights in each row; see `_ending_full`."""
    return _ending_full(blocks, 8)


def _m0_input(blocks: NDArray) -> NDArray:
    """Eights of rows, each ``[columns, 8]``, then rows; every weight is a byte without sign that is
    128 greater."""
    whole = blocks.shape[2] // 8 * 8
    eights = blocks[:, :, :whole].reshape(*blocks.shape[:2], -1, 8).swapaxes(1, 2)
    rest = blocks[:, :, whole:].swapaxes(1, 2)
    parts = [part.reshape(len(blocks), -1) for part in (eights, rest)]
    return np.concatenate(parts, axis=1) ^ np.int8(-128)


def _avx2_input(blocks: NDArray) -> NDArray:
    """Eights in each column, see `_ending_full`, then pairs."""
    return _pairs(_ending_full(blocks, 8))


def _pairs(blocks: NDArray) -> NDArray:
    """In every two columns the weights of a row are neighbours; an odd last column is as it is."""
    paired = blocks.shape[1] // 2 * 2
    pairs = np.stack([blocks[:, :paired:2], blocks[:, 1:paired:2]], axis=-1)
    parts = [part.reshape(len(blocks), -1) for part in (pairs, blocks[:, paired:])]
    return np.concatenate(parts, axis=1)


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
    """In every four of a row the middle two."""
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


def _strips(width: int, kernel_set: str) -> Callable[[NDArray], NDArray]:
    """Strips of so many targets, each as the set's kernel for int16 sums wants them."""

    def layout(weights: NDArray) -> NDArray:
        starts = range(0, weights.shape[1], width)
        return np.concatenate([LAYOUTS[kernel_set](weights[:, i : i + width]) for i in starts])

    return layout


def _dotprod(weights: NDArray) -> NDArray:
    """Tiles of 64, 16 and 4 targets, filled up with zeros. In a tile come sixteens of sources, in
    those fours of targets, in those fours of sources: each ``[4 targets, 4 sources]``."""
    filled = _filled(_filled(weights, 4).T, 16).T
    tiles = _tiles(filled, (64, 16, 4))
    return np.concatenate([_dotprod_tile(tile).ravel() for tile in tiles])


def _dotprod_tile(tile: NDArray) -> NDArray:
    sources, targets = tile.shape
    return tile.reshape(sources // 16, 4, 4, targets // 4, 4).transpose(0, 3, 1, 4, 2)


def _mve_multiply(weights: NDArray) -> NDArray:
    """Tiles of 7 targets, then of 6, as many as make no others needed or can be, then of one: in
    each sixteens of sources, ``[targets, 16]``, filled up with zeros."""
    targets = weights.shape[1]
    sixes = 6 * min(-targets % 7, targets // 6)
    sevens = (targets - sixes) // 7 * 7
    filled = _filled(weights.T, 16).T
    tiles = _tiles(filled[:, :sevens], (7,))
    tiles += _tiles(filled[:, sevens:], (6, 1))
    return np.concatenate([t.reshape(-1, 16, t.shape[1]).swapaxes(1, 2).ravel() for t in tiles])


def _vnni(weights: NDArray) -> NDArray:
    """Fours of sources, each ``[targets, 4]``, filled up with zeros to 16 of both."""
    filled = _filled(_filled(weights, 16).T, 16).T
    return filled.reshape(-1, 4, filled.shape[1]).swapaxes(1, 2).ravel()


# Targets of a strip: STRIP of each set's kernel for int32 sums.
STRIPS = {
    "avx2": 128,
    "avx512": 256,
    "dsp": 128,
    "m0": 128,
    "mve": 112,
    "neon32": 96,
    "neon64": 160,
}
LAYOUTS: dict[str, Callable[[NDArray], NDArray]] = {
    "avx2": _eights,
    "avx512": _avx512,
    "dsp": _dsp,
    "fpu": _fpu,
    **{f"i32_{name}": _strips(width, name) for name, width in STRIPS.items()},
    "m0": _m0,
    "mve": _mve,
    "neon32": _eights,
    "neon64": _eights,
}
MULTIPLY_LAYOUTS: dict[str, Callable[[NDArray], NDArray]] = {
    "dotprod": _dotprod,
    "mve": _mve_multiply,
    "vnni": _vnni,
}
PACKED_LAYOUTS: dict[tuple[str, str], Callable[[NDArray], NDArray]] = {
    ("i4", "avx2"): _parts(2, 64, 32),
    ("i4", "dsp"): _words(16, 8),
    ("i4", "m0"): _words(16, 8),
    ("i4", "mve"): _mve_parts(2),
    ("i4", "neon"): _parts(2, 32, 16),
    ("i2", "avx2"): _parts(4, 128, 64),
    ("i2", "mve"): _mve_parts(4),
    ("i2", "neon"): _parts(4, 64, 32),
    ("i2", "dsp"): _sixteens,
    ("i2", "m0"): _sixteens,
    ("s4", "avx2"): _parts(2, 64, 32),
    ("s4", "dsp"): _pairs_of_tiles,
    ("s4", "m0"): _pairs_of_tiles,
    ("s4", "mve"): _mve_parts(2),
    ("s4", "neon"): _parts(2, 32, 16),
}
SPARSE_LAYOUTS: dict[str, Callable[[NDArray], NDArray]] = {"dsp": _swapped, "m0": _m0_tiles}
BLOCK_LAYOUTS: dict[str, Callable[[NDArray], NDArray]] = {
    "i16_dsp": _dsp_blocks,
    "i16_neon": _neon_blocks,
}
INPUT_LAYOUTS: dict[str, Callable[[NDArray], NDArray]] = {
    "avx2": _avx2_input,
    "avx512": _pairs,
    "m0": _m0_input,
    "mve": _mve_input,
    "neon": _neon_input,
}
SHIFTED_INPUT_LAYOUTS: dict[str, Callable[[NDArray, NDArray], NDArray]] = {"dsp": _dsp_input}
FLOAT_INPUT_LAYOUTS: dict[str, Callable[[NDArray], NDArray]] = {
    "avx512": np.asarray,
    "fpu": np.asarray,
    "neon64": np.asarray,
}
