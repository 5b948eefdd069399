"""Names of files, as the public functions take them and as reports and messages show them."""

from __future__ import annotations

import os

StrPath = str | os.PathLike[str]


def printable(text: str) -> str:
    """``text`` as every terminal and file can hold it in one line, whatever a file was called."""
    return "".join(c if c.isprintable() else "?" for c in text)
