"""The worst-case stack of functions, read from the machine code of a linked image.

A function takes what its instructions lower the stack pointer by, all of them added up, and beyond
that what the deepest function takes that it calls or jumps to. Code that the compiler's own library
adds counts like any other.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from pathlib import Path

from l2mu_compile.targets.elf import Code, code, functions, symbols
from l2mu_compile.targets.stack_code import READERS, Call, Jump, Take, UnboundedStackError


def stack_bounds(path: Path, names: Sequence[str]) -> dict[str, int]:
    """Bytes of stack that calling each of the functions ``names`` of an ELF image takes at most.

    Raises `UnboundedStackError` where code recurses, calls through a register or is of another
    instruction set than Thumb, Arm and AArch64.
    """
    table, image = symbols(path), _Image(path)
    return {name: image.depth(table[name].address) for name in names}


class _Image:
    def __init__(self, path: Path) -> None:
        self._code = code(path)
        self._functions = {start: (end, name) for start, end, name in functions(path)}
        self._starts = sorted(self._functions)
        self._depths: dict[int, int | None] = {}

    def depth(self, address: int) -> int:
        """Stack of the function at ``address``, what it calls included."""
        index = bisect.bisect_right(self._starts, address) - 1
        start = self._starts[index] if index >= 0 else address
        end, name = self._functions.get(start, (start, ""))
        if not start <= address < end:
            raise UnboundedStackError(f"there is no function at {address:#x}")
        if start in self._depths:
            known = self._depths[start]
            if known is None:
                raise UnboundedStackError(f"{name} calls itself")
            return known
        self._depths[start] = None
        taken, called = self._effects(start, end, name)
        self._depths[start] = taken + max(map(self.depth, sorted(called)), default=0)
        return self.depth(start)

    def _effects(self, start: int, end: int, name: str) -> tuple[int, set[int]]:
        """Bytes that a function takes itself, and the addresses outside it that it goes to."""
        taken, called = 0, set()
        for part in self._parts(start, end, name):
            try:
                effects = list(READERS[part.kind](part.content, part.address))
            except UnboundedStackError as error:
                raise UnboundedStackError(f"{name} {error}") from None
            taken += sum(e.bytes for e in effects if isinstance(e, Take))
            called |= {e.address for e in effects if isinstance(e, Call)}
            jumps = {e.address for e in effects if isinstance(e, Jump)}
            called |= {address for address in jumps if not start <= address < end}
        return taken, called

    def _parts(self, start: int, end: int, name: str) -> list[Code]:
        parts = []
        for part in self._code:
            first, last = max(part.address, start), min(part.end, end)
            if first < last:
                content = part.content[first - part.address : last - part.address]
                parts.append(Code(first, part.kind, content))
        if sum(len(part.content) for part in parts) != end - start:
            raise UnboundedStackError(f"{name} is in no instruction set that can be read")
        return [part for part in parts if part.kind in READERS]
