"""Checkpoints in tests: what is loaded must spike as what was saved."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from reference_models import (
    Options,
    RawNet,
    spikes_of,
)

from l2mu_compile.checkpoint import load_checkpoint
from l2mu_compile.l2mu import L2MU

ENCODERS = ("plain", "single", "stacked")
NEURONS = ("leaky", "synaptic")


def same(path: Path, net: torch.nn.Module, layout: str = "raw", params: Path | None = None) -> L2MU:
    """Load ``path``; its spikes must be those of ``net``."""
    found = load_checkpoint(path, params)
    assert found.layout == layout
    assert not found.model.training
    np.testing.assert_array_equal(spikes_of(found.model), spikes_of(net))
    return found.model


@cache
def reference(encoder: str, neuron: str) -> tuple[RawNet, np.ndarray]:
    """A network, with biases if its encoder is single, and its spikes."""
    net = RawNet(Options(encoder, neuron, bias=encoder == "single"))
    return net, spikes_of(net)
