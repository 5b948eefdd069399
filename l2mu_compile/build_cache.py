"""Builds kept by the digest of all that they depend on, for as long as runs use them.

Any number of runs may share a cache, a directory in which

- ``KEY/`` is a build as it was made, its time of change that of its last use;
- ``KEY.lock`` is held by the process that makes, reads or removes it;
- ``.KEY.l2mu-tmp-*`` is where one is being made, or where a killed process left it.

Lock files go with their builds. Whoever waited for one that is gone by then holds a lock on a file
without a name, which `filelock` notices; it makes another.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from l2mu_compile.compiled import REPORT_FILE, require_untouched
from l2mu_compile.errors import ModelError, UsageError
from l2mu_compile.output import TEMPORARY, check_output, remove_whole, writing
from l2mu_compile.report import load_report

LOCK = ".lock"
SECONDS_OF_A_DAY = 24 * 60 * 60

_KEY = "[0-9a-f]{64}"
_OURS = re.compile(
    rf"(?P<key>{_KEY})(?P<lock>{re.escape(LOCK)})?|\.(?P<left>{_KEY})\.{TEMPORARY}.*"
)


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[None]:
    """Hold the lock ``path``, that only one process has at a time and that dies with it.

    Raises `UsageError` if another has it and nobody is to ``wait``.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(blocking=wait)
        except Timeout:
            raise UsageError(f"{path.parent}: another build is working there") from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def entry_of(cache: Path, key: str) -> Iterator[Path]:
    """Where ``cache`` has a build, or is to have it; no other process touches it meanwhile."""
    with locked(cache / f"{key}{LOCK}"):
        yield cache / key


def is_whole(folder: Path) -> bool:
    """Whether ``folder`` holds a build, as it was made."""
    try:
        require_untouched(folder, load_report(folder / REPORT_FILE))
    except ModelError:
        return False
    return True


def mark_used(entry: Path) -> None:
    """Have the build ``entry`` count as used now."""
    with suppress(OSError):  # it is somebody else's
        os.utime(entry)


def remove_unused(cache: Path, days: int) -> int:
    """Remove what no run has used for ``days`` days, and what runs killed before that left.

    Returns how many builds went. What another process holds stays, and so does whatever is not
    named or not made as builds in a cache are.
    """
    before = time.time() - days * SECONDS_OF_A_DAY
    removed = 0
    for key, paths in _paths_by_key(cache).items():
        if all(_last_change(path) < before for path in paths):
            with suppress(OSError, UsageError):  # in use, or not ours to remove
                removed += _removed(cache / key, paths, before)
    return removed


def _paths_by_key(cache: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in cache.iterdir():
        if name := _OURS.fullmatch(path.name):
            found.setdefault(name["key"] or name["left"], []).append(path)
    return found


def _last_change(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return 0.0


def _removed(entry: Path, paths: list[Path], before: float) -> bool:
    """Remove ``entry`` and the rest of ``paths``; whether there was a build."""
    lock = entry.with_name(f"{entry.name}{LOCK}")
    _require_ours(entry, lock)
    with locked(lock, wait=False):
        was_there = entry.exists()
        if _last_change(entry) >= before:  # another run has just used it
            return False
        if was_there:
            remove_whole(entry)
        for path in paths:
            if path not in (entry, lock) and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
        lock.unlink()  # last of all: from here on others may hold another lock of that name
    return was_there


def _require_ours(entry: Path, lock: Path) -> None:
    """Raise `UsageError` unless runs made ``entry`` and ``lock``, where there are any."""
    if os.path.lexists(entry):
        check_output(entry)
        if not (entry / REPORT_FILE).is_file():
            raise UsageError(f"{entry}: is no build")
    if os.path.lexists(lock) and (lock.is_symlink() or lock.stat().st_size):
        raise UsageError(f"{lock}: is no lock")
