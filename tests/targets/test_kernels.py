"""Every kernel alone, against its definition in NumPy, with guard bytes around every array."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import cache
from itertools import chain, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from kernel_machines import MACHINES, SETS, TESTED, Array, Call, Struct, Variant, kernels
from numpy.typing import NDArray
from packages import M4F, need, tool

from l2mu_compile.buffers import FLAG_MULTIPLE
from l2mu_compile.convolution import Convolution
from l2mu_compile.grids import GRIDS, Grid
from l2mu_compile.neurons import LIF, CuBaLIF
from l2mu_compile.sample_calls import count_scale
from l2mu_compile.samples import quantize_samples
from l2mu_compile.sparse import TILES, tile_of, tiles_of
from l2mu_compile.targets.dense_layouts import multiply_weights_for, weights_for
from l2mu_compile.targets.input_layouts import input_weights_for
from l2mu_compile.targets.kernel_table import KERNEL_DIR, kernel_table
from l2mu_compile.targets.packed_layouts import filled_quanta, packed_weights_for
from l2mu_compile.targets.structured_layouts import (
    block_weights_for,
    slide_weights,
    sparse_weights_for,
)
from l2mu_compile.targets.toolchain import RUNTIME_DIR
from l2mu_compile.verify import MAX_FRACTION

SIZES = (*range(1, 34), 63, 64, 65, 127, 128, 129, 255, 256, 257)
# Rows of packed weights, which kernels add up so many at a time.
AROUND_LIMITS = ((6, 9), (14, 19), (30, 36), (126, 128), (255, 258), (510, 513))
NUMBERS = {"f32": np.float32, "i16": np.int16, "i32": np.int32, "i64": np.int64, "i8": np.int8}

FIRE = tuple(f"fire_{reset}" for reset in LIF.resets)
SPARSE = tuple(f"accumulate_sparse{tile}" for tile in TILES)
FIRE_SYNAPTIC = tuple(f"fire_synaptic_{reset}" for reset in CuBaLIF.resets)

# Membranes saturate to these: as the parameters say, or as L2MU_NARROW_BITS does.
RANGES = {"i32": (-1000, 900), "i16": (-(2**13), 2**13 - 1)}


def same(got: NDArray, wanted: NDArray) -> None:
    assert got.dtype == wanted.dtype
    assert got.tobytes() == wanted.tobytes(), (got, wanted)


# ---- what is common ----------------------------------------------------------------------------


def states(rng: np.random.Generator, numbers: str, size: int) -> NDArray:
    """Any accumulators or membranes."""
    if numbers == "i16":
        return rng.integers(-(2**15), 2**15, size).astype(np.int16)
    if numbers == "i32":
        return rng.integers(-2000, 2000, size).astype(np.int32)
    special = np.float32([0.0, -0.0, 1e-45, -1e-40, 1.0, np.inf])
    values = rng.normal(size=size).astype(np.float32) * 2
    return np.where(rng.random(size) < 0.2, rng.choice(special, size), values)


def states_before(rng: np.random.Generator, numbers: str, rows: NDArray) -> NDArray:
    """Any accumulators that any of ``rows`` can be added to; all of them often lead to an end of
    the range."""
    if numbers != "i16":
        return states(rng, numbers, rows.shape[1])
    least = -(2**15) - np.minimum(rows, 0).sum(axis=0, dtype=np.int64)
    greatest = 2**15 - 1 - np.maximum(rows, 0).sum(axis=0, dtype=np.int64)
    anything = rng.integers(least, greatest, endpoint=True)
    chosen = rng.integers(0, 4, len(least))
    return np.choose(chosen, [least, greatest, anything, anything]).astype(np.int16)


def filled(numbers: str, values: NDArray, filling: int = 0) -> NDArray:
    """An array of narrow numbers is filled up to a multiple of 8 elements."""
    if numbers != "i16":
        return values
    return np.append(values, np.full(-len(values) % 8, filling, values.dtype))


def array(numbers: str, values: NDArray, filling: int = 0) -> Array:
    """One element for each neuron, as well aligned as kernels may expect."""
    return Array(filled(numbers, values, filling), align=4)


def activities(rng: np.random.Generator, size: int) -> Iterator[NDArray]:
    """Who of ``size`` spikes: one at either end, then every number of them from none to all (of
    many only some numbers)."""
    for end in (0, -1):
        fired = np.zeros(size, bool)
        fired[end] = True
        yield fired
    some = {*range(10), size // 3, size // 2, size - 2, size - 1, size}
    for count in range(size + 1) if size <= 33 else sorted(some):
        yield rng.permutation(np.arange(size) < count)


def spike_list(fired: NDArray) -> NDArray:
    indices = np.flatnonzero(fired)
    listed = np.full(1 + len(fired), 0xFFFF, np.uint16)
    listed[0] = len(indices)
    listed[1 : 1 + len(indices)] = indices
    return listed


# ---- neurons -----------------------------------------------------------------------------------


class Population:
    """Neurons with parameters drawn at random: one value for all, or one each; a bias or none."""

    def __init__(
        self, rng: np.random.Generator, numbers: str, size: int, scalar: bool, biased: bool
    ) -> None:
        self.rng, self.numbers, self.size = rng, numbers, size
        count = None if scalar else size
        self.alpha, self.beta = self._decays(count), self._decays(count)
        if numbers == "f32":
            self.threshold = np.float32(rng.uniform(0.1, 2, count))
        else:
            # The greatest of a narrow one is one that no membrane is beyond.
            greatest = 2**13 - 1 if numbers == "i16" else 900
            self.threshold = NUMBERS[numbers](rng.integers(1, greatest + 1, count))
        self.bias = states(rng, numbers, size) if biased else None

    def _decays(self, count: int | None) -> Any:
        if self.numbers == "f32":
            return np.float32(self.rng.uniform(0, 1, count))
        drawn = self.rng.integers(0, 2**15 + 1, count)
        decays = np.where(self.rng.random(count) < 0.2, 2**15, drawn)
        return np.int32(decays * 2 if self.numbers == "i16" else decays)

    def record(self, bounded: bool = False) -> Struct:
        """These parameters as a kernel takes them."""
        wide = self.numbers != "i16"
        threshold = self.threshold if wide else np.broadcast_to(self.threshold, self.size)
        arrays = {"alpha": self.alpha, "beta": self.beta, "threshold": threshold, "bias": self.bias}
        fields: dict[str, Any] = {"size": self.size}
        for name, values in arrays.items():
            filling = 2**15 - 1 if name == "threshold" else 0
            if values is not None:
                fields[name] = Array(values, align=4)
            if np.ndim(values):
                fields[name] = array(self.numbers, values, filling)
            if name == "beta" or (name in ("alpha", "threshold") and wide):
                fields[f"{name}_step"] = np.ndim(values)
        if self.numbers == "i32":
            fields["low"], fields["high"] = RANGES["i32"]
        if self.numbers == "i16":
            fields["bounded"] = int(bounded)
        return Struct(f"l2mu_neurons_{self.numbers}_t", **fields)

    def saturated(self, v: NDArray) -> NDArray:
        return np.clip(v, *RANGES[self.numbers]) if self.numbers in RANGES else v

    def decayed(self, factor: Any, v: NDArray) -> NDArray:
        if self.numbers == "f32":
            return factor * v
        one = 2**16 if self.numbers == "i16" else 2**15
        return (np.int64(factor) * np.int64(v) // one).astype(v.dtype)

    def reset(self, how: str, v: NDArray) -> NDArray:
        """Decayed and reset membranes."""
        fired = v > self.threshold
        if how == "subtract_first":
            return self.decayed(self.beta, np.where(fired, v - self.threshold, v))
        after = self.decayed(self.beta, v)
        if how == "subtract":
            return np.where(fired, after - self.threshold, after)
        if how == "zero":
            return np.where(fired, v.dtype.type(0), after)
        return after

    def biased(self, v: NDArray) -> NDArray:
        return v if self.bias is None else v + self.bias

    def around(self, fired: NDArray) -> NDArray:
        """Accumulators that only where ``fired`` are above the threshold: some are just so, others
        just not."""
        threshold = np.broadcast_to(self.threshold, self.size)
        if self.numbers == "f32":
            least = np.nextafter(threshold, np.float32(np.inf))
        else:
            least = threshold + threshold.dtype.type(1)
        anything = states(self.rng, self.numbers, self.size)
        close = self.rng.random(self.size) < 0.3
        above = np.where(close, least, np.maximum(anything, least))
        return np.where(fired, above, np.where(close, threshold, np.minimum(anything, threshold)))


def cases(numbers: str) -> Iterator[tuple[Population, NDArray]]:
    """Neurons of every number, and which of them are above their thresholds."""
    rng = np.random.default_rng(7)
    for size in SIZES:
        for i, fired in enumerate(activities(rng, size)):
            yield Population(rng, numbers, size, scalar=i % 2 > 0, biased=i % 4 > 1), fired


def unwritten_list(size: int) -> Array:
    return Array(np.full(1 + size, 0xFFFF, np.uint16))


class Case(NamedTuple):
    """Neurons, and what of theirs there is before a call and after it, on any machine."""

    neurons: Struct
    before: tuple[NDArray, ...]
    after: tuple[NDArray, ...]
    fired: NDArray | None = None


def check_neurons(call: Call, kernel: Variant, case: Case) -> None:
    changing = [array(kernel.numbers, values) for values in case.before]
    wanted = [filled(kernel.numbers, values) for values in case.after]
    if case.fired is not None:
        changing.append(unwritten_list(case.fired.size))
        wanted.append(spike_list(case.fired))
    call(kernel, case.neurons, *changing, changes=changing)
    for made, expected in zip(changing, wanted, strict=True):
        same(made.values, expected)


@cache
def fire_cases(operation: str, numbers: str, bounded: bool) -> list[Case]:
    reset = operation.removeprefix("fire_")
    found = []
    for neurons, fired in cases(numbers):
        start = neurons.around(fired)
        membranes = neurons.saturated(start)
        wanted = neurons.biased(neurons.reset(reset, membranes))
        before = membranes if bounded else start
        above = membranes > neurons.threshold
        found.append(Case(neurons.record(bounded), (before,), (wanted,), above))
    return found


@kernels(*FIRE)
def test_fire(call: Call, kernel: Variant) -> None:
    for case in fire_cases(kernel.operation, kernel.numbers, bounded=False):
        check_neurons(call, kernel, case)


@kernels(*FIRE, numbers="i16")
def test_fire_where_no_sum_is_beyond_a_membrane(call: Call, kernel: Variant) -> None:
    for case in fire_cases(kernel.operation, kernel.numbers, bounded=True):
        check_neurons(call, kernel, case)


@cache
def synaptic_cases(operation: str, numbers: str) -> list[Case]:
    found = []
    for neurons, before in cases(numbers):
        start = neurons.saturated(neurons.around(before))
        arriving = states(neurons.rng, numbers, neurons.size)
        found.append(synaptic_case(neurons, operation, start, arriving))
    return found


@kernels(*FIRE_SYNAPTIC)
def test_fire_synaptic(call: Call, kernel: Variant) -> None:
    for case in synaptic_cases(kernel.operation, kernel.numbers):
        check_neurons(call, kernel, case)


@cache
def narrow_synaptic_cases(operation: str) -> list[Case]:
    """Where few spiked before, and few do now, or many."""
    reset = operation.removeprefix("fire_synaptic_")
    found = []
    for neurons, fired in cases("i16"):
        start = neurons.saturated(neurons.around(neurons.rng.random(neurons.size) < 0.1))
        arriving = neurons.saturated(neurons.around(fired)) - neurons.reset(reset, start)
        found.append(synaptic_case(neurons, operation, start, arriving))
    return found


@kernels(*FIRE_SYNAPTIC, numbers="i16")
def test_narrow_synapses_of_any_activity(call: Call, kernel: Variant) -> None:
    for case in narrow_synaptic_cases(kernel.operation):
        check_neurons(call, kernel, case)


def synaptic_case(neurons: Population, operation: str, start: NDArray, arriving: NDArray) -> Case:
    """Membranes ``start``, and synapses that are ``arriving``."""
    reset = operation.removeprefix("fire_synaptic_")
    current = neurons.saturated(arriving)
    integrated = neurons.reset(reset, start) + current
    if reset == "clamp":
        integrated = np.where(start > neurons.threshold, start.dtype.type(0), integrated)
    membranes = neurons.saturated(integrated)
    wanted = neurons.biased(neurons.decayed(neurons.alpha, current))
    fired = membranes > neurons.threshold
    return Case(neurons.record(), (start, arriving), (membranes, wanted), fired)


@cache
def membrane_cases(operation: str, numbers: str) -> list[Case]:
    found = []
    for neurons, _ in cases(numbers):
        start = states(neurons.rng, numbers, neurons.size)
        wanted = {
            "leak": lambda n, v: n.biased(n.decayed(n.beta, n.saturated(v))),
            "saturate": Population.saturated,
            "add_bias": Population.biased,
        }[operation](neurons, start)
        found.append(Case(neurons.record(), (start,), (wanted,)))
    return found


@kernels("leak", "saturate", "add_bias")
def test_membranes_without_spikes(call: Call, kernel: Variant) -> None:
    for case in membrane_cases(kernel.operation, kernel.numbers):
        check_neurons(call, kernel, case)


@kernels("leak", numbers="i32")
def test_integer_decay_rounds_down_over_the_whole_range(call: Call, kernel: Variant) -> None:
    start = np.int32([-(2**31), 2**31 - 1, -1, 1, -32768, 32767, -3, 3])
    for beta in (0, 1, 16384, 32767, 32768):
        v, decay = array("i32", start), Array(np.int32([beta]))
        limits = {"low": -(2**31), "high": 2**31 - 1}
        record = Struct("l2mu_neurons_i32_t", size=len(start), beta=decay, **limits)
        call(kernel, record, v, changes=(v,))
        same(v.values, np.int32([beta * int(x) // 32768 for x in start]))


@kernels(*FIRE, numbers="i16")
def test_every_narrow_accumulator(call: Call, kernel: Variant) -> None:
    """All 2^16 of them, for thresholds and decays at both ends."""
    rng = np.random.default_rng(6)
    everything = np.arange(-(2**15), 2**15).astype(np.int16)
    for beta in (0, 2, 2**15, 2**16 - 2, 2**16):
        for threshold in (1, 2**12, 2**13 - 1):
            neurons = Population(rng, "i16", everything.size // 2, scalar=True, biased=False)
            neurons.beta, neurons.threshold = np.int32(beta), np.int16(threshold)
            for start in np.split(everything, 2):
                v, spikes = array("i16", start), unwritten_list(neurons.size)
                call(kernel, neurons.record(), v, spikes, changes=(v, spikes))
                membranes = neurons.saturated(start)
                same(spikes.values, spike_list(membranes > threshold))
                same(v.values, neurons.reset(kernel.operation.removeprefix("fire_"), membranes))


@kernels(*FIRE_SYNAPTIC, numbers="i16")
def test_every_narrow_synapse(call: Call, kernel: Variant) -> None:
    """All 2^16 of them, beside membranes around the threshold and at both ends."""
    rng = np.random.default_rng(6)
    everything = np.arange(-(2**15), 2**15).astype(np.int16)
    for decay in (0, 2, 2**15, 2**16 - 2, 2**16):
        for threshold in (1, 2**12, 2**13 - 1):
            neurons = Population(rng, "i16", everything.size // 2, scalar=True, biased=False)
            neurons.alpha = neurons.beta = np.int32(decay)
            neurons.threshold = np.int16(threshold)
            ends = np.int16([-(2**13), 2**13 - 1, threshold, threshold - 1, 0, -1])
            for arriving in np.split(everything, 2):
                start = rng.choice(ends, arriving.size)
                case = synaptic_case(neurons, kernel.operation, start, arriving)
                check_neurons(call, kernel, case)


@kernels(*FIRE, numbers="f32")
def test_not_a_number_does_not_fire(call: Call, kernel: Variant) -> None:
    """Wherever it is, whatever its sign; infinity does."""
    one = Array(np.float32([1]))
    for size in (2, 8, 16, 35):
        record = Struct("l2mu_neurons_f32_t", size=size, beta=one, threshold=one)
        for sign in (1, -1):
            for place in range(size):
                start = np.full(size, np.copysign(np.float32(np.nan), np.float32(sign)))
                start[place] = sign * np.inf
                v, spikes = Array(start), unwritten_list(size)
                call(kernel, record, v, spikes, changes=(v, spikes))
                fired = np.arange(size) == place if sign > 0 else np.zeros(size, bool)
                same(spikes.values, spike_list(fired))
                assert np.isnan(np.delete(v.values, place)).all()
                reset = fired.any() and kernel.operation == "fire_zero"
                assert v.values[place] == (0 if reset else start[place])


@kernels(*FIRE_SYNAPTIC, numbers="f32")
def test_parameters_for_all_beside_those_for_each(call: Call, kernel: Variant) -> None:
    rng = np.random.default_rng(8)
    for size in (3, 8, 37):
        for kinds in product((None, size), repeat=3):
            neurons = Population(rng, "f32", size, scalar=True, biased=True)
            drawn = [np.float32(rng.uniform(0.1, 1, kind)) for kind in kinds]
            neurons.alpha, neurons.beta, neurons.threshold = drawn
            start = neurons.around(rng.random(size) < 0.3)
            arriving = states(rng, "f32", size)
            check_neurons(call, kernel, synaptic_case(neurons, kernel.operation, start, arriving))


@kernels(*FIRE_SYNAPTIC, numbers="f32")
def test_what_is_no_finite_number_spikes_as_comparisons_say(call: Call, kernel: Variant) -> None:
    """Membranes before and currents of any kind meet; of what is not a number no bits matter."""
    reset = kernel.operation.removeprefix("fire_synaptic_")
    some = np.float32([0, -0.0, 1, 2, -2, np.inf, -np.inf, np.nan, -np.nan])
    start, arriving = (x.ravel() for x in np.meshgrid(some, some))
    rng = np.random.default_rng(9)
    for threshold in (np.float32(1), np.full(start.size, 1, np.float32)):
        neurons = Population(rng, "f32", start.size, scalar=True, biased=False)
        neurons.threshold = threshold
        v, syn, spikes = Array(start), Array(arriving), unwritten_list(start.size)
        call(kernel, neurons.record(), v, syn, spikes, changes=(v, syn, spikes))
        with np.errstate(invalid="ignore"):
            wanted = neurons.reset(reset, start) + arriving
            if reset == "clamp":
                wanted = np.where(start > 1, np.float32(0), wanted)
            same(spikes.values, spike_list(wanted > 1))
            np.testing.assert_array_equal(v.values, wanted)
            np.testing.assert_array_equal(syn.values, neurons.alpha * arriving)


# ---- synapses ----------------------------------------------------------------------------------


def weights(rng: np.random.Generator, numbers: str, *shape: int) -> NDArray:
    if numbers.startswith("i8"):
        return rng.integers(-128, 128, shape).astype(np.int8)
    if grid := packing(numbers):
        quantum = rng.choice(grid.quanta, shape[-1])
        return (rng.choice(grid.multiples, shape) * quantum).astype(np.int16)
    return rng.normal(size=shape).astype(np.float32)


def packing(numbers: str) -> Grid | None:
    """The grid of a kernel's packed weights."""
    return next((g for g in GRIDS.values() if numbers.startswith(g.numbers)), None)


