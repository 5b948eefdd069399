"""Samples of a window: which of them a network takes, and as what numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.bounds import SAMPLE_HIGH, SAMPLE_LOW
from l2mu_compile.errors import ModelError
from l2mu_compile.network import Network

SPIKE_LEVEL = np.float32(0.5)  # samples of a spiking input above it are spikes


def check_samples(network: Network, samples: NDArray) -> NDArray:
    """``samples`` that are taken, float32 ``[B, T, inputs]``; `ModelError` if they do not fit."""
    array = np.asarray(samples)
    if array.ndim != 3 or array.shape[2] != network.input.size:
        raise ModelError(
            f"windows have shape {list(array.shape)}; "
            f"network {network.name} reads [windows, steps, {network.input.size}]"
        )
    if array.shape[0] == 0 or array.shape[1] == 0:
        raise ModelError(f"windows have shape {list(array.shape)}: nothing to run")
    shortest, longest = network.window, network.full_window or network.window
    if shortest is not None and longest is not None and not shortest <= array.shape[1] <= longest:
        span = f"{shortest}" if shortest == longest else f"{shortest} to {longest}"
        raise ModelError(
            f"windows have {array.shape[1]} steps; network {network.name} was made for {span}"
        )
    return np.ascontiguousarray(taken(network, array), dtype=np.float32)


def taken(network: Network, samples: NDArray) -> NDArray:
    """The steps of windows ``[B, T, inputs]`` that ``network`` takes: those of its window."""
    return samples[:, : network.window]


def as_samples(array: NDArray) -> NDArray:
    """Raw counts, int16, as they are; anything else as float32."""
    return array if array.dtype == np.int16 else array.astype(np.float32, copy=False)


def quantize_samples(samples: NDArray, fraction: int) -> NDArray:
    """int64 samples of an integer network: round half up, clip to int16, NaN to 0."""
    # float64 holds every such product, and every such sum that is not clipped, as far as it counts.
    scaled = samples.astype(np.float64) * 2.0**fraction
    scaled = np.where(np.isnan(scaled), 0, scaled)
    return np.floor(np.clip(scaled, SAMPLE_LOW, SAMPLE_HIGH) + 0.5).astype(np.int64)


def prepared(network: Network, samples: NDArray) -> NDArray:
    """What weights are multiplied with: ``samples`` ``[..., inputs]`` as numbers of the network, or
    bool where they are spikes."""
    entry = network.input
    if entry.spiking:
        return samples > SPIKE_LEVEL
    if entry.fraction is not None:
        return quantize_samples(samples, entry.fraction)
    if entry.scale is not None:
        samples = samples * entry.scale
    return samples if entry.offset is None else samples + entry.offset
