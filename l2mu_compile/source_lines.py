"""Source lines: which line of the user's code an operation or an error comes from."""

from __future__ import annotations

import linecache
import sys
from functools import cache
from pathlib import Path
from traceback import walk_tb
from types import CodeType, FrameType

import snntorch
import torch

_PACKAGE = Path(__file__).parent
_TRACERS = (
    *("instrument", "original", "probing", "recording", "source_lines", "trace"),
    *("onnx_module", "onnx_ops"),
)
_NODES = str(_PACKAGE / "onnx_graph.py")  # whose lines of code are the nodes of a file


def calling_line(outermost: CodeType) -> str:
    """The innermost line of user code that runs below ``outermost``: ``model.py:12: x = f(x)``."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code is not outermost:
        if frame.f_code.co_filename == _NODES:
            return str(frame.f_locals.get("self", ""))
        if not _is_library(frame.f_code.co_filename):
            return _shown(frame.f_code.co_filename, frame.f_lineno)
        frame = frame.f_back
    return ""


def failing_line(failure: BaseException) -> str:
    """The innermost line of user code that ``failure`` went through, or ""."""
    passed = [(f.f_code.co_filename, line) for f, line in walk_tb(failure.__traceback__)]
    own = [place for place in passed if not _is_library(place[0])]
    return _shown(*own[-1]) if own else ""


def first_line(failure: BaseException) -> str:
    """What an exception says, without its details, and the line of user code it comes from."""
    text = (str(failure).strip() or type(failure).__name__).splitlines()[0].rstrip(".;:")
    line = failing_line(failure)
    return f"{text} ({line})" if line else text


def _shown(file: str, line: int) -> str:
    return f"{Path(file).name}:{line}: {linecache.getline(file, line).strip()}".rstrip(": ")


@cache
def _is_library(file: str) -> bool:
    """True for torch, snnTorch and the tracing files of this package."""
    folders = {Path(str(library.__file__)).parent for library in (torch, snntorch)}
    tracers = {str(_PACKAGE / f"{name}.py") for name in _TRACERS}
    return file in tracers or bool(folders & set(Path(file).parents))