def of_weights(kernel: Variant) -> str:
    """The numbers that weights are."""
    return kernel.numbers.partition("_")[0]


def of_targets(kernel: Variant) -> str:
    """The numbers that accumulators are."""
    return sums_of(kernel.numbers)


def sums_of(numbers: str) -> str:
    return numbers.rpartition("_")[2]


def with_rows(start: NDArray, rows: NDArray) -> NDArray:
    """``start`` plus each of ``rows`` in turn, as numbers like it."""
    if start.dtype != np.float32:
        return start + rows.sum(axis=0, dtype=start.dtype)
    total = start.copy()
    for row in rows:
        total += row
    return total


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


# A plain one; strides, padding, groups; pools and dilation that leave rest rows; one target row.
SLIDES = (
    (Convolution((2, 3, 4), (3, 3, 4), padding=(1, 0)), (3, 2, 3, 1)),
    (Convolution((2, 7, 5), (4, 4, 3), (2, 2), (1, 1), groups=2), (4, 1, 3, 3)),
    (Convolution((1, 9, 8), (2, 3, 1), dilation=(1, 2), pool=(2, 3)), (2, 1, 2, 1)),
    (Convolution((3, 4, 4), (17, 1, 1), pool=(2, 2)), (17, 3, 2, 2)),
    (Convolution((2, 1, 9), (5, 1, 5), (1, 2), (0, 2)), (5, 2, 1, 5)),
)


