"""Every kernel alone, against its definition in NumPy, with guard bytes around every buffer."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import HostCompiler
from numpy.typing import NDArray
from packages import M4F, need, tool

from l2mu_compile.interpreter import quantize_samples
from l2mu_compile.program import count_scale
from l2mu_compile.targets.kernel_table import KERNEL_DIR, kernel_table
from l2mu_compile.targets.toolchain import RUNTIME_DIR
from l2mu_compile.verify import MAX_FRACTION

SIZES = (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33)
GUARD = 64


def _each(pattern: str) -> list[str]:
    """``fire_{f32,i32}`` is ``fire_f32`` and ``fire_i32``."""
    stem, _, numbers = pattern.rstrip("}").partition("{")
    return [stem + number for number in numbers.split(",")]


RESETS = ("subtract", "zero", "clamp", "none")
LOW, HIGH = -1000, 900

# What is called here and in `test_save`: `call` refuses any other, the last test compares with the
# header.
TESTED = {
    f"l2mu_{name}"
    for line in """
        decay_subtract_{f32,i32} decay_zero_{f32,i32} decay_none_{f32,i32} decay_synapse_{f32,i32}
        integrate_subtract_{f32,i32} integrate_zero_{f32,i32} integrate_clamp_{f32,i32}
        integrate_none_{f32,i32} fire_{f32,i32} saturate_{i32} accumulate_dense_{f32,i8}
        accumulate_shared_{f32,i8} accumulate_distinct_{f32,i8} input_{f32,i8} quantize_sample
        copy_spikes count_spikes maximum_{f32,i32} sum_{f32,i64} copy_{f32,i32} fill_{f32,i32}
        argmax_{f32,i32,i64} convert_counts quantize_counts save_state restore_state
    """.split()
    for name in ([line] if "{" not in line else _each(line))
}


# ---- calling -----------------------------------------------------------------------------------


class Guarded:
    """An array in the middle of painted memory."""

    def __init__(self, values: NDArray) -> None:
        values = np.ascontiguousarray(values)
        self._memory = np.full(values.nbytes + 2 * GUARD, 0xA5, np.uint8)
        self.array = self._memory[GUARD : GUARD + values.nbytes].view(values.dtype)
        self.array[:] = values.ravel()
        self.before = self.array.copy()

    @property
    def address(self) -> int:
        return self.array.ctypes.data

    def intact(self) -> bool:
        """Nothing was written beside the array."""
        return bool((self._memory[:GUARD] == 0xA5).all() and (self._memory[-GUARD:] == 0xA5).all())


def structure(*fields: tuple[str, Any]) -> type[ctypes.Structure]:
    return type("Parameters", (ctypes.Structure,), {"_fields_": list(fields)})


POINTERS = [(name, ctypes.c_void_p) for name in ("alpha", "beta", "threshold", "bias")]
STEPS = [(name, ctypes.c_uint8) for name in ("alpha_step", "beta_step", "threshold_step")]
RANGE = [("low", ctypes.c_int32), ("high", ctypes.c_int32)]
BLOCKS = [(name, ctypes.c_uint16) for name in ("blocks", "rows", "columns")]
BLOCKS += [("block_step", ctypes.c_uint32)]
NEURONS = {
    "f32": structure(*POINTERS, ("size", ctypes.c_uint16), *STEPS),
    "i32": structure(*POINTERS, *RANGE, ("size", ctypes.c_uint16), *STEPS),
}
INPUT = {
    "f32": structure(("weights", ctypes.c_void_p), *BLOCKS),
    "i8": structure(
        ("weights", ctypes.c_void_p),
        ("shift", ctypes.c_void_p),
        *BLOCKS,
        ("shift_step", ctypes.c_uint8),
    ),
}
NUMBERS = {"f32": np.float32, "i32": np.int32, "i64": np.int64, "i8": np.int8}


@pytest.fixture(scope="module")
def call(host: HostCompiler) -> Callable[..., Any]:
    """``call(kernel, *arguments, writes=...)``: arrays are passed by address, and only the array
    at index ``writes`` may change; no kernel may write beside an array."""
    library = ctypes.CDLL(str(host.kernel_library()))

    def run(kernel: str, *arguments: Any, writes: int | tuple[int, ...] = ()) -> Any:
        assert f"l2mu_{kernel}" in TESTED
        arrays: list[tuple[int, Guarded]] = []

        def convert(index: int, argument: Any) -> Any:
            if isinstance(argument, Guarded):
                arrays.append((index, argument))
                return ctypes.c_void_p(argument.address)
            if isinstance(argument, ctypes.Structure):
                for kept in argument.arrays:  # type: ignore[attr-defined]
                    arrays.append((-1, kept))
                return ctypes.byref(argument)
            return ctypes.c_float(argument) if isinstance(argument, float) else argument

        function = getattr(library, f"l2mu_{kernel}")
        result = function(*[convert(i, a) for i, a in enumerate(arguments)])
        allowed = (writes,) if isinstance(writes, int) else writes
        for index, array in arrays:
            assert array.intact(), f"{kernel} wrote beside argument {index}"
            if index not in allowed:
                assert array.array.tobytes() == array.before.tobytes(), f"argument {index} changed"
        return result

    return run


def neurons(number: str, size: int, **given: Any) -> Any:
    """A parameter struct; arrays of one element are scalars, with a step of 0."""
    record = NEURONS[number]()
    record.arrays = []
    record.size = size
    for name, values in given.items():
        if isinstance(values, int):
            setattr(record, name, values)
        elif values is not None:
            array = Guarded(np.asarray(values, NUMBERS[number]))
            record.arrays.append(array)
            setattr(record, name, array.address)
            if name != "bias":
                setattr(record, f"{name}_step", int(np.ndim(values) > 0))
    return record


def spike_list(fired: NDArray, room: int | None = None) -> NDArray:
    indices = np.flatnonzero(fired)
    listed = np.full(1 + (room or len(fired)), 0xFFFF, np.uint16)
    listed[0] = len(indices)
    listed[1 : 1 + len(indices)] = indices
    return listed


def activity(rng: np.random.Generator, size: int) -> list[NDArray]:
    """No spike, all, one at either end, and some."""
    first, last = np.zeros(size, bool), np.zeros(size, bool)
    first[0] = last[-1] = True
    return [np.zeros(size, bool), np.ones(size, bool), first, last, rng.random(size) < 0.4]


def same(got: NDArray, wanted: NDArray) -> None:
    assert got.dtype == wanted.dtype
    assert got.tobytes() == wanted.tobytes(), (got, wanted)


# ---- neurons -----------------------------------------------------------------------------------


def membranes(rng: np.random.Generator, number: str, size: int) -> NDArray:
    if number == "i32":
        return rng.integers(-2000, 2000, size).astype(np.int32)
    special = np.float32([0.0, -0.0, 1e-45, -1e-40, 1.0, np.inf])
    values = rng.normal(size=size).astype(np.float32) * 2
    return np.where(rng.random(size) < 0.2, rng.choice(special, size), values)


def parameters(rng: np.random.Generator, number: str, size: Any) -> dict[str, Any]:
    if number == "f32":
        decays = {n: np.float32(rng.uniform(0, 1, size)) for n in ("alpha", "beta")}
        return {**decays, "threshold": np.float32(rng.uniform(0.1, 2, size))}
    decays = {n: np.int32(rng.integers(0, 32769, size)) for n in ("alpha", "beta")}
    return {**decays, "threshold": np.int32(rng.integers(1, 1000, size))}


def decay(number: str, factor: Any, state: NDArray) -> NDArray:
    if number == "f32":
        return factor * state
    return np.int32((np.int64(factor) * np.int64(state)) // 32768)


def decayed(number: str, reset: str, given: dict[str, Any], v: NDArray) -> NDArray:
    after = decay(number, given["beta"], v)
    fired = v > given["threshold"]
    if reset == "subtract":
        return np.where(fired, after - given["threshold"], after)
    if reset == "zero":
        return np.where(fired, NUMBERS[number](0), after)
    return after


def cases(number: str) -> list[tuple[np.random.Generator, int, dict[str, Any], NDArray | None]]:
    """Every size, with scalar parameters or one each, with and without bias."""
    rng = np.random.default_rng(7)
    found = []
    for size in SIZES:
        for scalar in (True, False):
            given = parameters(rng, number, None if scalar else size)
            bias = None if (size + scalar) % 2 else membranes(rng, number, size)
            found.append((rng, size, given, bias))
    return found


def plus(values: NDArray, bias: NDArray | None) -> NDArray:
    return values if bias is None else values + bias


@pytest.mark.parametrize("number", ["f32", "i32"])
@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
def test_decay(call: Callable[..., Any], reset: str, number: str) -> None:
    for rng, size, given, bias in cases(number):
        v = Guarded(membranes(rng, number, size))
        call(f"decay_{reset}_{number}", neurons(number, size, **given, bias=bias), v, writes=1)
        same(v.array, plus(decayed(number, reset, given, v.before), bias))


@pytest.mark.parametrize("number", ["f32", "i32"])
def test_decay_synapse(call: Callable[..., Any], number: str) -> None:
    for rng, size, given, bias in cases(number):
        syn = Guarded(membranes(rng, number, size))
        call(f"decay_synapse_{number}", neurons(number, size, **given, bias=bias), syn, writes=1)
        same(syn.array, plus(decay(number, given["alpha"], syn.before), bias))


@pytest.mark.parametrize("reset", RESETS)
def test_integrate_floats(call: Callable[..., Any], reset: str) -> None:
    for rng, size, given, _ in cases("f32"):
        v, syn = (Guarded(membranes(rng, "f32", size)) for _ in range(2))
        call(f"integrate_{reset}_f32", neurons("f32", size, **given), v, syn, writes=1)
        wanted = decayed("f32", reset, given, v.before) + syn.before
        if reset == "clamp":
            wanted = np.where(v.before > given["threshold"], np.float32(0), wanted)
        same(v.array, wanted)


@pytest.mark.parametrize("reset", RESETS)
def test_integrate_integers_saturates_the_synapse_first(
    call: Callable[..., Any], reset: str
) -> None:
    for rng, size, given, _ in cases("i32"):
        v, syn = (Guarded(membranes(rng, "i32", size)) for _ in range(2))
        record = neurons("i32", size, **given, low=LOW, high=HIGH)
        call(f"integrate_{reset}_i32", record, v, syn, writes=(1, 2))
        clipped = np.clip(syn.before, LOW, HIGH)
        wanted = decayed("i32", reset, given, v.before) + clipped
        if reset == "clamp":
            wanted = np.where(v.before > given["threshold"], np.int32(0), wanted)
        same(syn.array, clipped)
        same(v.array, wanted)


def test_integer_decay_rounds_down_over_the_whole_range(call: Callable[..., Any]) -> None:
    v = np.int32([-(2**31), 2**31 - 1, -1, 1, -32768, 32767, -3, 3])
    for beta in (0, 1, 16384, 32767, 32768):
        got = Guarded(v)
        record = neurons("i32", len(v), beta=np.int32(beta))
        call("decay_none_i32", record, got, writes=1)
        same(got.array, np.int32([beta * int(x) // 32768 for x in v]))


@pytest.mark.parametrize("number", ["f32", "i32"])
def test_fire(call: Callable[..., Any], number: str) -> None:
    for rng, size, given, _ in cases(number):
        threshold = np.broadcast_to(given["threshold"], size)
        for fired in activity(rng, size):
            # At its threshold a neuron does not spike.
            v = Guarded(np.where(fired, threshold + NUMBERS[number](1), threshold))
            spikes = Guarded(np.full(1 + size, 0xFFFF, np.uint16))
            limits = {"low": -5000, "high": 5000} if number == "i32" else {}
            call(f"fire_{number}", neurons(number, size, **given, **limits), v, spikes, writes=2)
            same(spikes.array, spike_list(fired))


def test_not_a_number_does_not_fire(call: Callable[..., Any]) -> None:
    v, spikes = Guarded(np.float32([np.nan, 2])), Guarded(np.zeros(3, np.uint16))
    call("fire_f32", neurons("f32", 2, threshold=np.float32(1)), v, spikes, writes=2)
    assert spikes.array[:2].tolist() == [1, 1]


def test_fire_saturates_integer_membranes_before_comparing(call: Callable[..., Any]) -> None:
    v, spikes = Guarded(np.int32([5000, -5000, 900, 7])), Guarded(np.zeros(5, np.uint16))
    record = neurons("i32", 4, threshold=np.int32([900, 1, 899, 6]), low=LOW, high=HIGH)
    call("fire_i32", record, v, spikes, writes=(1, 2))
    assert v.array.tolist() == [HIGH, LOW, 900, 7]
    assert spikes.array[:3].tolist() == [2, 2, 3]


def test_saturate(call: Callable[..., Any]) -> None:
    for rng, size, _, _ in cases("i32"):
        v = Guarded(membranes(rng, "i32", size))
        call("saturate_i32", neurons("i32", size, low=LOW, high=HIGH), v, writes=1)
        same(v.array, np.clip(v.before, LOW, HIGH))


# ---- synapses ----------------------------------------------------------------------------------


def weights(rng: np.random.Generator, number: str, *shape: int) -> NDArray:
    if number == "i8":
        return rng.integers(-128, 128, shape).astype(np.int8)
    return rng.normal(size=shape).astype(np.float32)


def accumulators(rng: np.random.Generator, number: str, size: int) -> NDArray:
    return membranes(rng, "i32" if number == "i8" else "f32", size)


@pytest.mark.parametrize("number", ["f32", "i8"])
def test_accumulate_dense(call: Callable[..., Any], number: str) -> None:
    rng = np.random.default_rng(8)
    for targets, sources in zip(SIZES, SIZES[::-1], strict=True):
        weight = weights(rng, number, sources, targets)
        for fired in activity(rng, sources):
            v = Guarded(accumulators(rng, number, targets))
            spikes = Guarded(spike_list(fired))
            arguments = (v, targets, Guarded(weight), spikes)
            call(f"accumulate_dense_{number}", *arguments, writes=0)
            wanted = v.before.copy()
            for source in np.flatnonzero(fired):
                wanted += weight[source]
            same(v.array, wanted)


@pytest.mark.parametrize("number", ["f32", "i8"])
@pytest.mark.parametrize("structure", ["shared", "distinct"])
def test_accumulate_blocks(call: Callable[..., Any], structure: str, number: str) -> None:
    rng = np.random.default_rng(9)
    shapes = [(1, 1, 1), (1, 3, 7), (5, 1, 9), (7, 7, 1), (3, 2, 2), (9, 8, 3), (2, 33, 17)]
    for blocks, rows, columns in shapes:
        count = 1 if structure == "shared" else blocks
        weight = weights(rng, number, count, columns, rows)
        for fired in activity(rng, blocks * columns):
            v = Guarded(accumulators(rng, number, blocks * rows))
            arguments = (v, rows, columns, Guarded(weight), Guarded(spike_list(fired)))
            call(f"accumulate_{structure}_{number}", *arguments, writes=0)
            wanted = v.before.copy().reshape(blocks, rows)
            for source in np.flatnonzero(fired):
                block, column = divmod(source, columns)
                wanted[block] += weight[block % count, column]
            same(v.array, wanted.ravel())


def test_accumulate_reaches_sources_beyond_16_bits_of_weights(call: Callable[..., Any]) -> None:
    sources, targets = 3000, 33
    weight = np.ones((sources, targets), np.int8)
    weight[-1] = 5
    fired = np.zeros(sources, bool)
    fired[-1] = True
    v = Guarded(np.zeros(targets, np.int32))
    arguments = (v, targets, Guarded(weight), Guarded(spike_list(fired)))
    call("accumulate_dense_i8", *arguments, writes=0)
    assert (v.array == 5).all()


def input_record(number: str, weight: NDArray, blocks: int, shift: Any = None) -> Any:
    record = INPUT[number]()
    stored = Guarded(weight)
    record.arrays = [stored]
    record.weights = stored.address
    record.blocks, (record.rows, record.columns) = blocks, weight.shape[-2:]
    record.block_step = record.rows * record.columns if weight.shape[0] > 1 else 0
    if shift is not None:
        shifts = Guarded(np.asarray(shift, np.int32))
        record.arrays.append(shifts)
        record.shift, record.shift_step = shifts.address, int(np.ndim(shift) > 0)
    return record


INPUT_SHAPES = [(1, 1, 1), (1, 33, 7), (3, 2, 2), (9, 8, 1), (7, 1, 9), (2, 17, 15)]


@pytest.mark.parametrize("shared", [True, False])
def test_input_floats_add_channel_after_channel(call: Callable[..., Any], shared: bool) -> None:
    rng = np.random.default_rng(10)
    for blocks, rows, columns in INPUT_SHAPES:
        weight = weights(rng, "f32", 1 if shared else blocks, rows, columns)
        sample = Guarded(membranes(rng, "f32", blocks * columns))
        sample.array[np.isinf(sample.array)] = 3
        sample.before[:] = sample.array
        v = Guarded(membranes(rng, "f32", blocks * rows))
        call("input_f32", input_record("f32", weight, blocks), v, sample, writes=1)
        wanted = v.before.copy().reshape(blocks, rows)
        values = sample.before.reshape(blocks, columns)
        for column in range(columns):
            wanted += weight[..., column] * values[:, column, None]
        same(v.array, wanted.ravel())


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("each", [True, False])
def test_input_integers_round_the_whole_sum_once(
    call: Callable[..., Any], shared: bool, each: bool
) -> None:
    rng = np.random.default_rng(11)
    for blocks, rows, columns in INPUT_SHAPES:
        weight = weights(rng, "i8", 1 if shared else blocks, rows, columns)
        sample = Guarded(rng.choice([-32768, 32767, 0, 1, -7, 300], blocks * columns).astype("<i2"))
        v = Guarded(membranes(rng, "i32", blocks * rows))
        shift = rng.integers(0, 31, blocks * rows if each else None)
        call("input_i8", input_record("i8", weight, blocks, shift), v, sample, writes=1)
        values = sample.before.astype(np.int64).reshape(blocks, 1, columns)
        total = (weight.astype(np.int64) * values).sum(axis=2).ravel()
        half = np.where(shift > 0, 2 ** np.maximum(shift - 1, 0), 0)
        same(v.array, np.int32(v.before + (total + half) // 2**shift))


def test_quantize_sample(call: Callable[..., Any]) -> None:
    rng = np.random.default_rng(12)
    for size in SIZES:
        special = np.float32([np.nan, np.inf, -np.inf, -0.0, 0.5, -0.5, 1e9, -1e9, 0.49999997])
        ordinary = np.float32(rng.normal(size=size) * 40)
        values = np.where(rng.random(size) < 0.5, rng.choice(special, size), ordinary)
        for scale in (0.25, 1.0, 2.0, 1024.0, 2.0**24):
            sample, quantized = Guarded(np.float32(values)), Guarded(np.zeros(size, np.int16))
            call("quantize_sample", quantized, size, sample, scale, writes=0)
            scaled = np.nan_to_num(sample.before * np.float32(scale), nan=0.0)
            rounded = np.floor(scaled + np.float32(0.5))
            same(quantized.array, np.clip(rounded, -32768, 32767).astype(np.int16))


# ---- raw counts --------------------------------------------------------------------------------

ALL_COUNTS = np.arange(-(2**15), 2**15, dtype=np.int64).astype(np.int16)


def test_counts_become_the_same_numbers(call: Callable[..., Any]) -> None:
    for counts in np.split(ALL_COUNTS, 4):
        sample = Guarded(np.full(counts.size, np.nan, np.float32))
        call("convert_counts", sample, counts.size, Guarded(counts), writes=0)
        same(sample.array, counts.astype(np.float32))


@pytest.mark.parametrize("fraction", range(-MAX_FRACTION, MAX_FRACTION + 1))
def test_every_count_is_quantized_as_the_float_of_its_value(
    call: Callable[..., Any], fraction: int
) -> None:
    scale, shift = count_scale(fraction)
    for counts in np.split(ALL_COUNTS, 4):
        size = counts.size
        quantized, reference = (Guarded(np.full(size, 77, np.int16)) for _ in range(2))
        call("quantize_counts", quantized, size, Guarded(counts), scale, shift, writes=0)
        sample = Guarded(counts.astype(np.float32))
        call("quantize_sample", reference, size, sample, 2.0**fraction, writes=0)
        same(quantized.array, reference.array)
        same(quantized.array, quantize_samples(counts, fraction).astype(np.int16))


# ---- spike lists -------------------------------------------------------------------------------


def test_copy_spikes_copies_what_the_list_holds(call: Callable[..., Any]) -> None:
    rng = np.random.default_rng(13)
    for size in SIZES:
        for fired in activity(rng, size):
            source = spike_list(fired)
            target = Guarded(np.full(1 + size, 0x5555, np.uint16))
            call("copy_spikes", target, Guarded(source), writes=0)
            used = 1 + int(source[0])
            same(target.array[:used], source[:used])
            assert (target.array[used:] == 0x5555).all()


# ---- scores ------------------------------------------------------------------------------------


def test_count_spikes(call: Callable[..., Any]) -> None:
    rng = np.random.default_rng(14)
    for size in SIZES:
        for fired in activity(rng, size):
            score = Guarded(rng.integers(0, 100, size).astype(np.int32))
            call("count_spikes", score, Guarded(spike_list(fired)), writes=0)
            same(score.array, score.before + fired.astype(np.int32))


@pytest.mark.parametrize("number", ["f32", "i32"])
def test_maximum_copy_and_fill(call: Callable[..., Any], number: str) -> None:
    rng = np.random.default_rng(15)
    for size in SIZES:
        v = Guarded(membranes(rng, number, size))
        highest, copied, filled = (Guarded(membranes(rng, number, size)) for _ in range(3))
        call(f"maximum_{number}", highest, size, v, writes=0)
        same(highest.array, np.where(v.before > highest.before, v.before, highest.before))
        call(f"copy_{number}", copied, size, v, writes=0)
        same(copied.array, v.before)
        value = -1.5 if number == "f32" else -(2**31)
        call(f"fill_{number}", filled, size, value, writes=0)
        same(filled.array, np.full(size, value, NUMBERS[number]))


@pytest.mark.parametrize(("score", "number"), [("f32", "f32"), ("i64", "i32")])
def test_sum(call: Callable[..., Any], score: str, number: str) -> None:
    rng = np.random.default_rng(16)
    for size in SIZES:
        v = Guarded(membranes(rng, number, size))
        start = membranes(rng, number, size).astype(NUMBERS[score])
        start = start + (2**40 if score == "i64" else 0)
        total = Guarded(start.astype(NUMBERS[score]))
        call(f"sum_{score}", total, size, v, writes=0)
        same(total.array, total.before + v.before)


@pytest.mark.parametrize("number", ["f32", "i32", "i64"])
def test_argmax_takes_the_first_of_the_largest(call: Callable[..., Any], number: str) -> None:
    rng = np.random.default_rng(17)
    for size in SIZES:
        for spread in (1, 3, 1000):
            values = rng.integers(-spread, spread, size).astype(NUMBERS[number])
            score = Guarded(values)
            assert call(f"argmax_{number}", score, size) == int(np.argmax(values))
    if number == "i64":
        assert call("argmax_i64", Guarded(np.int64([1, 2**40, 2**33])), 3) == 1


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
    assert set(kernel_table()) == TESTED
