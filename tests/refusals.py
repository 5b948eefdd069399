"""Bad input through the command line: the right exit code, one line that says what and where, no
traceback, and nothing left behind."""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from command_line import Result, run
from reference_models import Options, RawNet

WINDOWS = "windows.npz"

_PR_CAPBSET_DROP = 24
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1, 2


def refused(code: int, *texts: str, arguments: tuple[str | Path, ...]) -> str:
    """Run; it must end with ``code`` and one line that holds all ``texts``."""
    return _checked(code, texts, lambda: run(*arguments))


def refused_alone(
    code: int,
    *texts: str,
    arguments: tuple[str | Path, ...],
    prepare: Callable[[], None] | None = None,
    **environment: str,
) -> str:
    """`refused`, in a process of its own that first calls ``prepare``."""
    return _checked(code, texts, lambda: spawn(*arguments, prepare=prepare, **environment))


def _checked(code: int, texts: tuple[str, ...], start: Callable[[], Result]) -> str:
    before = sorted(Path.cwd().rglob("*"))
    result = start()
    assert result.code == code, result.err
    assert result.err.count("\n") == 1, result.err
    assert result.err.startswith("error: ")
    assert "Traceback" not in result.err
    assert result.out == ""
    for text in texts:
        assert text in result.err, result.err
    assert sorted(Path.cwd().rglob("*")) == before, "something was left behind"
    return result.err


def spawn(
    *arguments: str | bytes | Path | int,
    prepare: Callable[[], None] | None = None,
    **environment: str,
) -> Result:
    """The command line as a process of its own; ``prepare`` is called in it first."""
    command = [sys.executable, "-m", "l2mu_compile.cli", *map(_argument, arguments)]
    done = subprocess.run(
        command, capture_output=True, env=os.environ | environment, preexec_fn=prepare
    )
    out, err = (stream.decode(errors="replace") for stream in (done.stdout, done.stderr))
    return Result(done.returncode, out, err)


def _argument(value: str | bytes | Path | int) -> str | bytes:
    return value if isinstance(value, bytes) else str(value)


def unprivileged() -> None:
    """Have file permissions hold for this process even where it is root's."""
    if os.geteuid() == 0:
        for capability in (_DAC_OVERRIDE, _DAC_READ_SEARCH):
            if ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
                os._exit(99)


def files_at_most(size: int) -> Callable[[], None]:
    """Have writing beyond ``size`` bytes fail, as on a disk that is full."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def write_windows(path: str | Path, steps: int = 12, channels: int = 6, **changes) -> None:
    arrays = {"x": np.random.default_rng(0).normal(size=(5, steps, channels)).astype("f4")}
    np.savez(path, **{**arrays, "y": np.arange(5) % 3, **changes})


def state(**options) -> dict:
    return dict(RawNet(Options(**options)).state_dict())


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below ``folder``."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
