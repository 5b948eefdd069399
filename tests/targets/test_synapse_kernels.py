"""Kernels of dense, sparse and block projections alone, against sums of rows in NumPy."""

from __future__ import annotations

from functools import cache
from itertools import chain
from typing import NamedTuple

import numpy as np
from kernel_machines import Array, Call, Struct, Variant, kernels
from kernel_values import (
    NUMBERS,
    SIZES,
    activities,
    array,
    filled,
    of_targets,
    of_weights,
    packing,
    same,
    spike_list,
    states,
    states_before,
    sums_of,
    weights,
    with_rows,
)
from numpy.typing import NDArray

from l2mu_compile.buffers import FLAG_MULTIPLE
from l2mu_compile.sparse import TILES, tile_of, tiles_of
from l2mu_compile.targets.dense_layouts import multiply_weights_for, weights_for
from l2mu_compile.targets.packed_layouts import filled_quanta, packed_weights_for
from l2mu_compile.targets.structured_layouts import (
    block_weights_for,
    sparse_weights_for,
)

# Rows of packed weights, which kernels add up so many at a time.
AROUND_LIMITS = ((6, 9), (14, 19), (30, 36), (126, 128), (255, 258), (510, 513))
SPARSE = tuple(f"accumulate_sparse{tile}" for tile in TILES)


