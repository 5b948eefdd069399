"""Drift: how far the spikes of a network are from those of the one it was made from.

Spike trains are compared as by van Rossum, "A Novel Spike Distance", Neural Computation 13:751,
2001: each becomes a sum of exponentials that begin at its spikes, here in whole time steps, ::

    f[t] = exp(-1 / TIME_CONSTANT) · f[t-1] + spikes[t]

and two are as far apart as the sum of ``(f - g)²``. That is divided by the sum of ``f² + g²``, over
all neurons, windows and steps. So the distance is 0 where trains are the same, 1 where no spike of
the one is near a spike of the other, and 1/n if one of n lone spikes of each is somewhere else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import DTypeLike, NDArray

from l2mu_compile.report import Drift

TIME_CONSTANT = 8.0  # steps after which 1/e of a spike is left


def drift(before: Mapping[str, NDArray], after: Mapping[str, NDArray]) -> list[Drift]:
    """The drift of every population of ``before``; spikes are bool ``[B, T, neurons]`` by name.

    Steps of ``before`` that ``after`` lacks are left out. Which neurons are left of a population
    that lost some is not known, so there the number of spikes in each step is compared; a
    population that left has no spikes.
    """
    steps = min((spikes.shape[1] for spikes in after.values()), default=0)
    return [
        _drift(name, spikes[:, :steps], after.get(name, spikes[:, :steps, :0]))
        for name, spikes in before.items()
    ]


def distance(a: NDArray, b: NDArray) -> float:
    """Of spike trains ``[B, T, n]``, each with the one in its place; from 0 to 1."""
    apart = both = 0.0
    for f, g in zip(filtered(a), filtered(b), strict=True):
        apart += float(np.square(f - g).sum())
        both += float(np.square(f).sum() + np.square(g).sum())
    return apart / both if both else 0.0


def filtered(trains: NDArray, dtype: DTypeLike = np.float64) -> Iterator[NDArray]:
    """Spike trains ``[B, T, n]``, or differences of such, as sums of exponentials: ``[B, n]`` after
    every step."""
    decay = math.exp(-1 / TIME_CONSTANT)
    left = np.zeros(trains[:, 0].shape, dtype)
    for step in range(trains.shape[1]):
        left = decay * left + trains[:, step]
        yield left


def _drift(name: str, before: NDArray, after: NDArray) -> Drift:
    same = before.shape == after.shape
    trains = (before, after) if same else (_summed(before), _summed(after))
    return Drift(
        population=name,
        rate=_rate(after) - _rate(before),
        distance=min(distance(*trains), 1.0),
        compared="neurons" if same else "sum",
    )


def _summed(spikes: NDArray) -> NDArray:
    return spikes.sum(axis=2, keepdims=True, dtype=np.int64)


def _rate(spikes: NDArray) -> float:
    return float(spikes.mean()) if spikes.size else 0.0