def slide_record(made: Convolution, shape: tuple[int, ...], of_targets: bool) -> Struct:
    tables = {
        f"{word}_{part}": Array(table)
        for axis, word in enumerate(("row", "column"))
        for part, table in zip(
            ("start", "kernel", "other"),
            made.tables(axis, shape[2 + axis], of_targets),
            strict=True,
        )
    }
    return Struct(
        "l2mu_slide_t",
        **tables,
        height=made.source[1],
        width=made.source[2],
        channels=made.source[0] // made.groups,
        out=made.target[0] // made.groups,
        target_channels=made.target[0],
        positions=made.positions,
        target_width=made.target[2],
        kernel_height=shape[2],
        kernel_width=shape[3],
    )


@kernels("accumulate_conv")
def test_accumulate_conv(call: Call, kernel: Variant) -> None:
    rng = np.random.default_rng(23)
    for made, shape in SLIDES:
        kernels = weights(rng, kernel.numbers, *shape)
        record = slide_record(made, shape, of_targets=False)
        stored, joined = slide_weights(kernels, made.groups), made.dense(np.ones(shape, bool)).T
        full = made.dense(kernels).T
        for fired in activities(rng, made.shape[1]):
            start = states_before(rng, of_targets(kernel), full[fired])
            v = array(of_targets(kernel), start)
            call(kernel, record, Array(stored), v, Array(spike_list(fired)), changes=(v,))
            wanted = start.copy()
            for source in np.flatnonzero(fired):
                reached = joined[source]
                wanted[reached] += full[source, reached]
            same(v.values, filled(of_targets(kernel), wanted))


