"""Run a firmware image on an emulated processor: whole, or one function at a time.

Instruction counts are exact, and are not cycles.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import unicorn
from unicorn import unicorn_const

from l2mu_compile.errors import UsageError
from l2mu_compile.processes import signals_held
from l2mu_compile.targets.elf import extents
from l2mu_compile.targets.emulated_machine import RETURN_TRAP, EmulatedMachine, EmulationError
from l2mu_compile.targets.instruction_counter import InstructionCounter
from l2mu_compile.targets.record import Target

HALT_SYMBOL = "firmware_halt"
FAULT_SYMBOL = "firmware_fault"
DEFAULT_LIMIT = 2_000_000_000


class Emulator(EmulatedMachine):
    """A machine that runs: from reset, or functions, which need none. Raises as `EmulatedMachine`.

    With ``count_instructions`` every instruction is counted (at about half the speed).
    """

    def __init__(
        self,
        target: Target,
        elf_path: Path,
        *,
        count_instructions: bool = False,
        complete: bool = True,
    ) -> None:
        super().__init__(target, elf_path, complete)
        self._counter = self._make_counter(elf_path) if count_instructions else None
        self._last_count = 0
        self._handler: Callable[[], None] | None = None
        self._has_handlers = False
        self._exit_status: int | None = None
        self._exception: int | None = None
        self._behind: int | None = None  # the breakpoint that was answered last
        self._set_exits()

    def reset(self, max_instructions: int = DEFAULT_LIMIT) -> int:
        """Run from reset until the start-up code halts; returns what ``main`` returned.

        If a breakpoint's handler ends the run with ``exit``, its status is returned. Raises
        EmulationError for a fault, for no halt within ``max_instructions`` and for an image without
        the halt symbol.
        """
        halt = self.symbol(HALT_SYMBOL).address
        self._run(self._start, halt, max_instructions, "reset")
        return self._result(signed=True) if self._exit_status is None else self._exit_status

    def on_breakpoint(self, handler: Callable[[], None]) -> None:
        """Call ``handler`` at every breakpoint instead of faulting, and go on behind it."""
        if self._handler is None:
            self._engine.hook_add(unicorn_const.UC_HOOK_INTR, self._interrupted)
            # RISC-V's breakpoint counts as invalid.
            self._engine.hook_add(unicorn_const.UC_HOOK_INSN_INVALID, lambda *_: self._answered())
        self._handler = handler
        self._has_handlers = True

    def on_entry(self, function: str, handler: Callable[[], None]) -> None:
        """Call ``handler`` whenever ``function`` is entered; EmulationError if there is none."""
        address = self.symbol(function).address
        self._has_handlers = True
        self._engine.hook_add(
            unicorn_const.UC_HOOK_CODE, lambda *_: handler(), begin=address, end=address
        )

    def exit(self, status: int) -> None:
        """End the run from within a breakpoint's handler."""
        self._exit_status = status
        self._engine.emu_stop()

    def call(self, function: str, *arguments: int, max_instructions: int = DEFAULT_LIMIT) -> int:
        """Call a function with integers (or pointers, or float bits) and return its unsigned word.

        Arguments beyond the argument registers go on the stack; each takes one register. Negative
        values are passed as two's complement. Raises EmulationError for an unknown function, a
        fault, or no return within ``max_instructions``.
        """
        start = self.symbol(function).address
        registers = self._model.arguments
        for name, value in zip(registers, arguments, strict=False):
            self.set_register(name, value)
        self._push(arguments[len(registers) :])
        self.set_register(self._model.link, RETURN_TRAP.origin | self._model.code_bit)
        self._run(start, RETURN_TRAP.origin, max_instructions, function)
        return self._result(signed=False)

    @property
    def instructions(self) -> int:
        """Instructions of the last ``reset`` or ``call``; UsageError if not counting.

        Those that a condition passed over (Thumb's ``it``, Arm's own) are among them.
        """
        self._require_counter()
        return self._last_count

    @property
    def executed(self) -> int:
        """Instructions since the start, in the midst of a run too; UsageError if not counting."""
        return self._require_counter().total

    def profile(self) -> dict[str, int]:
        """Instructions per function since the start, most first; UsageError as above.

        Library functions appear under their own names, those of one name together; a caller's
        count excludes its callees.
        """
        counter = self._require_counter()
        counts: dict[str, int] = {}
        for start, size, name in self._functions:
            counts[name] = counts.get(name, 0) + counter.between(start, start + size)
        ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return {name: count for name, count in ordered if count > 0}

    def clear_profile(self) -> None:
        """Forget the counts behind ``profile``; UsageError if not counting."""
        self._require_counter().clear()

    def _make_counter(self, elf_path: Path) -> InstructionCounter:
        code = [part for part in extents(elf_path) if part.is_code]
        start, end = code[0].address, code[-1].address + code[-1].size
        thumb = self._model.code_bit == 1
        step = self._model.instruction_bytes or 2
        content = self.read(start, end - start)
        return InstructionCounter(self._engine, start, content, step, thumb=thumb)

    def _set_exits(self) -> None:
        exits = [RETURN_TRAP.origin]
        if HALT_SYMBOL in self._symbols:
            exits.append(self._symbols[HALT_SYMBOL].address)
        self._engine.ctl_exits_enabled(True)
        self._engine.ctl_set_exits(exits)

    def _push(self, words: tuple[int, ...]) -> None:
        size = self._pointer_bytes
        stack = (self._stack_top - size * len(words)) & ~0xF
        mask = (1 << (8 * size)) - 1
        if words:
            self.write(stack, b"".join((w & mask).to_bytes(size, "little") for w in words))
        self.set_register(self._model.stack_pointer, stack)

    def _run(self, start: int, end: int, limit: int, what: str) -> None:
        if what == "reset":
            self.set_register(self._model.stack_pointer, self._stack_top)
        self._exit_status = self._exception = None
        before = self._count()
        try:
            # An exception that a signal raises while a handler runs would be lost within unicorn.
            with signals_held() if self._has_handlers else nullcontext():
                self._start_at(start, end, limit)
        except unicorn.UcError as error:
            raise EmulationError(f"{what}: {error} {self._where()}") from error
        finally:
            self._last_count = self._count() - before
        if self._exit_status is None and self._program_counter() != end:
            raise EmulationError(f"{what} {self._why_not_ended(limit)} {self._where()}")

    def _start_at(self, start: int, end: int, limit: int) -> None:
        """Run, and go on where unicorn stops at an answered breakpoint, as it does for RISC-V."""
        at: int | None = start
        while at is not None:
            self._behind = None
            try:
                self._engine.emu_start(at | self._model.code_bit, end, 0, limit)
                return
            except unicorn.UcError:
                if self._behind != self._program_counter():
                    raise
            at = self._behind if self._exit_status is None else None

    def _interrupted(self, engine: Any, number: int, _data: object) -> None:
        if not self._answered():
            self._exception = number
            engine.emu_stop()

    def _answered(self) -> bool:
        """Call the handler if it is a breakpoint that the code stopped at, and go on behind it."""
        at, size = self._program_counter(), len(self._model.breakpoint)
        try:
            if self._handler is None or self.read(at, size) != self._model.breakpoint:
                return False
        except EmulationError:  # where there is no code
            return False
        self._handler()
        self._behind = at + size
        self.set_register(self._model.program_counter, self._behind | self._model.code_bit)
        return True

    def _why_not_ended(self, limit: int) -> str:
        if self._exception is not None:
            return f"stopped by exception {self._exception}"
        return "ended" if self._faulted() else f"did not end in {limit} instructions: it is"

    def _count(self) -> int:
        return self._counter.total if self._counter else 0

    def _faulted(self) -> bool:
        return self.function_at(self._program_counter()).startswith(FAULT_SYMBOL)

    def _where(self) -> str:
        pc, link = self._program_counter(), self.register(self._model.link) & ~self._model.code_bit
        text = f"at pc {pc:#010x} in {self.function_at(pc)}"
        return f"{text} (link register {link:#010x}, {self.function_at(link)})"

    def _result(self, *, signed: bool) -> int:
        value = self.register(self._model.result)
        if not signed:
            return value
        return int.from_bytes((value & 0xFFFF_FFFF).to_bytes(4, "little"), "little", signed=True)

    def _require_counter(self) -> InstructionCounter:
        if self._counter is None:
            raise UsageError("this emulator does not count instructions (count_instructions=True)")
        return self._counter
