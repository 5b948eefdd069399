"""How many instructions a step takes when every neuron spikes: run so, on the emulator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from l2mu_compile.program import Call, Place, Program
from l2mu_compile.targets.emit_c import state_bytes, state_layout
from l2mu_compile.targets.emulator import Emulator
from l2mu_compile.targets.record import Target

DTYPES = {"int16_t": "<i2", "int32_t": "<i4"}
SAMPLE = 100  # in the network's own integers: neither clipped nor zero


def instructions_if_all_spike(program: Program, target: Target, image: Path) -> int | None:
    """Instructions of a step with a float sample in which every channel and neuron that can spike
    does, its last spike included; None for float networks and for targets without an emulator.

    Every kernel of an integer network takes longest then: no instruction's number depends on
    anything but on which neurons spike. ``image`` must have its symbols. Raises EmulationError.
    """
    if target.emulator is None or program.from_floats is None or not _is_integer(program):
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


def _is_integer(program: Program) -> bool:
    return all(member.kind == "integers" for member in program.members)


def _excitement(program: Program, fire: Call) -> Iterator[tuple[str, int]]:
    """What the arrays that a fire kernel reads must hold for every neuron to spike: the last of
    them is the accumulator."""
    names = [a.name for a in fire.arguments if isinstance(a, Place)]
    *membranes, accumulator = [name for name in names if not name.endswith("_spikes")]
    yield from ((name, 0) for name in membranes)
    highest = {member.buffer.name: member.high for member in program.members}
    yield accumulator, highest[accumulator]


def _sample(program: Program) -> np.ndarray:
    assert program.from_floats is not None, "integer networks convert their samples"
    last = program.from_floats.arguments[-1]
    value = SAMPLE * 2.0**-last if isinstance(last, int) else 1.0
    return np.full(program.inputs, value, "<f4")
