"""The kernels there are, read from their own C header and sources: one table, no second copy."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

KERNEL_DIR = Path(__file__).parent / "kernels"
HEADERS = (
    *("l2mu_arith.h", "l2mu_blocks.h", "l2mu_kernels.h", "l2mu_packed.h", "l2mu_powers.h"),
    *("l2mu_sparse.h", "l2mu_strips.h"),
)

_FUNCTION = r"^(?P<result>void|int) (?P<name>l2mu_\w+)\((?P<parameters>[^)]*)\)"
_DECLARATION = re.compile(_FUNCTION + ";", re.MULTILINE)
_WORD = re.compile(r"\bl2mu_\w+")
_DEFINITION = re.compile(_FUNCTION + r"\n\{", re.MULTILINE)


@dataclass(frozen=True)
class Kernel:
    """One C function: its name, the file that defines it, and its parameters' C types in order."""

    name: str
    source: str
    parameters: tuple[str, ...]


@cache
def kernel_table() -> dict[str, Kernel]:
    """Every kernel declared in ``l2mu_kernels.h``, by name."""
    sources = {
        match["name"]: path.name
        for path in sorted(KERNEL_DIR.glob("*.c"))
        for match in _DEFINITION.finditer(path.read_text(encoding="utf-8"))
    }
    header = (KERNEL_DIR / "l2mu_kernels.h").read_text(encoding="utf-8")
    return {
        match["name"]: Kernel(match["name"], sources[match["name"]], _types(match["parameters"]))
        for match in _DECLARATION.finditer(header)
    }


def sources_of(kernels: Iterable[str]) -> list[str]:
    """The source files that these kernels need, sorted: their own, and those of kernels called."""
    table = kernel_table()
    needed: set[str] = set()
    waiting = {table[name].source for name in kernels}
    while waiting:
        source = waiting.pop()
        needed.add(source)
        words = set(_WORD.findall((KERNEL_DIR / source).read_text(encoding="utf-8")))
        waiting |= {table[word].source for word in words & table.keys()} - needed
    return sorted(needed)


def functions_in(sources: Iterable[str]) -> list[str]:
    """The kernels that the given source files define, sorted."""
    wanted = set(sources)
    return sorted(name for name, kernel in kernel_table().items() if kernel.source in wanted)


def _types(parameters: str) -> tuple[str, ...]:
    return tuple(
        re.sub(r"\s*\b\w+$", "", " ".join(p.split())).strip() for p in parameters.split(",")
    )
