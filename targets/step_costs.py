"""What each kernel call of a step takes on the emulator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.program import Program
from l2mu_compile.targets.emit_c import state_bytes
from l2mu_compile.targets.emulator import Emulator
from l2mu_compile.targets.record import Target

STEPS = 100  # of a window, at most


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
    frames: list[int] = []

    def enter() -> None:
        """A kernel that another one calls, not the driver, has its frame below that one's."""
        frame = emulator.register("SP")
        if not frames or frame >= frames[0]:
            entered.append(emulator.executed)
            frames.append(frame)

    for kernel in {call.kernel for call in program.step}:
        emulator.on_entry(kernel, enter)
    state = emulator.alloc(state_bytes(program))
    place = emulator.alloc(4 * program.inputs)
    emulator.call(f"{program.name}_reset", state)
    taken = np.zeros(len(program.step))
    steps = samples[:STEPS].astype("<f4")
    for sample in steps:
        entered.clear()
        frames.clear()
        emulator.write(place, sample.tobytes())
        emulator.call(f"{program.name}_step", state, place)
        taken += np.diff([*entered, emulator.executed])
    return tuple((taken / len(steps)).tolist())
