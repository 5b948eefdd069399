"""quantize: weights of 8 or 4 bits, integer thresholds and membranes, one scale per neuron."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.bounds import can_be_narrow
from l2mu_compile.drift import Teacher
from l2mu_compile.errors import ModelError, UsageError
from l2mu_compile.grids import INT4, Grid
from l2mu_compile.interpreter import Progress
from l2mu_compile.network import NARROW_BITS, Network, Population, packed_bytes, spiking
from l2mu_compile.neurons import CuBaLIF
from l2mu_compile.passbase import Context, Pass
from l2mu_compile.scaling import Integers, Scaling, summed_where_tied, tied, too_wide

SAMPLE_LIMIT = 2**15 - 1
# Narrow membranes and synapses go to four times the threshold at least, and thresholds have levels
# enough.
NARROW_THRESHOLD = 2**11
FINE_LEVELS = 2**8
# Of the largest scale that a neuron may have, tried for packed weights.
FITTING_PARTS = np.linspace(1, 0.75, 11)
LEAST_PART = 0.5  # tried for spikes
COARSER = (0, 1, -1, 2, -2)  # quanta tried for spikes, counted from that of least squares

Candidate = tuple[float, int]
Cost = Callable[[Network, NDArray], NDArray]  # of a part (see `Integers.alone`) and its scales


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

    With ``search``, and calibration windows, so many parts of S_j, from all to half of it, are
    tried, with five quanta of each where there are any, and each neuron gets what brings its spikes
    nearest to those of the float network (`l2mu_compile.drift`), not its weights.
    """

    name: ClassVar[str] = "quantize"
    headroom: float = 2.0
    input_range: float = 16.0
    threshold_limit: int = 2**14
    membrane_bits: int = 28
    narrow: bool = True
    bits: int = 8
    search: int = 0

    def __post_init__(self) -> None:
        if self.bits not in (4, 8):
            raise UsageError(f"quantize: bits must be 4 or 8, not {self.bits}")
        for option, low, high in (
            ("headroom", 1, 2**10),
            ("input_range", 2.0**-20, 2.0**30),
            ("threshold_limit", 1, 2**24),
            ("membrane_bits", 8, 30),
            ("search", 0, 2**10),
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
        integers = Integers(network, fraction, self._grids(network))
        scalings = {p.name: self._scaling(integers, p) for p in network.populations}
        if self.search and context.samples is not None:
            teacher = Teacher(network, context.samples)
            scalings = self._searched(integers, scalings, teacher, context.progress)
        for p in network.populations:
            levels = _threshold_levels(p, scalings[p.name].scale)
            if levels < 8:
                context.note(
                    f"quantize: {p.name} has a threshold of only {levels} levels; "
                    "some of its weights are much larger than its threshold"
                )
        return network.replace(
            input=replace(network.input, fraction=fraction),
            populations=tuple(integers.neurons(p, scalings[p.name]) for p in network.populations),
            projections=tuple(
                integers.synapses(p, scalings[p.target]) for p in network.projections
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

    def _grids(self, network: Network) -> dict[str, Grid]:
        """Of projections whose weights are to be packed, by name."""
        if self.bits == 8:
            return {}
        dense = [p for p in network.projections if not (p.blocks or network.multiplies(p))]
        return {p.name: INT4 for p in dense if packed_bytes(*p.shape) < p.weight.size}

    def _scaling(self, integers: Integers, population: Population) -> Scaling:
        """Of the largest scales; for narrow membranes if they lose little precision."""
        network = integers.network
        scale = integers.largest_scale(population, self.threshold_limit, self.membrane_bits)
        wide = self._fitting(integers, population, Scaling(self.membrane_bits, scale))
        wanted = self.narrow and self.membrane_bits >= NARROW_BITS
        if not (wanted and can_be_narrow(network, population) and _forgets(population)):
            return wide
        threshold = np.broadcast_to(population.neuron.threshold, population.size)
        limits = [scale, integers.narrow_limit(population), NARROW_THRESHOLD / threshold]
        smaller = tied(network, population, np.minimum.reduce(limits))
        narrow = self._fitting(integers, population, Scaling(NARROW_BITS, smaller))
        fine = narrow.scale * threshold >= _fine_levels(population)
        little = ((narrow.scale * 2 >= wide.scale) | fine).all()
        part = integers.alone(population, narrow)
        return narrow if little and not too_wide(part, population.name).any() else wide

    def _fitting(self, integers: Integers, population: Population, largest: Scaling) -> Scaling:
        """At a little less than the ``largest`` scales: where packed weights are least off."""
        if not integers.packed(population):
            return largest
        return _best(
            integers,
            population,
            largest,
            [(part, 0) for part in FITTING_PARTS],
            lambda part, scale: integers.rounding_error(population, part, scale),
        )

    def _searched(
        self,
        integers: Integers,
        scalings: dict[str, Scaling],
        teacher: Teacher,
        progress: Progress | None,
    ) -> dict[str, Scaling]:
        """At smaller scales, and with other quanta: where spikes drift the least."""
        parts = np.linspace(1, LEAST_PART, self.search)
        found, order = {}, integers.network.order()
        for i, p in enumerate(order):
            candidates = list(product(parts, COARSER if integers.packed(p) else (0,)))
            drift = partial(teacher.drift, name=p.name)
            found[p.name] = _best(integers, p, scalings[p.name], candidates, drift)
            teacher.adopt(integers.alone(p, found[p.name]), p.name)
            if progress:
                progress(i + 1, len(order))
        return found


def _best(
    integers: Integers,
    population: Population,
    start: Scaling,
    candidates: Sequence[Candidate],
    cost: Cost,
) -> Scaling:
    """For each neuron the cheapest candidate, a part of the scale to start with and how much
    coarser quanta are; the first among equals. Sums that must be narrow are, if any makes them so.
    """
    costs = np.empty((len(candidates), population.size))
    for i, (factor, coarser) in enumerate(candidates):
        scale = start.scale * factor
        part = integers.alone(population, Scaling(start.bits, scale, coarser))
        costs[i] = np.where(too_wide(part, population.name), np.inf, cost(part, scale))
    chosen = np.argmin(summed_where_tied(integers.network, population, costs), axis=0)
    factors, coarser = (np.array(values)[chosen] for values in zip(*candidates, strict=True))
    scale = tied(integers.network, population, start.scale * factors)
    return replace(start, scale=scale, coarser=coarser)


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


def _threshold_levels(population: Population, scale: NDArray) -> int:
    if not spiking(population):
        return 2**15
    return int(np.rint(population.neuron.threshold * scale).min())
