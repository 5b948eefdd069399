"""What a network does on one window, beside the network it was made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.drift import drift
from l2mu_compile.errors import UsageError
from l2mu_compile.interpreter import Progress, Run, run
from l2mu_compile.network import Network, Population
from l2mu_compile.rasters import MOST_STEPS, Raster, Traces, raster, traces
from l2mu_compile.samples import check_samples
from l2mu_compile.windows import Windows

MOST_VALUES = 1 << 24  # steps times neurons that are recorded
MOST_SHOWN = 40  # populations
MOST_CHANNELS = MOST_CLASSES = 12
TRACED = 2  # neurons of a population that does not decide

SHOWN, ORIGINAL = "shown", "original"  # kinds of lines


@dataclass(frozen=True)
class Side:
    """What one of the two networks made of a window: its decision, and scores by class. Of the
    first ``steps`` of ``result`` there are spikes and membranes."""

    decision: int
    scores: NDArray
    steps: int
    result: Run


@dataclass(frozen=True)
class Score:
    """A class with its scores; ``shares`` are these among those shown, from 0 to 1."""

    name: str
    scores: tuple[float, ...]
    shares: tuple[float, ...]
    decided: tuple[bool, ...]
    true: bool


@dataclass(frozen=True)
class PopulationActivity:
    """Rasters and traces of a population; ``original`` is None where there is none."""

    name: str
    rate: float
    shown: Raster
    original_rate: float | None
    original: Raster | None
    distance: float | None
    traces: tuple[Traces, ...]


@dataclass(frozen=True)
class Activity:
    """A window: ``left_out`` are sentences on what is not shown."""

    number: int
    windows: int
    source: str
    steps: int
    label: str | None
    decisions: tuple[str, ...]
    scores: tuple[Score, ...]
    rates: dict[str, float]
    inputs: tuple[Traces, ...]
    populations: tuple[PopulationActivity, ...]
    left_out: tuple[str, ...]


def chosen(windows: Windows, number: int) -> Windows:
    """Window ``number``, counted from 0; `UsageError` if there is none."""
    if number >= len(windows.x):
        raise UsageError(
            f"--window {number}: {windows.source} has {len(windows.x)} windows, counted from 0"
        )
    return windows.chosen(np.array([number]))


def watch(
    network: Network,
    original: Network | None,
    windows: Windows,
    number: int,
    progress: Progress | None = None,
) -> Activity:
    """What ``network`` does on a window, and ``original``, which sees the same in its own units."""
    window = chosen(windows, number)
    samples = check_samples(network, window.x)
    shown = _side(network, window.x, progress)
    other = None
    if original is not None:
        other = _side(original, seen_by(original, network, window.x), progress)
    ordered = network.order()
    names = network.class_names
    sides = [side for side in (shown, other) if side is not None]
    steps = shown.steps
    left_out = []
    if steps < samples.shape[1]:
        left_out.append(f"Only the first {steps:,} of {samples.shape[1]:,} steps are shown.")
    for count, most, what in (
        (len(ordered), MOST_SHOWN, "populations"),
        (network.input.size, MOST_CHANNELS, "channels"),
        (network.classes, MOST_CLASSES, "classes"),
    ):
        if count > most:
            left_out.append(f"Only the first {most} of {count:,} {what} are shown.")
    return Activity(
        number=number,
        windows=len(windows.x),
        source=Path(windows.source).name,
        steps=steps,
        label=None if window.y is None else names[int(window.y[0])],
        decisions=tuple(names[side.decision] for side in sides),
        scores=_scores(names, sides, None if window.y is None else int(window.y[0])),
        rates={p.name: shown.result.rate(p) for p in ordered},
        inputs=tuple(
            traces(f"channel {i}", [(SHOWN, samples[0, :steps, i])])
            for i in range(min(network.input.size, MOST_CHANNELS))
        ),
        populations=tuple(
            _population(network, p, shown, original, other) for p in ordered[:MOST_SHOWN]
        ),
        left_out=tuple(left_out),
    )


def seen_by(original: Network, network: Network, x: NDArray) -> NDArray:
    """Raw samples of ``network`` as ``original`` reads them: raw, or else in the model's units."""
    if original.input.is_raw or not network.input.is_raw:
        return x
    return network.input.in_units(x).astype(np.float32)


