"""prune-population: neurons and memory cells that the network needs least leave it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.errors import ModelError, UsageError
from l2mu_compile.importance import CRITERIA, Trains, redundant_first
from l2mu_compile.interpreter import run
from l2mu_compile.network import WEIGHT_LIMIT, Network, Population
from l2mu_compile.passbase import Context, Pass
from l2mu_compile.projection import Projection
from l2mu_compile.samples import check_samples
from l2mu_compile.surgery import Masks, everyone, keep_neurons, units
from l2mu_compile.windows import spread

Order = Iterable[tuple[int, int | None]]  # units that may leave, each with one that replaces it


@dataclass(frozen=True)
class PrunePopulation(Pass):
    """Requires calibration windows, before planning; removes neurons of every population; lossy.

    Of every population but the readout's the share ``sparsity`` leaves, rounded to whole neurons;
    of ``population`` alone, if one is named. A memory cell leaves whole, with what feeds it alone;
    of blocks that read samples, as many neurons leave each. Those that matter least go first, by
    ``criterion``: ``readout`` (what the readout's current owes them), ``rate`` (spikes),
    ``magnitude`` (weights in and out), ``redundancy`` (those whose spikes most resemble another's,
    which takes over their synapses). See `l2mu_compile.importance`.

    What a removed neuron added on average becomes a bias. So a neuron that never spikes on the
    (at most ``windows``) calibration windows vanishes without a trace, and one that spikes in every
    step is a bias; these leave first, whatever the criterion, and all of them.
    """

    name: ClassVar[str] = "prune-population"
    sparsity: float = 0.5
    criterion: Literal["readout", "rate", "magnitude", "redundancy"] = "readout"
    population: str = ""
    windows: int = 64

    def __post_init__(self) -> None:
        if not 0 <= self.sparsity < 1:
            raise UsageError(
                f"prune-population: sparsity must be from 0 to below 1, not {self.sparsity:g}"
            )
        if self.windows < 1:
            raise UsageError(f"prune-population: windows must be at least 1, not {self.windows}")

    def apply(self, network: Network, context: Context) -> Network:
        if network.stage == "planned":
            raise ModelError("prune-population must come before plan-memory")
        self.refuse_margins(network)
        if context.samples is None:
            raise UsageError("prune-population needs windows: give --calibrate data.npz")
        families = self._chosen(network)
        samples = check_samples(network, context.samples)
        trains = _trains(network, samples[spread(self.windows, len(samples))])
        keep = everyone(network, True)
        heirs: dict[str, list[tuple[int, int | None]]] = {p.name: [] for p in network.populations}
        for family in families:
            constant = family.constant(trains)
            quota = family.quota(self.sparsity, constant)
            order = self._order(network, family, trains, constant)
            for unit, heir in family.leaving(order, quota):
                for name, neuron, other in family.neurons(unit, heir):
                    keep[name][neuron] = False
                    heirs[name].append((neuron, other))
        if all(mask.all() for mask in keep.values()):
            return network
        context.note(f"prune-population: {_what_is_left(keep)}")
        return keep_neurons(_handed_over(network, trains, heirs), keep)

    def _chosen(self, network: Network) -> list[_Family]:
        families = _families(network)
        if not self.population:
            return families
        known = [name for family in families for name in family.labels]
        if self.population not in known:
            raise UsageError(
                f"prune-population: cannot prune {self.population!r}; "
                f"populations that can be: {', '.join(known) or 'none'}"
            )
        return [family for family in families if self.population in family.labels]

    def _order(self, network: Network, family: _Family, trains: Trains, constant: NDArray) -> Order:
        """All units, those that matter least first; before all those that are ``constant``."""
        first: list[tuple[int, int | None]] = [(int(k), None) for k in np.flatnonzero(constant)]
        if self.criterion == "redundancy":
            rest: Order = redundant_first(family.train(trains, ~constant))
            numbers = np.flatnonzero(~constant)
            return [*first, *((int(numbers[a]), int(numbers[b])) for a, b in rest)]
        score = family.total(CRITERIA[self.criterion](network, trains))
        ranked = np.argsort(np.where(constant, -1, score), kind="stable")
        return [(int(k), None) for k in ranked]


@dataclass(frozen=True)
class _Family:
    """Populations whose neurons leave together, unit by unit; most are on their own.

    ``labels`` number the unit of every neuron, from 0. ``strata`` number the block of samples that
    every unit reads: as many units of each stay.
    """

    labels: dict[str, NDArray]
    strata: NDArray

    def quota(self, sparsity: float, constant: NDArray) -> int:
        """How many units leave each stratum: a share of them, or more where more are constant."""
        counts = np.bincount(self.strata)
        idle = np.bincount(self.strata[constant], minlength=len(counts))
        quota = max(round(sparsity * int(counts.min())), int(idle.min()))
        if quota >= counts.min():
            raise ModelError(
                f"prune-population: {quota} of {counts.min()} units of {' and '.join(self.labels)} "
                f"would leave ({idle.min()} never change on these windows); at least one must stay"
            )
        return quota

    def leaving(self, order: Order, quota: int) -> Iterator[tuple[int, int | None]]:
        """The first units of ``order``, so many of each stratum."""
        left = np.full(int(self.strata.max()) + 1, quota)
        for unit, heir in order:
            if left[self.strata[unit]] > 0:
                left[self.strata[unit]] -= 1
                yield unit, heir

    def neurons(self, unit: int, heir: int | None) -> Iterator[tuple[str, int, int | None]]:
        """A unit's neurons: their population, number, and what replaces them."""
        for name, label in self.labels.items():
            own = np.flatnonzero(label == unit)
            others = own if heir is None else np.flatnonzero(label == heir)
            for neuron, other in zip(own, others, strict=True):
                yield name, int(neuron), None if heir is None else int(other)

    def total(self, scores: dict[str, NDArray]) -> NDArray:
        """Of every unit, the sum over its neurons."""
        count = len(self.strata)
        return np.sum([np.bincount(v, scores[n], count) for n, v in self.labels.items()], axis=0)

    def constant(self, trains: Trains) -> NDArray:
        """Units of which no neuron ever changes: it spikes in every step, or in none."""
        changing = {n: (trains[n] != trains[n][:1]).any(axis=0) for n in self.labels}
        return self.total(changing) == 0

    def train(self, trains: Trains, chosen: NDArray) -> NDArray:
        """Spikes of some units, bool ``[steps, units, neurons]``."""
        count, parts = len(self.strata), []
        for name, label in self.labels.items():
            if (
                len(label) % count
                or (np.bincount(label, minlength=count) != len(label) // count).any()
            ):
                raise ModelError(
                    f"prune-population: the parts of {name} that must leave together are not "
                    "alike; choose another criterion than redundancy"
                )
            by_unit = np.argsort(label, kind="stable").reshape(count, -1)
            parts.append(trains[name][:, by_unit[chosen]])
        return np.concatenate(parts, axis=2)


def _families(network: Network) -> list[_Family]:
    """Of all populations that may lose neurons: not those tied to the readout."""
    found: list[dict[str, NDArray]] = []
    for name, label in units(network).items():
        tied = [f for f in found if any(np.isin(label, other).any() for other in f.values())]
        found = [f for f in found if not any(f is other for other in tied)]
        found.append({n: v for f in [*tied, {name: label}] for n, v in f.items()})
    return [
        _family(network, labels) for labels in found if network.readout.population not in labels
    ]


def _family(network: Network, labels: dict[str, NDArray]) -> _Family:
    numbers = np.unique(np.concatenate(list(labels.values())))
    own = {name: np.searchsorted(numbers, label) for name, label in labels.items()}
    strata = np.zeros(len(numbers), dtype=np.int64)
    for p in network.projections:
        if p.target in own and p.source == network.input.name and p.blocks and not p.shared:
            blocks = np.arange(p.shape[0]) // (p.shape[0] // p.blocks)
            strata[own[p.target]] = strata[own[p.target]] * p.blocks + blocks
    return _Family(own, np.unique(strata, return_inverse=True)[1])


def _trains(network: Network, samples: NDArray) -> Trains:
    spikes = run(network, samples, record=("spikes",)).spikes
    return {name: s.reshape(-1, s.shape[-1]) for name, s in spikes.items()}


def _handed_over(
    network: Network, trains: Trains, heirs: dict[str, list[tuple[int, int | None]]]
) -> Network:
    """What neurons that leave used to add, added by their heirs and by biases instead."""
    more = {p.name: np.zeros(p.size) for p in network.populations}

    def without(p: Projection) -> Projection:
        if not p.is_dense or not heirs.get(p.source):
            return p
        weight = p.weight.astype(np.float64)
        train = trains[p.source]
        for neuron, heir in heirs[p.source]:
            rest = train[:, neuron].mean()
            if heir is not None and train[:, heir].any():
                share = (train[:, neuron] & train[:, heir]).sum() / train[:, heir].sum()
                weight[:, heir] += share * weight[:, neuron]
                rest -= share * train[:, heir].mean()
            more[p.target] += rest * weight[:, neuron]
        return replace(p, weight=_as_stored(weight, p.weight), quantum=None)

    changed = network.map_projections(without)
    return changed.map_populations(lambda p: _with_bias(p, more[p.name], network.quantized))


def _as_stored(weight: NDArray, like: NDArray) -> NDArray:
    if like.dtype == np.int8:
        return np.clip(np.rint(weight), -WEIGHT_LIMIT, WEIGHT_LIMIT).astype(np.int8)
    return weight.astype(like.dtype)


def _with_bias(p: Population, more: NDArray, quantized: bool) -> Population:
    """``p`` with more bias; what was measured of it is forgotten."""
    bias = p.bias
    if more.any():
        total = more if bias is None else bias + more
        bias = np.rint(total).astype(np.int32) if quantized else total.astype(np.float32)
    return replace(p, bias=bias, rate=None, low=None, high=None)


def _what_is_left(keep: Masks) -> str:
    parts = [f"{n} {m.sum()} of {m.size}" for n, m in keep.items() if not m.all()]
    return f"left are {', '.join(parts)} neurons"
