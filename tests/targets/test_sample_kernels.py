"""Kernels that take samples alone: their conversion, and weights times what comes of it."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from kernel_machines import Array, Call, Struct, Variant, kernels
from kernel_values import (
    SIZES,
    activities,
    array,
    filled,
    of_targets,
    of_weights,
    same,
    spike_list,
    states,
    unwritten_list,
    weights,
)
from numpy.typing import NDArray

from l2mu_compile.sample_calls import count_scale
from l2mu_compile.samples import quantize_samples
from l2mu_compile.targets.input_layouts import input_weights_for
from l2mu_compile.verify import MAX_FRACTION

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
