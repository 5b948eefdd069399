"""What nodes without a state pass on: affine maps of what neurons and the input put out.

Matrices are float64: ``[n, source size]``, or ``[n]`` for those with a diagonal and nothing else;
or a `Slide`, as long as there is one that is exactly the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.convolution import Convolution
from l2mu_compile.errors import ModelError
from l2mu_compile.nir_maps import Slide
from l2mu_compile.verify import MAX_MATRIX

Matrix = NDArray | Slide
Terms = dict[tuple[str, int], Matrix]


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
        same = isinstance(matrix, np.ndarray) and matrix.ndim == 1 and (matrix == 1).all()
        return source if not delay and same else None


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
    terms = {key: _scaled(matrix, factor) for key, matrix in signal.terms.items()}
    return Signal(terms, factor * signal.bias)


def slid(signal: Signal, slide: Slide) -> Signal:
    """A convolution or pool of ``signal``."""
    terms = {key: _slid(slide, matrix) for key, matrix in signal.terms.items()}
    return Signal(terms, slide.convolution.applied(slide.kernel, signal.bias))


def linear(signal: Signal, weight: NDArray) -> Signal:
    """``weight`` times ``signal``; weights of more than two axes are blocks along a diagonal."""
    blocks = weight.reshape(-1, *weight.shape[-2:]).astype(np.float64)
    terms = {key: _linear(blocks, matrix) for key, matrix in signal.terms.items()}
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


def summed(a: Matrix, b: Matrix) -> Matrix:
    """The sum of two matrices, either of which may be a diagonal."""
    if isinstance(a, Slide) or isinstance(b, Slide):
        if (
            isinstance(a, Slide)
            and isinstance(b, Slide)
            and (a.convolution, a.kernel.shape) == (b.convolution, b.kernel.shape)
        ):
            return replace(a, kernel=a.kernel + b.kernel)
        a, b = dense(a), dense(b)
    if a.ndim == b.ndim:
        return a + b
    full, diagonal = (a, b) if a.ndim == 2 else (b, a)
    result = full.copy()
    result[np.diag_indices(diagonal.size)] += diagonal
    return result


def dense(matrix: Matrix) -> NDArray:
    """A matrix in full."""
    if isinstance(matrix, Slide):
        _check_size(*matrix.convolution.shape)
        return matrix.convolution.dense(matrix.kernel)
    if matrix.ndim == 2:
        return matrix
    _check_size(matrix.size, matrix.size)
    return np.diag(matrix)


def _scaled(matrix: Matrix, factor: NDArray) -> Matrix:
    if isinstance(matrix, Slide):
        channels = _by_channel(factor, matrix.convolution.target[0])
        if channels is not None:
            return replace(matrix, kernel=channels[:, None, None, None] * matrix.kernel)
        matrix = dense(matrix)
    return factor * matrix if matrix.ndim == 1 else factor[:, None] * matrix


def _by_channel(values: NDArray, channels: int) -> NDArray | None:
    """One value for each channel of a map; None where they differ within one."""
    maps = values.reshape(channels, -1)
    return maps[:, 0] if (maps == maps[:, :1]).all() else None


def _slid(slide: Slide, matrix: Matrix) -> Matrix:
    """A convolution or pool of what ``matrix`` makes: one of its own after a diagonal with a value
    for each channel, and after a pool; else a matrix in full."""
    own = slide.convolution
    weights, before = _weights_before(matrix, own.source[0])
    if weights is not None:
        rows = np.repeat(weights.reshape(own.groups, -1), len(slide.kernel) // own.groups, axis=0)
        if before is not None:
            pool = (own.pool[0] * before.pool[0], own.pool[1] * before.pool[1])
            own = replace(own, source=before.source, pool=pool)
        return Slide(own, rows[:, :, None, None] * slide.kernel)
    columns = dense(matrix).T
    _check_size(own.shape[0], len(columns))
    return own.applied(slide.kernel, columns).T


def _weights_before(matrix: Matrix, channels: int) -> tuple[NDArray | None, Convolution | None]:
    """Of a matrix that only weighs channels, or pools them as well: the weights, and the pool."""
    if isinstance(matrix, Slide):
        return (matrix.kernel.ravel(), matrix.convolution) if matrix.pools else (None, None)
    return (_by_channel(matrix, channels) if matrix.ndim == 1 else None), None


def _linear(blocks: NDArray, matrix: Matrix) -> Matrix:
    """``blocks`` times ``matrix``; after a pool, one matrix is a kernel as large as a map."""
    if not isinstance(matrix, Slide):
        return _product(blocks, matrix)
    pooled = matrix.convolution
    if len(blocks) > 1 or not matrix.pools or pooled.pool == (1, 1):
        return _product(blocks, dense(matrix))
    kernel = blocks[0].reshape(-1, *pooled.target)
    own = Convolution(pooled.target, (len(kernel), 1, 1))
    return _slid(Slide(own, kernel), matrix)


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
