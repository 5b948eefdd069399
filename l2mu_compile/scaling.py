"""Float neurons and their synapses as integers: each neuron's, all times one scale, rounded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.bounds import beyond_int16
from l2mu_compile.grids import Grid
from l2mu_compile.network import NARROW_BITS, WEIGHT_LIMIT, Network, Population, spiking
from l2mu_compile.projection import Projection
from l2mu_compile.quanta import nearest_on_grid

# Σ|weight| of a neuron's input synapses, so that the sum over int16 samples fits int32 with room.
ROW_LIMIT = 2**14
BIAS_LIMIT = 2.0**24
MAX_SHIFT = 30


@dataclass(frozen=True)
class Scaling:
    """What neurons' numbers are multiplied with, ``scale`` ``[n]``, and the ``bits`` of their
    membranes; ``coarser`` ``[n]`` is how many places their quanta are from those of least squares.
    """

    bits: int
    scale: NDArray
    coarser: NDArray | int = 0


@dataclass(frozen=True)
class Integers:
    """Integer forms of parts of a folded float ``network``, whose samples get ``fraction`` bits
    after the point. ``grids``: those of projections, by name, with packed weights. With
    ``shift_decays`` every decay is a shift and a difference, 1 - 2^-k."""

    network: Network
    fraction: int
    grids: Mapping[str, Grid]
    shift_decays: bool = False

    def neurons(self, population: Population, scaling: Scaling) -> Population:
        """The population at this scaling."""
        neuron = population.neuron
        changes: dict[str, Any] = {
            name: self._decay(getattr(neuron, name)) for name in neuron.decays
        }
        if spiking(population):
            threshold = np.maximum(np.rint(neuron.threshold * scaling.scale), 1).astype(np.int32)
            changes["threshold"] = _scalar_if_equal(threshold)
        bias = population.bias
        return replace(
            population,
            neuron=replace(neuron, **changes),
            bias=None if bias is None else np.rint(bias * scaling.scale).astype(np.int32),
            membrane_bits=scaling.bits,
            low=None,
            high=None,
        )

    def synapses(self, p: Projection, scaling: Scaling) -> Projection:
        """A projection onto a population of this scaling."""
        if self.network.multiplies(p):
            return _input_synapses(p, scaling.scale, self.fraction)
        wanted = p.weight * rows_of(p, scaling.scale)
        if p.name not in self.grids:
            return replace(p, weight=_integers(wanted))
        grid = self.grids[p.name]
        weight, quantum = nearest_on_grid(wanted, grid, scaling.coarser)
        return replace(p, weight=weight, quantum=_scalar_if_equal(quantum), grid=grid.name)

    def alone(self, population: Population, scaling: Scaling) -> Network:
        """The network with one population, and what ends at it, as integers."""
        name = population.name
        changed = self.neurons(population, scaling)
        network = self.network.map_populations(lambda p: changed if p.name == name else p)
        return network.replace(
            input=replace(network.input, fraction=self.fraction)
        ).map_projections(lambda p: self.synapses(p, scaling) if p.target == name else p)

    def packed(self, population: Population) -> list[Projection]:
        """Projections onto a population that have packed weights."""
        return [p for p in self.network.into(population.name) if p.name in self.grids]

    def rounding_error(self, population: Population, part: Network, scale: NDArray) -> NDArray:
        """Sum of squares, ``[n]``, that packed weights of a ``part`` (see `alone`) are off by."""
        total = np.zeros(population.size)
        rounded = {p.name: p.weight for p in part.projections}
        for p in self.packed(population):
            total += ((rounded[p.name] / scale[:, None] - p.weight) ** 2).sum(axis=1)
        return total

    def largest_scale(
        self, population: Population, threshold_limit: int, membrane_bits: int
    ) -> NDArray:
        """S_j of every neuron, float64 ``[n]``: the largest that every limit allows."""
        limits = [np.full(population.size, np.inf)]
        if spiking(population):
            threshold = np.broadcast_to(population.neuron.threshold, population.size)
            largest = min(threshold_limit, 2 ** (membrane_bits - 2))
            limits.append(largest / threshold.astype(np.float64))
        for p in self.network.into(population.name):
            if self.network.multiplies(p):
                limits.append(_input_limit(p) * 2.0**self.fraction)
            else:
                limits.append(_divide(WEIGHT_LIMIT, _row_maximum(p)))
        if population.bias is not None:
            limits.append(_divide(BIAS_LIMIT, np.abs(population.bias.astype(np.float64))))
        scale = np.minimum.reduce(limits)
        scale[~np.isfinite(scale)] = 1.0
        return tied(self.network, population, scale)

    def narrow_limit(self, population: Population) -> NDArray:
        """Largest scale per neuron, ``[n]``, that keeps every sum of a step within int16, but for
        what packed weights are rounded by: see `too_wide`."""
        most, rounding = np.zeros(population.size), 1.0
        for p in self.network.into(population.name):
            weight = p.dense().astype(np.float64)
            if self.network.multiplies(p):
                # Weights of 64 and more (see `_input_synapses`) are off by half of one at most.
                off = p.weight.shape[-1] * np.abs(weight).max(axis=1) / WEIGHT_LIMIT
                most += (np.abs(weight).sum(axis=1) + off) * 2.0 ** (15 - self.fraction)
                continue
            most += np.maximum(
                np.maximum(weight, 0).sum(axis=1), np.maximum(-weight, 0).sum(axis=1)
            )
            rounding += p.weight.shape[-1] / 2
        if population.bias is not None:
            most += np.abs(population.bias)
        return _divide(2.0**15 - 2.0 ** (NARROW_BITS - 1) - rounding, most)

    def _decay(self, decay: NDArray) -> NDArray:
        return _power_decay(decay) if self.shift_decays else _q15(decay)


def too_wide(part: Network, name: str) -> NDArray:
    """Neurons, bool ``[n]``, of narrow membranes with sums that may be beyond int16."""
    population = part.population(name)
    if population.membrane_bits != NARROW_BITS:
        return np.zeros(population.size, dtype=bool)
    return beyond_int16(part, population)


def tied(network: Network, population: Population, scale: NDArray) -> NDArray:
    """Scales made equal where weights are shared or membranes are compared."""
    if compared(network, population):
        return np.full_like(scale, scale.min())
    before = None
    while before is None or (before != scale).any():
        before = scale
        for p in _shared(network, population):
            scale = p.ungrouped(p.grouped(scale).min(axis=0))
    return scale


def summed_where_tied(network: Network, population: Population, costs: NDArray) -> NDArray:
    """Costs ``[..., n]`` of neurons, those added up that share a scale."""
    if compared(network, population):
        return np.broadcast_to(costs.sum(axis=-1, keepdims=True), costs.shape)
    for p in _shared(network, population):
        costs = p.ungrouped(p.grouped(costs).sum(axis=-2))
    return costs


def compared(network: Network, population: Population) -> bool:
    """Whether a decision compares the population's membranes."""
    return population.name == network.readout.population and network.readout.rule != "spike_count"


