"""Orders of weights: every weight is there once, and what is beside them is zero."""

from __future__ import annotations

import numpy as np
import pytest

from l2mu_compile.grids import GRIDS, Grid
from l2mu_compile.targets.dense_layouts import (
    LAYOUTS,
    MULTIPLY_LAYOUTS,
    multiply_weights_for,
    weights_for,
)
from l2mu_compile.targets.input_layouts import (
    FLOAT_INPUT_LAYOUTS,
    INPUT_LAYOUTS,
    SHIFTED_INPUT_LAYOUTS,
    input_weights_for,
)
from l2mu_compile.targets.packed_layouts import PACKED_LAYOUTS, filled_quanta, packed_weights_for
from l2mu_compile.targets.structured_layouts import (
    BLOCK_LAYOUTS,
    block_weights_for,
    sparse_weights_for,
)

SHAPES = [(s, t) for s in (1, 2, 3, 17) for t in (*range(1, 34), 63, 64, 65, 129)]


def numbered(*shape: int) -> np.ndarray:
    """Weights that are all different and none zero."""
    return np.arange(1, 1 + int(np.prod(shape)), dtype=np.int32).reshape(shape)


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_weight_is_there_once_among_zeros(name: str) -> None:
    kernel = f"accumulate_dense_i8_i16_{name}"
    for shape in SHAPES:
        weights = numbered(*shape)
        stored = weights_for(kernel, weights) ^ weights_for(kernel, np.zeros_like(weights))
        assert stored.ndim == 1
        assert np.sort(stored[stored != 0]).tolist() == weights.ravel().tolist(), shape


@pytest.mark.parametrize("name", MULTIPLY_LAYOUTS)
def test_every_weight_to_multiply_is_there_once_among_zeros(name: str) -> None:
    for shape in SHAPES:
        weights = numbered(*shape)
        stored = multiply_weights_for(f"multiply_dense_i8_i16_{name}", weights)
        assert stored.ndim == 1
        assert np.sort(stored[stored != 0]).tolist() == weights.ravel().tolist(), shape


PORTABLE_PACKED = [(grid.numbers, "ref") for grid in GRIDS.values()]


@pytest.mark.parametrize(("numbers", "name"), [*PORTABLE_PACKED, *PACKED_LAYOUTS])
def test_every_packed_weight_has_bits_of_its_own(numbers: str, name: str) -> None:
    kernel = f"accumulate_dense_{numbers}_i16" + ("" if name == "ref" else f"_{name}")
    grid = next(grid for grid in GRIDS.values() if grid.numbers == numbers)
    for shape in SHAPES:
        weights = numbered(*shape)
        assert sorted(places(kernel, grid, weights)) == weights.ravel().tolist(), shape


def places(kernel: str, grid: Grid, weights: np.ndarray) -> list[int]:
    """The weight at every place that has one: a bit of all weights' numbers is set at a time, which
    tells where each of them is."""
    first_two = np.array(grid.multiples[:2])
    silent = packed_weights_for(kernel, np.full_like(weights, first_two[0]))
    shifts = np.arange(0, 8, grid.bits)
    found = np.zeros((silent.size, len(shifts)), dtype=np.int64)
    for bit in range(int(weights.max()).bit_length()):
        packed = packed_weights_for(kernel, first_two[(weights >> bit) & 1]) ^ silent
        assert packed.dtype == np.uint8
        parts = packed[:, None] >> shifts & (2**grid.bits - 1)
        assert {*parts.ravel().tolist()} <= {0, 1}
        found += parts.astype(np.int64) << bit
    return found[found > 0].tolist()


def test_portable_packed_weights_are_neighbours() -> None:
    """The even target is in the lower four bits, plus 8; rows are whole bytes."""
    packed = packed_weights_for("accumulate_dense_i4_i16", np.array([[-8, 7, 0], [1, 2, 3]]))
    assert packed.tolist()[::2] == [0xF0, 0xA9]
    assert [byte & 15 for byte in packed.tolist()[1::2]] == [8, 11]


