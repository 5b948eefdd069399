"""Count the instructions an emulator executes, exactly and per address.

The hook runs before every instruction, which in Python would be fifty times slower than the code
it watches. So it is a C function (``runtime/count_instructions.c``), compiled for the host on first
use and given to unicorn's C interface.
"""

from __future__ import annotations

import ctypes
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import unicorn
from l2mu_compile.targets.host import HOST
from l2mu_compile.targets.toolchain import RUNTIME_DIR, compile_objects, shared_library
from unicorn import unicorn_const

from l2mu_compile.errors import ToolchainError


class _Counts(ctypes.Structure):
    _fields_ = (
        ("total", ctypes.c_uint64),
        ("base", ctypes.c_uint64),
        ("counters", ctypes.c_uint64),
        ("shift", ctypes.c_uint64),
        ("hits", ctypes.c_void_p),
    )


class InstructionCounter:
    """Counts instructions of ``engine`` from now on, in total and per address of the code.

    ``base`` and ``size`` (bytes) span the code; ``step`` (a power of two) is the least instruction
    length in bytes. Raises ToolchainError if the hook cannot be compiled or installed.
    """

    def __init__(self, engine: Any, base: int, size: int, step: int) -> None:
        shift = step.bit_length() - 1
        self._base, self._step = base, step
        self._hits = np.zeros(-(-size // step), dtype=np.uint64)
        self._counts = _Counts(0, base, self._hits.size, shift, self._hits.ctypes.data)
        self._install(engine)

    @property
    def total(self) -> int:
        """Instructions executed so far, those in code outside the span included."""
        return int(self._counts.total)

    def between(self, start: int, end: int) -> int:
        """Instructions executed so far at addresses in [start, end)."""
        first, last = (start - self._base) // self._step, -(-(end - self._base) // self._step)
        return int(self._hits[max(first, 0) : max(last, 0)].sum())

    def clear(self) -> None:
        """Start from zero."""
        self._counts.total = 0
        self._hits[:] = 0

    def _install(self, engine: Any) -> None:
        handle = ctypes.c_size_t()
        status = _engine_library().uc_hook_add(
            _engine_handle(engine),
            ctypes.byref(handle),
            ctypes.c_int(unicorn_const.UC_HOOK_CODE),
            ctypes.cast(_hook_library().count_instruction, ctypes.c_void_p),
            ctypes.byref(self._counts),
            ctypes.c_uint64(1),
            ctypes.c_uint64(0),
        )
        if status != unicorn_const.UC_ERR_OK:
            raise ToolchainError(f"the emulator took no instruction hook (error {status})")


@cache
def _hook_library() -> ctypes.CDLL:
    with tempfile.TemporaryDirectory(prefix="l2mu-compile-") as directory:
        place = Path(directory)
        objects = compile_objects(HOST, [RUNTIME_DIR / "count_instructions.c"], [], place)
        library = shared_library(HOST, objects, place / "count_instructions.so")
        return ctypes.CDLL(str(library))


@cache
def _engine_library() -> Any:
    """Unicorn's C library, which its Python package has already loaded."""
    for module in ("unicorn_py3.unicorn", "unicorn"):
        try:
            package = __import__(f"{unicorn.__name__}.{module}", fromlist=["uclib"])
            return package.uclib
        except (ImportError, AttributeError):
            continue
    raise ToolchainError(f"unicorn {unicorn.__version__} does not show its C library")


def _engine_handle(engine: Any) -> Any:
    try:
        return engine._uch
    except AttributeError as error:
        raise ToolchainError(f"unicorn {unicorn.__version__} does not show its handle") from error
