"""fold-input: a sensor's scale and offset become part of the first weights and biases."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from l2mu_compile.convolution import Convolution
from l2mu_compile.errors import ModelError
from l2mu_compile.network import Input, Network, Population
from l2mu_compile.passbase import Context, Pass
from l2mu_compile.projection import Projection


@dataclass(frozen=True)
class FoldInput(Pass):
    """Requires a traced network; folds the input's scale and offset; lossy by float32 rounding.

    Weights W from the input become ``W · scale`` and their targets' biases grow by ``W · offset``;
    the input keeps ``unit`` and ``center`` of raw samples. Without scale and offset
    only the stage changes, exactly.
    """

    name: ClassVar[str] = "fold-input"
    idempotent: ClassVar[bool] = True

    def apply(self, network: Network, context: Context) -> Network:
        if network.stage != "traced":
            return network
        entry = network.input
        if entry.scale is None and entry.offset is None:
            return network.replace(stage="folded")
        scale = np.broadcast_to(1.0 if entry.scale is None else entry.scale, entry.size)
        offset = np.broadcast_to(0.0 if entry.offset is None else entry.offset, entry.size)

        def scaled(p: Projection) -> Projection:
            if p.source != entry.name:
                return p
            return _scale_columns(p, scale.astype(np.float64))

        def biased(population: Population) -> Population:
            current = sum(
                p.applied(p.weight.astype(np.float64), offset)
                for p in network.into(population.name)
                if p.source == entry.name
            )
            if not np.any(current):
                return population
            bias = 0.0 if population.bias is None else population.bias.astype(np.float64)
            return replace(population, bias=np.asarray(bias + current, np.float32))

        return (
            network.map_populations(biased)
            .map_projections(scaled)
            .replace(input=_folded(entry, scale, offset), stage="folded")
        )


def _folded(entry: Input, scale: np.ndarray, offset: np.ndarray) -> Input:
    """``entry`` without scale and offset, but with what they say of raw samples."""
    unit = 1.0 / scale.astype(np.float64)
    return replace(
        entry,
        scale=None,
        offset=None,
        unit=None if entry.scale is None else _scalar_if_equal(unit),
        center=None if entry.offset is None else _scalar_if_equal(-offset * unit),
    )


def _scalar_if_equal(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        numbers = values.astype(np.float32)
    return numbers[0] if (numbers == numbers[0]).all() else numbers


def _scale_columns(p: Projection, scale: np.ndarray) -> Projection:
    if p.convolution is not None:
        return _scale_channels(p, p.convolution, scale)
    if p.is_dense:
        return replace(p, weight=(p.weight * scale).astype(np.float32))
    by_block = scale.reshape(p.blocks, 1, -1)
    if p.shared and np.ptp(by_block, axis=0).max() == 0:
        by_block = by_block[0]
    # Otherwise a shared block is scaled differently from place to place, and each becomes its own.
    return replace(p, weight=(p.weight * by_block).astype(np.float32))


def _scale_channels(p: Projection, convolution: Convolution, scale: np.ndarray) -> Projection:
    maps = scale.reshape(convolution.source[0], -1)
    if np.ptp(maps, axis=1).any():
        raise ModelError(
            f"{p.name}: a convolution of samples whose scale differs within a channel; give one "
            "scale for each channel"
        )
    by_group = maps[:, 0].reshape(convolution.groups, -1)
    rows = np.repeat(by_group, len(p.weight) // convolution.groups, axis=0)
    return replace(p, weight=(p.weight * rows[:, :, None, None]).astype(np.float32))
