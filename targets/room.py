"""Whether a program fits a device, before any C compiler runs."""

from __future__ import annotations

from l2mu_compile.errors import BudgetError, UsageError
from l2mu_compile.program import Program
from l2mu_compile.targets.boards import BOARDS
from l2mu_compile.targets.emit_c import state_bytes, stream_bytes
from l2mu_compile.targets.record import Target

MOST_BOARDS = 4  # named in a message
MAX_STREAM_BYTES = 2**31 - 1  # what one C object can take on a 32-bit processor


def require_room(program: Program, target: Target, device: str, quantized: bool) -> None:
    """Refuse what would not fit a firmware target's memory even if its code took none.

    ``device`` is what to call the target. Raises `BudgetError`: what is too large, by how many
    bytes, and what would make it fit; `UsageError` for a stream that fits no device.
    """
    _require_possible_stream(program)
    if target.memory is None or "firmware" not in target.artifacts:
        return
    ram = target.memory.ram.size - target.memory.stack_bytes
    weights, (states, kept) = program.data_bytes, _kept(program)
    for what, needed, kind, size in (
        ("weights alone take", weights, "flash", target.memory.flash.size),
        (states, kept, "RAM besides the stack", ram),
    ):
        if needed > size:
            raise BudgetError(
                f"{program.name}: its {what} {needed} bytes, {needed - size} more than "
                f"the {size} bytes of {kind} of {device}; {_remedies(program, kept, quantized)}"
            )


def _kept(program: Program) -> tuple[str, int]:
    """What stays in RAM between samples, and its bytes: a state, or a stream with all of its."""
    if program.stream is not None and program.stream.lanes > 1:
        return f"stream of {program.stream.lanes} states takes", stream_bytes(program)
    return "state alone takes", state_bytes(program)


def _require_possible_stream(program: Program) -> None:
    if program.stream is not None and stream_bytes(program) > MAX_STREAM_BYTES:
        raise UsageError(
            f"--hop {program.stream.hop}: windows of {program.stream.window} samples would need "
            f"{program.stream.lanes} states of {state_bytes(program)} bytes side by side"
        )


def _remedies(program: Program, kept: int, quantized: bool) -> str:
    weights = program.data_bytes
    found = [] if quantized else [f"--quantize int8 (weights of about {weights // 4} bytes)"]
    if program.stream is not None and program.stream.lanes > 1:
        found.append("a longer --hop")
    larger = [
        board.name
        for board in BOARDS.values()
        if board.memory is not None
        and board.qemu is None
        and board.memory.flash.size > weights
        and board.memory.ram.size - board.memory.stack_bytes > kept
    ]
    if larger:
        found.append(f"--board {', '.join(larger[:MOST_BOARDS])}")
    return " or ".join([*found, "a smaller network"]) + " would do"
