"""remove-dead: neurons that reach no readout or provably never spike leave the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.network import Network, Population, spiking
from l2mu_compile.passbase import Context, Pass
from l2mu_compile.projection import Projection
from l2mu_compile.surgery import Masks, everyone, keep_blocks_whole, keep_neurons

# Half a unit in the last place of a float32: what one operation may add to its result.
EPSILON = 2.0**-24


@dataclass(frozen=True)
class RemoveDead(Pass):
    """Requires a network before planning; keeps every spike that reaches the readout; exact.

    A neuron is removed if no chain of nonzero synapses and neurons that can spike leads from it to
    the readout, or if its membrane can never exceed its threshold: with only the neurons that can
    spike as sources, the largest current C gives ``v <= max(C, 0) / (1 - beta)`` (and
    ``syn <= max(C, 0) / (1 - alpha)`` before it). Neurons that read samples are assumed to spike.
    Block structure stays: blocks leave whole, with their sources and targets, or not at all, and so
    do channels that are convolved; the readout's neurons stay.
    """

    name: ClassVar[str] = "remove-dead"
    idempotent: ClassVar[bool] = True
    exact: ClassVar[bool] = True

    def apply(self, network: Network, context: Context) -> Network:
        if network.stage == "planned":
            return network
        dropped, keep = 0, _living(network)
        # The last of several groups of channels is none: its channels can leave one by one.
        while more := sum(int((~mask).sum()) for mask in keep.values()):
            dropped, network = dropped + more, keep_neurons(network, keep)
            keep = _living(network)
        if dropped:
            context.note(f"remove-dead: {dropped} neurons removed")
        return network


def _living(network: Network) -> Masks:
    """Neurons to keep."""
    spike = _can_spike(network)
    reach = _reaches_readout(network, spike)
    keep = {name: reach[name] & spike[name] for name in reach}
    keep[network.readout.population][:] = True
    keep_blocks_whole(network, keep)
    return keep


def _reaches_readout(network: Network, spike: Masks) -> Masks:
    """Neurons with a chain of nonzero synapses, through neurons that can spike, to the readout."""
    reach = everyone(network, False)
    reach[network.readout.population][:] = True
    connected = [
        (p, (p.weight != 0).astype(np.int64)) for p in network.projections if p.source in reach
    ]
    changed = True
    while changed:
        changed = False
        for p, synapses in connected:
            live = reach[p.target]
            if p.target != network.readout.population:
                live = live & spike[p.target]
            grown = reach[p.source] | (p.transposed(synapses, live.astype(np.int64)) > 0)
            changed |= bool((grown != reach[p.source]).any())
            reach[p.source] = grown
    return reach


def _can_spike(network: Network) -> Masks:
    """Least fixed point: start from silence, add neurons that those found so far could excite."""
    spike = everyone(network, False)
    incoming = {
        population.name: [(p, p.weight.astype(np.float64)) for p in network.into(population.name)]
        for population in network.populations
    }
    changed = True
    while changed:
        changed = False
        for population in filter(spiking, network.populations):
            name = population.name
            grown = spike[name] | _excitable(network, population, incoming[name], spike)
            changed |= bool((grown != spike[name]).any())
            spike[name] = grown
    return spike


def _excitable(
    network: Network,
    population: Population,
    incoming: list[tuple[Projection, NDArray]],
    spike: Masks,
) -> NDArray:
    current = np.zeros(population.size)
    sampled = np.zeros(population.size, dtype=bool)
    if population.bias is not None:
        current += population.bias
    for p, weight in incoming:
        if p.source == network.input.name:
            sampled |= p.row_sums((weight != 0).astype(np.int64)) > 0
        else:
            current += p.applied(np.maximum(weight, 0), spike[p.source])
    one = 2.0**15 if network.quantized else 1.0
    summands = sum(p.shape[1] for p, _ in incoming) + 3
    growth = 1.0 if network.quantized else (1 + EPSILON) ** summands
    bound = np.maximum(current, 0) * growth
    with np.errstate(divide="ignore", invalid="ignore"):
        for name in ("alpha", "beta"):
            decay = np.asarray(getattr(population.neuron, name, 0)) / one * growth
            held = np.where(decay < 1, bound * growth / (1 - decay), np.inf)
            bound = np.where(bound > 0, held, 0.0)
    return sampled | (bound > population.neuron.threshold)
