"""Scores of a window's classes, which are read as `Readout` says, and decisions made of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.network import Network

LOWEST_F32 = np.finfo(np.float32).min


class Scores:
    """Those of a batch of windows: ``total`` ``[B, classes]`` after the steps so far, and
    ``needed`` int64 ``[B]``, the steps until a window was decided, or all."""

    def __init__(self, network: Network, windows: int, steps: int) -> None:
        self._rule, self._margins = network.readout.rule, network.readout.margins
        self.needed = np.full(windows, steps, dtype=np.int64)
        counting = network.quantized or self._rule == "spike_count"
        dtype = np.int64 if counting else np.float32
        self.total: NDArray = np.zeros((windows, network.classes), dtype)
        if self._rule == "max_membrane":
            self.total += -(2**31) if counting else LOWEST_F32

    def add(self, step: int, spikes: NDArray, membranes: NDArray) -> None:
        """Take what the population that is read did in a step, ``[B, classes]``."""
        if self._margins is not None:
            open_still = self.needed > step
            self.total += spikes & open_still[:, None]
            self.needed[open_still & decided(self.total, self._margins)] = step + 1
        elif self._rule == "spike_count":
            self.total += spikes
        elif self._rule == "last_membrane":
            self.total = membranes.copy()
        elif self._rule == "max_membrane":
            self.total = np.where(membranes > self.total, membranes, self.total)
        else:
            self.total += membranes


def decided(scores: NDArray, margins: Sequence[int]) -> NDArray:
    """Where a class is ahead of all others by its margin, bool ``[...]``."""
    return np.asarray((leads(scores) >= np.asarray(margins)).any(axis=-1))


def leads(scores: NDArray) -> NDArray:
    """How far each class is ahead of the best other one, ``[..., classes]``; 0 for one alone."""
    if scores.shape[-1] == 1:
        return np.zeros_like(scores)
    ranked = np.sort(scores, axis=-1)
    best = ranked[..., -1:]
    return scores - np.where(scores == best, ranked[..., -2:-1], best)


def largest(scores: NDArray) -> NDArray:
    """Index of the largest score of each window: the lowest among equals, never one that is NaN
    unless the first is."""
    best = np.zeros(len(scores), dtype=np.int64)
    for j in range(1, scores.shape[1]):
        better = scores[:, j] > scores[np.arange(len(scores)), best]
        best[better] = j
    return best
