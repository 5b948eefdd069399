"""Which synapses a network needs least, one by one or in tiles of neighbouring targets.

Only dense projections have any to give: blocks, and what drives memory cells, are what a memory is
made of. A tile is a group of ``tile`` targets of one source, rows ``[k · tile, (k + 1) · tile)`` of
one column, which lie together in a device's memory; it is kept or left out as one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.errors import ModelError
from l2mu_compile.interpreter import run
from l2mu_compile.network import Network
from l2mu_compile.projection import Projection
from l2mu_compile.samples import prepared
from l2mu_compile.surgery import Masks
from l2mu_compile.weight_units import weight_units

Worth = dict[str, NDArray]  # float64, one number for every weight, by projection


def prunable(network: Network) -> list[Projection]:
    """Dense projections to populations that are no memory cells."""
    return [
        p
        for p in network.projections
        if p.is_dense and len(network.population(p.target).shape) == 1
    ]


def by_magnitude(network: Network) -> Worth:
    """Absolute weights, in their target's threshold (`l2mu_compile.weight_units`)."""
    return {
        p.name: np.abs(p.weight.astype(np.float64)) / weight_units(network, p)
        for p in prunable(network)
    }


def by_contribution(network: Network, samples: NDArray) -> Worth:
    """What arrives on average: magnitudes times their source's spikes per step or, of samples that
    are numbers, their mean absolute value in the model's units."""
    spikes = run(network, samples, record=("spikes",)).spikes
    mean = {name: s.mean(axis=(0, 1)) for name, s in spikes.items()}
    mean[network.input.name] = _sampled(network, samples).mean(axis=(0, 1))
    magnitude = by_magnitude(network)
    return {p.name: magnitude[p.name] * mean[p.source] for p in prunable(network)}


def synapses_to_keep(
    network: Network, worth: Worth, sparsity: float, tile: int = 1, together: bool = True
) -> Masks:
    """Masks of the weights of every `prunable` projection: False for a share ``sparsity`` of them,
    those tiles that are worth least per synapse.

    Tiles of zeros come first. They are compared in the whole network, or, unless ``together``, in
    each projection. Every projection keeps the tile that is worth most, and every neuron that with
    the synapse worth most to it, unless blocks reach it as well; so none loses all its input.
    Raises `ModelError`, with the largest share there can be, where that leaves too few.
    """
    if not prunable(network):
        raise ModelError(f"network {network.name} has no dense projection: its synapses must stay")
    tiles = [_Tiles.of(p, worth[p.name], tile) for p in prunable(network)]
    _protect(network, tiles, worth, tile)
    if together:
        _leave_out(tiles, sparsity, f"network {network.name}")
    else:
        for t in tiles:
            _leave_out([t], sparsity, t.projection.name)
    return {t.projection.name: t.mask(tile) for t in tiles}


def zeros(network: Network, tile: int = 1) -> tuple[int, int]:
    """How many synapses of `prunable` projections are in tiles of zeros, and how many there are."""
    tiles = [_Tiles.of(p, p.weight != 0, tile) for p in prunable(network)]
    zero = sum(int(t.sizes[t.worth < 0].sum()) for t in tiles)
    return zero, sum(int(t.sizes.sum()) for t in tiles)


@dataclass(frozen=True)
class _Tiles:
    """The tiles of a projection, as arrays ``[tiles, sources]``.

    ``sizes`` are in synapses, ``worth`` is that of one synapse, or -1 where all are zero;
    ``protected`` ones must stay, ``left`` ones do.
    """

    projection: Projection
    sizes: NDArray
    worth: NDArray
    protected: NDArray
    left: NDArray

    @classmethod
    def of(cls, p: Projection, worth: NDArray, tile: int) -> _Tiles:
        starts = np.arange(0, p.shape[0], tile)
        sizes = np.add.reduceat(np.ones(p.shape, dtype=np.int64), starts, axis=0)
        mean = np.add.reduceat(worth.astype(np.float64), starts, axis=0) / sizes
        used = np.add.reduceat((p.weight != 0).astype(np.int64), starts, axis=0) > 0
        protected, left = np.zeros_like(used), np.ones_like(used)
        return cls(p, sizes, np.where(used, mean, -1), protected, left)

    def mask(self, tile: int) -> NDArray:
        """Weights that stay."""
        return np.repeat(self.left, tile, axis=0)[: self.projection.shape[0]]


def _protect(network: Network, tiles: list[_Tiles], worth: Worth, tile: int) -> None:
    for t in tiles:
        best = np.unravel_index(t.worth.argmax(), t.worth.shape)
        t.protected[best] = t.worth[best] >= 0
    for name in dict.fromkeys(t.projection.target for t in tiles):
        own = [t for t in tiles if t.projection.target == name]
        values = [np.where(t.projection.weight != 0, worth[t.projection.name], -1) for t in own]
        most = np.stack([value.max(axis=1) for value in values])
        needy = (most.max(axis=0) >= 0) & ~_reached_by_blocks(network, name)
        for k, (t, value) in enumerate(zip(own, values, strict=True)):
            rows = np.flatnonzero(needy & (most.argmax(axis=0) == k))
            t.protected[rows // tile, value[rows].argmax(axis=1)] = True


def _reached_by_blocks(network: Network, name: str) -> NDArray:
    reached = np.zeros(network.population(name).size, dtype=bool)
    for p in network.into(name):
        if not p.is_dense:
            reached |= p.row_sums((p.weight != 0).astype(np.int64)) > 0
    return reached


def _leave_out(tiles: list[_Tiles], sparsity: float, where: str) -> None:
    """As many of the tiles worth least as the share allows."""
    sizes, worth, protected = (
        np.concatenate([getattr(t, name).ravel() for t in tiles])
        for name in ("sizes", "worth", "protected")
    )
    wanted, free = round(sparsity * int(sizes.sum())), int(sizes[~protected].sum())
    if wanted > free:
        largest = math.floor(1e4 * free / sizes.sum()) / 1e4
        raise ModelError(
            f"{sparsity:g} of the synapses of {where} cannot be zero: every neuron and projection "
            f"keeps one; at most {largest:g} can"
        )
    order = np.argsort(np.where(protected, np.inf, worth), kind="stable")
    leaving = order[: np.searchsorted(np.cumsum(sizes[order]), wanted, side="right")]
    left = np.ones(len(sizes), dtype=bool)
    left[leaving] = False
    bounds = np.cumsum([t.sizes.size for t in tiles])[:-1]
    for t, own in zip(tiles, np.split(left, bounds), strict=True):
        t.left[:] = own.reshape(t.left.shape)


def _sampled(network: Network, samples: NDArray) -> NDArray:
    """Of every sample, whether it is a spike, or its absolute value in the model's units."""
    entry = network.input
    return prepared(network, samples) if entry.spiking else np.abs(entry.in_units(samples))