def _shared(network: Network, population: Population) -> list[Projection]:
    return [p for p in network.into(population.name) if p.repeats]


def _q15(decay: NDArray) -> NDArray:
    """Nearest Q15; a decay below 1 stays below it, so that every leak stays a leak."""
    nearest = np.rint(decay * np.float64(2**15)).astype(np.int32)
    return np.where(decay < 1, np.minimum(nearest, 2**15 - 1), nearest).astype(np.int32)


def _power_decay(decay: NDArray) -> NDArray:
    """Nearest 1 - 2^-k, k from 0 to 15, in Q15; 1 alone stays 1."""
    allowed = 2**15 - 2 ** np.arange(15, -1, -1)
    middles = (allowed[1:] + allowed[:-1]) / 2
    nearest = allowed[np.searchsorted(middles, decay * np.float64(2**15))]
    return np.where(decay < 1, nearest, 2**15).astype(np.int32)


def _row_maximum(p: Projection) -> NDArray:
    return p.ungrouped(np.abs(p.weight.astype(np.float64)).max(axis=p.inward).ravel())


def _input_limit(p: Projection) -> NDArray:
    """Largest weight scale per neuron that keeps int8 and the int32 sum over samples."""
    sums = p.row_sums(np.abs(p.weight.astype(np.float64)))
    return np.minimum(_divide(WEIGHT_LIMIT, _row_maximum(p)), _divide(ROW_LIMIT, sums))


def _input_synapses(p: Projection, scale: NDArray, fraction: int) -> Projection:
    """``weight · sample · S`` as ``(integer weight · integer sample) >> shift``."""
    room = _input_limit(p) / (scale * 2.0**-fraction)
    exponent = np.floor(np.log2(room, where=np.isfinite(room), out=np.zeros_like(room)) + 1e-9)
    shift = np.clip(exponent, 0, MAX_SHIFT)
    shift = p.ungrouped(p.grouped(shift).min(axis=0))
    weight = _integers(p.weight * rows_of(p, scale * 2.0 ** (shift - fraction)))
    return replace(p, weight=weight, shift=_scalar_if_equal(shift.astype(np.int32)))


def rows_of(p: Projection, scale: NDArray) -> NDArray:
    """Per-neuron scale shaped to multiply ``p.weight``."""
    return p.columns(p.grouped(scale)[0])


def _integers(values: NDArray) -> NDArray:
    return np.clip(np.rint(values), -WEIGHT_LIMIT, WEIGHT_LIMIT).astype(np.int8)


def _divide(limit: float, values: NDArray) -> NDArray:
    with np.errstate(divide="ignore"):
        return np.where(values > 0, limit / values, np.inf)


def _scalar_if_equal(values: NDArray) -> NDArray:
    return values.reshape(-1)[0] if np.ptp(values) == 0 else values
