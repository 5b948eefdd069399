"""Output directories that appear whole or not at all."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from l2mu_compile.errors import UsageError, reason
from l2mu_compile.paths import StrPath, file_bytes
from l2mu_compile.processes import signals_held

MARKER = "report.json"
UNUSABLE = '\0\t\n\r\\%"'  # zig misreads them in its dependency files and output names
REMOVALS, PAUSE_SECONDS = 30, 0.1
TEMPORARY = "l2mu-tmp-"  # in the name of everything that is only there while we work
_LASTING = "l2mu-kept"  # in the name of what a killed run leaves to the next one


def check_output(path: Path, marker: str = MARKER) -> None:
    """Refuse, with `UsageError`, a path that is not free to be (re)written.

    Free are: nothing there, an empty directory, or a directory that an earlier run wrote, whose
    ``marker`` lists its ``artifacts``.
    """
    if path.name in ("", ".."):
        raise UsageError(f"{path}: give -o the name of a directory")
    if found := sorted(set(str(path.absolute())) & set(UNUSABLE)):
        raise UsageError(f"{path}: the C compiler cannot write to names with {found[0]!r} in them")
    try:
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            raise UsageError(f"{path}: is not a directory; give -o a new name")
        if path.is_mount():
            raise UsageError(f"{path}: is a mount point; give -o a name below it")
        foreign = _foreign_file(path, marker) if path.is_dir() else None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be written: {reason(error)}") from None
    if foreign:
        raise UsageError(
            f"{path}: holds files this tool did not write ({foreign}); give -o a new name"
        )


def _foreign_file(path: Path, marker: str) -> str | None:
    """Something below ``path`` that the report there does not list, or None."""
    try:
        file_bytes(path / marker)
        listed = json.loads((path / marker).read_text(encoding="utf-8"))["artifacts"]
        known = {marker, *(artifact["path"] for artifact in listed)}
        known |= {parent.as_posix() for name in known for parent in Path(name).parents}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        known = set()
    found = (entry.relative_to(path) for entry in path.rglob("*"))
    foreign = (f for f in found if f.as_posix() not in known and TEMPORARY not in f.name)
    return next(map(str, foreign), None)


@contextmanager
def whole_directory(path: StrPath, marker: str = MARKER) -> Iterator[Path]:
    """A fresh directory to fill, moved to ``path`` when the block ends without an error.

    Until then an earlier ``path`` stays untouched; on an error the new one is removed. A sibling of
    the fresh directory may hold what is needed meanwhile, and goes too. All this lies in a hidden
    directory beside ``path`` that is locked while in use; one that a killed process left is not,
    and the next run removes it. ``marker`` is that of `check_output`. Raises `UsageError` for
    whatever cannot be written.
    """
    path = Path(path)
    check_output(path, marker)
    with writing(path), _parents_of(path):
        _remove_left_over(path)
        with _work_directory(path) as work:
            fresh = work / "new"
            fresh.mkdir()
            yield fresh
            _swap(fresh, path, work / "old")


def remove_whole(path: Path) -> None:
    """Remove a directory: whoever looks sees all of it or nothing, and so does the next run if this
    one is killed meanwhile."""
    with _work_directory(path) as work:
        path.replace(work / "old")


@contextmanager
def lasting_directory(path: StrPath, suffix: str) -> Iterator[Path]:
    """A hidden directory beside ``path`` for files, named ``*suffix``, that a killed run leaves to
    the next one.

    It is removed when the block ends without an error, or when nothing was put there. Raises
    `UsageError` if another run uses it, if it holds other files, or if it cannot be made.
    """
    path = Path(path)
    folder = path.absolute().with_name(f".{path.name}.{_LASTING}")
    with ExitStack() as stack:
        with writing(folder):
            stack.enter_context(_parents_of(folder))
            _make_lasting(folder, suffix)
            handle = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, handle)
        if taken(handle):
            raise UsageError(f"{folder}: another run is working there")
        try:
            yield folder
        except BaseException:
            with suppress(OSError):
                folder.rmdir()
            raise
        shutil.rmtree(folder, ignore_errors=True)


def _make_lasting(folder: Path, suffix: str) -> None:
    if folder.is_symlink():
        raise UsageError(f"{folder}: is a link; remove it")
    folder.mkdir(exist_ok=True)
    for entry in folder.iterdir():
        if entry.suffix != suffix and TEMPORARY not in entry.name:
            raise UsageError(f"{folder}: holds {entry.name}, which no run put there; remove it")


@contextmanager
def _parents_of(path: Path) -> Iterator[None]:
    """Make the directories that ``path`` lies in; those made go again on an error."""
    missing = [parent for parent in path.absolute().parents if not parent.exists()]
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None
    try:
        yield
    except BaseException:
        with suppress(OSError):
            for parent in missing:
                parent.rmdir()
        raise


@contextmanager
def _work_directory(path: Path) -> Iterator[Path]:
    """A locked directory beside ``path``, removed at the end."""
    with ExitStack() as stack:
        with signals_held():
            start = f".{path.name}.{TEMPORARY}"
            work = Path(tempfile.mkdtemp(prefix=start, dir=path.absolute().parent))
            handle = os.open(work, os.O_RDONLY)
            stack.callback(os.close, handle)
            stack.callback(shutil.rmtree, work, ignore_errors=True)
        _lock(handle, wait=True)
        yield work


def _remove_left_over(path: Path) -> None:
    """Remove work directories of ``path`` whose process is gone, and with it their lock.

    One that was killed between taking an earlier output away and putting the new one in its place
    has the earlier one put back. A directory still empty may be about to be locked, and stays.
    """
    for work in path.absolute().parent.glob(f".{glob.escape(path.name)}.{TEMPORARY}*"):
        if not work.is_symlink() and (work / "new").is_dir():
            with suppress(OSError):  # somebody else's, or just removed by another run
                _remove_unless_locked(work, path)


def _remove_unless_locked(work: Path, path: Path) -> None:
    handle = os.open(work, os.O_RDONLY)
    try:
        if _lock(handle, wait=False):
            if (work / "old").is_dir() and not path.exists():
                (work / "old").replace(path)
            _remove(work)
    finally:
        os.close(handle)


def _remove(work: Path) -> None:
    """A compiler that a killed process started may still write there for a moment."""
    for _ in range(REMOVALS):
        shutil.rmtree(work, ignore_errors=True)
        if not work.exists():
            return
        time.sleep(PAUSE_SECONDS)


def _lock(handle: int, wait: bool) -> bool:
    """Lock an open directory for as long as this process has it open; False if that cannot be."""
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except (ImportError, OSError):
        return False
    return True


def taken(handle: int) -> bool:
    """Lock an open directory as `_lock` does; whether another process has done so."""
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (ImportError, OSError):  # locks are not known here
        return False
    return False


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


@contextmanager
def writing(path: StrPath) -> Iterator[None]:
    """What the system refuses meanwhile is a `UsageError` that names ``path``."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {reason(error)}") from None


def write_whole(path: Path, content: str | bytes) -> None:
    """Replace one file's content, so that a reader sees the old content or the new."""
    write_together({path: content})


def write_together(contents: Mapping[Path, str | bytes]) -> None:
    """Replace files once all of the new content is on disk; on an error every file stays."""
    written: dict[Path, Path] = {}
    try:
        for path, content in contents.items():
            start = f".{path.name}.{TEMPORARY}"
            handle, name = tempfile.mkstemp(prefix=start, dir=path.absolute().parent)
            written[path] = Path(name)
            with os.fdopen(handle, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
            Path(name).chmod(0o644)
        for path, fresh in written.items():
            fresh.replace(path)
    except BaseException:
        for fresh in written.values():
            fresh.unlink(missing_ok=True)
        raise


def files_below(folder: Path) -> list[tuple[str, int, str]]:
    """(relative path, bytes, SHA-256) of every file below ``folder``, sorted."""
    return [
        (path.relative_to(folder).as_posix(), path.stat().st_size, file_digest(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]


def file_digest(path: Path) -> str:
    """A file's SHA-256, in hexadecimal digits. OSError for what is no file."""
    file_bytes(path)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
