"""ONNX files, read without trusting them: a model in memory, or a `ModelError`.

What a protobuf parser makes of small messages is many times their size. So a file's fields are
walked first, as bytes, and all but the raw data of tensors may have few bytes only. Nothing outside
the file is opened, whatever it says of data elsewhere, and no array is made before its shape and
its type are those of the bytes that are there.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.errors import ModelError, reason
from l2mu_compile.onnx_nodes import onnx_package
from l2mu_compile.paths import file_bytes
from l2mu_compile.tensor_files import shown

MAX_FILE_BYTES = 1 << 28
MAX_FIELDS = 1_000_000
MAX_OTHER_BYTES = 1 << 24  # of all but the raw data of tensors
MAX_AXES = 8

# Fields that hold messages of interest, by number, as onnx.proto says.
_MESSAGES = {
    "model": {7: "graph"},
    "graph": {1: "node", 5: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph"},
    "tensor": {9: "raw"},
}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FEW = {"BOOL": np.bool_, "INT8": np.int8, "UINT8": np.uint8, "INT32": np.int32}
_TYPES = {"FLOAT": np.float32, "DOUBLE": np.float64, "INT64": np.int64, **_FEW}


def read_onnx(path: Path) -> Any:
    """The ``onnx.ModelProto`` in a file. Raises `ModelError` (without the path) for any other
    file, `UsageError` where the ``onnx`` extra is not installed."""
    onnx = onnx_package()
    try:
        if file_bytes(path) > MAX_FILE_BYTES:
            raise ModelError(f"larger than {MAX_FILE_BYTES} bytes")
        data = path.read_bytes()
    except FileNotFoundError:
        raise ModelError("no such file") from None
    except OSError as error:
        raise ModelError(f"cannot be read: {reason(error)}") from None
    try:
        _check_fields(memoryview(data))
        model = onnx.ModelProto.FromString(data)
    except ModelError:
        raise
    except Exception:
        raise ModelError("not a readable ONNX file") from None
    if not model.HasField("graph"):
        raise ModelError("not an ONNX file: it has no graph")
    return model


def array_of(tensor: Any, what: str) -> NDArray:
    """The numbers of a ``TensorProto``, which ``what`` names; they must be in the file."""
    helper = onnx_package()
    if tensor.data_location == helper.TensorProto.EXTERNAL or tensor.external_data:
        raise ModelError(
            f"{what}: lies in another file, which is not read; save the model with its data inside"
        )
    names = {getattr(helper.TensorProto, name): dtype for name, dtype in _TYPES.items()}
    dtype, dims = names.get(tensor.data_type), tuple(tensor.dims)
    if dtype is None:
        raise ModelError(f"{what}: is of a type other than {', '.join(_TYPES)}")
    if len(dims) > MAX_AXES or any(d < 0 for d in dims):
        raise ModelError(f"{what}: has shape {shown(list(dims))}")
    held = len(tensor.raw_data) // np.dtype(dtype).itemsize
    held = held or max(len(getattr(tensor, f"{k}_data")) for k in ("float", "int32", "int64"))
    if prod(dims) != (held or len(tensor.double_data)):
        raise ModelError(f"{what}: has shape {list(dims)}, which is not what the file holds")
    try:
        array: NDArray = helper.numpy_helper.to_array(tensor)
    except (ValueError, TypeError) as error:
        raise ModelError(f"{what}: cannot be read: {error}") from None
    return array


def _check_fields(data: memoryview) -> None:
    """Refuse what would take up much more memory than the file."""
    fields, other, pending = 0, len(data), [("model", data)]
    while pending:
        kind, message = pending.pop()
        for number, wire, content in _fields(message):
            fields += 1
            if fields > MAX_FIELDS:
                raise ModelError(f"holds more than {MAX_FIELDS} fields")
            inner = _MESSAGES[kind].get(number) if wire == _BYTES else None
            if inner == "raw":
                other -= len(content)
            elif inner:
                pending.append((inner, content))
    if other > MAX_OTHER_BYTES:
        raise ModelError(
            f"holds {other} bytes besides the raw data of tensors; at most {MAX_OTHER_BYTES}"
        )


def _fields(message: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Number, wire type and content of every field of a protobuf message."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        wire, size = key & 7, 0
        if wire == _VARINT:
            _, end = _varint(message, place)
            size = end - place
        elif wire == _BYTES:
            size, place = _varint(message, place)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError("a group, or no wire type at all")
        if size > len(message) - place:
            raise ValueError("a field that is longer than its message")
        yield key >> 3, wire, message[place : place + size]
        place += size


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[place]
        value |= (byte & 0x7F) << shift
        place += 1
        if byte < 0x80:
            return value, place
    raise ValueError("a number without end")
