"""What kernels in TensorIR are made of: loops over spikes, and stores into arrays.

What is called here is written into the TensorIR function that is being built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tvm.tirx.script import builder as T

Fields = Mapping[str, Any]  # of a record: numbers, and arrays as buffers
Value = Any  # an expression of TensorIR
Buffer = Any


def rounded(product: Value) -> Value:
    """A float32 product that is rounded before anything is added to it.

    TVM lets LLVM fuse the two wherever the processor can.
    """
    return T.call_llvm_pure_intrin("float32", "llvm.arithmetic.fence", product)


def local(count: int, dtype: str) -> Buffer:
    """An array that lives on the stack.

    By itself TVM would have its runtime allocate whatever takes a kilobyte.
    """
    return T.alloc_buffer((count,), dtype, annotations={"disable_lower_builtin": True})


def list_spikes(spikes: Buffer, size: int, fired: Callable[[Value], Value]) -> None:
    """List whoever fired: their number, then who they are, ascending."""
    count = local(1, "int32")
    store(count, 0, T.int32(0))
    with T.serial(0, size) as j, T.If(fired(j)), T.Then():
        store(count, 0, count[0] + 1)
        store(spikes, count[0], T.cast(j, "uint16"))
    store(spikes, 0, T.cast(count[0], "uint16"))


@contextmanager
def listed(spikes: Buffer) -> Iterator[Value]:
    """Every source of a list of spikes."""
    with T.serial(0, integer(spikes[0])) as k:
        yield T.bind(integer(spikes[k + 1]))


def add(array: Buffer, index: Value, value: Value) -> None:
    """Add to an element, in the array's own numbers."""
    store(array, index, array[index] + T.cast(value, array.dtype))


def store(array: Buffer, index: Value, value: Value) -> None:
    """Put a value of the array's own type into it."""
    T.buffer_store(array, value, [index])


def integer(value: Value) -> Value:
    """The same number as int32."""
    return T.cast(value, "int32")


def clip(value: Value, low: Value, high: Value) -> Value:
    """The nearest number in [low, high]."""
    return T.min(T.max(value, low), high)