@kernels("accumulate_dense", "multiply_dense")
def test_dense_reaches_sources_beyond_16_bits_of_weights(call: Call, kernel: Variant) -> None:
    sources, targets = 3000, 33
    weight = weights(np.random.default_rng(5), kernel.numbers, sources, targets)
    record = dense_record(kernel, weight)
    fired = np.arange(sources) == sources - 1
    v = array(of_targets(kernel), np.zeros(targets, NUMBERS[of_targets(kernel)]))
    call(kernel, record, v, spikes_for(kernel, fired), changes=(v,))
    same(v.values, filled(of_targets(kernel), weight[-1].astype(v.values.dtype)))


# ---- samples -----------------------------------------------------------------------------------

INPUT_SHAPES = [(1, 1, 1), (1, 33, 7), (3, 2, 2), (9, 8, 1), (7, 1, 9), (2, 17, 15)]
INPUT_SHAPES += [(1, 64, 6), (1, 257, 3), (1, 3, 257), (2, 16, 16), (129, 1, 1)]


def input_record(kernel: Variant, weight: NDArray, blocks: int, shift: Any = None) -> Struct:
    rows, columns = weight.shape[-2:]
    stored = input_weights_for(kernel.name, weight, shift)
    fields: dict[str, Any] = {"weights": Array(stored, align=4), "blocks": blocks}
    if shift is not None:
        fields["shift"] = Array(np.atleast_1d(shift).astype(np.int32))
        fields["shift_step"] = np.ndim(shift)
    step = stored.shape[1] if len(stored) > 1 else 0
    ctype = f"l2mu_input_{of_weights(kernel)}_t"
    return Struct(ctype, rows=rows, columns=columns, block_step=step, **fields)


