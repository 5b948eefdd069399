"""How numbers and arrays become C text. The only place that knows."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

COLUMNS = 96


def number(value: float, ctype: str) -> str:
    """A C literal that reads back as exactly this value; ValueError if it is not finite.

    ``number(0.1, "float")`` is ``"0.1f"``, the shortest decimal that rounds to that float32;
    ``number(-2147483648, "int32_t")`` is ``"(-2147483647 - 1)"``.
    """
    if ctype == "float":
        with np.errstate(over="ignore"):
            rounded = np.float32(value)
        if not np.isfinite(rounded):
            raise ValueError(f"{value} has no place in generated code")
        return str(rounded) + "f"  # str, not format: the shortest text of a float32
    if int(value) == -(2**31):
        return "(-2147483647 - 1)"
    return str(int(value))


def string(text: str) -> str:
    """A C string literal of ``text`` in UTF-8: plain ASCII as it is, any other byte in octal.

    ``string('a "b"?')`` is ``"a \\"b\\"\\?"``: without a bare ``?`` there is no trigraph.
    """
    return '"' + "".join(map(_character, text.encode())) + '"'


def _character(byte: int) -> str:
    character = chr(byte)
    if character in '"?\\':
        return "\\" + character
    return character if 0x20 <= byte < 0x7F else f"\\{byte:03o}"


def array_body(values: NDArray, ctype: str) -> str:
    """The comma-separated elements, broken into lines of at most `COLUMNS` characters."""
    return _body(number(value, ctype) for value in values)


def string_body(texts: Iterable[str]) -> str:
    """The same for strings; one that is longer than a line has its own."""
    return _body(map(string, texts))


def _body(elements: Iterable[str]) -> str:
    lines, line = [], ""
    for element in elements:
        text = element + ","
        if line and len(line) + 1 + len(text) > COLUMNS:
            lines.append(line)
            line = ""
        line = f"{line} {text}" if line else text
    return "\n    ".join([*lines, line])
