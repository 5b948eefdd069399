"""Which kernel sets a processor can run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from l2mu_compile.targets.kernel_sets import NEEDED_MACROS, with_usable_sets
from l2mu_compile.targets.registry import TARGETS, get_target


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


def test_every_set_says_what_it_needs() -> None:
    assert {s for target in TARGETS.values() for s in target.kernel_sets} == set(NEEDED_MACROS)