@kernels("input_conv")
def test_input_conv(call: Call, kernel: Variant) -> None:
    rng = np.random.default_rng(24)
    for made, shape in SLIDES:
        kernels = weights(rng, kernel.numbers, *shape)
        record, stored = slide_record(made, shape, of_targets=True), Array(kernels.ravel())
        targets, sources = made.shape
        if kernel.numbers == "f32":
            values = states(rng, "f32", sources)
            values[np.isinf(values)] = 3
            v = array("f32", states(rng, "f32", targets))
            call(kernel, record, stored, v, Array(values), changes=(v,))
            wanted = v.before.copy()
            made.add_samples(wanted[None], kernels, values[None])
            same(v.values, wanted)
            continue
        values = rng.choice([-32768, 32767, 0, 1, -7, 300], sources).astype(np.int16)
        total = made.applied(kernels.astype(np.int64), values)
        for shift in (np.int32(16), rng.integers(14, 23, targets).astype(np.int32)):
            start = states(rng, "i32", targets).astype(NUMBERS[of_targets(kernel)])
            v = array(of_targets(kernel), start)
            shifts = Array(np.atleast_1d(shift).astype(np.int32))
            arguments = (record, stored, shifts, np.ndim(shift), v, Array(values))
            call(kernel, *arguments, changes=(v,))
            half = (np.int64(1) << shift) >> 1
            wanted = start + ((total + half) >> shift)
            same(v.values, filled(of_targets(kernel), wanted.astype(start.dtype)))


