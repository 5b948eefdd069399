"""The kernels of a step as TensorIR: each equals the portable C kernel of its name, bit for bit.

A kernel here is a function that writes its loops into the TensorIR function that is being built
(`l2mu_compile.targets.tvm_module`). It is given what a call has, in order: arrays as buffers,
records as dictionaries of buffers and numbers, and numbers.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from tvm.tirx.script import builder as T

from l2mu_compile.network import NARROW_BITS

Fields = Mapping[str, Any]
Value = Any  # an expression of TensorIR
Buffer = Any

Q15, Q16 = 15, 16
INT16 = (-(2**15), 2**15 - 1)
SPIKE_LEVEL = 0.5


def kernels() -> dict[str, Callable[..., None]]:
    """All kernels, by the names that calls have."""
    found: dict[str, Callable[..., None]] = {}
    for kind in (_Floats(), _Wide(), _Narrow()):
        numbers = kind.numbers
        found[f"add_bias_{numbers}"] = kind.add_bias
        found[f"leak_{numbers}"] = kind.leak
        for reset in ("subtract", "subtract_first", "zero", "none"):
            found[f"fire_{reset}_{numbers}"] = partial(kind.fire, reset)
        for reset in ("subtract", "subtract_first", "zero", "clamp", "none"):
            found[f"fire_synaptic_{reset}_{numbers}"] = partial(kind.fire_synaptic, reset)
    found["saturate_i32"] = _Wide().saturate
    for numbers in ("f32", "i8_i32", "i8_i16"):
        found[f"accumulate_dense_{numbers}"] = accumulate_dense
        found[f"accumulate_shared_{numbers}"] = partial(accumulate_blocks, True)
        found[f"accumulate_distinct_{numbers}"] = partial(accumulate_blocks, False)
    for tile in (1, 4, 8):
        for sums in ("i32", "i16"):
            found[f"accumulate_sparse{tile}_i8_{sums}"] = partial(accumulate_sparse, tile)
    found |= {"input_f32": input_f32, "input_i8_i32": input_i8, "input_i8_i16": input_i8}
    found |= {
        "quantize_sample": quantize_sample,
        "quantize_counts": quantize_counts,
        "convert_counts": convert_counts,
        "list_samples": partial(list_channels, SPIKE_LEVEL),
        "list_counts": partial(list_channels, 0),
        "count_spikes": count_spikes,
        "count_undecided_i32": count_undecided,
        "decided_i32": decided,
    }
    for numbers in ("f32", "i32", "i64"):
        found[f"argmax_{numbers}"] = argmax
        found[f"sum_{numbers}"] = partial(update_scores, operator.add)
        found[f"maximum_{numbers}"] = partial(update_scores, _larger)
        found[f"copy_{numbers}"] = partial(update_scores, lambda _, v: v)
        found[f"fill_{numbers}"] = fill
    return {f"l2mu_{name}": kernel for name, kernel in found.items()}


# ---- neurons -------------------------------------------------------------------------------------


class _Floats:
    """Neurons that compute in float32."""

    numbers = "f32"
    zero = 0.0

    def parameter(self, p: Fields, name: str, j: Value) -> Value:
        """A parameter of neuron ``j``: its own, or that of all."""
        return p[name][j if p[f"{name}_step"] else 0]

    def saturated(self, p: Fields, value: Value) -> Value:
        return value

    def decayed(self, factor: Value, state: Value) -> Value:
        return rounded(factor * state)

    def loaded(self, array: Buffer, j: Value) -> Value:
        return array[j]

    def stored(self, value: Value) -> Value:
        return value

    # What follows is the same for all numbers.

    def add_bias(self, p: Fields, v: Buffer) -> None:
        with T.serial(0, p["size"]) as j:
            _store(v, j, self.stored(self._biased(p, j, self.loaded(v, j))))

    def saturate(self, p: Fields, v: Buffer) -> None:
        with T.serial(0, p["size"]) as j:
            _store(v, j, self.stored(self.saturated(p, self.loaded(v, j))))

    def leak(self, p: Fields, v: Buffer) -> None:
        with T.serial(0, p["size"]) as j:
            membrane = self.saturated(p, self.loaded(v, j))
            left = self.decayed(self.parameter(p, "beta", j), membrane)
            _store(v, j, self.stored(self._biased(p, j, left)))

    def fire(self, reset: str, p: Fields, v: Buffer, spikes: Buffer) -> None:
        def fired(j: Value) -> Value:
            return self.saturated(p, self.loaded(v, j)) > self._threshold(p, j)

        _list(spikes, p["size"], fired)
        with T.serial(0, p["size"]) as j:
            membrane = T.bind(self.saturated(p, self.loaded(v, j)))
            left = self._left(reset, p, j, membrane)
            _store(v, j, self.stored(self._biased(p, j, left)))

    def fire_synaptic(self, reset: str, p: Fields, v: Buffer, syn: Buffer, spikes: Buffer) -> None:
        with T.serial(0, p["size"]) as j:
            current = T.bind(self.saturated(p, self.loaded(syn, j)))
            membrane = T.bind(self.loaded(v, j))
            total = self._left(reset, p, j, membrane) + current
            if reset == "clamp":
                total = T.Select(membrane > self._threshold(p, j), self._zero(), total)
            _store(v, j, self.stored(self.saturated(p, total)))
            left = self.decayed(self.parameter(p, "alpha", j), current)
            _store(syn, j, self.stored(self._biased(p, j, left)))
        _list(spikes, p["size"], lambda j: self.loaded(v, j) > self._threshold(p, j))

    def _left(self, reset: str, p: Fields, j: Value, membrane: Value) -> Value:
        """What decay and reset leave of a membrane."""
        threshold, beta = self._threshold(p, j), self.parameter(p, "beta", j)
        fired = membrane > threshold
        if reset == "subtract_first":
            return self.decayed(beta, T.Select(fired, membrane - threshold, membrane))
        left = self.decayed(beta, membrane)
        if reset == "subtract":
            return T.Select(fired, left - threshold, left)
        return T.Select(fired, self._zero(), left) if reset == "zero" else left

    def _threshold(self, p: Fields, j: Value) -> Value:
        return self.parameter(p, "threshold", j)

    def _biased(self, p: Fields, j: Value, value: Value) -> Value:
        return value if p["bias"] is None else value + self.loaded(p["bias"], j)

    def _zero(self) -> Value:
        return T.float32(0.0) if self.numbers == "f32" else T.int32(0)


class _Wide(_Floats):
    """Neurons with accumulators of int32."""

    numbers = "i32"

    def saturated(self, p: Fields, value: Value) -> Value:
        return _clip(value, p["low"], p["high"])

    def decayed(self, factor: Value, state: Value) -> Value:
        product = T.cast(factor, "int64") * T.cast(state, "int64")
        return T.cast(T.shift_right(product, T.int64(Q15)), "int32")


class _Narrow(_Floats):
    """Neurons with accumulators of int16, which are computed with as int32."""

    numbers = "i16"

    def parameter(self, p: Fields, name: str, j: Value) -> Value:
        each = name == "threshold" or p["beta_step"]
        return T.cast(p[name][j if each else 0], "int32")

    def saturated(self, p: Fields, value: Value) -> Value:
        limit = 1 << (NARROW_BITS - 1)
        return _clip(value, -limit, limit - 1)

    def decayed(self, factor: Value, state: Value) -> Value:
        return T.shift_right(factor * state, T.int32(Q16))

    def loaded(self, array: Buffer, j: Value) -> Value:
        return T.cast(array[j], "int32")

    def stored(self, value: Value) -> Value:
        return T.cast(value, "int16")


# ---- synapses ------------------------------------------------------------------------------------


def accumulate_dense(p: Fields, v: Buffer, spikes: Buffer) -> None:
    """Add the row of every source that spiked."""
    with _listed(spikes) as source:
        _add_row(v, 0, p["weights"], source * p["targets"], p["targets"])


def accumulate_blocks(
    shared: bool, v: Buffer, rows: int, columns: int, weights: Buffer, spikes: Buffer
) -> None:
    """Add to its block the row of every source that spiked; all blocks may ``shared`` weights."""
    with _listed(spikes) as source:
        block = T.bind(T.truncdiv(source, columns))
        row = source - block * columns if shared else source
        _add_row(v, block * rows, weights, row * rows, rows)


def accumulate_sparse(tile: int, p: Fields, v: Buffer, spikes: Buffer) -> None:
    """Add the tiles of every source that spiked; of the last one some targets are not there."""
    with _listed(spikes) as source:
        place = T.alloc_buffer((1,), "int32")
        _store(place, 0, T.int32(0))
        first, end = (T.cast(p["start"][source + k], "int32") for k in (0, 1))
        with T.serial(0, end - first) as k:
            number = T.bind(first + k)
            _store(place, 0, place[0] + T.cast(p["delta"][number], "int32") * tile)
            with T.serial(0, T.min(p["targets"] - place[0], tile)) as j:
                _add(v, place[0] + j, p["weights"][number * tile + j])


def input_f32(p: Fields, v: Buffer, sample: Buffer) -> None:
    """Add the products of a sample, channel after channel."""
    with _encoded(p) as (target, weight, first), T.serial(0, p["columns"]) as channel:
        _add(v, target, rounded(p["weights"][weight + channel] * sample[first + channel]))


def input_i8(p: Fields, v: Buffer, sample: Buffer) -> None:
    """Add the products of a sample, all of a target's shifted to its scale at once."""
    with _encoded(p) as (target, weight, first):
        total = T.alloc_buffer((1,), "int32")
        shift = T.bind(p["shift"][target if p["shift_step"] else 0])
        _store(total, 0, T.shift_right(T.shift_left(T.int32(1), shift), T.int32(1)))
        with T.serial(0, p["columns"]) as channel:
            factor = T.cast(p["weights"][weight + channel], "int32")
            _add(total, 0, factor * T.cast(sample[first + channel], "int32"))
        _add(v, target, T.shift_right(total[0], shift))


