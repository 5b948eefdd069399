"""quantize: samples as integers, whatever is known of their range."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from network_texts import applied
from networks import f32, feed_forward
from quantizing import calibrated, folded

from l2mu_compile.interpreter import run
from l2mu_compile.network import Input
from l2mu_compile.passbase import Context
from l2mu_compile.passes.quantize import Quantize
from l2mu_compile.verify import verify


@pytest.mark.parametrize(
    ("scale", "offset", "fraction"),
    [
        (None, None, 10),  # ±16 in int16
        (2.0**-10, None, 0),  # ±2^14 counts
        (-(2.0**-10), None, 0),
        (2.0**-10, 16.0, -1),  # from -2^15 to 0 counts
        ([2.0**-10, 2.0**-4], [0.0, 0.0], 0),  # the channel with the largest counts
        (2.0**10, None, 20),
    ],
)
def test_without_calibration_the_range_is_in_the_models_units(
    scale: Any, offset: Any, fraction: int
) -> None:
    entry = Input("x", 2, scale=scale and f32(scale), offset=offset and f32(offset))
    notes: list[str] = []
    network = folded(feed_forward().replace(input=entry))
    quantized = Quantize().apply(network, Context(note=notes.append))
    assert quantized.input.fraction == fraction
    assert notes[0].startswith("quantize: no calibration data; samples are assumed within ±16")
    assert ("in the model's units, ±" in notes[0]) == (scale is not None)


@pytest.mark.parametrize(
    ("low", "high", "headroom", "fraction"),
    [(-1, 1, 1, 14), (-1, 1, 2, 13), (-3, 1, 1, 13), (0, 0, 2, 14), (-1e9, 1, 1, -15)],
)
def test_samples_get_the_largest_power_of_two_that_leaves_headroom(
    low: float, high: float, headroom: float, fraction: int
) -> None:
    network = folded(feed_forward())
    network = network.replace(input=replace(network.input, low=low, high=high))
    assert applied(Quantize(headroom=headroom), network).input.fraction == fraction


@given(
    sizes=st.lists(st.floats(2**-8, 2**8, width=32), min_size=40, max_size=40),
    clip=st.sampled_from([0.01, 0.05, 0.3]),
)
def test_the_finest_samples_of_which_a_share_saturates(sizes: list[float], clip: float) -> None:
    network, x = folded(feed_forward()), f32(sizes).reshape(4, 5, 2) * [-1, 1]
    fraction = Quantize(headroom=1, clip=clip).apply(network, Context(samples=x)).input.fraction
    assert fraction is not None

    def saturated(bits: int) -> float:
        return float((np.abs(x) > 32767 * 2.0**-bits).mean())

    assert saturated(fraction) <= clip
    assert saturated(fraction + 1) > clip


def test_wild_samples_are_noted_and_saturate() -> None:
    """Two of 400, where the range that was calibrated is that of all."""
    network = calibrated(feed_forward(), 64)
    x = np.full((2, 100, 2), 1.5, np.float32)
    x[1, 7], notes = [-50, 60], list[str]()
    context = Context(samples=x, note=notes.append)
    assert Quantize(headroom=1).apply(network, context).input.fraction == 8
    assert notes == []
    clipped = Quantize(headroom=1, clip=0.005).apply(network, context)
    verify(clipped)
    assert clipped.input.fraction == 14
    assert notes == ["quantize: samples beyond ±1.99994 saturate, 0.5 % of those given"]
    whole, within = (run(clipped, s, ("membranes",)) for s in (x, np.clip(x, -2, 2)))
    for name, membranes in whole.membranes.items():
        assert np.array_equal(membranes, within.membranes[name])
    assert Quantize(clip=0.005).apply(network, context).input.fraction == 13
    assert Quantize(headroom=1, clip=0.004).apply(network, context).input.fraction == 9


def test_without_calibration_a_range_is_assumed_and_said_so() -> None:
    notes: list[str] = []
    quantized = Quantize(input_range=8).apply(folded(feed_forward()), Context(note=notes.append))
    assert quantized.input.fraction == 11
    assert "samples are assumed within ±8 and clipped beyond" in notes[0]
