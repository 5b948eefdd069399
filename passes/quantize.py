"""quantize: weights of 8 or 4 bits, integer thresholds and membranes, one scale per neuron."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.bounds import can_be_narrow
from l2mu_compile.errors import ModelError, UsageError
from l2mu_compile.network import (
    MOST_MULTIPLE,
    NARROW_BITS,
    WEIGHT_LIMIT,
    Network,
    Population,
    Projection,
    packed_bytes,
    spiking,
)
from l2mu_compile.neurons import CuBaLIF
from l2mu_compile.passbase import Context, Pass
from l2mu_compile.quanta import nearest_multiples, rounding_error

SAMPLE_LIMIT = 2**15 - 1
# Σ|weight| of a neuron's input synapses, so that the sum over int16 samples fits int32 with room.
ROW_LIMIT = 2**14
MAX_SHIFT = 30
# Narrow membranes and synapses go to four times the threshold at least, and thresholds have levels
# enough.
NARROW_THRESHOLD = 2**11
FINE_LEVELS = 2**8
# Of the largest scale that a neuron may have, tried for weights of four bits.
FITTING_PARTS = np.linspace(1, 0.75, 11)


@dataclass(frozen=True)
class Quantize(Pass):
    """Requires a folded float network; replaces every number by an integer; lossy.

    LIF dynamics are scale-free per neuron, so each neuron j gets one scale S_j, shared by all its
    synapses, bias and threshold, and nothing is ever requantized. S_j is the largest that keeps its
    weights within ±127 and its threshold within ``threshold_limit``; neurons that share a block
    share a scale. Decays become Q15. Samples become int16 with the largest power-of-two scale that
    leaves ``headroom`` above the calibrated range (when there was no calibration, above
    ±``input_range`` in the model's units, whatever raw samples that is); their weights get a
    further power of two per neuron, undone by a shift. Membranes saturate to ``membrane_bits``;
    with ``narrow``, those of spiking populations to NARROW_BITS, in int16, where what that takes
    costs little precision: a smaller scale, so that no sum is beyond int16 and no threshold above
    2^11.

    With ``bits`` of 4, dense projections of spikes get weights of four bits where that takes fewer
    bytes: multiples, from -8 to 7, of a ``quantum`` for each neuron, chosen with S_j so that the
    squares of what weights are off by add up to the least. Weights of samples and of blocks, which
    are few, keep 8 bits, as do all that neurons compute with.
    """

    name: ClassVar[str] = "quantize"
    headroom: float = 2.0
    input_range: float = 16.0
    threshold_limit: int = 2**14
    membrane_bits: int = 28
    narrow: bool = True
    bits: int = 8

    def __post_init__(self) -> None:
        if self.bits not in (4, 8):
            raise UsageError(f"quantize: bits must be 4 or 8, not {self.bits}")
        for option, low, high in (
            ("headroom", 1, 2**10),
            ("input_range", 2.0**-20, 2.0**30),
            ("threshold_limit", 1, 2**24),
            ("membrane_bits", 8, 30),
        ):
            value = getattr(self, option)
            if not low <= value <= high:
                raise UsageError(
                    f"quantize: {option} must be from {low:g} to {high:g}, not {value:g}"
                )

    def apply(self, network: Network, context: Context) -> Network:
        if network.quantized:
            return network
        if network.stage != "folded":
            raise ModelError("quantize needs a folded network: run fold-input before it")
        fraction = self._fraction(network, context)
        bits, scales = {}, {}
        for p in network.populations:
            bits[p.name], scales[p.name] = self._width_and_scales(network, p, fraction)
        coarse = [p for p in network.populations if _threshold_levels(p, scales[p.name]) < 8]
        for p in coarse:
            levels = _threshold_levels(p, scales[p.name])
            context.note(
                f"quantize: {p.name} has a threshold of only {levels} levels; "
                "some of its weights are much larger than its threshold"
            )
        return network.replace(
            input=replace(network.input, fraction=fraction),
            populations=tuple(
                self._neurons(p, scales[p.name], bits[p.name]) for p in network.populations
            ),
            projections=tuple(
                _input_synapses(p, scales[p.target], fraction)
                if network.multiplies(p)
                else self._spike_synapses(network, p, scales[p.target])
                for p in network.projections
            ),
            stage="quantized",
        )

    def _fraction(self, network: Network, context: Context) -> int:
        entry = network.input
        if entry.spiking:
            return 0
        if entry.low is None or entry.high is None:
            edges = np.repeat([[-self.input_range], [self.input_range]], entry.size, axis=1)
            largest = float(np.abs(entry.raw(edges)).max())
            differs = largest != self.input_range
            raw = f" in the model's units, ±{largest:g} raw," if differs else ""
            context.note(
                f"quantize: no calibration data; samples are assumed within ±{self.input_range:g}"
                f"{raw} and clipped beyond (give --calibrate, or quantize{{input_range=...}})"
            )
        else:
            largest = max(abs(entry.low), abs(entry.high)) * self.headroom or 1.0
        return int(np.clip(np.floor(np.log2(SAMPLE_LIMIT / largest)), -16, 24))

    def _width_and_scales(
        self, network: Network, population: Population, fraction: int
    ) -> tuple[int, NDArray]:
        """Bits of membranes, and S_j of every neuron: narrow ones if they lose little precision."""
        scale = self._fitting(network, population, self._scales(network, population, fraction))
        wanted = self.narrow and self.membrane_bits >= NARROW_BITS
        if not (wanted and can_be_narrow(network, population) and _forgets(population)):
            return self.membrane_bits, scale
        threshold = np.broadcast_to(population.neuron.threshold, population.size)
        narrow = self._narrow_limit(network, population, fraction)
        smallest = np.minimum.reduce([scale, narrow, NARROW_THRESHOLD / threshold])
        smaller = self._fitting(network, population, _tied(network, population, smallest))
        if ((smaller * 2 >= scale) | (smaller * threshold >= _fine_levels(population))).all():
            return NARROW_BITS, smaller
        return self.membrane_bits, scale

    def _packed(self, network: Network, p: Projection) -> bool:
        """Whether the projection's weights are to have four bits."""
        dense = not (p.blocks or network.multiplies(p))
        return self.bits == 4 and dense and packed_bytes(*p.shape) < p.weight.size

    def _spike_synapses(self, network: Network, p: Projection, scale: NDArray) -> Projection:
        wanted = p.weight * _rows_of(p, scale)
        if not self._packed(network, p):
            return replace(p, weight=_integers(wanted))
        weight, quantum = nearest_multiples(wanted)
        return replace(p, weight=weight, quantum=_scalar_if_equal(quantum))

    def _fitting(self, network: Network, population: Population, scale: NDArray) -> NDArray:
        """A little less than ``scale`` per neuron: the part of it at which weights of four bits are
        off by the least."""
        packed = [p for p in network.into(population.name) if self._packed(network, p)]
        if not packed:
            return scale
        off = [
            sum(rounding_error(p.weight * (part * scale)[:, None]) for p in packed) / part**2
            for part in FITTING_PARTS
        ]
        return _tied(network, population, scale * FITTING_PARTS[np.argmin(off, axis=0)])

    def _narrow_limit(self, network: Network, population: Population, fraction: int) -> NDArray:
        """Largest scale per neuron, ``[n]``, that keeps every sum of a step within int16."""
        most, rounding = np.zeros(population.size), 1.0
        for p in network.into(population.name):
            weight = p.dense().astype(np.float64)
            if network.multiplies(p):
                # Weights of 64 and more (see `_input_synapses`) are off by half of one at most.
                off = p.weight.shape[-1] * np.abs(weight).max(axis=1) / WEIGHT_LIMIT
                most += (np.abs(weight).sum(axis=1) + off) * 2.0 ** (15 - fraction)
                continue
            most += np.maximum(
                np.maximum(weight, 0).sum(axis=1), np.maximum(-weight, 0).sum(axis=1)
            )
            rounding += p.weight.shape[-1] / 2
            if self._packed(network, p):
                # By half a quantum, which is at most the next integer to a seventh of the greatest.
                most += p.weight.shape[-1] * np.abs(weight).max(axis=1) / (2 * MOST_MULTIPLE)
        if population.bias is not None:
            most += np.abs(population.bias)
        return _divide(2.0**15 - 2.0 ** (NARROW_BITS - 1) - rounding, most)

    def _scales(self, network: Network, population: Population, fraction: int) -> NDArray:
        """S_j of every neuron, float64 ``[n]``: the largest that every limit allows."""
        limits = [np.full(population.size, np.inf)]
        if spiking(population):
            threshold = np.broadcast_to(population.neuron.threshold, population.size)
            largest = min(self.threshold_limit, 2 ** (self.membrane_bits - 2))
            limits.append(largest / threshold.astype(np.float64))
        for p in network.into(population.name):
            if network.multiplies(p):
                limits.append(_input_limit(p) * 2.0**fraction)
            else:
                limits.append(_divide(WEIGHT_LIMIT, _row_maximum(p)))
        if population.bias is not None:
            limits.append(_divide(2.0**24, np.abs(population.bias.astype(np.float64))))
        scale = np.minimum.reduce(limits)
        scale[~np.isfinite(scale)] = 1.0
        return _tied(network, population, scale)

    def _neurons(self, population: Population, scale: NDArray, bits: int) -> Population:
        neuron = population.neuron
        changes: dict[str, Any] = {name: _q15(getattr(neuron, name)) for name in neuron.decays}
        if spiking(population):
            threshold = np.maximum(np.rint(neuron.threshold * scale), 1).astype(np.int32)
            changes["threshold"] = _scalar_if_equal(threshold)
        bias = population.bias
        return replace(
            population,
            neuron=replace(neuron, **changes),
            bias=None if bias is None else np.rint(bias * scale).astype(np.int32),
            membrane_bits=bits,
            low=None,
            high=None,
        )


def _forgets(population: Population) -> bool:
    """Whether no current lasts for ever: it would add up to more than a narrow synapse holds."""
    neuron = population.neuron
    return not isinstance(neuron, CuBaLIF) or bool((neuron.alpha < 1).all())


def _fine_levels(population: Population) -> NDArray | int:
    """Levels of a threshold that are enough: what a synapse loses when it is rounded down, it
    hands on to the membrane for 1 / (1 - alpha) steps."""
    neuron = population.neuron
    if not isinstance(neuron, CuBaLIF):
        return FINE_LEVELS
    return FINE_LEVELS / (1 - neuron.alpha.astype(np.float64))


def _q15(decay: NDArray) -> NDArray:
    """Nearest Q15; a decay below 1 stays below it, so that every leak stays a leak."""
    nearest = np.rint(decay * np.float64(2**15)).astype(np.int32)
    return np.where(decay < 1, np.minimum(nearest, 2**15 - 1), nearest).astype(np.int32)


def _tied(network: Network, population: Population, scale: NDArray) -> NDArray:
    """Scales made equal where weights are shared or membranes are compared."""
    if population.name == network.readout.population and network.readout.rule != "spike_count":
        return np.full_like(scale, scale.min())
    shared = [p.blocks for p in network.into(population.name) if p.shared]
    for blocks in shared:
        scale = np.tile(scale.reshape(blocks, -1).min(axis=0), blocks)
    return scale


def _row_maximum(p: Projection) -> NDArray:
    return np.abs(p.dense().astype(np.float64)).max(axis=1)


def _input_limit(p: Projection) -> NDArray:
    """Largest weight scale per neuron that keeps int8 and the int32 sum over samples."""
    rows = np.abs(p.dense().astype(np.float64))
    return np.minimum(_divide(WEIGHT_LIMIT, rows.max(axis=1)), _divide(ROW_LIMIT, rows.sum(axis=1)))


def _input_synapses(p: Projection, scale: NDArray, fraction: int) -> Projection:
    """``weight · sample · S`` as ``(integer weight · integer sample) >> shift``."""
    room = _input_limit(p) / (scale * 2.0**-fraction)
    exponent = np.floor(np.log2(room, where=np.isfinite(room), out=np.zeros_like(room)) + 1e-9)
    shift = np.clip(exponent, 0, MAX_SHIFT)
    if p.shared:
        shift = np.tile(shift.reshape(p.blocks, -1).min(axis=0), p.blocks)
    weight = _integers(p.weight * _rows_of(p, scale * 2.0 ** (shift - fraction)))
    return replace(p, weight=weight, shift=_scalar_if_equal(shift.astype(np.int32)))


def _rows_of(p: Projection, scale: NDArray) -> NDArray:
    """Per-neuron scale shaped to multiply ``p.weight``."""
    rows = scale.reshape(max(p.blocks, 1), -1, 1)
    return rows if p.weight.ndim == 3 else rows[0]


def _integers(values: NDArray) -> NDArray:
    return np.clip(np.rint(values), -WEIGHT_LIMIT, WEIGHT_LIMIT).astype(np.int8)


def _divide(limit: float, values: NDArray) -> NDArray:
    with np.errstate(divide="ignore"):
        return np.where(values > 0, limit / values, np.inf)


def _scalar_if_equal(values: NDArray) -> NDArray:
    return values.reshape(-1)[0] if np.ptp(values) == 0 else values


def _threshold_levels(population: Population, scale: NDArray) -> int:
    if not spiking(population):
        return 2**15
    return int(np.rint(population.neuron.threshold * scale).min())
