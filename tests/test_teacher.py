"""Drift of spikes: each population alone, as the interpreter has it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from drawn_networks import float_networks
from hypothesis import given, settings
from networks import samples

from l2mu_compile.drift import TIME_CONSTANT
from l2mu_compile.interpreter import run
from l2mu_compile.network import Network
from l2mu_compile.passbase import Context
from l2mu_compile.passes.fold_input import FoldInput
from l2mu_compile.passes.quantize import Quantize
from l2mu_compile.teacher import Teacher


@settings(max_examples=60)
@given(float_networks())
def test_populations_that_adopt_in_turn_do_what_the_integer_network_does(network: Network) -> None:
    """As far as nothing comes late: then all that is heard is the integers'."""
    network = FoldInput().apply(network, Context())
    network = network.replace(input=replace(network.input, low=-8.0, high=8.0))
    network = network.replace(projections=tuple(p for p in network.projections if not p.delay))
    x = samples(network, 3, network.window or 12)
    quantized = Quantize().apply(network, Context())
    teacher = Teacher(network, x)
    for p in network.order():
        teacher.adopt(quantized, p.name)
    done = run(quantized, x, ("spikes",))
    for name, spikes in done.spikes.items():
        assert np.array_equal(teacher.heard[name], spikes)


def test_the_distance_is_van_rossums() -> None:
    network = FoldInput().apply(_fires_always(), Context())
    x = np.ones((1, 3, 1), np.float32)
    teacher = Teacher(network, x)
    quantized = Quantize().apply(
        network.replace(input=replace(network.input, low=-1.0, high=1.0)), Context()
    )
    silent = quantized.map_populations(
        lambda p: replace(p, neuron=replace(p.neuron, threshold=np.int32(2**24)))
    )
    assert teacher.drift(quantized, np.ones(1), "h") == 0
    keep = np.exp(-1 / TIME_CONSTANT)
    wanted = np.mean([1, (1 + keep) ** 2, (1 + keep + keep**2) ** 2])
    assert np.allclose(teacher.drift(silent, np.ones(1), "h"), wanted)


def _fires_always() -> Network:
    from networks import f32, lif

    from l2mu_compile.network import Input, Population, Readout
    from l2mu_compile.projection import Projection

    return Network(
        "n",
        Input("x", 1),
        (Population("h", (1,), lif(0.0, 0.5, "zero")),),
        (Projection("x", "h", f32([[1.0]])),),
        Readout("h"),
    )
