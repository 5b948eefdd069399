"""Synapses in TensorIR: currents arrive as in the portable C kernels of the same names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from tvm.tirx.script import builder as T

from l2mu_compile.sparse import TILES
from l2mu_compile.targets.tvm_loops import (
    Buffer,
    Fields,
    Value,
    add,
    integer,
    listed,
    local,
    rounded,
    store,
)


def synapse_kernels() -> dict[str, Callable[..., None]]:
    """All of them, by the names that calls have without ``l2mu_``."""
    found: dict[str, Callable[..., None]] = {
        "input_f32": input_f32,
        "input_conv_f32": input_conv_f32,
    }
    for numbers in ("f32", "i8_i32", "i8_i16"):
        found[f"accumulate_dense_{numbers}"] = accumulate_dense
        found[f"accumulate_shared_{numbers}"] = partial(accumulate_blocks, True)
        found[f"accumulate_distinct_{numbers}"] = partial(accumulate_blocks, False)
        found[f"accumulate_conv_{numbers}"] = accumulate_conv
    for sums in ("i32", "i16"):
        found[f"input_i8_{sums}"] = input_i8
        found[f"input_conv_i8_{sums}"] = input_conv_i8
        for packing, (bits, multiple) in _PACKINGS.items():
            kernel = partial(accumulate_packed, bits, multiple)
            found[f"accumulate_dense_{packing}_{sums}"] = kernel
        for tile in TILES:
            found[f"accumulate_sparse{tile}_i8_{sums}"] = partial(accumulate_sparse, tile)
    return found


def accumulate_dense(p: Fields, v: Buffer, spikes: Buffer) -> None:
    """Add the row of every source that spiked."""
    with listed(spikes) as source:
        _add_row(v, 0, p["weights"], source * p["targets"], p["targets"])


def accumulate_blocks(
    shared: bool, v: Buffer, rows: int, columns: int, weights: Buffer, spikes: Buffer
) -> None:
    """Add to its block the row of every source that spiked; all blocks may ``shared`` weights."""
    with listed(spikes) as source:
        block = T.bind(T.truncdiv(source, columns))
        row = source - block * columns if shared else source
        _add_row(v, block * rows, weights, row * rows, rows)


def accumulate_sparse(tile: int, p: Fields, v: Buffer, spikes: Buffer) -> None:
    """Add the tiles of every source that spiked; of the last one some targets are not there."""
    with listed(spikes) as source:
        place = local(1, "int32")
        store(place, 0, T.int32(0))
        first, end = (integer(p["start"][source + k]) for k in (0, 1))
        with T.serial(0, end - first) as k:
            number = T.bind(first + k)
            store(place, 0, place[0] + integer(p["delta"][number]) * tile)
            with T.serial(0, T.min(p["targets"] - place[0], tile)) as j:
                add(v, place[0] + j, p["weights"][number * tile + j])


def input_f32(p: Fields, v: Buffer, sample: Buffer) -> None:
    """Add the products of a sample, channel after channel."""
    with _encoded(p) as (target, weight, first), T.serial(0, p["columns"]) as channel:
        add(v, target, rounded(p["weights"][weight + channel] * sample[first + channel]))


def input_i8(p: Fields, v: Buffer, sample: Buffer) -> None:
    """Add the products of a sample, all of a target's shifted to its scale at once."""
    with (
        _encoded(p) as (target, weight, first),
        _shifted(p["shift"], p["shift_step"], v, target) as total,
        T.serial(0, p["columns"]) as channel,
    ):
        factor = integer(p["weights"][weight + channel])
        add(total, 0, factor * integer(sample[first + channel]))


