"""quantize: which populations get membranes of 14 bits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from drawn_networks import float_networks
from hypothesis import given, settings
from hypothesis import strategies as st
from network_texts import applied
from networks import cuba, feed_forward
from quantizing import KINDS, calibrated

from l2mu_compile.bounds import narrow
from l2mu_compile.network import NARROW_BITS, READOUT_RULES, Network
from l2mu_compile.passes.quantize import Quantize


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
