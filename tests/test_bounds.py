"""How far sums go: no state that is reached, with the worst spikes there can be, is beyond."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from drawn_networks import integer_networks
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import i8, integer_toy, l2mu, narrow, planned, samples
from numpy.typing import NDArray

from l2mu_compile.bounds import (
    SAMPLE_HIGH,
    SAMPLE_LOW,
    accumulator_ranges,
    can_be_narrow,
    largest_start,
    largest_sum,
    start_range,
    unsaturated_range,
)
from l2mu_compile.bounds import narrow as is_narrow
from l2mu_compile.interpreter import run
from l2mu_compile.network import NARROW_BITS, Input, Network, Population, Readout, spiking
from l2mu_compile.neurons import LI, LIF, CuBaLIF, Neuron
from l2mu_compile.projection import Projection
from l2mu_compile.schedule import arriving, delayed

EXTREMES = (-1, 0, 1)  # currents: the least there can be, none, the greatest


def extreme_current(network: Network, p: Projection, neuron: int, way: int) -> int:
    """The least or greatest that ``p`` can add to one of its targets, by trying spikes or samples
    of one sign of weight."""
    weight = p.dense()[neuron].astype(np.int64)
    if not network.multiplies(p):
        return int(weight[weight * way > 0].sum()) if way else 0
    sample = np.where(weight * way > 0, SAMPLE_HIGH, SAMPLE_LOW) if way else 0 * weight
    shift = 0 if p.shift is None else int(np.broadcast_to(p.shift, p.shape[0])[neuron])
    half = 1 << (shift - 1) if shift else 0
    return (int((weight * sample).sum()) + half) >> shift


def one_step(network: Network, population: Population, neuron: int, state: int) -> Iterator[int]:
    """Accumulators when the turn comes, from what they were between two steps, with all of the
    currents of this step at their least, at zero, or at their greatest."""
    for way in EXTREMES:
        now = arriving(network, population)
        yield state + sum(extreme_current(network, p, neuron, way) for p in now)


def next_state(population: Population, neuron: int, v: int) -> int:
    """What a neuron leaves of an accumulator, before delayed currents."""
    kind, bits = population.neuron, population.membrane_bits or 0
    v = min(max(v, -(2 ** (bits - 1))), 2 ** (bits - 1) - 1)
    decay = kind.alpha if isinstance(kind, CuBaLIF) else kind.beta
    fired = isinstance(kind, LIF) and v > element(kind.threshold, neuron)
    if fired and kind.reset == "subtract_first":
        v -= int(element(kind.threshold, neuron))
    after = int(element(decay, neuron)) * v >> 15
    if fired:
        after = {"subtract": after - int(element(kind.threshold, neuron)), "zero": 0}.get(
            kind.reset, after
        )
    return after + (0 if population.bias is None else int(population.bias[neuron]))


def element(values: NDArray, neuron: int) -> NDArray:
    return values[neuron] if values.ndim else values


def states(network: Network, population: Population, neuron: int) -> Iterator[int]:
    """States between two steps that membranes at their limits and around the threshold lead to,
    with the worst delayed currents."""
    bits = population.membrane_bits or 0
    limits = {-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, 0}
    if spiking(population):
        threshold = int(element(population.neuron.threshold, neuron))
        limits |= {threshold, threshold + 1}
    for v in limits:
        for way in EXTREMES:
            later = delayed(network, population)
            currents = sum(extreme_current(network, p, neuron, way) for p in later)
            yield next_state(population, neuron, v) + currents


@settings(max_examples=150)
@given(integer_networks())
def test_no_accumulator_leaves_its_range(network: Network) -> None:
    for population in network.populations:
        lows, highs = accumulator_ranges(network, population)
        start_low, start_high = (
            np.broadcast_to(x, population.size) for x in start_range(network, population)
        )
        for neuron, (low, high) in enumerate(zip(lows, highs, strict=True)):
            for state in states(network, population, neuron):
                assert start_low[neuron] <= state <= start_high[neuron]
                assert abs(state) <= largest_start(network, population)
                for total in one_step(network, population, neuron, state):
                    assert low <= total <= high
                    assert abs(total) <= largest_sum(network, population)
        if is_narrow(network, population):
            assert -(2**15) <= lows.min() <= highs.max() < 2**15


@settings(max_examples=150)
@given(integer_networks())
def test_no_unsaturated_accumulator_leaves_its_membranes(network: Network) -> None:
    for population in network.populations:
        if not is_narrow(network, population):
            continue
        found = unsaturated_range(network, population)
        if found is None:
            continue
        low, high = found
        for neuron in range(population.size):
            assert high > element(population.neuron.threshold, neuron)
            for state in states(network, population, neuron):
                assert low <= state <= high
            for state in found:
                for total in one_step(network, population, neuron, state):
                    assert -(2**13) <= total < 2**13


def test_an_unsaturated_range_by_hand() -> None:
    """Half of a membrane stays, and 4,096 or 4,095 more reach its ends."""

    def of(weight: int, count: int, bias: int = 0, delay: int = 0) -> tuple[int, int] | None:
        def population(name: str, size: int) -> Population:
            neuron = LIF(np.int32(2**14), np.int32(100), "subtract")
            biases = np.full(size, bias, np.int32)
            return Population(name, (size,), neuron, bias=biases, membrane_bits=NARROW_BITS)

        network = Network(
            "half",
            Input("x", count, spiking=True, fraction=0),
            (population("h", 2),),
            (Projection("x", "h", i8(np.full((2, count), weight)), delay),),
            Readout("h"),
            stage="quantized",
        )
        return unsaturated_range(network, network.populations[0])

    assert of(-64, 64) == (-(2**13) + 64 * 64, 2**13 - 1)
    assert of(-64, 65) is None
    assert of(-64, 64, bias=-1) is None
    assert of(63, 65) == (-(2**13), 2**13 - 1 - 63 * 65)
    assert of(64, 64) == (-(2**13), 2**13 - 1 - 64 * 64)
    assert of(64, 64, bias=1) is None
    assert of(64, 64, delay=1) == (-(2**13), 2**13 - 1)
    assert of(64, 65, delay=1) is None


@settings(max_examples=60)
@given(integer_networks(), st.integers(0, 2**32 - 1))
def test_no_state_of_a_run_is_beyond(network: Network, seed: int) -> None:
    """Of samples at the ends of their range, which make for many spikes."""
    rng = np.random.default_rng(seed)
    x = rng.choice(np.float32([-1e9, 0, 1e9]), (3, 12, network.input.size))
    reached = run(network, x, record=("membranes",))
    for population in network.populations:
        low, high = start_range(network, population)
        found = reached.accumulators[population.name]
        assert (found >= low).all()
        assert (found <= high).all()
        assert np.abs(found).max() <= largest_start(network, population)


def test_a_range_by_hand() -> None:
    """h: membranes of 16 bits, a threshold of 20, a bias of ±1, spikes of 5, samples of 8 x."""
    toy = integer_toy()
    hidden = toy.population("h")
    low, high = start_range(toy, hidden)
    assert low.tolist() == [-(2**15) + 1, -(2**15) - 1]
    assert high.tolist() == [2**15 + 1 + 5, 2**15 - 1 + 5]
    first = (4 * 32767 + 4 * 32768 + 2) >> 2
    second = (8 * 32767 + 32767 + 4) >> 3
    assert accumulator_ranges(toy, hidden)[1].max() == 2**15 + 6 + first
    assert second < first


def test_every_current_is_in_the_largest_sum() -> None:
    toy = integer_toy()
    two = 8 * 2**15 + 4  # Σ|weight| of the first, times the largest sample, and 2^shift
    other = 9 * 2**15 + 8
    assert largest_sum(toy, toy.population("h")) == 2 * 2**15 + 20 + 1 + 5 + max(two, other)


@settings(max_examples=60)
@given(integer_networks(), st.integers(0, 2**32 - 1))
def test_no_membrane_of_a_current_based_neuron_is_beyond(network: Network, seed: int) -> None:
    """Before it is saturated, from any membrane and synapse there can be."""
    rng = np.random.default_rng(seed)
    for population in network.populations:
        neuron = population.neuron
        if not isinstance(neuron, CuBaLIF):
            continue
        limit = 2 ** ((population.membrane_bits or 0) - 1)
        ends = [-limit, limit - 1, int(neuron.threshold.min()), int(neuron.threshold.max()) + 1]
        v, syn = (
            np.clip(np.append(rng.integers(-limit, limit, 6), ends), -limit, limit - 1)
            for _ in range(2)
        )
        fired = v > neuron.threshold[..., None]
        taken = fired * neuron.threshold[..., None]
        first = neuron.reset == "subtract_first"
        left = (neuron.beta[..., None].astype(np.int64) * (v - first * taken)) >> 15
        after = {"subtract": left - taken, "subtract_first": left, "none": left}
        reached = after.get(neuron.reset, np.where(fired, 0, left))[..., None] + syn
        assert np.abs(reached).max() <= largest_sum(network, population)
        if is_narrow(network, population):
            assert -(2**15) <= reached.min() <= reached.max() < 2**15


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
def test_narrow_needs_int16_sums(reset: str) -> None:
    network = narrow(9, reset, scalar=False)
    assert all(is_narrow(network, p) for p in network.populations)
    many = replace(network.projections[2], weight=i8(np.full((27, 9), 127)))
    late = replace(network.projections[3], weight=i8(np.full((9, 9), 127)))
    wide = network.replace(
        projections=tuple(
            many if p is network.projections[2] else late if p is network.projections[3] else p
            for p in network.projections
        )
    )
    currents = 9 * 127 + 9 * 127
    assert is_narrow(wide, wide.population("m"))
    bias = np.int32(np.full(27, 2**15 - 2**13 - currents - 110))
    full = replace(wide.population("m"), bias=bias)
    assert accumulator_ranges(replaced(wide, full), full)[1].max() < 2**15
    assert is_narrow(replaced(wide, full), full)
    beyond = replace(full, bias=bias + 120)
    assert accumulator_ranges(replaced(wide, beyond), beyond)[1].max() >= 2**15
    assert not is_narrow(replaced(wide, beyond), beyond)


def test_narrow_needs_membranes_of_its_bits_and_a_kernel() -> None:
    network = narrow(5, "subtract", scalar=True)
    out = network.population("out")
    assert is_narrow(network, out)
    assert not is_narrow(network, replace(out, membrane_bits=NARROW_BITS + 1))
    assert not is_narrow(network, replace(out, membrane_bits=NARROW_BITS - 1))
    read = network.replace(readout=replace(network.readout, rule="max_membrane"))
    assert not can_be_narrow(read, out)
    assert can_be_narrow(read, network.population("m"))
    leaky: Neuron = LI(np.int32(1))
    assert not can_be_narrow(network, replace(out, neuron=leaky))


def test_a_reset_is_not_in_the_range_of_a_synapse() -> None:
    network = narrow(9, "subtract", scalar=True, kind=CuBaLIF)
    for population in network.populations:
        assert is_narrow(network, population)
        bias = 0 if population.bias is None else population.bias.min()
        late = [p.dense().astype(np.int64) for p in delayed(network, population)]
        least = sum((np.minimum(w, 0).sum(axis=1).min() for w in late), 0)
        high = replace(population.neuron, threshold=np.int32(30_000))
        low, _ = start_range(network, replace(population, neuron=high))
        assert low.min() >= -(2**13) + bias + least


def test_quantized_networks_are_within_their_range() -> None:
    network = planned(l2mu(), quantized=True)
    x = samples(network, windows=20, steps=30) * 100
    found = run(network, x, record=("membranes",))
    for population in network.populations:
        low, high = start_range(network, population)
        assert (found.accumulators[population.name] >= low).all()
        assert (found.accumulators[population.name] <= high).all()


def replaced(network: Network, population: Population) -> Network:
    return network.map_populations(lambda p: population if p.name == population.name else p)
