"""Compiled code against the interpreter: all persistent state after every step, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.interpreter import Progress, Run, run
from l2mu_compile.network import DTYPES, Buffer, Network
from l2mu_compile.neurons import CuBaLIF
from l2mu_compile.program import Program
from l2mu_compile.report import Difference
from l2mu_compile.samples import as_samples, taken
from l2mu_compile.targets.devices import Device
from l2mu_compile.workers import cores, in_parts

# Windows of a part are interpreted together: few enough that several parts keep every core busy and
# that what is recorded of them (one value per neuron and step) stays within bounds.
PART_WINDOWS, PART_VALUES, PARTS_PER_CORE = 64, 1 << 24, 2


@dataclass
class Comparison:
    """The outcome over all windows; ``decisions`` are the device's, int64 ``[B]``, and ``needed``
    the steps until a window was decided.

    ``instructions`` int64 ``[B, T]`` and ``stack_bytes`` are None where the device cannot tell.
    """

    decisions: NDArray
    needed: NDArray
    first_difference: Difference | None
    spike_totals: dict[str, int]
    operations: int
    windows: int
    steps: int
    instructions: NDArray | None
    stack_bytes: int | None


@dataclass(frozen=True)
class _Window:
    """What one window did on the device."""

    decision: int
    needed: int
    difference: Difference | None
    instructions: tuple[int, ...]


@dataclass(frozen=True)
class _Totals:
    """What the windows of one part did together."""

    spikes: dict[str, int]
    operations: int
    stack_bytes: int | None


def compare(
    network: Network,
    program: Program,
    open_device: Callable[[], Device],
    samples: NDArray,
    progress: Progress | None = None,
) -> Comparison:
    """Run windows ``[B, T, inputs]``, float32 or raw counts, on devices and in the interpreter.

    After each step the device's whole persistent state is read and compared bit for bit (which NaN
    a NaN is depends on the processor, and is not compared); after each window the decision. All
    windows are run, the first difference is kept. The work is done on all cores; every part of it
    opens its own device, and the outcome does not depend on how many there are.
    """
    buffers = _in_order_of_update(network, program)
    samples = taken(network, samples)
    parts = _parts(network, samples)

    def work(part: slice) -> Iterator[_Window | _Totals]:
        return _compare_part(network, buffers, open_device(), samples[part], part.start)

    windows: list[list[_Window]] = [[] for _ in parts]
    totals: list[_Totals] = []
    with closing(in_parts(work, parts)) as results:
        for part, result in results:
            if isinstance(result, _Totals):
                totals.append(result)
                continue
            windows[part].append(result)
            if progress:
                progress(sum(map(len, windows)), len(samples))
    return _merged([w for part in windows for w in part], totals, samples.shape[1])


def _parts(network: Network, samples: NDArray) -> list[slice]:
    """Runs of windows, one after the other."""
    count, steps, _ = samples.shape
    values = steps * sum(p.size for p in network.populations)
    size = min(PART_WINDOWS, -(-count // (cores() * PARTS_PER_CORE)), PART_VALUES // values)
    size = max(size, 1)
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _compare_part(
    network: Network, buffers: list[Buffer], device: Device, samples: NDArray, first: int
) -> Iterator[_Window | _Totals]:
    """Run ``samples``, the windows from number ``first`` on."""
    samples = np.ascontiguousarray(as_samples(samples))
    expected = run(network, samples, record=("membranes",))
    found = False
    for i, trace in enumerate(device.trace(samples)):
        difference = None
        if not found:
            difference = _difference(network, buffers, trace.states, expected, i, first + i)
            difference = difference or _decision(expected, i, first + i, trace.decision)
            found = difference is not None
        needed = int(expected.needed[i])
        yield _Window(trace.decision, needed, difference, trace.instructions)
    yield _Totals(expected.spike_totals, expected.operations, device.stack_bytes())


def _merged(windows: list[_Window], totals: list[_Totals], steps: int) -> Comparison:
    stacks = [t.stack_bytes for t in totals if t.stack_bytes is not None]
    instructions = [w.instructions for w in windows]
    return Comparison(
        decisions=np.array([w.decision for w in windows], dtype=np.int64),
        needed=np.array([w.needed for w in windows], dtype=np.int64),
        first_difference=next((w.difference for w in windows if w.difference), None),
        spike_totals={name: sum(t.spikes[name] for t in totals) for name in totals[0].spikes},
        operations=sum(t.operations for t in totals),
        windows=len(windows),
        steps=steps,
        instructions=np.array(instructions, dtype=np.int64) if all(instructions) else None,
        stack_bytes=max(stacks, default=None),
    )


def _in_order_of_update(network: Network, program: Program) -> list[Buffer]:
    """Persistent buffers, causes before effects within a step; the score is last."""
    position = {p.name: i for i, p in enumerate(network.order())}
    quantities = ("synapse", "membrane", "score")

    def moment(buffer: Buffer) -> tuple[int, int]:
        population, _, quantity = buffer.name.rpartition("_")
        return position.get(population, len(position)), quantities.index(quantity)

    return sorted((b for b in program.buffers if b.lifetime == "state"), key=moment)


def _difference(
    network: Network,
    buffers: list[Buffer],
    states: NDArray,
    expected: Run,
    index: int,
    window: int,
) -> Difference | None:
    found = []
    for buffer in buffers:
        actual = _elements(states, buffer)
        wanted = _expected(network, buffer, actual, expected, index)
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


def _expected(
    network: Network, buffer: Buffer, actual: NDArray, expected: Run, index: int
) -> NDArray:
    """What ``buffer`` must hold after each step, ``[T, count]``."""
    if buffer.name == "score":
        # Only the window's final score is defined by the interpreter.
        wanted = actual.copy()
        wanted[-1] = expected.scores[index].astype(actual.dtype)
        return wanted
    recorded = recorded_state(network, buffer, expected)[index]
    wanted = np.zeros_like(actual)
    wanted[:, : recorded.shape[1]] = recorded
    return wanted


def recorded_state(network: Network, buffer: Buffer, run: Run) -> NDArray:
    """``[B, T, neurons]`` of a run that recorded membranes: what ``buffer`` holds between steps."""
    name, _, quantity = buffer.name.rpartition("_")
    if quantity == "membrane" and isinstance(network.population(name).neuron, CuBaLIF):
        return run.membranes[name]
    return run.accumulators[name]


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
