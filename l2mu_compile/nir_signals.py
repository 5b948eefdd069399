"""What nodes without a state pass on: affine maps of what neurons and the input put out.

Matrices are float64: ``[n, source size]``, or ``[n]`` for those with a diagonal and nothing else;
or a `Slide`, as long as there is one that is exactly the same. A file of a few bytes can ask for
any number of large ones, so what they take up, and what making them takes, is bounded for a whole
graph (`Room`).
"""

from __future__ import annotations

import math
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

MAX_NUMBERS = 2**27  # of all that is made in full: 1 GiB
MAX_PRODUCTS = 2**34
TAP_PRODUCTS = 2**12  # what a tap of a kernel takes at least, in products
NEURON_NUMBERS = 8  # what is made for a neuron, its parameters too


@dataclass
class Room:
    """What may still be made of a graph: ``numbers`` of matrices and biases, and ``products``."""

    numbers: int = MAX_NUMBERS
    products: int = MAX_PRODUCTS

    def take(self, rows: int, columns: int, products: int = 1) -> None:
        """Count a matrix, each number of which takes so many products."""
        if rows * columns > MAX_MATRIX:
            raise ModelError(f"joins {columns} to {rows} neurons; at most {MAX_MATRIX} pairs")
        self.numbers -= rows * columns
        self.products -= rows * columns * products
        if self.numbers < 0:
            raise ModelError(f"this graph's matrices hold more than {MAX_NUMBERS} numbers in all")
        if self.products < 0:
            raise ModelError(
                "what lies between this graph's neurons takes more than "
                f"{MAX_PRODUCTS} multiplications to put together"
            )


@dataclass(frozen=True, eq=False)
class Signal:
    """``bias`` ``[n]`` plus a matrix times what each (source, steps of delay) puts out."""

    terms: Terms
    bias: NDArray
    room: Room

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


def identity(source: str, size: int, room: Room) -> Signal:
    """What ``source`` puts out."""
    room.take(size, NEURON_NUMBERS)
    return Signal({(source, 0): np.ones(size)}, np.zeros(size), room)


def total(signals: Sequence[Signal]) -> Signal:
    """The sum of at least one signal, all of one size."""
    first = signals[0]
    first.room.take(len(signals), first.size)
    terms = dict(first.terms)
    for signal in signals[1:]:
        for key, matrix in signal.terms.items():
            terms[key] = summed(terms[key], matrix, first.room) if key in terms else matrix
    bias = np.sum([signal.bias for signal in signals], axis=0)
    return replace(first, terms=terms, bias=bias)


def scaled(signal: Signal, factor: NDArray) -> Signal:
    """``factor`` ``[n]`` times ``signal``, value by value."""
    if (factor == 1).all():
        return signal
    terms = {k: _scaled(matrix, factor, signal.room) for k, matrix in signal.terms.items()}
    return replace(signal, terms=terms, bias=factor * signal.bias)


def slid(signal: Signal, slide: Slide) -> Signal:
    """A convolution or pool of ``signal``."""
    terms = {key: _slid(slide, matrix, signal.room) for key, matrix in signal.terms.items()}
    bias = _applied(slide, signal.bias[None], signal.room)[0]
    return replace(signal, terms=terms, bias=bias)


def linear(signal: Signal, weight: NDArray) -> Signal:
    """``weight`` times ``signal``; weights of more than two axes are blocks along a diagonal."""
    blocks = weight.reshape(-1, *weight.shape[-2:]).astype(np.float64)
    terms = {key: _linear(blocks, matrix, signal.room) for key, matrix in signal.terms.items()}
    bias = _product(blocks, signal.bias[:, None], signal.room)[:, 0]
    return replace(signal, terms=terms, bias=bias)


def raised(signal: Signal, bias: NDArray) -> Signal:
    """``signal`` plus a constant ``[n]``."""
    return replace(signal, bias=signal.bias + bias)


def delayed(signal: Signal, steps: int) -> Signal:
    """``signal``, so many steps later. Before it there is nothing, so it must have no constant."""
    if steps and signal.bias.any():
        raise ModelError("a delayed constant would be 0 in the first step; put the delay before it")
    terms = {(source, delay + steps): matrix for (source, delay), matrix in signal.terms.items()}
    return replace(signal, terms=terms)