def _side(network: Network, x: NDArray, progress: Progress | None) -> Side:
    samples = check_samples(network, x)
    neurons = sum(p.size for p in network.populations)
    steps = min(samples.shape[1], MOST_STEPS, max(MOST_VALUES // neurons, 1))
    result = run(network, samples, ("spikes", "membranes"), progress, recorded=steps)
    return Side(int(result.decisions[0]), result.scores[0], steps, result)


def _scores(names: tuple[str, ...], sides: list[Side], label: int | None) -> tuple[Score, ...]:
    found = []
    scales = [_scale(side.scores) for side in sides]
    for i, name in enumerate(names[:MOST_CLASSES]):
        scores = tuple(float(side.scores[i]) for side in sides)
        shares = tuple(
            min(max((score - low) / (high - low), 0.0), 1.0) if high > low else 0.0
            for score, (low, high) in zip(scores, scales, strict=True)
        )
        decided = tuple(side.decision == i for side in sides)
        found.append(Score(name, scores, shares, decided, i == label))
    return tuple(found)


def _scale(scores: NDArray) -> tuple[float, float]:
    finite = scores[np.isfinite(scores)].astype(np.float64)
    return float(np.append(finite, 0.0).min()), float(np.append(finite, 0.0).max())


def _population(
    network: Network, p: Population, shown: Side, original: Network | None, other: Side | None
) -> PopulationActivity:
    spikes, theirs, before = shown.result.spikes[p.name][0], None, None
    if original is not None and other is not None and p.name in other.result.spikes:
        theirs, before = other.result.spikes[p.name][0], original.population(p.name)
        steps = min(len(spikes), len(theirs))
        spikes, theirs = spikes[:steps], theirs[:steps]
        if before.size != p.size:  # which of its neurons are left is not known
            before = None
    paired = None if before is None else theirs
    distance = None
    if theirs is not None:
        distance = drift({p.name: theirs[None]}, {p.name: spikes[None]})[0].distance
    return PopulationActivity(
        name=p.name,
        rate=float(spikes.mean()),
        shown=raster(spikes, paired, 0 if theirs is None else theirs.shape[1]),
        original_rate=None if theirs is None else float(theirs.mean()),
        original=None
        if theirs is None
        else raster(theirs, None if before is None else spikes, p.size),
        distance=distance,
        traces=tuple(
            _traces(network, p, before, i, shown, other)
            for i in _traced(network, p, spikes, paired)
        ),
    )


def _traced(network: Network, p: Population, spikes: NDArray, others: NDArray | None) -> list[int]:
    """Neurons whose membranes are shown: those that decide, or else the one that differs most and
    the one that spikes most."""
    if p.name == network.readout.population:
        return list(range(min(p.size, MOST_CLASSES)))
    ranks = [spikes.sum(axis=0)]
    if others is not None:
        ranks.insert(0, (spikes ^ others).sum(axis=0))
    found: list[int] = []
    for rank in ranks:
        order = (int(i) for i in np.argsort(-rank, kind="stable"))
        found += [i for i in order if i not in found][: TRACED // len(ranks)]
    return sorted(found)


def _traces(
    network: Network,
    p: Population,
    before: Population | None,
    i: int,
    shown: Side,
    other: Side | None,
) -> Traces:
    """Membranes of a neuron in units of its threshold, or of the largest seen where it has none."""
    lines = []
    if before is not None and other is not None:
        lines.append((ORIGINAL, _in_thresholds(before, i, other.result)))
    lines.append((SHOWN, _in_thresholds(p, i, shown.result)))
    decides = p.name == network.readout.population
    name = f"class {network.class_names[i]}" if decides else f"neuron {i}"
    return traces(name, lines, None if _threshold(p, i) is None else 1.0)


def _in_thresholds(p: Population, i: int, result: Run) -> NDArray:
    membrane = result.membranes[p.name][0, :, i].astype(np.float64)
    finite = np.abs(membrane[np.isfinite(membrane)])
    unit = _threshold(p, i) or (finite.max() if finite.size and finite.max() else 1.0)
    return membrane / unit


def _threshold(p: Population, i: int) -> float | None:
    """A neuron's, if it is above zero and can be reached."""
    found = np.broadcast_to(p.neuron.threshold, (p.size,))[i]
    return float(found) if 0 < found < np.inf else None
