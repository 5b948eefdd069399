"""Trained integer networks keep what is proved of the network they were."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import f32, i8, integer_toy, narrow
from test_torch_network import FLOATS, INTEGERS, quantized, trained

from l2mu_compile import bounds
from l2mu_compile.network import NARROW_BITS, Network, Population
from l2mu_compile.neurons import LIF
from l2mu_compile.projection import Projection
from l2mu_compile.restrain import restrained
from l2mu_compile.verify import problems, verify


def narrow_populations(network: Network) -> set[str]:
    return {p.name for p in network.populations if bounds.narrow(network, p)}


def one(weight: Any, bias: int = 0, bits: int = NARROW_BITS) -> Network:
    """Two neurons that hear themselves, with a sum of at most int16."""
    network = integer_toy()
    neuron = LIF(np.int32(16384), np.int32([20, 30]))
    return network.replace(
        populations=(Population("h", (2,), neuron, np.int32([bias, 0]), membrane_bits=bits),),
        projections=(Projection("h", "h", i8(weight), delay=1),),
        readout=replace(network.readout, population="h"),
    )


@settings(max_examples=60)
@given(INTEGERS, st.booleans())
def test_proofs_hold_after_training(network: Network, memory: bool) -> None:
    found = restrained(trained(network, memory, rate=3.0).network(), network)
    verify(found)
    assert narrow_populations(found) >= narrow_populations(network)
    assert [p.shared for p in found.projections] == [p.shared for p in network.projections]
    assert restrained(found, network) is found


@settings(max_examples=30)
@given(FLOATS)
def test_proofs_of_quantized_networks_hold_after_training(network: Network) -> None:
    network = quantized(network)
    found = restrained(trained(network, memory=True, rate=3.0).network(), network)
    verify(found)
    assert narrow_populations(found) >= narrow_populations(network)


def test_training_alone_would_break_them() -> None:
    network = narrow(33, "subtract", scalar=False)
    after = trained(network, memory=True, rate=3.0).network()
    assert narrow_populations(network) == {"h", "m", "out"} != narrow_populations(after)
    assert narrow_populations(restrained(after, network)) == {"h", "m", "out"}


def test_only_neurons_that_go_too_far_move_back() -> None:
    before = one([[0, 100], [3, 5]], bias=24400)
    after = one([[0, 127], [3, 90]], bias=24480)
    assert narrow_populations(before) == {"h"}
    assert narrow_populations(after) == set()
    found = restrained(after, before)
    # 24400 + 2^13 - 1 + weight must stay below 2^15: five eighths of both ways are too far.
    weight, bias = found.projections[0].weight, found.populations[0].bias
    assert weight[1].tolist() == [3, 90]
    assert bias is not None and bias[1] == 0
    assert 100 < weight[0, 1] < 127 and 24400 < bias[0] < 24480
    assert narrow_populations(found) == {"h"}
    assert found.populations[0].neuron == before.populations[0].neuron


def test_wide_populations_may_grow() -> None:
    before, after = one([[0, 100], [3, 5]], 32000, 28), one([[0, 127], [3, 90]], 32700, 28)
    assert restrained(after, before) is after


def test_sums_stay_within_int32() -> None:
    before = one([[0, 1], [1, 0]], bias=2**31 - 2**28 - 100, bits=28)
    after = one([[0, 1], [1, 0]], bias=2**31 - 2**27, bits=28)
    assert not list(problems(before))
    assert any("beyond int32" in problem for _, problem in problems(after))
    verify(restrained(after, before))


def test_shared_blocks_move_back_as_one() -> None:
    def shared(weight: int) -> Network:
        network = one([[0, 0], [0, 0]], bias=24400)
        block = Projection("h", "h", i8([[weight]]), delay=1, blocks=2)
        return network.replace(projections=(block,))

    before, after = shared(100), shared(127)
    found = restrained(after.map_populations(lambda p: _biased(p, 24470)), before)
    assert found.projections[0].shared and 100 <= found.projections[0].weight.item() < 127
    assert narrow_populations(found) == {"h"}


def _biased(population: Population, bias: int) -> Population:
    return replace(population, bias=np.int32([bias, 0]))


def test_float_networks_need_no_proof() -> None:
    network = one([[0, 1], [1, 0]])
    floats = network.replace(input=replace(network.input, fraction=None)).map_projections(
        lambda p: replace(p, weight=f32(p.weight) * 1e9)
    )
    assert restrained(floats, network) is floats


@pytest.mark.parametrize("threshold", [np.int32(5), np.int32([5, 5])])
def test_thresholds_move_back_too(threshold: Any) -> None:
    def network(bias: int, threshold: Any) -> Network:
        base = one([[0, 1], [1, 0]], bias, 28)
        (p,) = base.populations
        return base.replace(populations=(replace(p, neuron=LIF(np.int32(9), threshold)),))

    before = network(2**31 - 2**28 - 100, threshold)
    after = network(2**31 - 2**28 - 50, threshold + np.int32(2**27 - 30))
    assert not list(problems(before)) and list(problems(after))
    verify(restrained(after, before))