@contextmanager
def _encoded(p: Fields) -> Iterator[tuple[Value, Value, Value]]:
    """Every target of a sample: its number, its first weight's and its first channel's."""
    rows, columns = p["rows"], p["columns"]
    with T.serial(0, p["blocks"]) as block, T.serial(0, rows) as row:
        yield block * rows + row, block * p["block_step"] + row * columns, block * columns


def _add_row(v: Buffer, target: Value, weights: Buffer, first: Value, count: int) -> None:
    with T.serial(0, count) as j:
        _add(v, target + j, weights[first + j])


# ---- samples -------------------------------------------------------------------------------------


def quantize_sample(quantized: Buffer, channels: int, sample: Buffer, fraction: int) -> None:
    """floor(sample * 2^fraction + 1/2), clipped; NaN becomes 0."""
    low, high = map(T.float64, INT16)
    with T.serial(0, channels) as channel:
        given = T.bind(sample[channel])
        scaled = T.cast(given, "float64") * T.float64(2.0**fraction)
        scaled = T.bind(T.Select(_is_nan(given), T.float64(0.0), scaled))
        raised = T.bind(_clip(scaled, low, high) + T.float64(0.5))
        whole = T.bind(T.cast(raised, "int32"))
        below = T.cast(T.cast(whole, "float64") > raised, "int32")
        _store(quantized, channel, T.cast(whole - below, "int16"))