@pytest.mark.parametrize("name", ["dsp", "m0"])
def test_eight_packed_weights_of_a_word(name: str) -> None:
    """Every other byte has neighbours, the first four targets in the lower halves."""
    row = np.arange(24)[None] % 8
    packed = packed_weights_for(f"accumulate_dense_i4_i16_{name}", row - 8)
    assert packed.tolist() == [0x40, 0x62, 0x51, 0x73] * 3


@pytest.mark.parametrize("name", ["dsp", "m0"])
def test_powers_of_two_are_pairs_in_tiles(name: str) -> None:
    """Sixteen targets of every source, then eight."""
    multiples = np.array([[0] * 16 + [-64], [1] * 16 + [64]])
    packed = packed_weights_for(f"accumulate_dense_s4_i16_{name}", multiples)
    assert packed.tolist() == [0x77] * 8 + [0x88] * 8 + [0] * 4 + [0x0E, 0, 0, 0]


def test_eights_of_targets_take_turns_in_packed_weights_for_helium() -> None:
    row = np.append(np.arange(32) // 8, np.full(9, 7)) - 8
    packed = packed_weights_for("accumulate_dense_i4_i16_mve", row[None])
    assert packed.tolist() == [0x20, 0x31] * 8 + [0x77] + [0x07] * 7


@pytest.mark.parametrize(("name", "width"), [("avx2", 64), ("neon", 32)])
def test_halves_of_tiles_are_halves_of_bytes(name: str, width: int) -> None:
    row = np.arange(width) // (width // 2) * 5 - 8
    packed = packed_weights_for(f"accumulate_dense_i4_i32_{name}", np.tile(row, (2, 1)))
    assert packed.tolist() == [0x50] * width
    row = np.append(row, 3)
    packed = packed_weights_for(f"accumulate_dense_i4_i32_{name}", row[None])
    assert packed[width // 2] & 15 == 11
    assert packed.size == width // 2 + width // 4


@pytest.mark.parametrize(("name", "width"), [("avx2", 128), ("neon", 64)])
def test_quarters_of_tiles_are_quarters_of_bytes(name: str, width: int) -> None:
    row = np.repeat([-1, 0, 1, -1], width // 4)
    packed = packed_weights_for(f"accumulate_dense_i2_i16_{name}", np.tile(row, (2, 1)))
    assert packed.tolist() == [0x24] * (width // 2)
    packed = packed_weights_for(f"accumulate_dense_i2_i16_{name}", np.append(row, 1)[None])
    assert packed[width // 4 :].tolist() == [2] + [0] * (width // 8 - 1)


def test_eights_of_targets_take_turns_in_ternary_weights_for_helium() -> None:
    row = np.append(np.repeat([-1, 0, 1, -1, 0, 1, -1, 0], 8), 1)
    packed = packed_weights_for("accumulate_dense_i2_i32_mve", row[None])
    assert packed.tolist() == [0x18, 0x61] * 8 + [2] + [0] * 7


@pytest.mark.parametrize(
    ("ending", "tile", "stored"),
    [
        ("", 4, [1, 2, 3, 4]),
        ("_neon", 8, [1, 2, 3, 4, 5, 6, 7, 8]),
        ("_dsp", 1, [1]),
        ("_dsp", 4, [1, 3, 2, 4]),
        ("_dsp", 8, [1, 3, 2, 4, 5, 7, 6, 8]),
        ("_m0", 1, [1]),
        ("_m0", 4, [1 - 128, 3 - 128, 2 - 128, 4 - 128]),
    ],
)
def test_weights_of_a_tile(ending: str, tile: int, stored: list[int]) -> None:
    tiles = np.tile(np.arange(1, 1 + tile, dtype=np.int8), (3, 1))
    found = sparse_weights_for(f"accumulate_sparse{tile}_i8_i16{ending}", tiles)
    assert (found.dtype, found.tolist()) == (np.int8, 3 * stored)


def test_quanta_are_filled_up() -> None:
    quanta = filled_quanta(np.int32([3, 127, 9]))
    assert (quanta.dtype, quanta.tolist()) == (np.int16, [3, 127, 9, 0, 0, 0, 0, 0])


@pytest.mark.parametrize("name", BLOCK_LAYOUTS)
def test_rows_of_blocks_follow_one_another(name: str) -> None:
    for sources, rows in SHAPES:
        weights = numbered(sources, rows)
        stored = block_weights_for(f"accumulate_shared_i8_{name}", weights)
        assert sorted_rows(stored.reshape(sources, -1)) == weights.tolist()


@pytest.mark.parametrize("name", [*INPUT_LAYOUTS, *SHIFTED_INPUT_LAYOUTS])
def test_blocks_of_samples_follow_one_another(name: str) -> None:
    kernel = f"input_i8_i16_{name}"
    for columns, rows in ((c, r) for c, r in SHAPES if c > 1):
        weights = numbered(2, rows, columns)
        stored = input_weights_for(kernel, weights) ^ input_weights_for(kernel, 0 * weights)
        assert sorted_rows(stored) == weights.reshape(2, -1).tolist(), (columns, rows)
        assert sorted_rows(
            input_weights_for(kernel, weights[0]) ^ input_weights_for(kernel, 0 * weights[0])
        ) == [weights[0].ravel().tolist()]


@pytest.mark.parametrize("name", FLOAT_INPUT_LAYOUTS)
def test_columns_of_float_samples_follow_one_another(name: str) -> None:
    weights = numbered(2, 17, 3).astype(np.float32)
    stored = input_weights_for(f"input_f32_{name}", weights)
    assert stored.dtype == np.float32
    assert stored.tolist() == np.swapaxes(weights, 1, 2).reshape(2, -1).tolist()


def sorted_rows(stored: np.ndarray) -> list[list[int]]:
    """What is not zero in each row."""
    return [sorted(row[row != 0].tolist()) for row in stored]


def test_neon_blocks_end_with_the_last_four() -> None:
    stored = block_weights_for("accumulate_shared_i8_i16_neon", numbered(2, 6))
    assert stored.tolist() == [1, 2, 3, 4, 0, 0, 5, 6, 7, 8, 9, 10, 0, 0, 11, 12]
    stored = block_weights_for("accumulate_shared_i8_i16_neon", numbered(2, 3))
    assert stored.tolist() == [1, 2, 3, 4, 5, 6]


def test_neon_inputs_end_with_the_last_eight() -> None:
    stored = input_weights_for("input_i8_i16_neon", numbered(9, 2))
    odd, even = [1, 3, 5, 7, 9, 11, 13, 15], [2, 4, 6, 8, 10, 12, 14, 16]
    last = [0] * 7
    assert stored.tolist() == [[*odd, *last, 17, *even, *last, 18]]


def test_dsp_inputs_are_two_channels_of_four_targets() -> None:
    stored = input_weights_for("input_i8_i16_dsp", numbered(5, 3))
    first, second = [1, 4, 2, 5, 7, 10, 8, 11], [3, 6, 0, 0, 9, 12, 0, 0]
    last = [13, 0, 14, 0, 0, 0, 0, 0], [15, 0, 0, 0, 0, 0, 0, 0]
    assert stored.tolist() == [[*first, *second, *last[0], *last[1]]]


def test_dsp_inputs_of_one_channel_are_shifted_before() -> None:
    weights = np.int8([[[3], [-128]], [[3], [-128]]])
    scaled = input_weights_for("input_i8_i16_dsp", weights, np.int32(7)).view("<i4")
    assert scaled.tolist() == [[3 << 16, -128 << 16]]
    scaled = input_weights_for("input_i8_i16_dsp", weights, np.int32([0, 23, 24, 30])).view("<i4")
    assert scaled.tolist() == [[3 << 23, -128], [0, 0]]


def test_m0_inputs_have_eights_and_what_is_left() -> None:
    """Bytes without sign, by columns in an eight, by rows after that."""
    weights = np.arange(-9, 9, dtype=np.int8).reshape(9, 2)
    stored = input_weights_for("input_i8_i16_m0", weights).view(np.uint8)
    first = [128 + weight for weight in range(-9, 7, 2)]
    assert stored.tolist() == [[*first, *(1 + weight for weight in first), 135, 136]]


@pytest.mark.parametrize(("columns", "by_rows"), [(1, False), (15, False), (16, True), (17, True)])
def test_mve_inputs_of_many_columns_are_by_rows(columns: int, by_rows: bool) -> None:
    weights = numbered(2, 3, columns)
    stored = input_weights_for("input_i8_i16_mve", weights)
    wanted = weights if by_rows else np.swapaxes(weights, 1, 2)
    assert stored.tolist() == wanted.reshape(2, -1).tolist()


def test_avx_inputs_have_pairs_of_columns() -> None:
    """An odd column is by itself; for AVX2, eights as for NEON."""
    stored = input_weights_for("input_i8_i16_avx512", numbered(3, 5))
    pairs = [1, 2, 6, 7, 11, 12, 3, 4, 8, 9, 13, 14]
    assert stored.tolist() == [[*pairs, 5, 10, 15]]
    (stored,) = input_weights_for("input_i8_i32_avx2", numbered(9, 3))
    gap = [0] * 7
    assert stored[:18].tolist() == [x for row in range(8) for x in (3 * row + 1, 3 * row + 2)] + [
        0,
        0,
    ]
    assert stored[30:32].tolist() == [25, 26]
    assert stored[32:].tolist() == [3, 6, 9, 12, 15, 18, 21, 24, *gap, 27]


def test_neon_rows_of_eights() -> None:
    stored = weights_for("accumulate_dense_i8_i16_neon64", numbered(2, 7))
    assert stored.tolist() == [1, 2, 3, 4, 5, 6, 7, 0, 8, 9, 10, 11, 12, 13, 14, 0]


def test_many_blocks_are_one_after_the_other() -> None:
    weights = numbered(3, 2, 5)
    stored = block_weights_for("accumulate_distinct_i8_i16_dsp", weights)
    one_by_one = [block_weights_for("accumulate_shared_i8_i16_dsp", block) for block in weights]
    assert stored.tolist() == np.concatenate(one_by_one).tolist()


def test_portable_kernels_read_weights_by_source() -> None:
    weights = numbered(3, 5)
    assert weights_for("accumulate_dense_i8_i16", weights).tolist() == weights.ravel().tolist()
    assert block_weights_for("accumulate_shared_f32", weights).tolist() == weights.ravel().tolist()
    assert input_weights_for("input_i8_i16", weights).tolist() == [weights.ravel().tolist()]


def test_dsp_rows_of_eights() -> None:
    """In every four the middle two are swapped."""
    stored = weights_for("accumulate_dense_i8_i16_dsp", numbered(2, 10))
    assert stored[:16].tolist() == [1, 3, 2, 4, 5, 7, 6, 8, 9, 0, 10, 0, 0, 0, 0, 0]
    assert stored[16:].tolist() == [11, 13, 12, 14, 15, 17, 16, 18, 19, 0, 20, 0, 0, 0, 0, 0]


def test_dsp_blocks_end_with_the_last_four() -> None:
    stored = block_weights_for("accumulate_shared_i8_i16_dsp", numbered(2, 6))
    assert stored.tolist() == [1, 3, 2, 4, 0, 5, 0, 6, 7, 9, 8, 10, 0, 11, 0, 12]
    stored = block_weights_for("accumulate_shared_i8_i16_dsp", numbered(2, 3))
    assert stored.tolist() == [1, 2, 3, 4, 5, 6]


def test_m0_tiles_of_sixteen_and_four() -> None:
    """Bytes without sign; in every four the middle two are swapped."""
    weights = np.arange(-20, 20, dtype=np.int8).reshape(2, 20)
    stored = weights_for("accumulate_dense_i8_i16_m0", weights).view(np.uint8)
    first = [108, 110, 109, 111, 112, 114, 113, 115, 116, 118, 117, 119, 120, 122, 121, 123]
    assert stored[:16].tolist() == first
    assert stored[16:32].tolist() == [20 + x for x in first]
    assert stored[32:].tolist() == [124, 126, 125, 127, 144, 146, 145, 147]


@pytest.mark.parametrize(("targets", "stored"), [(7, 8), (8, 8), (9, 16), (25, 32), (20, 20)])
def test_m0_fills_up_to_four_or_where_more_than_eight_are_left_to_sixteen(
    targets: int, stored: int
) -> None:
    assert weights_for("accumulate_dense_i8_i16_m0", numbered(1, targets)).size == stored


def test_mve_tiles_of_fifty_six_and_what_is_left() -> None:
    """In every sixteen the first eight, as bytes without sign, and the last take turns."""
    weights = np.arange(122).astype(np.int8).reshape(2, 61)
    stored = weights_for("accumulate_dense_i8_i16_mve", weights).view(np.uint8)
    first = [128, 8, 129, 9, 130, 10, 131, 11, 132, 12, 133, 13, 134, 14, 135, 15]
    for row, base in enumerate((0, 61)):
        tile = stored[56 * row : 56 * (row + 1)].tolist()
        assert tile[:32] == [base + x for x in first] + [base + 16 + x for x in first]
        assert tile[48:] == [*range(base + 48, base + 56)]
    assert stored[112:120].tolist() == [56, 57, 58, 59, 60, 0, 0, 0]
    assert stored[120:].tolist() == [117, 118, 119, 120, 121, 0, 0, 0]


@pytest.mark.parametrize(("name", "filled"), [("avx2", 40), ("avx512", 64)])
def test_rows_are_filled_up_to_whole_vectors(name: str, filled: int) -> None:
    weights = numbered(3, 33)
    stored = weights_for(f"accumulate_dense_i8_i16_{name}", weights).reshape(3, -1)
    assert stored.shape[1] == filled
    assert stored[:, :33].tolist() == weights.tolist()
    assert not stored[:, 33:].any()


def test_dotprod_fours_of_sources_for_fours_of_targets() -> None:
    """In tiles of 64, 16 and 4 targets, sixteen sources after sixteen."""
    stored = multiply_weights_for("multiply_dense_i8_i16_dotprod", numbered(17, 69))
    first = [[69 * source + target + 1 for source in range(4)] for target in range(4)]
    assert stored[:16].tolist() == np.ravel(first).tolist()
    assert stored[16:20].tolist() == [69 * source + 1 for source in range(4, 8)]
    assert stored[64:68].tolist() == [69 * source + 5 for source in range(4)]
    assert stored[64 * 16] == 69 * 16 + 1
    assert stored[64 * 32 : 64 * 32 + 4].tolist() == [69 * source + 65 for source in range(4)]
    assert stored.size == 32 * 72


@pytest.mark.parametrize(
    ("targets", "tiles"),
    [(7, [7]), (6, [6]), (5, [1] * 5), (8, [6, 1, 1]), (13, [7, 6]), (64, [7, *[7] * 3, *[6] * 6])],
)
def test_mve_tiles_to_multiply(targets: int, tiles: list[int]) -> None:
    """Sevens, sixes and what is left; in each sixteen sources of every target."""
    weights = numbered(17, targets)
    stored = multiply_weights_for("multiply_dense_i8_i16_mve", weights)
    first = 0
    for width in tiles:
        tile, stored = np.split(stored, [32 * width])
        early, late = tile.reshape(2, width, 16)
        assert early.tolist() == weights[:16, first : first + width].T.tolist()
        assert late[:, 0].tolist() == weights[16, first : first + width].tolist()
        assert not late[:, 1:].any()
        first += width
    assert (first, stored.size) == (targets, 0)


def test_vnni_fours_of_sources_for_sixteen_targets() -> None:
    stored = multiply_weights_for("multiply_dense_i8_i16_vnni", numbered(5, 3)).reshape(4, 16, 4)
    assert stored[0, :4].tolist() == [[1, 4, 7, 10], [2, 5, 8, 11], [3, 6, 9, 12], [0] * 4]
    assert stored[1, :4].tolist() == [[13, 0, 0, 0], [14, 0, 0, 0], [15, 0, 0, 0], [0] * 4]
    assert not stored[2:].any()
