"""The order in which kernels read weights of what is not dense: blocks, tiles among zeros, and
kernels of convolutions."""

from __future__ import annotations

from numpy.typing import NDArray

from l2mu_compile.targets.layouts import Layout, ending_full, set_of, swapped, unsigned


def block_weights_for(kernel: str, weights: NDArray) -> NDArray:
    """``weights`` ``[sources, rows]`` of blocks (or many such) as ``kernel`` reads them, flat."""
    *_, sums, kernel_set = kernel.split("_")
    layout = BLOCK_LAYOUTS.get(f"{sums}_{kernel_set}")
    rows = weights.reshape(-1, weights.shape[-1])
    return (rows if layout is None else layout(rows)).ravel()


def sparse_weights_for(kernel: str, tiles: NDArray) -> NDArray:
    """Weights ``[tiles, targets of one]`` of a sparse projection as ``kernel`` reads them, flat."""
    layout = SPARSE_LAYOUTS.get(set_of(kernel))
    singles = tiles.shape[1] == 1
    return (tiles if singles or layout is None else layout(tiles)).ravel()


def slide_weights(kernel: NDArray, groups: int) -> NDArray:
    """A convolution's ``kernel`` as kernels for spikes read it, ``[source channel, row, column, out
    channel of the group]``, flat."""
    by_group = kernel.reshape(groups, -1, *kernel.shape[1:])
    return by_group.transpose(0, 2, 3, 4, 1).ravel()


def _dsp_blocks(rows: NDArray) -> NDArray:
    """Fours in each row (see `ending_full`), in each of which the middle two are swapped."""
    fours = ending_full(rows, 4)
    return swapped(fours) if fours.shape[1] >= 4 else fours


def _neon_blocks(rows: NDArray) -> NDArray:
    """Fours in each row; see `ending_full`."""
    return ending_full(rows, 4)


def _m0_tiles(tiles: NDArray) -> NDArray:
    """In every four the middle two are swapped; every weight is a byte without sign that is 128
    greater."""
    return unsigned(swapped(tiles))


BLOCK_LAYOUTS: dict[str, Layout] = {"i16_dsp": _dsp_blocks, "i16_neon": _neon_blocks}
SPARSE_LAYOUTS: dict[str, Layout] = {"dsp": swapped, "m0": _m0_tiles}
