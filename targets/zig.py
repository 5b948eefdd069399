"""Find zig, installed as the ``ziglang`` package, and a directory for its cache."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import sys
import tempfile
import time
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from l2mu_compile.errors import ToolchainError, reason

_CACHE_VARIABLES = ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR")
_MONTH = re.compile(r"\d{4}-\d\d")
# Where tools and temporary files are. Of others, such as CPATH, compilers take headers and options.
_PASSED_ON = (
    *("PATH", "LD_LIBRARY_PATH", "HOME", "XDG_CACHE_HOME", "JAVA_HOME"),
    *("TMPDIR", "TMP", "TEMP", "SYSTEMROOT", "LOCALAPPDATA"),
)


@cache
def zig_command() -> tuple[str, ...]:
    """The command that starts zig; raises ToolchainError if the package is not installed.

    The executable inside the package is called directly where it is found: ``python -m ziglang``
    only starts it, and costs more than compiling a small file.
    """
    spec = find_spec("ziglang")
    if spec is None or spec.origin is None:
        raise ToolchainError("no C compiler: install zig with 'pip install ziglang'")
    for name in ("zig", "zig.exe"):
        executable = Path(spec.origin).parent / name
        if executable.is_file():
            return (str(executable),)
    return (sys.executable, "-m", "ziglang")


def compiler_environment() -> dict[str, str]:
    """What compilers see of this process's environment, with directories for zig's cache: none of
    it changes what they make.

    Raises ToolchainError for one that was set and cannot be written: zig might hang.
    """
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    for variable in _CACHE_VARIABLES:
        directory = os.environ.get(variable)
        if directory:
            _require_cache(variable, directory)
        environment[variable] = directory or str(_cache_directory())
    return environment


@cache
def _require_cache(variable: str, directory: str) -> None:
    try:
        _try_to_write(Path(directory))
    except OSError as error:
        raise ToolchainError(
            f"{variable}={directory}: the C compiler's cache cannot be written: {reason(error)}"
        ) from error


def _try_to_write(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=directory):
        return


@cache
def _cache_directory() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    months = Path(base) / "l2mu-compile" / "zig"
    now = time.gmtime()
    directory = months / _month(now.tm_year, now.tm_mon)
    try:
        is_new = not directory.exists()
        _try_to_write(directory)
    except OSError:
        return _temporary_cache()
    if is_new:
        _remove_before(_month(now.tm_year, now.tm_mon - 1), months)
    return directory


def _month(year: int, month: int) -> str:
    """``2026-11``; month 0 is the last one of the year before."""
    return f"{year if month else year - 1}-{month or 12:02}"


def _remove_before(month: str, months: Path) -> None:
    """Remove caches of earlier months than ``month``, which no compiler is using any more; zig
    itself keeps everything for ever."""
    for path in months.iterdir():
        if _MONTH.fullmatch(path.name) and path.name < month:
            shutil.rmtree(path, ignore_errors=True)


def _temporary_cache() -> Path:
    try:
        temporary = Path(tempfile.mkdtemp(prefix="l2mu-compile-zig-"))
    except OSError as error:
        text = (
            f"no directory for the C compiler's cache: {reason(error)} (set ZIG_GLOBAL_CACHE_DIR)"
        )
        raise ToolchainError(text) from error
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    return temporary
