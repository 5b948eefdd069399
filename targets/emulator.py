"""Run a firmware image on an emulated processor: whole, or one function at a time.

The processor is unicorn's; what it is, and which registers carry arguments, comes from the target's
record. Instruction counts are exact, and are not cycles.
"""

from __future__ import annotations

import bisect
import importlib
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import unicorn
from unicorn import unicorn_const

from l2mu_compile.errors import MismatchError, UsageError
from l2mu_compile.processes import signals_held
from l2mu_compile.targets.elf import (
    Symbol,
    entry_point,
    extents,
    relocated,
    segments,
    symbols,
)
from l2mu_compile.targets.instruction_counter import InstructionCounter
from l2mu_compile.targets.record import EmulatorModel, Memory, Region, Target

SCRATCH = Region(0x6000_0000, 16 * 1024 * 1024)
HALT_SYMBOL = "firmware_halt"
FAULT_SYMBOL = "firmware_fault"
DEFAULT_LIMIT = 2_000_000_000

_PAGE = 0x1000
# Arm's default memory map must allow execution here, or the last return faults instead of ending.
_RETURN_TRAP = Region(SCRATCH.end, _PAGE)
# Where a shared library's functions find a stack; it asks for none itself.
_LIBRARY_STACK = Region(SCRATCH.end + 0x10000, 64 * 1024)
_READ_EXECUTE = unicorn_const.UC_PROT_READ | unicorn_const.UC_PROT_EXEC
_READ_WRITE = unicorn_const.UC_PROT_READ | unicorn_const.UC_PROT_WRITE


class EmulationError(MismatchError):
    """Emulated code faulted, ran away, or was asked for something it does not have."""


