"""Run ``l2mu-compile`` inside the test's process."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l2mu_compile import cli


@dataclass
class Result:
    """What a run of the command line did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which must be one JSON value."""
        return json.loads(self.out)


def run(*arguments: str | Path | int) -> Result:
    """``l2mu-compile arguments``."""
    out, err = io.StringIO(), io.StringIO()
    saved, sys.argv = sys.argv, ["l2mu-compile", *map(str, arguments)]
    code: Any = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            cli.main()
    except SystemExit as stop:
        code = stop.code or 0
    finally:
        sys.argv = saved
    return Result(code, out.getvalue(), err.getvalue())


def ok(*arguments: str | Path | int) -> Result:
    """`run` that must succeed."""
    result = run(*arguments)
    assert result.code == 0, result.err
    return result


def readable(text: str) -> None:
    """Fits the terminal, and says nothing that only a machine wants."""
    for line in text.splitlines():
        assert len(line) <= 80, line
    assert "\x1b" not in text
    assert "None" not in text
