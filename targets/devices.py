"""Compiled models as Python objects: a host library on NumPy arrays, or code on the emulator.

All offer the same few operations, so one comparison serves every target.
"""

from __future__ import annotations

import ctypes
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.errors import ToolchainError
from l2mu_compile.samples import as_samples
from l2mu_compile.targets.emulator import Emulator
from l2mu_compile.targets.record import Target
from l2mu_compile.targets.semihosting import SemihostingHost, decisions

STACK_PAINT = 0xA5

# Functions of the API that are called when code is checked; an image must have them.
CHECKED_FUNCTIONS = ("reset", "step", "step_raw", "classify")


class Trace(NamedTuple):
    """What one window did: the state struct after every step, uint8 ``[T, bytes]``, and the
    decision.

    ``instructions`` are those of every step, or empty where they are not counted.
    """

    states: NDArray
    decision: int
    instructions: tuple[int, ...] = ()


class Device(ABC):
    """A compiled model that runs windows.

    ``emulator`` names what runs it; None is this machine itself.
    """

    emulator: str | None = None

    @abstractmethod
    def trace(self, windows: NDArray) -> Iterator[Trace]:
        """Run windows ``[N, T, inputs]``, float32 or raw counts as int16, from fresh states."""

    def run_firmware(self) -> int | None:
        """Run the firmware image from reset: its decision on the window compiled in.

        None where the code is no firmware.
        """
        return None

    def stack_bytes(self) -> int | None:
        """Deepest stack of the steps so far, in bytes; None where it is not measured."""
        return None


class SteppedDevice(Device):
    """A device whose functions are called one by one."""

    def trace(self, windows: NDArray) -> Iterator[Trace]:
        """Run windows ``[N, T, inputs]``, float32 or raw counts as int16, from fresh states."""
        for window in np.ascontiguousarray(as_samples(windows)):
            self.reset()
            states: list[NDArray] = []
            counts: list[int] = []
            for sample in window:
                counts += self.step(sample)
                states.append(np.frombuffer(self.state(), dtype=np.uint8))
            yield Trace(np.array(states), self.classify(), tuple(counts))

    @abstractmethod
    def reset(self) -> None:
        """Put the state to zero."""

    @abstractmethod
    def step(self, sample: NDArray) -> tuple[int, ...]:
        """Advance by one sample ``[inputs]``; the instructions that took, if they are counted."""

    @abstractmethod
    def state(self) -> bytes:
        """The state struct's bytes."""

    @abstractmethod
    def classify(self) -> int:
        """The decision so far."""


def suffix(samples: NDArray) -> str:
    """How the names of the functions that take such samples end."""
    return "_raw" if samples.dtype == np.int16 else ""


class HostModel(SteppedDevice):
    """A compiled shared library, callable on NumPy arrays.

    ``HostModel(path, name, inputs, state_bytes).run(windows)`` classifies windows
    ``[N, T, inputs]``: raw counts if they are int16, else float32. Raises `ToolchainError` if the
    library cannot be loaded.
    """

    def __init__(self, library: Path, name: str, inputs: int, state_bytes: int) -> None:
        try:
            self._library = ctypes.CDLL(str(library.resolve()))
            functions = {
                word: getattr(self._library, f"{name}_{word}")
                for word in ("reset", "step", "step_raw", "classify", "run", "run_raw")
            }
        except (OSError, AttributeError) as error:
            raise ToolchainError(f"cannot load {library}: {error}") from None
        self._functions = functions
        for word in ("run", "run_raw"):
            functions[word].argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
        self.inputs = inputs
        # int64 elements, so that the state is aligned for every member.
        self._state = np.zeros(-(-state_bytes // 8), dtype=np.int64)
        self._pointer = ctypes.c_void_p(self._state.ctypes.data)
        self._state_bytes = state_bytes

    def run(self, windows: NDArray) -> NDArray:
        """Decisions int64 ``[N]`` of windows ``[N, T, inputs]``; ValueError on another shape."""
        windows = np.ascontiguousarray(as_samples(windows))
        if windows.ndim != 3 or windows.shape[2] != self.inputs:
            raise ValueError(f"windows {list(windows.shape)} are not [N, T, {self.inputs}]")
        run, steps = self._functions["run" + suffix(windows)], windows.shape[1]
        return np.array([run(self._pointer, w.ctypes.data, steps) for w in windows], np.int64)

    def reset(self) -> None:
        self._functions["reset"](self._pointer)

    def step(self, sample: NDArray) -> tuple[int, ...]:
        step = self._functions["step" + suffix(sample)]
        step(self._pointer, ctypes.c_void_p(sample.ctypes.data))
        return ()

    def state(self) -> bytes:
        return self._state.tobytes()[: self._state_bytes]

    def classify(self) -> int:
        return int(self._functions["classify"](self._pointer))


class EmulatedModel(SteppedDevice):
    """A firmware image or shared library on the emulated processor, its functions called one by
    one and the instructions of every step counted.
    """

    emulator = "unicorn"

    def __init__(
        self,
        target: Target,
        image: Path,
        name: str,
        inputs: int,
        state_bytes: int,
        *,
        complete: bool = True,
    ) -> None:
        self._emulator = Emulator(target, image, count_instructions=True, complete=complete)
        self._is_firmware = "firmware" in target.artifacts
        self._name = name
        self._state_bytes = state_bytes
        self._state = self._emulator.alloc(state_bytes)
        self._sample = self._emulator.alloc(4 * inputs)
        self._deepest = 0
        self._paint_stack()

    def run_firmware(self) -> int | None:
        if not self._is_firmware:
            return None
        self._deepest = self.stack_bytes()
        host = SemihostingHost(self._emulator)
        status = self._emulator.reset()
        self._paint_stack()  # over what the image's own main took
        return decisions(host.output, 1, status)[0]

    def reset(self) -> None:
        self._emulator.call(f"{self._name}_reset", self._state)

    def step(self, sample: NDArray) -> tuple[int, ...]:
        little_endian = sample.astype(sample.dtype.newbyteorder("<"))
        self._emulator.write(self._sample, little_endian.tobytes())
        self._emulator.call(f"{self._name}_step{suffix(sample)}", self._state, self._sample)
        return (self._emulator.instructions,)

    def state(self) -> bytes:
        return self._emulator.read(self._state, self._state_bytes)

    def classify(self) -> int:
        return self._emulator.call(f"{self._name}_classify", self._state)

    def stack_bytes(self) -> int:
        stack = self._emulator.stack
        painted = self._emulator.read(stack.origin, stack.size)
        return max(self._deepest, len(painted.lstrip(bytes([STACK_PAINT]))))

    def _paint_stack(self) -> None:
        stack = self._emulator.stack
        self._emulator.write(stack.origin, bytes([STACK_PAINT]) * stack.size)
