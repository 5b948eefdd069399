"""fold-threshold: measure every neuron in units of its own threshold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.network import Network, Population, spiking, with_neuron
from l2mu_compile.passbase import Context, Pass
from l2mu_compile.projection import Projection


@dataclass(frozen=True)
class FoldThreshold(Pass):
    """Requires a float network; sets thresholds to 1; keeps all spikes but for float32 rounding.

    LIF dynamics are scale-free per neuron: dividing a neuron's incoming weights, bias and threshold
    by one positive number changes no spike. Populations are left alone where that would cost
    something: where neurons that share a block of weights have different thresholds, and where
    membranes are compared with each other by the readout.
    """

    name: ClassVar[str] = "fold-threshold"
    idempotent: ClassVar[bool] = True

    def apply(self, network: Network, context: Context) -> Network:
        thresholds = {
            p.name: np.broadcast_to(p.neuron.threshold, p.size).astype(np.float64)
            for p in network.populations
            if _foldable(network, p)
        }

        def folded(p: Population) -> Population:
            if p.name not in thresholds:
                return p
            bias = p.bias if p.bias is None else _divide(p.bias, thresholds[p.name])
            return with_neuron(replace(p, bias=bias), threshold=np.float32(1))

        def scaled(p: Projection) -> Projection:
            if p.target not in thresholds:
                return p
            return replace(p, weight=_divide_rows(p, thresholds[p.target]))

        return network.map_populations(folded).map_projections(scaled)


def _foldable(network: Network, population: Population) -> bool:
    if network.quantized or not spiking(population) or not np.any(population.neuron.threshold != 1):
        return False
    if population.name == network.readout.population and network.readout.rule != "spike_count":
        return False
    threshold = np.broadcast_to(population.neuron.threshold, population.size)
    shared = (p for p in network.into(population.name) if p.repeats)
    return all(np.ptp(p.grouped(threshold), axis=0).max() == 0 for p in shared)


def _divide(values: NDArray, divisor: NDArray) -> NDArray:
    return (values / divisor).astype(np.float32)


def _divide_rows(p: Projection, divisor: NDArray) -> NDArray:
    return _divide(p.weight, p.columns(p.grouped(divisor)[0]))
