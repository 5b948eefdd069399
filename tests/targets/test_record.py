"""Target records: they hold together, and the registry finds them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from l2mu_compile.errors import UsageError
from l2mu_compile.targets.cortex_a import CORTEX_A7
from l2mu_compile.targets.cortex_m import CORTEX_M4
from l2mu_compile.targets.host import HOST
from l2mu_compile.targets.record import Memory, Region, Target
from l2mu_compile.targets.registry import TARGETS, get_target

ROM = Region(0, 4096)


def test_every_registered_target_is_found_under_its_name() -> None:
    for name, target in TARGETS.items():
        assert target.name == name
        assert get_target(name) is target


def test_host_runs_here_and_cortex_m4_has_no_system() -> None:
    assert HOST.emulator is None
    assert not HOST.freestanding
    assert CORTEX_M4.freestanding


@pytest.mark.parametrize("name", ["cortex-m44", "cortex_m4", "Cortex-M4"])
def test_unknown_target_lists_names_and_suggests(name: str) -> None:
    with pytest.raises(UsageError, match=r"known: host, cortex-m0plus.* mean 'cortex-m4'\?"):
        get_target(name)


def test_unknown_target_without_likeness_suggests_nothing() -> None:
    with pytest.raises(UsageError) as caught:
        get_target("zzz")
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize(
    ("base", "change", "rule"),
    [
        (HOST, {"name": "Host"}, "lower case"),
        (HOST, {"arch": "vax"}, "arch is one of"),
        (HOST, {"triple": ""}, "triple and cpu"),
        (HOST, {"pointer_bytes": 3}, "pointer_bytes"),
        (HOST, {"kernel_sets": ()}, "at least one"),
        (HOST, {"kernel_sets": ("ref", "ref")}, "none twice"),
        (HOST, {"kernel_sets": ("ref", "dsp")}, "ends in 'ref'"),
        (HOST, {"kernel_sets": ("dsp", "ref"), "optional_sets": ("dsp",)}, "none of kernel_sets"),
        (HOST, {"artifacts": ("tarball",)}, "artifacts are among"),
        (HOST, {"artifacts": ("firmware",)}, "firmware needs memory"),
        (CORTEX_M4, {"memory": None}, "firmware needs memory"),
        (CORTEX_M4, {"triple": "arm-linux-musleabi"}, "freestanding triple"),
        (CORTEX_M4, {"shared": True}, "no shared libraries"),
        (CORTEX_M4, {"artifacts": ("executable",)}, "needs an operating system"),
        (CORTEX_A7, {"emulator": CORTEX_M4.emulator}, "memory, or a shared library"),
        (CORTEX_M4, {"memory": Memory(ROM, Region(4095, 4096))}, "do not overlap"),
        (CORTEX_M4, {"memory": Memory(ROM, Region(0xFFFF_F000, 8192))}, "address space"),
        (CORTEX_M4, {"memory": Memory(ROM, Region(8192, 0))}, "not empty"),
        (CORTEX_M4, {"memory": Memory(ROM, Region(8192, 4096), 4096)}, "stack_bytes"),
    ],
)
def test_contradicting_record_names_target_and_rule(
    base: Target, change: dict[str, Any], rule: str
) -> None:
    with pytest.raises(ValueError, match=rule) as caught:
        replace(base, **change)
    assert f"target '{change.get('name', base.name)}'" in str(caught.value)


def test_emulator_model_is_checked() -> None:
    model = CORTEX_M4.emulator
    assert model is not None
    for change in ({"entry": "magic"}, {"code_bit": 2}, {"instruction_bytes": 3}):
        with pytest.raises(ValueError, match="emulator"):
            replace(CORTEX_M4, emulator=replace(model, **change))


def test_region_contains_its_addresses() -> None:
    region = Region(16, 16)
    assert 16 in region and 31 in region
    assert 15 not in region and 32 not in region
