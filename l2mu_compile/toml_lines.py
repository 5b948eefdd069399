"""TOML, and the lines that its keys are on."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


class TomlError(ValueError):
    """A text is no TOML; ``line`` says from where on, if that is known."""

    def __init__(self, text: str, line: int | None) -> None:
        super().__init__(text)
        self.line = line


def read_toml(text: str) -> dict[str, Any]:
    """The tables of a TOML text. Raises `TomlError`."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = _PLACE.search(str(error))
        line = int(place[1]) if place and place[1] else None
        raise TomlError(_PLACE.sub("", str(error)), line) from None
    except ValueError:
        raise TomlError("holds a number of too many digits", None) from None
    except RecursionError:
        raise TomlError("is nested too deeply", None) from None


def line_of(text: str, key: Sequence[str | int]) -> int | None:
    """The line (from 1) on which the value of ``key`` ends, or that of the nearest table around it.

    It is the first line after which a reader knows the key: so the parser says where it is.
    """
    lines = text.splitlines(keepends=True)
    for known in range(len(key), 0, -1):
        if _has(text, key[:known]):
            return _first(lines, key[:known])
    return None


def _first(lines: Sequence[str], key: Sequence[str | int]) -> int:
    low, high = 0, len(lines)  # not known after low lines, known after high
    while high - low > 1:
        middle = (low + high) // 2
        if _has(_readable("".join(lines[:middle]), lines, middle), key):
            high = middle
        else:
            low = middle
    return high


def _readable(text: str, lines: Sequence[str], count: int) -> str:
    """The longest beginning, of at most ``count`` lines, that ends with a whole value."""
    while count and _tables(text) is None:
        count -= 1
        text = text[: -len(lines[count])]
    return text


def _has(text: str, key: Sequence[str | int]) -> bool:
    found: Any = _tables(text)
    for part in key:
        listed = isinstance(found, list) and isinstance(part, int) and part < len(found)
        if not listed and not (isinstance(found, dict) and part in found):
            return False
        found = found[part]
    return True


def _tables(text: str) -> dict[str, Any] | None:
    try:
        return read_toml(text)
    except TomlError:
        return None
