"""A projection: the synapses between two populations, or from the input to one, and how their
weights are stored."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.convolution import Convolution
from l2mu_compile.grids import GRIDS, INT4, Grid
from l2mu_compile.neurons import freeze
from l2mu_compile.sparse import tile_of, tiles_of
from l2mu_compile.values import Value, frozen_array


@dataclass(frozen=True, eq=False)
class Projection(Value):
    """Synapses from ``source`` (a population's spikes, or the input's samples) to ``target``.

    ``delay`` 0 reads this step's spikes, 1 last step's. ``weight`` (float32, or int8 once
    quantized) is one of:

    - dense: ``[target size, source size]``, with ``blocks == 0``;
    - shared blocks: ``[rows, columns]``, the same block ``blocks`` times along the diagonal;
    - distinct blocks: ``[blocks, rows, columns]`` along the diagonal;
    - kernels of a ``convolution``: ``[out, in of a group, height, width]``
      (`l2mu_compile.convolution`).

    ``shift`` (int32, scalar or one per target neuron; quantized input projections only) is the
    right shift that brings ``weight · sample`` to the target's scale. ``quantum`` (int32, scalar or
    one per target neuron; quantized dense projections of spikes only) is what all weights onto a
    neuron are multiples of: those that ``grid`` names (`l2mu_compile.grids`; ``int4`` if it is not
    given), so that they can be stored several to a byte. ``kernel`` is set by the select-kernels
    pass.
    """

    source: str
    target: str
    weight: NDArray
    delay: int = 0
    blocks: int = 0
    shift: NDArray | None = None
    quantum: NDArray | None = None
    grid: str | None = None
    kernel: str | None = None
    convolution: Convolution | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", frozen_array(self.weight))
        grid = None if self.quantum is None else self.grid or INT4.name
        object.__setattr__(self, "grid", grid)
        freeze(self, "shift", "quantum")

    @property
    def name(self) -> str:
        """``target.source``, or ``target.source.last`` for last step's spikes."""
        return f"{self.target}.{self.source}" + (".last" if self.delay else "")

    @property
    def shared(self) -> bool:
        """True when one block serves the whole diagonal."""
        return self.blocks > 0 and self.weight.ndim == 2

    @property
    def shape(self) -> tuple[int, int]:
        """(target size, source size)."""
        if self.convolution is not None:
            return self.convolution.shape
        rows, columns = self.weight.shape[-2:]
        count = max(self.blocks, 1)
        return rows * count, columns * count

    @property
    def fan_outs(self) -> NDArray:
        """Target neurons that each source neuron reaches, int64: a weight of zero is no synapse."""
        if self.convolution is not None:
            return self.convolution.sources_of((self.weight != 0).astype(np.int64))
        counts = np.count_nonzero(self.weight, axis=-2).astype(np.int64)
        return np.tile(counts, self.blocks) if self.shared else counts.ravel()

    @property
    def repeats(self) -> bool:
        """True when targets share weights."""
        return self.shared or self.convolution is not None

    @property
    def inward(self) -> tuple[int, ...]:
        """Axes of the weights that a target's are along."""
        return (-1,) if self.convolution is None else (-3, -2, -1)

    @property
    def is_dense(self) -> bool:
        """True when every source has a weight of its own to every target."""
        return not self.blocks and self.convolution is None

    @property
    def fan_out(self) -> float:
        """Target neurons that a source neuron reaches on average."""
        return float(self.fan_outs.mean())

    @property
    def synapses(self) -> int:
        """Weights that are not zero; shared ones count once for each repetition."""
        return int(self.fan_outs.sum())

    @property
    def bits(self) -> int:
        """Bits that a weight is stored in."""
        packed = self.packing if self.tile is None else None
        return 8 * self.weight.itemsize if packed is None else packed.bits

    @property
    def packing(self) -> Grid | None:
        """The grid of packed weights."""
        return None if self.grid is None else GRIDS[self.grid]

    @property
    def tile(self) -> int | None:
        """Neighbouring targets that are stored together or not at all; None where all are."""
        return tile_of(self.kernel) if self.is_dense else None

    @property
    def stored_bytes(self) -> int:
        """Bytes of all weights as stored, with their quanta, or with what tells where tiles are,
        but for what fills rows up."""
        if self.tile is not None:
            return tiles_of(self.weight.T, self.tile).bytes
        if self.packing is None:
            return self.weight.nbytes
        return packed_bytes(*self.shape, self.packing)

    def dense(self) -> NDArray:
        """The full matrix ``[target size, source size]``."""
        if self.convolution is not None:
            return self.convolution.dense(self.weight)
        if not self.blocks:
            return self.weight
        full = np.zeros(self.shape, dtype=self.weight.dtype)
        rows, columns = self.weight.shape[-2:]
        for k in range(self.blocks):
            block = self.weight if self.shared else self.weight[k]
            full[k * rows : (k + 1) * rows, k * columns : (k + 1) * columns] = block
        return full

    def row_sums(self, values: NDArray) -> NDArray:
        """Sums of ``values``, as many as weights, over what arrives at each target, ``[targets]``:
        of ``weight`` itself, the rows of the full matrix."""
        if self.convolution is not None:
            return self.convolution.targets_of(values)
        sums = values.sum(axis=-1)
        return np.tile(sums, self.blocks) if self.shared else sums.ravel()

    def applied(self, weight: NDArray, values: NDArray) -> NDArray:
        """The full matrix of ``weight``, which is like this one's, times ``values``
        ``[..., sources]``."""
        if self.convolution is not None:
            return self.convolution.applied(weight, values)
        return np.asarray(values @ replace(self, weight=weight).dense().T)

    def transposed(self, weight: NDArray, values: NDArray) -> NDArray:
        """The same matrix, transposed, times ``values`` ``[targets]``."""
        if self.convolution is not None:
            return self.convolution.transposed(weight, values)
        return np.asarray(values @ replace(self, weight=weight).dense())

    def grouped(self, values: NDArray) -> NDArray:
        """Numbers ``[..., targets]`` as ``[..., repeats, rows]``: targets with the same row of
        weights below one another."""
        if self.convolution is not None:
            maps = values.reshape(*values.shape[:-1], -1, self.convolution.positions)
            return np.swapaxes(maps, -1, -2)
        return values.reshape(*values.shape[:-1], self.blocks if self.shared else 1, -1)

    def ungrouped(self, values: NDArray) -> NDArray:
        """Numbers ``[..., rows]`` for all targets, ``[..., targets]``."""
        if self.convolution is not None:
            return np.repeat(values, self.convolution.positions, axis=-1)
        return np.concatenate([values] * self.blocks, axis=-1) if self.shared else values

    def columns(self, rows: NDArray) -> NDArray:
        """Numbers ``[rows]``, as `grouped` has them, of a shape that broadcasts to the weights."""
        if self.convolution is not None:
            return rows.reshape(-1, 1, 1, 1)
        return rows.reshape(*self.weight.shape[:-1], 1)


def packed_bytes(targets: int, sources: int, grid: Grid) -> int:
    """Bytes of a dense projection's packed weights, and of an int16 quantum per target."""
    return sources * -(-targets * grid.bits // 8) + 2 * targets
