"""What weights are counted in, so that all synapses of a network can be compared."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.network import Network, Population, spiking
from l2mu_compile.projection import Projection


def neuron_units(network: Network, population: Population) -> NDArray:
    """What currents of each neuron are counted in, float64 ``[n]``: its threshold, or, where there
    is none, the largest weight."""
    if spiking(population):
        return np.broadcast_to(population.neuron.threshold, population.size).astype(np.float64)
    spiked = (p for p in network.into(population.name) if not network.multiplies(p))
    largest = max((float(np.abs(p.weight.astype(np.float64)).max()) for p in spiked), default=0.0)
    return np.full(population.size, largest or 1.0)


def weight_units(network: Network, p: Projection) -> NDArray:
    """The weight with which a spike, or a sample of 1 in the model's units, adds its neuron's unit;
    float64, of a shape that broadcasts to ``p.weight``. Where a weight is shared it is the mean."""
    rows = neuron_units(network, network.population(p.target))
    if network.multiplies(p) and network.input.fraction is not None:
        shift = np.int32(0) if p.shift is None else p.shift
        rows = rows * 2.0 ** (shift - float(network.input.fraction))
    if p.convolution is not None:
        return _kernel_units(network, p, rows)
    unit = rows.reshape(max(p.blocks, 1), -1, 1)
    if network.multiplies(p) and network.input.unit is not None:
        columns = np.broadcast_to(network.input.unit, network.input.size).astype(np.float64)
        unit = unit / np.abs(columns).reshape(max(p.blocks, 1), 1, -1)
    return unit if p.weight.ndim == 3 else unit.mean(axis=0)


def _kernel_units(network: Network, p: Projection, rows: NDArray) -> NDArray:
    unit = p.columns(p.grouped(rows).mean(axis=0))
    if network.multiplies(p) and network.input.unit is not None:
        unit = unit / np.abs(network.input.unit.astype(np.float64)).mean()
    return unit