class Emulator:
    """An emulated processor with an ELF image in its memory.

    Initialized data is in place at once, so functions can be called without ``reset``. With
    ``count_instructions`` every instruction is counted (at about half the speed). A library that is
    not ``complete`` may need functions of others, as long as it does not call them.

    Raises UsageError for a target that has no emulator or no memory, ToolchainError for a file that
    cannot be read, and EmulationError for an image that does not fit the target's memory.
    """

    def __init__(
        self,
        target: Target,
        elf_path: Path,
        *,
        count_instructions: bool = False,
        complete: bool = True,
    ) -> None:
        if target.emulator is None:
            raise UsageError(f"target '{target.name}' has no emulator")
        self._model: EmulatorModel = target.emulator
        self._memory: Memory | None = target.memory
        self._pointer_bytes = target.pointer_bytes
        self._symbols = symbols(elf_path)
        self._functions = _sorted_functions(self._symbols)
        self._constants = importlib.import_module(f"unicorn.{self._model.constants}")
        self._engine = self._make_engine(elf_path)
        self._load(elf_path, complete)
        self._start, self._stack_top = self._reset_state(elf_path)
        self._counter = self._make_counter(elf_path) if count_instructions else None
        self._next_free = SCRATCH.origin
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
        self.set_register(self._model.link, _RETURN_TRAP.origin | self._model.code_bit)
        self._run(start, _RETURN_TRAP.origin, max_instructions, function)
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

    def symbol(self, name: str) -> Symbol:
        """A symbol's address and size; raises EmulationError if the image does not define it."""
        if name not in self._symbols:
            raise EmulationError(f"the image defines no symbol '{name}'")
        return self._symbols[name]

    def read(self, address: int, size: int) -> bytes:
        """``size`` bytes from ``address``; raises EmulationError outside mapped memory."""
        try:
            return bytes(self._engine.mem_read(address, size))
        except unicorn.UcError as error:
            raise EmulationError(f"cannot read {size} bytes at {address:#010x}: {error}") from error

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Put ``data`` at ``address``; raises EmulationError outside mapped memory."""
        try:
            self._engine.mem_write(address, bytes(data))
        except unicorn.UcError as error:
            message = f"cannot write {len(data)} bytes at {address:#010x}: {error}"
            raise EmulationError(message) from error

    def alloc(self, size: int, align: int = 8) -> int:
        """Reserve ``size`` bytes of scratch memory and return their address.

        Scratch memory lies beyond the image's own and starts as zeros. Raises EmulationError when
        it is used up.
        """
        address = -(-self._next_free // align) * align
        if address + size > SCRATCH.end:
            raise EmulationError(f"scratch memory is used up: no room for {size} bytes")
        self._next_free = address + size
        return address

    def place(self, data: bytes | bytearray | memoryview, align: int = 8) -> int:
        """Copy ``data`` to newly reserved scratch memory and return its address."""
        address = self.alloc(len(data), align)
        self.write(address, data)
        return address

    def free_all(self) -> None:
        """Give back all of the scratch memory and fill it with zeros."""
        self.write(SCRATCH.origin, bytes(self._next_free - SCRATCH.origin))
        self._next_free = SCRATCH.origin

    @property
    def arguments(self) -> tuple[str, ...]:
        """Registers that carry arguments."""
        return self._model.arguments

    @property
    def stack(self) -> Region:
        """The memory that is kept for the stack."""
        if self._memory is None:
            return _LIBRARY_STACK
        size = self._memory.stack_bytes
        return Region(self._stack_top - size, size)

    def register(self, name: str) -> int:
        """A register's unsigned value, by its name in the target's architecture (``R1``)."""
        return int(self._engine.reg_read(self._register_id(name)))

    def set_register(self, name: str, value: int) -> None:
        """Set a register; negative values are taken as two's complement."""
        word = value & ((1 << (8 * self._pointer_bytes)) - 1)
        self._engine.reg_write(self._register_id(name), word)

    def function_at(self, address: int) -> str:
        """The function that holds ``address``, with the offset into it; '?' if there is none."""
        starts = [start for start, _, _ in self._functions]
        index = bisect.bisect_right(starts, address) - 1
        if index < 0:
            return "?"
        start, size, name = self._functions[index]
        return f"{name}+{address - start:#x}" if address < start + max(size, 1) else "?"

    def _make_engine(self, elf_path: Path) -> Any:
        mode = 0
        for name in self._model.mode:
            mode |= getattr(unicorn_const, name)
        engine = unicorn.Uc(getattr(unicorn_const, self._model.arch), mode)
        engine.ctl_set_cpu_model(getattr(self._constants, self._model.cpu))
        for region, rights in self._layout(elf_path):
            engine.mem_map(*_pages(region), rights)
        for name, value in self._model.setup:
            register = getattr(self._constants, self._model.register_prefix + name)
            engine.reg_write(register, value)
        return engine

    def _layout(self, elf_path: Path) -> Iterator[tuple[Region, int]]:
        """Memory and its access rights: a device's, or what a library asks for and a stack."""
        if self._memory is not None:
            yield self._memory.flash, _READ_EXECUTE
            yield self._memory.ram, _READ_WRITE
            if self._memory.reset_vectors is not None:
                yield Region(self._memory.reset_vectors, _PAGE), _READ_EXECUTE
        else:
            for part in extents(elf_path):
                rights = _READ_EXECUTE if not part.is_writable else _READ_WRITE
                yield Region(part.address, part.size), rights
            yield _LIBRARY_STACK, _READ_WRITE
        for region in (SCRATCH, *self._model.devices):
            yield region, _READ_WRITE
        yield _RETURN_TRAP, _READ_EXECUTE

    def _load(self, elf_path: Path, complete: bool) -> None:
        for stored, running, data in segments(elf_path):
            self.write(stored, data)
            self.write(running, data)
        if self._model.entry == "library":
            for address, value in relocated(elf_path, complete=complete):
                self.write(address, value.to_bytes(self._pointer_bytes, "little"))

    def _reset_state(self, elf_path: Path) -> tuple[int, int]:
        """The first instruction's address, and the stack pointer's first value."""
        if self._memory is None:
            return 0, _LIBRARY_STACK.end
        if self._model.entry == "elf_entry":
            return entry_point(elf_path), self._memory.ram.end
        word = self._pointer_bytes
        table = self.read(self._memory.flash.origin, 2 * word)
        stack, start = (int.from_bytes(table[i : i + word], "little") for i in (0, word))
        return start, stack

    def _make_counter(self, elf_path: Path) -> InstructionCounter:
        code = [part for part in extents(elf_path) if part.is_code]
        start, end = code[0].address, code[-1].address + code[-1].size
        thumb = self._model.code_bit == 1
        step = self._model.instruction_bytes or 2
        content = self.read(start, end - start)
        return InstructionCounter(self._engine, start, content, step, thumb=thumb)

    def _set_exits(self) -> None:
        exits = [_RETURN_TRAP.origin]
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

    def _program_counter(self) -> int:
        return self.register(self._model.program_counter) & ~self._model.code_bit

    def _result(self, *, signed: bool) -> int:
        value = self.register(self._model.result)
        if not signed:
            return value
        return int.from_bytes((value & 0xFFFF_FFFF).to_bytes(4, "little"), "little", signed=True)

    def _register_id(self, name: str) -> int:
        try:
            return int(getattr(self._constants, self._model.register_prefix + name))
        except AttributeError as error:
            raise UsageError(f"the processor has no register '{name}'") from error

    def _require_counter(self) -> InstructionCounter:
        if self._counter is None:
            raise UsageError("this emulator does not count instructions (count_instructions=True)")
        return self._counter


def _pages(region: Region) -> tuple[int, int]:
    start = region.origin // _PAGE * _PAGE
    return start, -(-region.end // _PAGE) * _PAGE - start


def _sorted_functions(table: dict[str, Symbol]) -> list[tuple[int, int, str]]:
    """Functions as (address, size, name), one name for each address, in order of address."""
    by_address: dict[int, tuple[int, int, str]] = {}
    for name, symbol in sorted(table.items(), reverse=True):
        if symbol.is_function:
            by_address[symbol.address] = (symbol.address, symbol.size, name)
    return sorted(by_address.values())
