"""fold-input: scale and offset move into the first weights and biases."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from network_texts import applied, assert_becomes
from networks import f32, feed_forward, l2mu, samples

from l2mu_compile.interpreter import run
from l2mu_compile.network import Input
from l2mu_compile.passes.fold_input import FoldInput


def test_scale_and_offset_become_weights_and_bias() -> None:
    assert_becomes(
        FoldInput(),
        """
        network n stage=traced window=none
          input      x : f32[2] scale=@x.scale offset=1.0
          population h : lif[2] beta=0.5 threshold=1.0 reset=subtract bias=@h.bias
          population out : lif[1] beta=0.5 threshold=1.0 reset=subtract
          projection x -> h : dense[2,2] @h.x
          projection h -> out : dense[1,2] @out.h
          readout    out : spike_count
        x.scale = [2.0, 4.0]
        h.bias = [0.5, 0.0]
        h.x = [[1.0, 2.0], [3.0, -3.0]]
        out.h = [[1.0, 1.0]]
        """,
        """
        network n stage=folded window=none
          input      x : f32[2] unit=@x.unit center=@x.center
          population h : lif[2] beta=0.5 threshold=1.0 reset=subtract bias=@h.bias
          population out : lif[1] beta=0.5 threshold=1.0 reset=subtract
          projection x -> h : dense[2,2] @h.x
          projection h -> out : dense[1,2] @out.h
          readout    out : spike_count
        x.unit = [0.5, 0.25]
        x.center = [-0.5, -0.25]
        h.bias = [3.5, 0.0]
        h.x = [[2.0, 8.0], [6.0, -12.0]]
        out.h = [[1.0, 1.0]]
        """,
    )


def test_a_shared_block_becomes_distinct_ones_where_channels_differ() -> None:
    assert_becomes(
        FoldInput(),
        """
        network n stage=traced window=none
          input      x : f32[2] scale=@x.scale
          population h : lif[4] beta=0.5 threshold=1.0 reset=subtract
          projection x -> h : blocks[2,1]x2 @h.x
          readout    h : spike_count
        x.scale = [2.0, 4.0]
        h.x = [[1.0], [3.0]]
        """,
        """
        network n stage=folded window=none
          input      x : f32[2] unit=@x.unit
          population h : lif[4] beta=0.5 threshold=1.0 reset=subtract
          projection x -> h : blocks[2,2,1] @h.x
          readout    h : spike_count
        x.unit = [0.5, 0.25]
        h.x = [[[2.0], [6.0]], [[4.0], [12.0]]]
        """,
    )


def test_without_scale_and_offset_only_the_stage_changes() -> None:
    network = feed_forward()
    assert applied(FoldInput(), network) == network.replace(stage="folded")


@pytest.mark.parametrize(
    ("scale", "offset"),
    [(None, None), (-0.5, None), (None, 3.0), (0.25, -8.0), ([0.5, -0.25], [1.0, 2.0])],
)
def test_raw_samples_stay_known(scale: Any, offset: Any) -> None:
    entry = Input("x", 2, scale=scale and f32(scale), offset=offset and f32(offset))
    network = feed_forward().replace(input=entry)
    x = np.array([[1.0, -4.0], [0.0, 2.5]])
    raw = entry.raw(x)
    converted = raw if entry.scale is None else raw * entry.scale
    assert np.array_equal(converted if entry.offset is None else converted + entry.offset, x)
    assert np.array_equal(applied(FoldInput(), network).input.raw(x), raw)


def test_a_population_without_offset_current_gets_no_bias() -> None:
    network = feed_forward().replace(input=Input("x", 2, offset=f32([1, -1])))
    weight = f32([[1, 1], [2, 2], [0, 0]])
    first = replace(network.projections[0], weight=weight)
    network = network.replace(projections=(first, network.projections[1]))
    assert applied(FoldInput(), network).population("h").bias is None


def test_the_folded_network_runs_the_same_on_numbers_that_do_not_round() -> None:
    network = l2mu(sensors=(0.5, 0.25))
    x = f32(np.round(samples(network, steps=6)))
    before, after = (run(n, x, ("membranes",)) for n in (network, applied(FoldInput(), network)))
    for name, membranes in before.membranes.items():
        assert np.array_equal(membranes, after.membranes[name])
    assert before.spike_totals["out"] > 0


def test_rounding_is_all_that_is_lost() -> None:
    network = feed_forward().replace(input=Input("x", 2, scale=f32(0.3), offset=f32([0.1, -0.7])))
    x = samples(network)
    before, after = (run(n, x, ("membranes",)) for n in (network, applied(FoldInput(), network)))
    assert np.allclose(before.membranes["h"], after.membranes["h"], rtol=0, atol=1e-5)
