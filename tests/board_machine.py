"""Functions called one by one on a board that QEMU emulates: for processors that unicorn lacks."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import weakref
from collections.abc import Sequence
from pathlib import Path

import pytest
from machines import Machine

from l2mu_compile.targets.elf import symbols
from l2mu_compile.targets.linking import link_firmware
from l2mu_compile.targets.record import Target
from l2mu_compile.targets.toolchain import RUNTIME_DIR, compile_objects

PROGRAM = Path(__file__).parent / "board_calls.c"
WRITE, READ, CALL = range(3)
ARGUMENTS = 8


class Board(Machine):
    """A board with `board_calls.c` and ``functions`` of ``sources`` on it."""

    def __init__(
        self, target: Target, sources: Sequence[Path], functions: Sequence[str], folder: Path
    ) -> None:
        assert target.qemu is not None
        if not shutil.which(target.qemu.program):
            pytest.skip(f"{target.qemu.program} is not installed")
        files = [*sources, PROGRAM, RUNTIME_DIR / "semihosting.c"]
        objects = compile_objects(target, files, [folder, RUNTIME_DIR], folder / "objects")
        image = link_firmware(
            target, objects, folder / "image.elf", keep=[*functions, "board_memory"]
        )
        self.pointer_bytes = target.pointer_bytes
        self._symbols = symbols(image)
        board = self._symbols["board_memory"]
        self._next, self.room = board.address, board.size
        self._end = board.address + board.size
        for pipe in ("requests", "replies"):
            os.mkfifo(folder / pipe)
        command = [target.qemu.program, *target.qemu.options, "-nographic", "-monitor", "none"]
        command += ["-semihosting-config", "enable=on,target=native", "-kernel", str(image)]
        qemu = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL)
        self._requests = (folder / "requests").open("wb", buffering=0)
        self._replies = (folder / "replies").open("rb")
        weakref.finalize(self, qemu.wait)
        weakref.finalize(self, self._requests.close)

    def place(self, data: bytes, align: int = 8) -> int:
        address = -(-self._next // align) * align
        self._next = address + len(data)
        assert self._next <= self._end, "board is full"
        self.write(address, data)
        return address

    def write(self, address: int, data: bytes) -> None:
        self._ask(WRITE, address, len(data))
        self._requests.write(data)

    def read(self, address: int, size: int) -> bytes:
        self._ask(READ, address, size)
        return self._replies.read(size)

    def word(self, function: str, *arguments: int | float) -> int:
        words = [a & 0xFFFFFFFF for a in arguments if isinstance(a, int)]
        assert len(words) == len(arguments), "floats are passed in registers of their own"
        self._ask(CALL, self._symbols[function].address, 0, *words)
        return int.from_bytes(self._replies.read(4), "little")

    def _ask(self, what: int, address: int, size: int, *arguments: int) -> None:
        words = [what, address, size, *arguments]
        words += [0] * (3 + ARGUMENTS - len(words))
        self._requests.write(struct.pack(f"<{len(words)}I", *words))
