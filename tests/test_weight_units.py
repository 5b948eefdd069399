"""Units of weights: a spike through one unit adds a threshold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from networks import feed_forward, integer_toy, l2mu
from toy_training import network

from l2mu_compile.weight_units import neuron_units, weight_units


def test_thresholds_or_the_largest_weight() -> None:
    toy = feed_forward()
    assert neuron_units(toy, toy.population("h")).tolist() == [1, 1, 1]
    read = network(rule="mean_membrane")
    (out,) = read.into("out")
    assert neuron_units(read, read.population("out")) == pytest.approx(np.abs(out.weight).max())
    silent = read.map_projections(lambda p: replace(p, weight=p.weight * 0))
    assert neuron_units(silent, silent.population("out")).tolist() == [1, 1, 1]


def test_samples_of_integers_count_by_fraction_and_shift() -> None:
    """20 / 16, times 4 and 8 for what the shifts take out again."""
    toy = integer_toy()
    units = {p.name: weight_units(toy, p).tolist() for p in toy.projections}
    assert units == {"h.x": [[5], [10]], "out.h": [[20], [20]], "h.h.last": [[20], [20]]}


def test_raw_samples_count_in_the_units_of_the_model() -> None:
    raw = l2mu(sensors=(0.5, 0.25))
    folded = raw.replace(input=replace(raw.input, scale=None, offset=None, unit=np.float32(2)))
    for found, unit in ((raw, 0.5), (folded, 0.25)):
        (reading,) = (p for p in found.projections if p.source == "x")
        assert (weight_units(found, reading) == unit).all()
