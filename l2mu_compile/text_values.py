"""Values in lines of the text form: options, arrays and sizes, as they are written and read back.

Reading raises ValueError, or whatever Python does, for what is not written so.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Tensors = Mapping[str, NDArray]  # of the sidecar, by name


def digest(array: NDArray) -> str:
    """First 12 hex digits of the SHA-256 of an array's type, shape and bytes."""
    head = f"{array.dtype.str}{list(array.shape)}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(array).tobytes()).hexdigest()[:12]


def dims_text(shape: tuple[int, ...]) -> str:
    """``3,2``"""
    return ",".join(map(str, shape))


def options_text(owner: str, options: Mapping[str, Any]) -> str:
    """`` name=value`` of each option that is not None; arrays are called after their ``owner``."""
    return "".join(
        f" {name}={_value_text(f'{owner}.{name}', value)}"
        for name, value in options.items()
        if value is not None
    )


def read_dims(text: str) -> tuple[int, ...]:
    """What `dims_text` wrote."""
    dims = tuple(int(part) for part in text.split(","))
    if any(not 1 <= d < 2**31 for d in dims):
        raise ValueError(f"sizes must be between 1 and 2^31 - 1: [{text}]")
    return dims


def read_options(text: str, known: tuple[str, ...]) -> dict[str, str]:
    """The values that options have as text, of those that are ``known``."""
    options: dict[str, str] = {}
    for item in text.split():
        name, separator, value = item.partition("=")
        if not separator or name not in known:
            raise ValueError(f"unexpected {item!r}; options here: {', '.join(known)}")
        options[name] = value
    return options


def read_numbers(options: Mapping[str, str], names: tuple[str, ...], kind: type) -> dict[str, Any]:
    """Those of ``names`` that are given, as numbers of this ``kind``."""
    return {name: kind(options[name]) for name in names if name in options}


def read_array(text: str | None, tensors: Tensors) -> NDArray | None:
    """A parameter: a number, or one of ``tensors`` by name and digest."""
    if text is None:
        return None
    if text.startswith("@"):
        name, _, expected = text[1:].partition("#")
        return read_tensor(name, expected, tensors)
    if re.fullmatch(r"[+-]?[0-9]+", text):
        return np.asarray(int(text), dtype=np.int32)
    with np.errstate(over="ignore"):  # infinity, which verify refuses
        return np.asarray(float(text), dtype=np.float32)


def read_tensor(name: str, expected: str, tensors: Tensors) -> NDArray:
    """The tensor of this name, which must have the ``expected`` digest."""
    array = tensors.get(name)
    if array is None:
        raise ValueError(f"weights {name!r} are not in the .safetensors sidecar")
    if digest(array) != expected:
        raise ValueError(f"weights {name!r} have digest {digest(array)}, the text says {expected}")
    return array


def _value_text(name: str, value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"@{name}#{digest(value)}" if value.ndim else _number_text(value.dtype.type(value))
    return repr(float(value)) if isinstance(value, float) else str(value)


def _number_text(value: np.generic) -> str:
    """Shortest text that reads back as the same number of the same kind."""
    if isinstance(value, np.integer):
        return str(value)
    text = str(value)
    return text if re.search(r"[.en]", text) else text + ".0"
