"""quantize: every number an integer, one scale per neuron."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import (
    applied,
    assert_becomes,
    cuba,
    f32,
    feed_forward,
    float_networks,
    l2mu,
    lif,
    read,
    samples,
)

from l2mu_compile.bounds import narrow
from l2mu_compile.errors import ModelError, UsageError
from l2mu_compile.interpreter import run
from l2mu_compile.network import NARROW_BITS, READOUT_RULES, Input, Network, Population, Readout
from l2mu_compile.passbase import Context
from l2mu_compile.passes.fold_input import FoldInput
from l2mu_compile.passes.quantize import Quantize
from l2mu_compile.pipeline import parse_pipeline
from l2mu_compile.projection import Projection
from l2mu_compile.teacher import Teacher
from l2mu_compile.verify import verify

KINDS: list[dict[str, Any]] = [
    {"bits": 8, "decay": "shift"},
    {"bits": 4},
    {"bits": 4, "weights": "shift"},
    {"bits": 2},
]


def folded(network: Network) -> Network:
    return FoldInput().apply(network, Context())


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


def test_weights_of_four_bits() -> None:
    """The first neuron's are whole eighths, which a scale near 120 = 8 * 15 keeps; the second's
    are multiples of nothing. Samples and blocks keep eight bits."""
    assert_becomes(
        Quantize(bits=4),
        """
        network n stage=folded window=none
          input      x : f32[1] low=-4.0 high=2.0
          population h : lif[6] beta=0.5 threshold=1.0 reset=subtract
          population out : lif[2] beta=0.75 threshold=1.0 reset=zero
          projection x -> h : dense[6,1] @h.x
          projection h -> h : blocks[1,1]x6 @h.h.last delay=1
          projection h -> out : dense[2,6] @out.h
          readout    out : spike_count
        h.x = [[0.5], [0.5], [0.5], [0.5], [0.5], [0.5]]
        h.h.last = [[0.5]]
        out.h = [[-1.0, 0.875, 0.5, 0.375, 0.0, 0.125], [0.5, 0.375, 0.3125, -0.0625, -0.4, 0.0]]
        """,
        """
        network n stage=quantized window=none
          input      x : f32[1] low=-4.0 high=2.0 fraction=11
          population h : lif[6] beta=16384 threshold=254 reset=subtract membrane_bits=14
          population out : lif[2] beta=24576 threshold=@out.threshold reset=zero membrane_bits=14
          projection x -> h : dense[6,1] @h.x shift=11
          projection h -> h : blocks[1,1]x6 @h.h.last delay=1
          projection h -> out : dense[2,6] @out.h quantum=@out.h.quantum
          readout    out : spike_count
        out.threshold = [121, 216]
        h.x = [[127], [127], [127], [127], [127], [127]]
        h.h.last = [[127]]
        out.h = [[-120, 105, 60, 45, 0, 15], [102, 85, 68, -17, -85, 0]]
        out.h.quantum = [15, 17]
        """,
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


def grids(network: Network) -> dict[str, str | None]:
    return {p.name: p.grid for p in network.projections}


def test_projections_get_the_bits_they_are_named_with() -> None:
    """One that is too small to get smaller too; the others as all do."""
    network = folded(l2mu(sensors=None))
    plain = grids(applied(Quantize(), network))
    assert set(plain.values()) == {None}
    named = Quantize(projections="h.m:4+u.h.last:2")
    assert grids(applied(named, network)) == plain | {"h.m": "int4", "u.h.last": "ternary"}
    packed = grids(applied(Quantize(bits=2), network))
    assert "ternary" in packed.values()
    kept = Quantize(bits=2, projections="h.m:8+u.h.last:4", weights="shift")
    assert grids(applied(kept, network)) == packed | {"h.m": None, "u.h.last": "shift"}


@pytest.mark.parametrize("name", ["h.nobody", "m.u", "u.x"])
def test_projections_that_cannot_be_packed_are_refused(name: str) -> None:
    network = folded(l2mu(sensors=None))
    with pytest.raises(UsageError, match=rf"{name} is no dense projection of spikes; those are"):
        Quantize(projections=f"{name}:4").apply(network, Context())


def weight_bytes(network: Network) -> int:
    return sum(p.stored_bytes for p in network.projections)


@pytest.mark.parametrize("share", [0.9, 0.7, 0.5])
def test_weights_take_no_more_than_a_share_of_their_bytes(share: float) -> None:
    """And if the last one to be lowered had not been, they would."""
    network = calibrated(l2mu(sensors=None, hidden=24), 8)
    context = Context(samples=samples(network, windows=8, steps=40))
    mixed = Quantize(bits=2, share=share).apply(network, context)
    verify(mixed)
    whole = weight_bytes(Quantize().apply(network, context))
    assert weight_bytes(Quantize(bits=2).apply(network, context)) < weight_bytes(mixed)
    assert 0.6 * share * whole < weight_bytes(mixed) <= share * whole
    assert Quantize(bits=2, share=share).apply(network, context) == mixed


def test_a_share_leaves_named_projections_alone() -> None:
    network = calibrated(l2mu(sensors=None, hidden=24), 8)
    context = Context(samples=samples(network, windows=8, steps=40))
    mixed = Quantize(bits=2, share=0.6, projections="h.m:8").apply(network, context)
    assert grids(mixed)["h.m"] is None


def test_a_share_that_is_out_of_reach_is_refused() -> None:
    network = calibrated(l2mu(sensors=None), 8)
    context = Context(samples=samples(network, windows=3, steps=20))
    with pytest.raises(UsageError, match=r"bytes with the fewest bits, more than share=0\.1 of"):
        Quantize(bits=4, share=0.1).apply(network, context)


def test_ternary_and_shift_weights() -> None:
    """A row of -1, 0 and 1 stays as it is; so does one of powers of two."""
    weight = f32([[1, 0, -1, 1, 0, 0, 1, -1], [1, 0.5, -0.25, 0, 0.125, 0.0625, -1, 0.5]])
    network = Network(
        "n",
        Input("x", 8, spiking=True),
        (Population("h", (2,), lif(0.5, 2.0)),),
        (Projection("x", "h", weight),),
        Readout("h"),
        stage="folded",
    )
    (ternary,) = applied(Quantize(projections="h.x:2"), network).projections
    assert (ternary.grid, ternary.bits) == ("ternary", 2)
    assert ternary.quantum is not None
    assert (ternary.weight[0] / ternary.quantum[0]).tolist() == weight[0].tolist()
    (shift,) = applied(Quantize(projections="h.x:4", weights="shift"), network).projections
    assert (shift.grid, shift.bits) == ("shift", 4)
    assert (shift.weight / np.abs(shift.weight).max(axis=1, keepdims=True)).tolist() == (
        weight.tolist()
    )


@settings(max_examples=100)
@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=9))
def test_decays_that_are_shifts_are_the_nearest_ones(decays: list[float]) -> None:
    beta = f32(decays)
    network = Network(
        "n",
        Input("x", 1, spiking=True),
        (Population("h", (len(beta),), lif(beta, 1.0)),),
        (Projection("x", "h", f32(np.ones((len(beta), 1)))),),
        Readout("h"),
        stage="folded",
    )
    found = applied(Quantize(decay="shift"), network).population("h").neuron.beta
    allowed = 2**15 - 2 ** np.arange(16)
    for before, after in zip(beta, np.broadcast_to(found, beta.shape), strict=True):
        off = np.abs(allowed - before * 2.0**15)
        assert after == 2**15 if before == 1 else off[allowed == after] == off.min()


def test_weights_of_four_bits_are_the_nearest_multiples_of_any_quantum() -> None:
    """Of all quanta the best, for whatever scale was chosen."""
    rng = np.random.default_rng(4)
    weight = f32(rng.normal(size=(9, 20)) * rng.uniform(0.05, 1, (9, 1)))
    network = Network(
        "n",
        Input("x", 20, spiking=True),
        (Population("h", (9,), lif(0.5, 2.0)),),
        (Projection("x", "h", weight),),
        Readout("h"),
        stage="folded",
    )
    quantized = applied(Quantize(bits=4), network)
    (packed,) = quantized.projections
    assert packed.quantum is not None
    assert packed.bits == 4
    scale = quantized.population("h").neuron.threshold / 2.0
    wanted = weight * scale[:, None]
    found = ((packed.weight - wanted) ** 2).sum(axis=1)
    for quantum in range(1, 20):
        other = quantum * np.clip(np.rint(wanted / quantum), -8, 7)
        # A threshold is off by half of one at most, and the scale it stands for likewise.
        assert (found <= ((other - wanted) ** 2).sum(axis=1) * 1.02 + 0.5).all()


def test_weights_of_four_bits_must_be_worth_their_quanta() -> None:
    """Four sources take as many bytes as they would with a byte for each weight."""
    for sources, bits in ((4, 8), (5, 4)):
        entry = Input("x", sources, spiking=True)
        weight = f32(np.ones((2, sources)))
        network = Network(
            "n",
            entry,
            (Population("h", (2,), lif()),),
            (Projection("x", "h", weight),),
            Readout("h"),
            stage="folded",
        )
        (quantized,) = applied(Quantize(bits=4), network).projections
        assert quantized.bits == bits


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


def calibrated(network: Network, reach: float) -> Network:
    network = folded(network)
    return network.replace(input=replace(network.input, low=-reach, high=reach))


def bits(network: Network) -> dict[str, int | None]:
    return {p.name: p.membrane_bits for p in network.populations}


def test_populations_that_lose_little_are_narrow() -> None:
    """Fewer levels of the threshold, but enough; weights of spikes as before where they bind."""
    network = calibrated(feed_forward(), 4)
    quantized = applied(Quantize(), network)
    assert bits(quantized) == {"h": NARROW_BITS, "out": NARROW_BITS}
    assert all(narrow(quantized, p) for p in quantized.populations)
    # Samples of 16-bit numbers of 1/4096 each, times 1 and a little, beside membranes of 13 bits.
    threshold = quantized.population("h").neuron.threshold
    assert threshold.tolist() == [1512, 1512, 1524]
    wide = applied(Quantize(narrow=False), network)
    assert bits(wide) == {"h": 28, "out": 28}
    assert (wide.population("h").neuron.threshold > 2**11).all()
    assert wide.projections[1].weight.tolist() == quantized.projections[1].weight.tolist()


def test_membranes_too_short_to_be_narrow_keep_their_scale() -> None:
    network = calibrated(feed_forward(), 16)
    short = applied(Quantize(membrane_bits=NARROW_BITS - 2), network)
    assert short == applied(Quantize(membrane_bits=NARROW_BITS - 2, narrow=False), network)


def test_a_population_whose_threshold_would_be_coarse_stays_wide() -> None:
    """Samples reach a thousand times the threshold of h; out hears nothing of them."""
    network = calibrated(feed_forward(), 1000)
    quantized = applied(Quantize(), network)
    assert bits(quantized) == {"h": 28, "out": NARROW_BITS}
    assert quantized == applied(Quantize(narrow=False), network).replace(
        populations=quantized.populations
    )
    assert (quantized.population("h").neuron.threshold > 2**8).all()


@pytest.mark.parametrize("rule", [rule for rule in READOUT_RULES if rule != "spike_count"])
def test_membranes_that_are_read_stay_wide(rule: str) -> None:
    quantized = applied(Quantize(), calibrated(feed_forward(rule=rule), 4))
    assert bits(quantized) == {"h": NARROW_BITS, "out": 28}


@pytest.mark.parametrize(("alpha", "hidden"), [(0.5, NARROW_BITS), (0.9, 28)])
def test_current_based_neurons_need_more_levels_the_longer_their_current_lasts(
    alpha: float, hidden: int
) -> None:
    """Weights and levels are halved three times for h, which hears samples; not at all for out."""
    network = calibrated(feed_forward(cuba(alpha)), 4)
    quantized = applied(Quantize(), network)
    assert bits(quantized) == {"h": hidden, "out": NARROW_BITS}
    wide = applied(Quantize(narrow=False), network)
    assert bits(wide) == {"h": 28, "out": 28}
    assert wide.projections[1].weight.tolist() == quantized.projections[1].weight.tolist()
    assert (wide.population("h").neuron.threshold > 2 * 2**11).all()


def test_currents_that_last_for_ever_stay_wide() -> None:
    network = calibrated(feed_forward(cuba([1.0, 0.5, 0.5])), 4)
    hidden, out = network.populations
    out = replace(out, neuron=cuba(0.5))
    network = network.replace(populations=(hidden, out))
    assert bits(applied(Quantize(), network)) == {"h": 28, "out": NARROW_BITS}


@settings(max_examples=200)
@given(float_networks(), st.sampled_from([0.01, 1.0, 30.0, 1e4]), st.sampled_from(KINDS))
def test_narrow_membranes_always_have_narrow_sums(
    network: Network, reach: float, kind: dict[str, Any]
) -> None:
    quantized = applied(Quantize(**kind), calibrated(network, reach))
    for before, after in zip(network.populations, quantized.populations, strict=True):
        assert after.membrane_bits in (NARROW_BITS, 28)
        assert narrow(quantized, after) == (after.membrane_bits == NARROW_BITS), before.name


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


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_searched_scales_bring_spikes_nearer_to_those_in_float(bits: int) -> None:
    network = calibrated(l2mu(sensors=None), 8)
    x = samples(network, windows=40, steps=40)
    context = Context(samples=x)
    teacher = Teacher(network, x)

    def drift(quantized: Network) -> float:
        """Of all populations, each hearing what the float network says."""
        total = 0.0
        for p in network.populations:
            after = quantized.population(p.name).neuron.threshold
            scale = np.broadcast_to(after / p.neuron.threshold, p.size)
            total += float(teacher.drift(quantized, scale, p.name).sum())
        return total

    plain = Quantize(bits=bits).apply(network, context)
    searched = Quantize(bits=bits, search=8).apply(network, context)
    verify(searched)
    assert drift(searched) < 0.9 * drift(plain)
    assert Quantize(bits=bits, search=8).apply(network, context) == searched


def test_a_search_reports_progress() -> None:
    network = calibrated(feed_forward(), 4)
    seen: list[tuple[int, int]] = []
    context = Context(
        samples=samples(network, 3, 20), progress=lambda done, all_: seen.append((done, all_))
    )
    Quantize(search=2).apply(network, context)
    assert seen == [(1, 2), (2, 2)]


@pytest.mark.parametrize("options", ["search=5", "bits=4,share=0.9", "clip=0.01"])
def test_options_that_need_windows_are_refused_without(options: str) -> None:
    (item,) = parse_pipeline(f"quantize{{{options}}}")
    name = options.split(",")[-1].split("=")[0]
    with pytest.raises(UsageError, match=f"^quantize: {name} needs windows: give --calibrate"):
        item.apply(calibrated(l2mu(sensors=None), 4), Context())


@pytest.mark.parametrize("rule", READOUT_RULES)
def test_scales_are_searched_for_all_readouts(rule: str) -> None:
    """Neurons whose membranes are compared keep one scale."""
    network = calibrated(feed_forward(rule=rule), 4)
    quantized = Quantize(search=4).apply(network, Context(samples=samples(network, 4, 30)))
    verify(quantized)
    if rule != "spike_count":
        before = network.population("out").neuron.threshold
        assert np.ptp(quantized.population("out").neuron.threshold / before) == 0