def accumulate_packed(
    bits: int, multiple: Callable[[Value], Value], p: Fields, v: Buffer, spikes: Buffer
) -> None:
    """Add the row of every source that spiked; a weight is ``bits`` of a byte, which say by what
    the quantum of its target is multiplied."""
    row_bytes = -(-p["targets"] * bits // 8)
    with listed(spikes) as source, T.serial(0, p["targets"]) as j:
        place = T.bind(j * bits)
        byte = integer(p["weights"][source * row_bytes + T.truncdiv(place, 8)])
        number = T.bitwise_and(T.shift_right(byte, T.truncmod(place, 8)), T.int32((1 << bits) - 1))
        add(v, j, multiple(T.bind(number)) * integer(p["quantum"][j]))


def _power(number: Value) -> Value:
    """-64, -32 … -1, 0, 1, 2 … 64, and 0 once more."""
    positive = T.shift_left(T.int32(1), T.bitwise_and(number, T.int32(7)))
    negative = T.int32(0) - T.shift_right(T.int32(64), number)
    return T.Select(number < 8, negative, T.bitwise_and(positive, T.int32(127)))


_PACKINGS: dict[str, tuple[int, Callable[[Value], Value]]] = {
    "i4": (4, lambda number: number - 8),
    "i2": (2, lambda number: number - 1),
    "s4": (4, _power),
}


def accumulate_conv(p: Fields, weights: Buffer, v: Buffer, spikes: Buffer) -> None:
    """Add the weights by which every source that spiked reaches its targets."""
    kernel = p["kernel_height"] * p["kernel_width"]
    with listed(spikes) as source:
        channel, row, column = _place(source, p["height"] * p["width"], p["width"])
        first = T.bind(channel * (kernel * p["out"]))
        target = T.bind(T.truncdiv(channel, p["channels"]) * (p["out"] * p["positions"]))
        with _reads(p, row, column) as (weight, other_row, other_column):
            start = T.bind(first + weight * p["out"])
            at = T.bind(target + other_row * p["target_width"] + other_column)
            with T.serial(0, p["out"]) as j:
                add(v, at + j * p["positions"], weights[start + j])


def input_conv_f32(p: Fields, weights: Buffer, v: Buffer, sample: Buffer) -> None:
    """Add the products of a sample, channel after channel, row after row."""
    targets = p["target_channels"] * p["positions"]
    with T.serial(0, targets) as target, _slid(p, target) as (weight, at):
        add(v, target, rounded(weights[weight] * sample[at]))


def input_conv_i8(
    p: Fields, weights: Buffer, shift: Buffer, shift_step: int, v: Buffer, sample: Buffer
) -> None:
    """Add the products of a sample, all of a target's shifted to its scale at once."""
    with (
        T.serial(0, p["target_channels"] * p["positions"]) as target,
        _shifted(shift, shift_step, v, target) as total,
        _slid(p, target) as (weight, at),
    ):
        add(total, 0, integer(weights[weight]) * integer(sample[at]))


@contextmanager
def _encoded(p: Fields) -> Iterator[tuple[Value, Value, Value]]:
    """Every target of a sample: its number, its first weight's and its first channel's."""
    rows, columns = p["rows"], p["columns"]
    with T.serial(0, p["blocks"]) as block, T.serial(0, rows) as row:
        yield block * rows + row, block * p["block_step"] + row * columns, block * columns


def _add_row(v: Buffer, target: Value, weights: Buffer, first: Value, count: int) -> None:
    with T.serial(0, count) as j:
        add(v, target + j, weights[first + j])


@contextmanager
def _shifted(shift: Buffer, shift_step: int, v: Buffer, target: Value) -> Iterator[Buffer]:
    """A sum that is added to a target once it is shifted to the target's scale, and rounded."""
    total = local(1, "int32")
    by = T.bind(shift[target if shift_step else 0])
    store(total, 0, T.shift_right(T.shift_left(T.int32(1), by), T.int32(1)))
    yield total
    add(v, target, T.shift_right(total[0], by))


@contextmanager
def _slid(p: Fields, target: Value) -> Iterator[tuple[Value, Value]]:
    """Every weight of a target of a convolution, and the sample that it multiplies."""
    kernel, area = p["kernel_height"] * p["kernel_width"], p["height"] * p["width"]
    channel, row, column = _place(target, p["positions"], p["target_width"])
    group = T.bind(T.truncdiv(channel, p["out"]))
    with T.serial(0, p["channels"]) as source:
        first = T.bind((channel * p["channels"] + source) * kernel)
        map_start = T.bind((group * p["channels"] + source) * area)
        with _reads(p, row, column) as (weight, other_row, other_column):
            yield first + weight, map_start + other_row * p["width"] + other_column


def _place(neuron: Value, area: int, width: int) -> tuple[Value, Value, Value]:
    """Channel, row and column of a neuron of maps."""
    channel = T.bind(T.truncdiv(neuron, area))
    rest = T.bind(neuron - channel * area)
    row = T.bind(T.truncdiv(rest, width))
    return channel, row, T.bind(rest - row * width)


@contextmanager
def _reads(p: Fields, row: Value, column: Value) -> Iterator[tuple[Value, Value, Value]]:
    """Every weight that joins a place to others: its number, and the other's row and column."""
    with _axis(p, "row", row) as row_read, _axis(p, "column", column) as column_read:
        (kernel_row, other_row), (kernel_column, other_column) = row_read, column_read
        yield kernel_row * p["kernel_width"] + kernel_column, other_row, other_column


@contextmanager
def _axis(p: Fields, axis: str, at: Value) -> Iterator[tuple[Value, Value]]:
    first, end = (T.bind(integer(p[f"{axis}_start"][at + k])) for k in (0, 1))
    with T.serial(0, end - first) as k:
        yield tuple(T.bind(integer(p[f"{axis}_{part}"][first + k])) for part in ("kernel", "other"))
