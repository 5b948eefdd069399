"""A projection in torch: its weights, to be trained, and the currents it sends."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor

from l2mu_compile.convolution import Convolution
from l2mu_compile.network import Network
from l2mu_compile.projection import Projection
from l2mu_compile.trainable import Trainable, floor_through
from l2mu_compile.weight_units import weight_units


def trainable_weight(network: Network, p: Projection, trained: bool) -> Trainable:
    """The weights of a projection of ``network``, which change only if they are ``trained``."""
    unit = np.where(p.weight != 0, weight_units(network, p), 0)
    grid = np.int32(1) if p.quantum is None else p.quantum.reshape(-1, 1)
    multiples = None if p.packing is None or p.packing.uniform else p.packing.multiples
    return Trainable(p.weight, unit, *_weight_range(p), trained, grid, multiples)


def currents(p: Projection, weight: Tensor, source: Tensor) -> Tensor:
    """What ``source`` ``[..., sources]`` sends through a projection, ``[..., targets]``."""
    if p.convolution is not None:
        return _convolved(p.convolution, weight, source)
    if not p.blocks:
        return F.linear(source, weight)
    cells = source.unflatten(-1, (p.blocks, -1))
    if p.shared:
        return F.linear(cells, weight).flatten(-2)
    return torch.einsum("...kc,krc->...kr", cells, weight).flatten(-2)


def sample_currents(p: Projection, weight: Tensor, samples: Tensor) -> Tensor:
    """What ``samples`` ``[B, T, inputs]`` send through a projection, shifted and rounded."""
    current = currents(p, weight, samples)
    if p.shift is None:
        return current
    shift = torch.tensor(p.shift).to(current)
    # Half is added before the shift; without a shift nothing is left to round.
    return floor_through(current * 2.0**-shift + 0.5)


def _convolved(convolution: Convolution, weight: Tensor, source: Tensor) -> Tensor:
    maps = source.reshape(-1, *convolution.source)
    if convolution.pool != (1, 1):
        maps = F.avg_pool2d(maps, convolution.pool, divisor_override=1)
    found = F.conv2d(
        _padded(convolution, maps, weight.shape[2:]),
        weight,
        stride=convolution.stride,
        dilation=convolution.dilation,
        groups=convolution.groups,
    )
    return found.reshape(*source.shape[:-1], -1)


def _padded(convolution: Convolution, maps: Tensor, kernel: torch.Size) -> Tensor:
    """``maps`` of just the size that makes the target map."""
    sizes = zip(
        convolution.target[1:], convolution.stride, kernel, convolution.dilation, strict=True
    )
    height, width = (
        (size - 1) * stride + (rows - 1) * dilation + 1 for size, stride, rows, dilation in sizes
    )
    top, left = convolution.padding
    bottom, right = max(height - top - maps.shape[2], 0), max(width - left - maps.shape[3], 0)
    return F.pad(maps, (left, right, top, bottom))[..., :height, :width]


def _weight_range(p: Projection) -> tuple[ArrayLike, ArrayLike]:
    """From the least to the greatest number in the bits that the weights have now."""
    if p.packing is not None and p.quantum is not None:
        return p.packing.limits(p.quantum.reshape(-1, 1))
    if p.weight.dtype.kind != "i":
        return -np.inf, np.inf
    weight = p.weight.astype(np.int64)
    bits = int(np.where(weight < 0, -weight - 1, weight).max()).bit_length()
    return min(1 - 2**bits, int(weight.min())), 2**bits - 1
