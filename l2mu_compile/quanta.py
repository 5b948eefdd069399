"""Packed weights: each on the grid of its neuron's quantum."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from l2mu_compile.grids import Grid


def nearest_on_grid(wanted: NDArray, grid: Grid, coarser: ArrayLike = 0) -> tuple[NDArray, NDArray]:
    """int8 ``[targets, sources]`` weights nearest to ``wanted``, which are within int8, and their
    int32 quanta ``[targets]``.

    Each target has the quantum for which that sum is least, or one so many places ``coarser`` in
    the grid's list, an integer or one per target.
    """
    every = np.stack([grid.nearest(wanted, quantum).astype(np.int8) for quantum in grid.quanta])
    best = np.argmin([((weight - wanted) ** 2).sum(axis=1) for weight in every], axis=0)
    chosen = np.clip(best + np.asarray(coarser), 0, len(every) - 1)
    weights = every[chosen, np.arange(len(wanted))]
    return weights, np.array(grid.quanta, dtype=np.int32)[chosen]
