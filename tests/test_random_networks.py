"""Random networks: sound, of the asked stage, the same for the same seed, and of every kind."""

from __future__ import annotations

import numpy as np
import pytest

from l2mu_compile.errors import UsageError
from l2mu_compile.interpreter import run
from l2mu_compile.network import READOUT_RULES
from l2mu_compile.neurons import LI, LIF, CuBaLIF
from l2mu_compile.random_networks import STAGES, random_network, random_windows
from l2mu_compile.verify import verify


@pytest.mark.parametrize("stage", STAGES)
def test_they_are_sound_and_the_same_again(stage: str) -> None:
    for seed in range(4):
        network = random_network(seed, stage)
        verify(network)
        assert network.stage == stage
        assert network == random_network(seed, stage)
        assert network.name == f"random{seed}"


def test_there_is_one_of_everything() -> None:
    made = [random_network(seed) for seed in range(150)]
    populations = [p for network in made for p in network.populations]
    projections = [p for network in made for p in network.projections]
    assert {network.readout.rule for network in made} == set(READOUT_RULES)
    assert {network.input.scale is None for network in made} == {True, False}
    kinds = {(type(p.neuron), p.neuron.reset) for p in populations}
    assert kinds == {(kind, reset) for kind in (LI, LIF, CuBaLIF) for reset in kind.resets}
    assert {len(p.shape) for p in populations} == {1, 2}
    assert {p.neuron.beta.ndim for p in populations} == {0, 1}
    assert {p.bias is None for p in populations} == {True, False}
    assert {p.delay for p in projections} == {0, 1}
    slid = [p.convolution for p in projections if p.convolution is not None]
    assert 0.05 < len(slid) / len(projections) < 0.25
    for field in ("stride", "padding", "dilation", "groups", "pool"):
        assert len({getattr(convolution, field) for convolution in slid}) > 1, field
    assert {(p.blocks > 0, p.shared) for p in projections} == {
        (False, False),
        (True, False),
        (True, True),
    }


def test_every_weight_of_a_kernel_is_read() -> None:
    for network in (random_network(seed) for seed in range(60)):
        for p in network.projections:
            if p.convolution is not None:
                full = p.convolution.dense(p.weight)
                assert np.array_equal(p.convolution.kernel_in(full, p.weight.shape), p.weight)


def test_they_spike_now_and_then() -> None:
    made = [random_network(seed) for seed in range(30)]
    runs = [run(network, random_windows(network, 0)) for network in made]
    neurons = sum(p.size for network in made for p in network.populations)
    total = sum(sum(result.spike_totals.values()) for result in runs)
    assert 0.05 < total / (neurons * runs[0].windows * runs[0].steps) < 0.8


def test_windows_are_as_long_as_the_network_says() -> None:
    network = random_network(0)
    assert random_windows(network, 0, 3, 7).shape == (3, 7, network.input.size)
    windows = random_windows(network.replace(window=11), 0)
    assert windows.shape[1] == 11
    assert windows.dtype == np.float32


def test_an_unknown_stage_is_refused() -> None:
    with pytest.raises(UsageError, match="random networks are traced, folded, quantized, not plan"):
        random_network(0, "planned")
