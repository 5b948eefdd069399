"""Count the instructions an emulator comes by, exactly and per address.

Those that a condition passes over are among them: a processor spends a cycle on each.

The hook runs before every instruction, which in Python would be fifty times slower than the code
it watches. So it is a C function (``runtime/count_instructions.c``), compiled for the host on first
use and given to unicorn's C interface.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np
import unicorn
from unicorn import unicorn_const

from l2mu_compile.errors import ToolchainError
from l2mu_compile.targets.folders import temporary_directory
from l2mu_compile.targets.host import HOST
from l2mu_compile.targets.linking import shared_library
from l2mu_compile.targets.toolchain import RUNTIME_DIR, compile_objects


class _Counts(ctypes.Structure):
    _fields_ = (
        ("total", ctypes.c_uint64),
        ("base", ctypes.c_uint64),
        ("counters", ctypes.c_uint64),
        ("shift", ctypes.c_uint64),
        ("hits", ctypes.c_void_p),
        ("thumb", ctypes.c_void_p),
        ("block", ctypes.c_uint64),
        ("block_bytes", ctypes.c_uint64),
    )


class InstructionCounter:
    """Counts instructions of ``engine`` from now on, in total and per address of the code.

    ``code`` lies at ``base``; ``step`` (a power of two) is the least instruction length in bytes;
    ``thumb`` code may hold ``it`` blocks. Raises ToolchainError if the hook cannot be compiled or
    installed.
    """

    def __init__(
        self, engine: Any, base: int, code: bytes, step: int, *, thumb: bool = False
    ) -> None:
        shift = step.bit_length() - 1
        self._base, self._step = base, step
        self._hits = np.zeros(-(-len(code) // step), dtype=np.uint64)
        self._code = np.frombuffer(code.ljust(self._hits.size * step, b"\0"), dtype="<u2")
        thumb_code = self._code.ctypes.data if thumb else None
        self._counts = _Counts(
            0, base, self._hits.size, shift, self._hits.ctypes.data, thumb_code, 0, 0
        )
        self._install(engine)

    @property
    def total(self) -> int:
        """Instructions so far, those in code outside the span included."""
        return int(self._counts.total)

    def between(self, start: int, end: int) -> int:
        """Instructions so far at addresses in [start, end); an ``it`` block's are at its ``it``."""
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
    with temporary_directory() as place:
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
