"""quantize: every number an integer, one scale per neuron."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from drawn_networks import float_networks
from hypothesis import given, settings
from hypothesis import strategies as st
from network_texts import applied, assert_becomes, read
from networks import cuba, f32, feed_forward, l2mu, lif, samples
from quantizing import KINDS, folded

from l2mu_compile.errors import ModelError, UsageError
from l2mu_compile.interpreter import run
from l2mu_compile.network import READOUT_RULES, Input, Network, Population, Readout
from l2mu_compile.passbase import Context
from l2mu_compile.passes.quantize import Quantize
from l2mu_compile.pipeline import parse_pipeline
from l2mu_compile.projection import Projection
from l2mu_compile.verify import verify


def test_a_small_network() -> None:
    # x: twice a range of 4 fits int16 at 2^11. Every neuron's largest weight from spikes becomes
    # 127, which gives its threshold and bias; its samples' weights get a power of two more. As they
    # are, all sums fit int16.
    assert_becomes(
        Quantize(),
        """
        network n stage=folded window=none
          input      x : f32[1] low=-4.0 high=2.0
          population h : lif[2] beta=0.5 threshold=1.0 reset=subtract bias=@h.bias
          population out : lif[2] beta=0.75 threshold=1.0 reset=zero
          projection x -> h : dense[2,1] @h.x
          projection h -> h : dense[2,2] @h.h.last delay=1
          projection h -> out : dense[2,2] @out.h
          readout    out : spike_count
        h.bias = [1.0, -0.01]
        h.x = [[0.5], [0.25]]
        h.h.last = [[2.0, -1.0], [0.0, 0.5]]
        out.h = [[1.0, -1.0], [0.5, 0.25]]
        """,
        """
        network n stage=quantized window=none
          input      x : f32[1] low=-4.0 high=2.0 fraction=11
          population h : lif[2] beta=16384 threshold=@h.threshold reset=subtract bias=@h.bias membrane_bits=14
          population out : lif[2] beta=24576 threshold=@out.threshold reset=zero membrane_bits=14
          projection x -> h : dense[2,1] @h.x shift=@h.x.shift
          projection h -> h : dense[2,2] @h.h.last delay=1
          projection h -> out : dense[2,2] @out.h
          readout    out : spike_count
        h.threshold = [64, 254]
        h.bias = [64, -3]
        out.threshold = [127, 254]
        h.x = [[127], [127]]
        h.x.shift = [13, 12]
        h.h.last = [[127, -64], [0, 127]]
        out.h = [[127, -127], [127, 64]]
        """,  # noqa: E501
    )


REFUSED = {
    "bits=0": "bits must be 8, 4 or 2, not 0",
    "bits=5": "bits must be 8, 4 or 2, not 5",
    "bits=16": "bits must be 8, 4 or 2, not 16",
    "weights=log": "weights must be uniform or shift, not log",
    "decay=q8": "decay must be q15 or shift, not q8",
    "weights=shift": "weights=shift are weights of 4 bits: give bits=4",
    "bits=2,weights=shift": "weights=shift are weights of 4 bits: give bits=4",
    "share=-0.1": "share must be from 0 to 1, not -0.1",
    "share=1.5": "share must be from 0 to 1, not 1.5",
    "clip=-0.1": "clip must be from 0 to 0.5, not -0.1",
    "clip=0.6": "clip must be from 0 to 0.5, not 0.6",
    "search=-1": "search must be from 0 to 1024, not -1",
    "projections=out.h": "cannot read 'out.h'; write h.m:4+u.m:2",
    "projections=out.h:3": "cannot read 'out.h:3'",
    "projections=:4": "cannot read ':4'",
    "projections=out.h:4+out.h:2": "cannot read 'out.h:2'; write h.m:4+u.m:2, each name once",
}


@pytest.mark.parametrize("options", REFUSED)
def test_options_that_mean_nothing_are_refused(options: str) -> None:
    with pytest.raises(UsageError, match="^quantize: .*" + re.escape(REFUSED[options])):
        parse_pipeline(f"quantize{{{options}}}")


def on_the_integer_grid(reset: str, kind: str) -> Network:
    """Integer weights with a 127 in every row: every scale is one, so nothing is rounded.

    Decays of 0 or 1 leave no fraction behind either.
    """
    rng = np.random.default_rng(3)
    sizes = {"x": 3, "h": 8, "out": 3}

    def weights(target: str, source: str) -> np.ndarray:
        values = rng.integers(-126, 127, (sizes[target], sizes[source]))
        values[:, rng.integers(0, sizes[source])] = 127
        return f32(values)

    def population(name: str) -> Population:
        size = sizes[name]
        threshold = rng.integers(50, 200, size)
        beta = rng.integers(0, 2, size)
        alpha = rng.integers(0, 2, size) if kind == "cuba" else None
        neuron = (
            lif(beta, threshold, reset) if alpha is None else cuba(alpha, beta, threshold, reset)
        )
        return Population(name, (size,), neuron, f32(rng.integers(-30, 30, size)))

    return Network(
        "grid",
        Input("x", 3, low=-2.0, high=2.0),
        (population("h"), population("out")),
        (
            Projection("x", "h", weights("h", "x")),
            Projection("h", "h", weights("h", "h"), delay=1),
            Projection("h", "out", weights("out", "h")),
        ),
        Readout("out"),
        stage="folded",
    )


@pytest.mark.parametrize(
    ("reset", "kind"),
    [
        ("subtract", "lif"),
        ("zero", "lif"),
        ("none", "lif"),
        ("subtract", "cuba"),
        ("zero", "cuba"),
        ("clamp", "cuba"),
    ],
)
def test_networks_on_the_integer_grid_spike_exactly_as_before(reset: str, kind: str) -> None:
    network = on_the_integer_grid(reset, kind)
    quantized = applied(Quantize(), network)
    x = f32(np.clip(np.round(samples(network, 4, 20)), -2, 2))
    before, after = (run(n, x, ("spikes", "membranes")) for n in (network, quantized))
    for name, spikes in before.spikes.items():
        assert np.array_equal(spikes, after.spikes[name])
        assert np.array_equal(before.membranes[name], after.membranes[name])
    assert before.spike_totals["out"] > 0
    assert np.array_equal(before.decisions, after.decisions)


def test_weights_are_within_half_a_step() -> None:
    network = folded(l2mu(sensors=None))
    quantized = applied(Quantize(), network)
    for before, after in zip(network.projections, quantized.projections, strict=True):
        if before.source == "x":
            continue
        neuron = network.population(before.target).neuron
        threshold = quantized.population(before.target).neuron.threshold
        scale = np.broadcast_to(threshold / neuron.threshold, before.shape[0]).astype(float)
        error = after.dense() - before.dense() * scale[:, None]
        # The threshold itself is rounded, by at most half a level.
        slack = np.abs(before.dense()) * (0.5 / neuron.threshold)
        assert (np.abs(error) <= 0.5 + slack).all()


def test_shared_blocks_stay_shared() -> None:
    network = folded(l2mu())
    quantized = applied(Quantize(), network)
    assert [p.shared for p in quantized.projections] == [p.shared for p in network.projections]


@pytest.mark.parametrize("rule", [rule for rule in READOUT_RULES if rule != "spike_count"])
def test_membranes_that_are_compared_share_one_scale(rule: str) -> None:
    network = folded(feed_forward(rule=rule))
    uneven = replace(network.projections[1], weight=f32([[1.5, 1, 0], [0.25, 0, 0.125]]))
    quantized = applied(Quantize(), network.replace(projections=(network.projections[0], uneven)))
    # Alone, the second neuron would get six times the first one's scale.
    assert quantized.projections[1].weight.tolist() == [[127, 85, 0], [21, 0, 11]]
    assert quantized.population("out").neuron.threshold == 85


def test_the_result_decides_like_the_original() -> None:
    network = folded(l2mu())
    quantized = applied(Quantize(), network.replace(input=replace(network.input, low=-8, high=8)))
    x = samples(network, windows=50, steps=30)
    agree = run(network, x).decisions == run(quantized, x).decisions
    assert agree.mean() >= 0.8


@settings(max_examples=60)
@given(
    float_networks(),
    st.sampled_from([0.001, 1.0, 1e6]),
    st.sampled_from(KINDS),
    st.sampled_from([0, 2]),
)
def test_any_network_becomes_a_valid_integer_one(
    network: Network, reach: float, kind: dict[str, Any], search: int
) -> None:
    network = folded(network.replace(input=replace(network.input, low=-reach, high=reach)))
    windows = f32(reach * np.clip(samples(network, 2, network.window or 7), -1, 1))
    quantized = Quantize(**kind, search=search).apply(network, Context(samples=windows))
    verify(quantized)
    assert quantized.quantized
    computed = {n: a for n, a in quantized.tensors().items() if not n.startswith("x.")}
    assert not any(np.issubdtype(array.dtype, np.floating) for array in computed.values())


def test_options_bound_thresholds_and_membranes() -> None:
    # Weights this small leave the threshold as the binding limit.
    network = folded(feed_forward(lif(0.5, 1000)))
    quantized = applied(Quantize(threshold_limit=500, membrane_bits=20, narrow=False), network)
    assert quantized.population("h").neuron.threshold == 500
    assert {p.membrane_bits for p in quantized.populations} == {20}


def test_a_coarse_threshold_is_noted() -> None:
    notes: list[str] = []
    network = folded(feed_forward(lif(0.5, 0.01)))
    Quantize().apply(network, Context(note=notes.append))
    # Largest weights of 1.5 become 127, so that 0.01 becomes 1.
    assert any("out has a threshold of only 1 levels" in note for note in notes)


def test_margins_that_came_before_are_noted() -> None:
    notes: list[str] = []
    network = folded(feed_forward())
    Quantize().apply(network, Context(note=notes.append))
    assert not any("margins" in note for note in notes)
    readout = replace(network.readout, margins=(2,) * network.classes)
    Quantize().apply(network.replace(readout=readout), Context(note=notes.append))
    assert any("run early-exit after it" in note for note in notes)


def test_a_traced_network_is_refused() -> None:
    with pytest.raises(ModelError, match="quantize needs a folded network: run fold-input"):
        Quantize().apply(feed_forward(), Context())


def test_a_quantized_network_is_left_alone() -> None:
    network = read(
        """
        network n stage=quantized window=none
          input      x : f32[1] fraction=3
          population h : lif[1] beta=16384 threshold=5 reset=subtract membrane_bits=16
          projection x -> h : dense[1,1] @h.x
          readout    h : spike_count
        h.x = [[3]]
        """
    )
    assert applied(Quantize(), network) is network
