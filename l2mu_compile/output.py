"""Output directories that appear whole or not at all."""

from __future__ import annotations

import hashlib
import json
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
    if path.is_dir() and (foreign := _foreign_file(path)):
        raise UsageError(
            f"{path}: holds files this tool did not write ({foreign}); give -o a new name"
        )


def _foreign_file(path: Path) -> str | None:
    """Something below ``path`` that the report there does not list, or None."""
    try:
        listed = json.loads((path / MARKER).read_text(encoding="utf-8"))["artifacts"]
        known = {MARKER, *(artifact["path"] for artifact in listed)}
    except (OSError, ValueError, KeyError, TypeError):
        known = set()
    known |= {parent.as_posix() for name in known for parent in Path(name).parents}
    found = sorted(entry.relative_to(path).as_posix() for entry in path.rglob("*"))
    return next((name for name in found if name not in known), None)


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
        _swap(fresh, path, work / "old")
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _swap(fresh: Path, path: Path, old: Path) -> None:
    """Move ``fresh`` to ``path``; what was there is put back if that fails."""
    try:
        if path.exists():
            path.replace(old)
        fresh.replace(path)
    except BaseException:
        if old.exists() and not path.exists():
            old.replace(path)
        raise


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
