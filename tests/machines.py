"""Generated functions called one by one, on this machine or on an emulated Cortex-M4."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.program import Program
from l2mu_compile.targets.build import write_sources
from l2mu_compile.targets.devices import HostModel
from l2mu_compile.targets.elf import symbols
from l2mu_compile.targets.emit_c import state_bytes, state_layout, stream_bytes
from l2mu_compile.targets.emulator import Emulator
from l2mu_compile.targets.registry import get_target
from l2mu_compile.targets.toolchain import compile_objects, link_firmware

NUMPY_TYPES = {"float": "<f4", "int32_t": "<i4", "int64_t": "<i8", "uint16_t": "<u2"}
GUARD = bytes([0xA5]) * 32


class Machine:
    """Memory, and functions that take and return machine words."""

    def place(self, data: bytes) -> int:
        """Address of a copy of ``data``."""
        raise NotImplementedError

    def read(self, address: int, size: int) -> bytes:
        """``size`` bytes from ``address``."""
        raise NotImplementedError

    def word(self, function: str, *arguments: int) -> int:
        """What ``function`` returns, unsigned."""
        raise NotImplementedError

    def call(self, function: str, *arguments: int) -> int:
        """What ``function`` returns as an ``int``."""
        return ctypes.c_int32(self.word(function, *arguments) & 0xFFFFFFFF).value

    def text(self, function: str, *arguments: int) -> bytes | None:
        """The C string that ``function`` returns; None for NULL."""
        address, found = self.word(function, *arguments), b""
        while address and (byte := self.read(address + len(found), 1)) != b"\0":
            found += byte
        return found if address else None


class Host(Machine):
    """A library loaded into this process."""

    def __init__(self, model: HostModel) -> None:
        self._library = ctypes.CDLL(model._library._name)  # functions of its own, with other types
        self._kept: list[ctypes.Array] = []

    def place(self, data: bytes) -> int:
        memory = (ctypes.c_uint64 * (len(data) // 8 + 1))()
        ctypes.memmove(memory, data, len(data))
        self._kept.append(memory)
        return ctypes.addressof(memory)

    def read(self, address: int, size: int) -> bytes:
        return ctypes.string_at(address, size)

    def word(self, function: str, *arguments: int) -> int:
        called = getattr(self._library, function)
        called.restype = ctypes.c_void_p
        return called(*map(ctypes.c_void_p, arguments)) or 0


class CortexM4(Machine):
    """Programs of different names in one emulated firmware image."""

    def __init__(self, programs: Sequence[Program], folder: Path) -> None:
        target = get_target("cortex-m4")
        sources = {f.name: f for p in programs for f in write_sources(p, ["test"], folder)}
        main = folder / "main.c"
        main.write_text("int main(void)\n{\n    return 0;\n}\n")
        objects = compile_objects(target, [*sources.values(), main], [folder], folder / "objects")
        keep = [function for p in programs for function in p.functions]
        image = link_firmware(target, objects, folder / "image.elf", keep=keep)
        assert set(keep) <= set(symbols(image))
        self._emulator = Emulator(target, image)

    def place(self, data: bytes) -> int:
        return self._emulator.place(data)

    def read(self, address: int, size: int) -> bytes:
        return self._emulator.read(address, size)

    def word(self, function: str, *arguments: int) -> int:
        return self._emulator.call(function, *arguments)


class Guarded:
    """Memory of a machine that nothing may write beside."""

    def __init__(self, machine: Machine, size: int) -> None:
        self._machine, self._size = machine, size
        self._start = machine.place(GUARD + bytes([0x5A]) * size + GUARD)
        self.address = self._start + len(GUARD)

    def read(self) -> bytes:
        memory = self._machine.read(self._start, self._size + 2 * len(GUARD))
        assert memory.startswith(GUARD)
        assert memory.endswith(GUARD)
        return memory[len(GUARD) : -len(GUARD)]


class State:
    """One state of a program: steps, decisions, saved bytes."""

    def __init__(self, machine: Machine, program: Program) -> None:
        self.machine, self.program = machine, program
        self.memory = Guarded(machine, state_bytes(program))
        self._call("init")

    def _call(self, word: str, *arguments: int) -> int:
        return self.machine.call(f"{self.program.name}_{word}", self.memory.address, *arguments)

    def reset(self) -> None:
        self._call("reset")

    def step(self, sample: NDArray) -> None:
        self._call("step" + suffix(sample), self.machine.place(sample.tobytes()))

    def run(self, window: NDArray) -> int:
        samples = self.machine.place(window.tobytes())
        return self._call("run" + suffix(window), samples, len(window))

    def classify(self) -> int:
        return self._call("classify")

    def scores(self) -> list[float]:
        return scores_at(self, self.memory.address, "scores")

    def kept(self) -> dict[str, NDArray]:
        """The persistent arrays, spike lists up to their count."""
        memory, found = self.memory.read(), {}
        for name, b in state_layout(self.program).items():
            array = np.frombuffer(memory, NUMPY_TYPES[b.ctype], b.count, b.offset)
            found[name] = array[: 1 + array[0]] if b.ctype == "uint16_t" else array
        return found

    def save(self, size: int) -> bytes:
        out = Guarded(self.machine, size)
        self._call("save", out.address)
        return out.read()

    def restore(self, data: bytes) -> int:
        return self._call("restore", self.machine.place(data), len(data))


class Stream:
    """One stream of a program."""

    def __init__(self, machine: Machine, program: Program) -> None:
        self.machine, self.program = machine, program
        self.memory = Guarded(machine, stream_bytes(program))
        self._call("stream_init")

    def _call(self, word: str, *arguments: int) -> int:
        return self.machine.call(f"{self.program.name}_{word}", self.memory.address, *arguments)

    def reset(self) -> None:
        self._call("stream_reset")

    def push(self, sample: NDArray) -> int:
        ended = self._call("push" + suffix(sample), self.machine.place(sample.tobytes()))
        self.memory.read()
        return ended

    def decision(self) -> int:
        return self._call("decision")

    def scores(self) -> list[float]:
        return scores_at(self, self.memory.address, "stream_scores")


def suffix(samples: NDArray) -> str:
    """How functions that take such samples end."""
    return {np.dtype(np.float32): "", np.dtype(np.int16): "_raw"}[samples.dtype]


def scores_at(thing: State | Stream, address: int, function: str) -> list[float]:
    b = state_layout(thing.program)["score"]
    found = thing.machine.word(f"{thing.program.name}_{function}", address)
    memory = thing.machine.read(found, b.end - b.offset)
    return np.frombuffer(memory, NUMPY_TYPES[b.ctype]).tolist()
