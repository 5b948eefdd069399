"""A pass in a file: neurons that spike most come first.

l2mu-compile opt network.txt -p reorder-by-rate --calibrate windows.npz --plugin reorder_by_rate.py
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from l2mu_compile import Context, ModelError, Network, Pass, Population, Projection, UsageError, run


@dataclass(frozen=True)
class ReorderByRate(Pass):
    """Requires a quantized network and calibration windows; sorts neurons by spike rate; exact.

    Populations that decide, that are kept in cells, or that have blocks or convolutions stay as
    they are. Integers may be added in any order; floats may not, so a float network is refused.
    """

    name: ClassVar[str] = "reorder-by-rate"
    exact: ClassVar[bool] = True
    idempotent: ClassVar[bool] = True
    windows: int = 64

    def apply(self, network: Network, context: Context) -> Network:
        self.require("windows", 1, 10_000)
        if network.stage != "quantized":
            raise ModelError(f"reorder-by-rate needs a quantized network, not {network.stage}")
        if context.samples is None:
            raise UsageError("reorder-by-rate needs windows: give --calibrate")
        spikes = run(network, context.samples[: self.windows], record=("spikes",)).spikes
        orders = {
            p.name: np.argsort(-spikes[p.name].sum(axis=(0, 1)), kind="stable")
            for p in network.populations
            if _movable(network, p)
        }
        orders = {name: order for name, order in orders.items() if (np.diff(order) < 0).any()}
        moved = network.map_populations(lambda p: _reordered(p, orders.get(p.name)))
        return moved.map_projections(
            lambda p: _rewired(p, orders.get(p.source), orders.get(p.target))
        )


def _movable(network: Network, population: Population) -> bool:
    around = (*network.into(population.name), *network.out_of(population.name))
    is_plain = len(population.shape) == 1 and all(p.is_dense for p in around)
    return is_plain and population.name != network.readout.population


def _reordered(population: Population, order: NDArray | None) -> Population:
    """The same neurons in another order, each with its parameters."""
    if order is None:
        return population
    neuron = population.neuron
    each = {
        name: getattr(neuron, name)[order]
        for name in ("alpha", "beta", "threshold")
        if getattr(getattr(neuron, name, None), "ndim", 0) == 1
    }
    bias = None if population.bias is None else population.bias[order]
    return replace(population, neuron=replace(neuron, **each), bias=bias)


def _rewired(p: Projection, sources: NDArray | None, targets: NDArray | None) -> Projection:
    """The same synapses between neurons that have moved."""
    if sources is None and targets is None:
        return p
    columns = np.arange(p.shape[1]) if sources is None else sources
    rows = np.arange(p.shape[0]) if targets is None else targets
    each = {
        name: array[rows]
        for name in ("shift", "quantum")
        if (array := getattr(p, name)) is not None and array.ndim == 1
    }
    return replace(p, weight=p.weight[np.ix_(rows, columns)], **each)


PLUGIN = [ReorderByRate]
