"""Spikes that gradients pass.

A spike's derivative is that of a fast sigmoid, ``1 / (1 + slope · |u|)²`` (SuperSpike, Zenke and
Ganguli 2018, arXiv 1705.11146), of the membrane in units of its threshold,
``u = v / threshold − 1``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

SLOPE = 10.0  # of the fast sigmoid


def spike(membrane: Tensor, threshold: Tensor) -> Tensor:
    """1 where a membrane is above its threshold, else 0; float32."""
    return _Spike.apply(membrane, threshold)


class Hearing:
    """What comes between a population and the projections that hear its spikes."""

    def __init__(self) -> None:
        self._local = False

    @contextmanager
    def locally(self) -> Iterator[None]:
        """Backward passes within end at a neuron's own weights, bias and threshold: how spikes of
        others would have to change is not asked."""
        self._local = True
        try:
            yield
        finally:
            self._local = False

    def hear(self, spikes: Tensor) -> Tensor:
        """``spikes``, as they are."""
        return _Heard.apply(spikes, self)

    def gradient(self, grad: Tensor) -> Tensor | None:
        """What comes back of a gradient."""
        return None if self._local else grad


class _Heard(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, spikes: Tensor, hearing: Hearing) -> Tensor:
        ctx.hearing = hearing
        return spikes.view_as(spikes)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None]:
        return ctx.hearing.gradient(grad), None


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, membrane: Tensor, threshold: Tensor) -> Tensor:
        ctx.save_for_backward(membrane, threshold)
        return (membrane > threshold).float()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        membrane, threshold = ctx.saved_tensors
        relative = membrane / threshold
        width = (relative - 1).abs_().mul_(SLOPE).add_(1).square_().mul_(threshold)
        slope = grad / width
        return slope, -(slope * relative).sum_to_size(threshold.shape)
