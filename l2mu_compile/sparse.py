"""Sparse storage: of a dense projection only the tiles with a weight that is not zero.

A tile is so many neighbouring targets of one source. Tiles follow one another source by source;
each has its weights and how many tiles further it is than the one before, the first of a source
counted from its first target. That is a byte: where it would be more, tiles of zeros come between.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TILES = (1, 4, 8)  # targets of a tile, for each of which there are kernels
FARTHEST = 255  # tiles, in a byte
MOST_TILES = 2**16 - 1  # of a projection, as sources' first tiles are told in 16 bits

_KERNEL = re.compile(r"(?:l2mu_)?accumulate_sparse(\d+)_")


@dataclass(frozen=True)
class Tiles:
    """``start`` int64 ``[sources + 1]``: the first tile of each source, and of one after the last.
    ``delta`` uint8 ``[tiles]``; ``weights`` ``[tiles, targets of a tile]``."""

    start: NDArray
    delta: NDArray
    weights: NDArray

    @property
    def bytes(self) -> int:
        """As stored, with a start in 16 bits."""
        return self.weights.nbytes + self.delta.nbytes + 2 * len(self.start)

    @property
    def can_be_stored(self) -> bool:
        """Whether there are any tiles, and no more than can be counted."""
        return 0 < len(self.delta) <= MOST_TILES


def tile_of(kernel: str | None) -> int | None:
    """Targets of the tiles that ``kernel`` reads; None for one that reads none."""
    match = _KERNEL.match(kernel or "")
    return int(match[1]) if match else None


def tiles_of(weights: NDArray, tile: int) -> Tiles:
    """The tiles of ``tile`` targets of ``weights`` ``[sources, targets]``."""
    filled = np.pad(weights, ((0, 0), (0, -weights.shape[1] % tile)))
    tiles = filled.reshape(len(weights), -1, tile)
    kept = _reachable(np.asarray(tiles.any(axis=2)))
    source, place = np.nonzero(kept)
    start = np.searchsorted(source, np.arange(len(weights) + 1))
    return Tiles(start, _deltas(source, place).astype(np.uint8), tiles[kept])


def least_bytes(weights: NDArray) -> int:
    """What tiles of ``weights`` take at least, of whatever size in TILES: all are full."""
    used = int(np.count_nonzero(weights))
    return used + used // max(TILES)


def _reachable(kept: NDArray) -> NDArray:
    """``kept`` ``[sources, tiles]`` with as many more as make none too far from the one before."""
    if kept.shape[1] <= FARTHEST + 1:
        return kept
    reachable = kept.copy()
    source, place = np.nonzero(kept)
    for far in np.unique(source[_deltas(source, place) > FARTHEST]):
        row, last = reachable[far], 0
        for there in np.flatnonzero(row).tolist():
            row[last + FARTHEST : there : FARTHEST] = True
            last = there
    return reachable


def _deltas(source: NDArray, place: NDArray) -> NDArray:
    """From the tile of the same source before, or the first place, to each tile's ``place``."""
    first = np.diff(source, prepend=-1) != 0
    return np.where(first, place, np.diff(place, prepend=0))