def quantize_counts(
    quantized: Buffer, channels: int, counts: Buffer, scale: int, shift: int
) -> None:
    """floor(count * scale / 2^shift + 1/2), clipped."""
    with T.serial(0, channels) as channel:
        scaled = T.cast(counts[channel], "int32") * T.int32(scale) + T.int32((1 << shift) >> 1)
        whole = T.bind(T.shift_right(scaled, T.int32(shift)))
        _store(quantized, channel, T.cast(_clip(whole, *INT16), "int16"))


def convert_counts(sample: Buffer, channels: int, counts: Buffer) -> None:
    """The same numbers as float."""
    with T.serial(0, channels) as channel:
        _store(sample, channel, T.cast(counts[channel], "float32"))


def list_channels(level: float, spikes: Buffer, channels: int, sample: Buffer) -> None:
    """List the channels that are above a level."""
    _list(spikes, channels, lambda channel: sample[channel] > T.cast(level, sample.dtype))


# ---- scores --------------------------------------------------------------------------------------


def count_spikes(score: Buffer, spikes: Buffer) -> None:
    """Count the spikes of a step."""
    with _listed(spikes) as source:
        _add(score, source, T.int32(1))


def decided(score: Buffer, classes: int, margin: Buffer, found: Buffer) -> None:
    """The class that is ahead of all others by its margin, or -1."""
    best = T.alloc_buffer((1,), "int32")
    argmax(score, classes, best)
    _store(found, 0, best[0] if classes > 1 else T.int32(-1))
    with T.serial(0, classes) as j:
        near = score[best[0]] - score[j] < margin[best[0]]
        with T.If(T.And(j != best[0], near)), T.Then():
            _store(found, 0, T.int32(-1))


