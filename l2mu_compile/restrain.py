"""What is proved of an integer network's sums is to hold after training as well."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.bounds import beyond_int16, largest_sum, narrow
from l2mu_compile.network import Network, Population, with_neuron
from l2mu_compile.projection import Projection

PARTS = 8


def restrained(network: Network, original: Network) -> Network:
    """``network`` with as much of its differences from ``original`` as proofs allow.

    Populations that are narrow in ``original`` stay so, and no sum overflows int32: where one
    could, a neuron's weights, bias and threshold go back to what they were, by eighths of the way.
    The same object if nothing has to. Float networks need no proof.
    """
    if not network.quantized:
        return network
    for population in original.populations:
        for left in reversed(range(PARTS)):
            beyond = _beyond(network, original, population.name)
            if not beyond.any():
                break
            together = _tied(network, population, beyond)
            network = _moved_back(network, original, population.name, together, left / (left + 1))
    return network


def _beyond(network: Network, original: Network, name: str) -> NDArray:
    """Neurons, bool ``[n]``, whose sums may go too far."""
    population, before = network.population(name), original.population(name)
    if largest_sum(network, population) >= 2**31:
        return np.ones(population.size, dtype=bool)
    if narrow(original, before):
        return beyond_int16(network, population)
    return np.zeros(population.size, dtype=bool)


def _tied(network: Network, population: Population, neurons: NDArray) -> NDArray:
    """Also those neurons that share weights with any of ``neurons``."""
    for p in network.into(population.name):
        if p.repeats:
            neurons = p.ungrouped(np.asarray(p.grouped(neurons).any(axis=0)))
    return neurons


def _moved_back(
    network: Network, original: Network, name: str, neurons: NDArray, share: float
) -> Network:
    """``neurons`` of a population keep a ``share`` of their differences from ``original``."""
    before = {p.name: p.weight for p in original.projections}
    old = original.population(name)

    def synapses(p: Projection) -> Projection:
        if p.target != name:
            return p
        rows = p.columns(p.grouped(neurons)[0])
        start = before[p.name]
        if p.packing is None or p.quantum is None:
            return replace(p, weight=_between(start, p.weight, rows, share))
        wanted = start + (p.weight.astype(np.float64) - start) * share
        weight = p.packing.between(start, wanted, p.quantum.reshape(-1, 1))
        return replace(p, weight=np.where(rows, weight, p.weight).astype(start.dtype))

    def parameters(p: Population) -> Population:
        if p.name != name:
            return p
        if p.bias is not None and old.bias is not None:
            p = replace(p, bias=_between(old.bias, p.bias, neurons, share))
        threshold = old.neuron.threshold
        if threshold.dtype.kind != "i":
            return p
        rows = neurons if threshold.ndim else np.asarray(neurons.any())
        return with_neuron(p, threshold=_between(threshold, p.neuron.threshold, rows, share))

    return network.map_populations(parameters).map_projections(synapses)


def _between(before: NDArray, after: NDArray, rows: NDArray, share: float) -> NDArray:
    """``after``, but where ``rows`` only a ``share`` of the way from ``before``."""
    way = np.trunc((after.astype(np.float64) - before) * share)
    return np.where(rows, before + way, after).astype(before.dtype)
