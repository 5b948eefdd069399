"""How much a network needs each of its neurons, by different criteria.

Each criterion gives every neuron of every population a number; those with the smallest are missed
the least. Numbers are compared within a population only.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.network import Network, spiking

Scores = dict[str, NDArray]  # float64, one for every neuron, by population
Trains = dict[str, NDArray]  # spikes, bool [windows · steps, neurons], by population


def by_rate(network: Network, trains: Trains) -> Scores:
    """Spikes per step."""
    return {p.name: trains[p.name].mean(axis=0) for p in network.populations}


def by_magnitude(network: Network, trains: Trains) -> Scores:
    """What arrives at most, in thresholds, times what it hands on at most, in its targets'
    thresholds: the product of the sums of absolute weights. Needs no spikes."""
    return {
        p.name: _incoming(network, p.name) * _outgoing(network, p.name, _ones(network))
        for p in network.populations
    }


def by_readout(network: Network, trains: Trains) -> Scores:
    """How much of the readout's current comes from it, on whatever way.

    A neuron counts as much as its spikes times its absolute weights, in thresholds of their
    targets, times what these count; a neuron of the readout counts 1. That is followed through as
    many synapses as there are populations, so that loops end.
    """
    rates = by_rate(network, trains)
    score = {p.name: np.zeros(p.size) for p in network.populations}
    reached = score
    for _ in network.populations:
        reached = {name: values.copy() for name, values in score.items()}
        reached[network.readout.population][:] = 1
        score = {name: rates[name] * _outgoing(network, name, reached) for name in score}
        largest = max(float(values.max()) for values in score.values())
        score = {name: values / (largest or 1.0) for name, values in score.items()}
    return score


Criterion = Callable[[Network, Trains], Scores]
CRITERIA: dict[str, Criterion] = {
    "rate": by_rate,
    "readout": by_readout,
    "magnitude": by_magnitude,
}


def redundant_first(trains: NDArray) -> list[tuple[int, int]]:
    """Every unit but the last, in the order in which they may leave, each with one that stays
    longer and spikes most like it.

    ``trains`` are spikes, bool ``[steps, units, neurons]``. Likeness is the cosine between spike
    trains; of the two most alike the one with fewer spikes leaves.
    """
    steps, count, neurons = trains.shape
    flat = trains.transpose(1, 0, 2).reshape(count, steps * neurons).astype(np.float32)
    spikes = flat.sum(axis=1, dtype=np.float64)
    norm = np.sqrt(np.maximum(spikes, 1))
    likeness = (flat @ flat.T).astype(np.float64) / np.outer(norm, norm)
    np.fill_diagonal(likeness, -1)
    partner = likeness.argmax(axis=1)
    most = likeness.max(axis=1)
    order = []
    for _ in range(count - 1):
        a = int(most.argmax())
        b = int(partner[a])
        leaving, staying = (a, b) if spikes[a] <= spikes[b] else (b, a)
        order.append((leaving, staying))
        likeness[leaving] = likeness[:, leaving] = -2
        most[leaving] = -3
        bereft = np.flatnonzero((partner == leaving) & (most > -3))
        partner[bereft] = likeness[bereft].argmax(axis=1)
        most[bereft] = likeness[bereft].max(axis=1)
    return order


def _ones(network: Network) -> Scores:
    return {p.name: np.ones(p.size) for p in network.populations}


def _incoming(network: Network, name: str) -> NDArray:
    population = network.population(name)
    total = np.zeros(population.size)
    for p in network.into(name):
        total += p.row_sums(np.abs(p.weight.astype(np.float64)))
    return total / _unit(network, name)


def _outgoing(network: Network, name: str, worth: Scores) -> NDArray:
    """Sums of absolute weights, in targets' thresholds, each times the worth of its target."""
    total = np.zeros(network.population(name).size)
    for p in network.out_of(name):
        weight = np.abs(p.weight.astype(np.float64))
        total += p.transposed(weight, worth[p.target] / _unit(network, p.target))
    return total


def _unit(network: Network, name: str) -> NDArray:
    """Thresholds; 1 where there are none."""
    population = network.population(name)
    threshold = population.neuron.threshold if spiking(population) else np.float64(1)
    return np.broadcast_to(threshold.astype(np.float64), (population.size,))
