"""Compiled code against the interpreter: all persistent state after every step, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.interpreter import Progress, Run, run
from l2mu_compile.network import Buffer, Network
from l2mu_compile.program import Program
from l2mu_compile.report import Difference
from l2mu_compile.targets.devices import Device

DTYPES = {"float": "<f4", "int32_t": "<i4", "int64_t": "<i8", "uint16_t": "<u2"}
CHUNK = 64


@dataclass
class Comparison:
    """The outcome over all windows; ``decisions`` are the device's, int64 ``[B]``.

    ``instructions`` int64 ``[B, T]`` is None where the device does not count them.
    """

    decisions: NDArray
    first_difference: Difference | None
    spike_totals: dict[str, int]
    operations: int
    windows: int
    steps: int
    instructions: NDArray | None


def compare(
    network: Network,
    program: Program,
    device: Device,
    samples: NDArray,
    progress: Progress | None = None,
) -> Comparison:
    """Run float32 windows ``[B, T, inputs]`` on ``device`` and in the interpreter.

    After each step the device's whole persistent state is read and compared bit for bit (which NaN
    a NaN is depends on the processor, and is not compared); after each window the decision. All
    windows are run, the first difference is kept.
    """
    decisions, instructions, difference = [], [], None
    buffers = _in_order_of_update(network, program)
    totals = dict.fromkeys((p.name for p in network.populations), 0)
    operations = 0
    for start in range(0, len(samples), CHUNK):
        chunk = np.ascontiguousarray(samples[start : start + CHUNK], dtype=np.float32)
        expected = run(network, chunk, record=("membranes", "spikes"))
        operations += expected.operations
        for name, count in expected.spike_totals.items():
            totals[name] += count
        for i, (states, decision, counts) in enumerate(device.trace(chunk)):
            decisions.append(decision)
            instructions.append(counts)
            if difference is None:
                difference = _difference(buffers, states, expected, i, start + i)
                difference = difference or _decision(expected, i, start + i, decision)
            if progress:
                progress(start + i + 1, len(samples))
    return Comparison(
        np.array(decisions, dtype=np.int64),
        difference,
        totals,
        operations,
        len(samples),
        samples.shape[1],
        np.array(instructions, dtype=np.int64) if all(instructions) else None,
    )


def _in_order_of_update(network: Network, program: Program) -> list[Buffer]:
    """Persistent buffers, causes before effects within a step; the score is last."""
    position = {p.name: i for i, p in enumerate(network.order())}
    quantities = ("synapse", "membrane", "spikes", "score")

    def moment(buffer: Buffer) -> tuple[int, int]:
        population, _, quantity = buffer.name.rpartition("_")
        return position.get(population, len(position)), quantities.index(quantity)

    return sorted((b for b in program.buffers if b.lifetime == "state"), key=moment)


def _difference(
    buffers: list[Buffer], states: NDArray, expected: Run, index: int, window: int
) -> Difference | None:
    found = []
    for buffer in buffers:
        actual = _elements(states, buffer)
        wanted = _expected(buffer, actual, expected, index)
        differs = _bits(actual) != _bits(wanted)
        if buffer.ctype == "float":
            differs &= ~(np.isnan(actual) & np.isnan(wanted))
        if differs.any():
            step, neuron = map(int, np.argwhere(differs)[0])
            pair = float(wanted[step, neuron]), float(actual[step, neuron])
            found.append(
                (
                    step,
                    Difference(
                        window=window,
                        step=step,
                        quantity=buffer.name,
                        neuron=neuron,
                        expected=pair[0],
                        actual=pair[1],
                    ),
                )
            )
    return min(found, key=lambda item: item[0])[1] if found else None


def _elements(memory: NDArray, buffer: Buffer) -> NDArray:
    raw = np.ascontiguousarray(memory[:, buffer.offset : buffer.end])
    return raw.view(DTYPES[buffer.ctype])


def _expected(buffer: Buffer, actual: NDArray, expected: Run, index: int) -> NDArray:
    """What ``buffer`` must hold after each step, ``[T, count]``."""
    if buffer.name == "score":
        # Only the window's final score is defined by the interpreter.
        wanted = actual.copy()
        wanted[-1] = expected.scores[index].astype(actual.dtype)
        return wanted
    population, _, quantity = buffer.name.rpartition("_")
    if quantity == "spikes":
        return _spike_lists(expected.spikes[population][index], actual)
    recorded = expected.membranes if quantity == "membrane" else expected.synapses
    return recorded[population][index].astype(actual.dtype)


def _spike_lists(spikes: NDArray, actual: NDArray) -> NDArray:
    """Count and ascending indices of each step's spikes; what lies beyond the count is free."""
    wanted = actual.copy()
    for step, fired in enumerate(spikes):
        indices = np.flatnonzero(fired)
        wanted[step, 0] = len(indices)
        wanted[step, 1 : 1 + len(indices)] = indices
    return wanted


def _bits(array: NDArray) -> NDArray:
    return np.ascontiguousarray(array).view(f"<u{array.dtype.itemsize}")


def _decision(expected: Run, index: int, window: int, decision: int) -> Difference | None:
    wanted = int(expected.decisions[index])
    if wanted == decision:
        return None
    return Difference(
        window=window,
        step=expected.steps - 1,
        quantity="decision",
        neuron=0,
        expected=wanted,
        actual=decision,
    )
