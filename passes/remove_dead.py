"""remove-dead: neurons that reach no readout or provably never spike leave the network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.network import Network, Population, Projection, spiking
from l2mu_compile.neurons import parameter_names
from l2mu_compile.passbase import Context, Pass

Mask = dict[str, NDArray]

# Half a unit in the last place of a float32: what one operation may add to its result.
EPSILON = 2.0**-24


@dataclass(frozen=True)
class RemoveDead(Pass):
    """Requires a network before planning; keeps every spike that reaches the readout; exact.

    A neuron is removed if no chain of nonzero synapses and neurons that can spike leads from it to
    the readout, or if its membrane can never exceed its threshold: with only the neurons that can
    spike as sources, the largest current C gives ``v <= max(C, 0) / (1 - beta)`` (and
    ``syn <= max(C, 0) / (1 - alpha)`` before it). Neurons that read samples are assumed to spike.
    Block structure stays: blocks leave whole, with their sources and targets, or not at all; the
    readout's neurons stay.
    """

    name: ClassVar[str] = "remove-dead"

    def apply(self, network: Network, context: Context) -> Network:
        if network.stage == "planned":
            return network
        spike = _can_spike(network)
        reach = _reaches_readout(network, spike)
        keep = {name: reach[name] & spike[name] for name in reach}
        keep[network.readout.population][:] = True
        _keep_blocks_whole(network, keep)
        dropped = sum(int((~mask).sum()) for mask in keep.values())
        if not dropped:
            return network
        context.note(f"remove-dead: {dropped} neurons removed")
        return network.replace(
            populations=tuple(
                _select_neurons(p, keep[p.name]) for p in network.populations if keep[p.name].any()
            ),
            projections=tuple(
                _select_synapses(p, keep.get(p.source), keep[p.target])
                for p in network.projections
                if keep[p.target].any() and (p.source not in keep or keep[p.source].any())
            ),
        )


def _everyone(network: Network, value: bool) -> Mask:
    return {p.name: np.full(p.size, value) for p in network.populations}


def _reaches_readout(network: Network, spike: Mask) -> Mask:
    """Neurons with a chain of nonzero synapses, through neurons that can spike, to the readout."""
    reach = _everyone(network, False)
    reach[network.readout.population][:] = True
    connected = [(p, p.dense() != 0) for p in network.projections if p.source in reach]
    changed = True
    while changed:
        changed = False
        for p, synapses in connected:
            live = reach[p.target]
            if p.target != network.readout.population:
                live = live & spike[p.target]
            grown = reach[p.source] | synapses[live].any(axis=0)
            changed |= bool((grown != reach[p.source]).any())
            reach[p.source] = grown
    return reach


def _can_spike(network: Network) -> Mask:
    """Least fixed point: start from silence, add neurons that those found so far could excite."""
    spike = _everyone(network, False)
    incoming = {
        population.name: [(p, p.dense().astype(np.float64)) for p in network.into(population.name)]
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
    spike: Mask,
) -> NDArray:
    current = np.zeros(population.size)
    sampled = np.zeros(population.size, dtype=bool)
    if population.bias is not None:
        current += population.bias
    for p, weight in incoming:
        if p.source == network.input.name:
            sampled |= (weight != 0).any(axis=1)
        else:
            current += np.maximum(weight, 0) @ spike[p.source]
    one = 2.0**15 if network.quantized else 1.0
    summands = sum(weight.shape[1] for _, weight in incoming) + 3
    growth = 1.0 if network.quantized else (1 + EPSILON) ** summands
    bound = np.maximum(current, 0) * growth
    with np.errstate(divide="ignore", invalid="ignore"):
        for name in ("alpha", "beta"):
            decay = np.asarray(getattr(population.neuron, name, 0)) / one * growth
            held = np.where(decay < 1, bound * growth / (1 - decay), np.inf)
            bound = np.where(bound > 0, held, 0.0)
    return sampled | (bound > population.neuron.threshold)


def _keep_blocks_whole(network: Network, keep: Mask) -> None:
    """Widen ``keep`` until every block, and every memory cell, is kept or removed as one."""
    changed = True
    while changed:
        before = sum(int(mask.sum()) for mask in keep.values())
        for population in network.populations:
            if len(population.shape) == 2:
                _widen(keep[population.name], population.shape[0])
        for p in network.projections:
            if p.blocks:
                target = _widen(keep[p.target], p.blocks)
                source = _widen(keep[p.source], p.blocks) if p.source in keep else True
                block = np.broadcast_to(target | source, p.blocks)
                keep[p.target][:] = np.repeat(block, p.shape[0] // p.blocks)
                if p.source in keep:
                    keep[p.source][:] = np.repeat(block, p.shape[1] // p.blocks)
        changed = sum(int(mask.sum()) for mask in keep.values()) != before


def _widen(mask: NDArray, groups: int) -> NDArray:
    """Keep all of a group if any of it is kept; which groups are kept."""
    kept: NDArray = mask.reshape(groups, -1).max(axis=1)
    mask[:] = np.repeat(kept, mask.size // groups)
    return kept


def _select_neurons(population: Population, keep: NDArray) -> Population:
    if keep.all():
        return population
    size = int(keep.sum())
    order = population.shape[1:]
    neuron = replace(
        population.neuron,
        **{
            name: values[keep] if (values := getattr(population.neuron, name)).ndim else values
            for name in parameter_names(population.neuron)
        },
    )
    bias = None if population.bias is None else population.bias[keep]
    shape = (size // int(np.prod(order, dtype=int)), *order)
    return replace(
        population, shape=shape, neuron=neuron, bias=bias, rate=None, low=None, high=None
    )


def _select_synapses(p: Projection, source: NDArray | None, target: NDArray) -> Projection:
    if target.all() and (source is None or source.all()):
        return p
    shift = p.shift if p.shift is None or not p.shift.ndim else p.shift[target]
    if p.blocks:
        kept = target.reshape(p.blocks, -1)[:, 0]
        weight = p.weight if p.shared else p.weight[kept]
        return replace(p, weight=weight, blocks=int(kept.sum()), shift=shift)
    weight = p.weight[target]
    return replace(p, weight=weight if source is None else weight[:, source], shift=shift)
