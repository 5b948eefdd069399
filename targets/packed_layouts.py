"""The order in which kernels of dense projections read weights that are packed, several to a byte:
multiples of each target's quantum, as codes of a grid (`l2mu_compile.grids`)."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.grids import GRIDS, Grid
from l2mu_compile.targets.layouts import Layout, filled, in_turn, tiles


def packed_weights_for(kernel: str, multiples: NDArray) -> NDArray:
    """``multiples`` of quanta ``[sources, targets]`` of a dense projection as ``kernel`` reads
    them, flat: uint8 ``[bytes]``, of which those bits come first that have the lower values."""
    grid, kernel_set = _packing(kernel)
    layout = PACKED_LAYOUTS.get((grid.numbers, kernel_set), partial(_neighbours, 8 // grid.bits))
    return layout(grid.codes(multiples)).ravel()


def filled_quanta(quanta: NDArray) -> NDArray:
    """int16, filled up with zeros to a multiple of 8."""
    return np.pad(quanta.astype(np.int16), (0, -len(quanta) % 8))


def _packing(kernel: str) -> tuple[Grid, str]:
    """The grid whose weights a kernel reads, and the kernel's set."""
    words = kernel.split("_")
    grid = next(grid for grid in GRIDS.values() if grid.numbers in words)
    return grid, words[-1]


def _neighbours(per_byte: int, codes: NDArray) -> NDArray:
    """So many targets in a byte, row after row."""
    several = filled(codes, per_byte).reshape(len(codes), -1, per_byte)
    return _joined(several, np.arange(per_byte) * (8 // per_byte))


def _pairs_of_tiles(codes: NDArray) -> NDArray:
    """Tiles of 16 and 8 targets, each ``[sources, targets]``, filled up to a multiple of 8; two
    neighbours in a byte."""
    return in_turn([_neighbours(2, tile) for tile in tiles(filled(codes, 8), (16, 8))])


def _sixteens(codes: NDArray) -> NDArray:
    """Tiles of 16 targets, each ``[sources, 16]`` in words: of every four, the bytes are 0, 2, 1
    and 3; of these the first have bits 0 and 1, the next 4 and 5, then 2 and 3, then 6 and 7."""
    rows = np.concatenate(tiles(filled(codes, 16), (16,)))
    fours = rows.reshape(-1, 4, 4)[..., [0, 2, 1, 3]]
    return _joined(fours.swapaxes(1, 2), np.array([0, 4, 2, 6]))


def _words(codes: NDArray) -> NDArray:
    """Tiles of 16 and 8 targets, each ``[sources, targets]``, filled up to a multiple of 8. A word
    has eight targets: the first four are the lower halves of bytes 0, 2, 1 and 3, the next four the
    upper ones."""
    return in_turn([_words_of_tile(tile) for tile in tiles(filled(codes, 8), (16, 8))])


def _words_of_tile(codes: NDArray) -> NDArray:
    eights = codes.reshape(len(codes), -1, 2, 4)[..., [0, 2, 1, 3]]
    return eights[:, :, 0] | eights[:, :, 1] << 4


def _parts(per_byte: int, tile_bytes: tuple[int, int], codes: NDArray) -> NDArray:
    """Tiles of so many bytes of each source, filled up to a multiple of the last. The lowest bits
    of its bytes are the first part of a tile's targets."""
    return in_turn(_tiles_of_parts(per_byte, tile_bytes, codes))


def _mve_parts(per_byte: int, codes: NDArray) -> NDArray:
    """As `_parts` of 16 and 8 bytes; of 16 bytes the first and the last 8 take turns."""
    rows = _tiles_of_parts(per_byte, (16, 8), codes)
    return in_turn([row.reshape(len(row), -1, 8).swapaxes(1, 2) for row in rows])


def _tiles_of_parts(per_byte: int, tile_bytes: tuple[int, int], codes: NDArray) -> list[NDArray]:
    """Bytes ``[sources, bytes]`` of each tile."""
    widths = [per_byte * many for many in tile_bytes]
    return [_joined_parts(per_byte, tile) for tile in tiles(filled(codes, widths[-1]), widths)]


def _joined_parts(per_byte: int, tile: NDArray) -> NDArray:
    parts = tile.reshape(len(tile), per_byte, -1).swapaxes(1, 2)
    return _joined(parts, np.arange(per_byte) * (8 // per_byte))


def _joined(parts: NDArray, places: NDArray) -> NDArray:
    """Bytes of several codes, on the last axis, each at its place."""
    joined: NDArray = np.bitwise_or.reduce(parts << places.astype(np.uint8), axis=-1)
    return joined


PACKED_LAYOUTS: dict[tuple[str, str], Layout] = {
    ("i4", "avx2"): partial(_parts, 2, (32, 16)),
    ("i4", "dsp"): _words,
    ("i4", "m0"): _words,
    ("i4", "mve"): partial(_mve_parts, 2),
    ("i4", "neon"): partial(_parts, 2, (16, 8)),
    ("i2", "avx2"): partial(_parts, 4, (32, 16)),
    ("i2", "mve"): partial(_mve_parts, 4),
    ("i2", "neon"): partial(_parts, 4, (16, 8)),
    ("i2", "dsp"): _sixteens,
    ("i2", "m0"): _sixteens,
    ("s4", "avx2"): partial(_parts, 2, (32, 16)),
    ("s4", "dsp"): _pairs_of_tiles,
    ("s4", "m0"): _pairs_of_tiles,
    ("s4", "mve"): partial(_mve_parts, 2),
    ("s4", "neon"): partial(_parts, 2, (16, 8)),
}
