"""What nodes without a state pass on: affine maps of what neurons and the input put out.

Matrices are float64: ``[n, source size]``, or ``[n]`` for those with a diagonal and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.errors import ModelError
from l2mu_compile.verify import MAX_MATRIX

Terms = dict[tuple[str, int], NDArray]


@dataclass(frozen=True, eq=False)
class Signal:
    """``bias`` ``[n]`` plus a matrix times what each (source, steps of delay) puts out."""

    terms: Terms
    bias: NDArray

    @property
    def size(self) -> int:
        """Number of values."""
        return int(self.bias.size)

    def only_source(self) -> str | None:
        """The node whose output of this step this is, if it is just that."""
        if len(self.terms) != 1 or self.bias.any():
            return None
        ((source, delay), matrix), *_ = self.terms.items()
        return source if not delay and matrix.ndim == 1 and (matrix == 1).all() else None


def identity(source: str, size: int) -> Signal:
    """What ``source`` puts out."""
    return Signal({(source, 0): np.ones(size)}, np.zeros(size))


def total(signals: Sequence[Signal]) -> Signal:
    """The sum of at least one signal, all of one size."""
    terms = dict(signals[0].terms)
    for signal in signals[1:]:
        for key, matrix in signal.terms.items():
            terms[key] = summed(terms[key], matrix) if key in terms else matrix
    return Signal(terms, np.sum([signal.bias for signal in signals], axis=0))


def scaled(signal: Signal, factor: NDArray) -> Signal:
    """``factor`` ``[n]`` times ``signal``, value by value."""
    if (factor == 1).all():
        return signal
    terms = {
        key: factor * matrix if matrix.ndim == 1 else factor[:, None] * matrix
        for key, matrix in signal.terms.items()
    }
    return Signal(terms, factor * signal.bias)


def linear(signal: Signal, weight: NDArray) -> Signal:
    """``weight`` times ``signal``; weights of more than two axes are blocks along a diagonal."""
    blocks = weight.reshape(-1, *weight.shape[-2:]).astype(np.float64)
    terms = {key: _product(blocks, matrix) for key, matrix in signal.terms.items()}
    return Signal(terms, _product(blocks, signal.bias[:, None])[:, 0])


def raised(signal: Signal, bias: NDArray) -> Signal:
    """``signal`` plus a constant ``[n]``."""
    return Signal(signal.terms, signal.bias + bias)


def delayed(signal: Signal, steps: int) -> Signal:
    """``signal``, so many steps later. Before it there is nothing, so it must have no constant."""
    if steps and signal.bias.any():
        raise ModelError("a delayed constant would be 0 in the first step; put the delay before it")
    terms = {(source, delay + steps): matrix for (source, delay), matrix in signal.terms.items()}
    return Signal(terms, signal.bias)


def summed(a: NDArray, b: NDArray) -> NDArray:
    """The sum of two matrices, either of which may be a diagonal."""
    if a.ndim == b.ndim:
        return a + b
    full, diagonal = (a, b) if a.ndim == 2 else (b, a)
    result = full.copy()
    result[np.diag_indices(diagonal.size)] += diagonal
    return result


def dense(matrix: NDArray) -> NDArray:
    """A matrix in full."""
    if matrix.ndim == 2:
        return matrix
    _check_size(matrix.size, matrix.size)
    return np.diag(matrix)


def _product(blocks: NDArray, matrix: NDArray) -> NDArray:
    count, rows, columns = blocks.shape
    if matrix.ndim == 2:
        _check_size(count * rows, matrix.shape[1])
        parts = matrix.reshape(count, columns, matrix.shape[1])
        return np.matmul(blocks, parts).reshape(count * rows, matrix.shape[1])
    _check_size(count * rows, matrix.size)
    result = np.zeros((count * rows, matrix.size))
    for k, block in enumerate(blocks):
        part = slice(k * columns, (k + 1) * columns)
        result[k * rows : (k + 1) * rows, part] = block * matrix[part]
    return result


def _check_size(rows: int, columns: int) -> None:
    if rows * columns > MAX_MATRIX:
        raise ModelError(f"joins {columns} to {rows} neurons; at most {MAX_MATRIX} pairs")
