"""Which processors can run which kernel sets: by the macros that C compilers define for them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from functools import cache

from l2mu_compile.targets.kernel_table import functions_in
from l2mu_compile.targets.record import Target
from l2mu_compile.targets.toolchain import macros

NEEDED_MACROS = {
    "ref": (),
    "dsp": ("__ARM_FEATURE_DSP",),
    "fpu": ("__ARM_FP", "__arm__"),
    "neon": ("__ARM_NEON",),
    "neon32": ("__ARM_NEON", "__arm__"),
    "neon64": ("__ARM_NEON", "__aarch64__"),
    "dotprod": ("__ARM_FEATURE_DOTPROD", "__aarch64__"),
    "m0": ("__thumb__",),
    "mve": ("__ARM_FEATURE_MVE",),
    "avx2": ("__AVX2__", "__x86_64__"),
    "avx512": ("__AVX512BW__", "__AVX512VL__", "__x86_64__"),
    "vnni": ("__AVX512VNNI__", "__AVX512BW__", "__AVX512VL__", "__x86_64__"),
}

_PARTS = re.compile(
    rf"l2mu_(?P<operation>\w+?)(?P<numbers>(_[fis]\d+)*)(_(?P<set>{'|'.join(NEEDED_MACROS)}))?"
)


def parts(kernel: str) -> tuple[str, str, str]:
    """Operation, numbers and set of a kernel: ``accumulate_dense``, ``i8_i16``, ``dsp``.

    Raises ValueError for what is not named like one.
    """
    match = _PARTS.fullmatch(kernel)
    if match is None:
        raise ValueError(f"{kernel} is not named like a kernel")
    return match["operation"], match["numbers"].removeprefix("_"), match["set"] or "ref"


def usable_sets(target: Target) -> tuple[str, ...]:
    """Kernel sets that ``target`` can run: those of its record, or what this machine has of them.

    Raises `ToolchainError` if the compiler does not run.
    """
    return _of_this_machine(target) if target.cpu == "native" else target.kernel_sets


def are_portable(sources: Iterable[str]) -> bool:
    """Whether C files of these names are for every processor: their kernels are all of ``ref``."""
    return all(parts(name)[2] == "ref" for name in functions_in(sources))


def with_usable_sets(target: Target) -> Target:
    """``target`` with those of its kernel sets that its processor and features can run.

    Raises `ToolchainError` if the compiler does not know the processor.
    """
    defined = set(macros(target))
    usable = [name for name in target.kernel_sets if defined.issuperset(NEEDED_MACROS[name])]
    return replace(target, kernel_sets=tuple(usable))


@cache
def _of_this_machine(target: Target) -> tuple[str, ...]:
    return with_usable_sets(target).kernel_sets
