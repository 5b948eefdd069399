"""Code that counts its own instructions counts what there is, and computes what it did."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from l2mu_compile.targets.host import HOST
from l2mu_compile.targets.registry import get_target

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))  # after the tests' own modules

from counted_code import COUNTER, cannot_count, counting_library

TARGET = get_target("android-x86_64")
CANNOT = cannot_count(TARGET)
HERE = pytest.mark.skipif(bool(CANNOT), reason=CANNOT)

SOURCE = r"""
#include <string.h>

__attribute__((naked)) int loop(void)
{
    __asm__("\tmovl $10, %eax\n"
            "1:\n"
            "\tdecl %eax\n"
            "\tjne 1b\n"
            "\tretq\n");
}

/* Flags of one comparison decide twice, and are kept beside the stack. */
__attribute__((naked)) int order(int a, int b)
{
    __asm__("\tmovl $7, -8(%rsp)\n"
            "\tcmpl %esi, %edi\n"
            "\tjl 1f\n"
            "\tje 2f\n"
            "\tmovl -8(%rsp), %eax\n"
            "\tretq\n"
            "1:\n"
            "\tmovl $-1, %eax\n"
            "\tretq\n"
            "2:\n"
            "\txorl %eax, %eax\n"
            "\tretq\n");
}

int cleared(char *bytes, int size)
{
    (void)memset(bytes, 0, (size_t)size);
    return bytes[size - 1];
}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    folder = tmp_path_factory.mktemp("counted")
    source = folder / "code.c"
    source.write_text(SOURCE, encoding="utf-8")
    target = replace(TARGET, cflags=("-Wno-unused-parameter",))
    names = ("loop", "order", "cleared")
    return ctypes.CDLL(str(counting_library(target, [source], [], folder, names)))


def counted(library: ctypes.CDLL, function: str, *arguments: object) -> tuple[int, int]:
    """What a function returns, and its instructions."""
    counter = ctypes.c_uint64.in_dll(library, COUNTER)
    counter.value = 0
    found = library[function](*arguments)
    return found, counter.value


@HERE
def test_every_turn_of_a_loop_counts(library: ctypes.CDLL) -> None:
    assert counted(library, "loop") == (0, 1 + 10 * 2 + 1)


@HERE
@pytest.mark.parametrize(("a", "b", "expected"), [(1, 2, (-1, 5)), (2, 2, (0, 6)), (3, 2, (7, 6))])
def test_counting_changes_nothing_that_is_read(
    library: ctypes.CDLL, a: int, b: int, expected: tuple[int, int]
) -> None:
    assert counted(library, "order", a, b) == expected


@HERE
def test_functions_that_the_compiler_calls_count(library: ctypes.CDLL) -> None:
    memory = ctypes.create_string_buffer(b"x" * 4096, 4096)
    last, few = counted(library, "cleared", memory, 64)
    assert (last, memory.raw[:65]) == (0, bytes(64) + b"x")
    assert counted(library, "cleared", memory, 4096)[1] > few + (4096 - 64) / 64


def test_what_is_not_for_x86_64_is_not_counted_here() -> None:
    assert "only code for x86-64" in cannot_count(get_target("cortex-m4"))


def test_a_missing_kernel_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("counted_code.HOST", replace(HOST, arch="x86_64"))
    monkeypatch.setattr("counted_code.usable_sets", lambda _: ("avx2", "ref"))
    target = replace(TARGET, kernel_sets=("vnni", "avx512", "avx2", "ref"))
    assert cannot_count(target) == "this machine has no vnni, avx512"
    assert not cannot_count(TARGET)
