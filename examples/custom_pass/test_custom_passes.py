"""What the authors of the two passes test them with: ``pytest test_custom_passes.py``."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from merge_equal import MergeEqual
from reorder_by_rate import ReorderByRate

from l2mu_compile import (
    LIF,
    Context,
    Network,
    check_pass,
    parse_pipeline,
    random_network,
    random_windows,
    run_passes,
)


def twins(seed: int) -> Network:
    """A random network all of whose neurons decay alike, quantized."""
    network = random_network(seed)
    same = LIF(np.float32(0.5), np.float32(1.0))
    readout = network.readout.population
    alike = network.map_populations(lambda p: p if p.name == readout else replace(p, neuron=same))
    context = Context(samples=random_windows(network, seed))
    return run_passes(alike, parse_pipeline("fold-input,calibrate,quantize"), context)


def test_merge_equal() -> None:
    check_pass(MergeEqual(), [twins(seed) for seed in range(20)])


def test_reorder_by_rate() -> None:
    check_pass(ReorderByRate(), [random_network(seed, "quantized") for seed in range(20)])
