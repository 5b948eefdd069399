"""The host's side of Arm semihosting, for firmware on the emulator: files in memory, output kept.

Arm Ltd, "Semihosting for AArch32 and AArch64" (ARM-software/abi-aa), says what the numbers mean.
QEMU has a host of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from l2mu_compile.targets.emulated_machine import EmulationError
from l2mu_compile.targets.emulator import Emulator

SYS_OPEN, SYS_CLOSE, SYS_WRITE0, SYS_WRITE, SYS_READ, SYS_FLEN = 0x01, 0x02, 0x04, 0x05, 0x06, 0x0C
SYS_GET_CMDLINE, SYS_EXIT_EXTENDED = 0x15, 0x20

_WORD = 4
_MODE_READ, _MODE_WRITE = 1, 5
_FAILED = -1


class SemihostingHost:
    """Answers the requests of firmware on ``emulator``.

    ``output`` is what it printed, ``files`` holds, by name, those it was given and those it wrote.
    """

    def __init__(
        self, emulator: Emulator, command_line: str = "", files: Mapping[str, bytes] | None = None
    ) -> None:
        self.output = ""
        self.files = {name: bytearray(content) for name, content in (files or {}).items()}
        self._emulator = emulator
        self._command_line = command_line
        self._open: dict[int, tuple[str, int]] = {}  # by handle: name, position
        self._operations: dict[int, Callable[[int], int]] = {
            SYS_OPEN: self._open_file,
            SYS_CLOSE: self._close,
            SYS_WRITE0: self._print,
            SYS_WRITE: self._write,
            SYS_READ: self._read,
            SYS_FLEN: self._length,
            SYS_GET_CMDLINE: self._get_command_line,
            SYS_EXIT_EXTENDED: self._exit,
        }
        emulator.on_breakpoint(self._answer)

    def _answer(self) -> None:
        first, second = self._emulator.arguments[:2]
        number, parameter = self._emulator.register(first), self._emulator.register(second)
        operation = self._operations.get(number)
        if operation is None:
            raise EmulationError(f"the firmware made the unknown semihosting request {number:#x}")
        self._emulator.set_register(first, operation(parameter))

    def _block(self, address: int, count: int) -> list[int]:
        raw = self._emulator.read(address, _WORD * count)
        return [int.from_bytes(raw[i : i + _WORD], "little") for i in range(0, len(raw), _WORD)]

    def _open_file(self, parameter: int) -> int:
        address, mode, length = self._block(parameter, 3)
        name = self._emulator.read(address, length).decode()
        if mode not in (_MODE_READ, _MODE_WRITE) or (mode == _MODE_READ and name not in self.files):
            return _FAILED
        handle = max(self._open, default=0) + 1
        self._open[handle] = name, 0
        if mode == _MODE_WRITE:
            self.files[name] = bytearray()
        return handle

    def _close(self, parameter: int) -> int:
        (handle,) = self._block(parameter, 1)
        return 0 if self._open.pop(handle, None) else _FAILED

    def _print(self, address: int) -> int:
        while byte := self._emulator.read(address, 1)[0]:
            self.output += chr(byte)
            address += 1
        return 0

    def _write(self, parameter: int) -> int:
        handle, address, length = self._block(parameter, 3)
        if handle not in self._open:
            return length
        name, _ = self._open[handle]
        self.files[name] += self._emulator.read(address, length)
        return 0

    def _read(self, parameter: int) -> int:
        handle, address, length = self._block(parameter, 3)
        if handle not in self._open:
            return length
        name, position = self._open[handle]
        data = self.files[name][position : position + length]
        self._open[handle] = name, position + len(data)
        self._emulator.write(address, data)
        return length - len(data)

    def _length(self, parameter: int) -> int:
        (handle,) = self._block(parameter, 1)
        return len(self.files[self._open[handle][0]]) if handle in self._open else _FAILED

    def _get_command_line(self, parameter: int) -> int:
        address, size = self._block(parameter, 2)
        line = self._command_line.encode() + b"\0"
        if len(line) > size:
            return _FAILED
        self._emulator.write(address, line)
        self._emulator.write(parameter + _WORD, (len(line) - 1).to_bytes(_WORD, "little"))
        return 0

    def _exit(self, parameter: int) -> int:
        _reason, status = self._block(parameter, 2)
        self._emulator.exit(status)
        return 0


def decisions(output: str, count: int, status: int) -> list[int]:
    """The decisions that a program printed, one a line, before it ended with ``status``.

    Raises EmulationError if it failed or did not print ``count`` of them.
    """
    lines = output.split()
    if status != 0:
        raise EmulationError(f"the program ended with status {status}: {output.strip()[-200:]}")
    if len(lines) != count or not all(line.isdigit() for line in lines):
        raise EmulationError(f"the program printed no {count} decisions: {output.strip()[-200:]}")
    return [int(line) for line in lines]
