"""Whether a program fits a device, before any C compiler runs."""

from __future__ import annotations

from l2mu_compile.errors import BudgetError
from l2mu_compile.program import Program
from l2mu_compile.targets.boards import BOARDS
from l2mu_compile.targets.emit_c import state_bytes
from l2mu_compile.targets.record import Target

MOST_BOARDS = 4  # named in a message


def require_room(program: Program, target: Target, device: str, quantized: bool) -> None:
    """Refuse what would not fit a firmware target's memory even if its code took none.

    ``device`` is what to call the target. Raises `BudgetError`: what is too large, by how many
    bytes, and what would make it fit.
    """
    if target.memory is None or "firmware" not in target.artifacts:
        return
    ram = target.memory.ram.size - target.memory.stack_bytes
    weights, state = program.data_bytes, state_bytes(program)
    for what, needed, kind, size in (
        ("weights alone take", weights, "flash", target.memory.flash.size),
        ("state alone takes", state, "RAM besides the stack", ram),
    ):
        if needed > size:
            raise BudgetError(
                f"{program.name}: its {what} {needed} bytes, {needed - size} more than "
                f"the {size} bytes of {kind} of {device}; {_remedies(weights, state, quantized)}"
            )


def _remedies(weights: int, state: int, quantized: bool) -> str:
    found = [] if quantized else [f"--quantize int8 (weights of about {weights // 4} bytes)"]
    larger = [
        board.name
        for board in BOARDS.values()
        if board.memory is not None
        and board.qemu is None
        and board.memory.flash.size > weights
        and board.memory.ram.size - board.memory.stack_bytes > state
    ]
    if larger:
        found.append(f"--board {', '.join(larger[:MOST_BOARDS])}")
    return " or ".join([*found, "a smaller network"]) + " would do"
