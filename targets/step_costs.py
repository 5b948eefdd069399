"""What a step's kernels take on the emulator: each of them, and all when every neuron spikes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.network import DTYPES
from l2mu_compile.program import Call, Place, Program
from l2mu_compile.targets.emit_c import state_bytes, state_layout
from l2mu_compile.targets.emulator import Emulator
from l2mu_compile.targets.record import Target

STEPS = 100  # of a window, at most
SAMPLE = 100  # in the network's own integers: neither clipped nor zero


def instructions_if_all_spike(program: Program, target: Target, image: Path) -> int | None:
    """Instructions of a step with a float sample in which every channel and neuron that can spike
    does, its last spike included; None for float networks and for targets without an emulator.

    Every kernel of an integer network takes longest then: no instruction's number depends on
    anything but on which neurons spike. ``image`` must have its symbols. Raises EmulationError.
    """
    if target.emulator is None or not _is_integer(program):
        return None
    emulator = Emulator(target, image, count_instructions=True)
    state = emulator.alloc(state_bytes(program))
    fires = [call for call in program.step if call.kernel.startswith("l2mu_fire")]
    coming = iter(fires)

    def excite() -> None:
        for name, value in _excitement(program, next(coming)):
            buffer = state_layout(program)[name]
            array = np.full(buffer.count, value, DTYPES[buffer.ctype])
            emulator.write(state + buffer.offset, array.tobytes())

    for kernel in {call.kernel for call in fires}:
        emulator.on_entry(kernel, excite)
    emulator.call(f"{program.name}_reset", state)
    sample = emulator.place(_sample(program).tobytes())
    emulator.call(f"{program.name}_step", state, sample)
    return emulator.instructions


def instructions_per_call(
    program: Program, target: Target, image: Path, samples: NDArray
) -> tuple[float, ...] | None:
    """Mean instructions of every call of ``program.step`` in the first steps of a window.

    ``samples`` are float32 ``[T, inputs]``; ``image`` must have its symbols. What the driver takes
    after a call counts as the call's. None for targets without an emulator. Raises EmulationError.
    """
    if target.emulator is None:
        return None
    emulator = Emulator(target, image, count_instructions=True)
    entered: list[int] = []
    for kernel in {call.kernel for call in program.step}:
        emulator.on_entry(kernel, lambda: entered.append(emulator.executed))
    state = emulator.alloc(state_bytes(program))
    place = emulator.alloc(4 * program.inputs)
    emulator.call(f"{program.name}_reset", state)
    taken = np.zeros(len(program.step))
    steps = samples[:STEPS].astype("<f4")
    for sample in steps:
        entered.clear()
        emulator.write(place, sample.tobytes())
        emulator.call(f"{program.name}_step", state, place)
        taken += np.diff([*entered, emulator.executed])
    return tuple((taken / len(steps)).tolist())


def _is_integer(program: Program) -> bool:
    return all(member.kind == "integers" for member in program.members)


def _excitement(program: Program, fire: Call) -> Iterator[tuple[str, int]]:
    """What the arrays that a fire kernel reads must hold for every neuron to spike: the last of
    them is the accumulator. A synapse is the greatest that is not saturated: those are told late.
    """
    names = [a.name for a in fire.arguments if isinstance(a, Place)]
    *membranes, accumulator = [name for name in names if not name.endswith("_spikes")]
    yield from ((name, 0) for name in membranes)
    highest = {member.buffer.name: member.high for member in program.members}
    yield accumulator, min(highest[name] for name in (*membranes, accumulator))


def _sample(program: Program) -> np.ndarray:
    assert program.from_floats is not None, "integer networks convert their samples"
    last = program.from_floats.arguments[-1]
    value = SAMPLE * 2.0**-last if isinstance(last, int) else 1.0
    return np.full(program.inputs, value, "<f4")
