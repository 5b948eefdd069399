"""quantize: scales that are searched for by spikes."""

from __future__ import annotations

import numpy as np
import pytest
from networks import (
    feed_forward,
    l2mu,
    samples,
)
from quantizing import calibrated

from l2mu_compile.errors import UsageError
from l2mu_compile.network import READOUT_RULES, Network
from l2mu_compile.passbase import Context
from l2mu_compile.passes.quantize import Quantize
from l2mu_compile.pipeline import parse_pipeline
from l2mu_compile.teacher import Teacher
from l2mu_compile.verify import verify


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
