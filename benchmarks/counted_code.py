"""Code for x86-64 that counts its own instructions, to run on this machine.

No emulator knows the vector instructions of such processors. So the compiler's assembly is told to
add, where a block begins that has no jump or label inside, as many as the block has. The count is
that of the code as it is otherwise, but for instructions that only align loops.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from l2mu_compile.targets.host import HOST
from l2mu_compile.targets.kernel_sets import usable_sets
from l2mu_compile.targets.linking import shared_library
from l2mu_compile.targets.record import Target
from l2mu_compile.targets.toolchain import RUNTIME_DIR, assembly, compile_objects

COUNTER = "instructions"  # C: uint64_t

# Every library is linked with its own, which do not count.
_LIBRARY = re.compile(r"\b(memcpy|memset)\b")
_LABEL = re.compile(r"[\w.$]+:")
_INSTRUCTION = re.compile(r"\t[a-z]")
_JUMP = re.compile(r"\t(j|ret)")
# Nothing the block reads may change: flags, or what is below the stack pointer.
_ADDITION = (
    "\tleaq -128(%rsp), %rsp\n\tpushfq\n\taddq ${}, {}(%rip)\n\tpopfq\n\tleaq 128(%rsp), %rsp"
)

_DEFINITION = f"\t.comm {COUNTER}, 8, 8"


def cannot_count(target: Target) -> str:
    """Why code for ``target`` cannot count its instructions here; '' if it can."""
    if (HOST.arch, target.arch, sys.platform) != ("x86_64", "x86_64", "linux"):
        return "only code for x86-64 counts its own instructions, on Linux"
    missing = [name for name in target.kernel_sets if name not in usable_sets(HOST)]
    return f"this machine has no {', '.join(missing)}" if missing else ""


def counting_library(
    target: Target,
    sources: Sequence[Path],
    include: Sequence[Path],
    folder: Path,
    exports: Sequence[str],
) -> Path:
    """A shared library of ``sources`` that shows ``exports`` and the variable `COUNTER`."""
    texts = assembly(target, [*sources, RUNTIME_DIR / "memory.c"], include, folder / "assembly")
    for path in texts:
        lines = _LIBRARY.sub(r"counted_\1", path.read_text(encoding="utf-8")).splitlines()
        path.write_text("\n".join([*_counting(lines), _DEFINITION, ""]), encoding="utf-8")
    quiet = (*target.cflags, "-Wno-unused-command-line-argument")
    objects = compile_objects(replace(target, cflags=quiet), texts, [], folder / "objects")
    return shared_library(target, objects, folder / "image", exports=[*exports, COUNTER])


def _counting(lines: Sequence[str]) -> Iterator[str]:
    block: list[str] = []
    for line in lines:
        if _LABEL.match(line):
            yield from _counted(block)
            block = []
        block.append(line)
        if _JUMP.match(line):
            yield from _counted(block)
            block = []
    yield from _counted(block)


def _counted(block: Sequence[str]) -> Iterator[str]:
    size = sum(1 for line in block if _INSTRUCTION.match(line))
    for line in block:
        if size and _INSTRUCTION.match(line):
            yield _ADDITION.format(size, COUNTER)
            size = 0
        yield line
