"""One kernel called alone, of any kernel set, on any machine that runs it.

`kernels` makes a test case of every kernel in the header that does one of some operations, for each
machine that its set is tested on; `Kernels.call` calls it there and looks after the memory around
its arguments. So one test, with one set of expectations, serves all of them.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board_machine import Board
from machines import Emulated, Host, Machine, emulated_image
from numpy.typing import NDArray

from l2mu_compile.targets.host import HOST
from l2mu_compile.targets.kernel_sets import parts, usable_sets
from l2mu_compile.targets.kernel_table import KERNEL_DIR, kernel_table
from l2mu_compile.targets.registry import TARGETS, get_target

# Where the kernels of each set are called: ``host`` is this machine with the compiler it has.
MACHINES = {
    "ref": ("host", "cortex-m4"),
    "dsp": ("cortex-m4",),
    "fpu": ("cortex-m4f", "cortex-a7", "android-armeabi-v7a"),
    "neon": ("cortex-a7", "android-armeabi-v7a", "cortex-a53"),
    "neon32": ("cortex-a7", "android-armeabi-v7a"),
    "neon64": ("cortex-a53",),
    "dotprod": ("cortex-a76",),
    "m0": ("cortex-m0plus", "cortex-m3"),
    "mve": ("cortex-m55",),
    "avx2": ("host",),
    "avx512": ("host",),
    "vnni": ("host",),
}
SETS = sorted({name for target in TARGETS.values() for name in target.kernel_sets})

Call = Callable[..., int]  # `Kernels.call`

GUARD = 64  # bytes on either side of an array
_WIDEST = 16  # the largest alignment that an array can be placed with
_PAINT = bytes([0xA5]) * (GUARD + 2 * _WIDEST)

_STRUCT = re.compile(r"typedef struct \{(.*?)\} (\w+);", re.DOTALL)
_FIELD = re.compile(r"^\s*(?:const )?(\w+) (\*?)(\w+);", re.MULTILINE)
_BYTES = {"size_t": 0, "float": 4, "uint8_t": 1, "uint16_t": 2, "uint32_t": 4} | {
    f"int{8 * size}_t": size for size in (1, 2, 4, 8)
}


@dataclass(frozen=True)
class Variant:
    """A kernel and the machine to call it on: ``fire_zero``, ``i16``, of set ``dsp``."""

    name: str
    operation: str
    numbers: str
    kernel_set: str
    machine: str

    def __str__(self) -> str:
        return f"{self.name}-{self.machine}"


class Array:
    """An argument: ``values`` are in memory, no better aligned than ``align`` (default: as C asks).

    After a call ``values`` are what is there then, ``before`` what was before it.
    """

    def __init__(self, values: NDArray, align: int | None = None) -> None:
        self.values = np.ascontiguousarray(values).ravel()
        self.before = self.values.copy()
        self.align = align or self.values.itemsize


class Struct:
    """An argument: a struct of the header by address; fields that are not given are zero."""

    def __init__(self, ctype: str, **fields: Any) -> None:
        self.ctype, self.fields = ctype, fields


class Table:
    """An argument: structs in a row."""

    def __init__(self, *structs: Struct) -> None:
        self.structs = structs


def kernels(*operations: str, numbers: str | None = None) -> pytest.MarkDecorator:
    """A test of ``kernel``, each `Variant` of these operations, of all numbers or some."""
    found = [v for v in _variants() if v.operation in operations and numbers in (None, v.numbers)]
    assert {v.operation for v in found} == set(operations)
    TESTED.update(v.name for v in found)
    return pytest.mark.parametrize("kernel", found, ids=str)


TESTED: set[str] = set()


def sources(kernel_sets: Sequence[str]) -> list[str]:
    """The files that define the kernels of these sets."""
    found = {k.source for k in kernel_table().values() if parts(k.name)[2] in kernel_sets}
    return sorted(found)


class Kernels:
    """Calls kernels, on machines that are made when they are needed."""

    def __init__(self, host_library: Path, folder: Path) -> None:
        self._folder = folder
        self._machines: dict[str, Machine] = {"host": Host(host_library)}
        self._rooms: dict[str, int] = {}

    def call(self, kernel: Variant, *arguments: Any, changes: Sequence[Array] = ()) -> int:
        """What ``kernel`` returns, as an ``int``; only the arrays in ``changes`` may change, and
        nothing beside any array."""
        if kernel.machine == "host" and kernel.kernel_set not in usable_sets(HOST):
            pytest.skip(f"this machine has no {kernel.kernel_set}")
        machine = self.machine(kernel.machine)
        memory = _Memory(machine, self._room(kernel.machine))
        words = [_word(memory, argument) for argument in arguments]
        machine.write(memory.start, bytes(memory.data))
        result = machine.call(kernel.name, *words)
        wrong = memory.wrong(machine.read(memory.start, len(memory.data)), changes)
        assert not wrong, f"{kernel} {wrong}"
        return result

    def _room(self, name: str) -> int:
        """Address of a machine's memory for arguments."""
        if name not in self._rooms:
            machine = self.machine(name)
            self._rooms[name] = machine.place(bytes(machine.room), _WIDEST)
        return self._rooms[name]

    def machine(self, name: str) -> Machine:
        """A machine by its name, with all kernels of its sets."""
        if name not in self._machines:
            target = get_target(name)
            folder = self._folder / name
            shutil.copytree(KERNEL_DIR, folder)
            files = sources(target.kernel_sets)
            functions = [k.name for k in kernel_table().values() if k.source in files]
            paths = [folder / f for f in files]
            if target.emulator is None:
                self._machines[name] = Board(target, paths, functions, folder)
            else:
                image = emulated_image(target, paths, functions, folder)
                self._machines[name] = Emulated(target, image)
        return self._machines[name]


