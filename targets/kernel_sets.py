"""Which processors can run which kernel sets: by the macros that C compilers define for them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from l2mu_compile.targets.record import Target
from l2mu_compile.targets.toolchain import macros

NEEDED_MACRO = {
    "ref": None,
    "dsp": "__ARM_FEATURE_DSP",
    "avx2": "__AVX2__",
    "avx512": "__AVX512BW__",
}


def usable_sets(target: Target) -> tuple[str, ...]:
    """Kernel sets that ``target`` can run: those of its record, or what this machine has of them.

    Raises `ToolchainError` if the compiler does not run.
    """
    return _of_this_machine(target) if target.cpu == "native" else target.kernel_sets


def with_usable_sets(target: Target) -> Target:
    """``target`` with those of its kernel sets that its processor and features can run.

    Raises `ToolchainError` if the compiler does not know the processor.
    """
    defined = macros(target)
    usable = [name for name in target.kernel_sets if NEEDED_MACRO[name] in (None, *defined)]
    return replace(target, kernel_sets=tuple(usable))


@cache
def _of_this_machine(target: Target) -> tuple[str, ...]:
    return with_usable_sets(target).kernel_sets
