"""Immutable values: frozen dataclasses whose arrays are read-only and compare bit for bit."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Value:
    """Mixin for ``@dataclass(frozen=True, eq=False)``: equality that understands arrays.

    Two values are equal when they have the same class and every field is equal; arrays must agree
    in dtype, shape and every bit, so ``-0.0 != 0.0`` and a NaN equals itself.
    """

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return all(
            _same(getattr(self, f.name), getattr(other, f.name))
            for f in fields(self)  # type: ignore[arg-type]
        )


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return False
    return bool(a == b)


def frozen_array(array: NDArray) -> NDArray:
    """A contiguous, read-only copy of ``array`` that nobody else can write to."""
    copy = np.array(array, order="C", copy=True)
    copy.setflags(write=False)
    return copy
