"""Functions called one by one, of kernels and of generated code, here or on an emulated machine."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.network import DTYPES
from l2mu_compile.program import Program
from l2mu_compile.targets.build import write_sources
from l2mu_compile.targets.devices import HostModel
from l2mu_compile.targets.elf import symbols
from l2mu_compile.targets.emit_c import state_bytes, state_layout, stream_bytes
from l2mu_compile.targets.emulator import Emulator
from l2mu_compile.targets.linking import link_firmware, shared_library
from l2mu_compile.targets.record import Target
from l2mu_compile.targets.registry import get_target
from l2mu_compile.targets.toolchain import compile_objects

GUARD = bytes([0xA5]) * 32


class Machine:
    """Memory, and functions that take and return machine words."""

    pointer_bytes: int
    room = 4 * 1024 * 1024  # bytes that can be placed, at least

    def place(self, data: bytes, align: int = 8) -> int:
        """Address of a copy of ``data``."""
        raise NotImplementedError

    def write(self, address: int, data: bytes) -> None:
        """Put ``data`` where something was placed."""
        raise NotImplementedError

    def read(self, address: int, size: int) -> bytes:
        """``size`` bytes from ``address``."""
        raise NotImplementedError

    def word(self, function: str, *arguments: int | float) -> int:
        """What ``function`` returns, unsigned; a float is passed as C's ``float``."""
        raise NotImplementedError

    def call(self, function: str, *arguments: int | float) -> int:
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

    pointer_bytes = ctypes.sizeof(ctypes.c_void_p)

    def __init__(self, library: Path | str) -> None:
        self._library = ctypes.CDLL(str(library))  # functions of its own, with other types
        self._kept: list[ctypes.Array] = []

    @classmethod
    def of(cls, model: HostModel) -> Host:
        """The machine that ``model`` runs on."""
        return cls(model._library._name)

    def place(self, data: bytes, align: int = 8) -> int:
        memory = (ctypes.c_uint8 * (len(data) + align))()
        address = -(-ctypes.addressof(memory) // align) * align
        ctypes.memmove(address, data, len(data))
        self._kept.append(memory)
        return address

    def write(self, address: int, data: bytes) -> None:
        ctypes.memmove(address, data, len(data))

    def read(self, address: int, size: int) -> bytes:
        return ctypes.string_at(address, size)

    def function(self, name: str) -> Callable[..., int]:
        """A function of pointers that returns an ``int`` or nothing, to be called often."""
        made = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
        return made((name, self._library))

    def word(self, function: str, *arguments: int | float) -> int:
        called = getattr(self._library, function)
        called.restype = ctypes.c_void_p
        return called(*map(_as_c, arguments)) or 0


class Emulated(Machine):
    """An image of a target in its emulator."""

    def __init__(self, target: Target, image: Path) -> None:
        self.pointer_bytes = target.pointer_bytes
        self._floats_are_words = target.triple.endswith("eabi")
        self._emulator = Emulator(target, image)

    def place(self, data: bytes, align: int = 8) -> int:
        return self._emulator.place(data, align)

    def write(self, address: int, data: bytes) -> None:
        self._emulator.write(address, data)

    def read(self, address: int, size: int) -> bytes:
        return self._emulator.read(address, size)

    def word(self, function: str, *arguments: int | float) -> int:
        words = [_bits(a) if isinstance(a, float) else a for a in arguments]
        if not self._floats_are_words:
            floats = [_bits(a) for a in arguments if isinstance(a, float)]
            words = [a for a in arguments if isinstance(a, int)]
            for i, value in enumerate(floats):
                self._emulator.set_register(f"S{i}", value)
        return self._emulator.call(function, *words)


def emulated_image(
    target: Target, sources: Sequence[Path], functions: Sequence[str], folder: Path
) -> Path:
    """An image of ``sources``, all in ``folder``, in which ``functions`` can be called."""
    objects = compile_objects(target, sources, [folder], folder / "objects")
    if target.shared:
        return shared_library(target, objects, folder / "image.so", exports=functions)
    main = folder / "main.c"
    main.write_text("int main(void)\n{\n    return 0;\n}\n")
    objects += compile_objects(target, [main], [], folder / "objects")
    image = link_firmware(target, objects, folder / "image.elf", keep=functions)
    assert set(functions) <= set(symbols(image))
    return image


def image_of(programs: Sequence[Program], target: Target, folder: Path) -> Path:
    """Programs of different names in one image."""
    sources = {f.name: f for p in programs for f in write_sources(p, ["test"], folder)}
    functions = [function for p in programs for function in p.functions]
    return emulated_image(target, list(sources.values()), functions, folder)


def cortex_m4(programs: Sequence[Program], folder: Path) -> Machine:
    """An emulated Cortex-M4 with programs of different names."""
    return emulated("cortex-m4", programs, folder)


def emulated(name: str, programs: Sequence[Program], folder: Path) -> Machine:
    """An emulated machine of a target with programs of different names."""
    target = get_target(name)
    return Emulated(target, image_of(programs, target, folder))


def _as_c(argument: int | float) -> ctypes.c_float | ctypes.c_void_p:
    return ctypes.c_float(argument) if isinstance(argument, float) else ctypes.c_void_p(argument)


def _bits(value: float) -> int:
    return int.from_bytes(struct.pack("<f", value), "little")


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

    def decided(self) -> int:
        return self._call("decided")

    def scores(self) -> list[float]:
        return scores_at(self, self.memory.address, "scores")

    def kept(self) -> dict[str, NDArray]:
        """The persistent arrays."""
        memory = self.memory.read()
        return {
            name: np.frombuffer(memory, DTYPES[b.ctype], b.count, b.offset)
            for name, b in state_layout(self.program).items()
        }

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
    return np.frombuffer(memory, DTYPES[b.ctype]).tolist()
