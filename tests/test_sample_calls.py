"""The calls that convert samples."""

from __future__ import annotations

import pytest
from exactness import kernels_and_memory
from networks import (
    feed_forward,
    integer_toy,
    planned,
)

from l2mu_compile.lowering import lower
from l2mu_compile.program import Call, Place
from l2mu_compile.sample_calls import count_scale


def test_samples_become_what_the_network_computes_with() -> None:
    program = lower(planned(feed_forward()))
    assert (program.sample_ctype, program.from_floats) == ("float", None)
    arguments = (Place("converted"), 2, Place("counts"))
    assert program.from_counts == Call("l2mu_convert_counts", arguments, "x")
    program = lower(kernels_and_memory(integer_toy()))
    assert program.sample_ctype == "int16_t"
    sample = (Place("converted"), 2, Place("sample"), 4)
    assert program.from_floats == Call("l2mu_quantize_sample", sample, "x")
    assert program.from_counts == Call("l2mu_quantize_counts", (*arguments, 16, 0), "x")


@pytest.mark.parametrize(
    ("fraction", "scale"),
    [(0, (1, 0)), (5, (32, 0)), (16, (65536, 0)), (99, (65536, 0)), (-4, (1, 4)), (-99, (1, 17))],
)
def test_the_scale_of_counts(fraction: int, scale: tuple[int, int]) -> None:
    assert count_scale(fraction) == scale
