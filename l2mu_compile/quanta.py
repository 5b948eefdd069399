"""Weights of four bits: whole multiples of one quantum for each neuron."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.network import LEAST_MULTIPLE, MOST_MULTIPLE, WEIGHT_LIMIT

MOST_QUANTUM = WEIGHT_LIMIT // MOST_MULTIPLE  # a greater one would leave multiples unused


def nearest_multiples(wanted: NDArray) -> tuple[NDArray, NDArray]:
    """int8 ``[targets, sources]`` and int32 quanta ``[targets]``: weights nearest to ``wanted``,
    which are within ±WEIGHT_LIMIT, in the sum of squares over each target's."""
    weights, quanta, _ = _best(wanted)
    return weights.astype(np.int8), quanta


def rounding_error(wanted: NDArray) -> NDArray:
    """Sum of squares, ``[targets]``, that `nearest_multiples` are off by."""
    return _best(wanted)[2]


def _best(wanted: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    weights = np.zeros_like(wanted, dtype=np.float64)
    quanta = np.ones(len(wanted), dtype=np.int32)
    least = np.full(len(wanted), np.inf)
    for quantum in range(1, MOST_QUANTUM + 1):
        rounded = quantum * np.clip(np.rint(wanted / quantum), LEAST_MULTIPLE, MOST_MULTIPLE)
        error = ((rounded - wanted) ** 2).sum(axis=1)
        better = error < least
        weights[better], quanta[better], least[better] = rounded[better], quantum, error[better]
    return weights, quanta, least
