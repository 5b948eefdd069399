"""A library that TVM built on the emulated processor, without TVM's runtime.

What the runtime would give it is laid into the emulated memory: tensors as DLPack has them
(``DLTensor`` of ``dlpack.h``), and arguments as TVM's calling convention does (``TVMFFIAny`` of
``tvm/ffi/c_api.h``).
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.network import DTYPES
from l2mu_compile.program import Program
from l2mu_compile.targets.devices import EmulatedModel, suffix
from l2mu_compile.targets.emit_c import state_bytes, state_layout
from l2mu_compile.targets.emulated_machine import EmulationError
from l2mu_compile.targets.record import Target

# data, device type and id, dimensions, type (code, bits, lanes), shape, strides, offset.
_TENSOR = {8: "<QiiiBBHQQQ", 4: "<IiiiBBHII4xQ"}
_ARGUMENT = "<iIQ"  # type, padding, a pointer
_CPU = 1
_CODES = {"i": 0, "f": 2}
_TENSOR_POINTER = 7


class EmulatedTensors(EmulatedModel):
    """The functions of a library, called one by one and the instructions of every step counted."""

    def __init__(self, target: Target, image: Path, program: Program) -> None:
        name, inputs = program.name, program.inputs
        super().__init__(target, image, name, inputs, state_bytes(program), complete=False)
        self._word = target.pointer_bytes
        self._kept: dict[bytes, int] = {}
        self._tensors = [
            self._tensor(self._state + b.offset, b.count, DTYPES[b.ctype])
            for b in state_layout(program).values()
        ]
        self._answer = self._emulator.alloc(4)
        self._results = self._tensor(self._answer, 1, "<i4")
        self._samples = {kind: self._tensor(self._sample, inputs, kind) for kind in ("<f4", "<i2")}
        self._returned = self._emulator.alloc(struct.calcsize(_ARGUMENT))

    def reset(self) -> None:
        self._call("reset", *self._tensors)

    def step(self, sample: NDArray) -> tuple[int, ...]:
        little_endian = sample.astype(sample.dtype.newbyteorder("<"))
        self._emulator.write(self._sample, little_endian.tobytes())
        kind = "<i2" if sample.dtype == np.int16 else "<f4"
        self._call("step" + suffix(sample), *self._tensors, self._samples[kind])
        return (self._emulator.instructions,)

    def classify(self) -> int:
        self._call("classify", *self._tensors, self._results)
        return int.from_bytes(self._emulator.read(self._answer, 4), "little", signed=True)

    def _tensor(self, data: int, count: int, dtype: str) -> int:
        """The address of a new tensor of one dimension."""
        kind = np.dtype(dtype)
        shape = self._emulator.place(count.to_bytes(8, "little"))
        form = (_CPU, 0, 1, _CODES[kind.kind], 8 * kind.itemsize, 1)
        return self._emulator.place(struct.pack(_TENSOR[self._word], data, *form, shape, 0, 0))

    def _call(self, word: str, *tensors: int) -> None:
        packed = b"".join(struct.pack(_ARGUMENT, _TENSOR_POINTER, 0, t) for t in tensors)
        arguments = self._arguments(packed)
        function = f"__tvm_ffi_{self._name}_{word}"
        failed = self._emulator.call(function, 0, arguments, len(tensors), self._returned)
        if failed & 0xFFFF_FFFF:
            raise EmulationError(f"{function} refused its arguments")

    def _arguments(self, packed: bytes) -> int:
        """The address of these arguments; alike ones are kept."""
        if packed not in self._kept:
            self._kept[packed] = self._emulator.place(packed)
        return self._kept[packed]
