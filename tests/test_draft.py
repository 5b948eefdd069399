"""Names of a Program's constants: none hides another, a buffer or the API."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from networks import (
    f32,
    feed_forward,
    l2mu,
    lif,
    planned,
)

from l2mu_compile.lowering import lower
from l2mu_compile.network import Network, Population, Readout
from l2mu_compile.program import API_FUNCTIONS, STREAM_FUNCTIONS
from l2mu_compile.projection import Projection


def test_constants_keep_clear_of_buffers_and_of_the_api() -> None:
    """A scratch list is a local pointer in C, and would hide a constant of its name."""
    eye = f32(np.eye(2))
    populations = tuple(Population(n, (2,), lif()) for n in ("a", "a_from", "spikes"))
    projections = (
        Projection("x", "a", eye),
        Projection("x", "spikes", eye),
        Projection("a_from", "a", eye, delay=1),
        Projection("spikes", "a", eye),  # would be the constant a_from_spikes
        Projection("x", "a_from", eye),  # needs the buffer a_from_spikes
    )
    network = Network("n", feed_forward().input, populations, projections, Readout("a"))
    program = lower(planned(network))
    buffers = {b.name for b in program.buffers}
    constants = {c.name for c in (*program.data, *program.records)}
    assert "a_from_spikes" in buffers
    assert "a_from_spikes_2" in constants
    assert not buffers & constants


@pytest.mark.parametrize("word", [*API_FUNCTIONS, *STREAM_FUNCTIONS, "state_t", "stream_t"])
def test_no_constant_takes_a_name_of_the_api(word: str) -> None:
    network = planned(feed_forward().replace(name="out_from"))
    hidden = replace(network.population("h"), name=word)
    names = {"h": word, "x": "x", "out": "out"}
    network = network.replace(
        populations=(hidden, network.population("out")),
        projections=tuple(
            replace(p, source=names[p.source], target=names[p.target]) for p in network.projections
        ),
        buffers=tuple(replace(b, name=b.name.replace("h_", f"{word}_")) for b in network.buffers),
    )
    constants = {d.name for d in lower(network).data}
    assert f"out_from_{word}" not in constants
    assert f"out_from_{word}_2" in constants


def test_constants_have_different_names() -> None:
    program = lower(planned(l2mu(), quantized=True))
    names = [c.name for c in (*program.data, *program.records)]
    assert len(names) == len(set(names))