def count_undecided(score: Buffer, classes: int, margin: Buffer, spikes: Buffer) -> None:
    """Count the spikes of a step as long as no class is ahead by its margin."""
    found = T.alloc_buffer((1,), "int32")
    decided(score, classes, margin, found)
    with T.If(found[0] < 0), T.Then():
        count_spikes(score, spikes)


def update_scores(
    update: Callable[[Value, Value], Value], score: Buffer, classes: int, v: Buffer
) -> None:
    """Make a step's scores of those before and the membranes."""
    with T.serial(0, classes) as j:
        _store(score, j, update(score[j], T.cast(v[j], score.dtype)))


def fill(score: Buffer, classes: int, value: float) -> None:
    """Start with a score."""
    with T.serial(0, classes) as j:
        _store(score, j, T.cast(value, score.dtype))


def argmax(score: Buffer, classes: int, best: Buffer) -> None:
    """The class of the largest score, the first among equals."""
    _store(best, 0, T.int32(0))
    with T.serial(1, classes) as j, T.If(score[j] > score[best[0]]), T.Then():
        _store(best, 0, j)


# ---- what they are made of -----------------------------------------------------------------------


def rounded(product: Value) -> Value:
    """A float32 product that is rounded before anything is added to it.

    TVM lets LLVM fuse the two wherever the processor can.
    """
    return T.call_llvm_pure_intrin("float32", "llvm.arithmetic.fence", product)


def _list(spikes: Buffer, size: int, fired: Callable[[Value], Value]) -> None:
    """List whoever fired: their number, then who they are, ascending."""
    count = T.alloc_buffer((1,), "int32")
    _store(count, 0, T.int32(0))
    with T.serial(0, size) as j, T.If(fired(j)), T.Then():
        _store(count, 0, count[0] + 1)
        _store(spikes, count[0], T.cast(j, "uint16"))
    _store(spikes, 0, T.cast(count[0], "uint16"))


@contextmanager
def _listed(spikes: Buffer) -> Iterator[Value]:
    """Every source of a list of spikes."""
    with T.serial(0, T.cast(spikes[0], "int32")) as k:
        yield T.bind(T.cast(spikes[k + 1], "int32"))


def _add(array: Buffer, index: Value, value: Value) -> None:
    _store(array, index, array[index] + T.cast(value, array.dtype))


def _store(array: Buffer, index: Value, value: Value) -> None:
    T.buffer_store(array, value, [index])


def _is_nan(value: Value) -> Value:
    """By its bits: TVM takes every number for equal to itself."""
    bits = T.bitwise_and(T.reinterpret("int32", value), T.int32(0x7FFFFFFF))
    return bits > T.int32(0x7F800000)


def _clip(value: Value, low: Value, high: Value) -> Value:
    return T.min(T.max(value, low), high)


def _larger(before: Value, value: Value) -> Value:
    return T.Select(value > before, value, before)
