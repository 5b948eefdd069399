"""Which kernel sets a processor can run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from kernel_machines import sources

from l2mu_compile.errors import ToolchainError
from l2mu_compile.targets.host import host_target
from l2mu_compile.targets.kernel_sets import (
    NEEDED_MACROS,
    are_portable,
    usable_sets,
    with_usable_sets,
)
from l2mu_compile.targets.kernel_table import KERNEL_DIR
from l2mu_compile.targets.refine import refined
from l2mu_compile.targets.registry import TARGETS, get_target
from l2mu_compile.targets.toolchain import compile_objects


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_can_run_its_sets(name: str) -> None:
    """Those of its record, if that does not leave the processor open."""
    target = get_target(name)
    assert with_usable_sets(target).kernel_sets == usable_sets(target)
    assert usable_sets(target) == target.kernel_sets or target.cpu == "native"


@pytest.mark.parametrize(
    ("cpu", "usable"),
    [
        ("x86_64_v2", ("ref",)),
        ("x86_64_v3", ("avx2", "ref")),
        ("x86_64_v4", ("avx512", "avx2", "ref")),
        ("icelake_server", ("vnni", "avx512", "avx2", "ref")),
    ],
)
def test_a_host_has_the_sets_of_its_processor(cpu: str, usable: tuple[str, ...]) -> None:
    host = replace(host_target("x86_64", "linux", 8), triple="x86_64-linux-musl")
    assert refined(host, mcpu=cpu).kernel_sets == usable
    assert refined(host, mcpu="x86_64", mattr="+avx2").kernel_sets == ("avx2", "ref")


SOME = ("dsp", "dotprod", "neon", "neon32", "neon64", "ref")


@pytest.mark.parametrize(
    ("name", "usable"),
    [
        ("cortex-m0plus", ("ref",)),
        ("cortex-m3", ("ref",)),
        ("cortex-m4", ("dsp", "ref")),
        ("cortex-m55", ("dsp", "ref")),
        ("cortex-a7", ("dsp", "neon", "neon32", "ref")),
        ("cortex-a53", ("neon", "neon64", "ref")),
        ("cortex-a76", ("dotprod", "neon", "neon64", "ref")),
        ("host", ("ref",)),
    ],
)
def test_sets_that_a_processor_cannot_run_are_left_out(name: str, usable: tuple[str, ...]) -> None:
    target = replace(get_target(name), kernel_sets=SOME, optional_sets=())
    assert with_usable_sets(target).kernel_sets == usable


@pytest.mark.parametrize("name", ["cortex-a53", "cortex-a76", "linux-aarch64", "android-arm64-v8a"])
def test_dot_products_are_for_processors_that_have_them(name: str) -> None:
    target, sets = get_target(name), ("neon64", "neon", "ref")
    assert target.kernel_sets in (sets, ("dotprod", *sets))
    assert refined(target, mcpu="cortex-a72").kernel_sets == sets
    assert refined(target, mcpu="cortex-a55").kernel_sets == ("dotprod", *sets)
    assert refined(target, mcpu="cortex-a53", mattr="+dotprod").kernel_sets == ("dotprod", *sets)


FOREIGN = {
    **{"m0": "cortex-a53", "dsp": "cortex-m3", "mve": "cortex-m4"},
    **{"neon": "cortex-m4", "neon32": "cortex-a53", "neon64": "cortex-a7"},
    **{"avx2": "cortex-a53", "avx512": "cortex-a53", "vnni": "cortex-a53"},
    "dotprod": "cortex-a72",
}


@pytest.mark.parametrize("kernel_set", FOREIGN)
def test_sources_for_another_processor_say_so_before_anything_else(
    tmp_path: Path, kernel_set: str
) -> None:
    for name in sources([kernel_set]):
        with pytest.raises(ToolchainError) as caught:
            compile_objects(get_target(FOREIGN[kernel_set]), [KERNEL_DIR / name], [], tmp_path)
        first = str(caught.value).partition("error: ")[2].splitlines()[0]
        assert first.endswith('compile the network for this processor, see --target"')


def test_sources_are_portable_if_no_kernel_is_of_another_set() -> None:
    portable = ["har_dsp.c", *sources(["ref"])]
    assert are_portable(portable)
    assert not any(are_portable([*portable, name]) for name in sources(list(FOREIGN)))


def test_every_set_says_what_it_needs() -> None:
    assert {s for target in TARGETS.values() for s in target.kernel_sets} == set(NEEDED_MACROS)
    assert set(FOREIGN) == set(NEEDED_MACROS) - {"ref"}