@kernels("input")
@pytest.mark.parametrize("shared", [True, False])
def test_input(call: Call, kernel: Variant, shared: bool) -> None:
    rng = np.random.default_rng(10)
    for blocks, rows, columns in INPUT_SHAPES:
        weight = weights(rng, kernel.numbers, 1 if shared else blocks, rows, columns)
        if kernel.numbers == "f32":
            check_float_input(call, kernel, rng, weight, blocks)
            continue
        shifts = [np.int32(0), *rng.integers(0, 31, 2), rng.integers(0, 31, blocks * rows)]
        for shift in shifts:
            check_integer_input(call, kernel, rng, weight, blocks, shift)


def check_float_input(
    call: Call, kernel: Variant, rng: np.random.Generator, weight: NDArray, blocks: int
) -> None:
    """Channel after channel is added."""
    rows, columns = weight.shape[-2:]
    values = states(rng, "f32", blocks * columns)
    values[np.isinf(values)] = 3
    v = array("f32", states(rng, "f32", blocks * rows))
    call(kernel, input_record(kernel, weight, blocks), v, Array(values), changes=(v,))
    wanted = v.before.copy().reshape(blocks, rows)
    for column in range(columns):
        wanted += weight[..., column] * values.reshape(blocks, columns)[:, column, None]
    same(v.values, wanted.ravel())


