"""Which kernel sets a processor can run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from kernel_machines import sources

from l2mu_compile.errors import ToolchainError
from l2mu_compile.targets.kernel_sets import NEEDED_MACROS, are_portable, with_usable_sets
from l2mu_compile.targets.kernel_table import KERNEL_DIR
from l2mu_compile.targets.registry import TARGETS, get_target
from l2mu_compile.targets.toolchain import compile_objects


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_can_run_the_sets_of_its_record(name: str) -> None:
    assert with_usable_sets(get_target(name)) == get_target(name)


@pytest.mark.parametrize(
    ("name", "usable"),
    [
        ("cortex-m0plus", ("ref",)),
        ("cortex-m3", ("ref",)),
        ("cortex-m4", ("dsp", "ref")),
        ("cortex-m55", ("dsp", "ref")),
        ("cortex-a7", ("dsp", "neon", "neon32", "ref")),
        ("cortex-a53", ("neon", "neon64", "ref")),
        ("host", ("ref",)),
    ],
)
def test_sets_that_a_processor_cannot_run_are_left_out(name: str, usable: tuple[str, ...]) -> None:
    target = replace(get_target(name), kernel_sets=("dsp", "neon", "neon32", "neon64", "ref"))
    assert with_usable_sets(target).kernel_sets == usable


FOREIGN = {
    **{"m0": "cortex-a53", "dsp": "cortex-m3", "mve": "cortex-m4"},
    **{"neon": "cortex-m4", "neon32": "cortex-a53", "neon64": "cortex-a7"},
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
