"""A task small enough to train on in a test: which of three channels is driven most."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from networks import cuba, f32, li, lif

from l2mu_compile.labelled import LabelledWindows, labelled
from l2mu_compile.network import Input, Network, Population, Readout
from l2mu_compile.neurons import Neuron
from l2mu_compile.passbase import Context
from l2mu_compile.pipeline import parse_pipeline, run_passes
from l2mu_compile.projection import Projection
from l2mu_compile.windows import Windows

INT8 = "fold-input,remove-dead,fold-threshold,quantize{input_range=4}"


def windows(count: int = 90, steps: int = 12, seed: int = 0, groups: int = 6) -> Windows:
    """Noise, with one channel of each window raised by its class; from some people in turn."""
    random = np.random.default_rng(seed)
    y = random.permutation(np.arange(count) % 3)
    x = random.normal(size=(count, steps, 3)) * 0.5
    x[np.arange(count), :, y] += 0.6
    return Windows(f32(x), y, source="toy.npz", group=np.arange(count) % groups)


def network(kind: str = "lif", rule: str = "spike_count") -> Network:
    """Six hidden neurons, with a loop, whose weights are drawn at random; thus it decides badly."""
    random = np.random.default_rng(1)
    neuron: Neuron = lif(0.8) if kind == "lif" else cuba(0.3, 0.8)
    out = neuron if rule == "spike_count" else li(0.9)

    def weights(*shape: int) -> np.ndarray:
        return f32(random.normal(size=shape) * 0.7 + 0.1)

    return Network(
        "toy",
        Input("x", 3),
        (Population("h", (6,), neuron, weights(6)), Population("out", (3,), out)),
        (
            Projection("x", "h", weights(6, 3)),
            Projection("h", "h", weights(3, 3), delay=1, blocks=2),
            Projection("h", "out", weights(3, 6)),
        ),
        Readout("out", rule),
    )


def int8(found: Network) -> Network:
    return run_passes(found, parse_pipeline(INT8), Context())


def split(found: Network, data: Windows | None = None, seed: int = 0) -> LabelledWindows:
    return labelled(data or windows(), None, found, seed)


def by_class(data: Windows) -> Windows:
    """The same windows without groups."""
    return replace(data, group=None)
