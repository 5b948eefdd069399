"""Output directories that appear whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from l2mu_compile.errors import UsageError

MARKER = "report.json"


def check_output(path: Path) -> None:
    """Refuse, with `UsageError`, a path that is not free to be (re)written.

    Free are: nothing there, an empty directory, or a directory that an earlier run wrote.
    """
    if path.name in ("", ".."):
        raise UsageError(f"{path}: give -o the name of a directory")
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise UsageError(f"{path}: is not a directory; give -o a new name")
    if path.is_dir() and any(path.iterdir()) and not (path / MARKER).is_file():
        raise UsageError(f"{path}: holds files this tool did not write; give -o a new name")


@contextmanager
def whole_directory(path: Path) -> Iterator[Path]:
    """A fresh directory to fill, moved to ``path`` when the block ends without an error.

    Until then an earlier ``path`` stays untouched; on an error the new one is removed.
    """
    check_output(path)
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.absolute().parent))
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from None
    try:
        fresh = work / "new"
        fresh.mkdir()
        yield fresh
        if path.exists():
            path.replace(work / "old")
        fresh.replace(path)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def write_whole(path: Path, content: str | bytes) -> None:
    """Replace one file's content, so that a reader sees the old content or the new."""
    data = content.encode() if isinstance(content, str) else content
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.absolute().parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def files_below(folder: Path) -> list[tuple[str, int, str]]:
    """(relative path, bytes, SHA-256) of every file below ``folder``, sorted."""
    return [
        (
            path.relative_to(folder).as_posix(),
            path.stat().st_size,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