def summed(a: Matrix, b: Matrix, room: Room) -> Matrix:
    """The sum of two matrices, either of which may be a diagonal."""
    if isinstance(a, Slide) or isinstance(b, Slide):
        if (
            isinstance(a, Slide)
            and isinstance(b, Slide)
            and (a.convolution, a.kernel.shape) == (b.convolution, b.kernel.shape)
        ):
            return replace(a, kernel=a.kernel + b.kernel)
        a, b = dense(a, room), dense(b, room)
    room.take(max(a.size, b.size), 1)
    if a.ndim == b.ndim:
        return a + b
    full, diagonal = (a, b) if a.ndim == 2 else (b, a)
    result = full.copy()
    result[np.diag_indices(diagonal.size)] += diagonal
    return result


def dense(matrix: Matrix, room: Room) -> NDArray:
    """A matrix in full."""
    if isinstance(matrix, Slide):
        room.take(*matrix.convolution.shape)
        room.take(_taps(matrix), 1, TAP_PRODUCTS)
        return matrix.convolution.dense(matrix.kernel)
    if matrix.ndim == 2:
        return matrix
    room.take(matrix.size, matrix.size)
    return np.diag(matrix)


def _scaled(matrix: Matrix, factor: NDArray, room: Room) -> Matrix:
    if isinstance(matrix, Slide):
        channels = _by_channel(factor, matrix.convolution.target[0])
        if channels is not None:
            return replace(matrix, kernel=channels[:, None, None, None] * matrix.kernel)
        matrix = dense(matrix, room)
    room.take(matrix.size, 1)
    return factor * matrix if matrix.ndim == 1 else factor[:, None] * matrix


def _by_channel(values: NDArray, channels: int) -> NDArray | None:
    """One value for each channel of a map; None where they differ within one."""
    maps = values.reshape(channels, -1)
    return maps[:, 0] if (maps == maps[:, :1]).all() else None


def _slid(slide: Slide, matrix: Matrix, room: Room) -> Matrix:
    """A convolution or pool of what ``matrix`` makes: one of its own after a diagonal with a value
    for each channel, and after a pool; else a matrix in full."""
    own = slide.convolution
    weights, before = _weights_before(matrix, own.source[0])
    if weights is not None:
        rows = np.repeat(weights.reshape(own.groups, -1), len(slide.kernel) // own.groups, axis=0)
        if before is not None:
            pool = (own.pool[0] * before.pool[0], own.pool[1] * before.pool[1])
            own = replace(own, source=before.source, pool=pool)
        room.take(slide.kernel.size, 1)
        return Slide(own, rows[:, :, None, None] * slide.kernel)
    return _applied(slide, dense(matrix, room).T, room).T


def _applied(slide: Slide, rows: NDArray, room: Room) -> NDArray:
    """A convolution or pool of each of some ``rows``."""
    room.take(slide.convolution.shape[0], len(rows), _taps(slide))
    room.take(_taps(slide), 1, TAP_PRODUCTS)
    return slide.convolution.applied(slide.kernel, rows)


def _taps(slide: Slide) -> int:
    """How many values a neuron reads at most."""
    return slide.kernel.size // len(slide.kernel) * math.prod(slide.convolution.pool)


def _weights_before(matrix: Matrix, channels: int) -> tuple[NDArray | None, Convolution | None]:
    """Of a matrix that only weighs channels, or pools them as well: the weights, and the pool."""
    if isinstance(matrix, Slide):
        return (matrix.kernel.ravel(), matrix.convolution) if matrix.pools else (None, None)
    return (_by_channel(matrix, channels) if matrix.ndim == 1 else None), None


def _linear(blocks: NDArray, matrix: Matrix, room: Room) -> Matrix:
    """``blocks`` times ``matrix``; after a pool, one matrix is a kernel as large as a map."""
    if not isinstance(matrix, Slide):
        return _product(blocks, matrix, room)
    pooled = matrix.convolution
    if len(blocks) > 1 or not matrix.pools or pooled.pool == (1, 1):
        return _product(blocks, dense(matrix, room), room)
    kernel = blocks[0].reshape(-1, *pooled.target)
    own = Convolution(pooled.target, (len(kernel), 1, 1))
    return _slid(Slide(own, kernel), matrix, room)


def _product(blocks: NDArray, matrix: NDArray, room: Room) -> NDArray:
    count, rows, columns = blocks.shape
    if matrix.ndim == 2:
        room.take(count * rows, matrix.shape[1], columns)
        parts = matrix.reshape(count, columns, matrix.shape[1])
        return np.matmul(blocks, parts).reshape(count * rows, matrix.shape[1])
    room.take(count * rows, matrix.size)
    result = np.zeros((count * rows, matrix.size))
    for k, block in enumerate(blocks):
        part = slice(k * columns, (k + 1) * columns)
        result[k * rows : (k + 1) * rows, part] = block * matrix[part]
    return result
