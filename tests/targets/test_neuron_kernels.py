"""Kernels of neurons alone, against their definition in NumPy."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from kernel_machines import Array, Call, Struct, Variant, kernels
from kernel_values import (
    NUMBERS,
    SIZES,
    activities,
    array,
    filled,
    same,
    spike_list,
    states,
    unwritten_list,
)
from numpy.typing import NDArray

from l2mu_compile.neurons import LIF, CuBaLIF

FIRE = tuple(f"fire_{reset}" for reset in LIF.resets)
FIRE_SYNAPTIC = tuple(f"fire_synaptic_{reset}" for reset in CuBaLIF.resets)

# Membranes saturate to these: as the parameters say, or as L2MU_NARROW_BITS does.
RANGES = {"i32": (-1000, 900), "i16": (-(2**13), 2**13 - 1)}


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
