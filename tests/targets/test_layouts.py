"""Orders of weights: every weight is there once, and what is beside them is zero."""

from __future__ import annotations

import numpy as np
import pytest

from l2mu_compile.targets.layouts import BLOCK_LAYOUTS, LAYOUTS, block_weights_for, weights_for

SHAPES = [(s, t) for s in (1, 2, 3, 17) for t in (*range(1, 34), 63, 64, 65, 129)]


def numbered(*shape: int) -> np.ndarray:
    """Weights that are all different and none zero."""
    return np.arange(1, 1 + int(np.prod(shape)), dtype=np.int32).reshape(shape)


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize(("sources", "targets"), SHAPES)
def test_every_weight_is_there_once_among_zeros(name: str, sources: int, targets: int) -> None:
    weights = numbered(sources, targets)
    stored = weights_for(f"accumulate_dense_i8_i16_{name}", weights)
    assert stored.ndim == 1
    assert np.sort(stored[stored != 0]).tolist() == weights.ravel().tolist()


@pytest.mark.parametrize("name", BLOCK_LAYOUTS)
@pytest.mark.parametrize(("sources", "rows"), SHAPES)
def test_rows_of_blocks_stay_where_they_are(name: str, sources: int, rows: int) -> None:
    weights = numbered(sources, rows)
    stored = block_weights_for(f"accumulate_shared_i8_i16_{name}", weights)
    assert np.sort(stored.reshape(sources, rows), axis=1).tolist() == weights.tolist()


def test_many_blocks_are_one_after_the_other() -> None:
    weights = numbered(3, 2, 5)
    stored = block_weights_for("accumulate_distinct_i8_i16_dsp", weights)
    one_by_one = [block_weights_for("accumulate_shared_i8_i16_dsp", block) for block in weights]
    assert stored.tolist() == np.concatenate(one_by_one).tolist()


def test_portable_kernels_read_weights_by_source() -> None:
    weights = numbered(3, 5)
    assert weights_for("accumulate_dense_i8_i16", weights).tolist() == weights.ravel().tolist()
    assert block_weights_for("accumulate_shared_f32", weights).tolist() == weights.ravel().tolist()


def test_dsp_tiles_of_sixteen_eight_and_four() -> None:
    """In every four the middle two are swapped."""
    stored = weights_for("accumulate_dense_i8_i16_dsp", numbered(2, 25))
    first = [1, 3, 2, 4, 5, 7, 6, 8, 9, 11, 10, 12, 13, 15, 14, 16]
    assert stored[:16].tolist() == first
    assert stored[16:32].tolist() == [25 + x for x in first]
    assert stored[32:40].tolist() == [17, 19, 18, 20, 21, 23, 22, 24]
    assert stored[40:48].tolist() == [25 + x for x in (17, 19, 18, 20, 21, 23, 22, 24)]
    assert stored[48:].tolist() == [25, 0, 0, 0, 50, 0, 0, 0]


@pytest.mark.parametrize(("name", "filled"), [("avx2", 40), ("avx512", 64)])
def test_rows_are_filled_up_to_whole_vectors(name: str, filled: int) -> None:
    weights = numbered(3, 33)
    stored = weights_for(f"accumulate_dense_i8_i16_{name}", weights).reshape(3, -1)
    assert stored.shape[1] == filled
    assert stored[:, :33].tolist() == weights.tolist()
    assert not stored[:, 33:].any()
