"""Count the instructions an emulator executes, exactly and per address.

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
from l2mu_compile.targets.host import HOST
from l2mu_compile.targets.toolchain import (
    RUNTIME_DIR,
    compile_objects,
    shared_library,
    temporary_directory,
)

_IT_LONGEST = 4
_FIRST_32_BIT_PREFIX = 0b11101


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
        self._it_blocks = it_blocks(code if thumb else b"")
        self._counts = _Counts(0, base, self._hits.size, shift, self._hits.ctypes.data)
        self._install(engine)

    @property
    def total(self) -> int:
        """Instructions executed so far, those in code outside the span included."""
        return int(self._counts.total)

    @property
    def skipped(self) -> int:
        """Instructions so far that an ``it`` block's condition passed over; not in ``total``.

        Exact between runs that ended; a run that stopped inside a block may miscount that block.
        """
        reached = self._hits[self._it_blocks[:, 0]]
        executed = self._hits[self._it_blocks[:, 1:]]
        return int(((reached[:, None] - executed) * (reached[:, None] > 0)).sum())

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


def it_blocks(code: bytes) -> np.ndarray:
    """Each ``it`` instruction of Thumb code and the four it may govern, as halfword indices.

    Unused places repeat the ``it``. Data that looks like one is harmless: it is never executed.
    """
    halfwords = np.frombuffer(code[: len(code) // 2 * 2], dtype="<u2")
    looks_like_it = (halfwords & 0xFF00 == 0xBF00) & (halfwords & 0x000F != 0)
    rows = [_it_block(halfwords, int(index)) for index in np.flatnonzero(looks_like_it)]
    return np.array(rows, dtype=np.intp).reshape(-1, 1 + _IT_LONGEST)


def _it_block(halfwords: np.ndarray, start: int) -> list[int]:
    mask = int(halfwords[start]) & 0xF
    length = _IT_LONGEST - ((mask & -mask).bit_length() - 1)
    places = [start]
    position = start + 1
    for _ in range(length):
        if position >= halfwords.size:
            break
        places.append(position)
        position += 2 if int(halfwords[position]) >> 11 >= _FIRST_32_BIT_PREFIX else 1
    return places + [start] * (1 + _IT_LONGEST - len(places))


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
