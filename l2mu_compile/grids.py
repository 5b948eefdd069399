"""Grids: which multiples of its neuron's quantum a packed weight may be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

INT8_LOW, INT8_HIGH = -128, 127


@dataclass(frozen=True)
class Grid:
    """A weight is one of ``multiples``, ascending, of its quantum; ``bits`` hold which.

    ``quanta``, ascending, are those worth trying: greater ones would leave multiples unused.
    """

    name: str
    bits: int
    multiples: tuple[int, ...]
    quanta: tuple[int, ...]

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


INT4 = Grid("int4", 4, tuple(range(-8, 8)), tuple(range(1, 19)))
GRIDS = {grid.name: grid for grid in (INT4,)}