def dense_record(kernel: Variant, weight: NDArray) -> Struct:
    """A record of these weights; of packed ones every column has the quantum that it can have."""
    sources, targets = weight.shape
    if packing(kernel.numbers):
        quantum = np.maximum(np.gcd.reduce(weight.astype(np.int64), axis=0), 1)
        packed = packed_weights_for(kernel.name, weight // quantum)
        fields = {"weights": Array(packed, align=4)}
        fields["quantum"] = Array(filled_quanta(quantum), align=4)
        return Struct("l2mu_packed_t", targets=targets, sources=sources, **fields)
    ordered = multiply_weights_for if multiplies(kernel) else weights_for
    stored = Array(ordered(kernel.name, weight), align=4)
    ctype = f"l2mu_dense_{of_weights(kernel)}_t"
    return Struct(ctype, weights=stored, targets=targets, sources=sources)


def multiplies(kernel: Variant) -> bool:
    """Whether it reads flags, no list of spikes."""
    return kernel.operation.startswith("multiply")


def spikes_for(kernel: Variant, fired: NDArray) -> Array:
    return Array(flags(fired) if multiplies(kernel) else spike_list(fired))


def flags(fired: NDArray) -> NDArray:
    return np.append(fired, np.zeros(-len(fired) % FLAG_MULTIPLE, bool)).astype(np.uint8)


class Sum(NamedTuple):
    """Which sources spike, and accumulators before a call and after it, on any machine."""

    fired: NDArray
    before: NDArray
    after: NDArray


def sums(rng: np.random.Generator, numbers: str, weight: NDArray) -> list[Sum]:
    """Of every activity."""
    found = []
    for fired in activities(rng, len(weight)):
        before = states_before(rng, sums_of(numbers), weight[fired])
        found.append(Sum(fired, before, with_rows(before, weight[fired])))
    return found


def check_sum(call: Call, kernel: Variant, record: Struct, case: Sum) -> None:
    v = array(of_targets(kernel), case.before)
    call(kernel, record, v, spikes_for(kernel, case.fired), changes=(v,))
    same(v.values, filled(of_targets(kernel), case.after))


@cache
def dense_cases(numbers: str) -> list[tuple[NDArray, list[Sum]]]:
    """Weights of every number of sources and targets, and their sums."""
    rng, found = np.random.default_rng(8), []
    for targets, sources in zip(SIZES, SIZES[::-1], strict=True):
        weight = weights(rng, numbers, sources, targets)
        found.append((weight, sums(rng, numbers, weight)))
    return found


@kernels("accumulate_dense", "multiply_dense")
def test_dense(call: Call, kernel: Variant) -> None:
    for weight, wanted in dense_cases(kernel.numbers):
        record = dense_record(kernel, weight)
        for case in wanted:
            check_sum(call, kernel, record, case)


@kernels("accumulate_dense", numbers="i8_i32")
def test_wide_sums_of_the_greatest_weights(call: Call, kernel: Variant) -> None:
    """So many that they are far beyond int16, and as many as just are not."""
    targets = 3
    for sources in (255, 256, 257, 600):
        for greatest in (-128, 127):
            weight = np.full((sources, targets), greatest, np.int8)
            v, fired = array("i32", np.int32([5, -5, 0])), np.ones(sources, bool)
            call(kernel, dense_record(kernel, weight), v, spikes_for(kernel, fired), changes=(v,))
            same(v.values, with_rows(v.before, weight))


@kernels("accumulate_dense", numbers="i4_i16")
def test_packed_narrow_sums_of_the_greatest_weights(call: Call, kernel: Variant) -> None:
    check_greatest_packed(call, kernel)


@kernels("accumulate_dense", numbers="i4_i32")
def test_packed_wide_sums_of_the_greatest_weights(call: Call, kernel: Variant) -> None:
    check_greatest_packed(call, kernel)


@kernels("accumulate_dense", numbers="i2_i16")
def test_ternary_sums_of_the_greatest_weights(call: Call, kernel: Variant) -> None:
    check_greatest_packed(call, kernel)


@kernels("accumulate_dense", numbers="i2_i32")
def test_ternary_wide_sums_of_the_greatest_weights(call: Call, kernel: Variant) -> None:
    check_greatest_packed(call, kernel)


@kernels("accumulate_dense", numbers="s4_i16")
def test_sums_of_the_greatest_powers_of_two(call: Call, kernel: Variant) -> None:
    check_greatest_packed(call, kernel)


@kernels("accumulate_dense", numbers="s4_i32")
def test_wide_sums_of_the_greatest_powers_of_two(call: Call, kernel: Variant) -> None:
    check_greatest_packed(call, kernel)


def check_greatest_packed(call: Call, kernel: Variant) -> None:
    """As many as what adds them up just holds, and more; sums of int16 wrap around."""
    targets, most = 75, 600
    grid = packing(kernel.numbers)
    assert grid
    quantum = np.resize(grid.quanta, targets)
    for greatest in grid.limits(quantum):
        weight = np.tile(greatest, (most, 1))
        weight[-1] = quantum  # which never spikes: their greatest common divisor
        record = dense_record(kernel, weight)
        several = [range(first, last) for first, last in AROUND_LIMITS]
        for spikes in (*chain(*several), most - 1):
            start = states(np.random.default_rng(spikes), of_targets(kernel), targets)
            v, fired = array(of_targets(kernel), start), np.arange(most) < spikes
            call(kernel, record, v, spikes_for(kernel, fired), changes=(v,))
            same(v.values, filled(of_targets(kernel), with_rows(start, weight[fired])))


def sparse_record(kernel: Variant, weight: NDArray) -> Struct:
    """A record of the tiles of these weights."""
    tiles = tiles_of(weight, tile_of(kernel.name) or 0)
    assert tiles.can_be_stored
    return Struct(
        "l2mu_sparse_i8_t",
        weights=Array(sparse_weights_for(kernel.name, tiles.weights), align=4),
        delta=Array(tiles.delta, align=4),
        start=Array(tiles.start.astype(np.uint16)),
        targets=weight.shape[1],
    )


def sparse_weights(rng: np.random.Generator, numbers: str, tile: int, *shape: int) -> NDArray:
    """Some are not zero: single ones, or whole tiles; one at least is there."""
    width = int(rng.choice([1, tile]))
    groups = rng.random((shape[0], -(-shape[1] // width))) < rng.choice([0, 0.05, 0.2, 0.6, 1])
    kept = np.repeat(groups, width, axis=1)[:, : shape[1]]
    weight = np.where(kept, weights(rng, numbers, *shape), 0).astype(np.int8)
    weight[rng.integers(shape[0]), rng.integers(shape[1])] = rng.choice([-128, 127])
    return weight


@cache
def sparse_cases(numbers: str, tile: int) -> list[tuple[NDArray, list[Sum]]]:
    rng, found = np.random.default_rng(21), []
    for targets, sources in zip(SIZES, SIZES[::-1], strict=True):
        weight = sparse_weights(rng, numbers, tile, sources, targets)
        found.append((weight, sums(rng, numbers, weight)))
    return found


@kernels(*SPARSE)
def test_sparse(call: Call, kernel: Variant) -> None:
    for weight, wanted in sparse_cases(kernel.numbers, tile_of(kernel.name) or 1):
        record = sparse_record(kernel, weight)
        for case in wanted:
            check_sum(call, kernel, record, case)


@kernels(*SPARSE)
def test_sparse_reaches_all_targets_and_sources(call: Call, kernel: Variant) -> None:
    """From one tile to another further away than a byte says, and weights beyond 16 bits."""
    rng = np.random.default_rng(22)
    for targets, sources in ((5000, 3), (130, 500)):
        weight = weights(rng, kernel.numbers, sources, targets)
        if targets > sources:
            weight = np.where(np.arange(targets) % 4999 < 2, weight, 0).astype(np.int8)
        weight[-1, 0] = 0
        fired = np.arange(sources) >= sources - 2
        before = states_before(rng, of_targets(kernel), weight[fired])
        case = Sum(fired, before, with_rows(before, weight[fired]))
        check_sum(call, kernel, sparse_record(kernel, weight), case)


@kernels("flag_spikes")
def test_flag_spikes(call: Call, kernel: Variant) -> None:
    rng = np.random.default_rng(18)
    for size in SIZES:
        for fired in activities(rng, size):
            made = Array(np.full(flags(fired).size, 0xFF, np.uint8))
            call(kernel, made, size, Array(spike_list(fired)), changes=(made,))
            same(made.values, flags(fired))


@kernels("accumulate_shared", "accumulate_distinct")
def test_accumulate_blocks(call: Call, kernel: Variant) -> None:
    rng = np.random.default_rng(9)
    shapes = [(1, 1, 1), (1, 3, 7), (5, 1, 9), (7, 7, 1), (3, 2, 2), (9, 8, 3), (2, 33, 17)]
    shapes += [(2, 16, 16), (3, 64, 5), (129, 1, 1), (4, 31, 32)]
    for blocks, rows, columns in shapes:
        count = 1 if kernel.operation == "accumulate_shared" else blocks
        weight = weights(rng, kernel.numbers, count, columns, rows)
        for fired in activities(rng, blocks * columns):
            start = states(rng, of_targets(kernel), blocks * rows)
            v = array(of_targets(kernel), start)
            stored, listed = Array(block_weights_for(kernel.name, weight)), spike_list(fired)
            call(kernel, v, rows, columns, stored, Array(listed), changes=(v,))
            wanted = start.copy().reshape(blocks, rows)
            for block in range(blocks):
                spiking = fired.reshape(blocks, columns)[block]
                wanted[block] = with_rows(wanted[block], weight[block % count][spiking])
            same(v.values, filled(of_targets(kernel), wanted.ravel()))


@kernels("accumulate_dense", "multiply_dense")
def test_dense_reaches_sources_beyond_16_bits_of_weights(call: Call, kernel: Variant) -> None:
    sources, targets = 3000, 33
    weight = weights(np.random.default_rng(5), kernel.numbers, sources, targets)
    record = dense_record(kernel, weight)
    fired = np.arange(sources) == sources - 1
    v = array(of_targets(kernel), np.zeros(targets, NUMBERS[of_targets(kernel)]))
    call(kernel, record, v, spikes_for(kernel, fired), changes=(v,))
    same(v.values, filled(of_targets(kernel), weight[-1].astype(v.values.dtype)))
