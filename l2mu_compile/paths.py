"""Names of files, as the public functions take them and as reports and messages show them."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

StrPath = str | os.PathLike[str]


def printable(text: str) -> str:
    """``text`` as every terminal and file can hold it in one line, whatever a file was called."""
    return "".join(c if c.isprintable() else "?" for c in text)


def file_bytes(path: Path) -> int:
    """A file's size. OSError for what is no file: a pipe or a device may never end."""
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "Not a regular file")
    return found.st_size
