"""The kernels of a step as TensorIR: each equals the portable C kernel of its name, bit for bit.

A kernel here is a function that writes its loops into the TensorIR function that is being built
(`l2mu_compile.targets.tvm_module`). It is given what a call has, in order: arrays as buffers,
records as dictionaries of buffers and numbers, and numbers. Those of neurons and of synapses have
modules of their own.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial

from tvm.tirx.script import builder as T

from l2mu_compile.targets.tvm_loops import (
    Buffer,
    Value,
    add,
    clip,
    integer,
    list_spikes,
    listed,
    local,
    store,
)
from l2mu_compile.targets.tvm_neurons import neuron_kernels
from l2mu_compile.targets.tvm_synapses import synapse_kernels

INT16 = (-(2**15), 2**15 - 1)
SPIKE_LEVEL = 0.5


def kernels() -> dict[str, Callable[..., None]]:
    """All kernels, by the names that calls have."""
    found: dict[str, Callable[..., None]] = {
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
    for numbers in ("f32", "i64"):
        found[f"sum_{numbers}"] = partial(update_scores, operator.add)
    for numbers in ("f32", "i32"):
        found[f"maximum_{numbers}"] = partial(update_scores, _larger)
        found[f"copy_{numbers}"] = partial(update_scores, lambda _, v: v)
        found[f"fill_{numbers}"] = fill
    found |= neuron_kernels() | synapse_kernels()
    return {f"l2mu_{name}": kernel for name, kernel in found.items()}


# ---- samples -------------------------------------------------------------------------------------


def quantize_sample(quantized: Buffer, channels: int, sample: Buffer, fraction: int) -> None:
    """floor(sample * 2^fraction + 1/2), clipped; NaN becomes 0."""
    low, high = map(T.float64, INT16)
    with T.serial(0, channels) as channel:
        given = T.bind(sample[channel])
        scaled = T.cast(given, "float64") * T.float64(2.0**fraction)
        scaled = T.bind(T.Select(_is_nan(given), T.float64(0.0), scaled))
        raised = T.bind(clip(scaled, low, high) + T.float64(0.5))
        whole = T.bind(integer(raised))
        below = T.cast(T.cast(whole, "float64") > raised, "int32")
        store(quantized, channel, T.cast(whole - below, "int16"))


def quantize_counts(
    quantized: Buffer, channels: int, counts: Buffer, scale: int, shift: int
) -> None:
    """floor(count * scale / 2^shift + 1/2), clipped."""
    with T.serial(0, channels) as channel:
        scaled = integer(counts[channel]) * T.int32(scale) + T.int32((1 << shift) >> 1)
        whole = T.bind(T.shift_right(scaled, T.int32(shift)))
        store(quantized, channel, T.cast(clip(whole, *INT16), "int16"))


def convert_counts(sample: Buffer, channels: int, counts: Buffer) -> None:
    """The same numbers as float."""
    with T.serial(0, channels) as channel:
        store(sample, channel, T.cast(counts[channel], "float32"))


def list_channels(level: float, spikes: Buffer, channels: int, sample: Buffer) -> None:
    """List the channels that are above a level."""
    list_spikes(spikes, channels, lambda channel: sample[channel] > T.cast(level, sample.dtype))


# ---- scores --------------------------------------------------------------------------------------


def count_spikes(score: Buffer, spikes: Buffer) -> None:
    """Count the spikes of a step."""
    with listed(spikes) as source:
        add(score, source, T.int32(1))


def decided(score: Buffer, classes: int, margin: Buffer, found: Buffer) -> None:
    """The class that is ahead of all others by its margin, or -1."""
    best = local(1, "int32")
    argmax(score, classes, best)
    store(found, 0, best[0] if classes > 1 else T.int32(-1))
    with T.serial(0, classes) as j:
        near = score[best[0]] - score[j] < margin[best[0]]
        with T.If(T.And(j != best[0], near)), T.Then():
            store(found, 0, T.int32(-1))


def count_undecided(score: Buffer, classes: int, margin: Buffer, spikes: Buffer) -> None:
    """Count the spikes of a step as long as no class is ahead by its margin."""
    found = local(1, "int32")
    decided(score, classes, margin, found)
    with T.If(found[0] < 0), T.Then():
        count_spikes(score, spikes)


def update_scores(
    update: Callable[[Value, Value], Value], score: Buffer, classes: int, v: Buffer
) -> None:
    """Make a step's scores of those before and the membranes."""
    with T.serial(0, classes) as j:
        store(score, j, update(score[j], T.cast(v[j], score.dtype)))


def fill(score: Buffer, classes: int, value: float) -> None:
    """Start with a score."""
    with T.serial(0, classes) as j:
        store(score, j, T.cast(value, score.dtype))


def argmax(score: Buffer, classes: int, best: Buffer) -> None:
    """The class of the largest score, the first among equals."""
    store(best, 0, T.int32(0))
    with T.serial(1, classes) as j, T.If(score[j] > score[best[0]]), T.Then():
        store(best, 0, j)


def _is_nan(value: Value) -> Value:
    """By its bits: TVM takes every number for equal to itself."""
    bits = T.bitwise_and(T.reinterpret("int32", value), T.int32(0x7FFFFFFF))
    return bits > T.int32(0x7F800000)


def _larger(before: Value, value: Value) -> Value:
    return T.Select(value > before, value, before)
