"""Taking neurons and synapses out of a network: what must leave together, and what is left."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.convolution import Convolution
from l2mu_compile.network import Network, Population
from l2mu_compile.neurons import parameter_names
from l2mu_compile.projection import Projection

Masks = dict[str, NDArray]  # one bool for every neuron or synapse, by population or projection


def everyone(network: Network, value: bool) -> Masks:
    """The same for all neurons."""
    return {p.name: np.full(p.size, value) for p in network.populations}


def keep_neurons(network: Network, keep: Masks) -> Network:
    """``network`` with only the neurons to ``keep`` and the synapses between them.

    Blocks and channels must be kept or left out as a whole (`keep_blocks_whole`), but blocks of
    samples may lose rows: as many of each, the same ones where one block serves all. A population
    without neurons leaves; what calibration measured of one that lost some is forgotten.
    """
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


def keep_synapses(network: Network, keep: Masks) -> Network:
    """``network`` with zeros for all weights but those to ``keep``, a mask as large as the weights
    by the name of a projection; projections without one stay. What calibration measured is
    forgotten. The same object if nothing changes."""

    def left(p: Projection) -> Projection:
        if p.name not in keep or not p.weight[~keep[p.name]].any():
            return p
        return replace(p, weight=np.where(keep[p.name], p.weight, p.weight.dtype.type(0)))

    found = network.map_projections(left)
    return found if found is network else found.map_populations(unmeasured)


def unmeasured(population: Population) -> Population:
    """``population`` without the rate and ranges that were measured on other numbers."""
    return replace(population, rate=None, low=None, high=None)


def keep_blocks_whole(network: Network, keep: Masks) -> None:
    """Widen ``keep`` until every block, memory cell and convolved channel is kept or removed as
    one."""
    changed = True
    while changed:
        before = sum(int(mask.sum()) for mask in keep.values())
        for population in network.populations:
            if len(population.shape) == 2:
                _widen(keep[population.name], population.shape[0])
        for p in network.projections:
            if p.convolution is not None:
                _keep_channels(p, p.convolution, keep)
            elif p.blocks:
                target = _widen(keep[p.target], p.blocks)
                source = _widen(keep[p.source], p.blocks) if p.source in keep else True
                block = np.broadcast_to(target | source, p.blocks)
                keep[p.target][:] = np.repeat(block, p.shape[0] // p.blocks)
                if p.source in keep:
                    keep[p.source][:] = np.repeat(block, p.shape[1] // p.blocks)
        changed = sum(int(mask.sum()) for mask in keep.values()) != before


def units(network: Network) -> dict[str, NDArray]:
    """A number for every neuron of every population; those with the same must leave together.

    That are a memory cell's neurons, the sources and targets of a block, the neurons of all blocks
    that share a row of weights for samples, and those of a channel that is convolved, or of a group
    of such channels.
    """
    sizes = [p.size for p in network.populations]
    parts = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    labels = {p.name: part for p, part in zip(network.populations, parts, strict=True)}
    before: list[NDArray] = []
    while not before or any((a != b).any() for a, b in zip(before, labels.values(), strict=True)):
        before = [label.copy() for label in labels.values()]
        for population in network.populations:
            if len(population.shape) == 2:
                cells = labels[population.name].reshape(population.shape)
                cells[:] = cells.min(axis=1, keepdims=True)
        for p in network.projections:
            if p.convolution is not None:
                _tie_channels(p, p.convolution, labels)
                continue
            if not p.blocks:
                continue
            targets = labels[p.target].reshape(p.blocks, -1)
            if p.source in labels:
                sources = labels[p.source].reshape(p.blocks, -1)
                least = np.minimum(targets.min(axis=1), sources.min(axis=1))[:, None]
                targets[:], sources[:] = least, least
            elif p.shared:
                targets[:] = targets.min(axis=0)
    return labels


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
    shift, quantum = (
        values if values is None or not values.ndim else values[target]
        for values in (p.shift, p.quantum)
    )
    if p.convolution is not None:
        return replace(_select_channels(p, p.convolution, source, target), shift=shift)
    if not p.blocks:
        weight = p.weight[target]
        weight = weight if source is None else weight[:, source]
        return replace(p, weight=weight, shift=shift, quantum=quantum)
    rows = target.reshape(p.blocks, -1)
    if source is None:
        return replace(p, weight=_select_rows(p, rows), shift=shift)
    kept = rows[:, 0]
    weight = p.weight if p.shared else p.weight[kept]
    return replace(p, weight=weight, blocks=int(kept.sum()), shift=shift)


def _parts(p: Convolution) -> tuple[int, int]:
    """Parts of the source and target map that stay or leave as one: channels, or groups of them."""
    return (p.source[0], p.target[0]) if p.groups == 1 else (p.groups, p.groups)


def _keep_channels(p: Projection, convolution: Convolution, keep: Masks) -> None:
    sources, targets = _parts(convolution)
    kept = _widen(keep[p.target], targets)
    if p.source not in keep:
        if convolution.groups > 1:
            _widen(keep[p.target], 1)
        return
    heard = _widen(keep[p.source], sources)
    if convolution.groups > 1:
        for name in (p.source, p.target):
            keep[name][:] = np.repeat(kept | heard, keep[name].size // convolution.groups)


def _tie_channels(p: Projection, convolution: Convolution, labels: dict[str, NDArray]) -> None:
    sources, targets = _parts(convolution)
    to = labels[p.target].reshape(targets, -1)
    to[:] = to.min(axis=1, keepdims=True)
    if p.source not in labels:
        if convolution.groups > 1:
            to[:] = to.min()
        return
    come = labels[p.source].reshape(sources, -1)
    come[:] = come.min(axis=1, keepdims=True)
    if convolution.groups > 1:
        least = np.minimum(to.min(axis=1), come.min(axis=1))[:, None]
        to[:], come[:] = least, least


def _select_channels(
    p: Projection, convolution: Convolution, source: NDArray | None, target: NDArray
) -> Projection:
    """Kernels of the channels, or groups, to keep."""
    to = target.reshape(convolution.target[0], -1)[:, 0]
    come = np.ones(convolution.source[0], bool)
    if source is not None:
        come = source.reshape(convolution.source[0], -1)[:, 0]
    groups = int(target.reshape(convolution.groups, -1)[:, 0].sum())
    weight = p.weight[to]
    if convolution.groups == 1:
        groups, weight = 1, weight[:, come]
    made = replace(
        convolution,
        source=(int(come.sum()), *convolution.source[1:]),
        target=(int(to.sum()), *convolution.target[1:]),
        groups=groups,
    )
    return replace(p, weight=weight, convolution=made)


def _select_rows(p: Projection, rows: NDArray) -> NDArray:
    """Weights of the rows to keep of every block, as many of each."""
    if p.shared:
        return p.weight[rows[0]]
    kept = [block[mask] for block, mask in zip(p.weight, rows, strict=True)]
    return np.stack(kept)