@cache
def _variants() -> tuple[Variant, ...]:
    found = []
    for name in kernel_table():
        operation, numbers, kernel_set = parts(name)
        for machine in MACHINES[kernel_set]:
            found.append(Variant(name, operation, numbers, kernel_set, machine))
    return tuple(found)


@cache
def _structs() -> dict[str, dict[str, int]]:
    """Bytes of the fields of every struct in the header, 0 for those as wide as a pointer."""
    header = (KERNEL_DIR / "l2mu_kernels.h").read_text(encoding="utf-8")
    return {
        name: {field: 0 if star else _BYTES[ctype] for ctype, star, field in _FIELD.findall(body)}
        for body, name in _STRUCT.findall(header)
    }


class _Memory:
    """What the arguments of one call are in a machine's memory from ``start`` on, amid paint."""

    def __init__(self, machine: Machine, start: int) -> None:
        self.pointer_bytes, self.room, self.start = machine.pointer_bytes, machine.room, start
        self.data = bytearray()
        self._placed: list[tuple[int, int, Array | None]] = []

    def place(self, data: bytes, align: int, array: Array | None = None) -> int:
        """Address of ``data``, where nothing wider than ``align`` is aligned."""
        self.data += _PAINT[: -len(self.data) % _WIDEST + GUARD + align % _WIDEST]
        first = len(self.data)
        self.data += data
        self.data += _PAINT[:GUARD]
        assert len(self.data) <= self.room, "memory is full"
        self._placed.append((first, len(self.data) - GUARD, array))
        return self.start + first

    def wrong(self, after: bytes, changes: Sequence[Array]) -> str:
        """What was done that may not be, if all is ``after`` the call; `Array.values` are then."""
        for first, end, array in self._placed:
            if any(array is one for one in changes):
                assert array is not None
                self.data[first:end] = after[first:end]
                array.values = np.frombuffer(after[first:end], array.values.dtype)
        if after == self.data:
            return ""
        place = next(i for i, byte in enumerate(self.data) if byte != after[i])
        within = any(first <= place < end for first, end, _ in self._placed)
        return "changed what it only reads" if within else "wrote beside an array"


def _word(memory: _Memory, argument: Any) -> int | float:
    """``argument`` as it is passed; arrays and structs are put into memory."""
    if isinstance(argument, Array):
        return memory.place(argument.before.tobytes(), argument.align, argument)
    if isinstance(argument, Struct):
        return memory.place(_packed(memory, argument), 8)
    if isinstance(argument, Table):
        return memory.place(b"".join(_packed(memory, one) for one in argument.structs), 8)
    if argument is None:
        return 0
    return float(argument) if isinstance(argument, float) else int(argument)


def _packed(memory: _Memory, struct: Struct) -> bytes:
    """``struct`` as the machine has it in memory."""
    left, data, widest = dict(struct.fields), b"", 1
    for name, size in _structs()[struct.ctype].items():
        size = size or memory.pointer_bytes
        widest = max(widest, size)
        value = int(_word(memory, left.pop(name, 0)))
        data += bytes(-len(data) % size) + value.to_bytes(size, "little", signed=value < 0)
    assert not left, f"{struct.ctype} has no {', '.join(left)}"
    return data + bytes(-len(data) % widest)
