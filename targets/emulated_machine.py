"""An emulated processor with an image in its memory: memory, registers and symbols.

The processor is unicorn's; what it is, and which registers carry arguments, comes from the target's
record.
"""

from __future__ import annotations

import bisect
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import unicorn
from unicorn import unicorn_const

from l2mu_compile.errors import MismatchError, UsageError
from l2mu_compile.targets.elf import (
    Symbol,
    entry_point,
    extents,
    relocated,
    segments,
    symbols,
)
from l2mu_compile.targets.record import EmulatorModel, Memory, Region, Target

SCRATCH = Region(0x6000_0000, 16 * 1024 * 1024)
# Arm's default memory map must allow execution here, or the last return faults instead of ending.
RETURN_TRAP = Region(SCRATCH.end, 0x1000)

_PAGE = 0x1000
# Where a shared library's functions find a stack, as large as a thread's; it asks for none itself.
_LIBRARY_STACK = Region(SCRATCH.end + 0x10000, 1024 * 1024)
_READ_EXECUTE = unicorn_const.UC_PROT_READ | unicorn_const.UC_PROT_EXEC
_READ_WRITE = unicorn_const.UC_PROT_READ | unicorn_const.UC_PROT_WRITE


class EmulationError(MismatchError):
    """Emulated code faulted, ran away, or was asked for something it does not have."""


class EmulatedMachine:
    """The memory, registers and symbols of an emulated processor that has loaded an ELF image.

    Initialized data is in place at once. A library that is not ``complete`` may need functions of
    others, as long as it does not call them.

    Raises UsageError for a target that has no emulator or no memory, ToolchainError for a file that
    cannot be read, and EmulationError for an image that does not fit the target's memory.
    """

    def __init__(self, target: Target, elf_path: Path, complete: bool) -> None:
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
        self._next_free = SCRATCH.origin

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
        yield RETURN_TRAP, _READ_EXECUTE

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

    def _program_counter(self) -> int:
        return self.register(self._model.program_counter) & ~self._model.code_bit

    def _register_id(self, name: str) -> int:
        try:
            return int(getattr(self._constants, self._model.register_prefix + name))
        except AttributeError as error:
            raise UsageError(f"the processor has no register '{name}'") from error


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
