"""Sparse storage: what is stored is the weights, no more of them than needed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from l2mu_compile.sparse import FARTHEST, MOST_TILES, TILES, Tiles, tile_of, tiles_of
from l2mu_compile.targets.kernel_table import kernel_table


def decoded(tiles: Tiles, targets: int) -> NDArray:
    """Weights ``[sources, targets]``, as a kernel adds them; filled up to a tile."""
    width = tiles.weights.shape[1]
    sources = len(tiles.start) - 1
    found = np.zeros((sources, -(-targets // width), width), np.int64)
    for source in range(sources):
        place = 0
        for k in range(tiles.start[source], tiles.start[source + 1]):
            place += int(tiles.delta[k])
            found[source, place] += tiles.weights[k]
    return found.reshape(sources, -1)


@st.composite
def sparse_weights(draw: st.DrawFn) -> NDArray:
    """A few weights anywhere among many targets, or many among few."""
    shape = draw(st.tuples(st.integers(1, 5), st.sampled_from((1, 3, 4, 9, 33, 300, 1100, 5000))))
    weights = np.zeros(shape, np.int8)
    places = st.tuples(*(st.integers(0, n - 1) for n in shape))
    for place in draw(st.lists(places, max_size=40)):
        weights[place] = draw(st.integers(-128, 127))
    return weights


@pytest.mark.parametrize("tile", TILES)
@given(weights=sparse_weights())
def test_what_is_stored_is_the_weights(tile: int, weights: NDArray) -> None:
    tiles = tiles_of(weights, tile)
    sources, targets = weights.shape
    assert tiles.delta.dtype == np.uint8
    assert (tiles.weights.dtype, tiles.weights.shape) == (np.int8, (len(tiles.delta), tile))
    back = decoded(tiles, targets)
    assert (back[:, :targets] == weights).all()
    assert not back[:, targets:].any()
    zeros = int((~tiles.weights.any(axis=1)).sum())
    assert zeros <= sources * (targets // tile // FARTHEST)
    assert tiles.bytes == len(tiles.delta) * (1 + tile) + 2 * (sources + 1)


@pytest.mark.parametrize("tile", TILES)
@given(weights=hnp.arrays(np.int8, st.tuples(st.integers(1, 9), st.integers(1, 70))))
def test_tiles_that_are_near_have_no_zeros_between(tile: int, weights: NDArray) -> None:
    assert tiles_of(weights, tile).weights.any(axis=1).all()


def test_far_tiles_are_reached_by_tiles_of_zeros() -> None:
    weights = np.zeros((1, 4 * 600), np.int8)
    weights[0, [4 * 255, 4 * 511 + 3]] = 7, 9
    tiles = tiles_of(weights, 4)
    assert tiles.delta.tolist() == [255, 255, 1]
    assert tiles.weights.tolist() == [[7, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 9]]


def test_every_source_starts_anew() -> None:
    tiles = tiles_of(np.int8([[0, 0, 5, 0, 0, 6], [0] * 6, [0, 1, 0, 0, 0, 2]]), 1)
    assert tiles.start.tolist() == [0, 2, 2, 4]
    assert tiles.delta.tolist() == [2, 3, 1, 4]
    assert tiles.weights.ravel().tolist() == [5, 6, 1, 2]


@pytest.mark.parametrize(("many", "fits"), [(0, False), (1, True), (MOST_TILES, True)])
def test_tiles_are_counted_in_16_bits(many: int, fits: bool) -> None:
    weights = np.zeros((257, 256), np.int8)
    weights.ravel()[:many] = 1
    assert tiles_of(weights, 1).can_be_stored == fits
    weights[:] = 1
    assert not tiles_of(weights, 1).can_be_stored


def test_names_of_kernels_tell_the_tile() -> None:
    assert tile_of(None) is None
    assert tile_of("accumulate_dense_i8_i16_dsp") is None
    assert tile_of("accumulate_sparse4_i8_i16_dsp") == 4
    found = {tile_of(name) for name in kernel_table() if "sparse" in name}
    assert found == set(TILES)
