"""Compiled models as Python objects: a host library on NumPy arrays, firmware on the emulator.

Both offer the same few operations, so one comparison serves every target.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.errors import ToolchainError
from l2mu_compile.interpreter import as_samples
from l2mu_compile.targets.emulator import Emulator
from l2mu_compile.targets.record import Target

STACK_PAINT = 0xA5

# Functions of the API that are called when code is checked; an image must have them.
CHECKED_FUNCTIONS = ("reset", "step", "step_raw", "classify")


class Device(Protocol):
    """A compiled model that runs one window at a time."""

    def reset(self) -> None:
        """Put the state to zero."""

    def step(self, sample: NDArray) -> None:
        """Advance by one sample ``[inputs]``: float32, or raw counts as int16."""

    def state(self) -> bytes:
        """The state struct's bytes."""
        raise NotImplementedError

    def classify(self) -> int:
        """The decision so far."""
        raise NotImplementedError


def _suffix(samples: NDArray) -> str:
    """How the names of the functions that take such samples end."""
    return "_raw" if samples.dtype == np.int16 else ""


class HostModel:
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
        run, steps = self._functions["run" + _suffix(windows)], windows.shape[1]
        return np.array([run(self._pointer, w.ctypes.data, steps) for w in windows], np.int64)

    def reset(self) -> None:
        self._functions["reset"](self._pointer)

    def step(self, sample: NDArray) -> None:
        step = self._functions["step" + _suffix(sample)]
        step(self._pointer, ctypes.c_void_p(sample.ctypes.data))

    def state(self) -> bytes:
        return self._state.tobytes()[: self._state_bytes]

    def classify(self) -> int:
        return int(self._functions["classify"](self._pointer))


class EmulatedModel:
    """A firmware image or shared library on the emulated processor, its functions called one by
    one.

    Counts instructions of every step: ``step_instructions`` holds one number a step since the
    start.
    """

    def __init__(
        self, target: Target, image: Path, name: str, inputs: int, state_bytes: int
    ) -> None:
        self._emulator = Emulator(target, image, count_instructions=True)
        self._name = name
        self._state_bytes = state_bytes
        self._state = self._emulator.alloc(state_bytes)
        self._sample = self._emulator.alloc(4 * inputs)
        stack = self._emulator.stack
        self._emulator.write(stack.origin, bytes([STACK_PAINT]) * stack.size)
        self.step_instructions: list[int] = []

    def run_firmware(self) -> int:
        """Run the image from reset; returns what its ``main`` returned, the decision."""
        return self._emulator.reset()

    def reset(self) -> None:
        self._emulator.call(f"{self._name}_reset", self._state)

    def step(self, sample: NDArray) -> None:
        little_endian = sample.astype(sample.dtype.newbyteorder("<"))
        self._emulator.write(self._sample, little_endian.tobytes())
        self._emulator.call(f"{self._name}_step{_suffix(sample)}", self._state, self._sample)
        self.step_instructions.append(self._emulator.instructions)

    def state(self) -> bytes:
        return self._emulator.read(self._state, self._state_bytes)

    def classify(self) -> int:
        return self._emulator.call(f"{self._name}_classify", self._state)

    def stack_bytes(self) -> int:
        """Deepest stack so far, in bytes."""
        stack = self._emulator.stack
        painted = self._emulator.read(stack.origin, stack.size)
        clean = (i for i, byte in enumerate(painted) if byte != STACK_PAINT)
        return stack.size - next(clean, stack.size)
