"""Refined targets: what the flags say is what the compiler builds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile

from l2mu_compile.errors import ToolchainError, UsageError
from l2mu_compile.targets.record import Target
from l2mu_compile.targets.refine import refined
from l2mu_compile.targets.registry import get_target
from l2mu_compile.targets.toolchain import compile_objects

SOURCE = "float twice(float x) { return x * 2.0f + 1.0f; }\n"
FPU, VFP_CALLS = "TAG_FP_ARCH", "TAG_ABI_VFP_ARGS"


def attributes(target: Target, folder: Path) -> dict[str, Any]:
    source = folder / "twice.c"
    source.write_text(SOURCE)
    (built,) = compile_objects(target, [source], [], folder / "objects")
    with built.open("rb") as file:
        section = ELFFile(file).get_section_by_name(".ARM.attributes")
        (part,) = section.subsections[0].subsubsections
        return {a.tag: a.value for a in part.attributes}


@pytest.mark.parametrize(
    ("name", "abi", "fpu", "vfp_calls"),
    [
        ("cortex-m4", None, False, False),
        ("cortex-m4f", None, True, True),
        ("cortex-m4f", "softfp", True, False),
        ("cortex-m4f", "soft", False, False),
        ("cortex-m4f", "hard", True, True),
        ("cortex-m33", "softfp", True, False),
        ("cortex-m55", "soft", False, False),
    ],
)
def test_calling_conventions(
    name: str, abi: str | None, fpu: bool, vfp_calls: bool, tmp_path: Path
) -> None:
    found = attributes(refined(get_target(name), float_abi=abi), tmp_path)
    assert (FPU in found, VFP_CALLS in found) == (fpu, vfp_calls)


def test_a_processor_and_features_in_clangs_spelling(tmp_path: Path) -> None:
    target = refined(get_target("cortex-m4"), mcpu="cortex-m35p", mattr="+fp-armv8d16sp")
    assert target.cpu == "cortex_m35p+fp_armv8d16sp"
    found = attributes(refined(target, float_abi="hard"), tmp_path)
    assert found["TAG_CPU_NAME"] == "cortex-m35p"
    assert FPU in found
    assert VFP_CALLS in found


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cortex-m4", {"mcpu": "a;b"}, "--mcpu a;b: not the name"),
        ("cortex-m4", {"mattr": "dsp"}, "write [+]feature"),
        ("cortex-m4", {"mattr": "+dsp -o x"}, "write [+]feature"),
        ("cortex-m4", {"float_abi": "firm"}, "one of soft, softfp, hard"),
        ("cortex-m4", {"float_abi": "hard"}, "has no FPU"),
        ("cortex-a53", {"float_abi": "soft"}, "only one calling convention"),
        ("cortex-a7", {"float_abi": "soft"}, "only one calling convention"),
        ("host", {"float_abi": "soft"}, "only one calling convention"),
    ],
)
def test_refusals(name: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        refined(get_target(name), **options)


@pytest.mark.parametrize(
    ("name", "options", "sets"),
    [
        ("cortex-m33", {"mattr": "-dsp"}, ("fpu", "ref")),
        ("cortex-m33", {"float_abi": "soft"}, ("dsp", "ref")),
        ("cortex-m33", {"float_abi": "softfp"}, ("dsp", "fpu", "ref")),
        ("cortex-m55", {"float_abi": "soft"}, ("mve", "dsp", "ref")),
        ("cortex-m4", {"mcpu": "cortex-m3"}, ("ref",)),
        ("cortex-m4", {"mcpu": "cortex-m7", "mattr": "+fp64"}, ("dsp", "ref")),
        ("cortex-m4", {"mattr": "+vfp4d16sp"}, ("dsp", "ref")),
        ("cortex-m4", {}, ("dsp", "ref")),
    ],
)
def test_kernel_sets_that_the_processor_runs(
    name: str, options: dict[str, str], sets: tuple[str, ...]
) -> None:
    assert refined(get_target(name), **options).kernel_sets == sets


def test_unknown_processor() -> None:
    with pytest.raises(ToolchainError, match="cortex_m99"):
        refined(get_target("cortex-m4"), mcpu="cortex-m99")
