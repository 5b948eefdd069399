"""quantize: weights of 8, 4 or 2 bits, integer thresholds and membranes, a scale per neuron."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.bounds import can_be_narrow
from l2mu_compile.errors import ModelError, UsageError
from l2mu_compile.grids import INT4, SHIFT, TERNARY, Grid
from l2mu_compile.interpreter import Progress
from l2mu_compile.network import NARROW_BITS, Network, Population, spiking
from l2mu_compile.neurons import CuBaLIF
from l2mu_compile.passbase import Context, Pass
from l2mu_compile.projection import Projection, packed_bytes
from l2mu_compile.samples import check_samples
from l2mu_compile.scaling import Integers, Scaling, summed_where_tied, tied, too_wide
from l2mu_compile.sensitivity import least_sensitive
from l2mu_compile.teacher import Teacher

SAMPLE_LIMIT = 2**15 - 1
# Narrow membranes and synapses go to four times the threshold at least, and thresholds have levels
# enough.
NARROW_THRESHOLD = 2**11
FINE_LEVELS = 2**8
# Of the largest scale that a neuron may have, tried for packed weights.
FITTING_PARTS = np.linspace(1, 0.75, 11)
LEAST_PART = 0.5  # tried for spikes
COARSER = (0, 1, -1, 2, -2)  # quanta tried for spikes, counted from that of least squares

WIDTHS = (8, 4, 2)  # bits of weights

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
    further power of two per neuron, undone by a shift. With a ``clip``, which takes windows, that
    range leaves out the largest samples, of all channels, at most such a share of them: they
    saturate, in the emitted code as in the interpreter. Membranes saturate to ``membrane_bits``;
    with ``narrow``, those of spiking populations to NARROW_BITS, in int16, where what that takes
    costs little precision: a smaller scale, so that no sum is beyond int16 and no threshold above
    2^11.

    With ``bits`` of 4 or 2, dense projections of spikes get packed weights where that takes fewer
    bytes: multiples of a ``quantum`` for each neuron, from -8 to 7, or, with 2 bits, -1, 0 or 1,
    chosen with S_j so that the squares of what weights are off by add up to the least. With
    ``weights`` of ``shift`` those of 4 bits are 0 or powers of two, of either sign, instead.
    Weights of samples and of blocks, which are few, keep 8 bits, as do all that neurons compute
    with. ``projections`` names some with the bits that they get, ``h.m:4+u.m:2``, whatever the
    others do. With a ``share``, which takes windows, other projections get fewer bits only
    until all weights take at most that share of the bytes that 8 bits take, those first whose
    spikes drift the least for every byte (`l2mu_compile.sensitivity`).

    With ``decay`` of ``shift`` decays become the nearest 1 - 2^-k.

    With ``search``, which takes windows too, so many parts of S_j, from all to half of it, are
    tried, with five quanta of each where there are any, and each neuron gets what brings its spikes
    nearest to those of the float network (`l2mu_compile.teacher`), not its weights.
    """

    name: ClassVar[str] = "quantize"
    headroom: float = 2.0
    input_range: float = 16.0
    clip: float = 0.0
    threshold_limit: int = 2**14
    membrane_bits: int = 28
    narrow: bool = True
    bits: int = 8
    weights: str = "uniform"
    projections: str = ""
    share: float = 1.0
    decay: str = "q15"
    search: int = 0

    def __post_init__(self) -> None:
        if self.bits not in WIDTHS:
            raise UsageError(f"quantize: bits must be 8, 4 or 2, not {self.bits}")
        for option, known in (("weights", ("uniform", "shift")), ("decay", ("q15", "shift"))):
            if getattr(self, option) not in known:
                raise UsageError(
                    f"quantize: {option} must be {' or '.join(known)}, not {getattr(self, option)}"
                )
        named = self._named()
        if self.weights == "shift" and 4 not in {self.bits, *named.values()} and self.share == 1:
            raise UsageError("quantize: weights=shift are weights of 4 bits: give bits=4")
        for option, low, high in (
            ("headroom", 1, 2**10),
            ("input_range", 2.0**-20, 2.0**30),
            ("clip", 0, 0.5),
            ("threshold_limit", 1, 2**24),
            ("membrane_bits", 8, 30),
            ("search", 0, 2**10),
            ("share", 0, 1),
        ):
            self.require(option, low, high)

    def apply(self, network: Network, context: Context) -> Network:
        if network.quantized:
            return network
        if network.stage != "folded":
            raise ModelError("quantize needs a folded network: run fold-input before it")
        if network.readout.margins is not None:
            context.note(
                "quantize: margins of early decisions stay as they are; they were calibrated on "
                "other numbers, so run early-exit after it"
            )
        self._require_windows(context)
        fraction = self._fraction(network, context)
        samples = context.samples if self.search or self.share < 1 else None
        teacher = None if samples is None else Teacher(network, samples)
        integers = Integers(network, fraction, {}, self.decay == "shift")
        integers = replace(integers, grids=self._grids(integers, teacher, context.progress))
        scalings = {p.name: self._scaling(integers, p) for p in network.populations}
        if self.search and teacher is not None:
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

    def _require_windows(self, context: Context) -> None:
        needing = {"share": self.share < 1, "search": self.search > 0, "clip": self.clip > 0}
        for option, needed in needing.items():
            if needed and context.samples is None:
                raise UsageError(f"quantize: {option} needs windows: give --calibrate data.npz")

    def _fraction(self, network: Network, context: Context) -> int:
        entry = network.input
        if entry.spiking:
            return 0
        if self.clip and context.samples is not None:
            return self._clipped(check_samples(network, context.samples), context)
        if entry.low is None or entry.high is None:
            return _fraction_of(self._assumed(network, context))
        return _fraction_of(max(abs(entry.low), abs(entry.high)) * self.headroom)

    def _clipped(self, samples: NDArray, context: Context) -> int:
        """Bits after the point that all ``samples`` leave but those that may saturate."""
        sizes = np.abs(samples).ravel()
        place = len(sizes) - 1 - int(self.clip * len(sizes))
        largest = float(np.partition(sizes, place)[place])
        fraction = _fraction_of(largest * self.headroom)
        limit = SAMPLE_LIMIT * 2.0**-fraction
        if (beyond := float((sizes > limit).mean())) > 0:
            context.note(
                f"quantize: samples beyond ±{limit:g} saturate, {100 * beyond:.2g} % of those given"
            )
        return fraction

    def _assumed(self, network: Network, context: Context) -> float:
        """The largest raw sample there may be, by ``input_range``."""
        entry = network.input
        edges = np.repeat([[-self.input_range], [self.input_range]], entry.size, axis=1)
        largest = float(np.abs(entry.raw(edges)).max())
        differs = largest != self.input_range
        raw = f" in the model's units, ±{largest:g} raw," if differs else ""
        context.note(
            f"quantize: no calibration data; samples are assumed within ±{self.input_range:g}"
            f"{raw} and clipped beyond (give --calibrate, or quantize{{input_range=...}})"
        )
        return largest

    def _named(self) -> dict[str, int]:
        """Bits of those projections that ``projections`` names."""
        named: dict[str, int] = {}
        for item in filter(None, self.projections.split("+")):
            name, _, bits = item.rpartition(":")
            if bits not in map(str, WIDTHS) or not name or name in named:
                raise UsageError(
                    f"quantize: projections={self.projections}: cannot read {item!r}; "
                    "write h.m:4+u.m:2, each name once, with 8, 4 or 2 bits"
                )
            named[name] = int(bits)
        return named

    def _grid(self, bits: int) -> Grid | None:
        return {8: None, 4: SHIFT if self.weights == "shift" else INT4, 2: TERNARY}[bits]

    def _grids(
        self, integers: Integers, teacher: Teacher | None, progress: Progress | None
    ) -> dict[str, Grid]:
        """Of projections whose weights are to be packed, by name."""
        network, named = integers.network, self._named()
        dense = {p.name: p for p in network.projections if p.is_dense and not network.multiplies(p)}
        for name in named.keys() - dense.keys():
            raise UsageError(
                f"quantize: projections={self.projections}: {name} is no dense projection of "
                f"spikes; those are {', '.join(dense)}"
            )
        ladders = {
            name: [
                grid
                for bits in ((named[name],) if name in named else WIDTHS[1:])
                if bits >= self.bits or name in named
                if (grid := self._grid(bits)) and (name in named or _smaller(p, grid))
            ]
            for name, p in dense.items()
        }
        fixed = {name: ladders.pop(name)[0] for name in named if ladders[name]}
        if self.share == 1 or teacher is None:
            return fixed | {name: ladder[-1] for name, ladder in ladders.items() if ladder}
        for name in named:
            ladders.pop(name, None)

        def drift(population: Population, grids: dict[str, Grid]) -> float:
            part = replace(integers, grids=grids)
            scaling = self._scaling(part, population)
            alone = part.alone(population, scaling)
            return float(teacher.drift(alone, scaling.scale, population.name).sum())

        return least_sensitive(network, fixed, ladders, self.share, drift, progress)

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


def _fraction_of(largest: float) -> int:
    """Bits after the point of int16 samples up to ``largest``; of 1 where all are 0."""
    return int(np.clip(np.floor(np.log2(SAMPLE_LIMIT / (largest or 1.0))), -16, 24))


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


def _smaller(p: Projection, grid: Grid) -> bool:
    """Whether packed weights take fewer bytes."""
    return packed_bytes(*p.shape, grid) < p.weight.size


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