def check_integer_input(
    call: Call,
    kernel: Variant,
    rng: np.random.Generator,
    weight: NDArray,
    blocks: int,
    shift: Any,
) -> None:
    """The whole sum is rounded once."""
    rows, columns = weight.shape[-2:]
    values = rng.choice([-32768, 32767, 0, 1, -7, 300], blocks * columns).astype(np.int16)
    start = states(rng, of_targets(kernel), blocks * rows)
    v = array(of_targets(kernel), start)
    # What the compiler sees to: no sum of a sample is beyond int32.
    weight = (weight // max(1, columns // 100)).astype(np.int8)
    call(kernel, input_record(kernel, weight, blocks, shift), v, Array(values), changes=(v,))
    by_block = values.astype(np.int64).reshape(blocks, 1, columns)
    total = (weight.astype(np.int64) * by_block).sum(axis=2).ravel()
    half = np.where(shift > 0, 2 ** np.maximum(shift - 1, 0), 0)
    wanted = (start + (total + half) // 2**shift).astype(start.dtype)
    same(v.values, filled(of_targets(kernel), wanted))


@kernels("quantize_sample")
@pytest.mark.parametrize("fraction", [-MAX_FRACTION, -24, -2, 0, 1, 10, 24, MAX_FRACTION])
def test_quantize_sample(call: Call, kernel: Variant, fraction: int) -> None:
    rng = np.random.default_rng(12)
    for size in SIZES:
        sample, quantized = Array(any_sample(rng, size, fraction)), Array(np.zeros(size, np.int16))
        call(kernel, quantized, size, sample, fraction, changes=(quantized,))
        same(quantized.values, np.int16([rounded(x, fraction) for x in sample.before]))


def any_sample(rng: np.random.Generator, size: int, fraction: int) -> NDArray:
    """Special numbers, those around the halves and the limits, and any bits at all."""
    special = np.float32([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-39, 3e38])
    wholes = np.array([-32768.5, 32766.5, 32767.5, -0.5, 0.5, 1.5, -1.5, 0, 7, -32768])
    edges = np.ldexp(wholes, -fraction).astype(np.float32)
    edges = np.concatenate([np.nextafter(edges, np.float32(s * np.inf)) for s in (-1, 1)] + [edges])
    anything = rng.integers(0, 2**32, size, np.uint32).view(np.float32)
    kind = rng.integers(0, 3, size)
    return np.choose(kind, [rng.choice(special, size), rng.choice(edges, size), anything])


def rounded(x: np.float32, fraction: int) -> int:
    """In numbers of any size."""
    if np.isnan(x):
        return 0
    if np.isinf(x):
        return 2**15 - 1 if x > 0 else -(2**15)
    scaled = Fraction(float(x)) * Fraction(2) ** fraction + Fraction(1, 2)
    return min(max(math.floor(scaled), -(2**15)), 2**15 - 1)


@kernels("list_samples")
def test_list_samples(call: Call, kernel: Variant) -> None:
    """What is above 1/2, and only that: not 1/2 itself, nor what is no number."""
    rng = np.random.default_rng(13)
    above = np.float32([np.nextafter(np.float32(0.5), np.float32(1)), 1, 7, np.inf])
    others = np.float32([0.5, 0, -0.0, -1, -np.inf, np.nan, 1e-45])
    for size in SIZES:
        for fired in activities(rng, size):
            sample = np.where(fired, rng.choice(above, size), rng.choice(others, size))
            spikes = unwritten_list(size)
            call(kernel, spikes, size, Array(sample), changes=(spikes,))
            same(spikes.values, spike_list(fired))


@kernels("list_counts")
def test_list_counts(call: Call, kernel: Variant) -> None:
    rng = np.random.default_rng(13)
    for size in SIZES:
        for fired in activities(rng, size):
            counts = np.where(fired, rng.integers(1, 2**15, size), rng.integers(-(2**15), 1, size))
            spikes = unwritten_list(size)
            call(kernel, spikes, size, Array(counts.astype(np.int16)), changes=(spikes,))
            same(spikes.values, spike_list(fired))


# ---- raw counts --------------------------------------------------------------------------------

ALL_COUNTS = np.arange(-(2**15), 2**15, dtype=np.int64).astype(np.int16)


@kernels("convert_counts")
def test_counts_become_the_same_numbers(call: Call, kernel: Variant) -> None:
    for counts in (*np.split(ALL_COUNTS, 4), *(ALL_COUNTS[:size] for size in SIZES)):
        sample = Array(np.full(counts.size, np.nan, np.float32))
        call(kernel, sample, counts.size, Array(counts), changes=(sample,))
        same(sample.values, counts.astype(np.float32))


@kernels("quantize_counts")
@pytest.mark.parametrize("fraction", range(-MAX_FRACTION, MAX_FRACTION + 1))
def test_every_count_is_quantized_as_the_float_of_its_value(
    call: Call, kernel: Variant, fraction: int
) -> None:
    """Where that takes long, every 61st."""
    scale, shift = count_scale(fraction)
    floats = replace(kernel, name="l2mu_quantize_sample")
    every = ALL_COUNTS if kernel.machine == "host" else ALL_COUNTS[::61]
    for counts in np.array_split(every, 4):
        quantized, reference = (Array(np.full(counts.size, 77, np.int16)) for _ in range(2))
        call(kernel, quantized, counts.size, Array(counts), scale, shift, changes=(quantized,))
        sample = Array(counts.astype(np.float32))
        call(floats, reference, counts.size, sample, fraction, changes=(reference,))
        same(quantized.values, reference.values)
        same(quantized.values, quantize_samples(counts, fraction).astype(np.int16))


# ---- scores ------------------------------------------------------------------------------------


@kernels("count_spikes")
def test_count_spikes(call: Call, kernel: Variant) -> None:
    rng = np.random.default_rng(14)
    for size in SIZES:
        for fired in activities(rng, size):
            score = Array(rng.integers(0, 100, size).astype(np.int32))
            call(kernel, score, Array(spike_list(fired)), changes=(score,))
            same(score.values, score.before + fired.astype(np.int32))


def decision(score: np.ndarray, margin: np.ndarray) -> int:
    """The leading class, if no other comes within its margin; -1 if one does, or there is none."""
    if score.size < 2:
        return -1
    leading = int(np.argmax(score))
    lead = score[leading] - np.delete(score, leading).max()
    return leading if lead >= margin[leading] else -1


def close_races(rng: np.random.Generator, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Scores and margins, about as many decided as not."""
    for spread in (1, 3, 30, 2**30):
        for margin in (1, 2, 2**31 - 1):
            score = rng.integers(0, spread + 1, size).astype(np.int32)
            yield score, rng.integers(1, margin, size, endpoint=True).astype(np.int32)


@kernels("decided")
def test_a_lead_of_the_margin_decides(call: Call, kernel: Variant) -> None:
    rng = np.random.default_rng(18)
    found = set()
    for size in SIZES:
        for score, margin in close_races(rng, size):
            wanted = decision(score, margin)
            assert call(kernel, Array(score), size, Array(margin)) == wanted
            found.add(wanted)
    assert {-1, 0, 1} <= found


@kernels("count_undecided")
def test_spikes_count_until_a_window_is_decided(call: Call, kernel: Variant) -> None:
    rng = np.random.default_rng(19)
    for size in SIZES:
        for fired in activities(rng, size):
            for start, margin in close_races(rng, size):
                score = Array(start // 2)
                spikes = Array(spike_list(fired))
                call(kernel, score, size, Array(margin), spikes, changes=(score,))
                more = fired if decision(score.before, margin) < 0 else np.zeros_like(fired)
                same(score.values, score.before + more.astype(np.int32))


@kernels("maximum", "copy", "fill", "sum")
def test_scores(call: Call, kernel: Variant) -> None:
    rng = np.random.default_rng(15)
    membranes = "i32" if kernel.numbers == "i64" else kernel.numbers
    for size in SIZES:
        v = Array(states(rng, membranes, size))
        start = states(rng, membranes, size).astype(NUMBERS[kernel.numbers])
        score = Array(start + 2**40 if kernel.numbers == "i64" else start)
        lowest: int | float = -1.5 if kernel.numbers == "f32" else -(2**31)
        given = lowest if kernel.operation == "fill" else v
        call(kernel, score, size, given, changes=(score,))
        wanted = {
            "maximum": np.where(v.before > score.before, v.before, score.before),
            "copy": v.before,
            "fill": np.full_like(v.before, lowest),
            "sum": score.before + v.before,
        }[kernel.operation]
        same(score.values, wanted)


@kernels("argmax")
def test_argmax_takes_the_first_of_the_largest(call: Call, kernel: Variant) -> None:
    rng = np.random.default_rng(17)
    for size in SIZES:
        for spread in (1, 3, 1000):
            values = rng.integers(-spread, spread, size).astype(NUMBERS[kernel.numbers])
            assert call(kernel, Array(values), size) == int(np.argmax(values))
    if kernel.numbers == "i64":
        assert call(kernel, Array(np.int64([1, 2**40, 2**33])), 3) == 1


# ---- all of them -------------------------------------------------------------------------------


@pytest.mark.parametrize("optimize", ["-O1", "-Os", "-O2", "-O3"])
@pytest.mark.parametrize("source", sorted(KERNEL_DIR.glob("*_f32.c")), ids=lambda path: path.stem)
def test_gcc_fuses_no_product_into_a_sum(source: Path, optimize: str, tmp_path: Path) -> None:
    """Not even in its own C and for a core that has the instruction."""
    need("arm-none-eabi-gcc")
    assembly = tmp_path / "kernel.s"
    flags = (*M4F, "-std=gnu11", optimize, "-idirafter", RUNTIME_DIR)
    tool("arm-none-eabi-gcc", *flags, "-S", source, "-o", assembly)
    text = assembly.read_text()
    assert re.search(r"\bv\w+\.f32\b", text)
    assert not re.search(r"\bvfn?m[as]", text)


def test_every_kernel_of_the_header_is_tested() -> None:
    """Those of saved states in `test_save`."""
    import test_save  # noqa: F401

    assert set(kernel_table()) == TESTED


def test_every_set_has_a_machine() -> None:
    assert set(SETS) == set(MACHINES)
