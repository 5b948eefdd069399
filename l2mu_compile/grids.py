"""Grids: which multiples of its neuron's quantum a packed weight may be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

INT8_LOW, INT8_HIGH = -128, 127


@dataclass(frozen=True)
class Grid:
    """A weight is one of ``multiples``, ascending, of its quantum; ``bits`` hold which.

    ``numbers`` is what kernels that read such weights have in their names. ``quanta``, ascending,
    are those worth trying: others leave multiples unused or are twice one of these. ``said`` is
    what messages call the multiples.
    """

    name: str
    numbers: str
    bits: int
    multiples: tuple[int, ...]
    quanta: tuple[int, ...]
    said: str

    def allowed(self, quantum: int) -> NDArray:
        """Weights, int64 and ascending, that int8 holds."""
        weights = quantum * np.array(self.multiples, dtype=np.int64)
        return weights[(weights >= INT8_LOW) & (weights <= INT8_HIGH)]

    @property
    def uniform(self) -> bool:
        """Whether the multiples are all integers from the first to the last."""
        return self.multiples[-1] - self.multiples[0] == len(self.multiples) - 1

    def nearest(self, wanted: NDArray, quantum: int) -> NDArray:
        """Of the weights that are `allowed` the nearest to each that is ``wanted``."""
        allowed = self.allowed(quantum)
        if self.uniform:
            return np.clip(quantum * np.rint(wanted / quantum), allowed[0], allowed[-1])
        return allowed[np.searchsorted((allowed[1:] + allowed[:-1]) / 2, wanted)]

    def limits(self, quantum: NDArray) -> tuple[NDArray, NDArray]:
        """Least and greatest weight of each ``quantum``, int64."""
        ends = [self.allowed(int(q))[[0, -1]] for q in quantum.ravel()]
        low, high = (
            np.array(ends, dtype=np.int64)
            .reshape(*quantum.shape, 2)
            .transpose(-1, *range(quantum.ndim))
        )
        return low, high

    def between(self, start: NDArray, wanted: NDArray, quantum: NDArray) -> NDArray:
        """Weights from ``start``, which are on the grid, up to ``wanted``, as far as it allows."""
        multiples, exact = np.array(self.multiples), wanted / quantum
        below = multiples[np.searchsorted(multiples, exact, side="right") - 1]
        above = multiples[np.minimum(np.searchsorted(multiples, exact), len(multiples) - 1)]
        return quantum * np.where(wanted > start, below, above)

    def codes(self, multiples: NDArray) -> NDArray:
        """uint8: which of the grid's each of ``multiples`` is."""
        return np.searchsorted(self.multiples, multiples).astype(np.uint8)


INT4 = Grid("int4", "i4", 4, tuple(range(-8, 8)), tuple(range(1, 19)), "from -8 to 7")
# A tenth more from one quantum to the next, where integers allow it.
TERNARY = Grid(
    *("ternary", "i2", 2, (-1, 0, 1)),
    tuple(sorted({round(1.1**n) for n in range(51)} | {127})),
    "-1, 0 or 1",
)
_POWERS = tuple(2**k for k in range(7))
SHIFT = Grid(
    *("shift", "s4", 4, (*(-m for m in reversed(_POWERS)), 0, *_POWERS)),
    (1, 3, 5, 7),
    "0 or ±2^k, k from 0 to 6,",
)
GRIDS = {grid.name: grid for grid in (INT4, TERNARY, SHIFT)}
