"""One array of a network as torch trains it: what it was, plus a change that training finds.

The change is counted in units in which all neurons are alike (`l2mu_compile.weight_units`), so that
one learning rate suits all. An array that nothing has changed comes back bit for bit, and so does
each of its elements. Integers are rounded in the forward pass and pass gradients
as if they were not (straight-through, Bengio et al. 2013, arXiv 1308.3432).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn


class Trainable(nn.Module):
    """``array`` with a trained change of ``unit`` times ``change``, kept from ``low`` to ``high``.

    Integers stay multiples of ``grid``, as they are to begin with; so are their bounds. They are
    those of ``multiples`` alone, if these are given, ascending. Elements whose ``unit`` is 0 stay
    as they are; all do unless ``trained``.
    """

    start: Tensor
    unit: Tensor
    least: Tensor
    most: Tensor
    grid: Tensor
    round: Callable[[Tensor], Tensor]

    def __init__(
        self,
        array: NDArray,
        unit: ArrayLike,
        low: ArrayLike = -np.inf,
        high: ArrayLike = np.inf,
        trained: bool = True,
        grid: ArrayLike = 1,
        multiples: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.original = array
        self.integer = array.dtype.kind == "i"
        dtype = torch.float64 if self.integer else torch.float32
        shape = array.shape
        unit = np.broadcast_to(np.asarray(unit, dtype=np.float64), shape)
        with np.errstate(divide="ignore", invalid="ignore"):
            least, most = ((np.asarray(bound) - array) / unit for bound in (low, high))
        for name, values in {"start": array, "unit": unit, "least": least, "most": most}.items():
            values = np.where(unit > 0, values, 0) if name in ("least", "most") else values
            self.register_buffer(name, torch.tensor(np.array(values)).to(dtype))
        self.register_buffer("grid", torch.tensor(np.array(grid)).to(dtype))
        self.round = round_through
        if multiples is not None:
            self.round = partial(nearest_through, allowed=torch.tensor(multiples).to(dtype))
        self.change = nn.Parameter(torch.zeros(shape, dtype=dtype), requires_grad=trained)

    def forward(self) -> Tensor:
        """The array as the network computes with it."""
        value = self.start + self.unit * self.change
        return self.round(value / self.grid) * self.grid if self.integer else value

    @torch.no_grad()
    def keep_allowed(self) -> None:
        """Bring every element back between ``low`` and ``high``."""
        self.change.clamp_(self.least, self.most)

    @torch.no_grad()
    def array(self) -> NDArray:
        """The array, in the type and shape it had; the same object if nothing has changed."""
        changed = (self.change * self.unit != 0).numpy()
        if not changed.any():
            return self.original
        value = self().numpy().astype(self.original.dtype)
        return np.where(changed, value, self.original)

    @torch.no_grad()
    def adopt(self, array: NDArray) -> None:
        """Take over those elements of ``array`` that differ from the present ones."""
        differs = torch.from_numpy(np.asarray(array != self.array()))
        wanted = (torch.tensor(array).to(self.start) - self.start) / self.unit
        self.change.copy_(torch.where(differs, wanted, self.change))


def round_through(values: Tensor) -> Tensor:
    """Rounded to the nearest integer, halves to even."""
    return _Through.apply(values, torch.round)


def nearest_through(values: Tensor, allowed: Tensor) -> Tensor:
    """The nearest of ``allowed``, which ascend; the lower one of two."""
    middles = (allowed[1:] + allowed[:-1]) / 2
    return _Through.apply(values, lambda v: allowed[torch.bucketize(v, middles)])


def floor_through(values: Tensor) -> Tensor:
    """Rounded down."""
    return _Through.apply(values, torch.floor)


class _Through(torch.autograd.Function):
    """An operation whose gradient is taken to be 1."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, operation: Any) -> Tensor:
        return operation(values)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None
