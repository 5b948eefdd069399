"""Structure: per-channel encoders become one population, blocks of a matrix are stored once.

Published encoders hold one small linear layer and one neuron module per sensor channel, and
concatenate their spikes. Layers of the same dynamics and size that each read their own slice of the
input, and are always consumed together, are merged into one. Parameters are concatenated, or stay
scalar where all agree. No spike changes; only the order of neurons is fixed, by channel.

Block-diagonal matrices become blocks; a population driven by shared blocks of ``d`` rows is a
population of cells of ``d`` neurons.
"""

from __future__ import annotations

from dataclasses import replace
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.dataflow import INPUT
from l2mu_compile.neurons import Neuron, parameter_names
from l2mu_compile.reroll import Layer


def merge_encoders(layers: list[Layer], inputs: int, target: str) -> list[Layer]:
    """``layers`` with every group of per-channel encoders merged.

    ``inputs`` is the number of channels; the layer ``target``, which is read out, stays as it is.
    """
    for group in _sibling_groups(layers, target):
        ordered = _by_slice(group, inputs)
        if ordered and _consumed_together(layers, {g.path for g in group}):
            layers = _merge(layers, ordered)
    return layers


def _sibling_groups(layers: list[Layer], target: str) -> list[list[Layer]]:
    """Layers that read nothing but the input, alike in dynamics, size and readers."""
    groups: dict[Any, list[Layer]] = {}
    for layer in layers:
        if set(layer.weights) == {(INPUT, 0)} and layer.path != target:
            readers = frozenset(r.path for r in layers if _reads(r, layer.path))
            alike = (type(layer.neuron), layer.neuron.reset, layer.bias.size, readers)
            groups.setdefault(alike, []).append(layer)
    return [group for group in groups.values() if len(group) > 1]


def _reads(reader: Layer, path: str) -> bool:
    return any(source == path for source, _ in reader.weights)


def _consumed_together(layers: list[Layer], paths: set[str]) -> bool:
    """True if whoever reads one of ``paths`` reads all of them, with the same delay."""
    used = False
    for layer in layers:
        for delay in (0, 1):
            read = {source for source, d in layer.weights if d == delay} & paths
            used |= bool(read)
            if read and read != paths:
                return False
    return used


def _by_slice(group: list[Layer], inputs: int) -> list[Layer] | None:
    """The group by the input slices it reads, if these are equal, disjoint and complete."""
    width, rest = divmod(inputs, len(group))
    if rest or not width:
        return None
    places: dict[int, Layer] = {}
    for layer in group:
        used = np.flatnonzero(layer.weights[INPUT, 0].any(axis=0)) // width
        if used.size == 0 or (used != used[0]).any() or int(used[0]) in places:
            return None
        places[int(used[0])] = layer
    return [places[k] for k in range(len(group))]


def _merge(layers: list[Layer], group: list[Layer]) -> list[Layer]:
    """``layers`` with ``group``, in order of channels, as one layer in place of its first."""
    paths = [layer.path for layer in group]
    merged = Layer(
        path=_common_path(paths),
        shape=(sum(layer.bias.size for layer in group),),
        neuron=_joined_neuron(group),
        bias=np.concatenate([layer.bias for layer in group]),
        weights={(INPUT, 0): np.concatenate([layer.weights[INPUT, 0] for layer in group])},
        members=tuple(paths),
    )
    first = min(i for i, layer in enumerate(layers) if layer.path in paths)
    result = []
    for i, layer in enumerate(layers):
        if i == first:
            result.append(merged)
        elif layer.path not in paths:
            result.append(replace(layer, weights=_joined_weights(layer, paths, merged.path)))
    return result


def _joined_weights(layer: Layer, paths: list[str], merged: str) -> dict[tuple[str, int], NDArray]:
    weights = {}
    for (source, delay), weight in layer.weights.items():
        if source not in paths:
            weights[source, delay] = weight
        elif (merged, delay) not in weights:
            parts = [layer.weights[path, delay] for path in paths]
            weights[merged, delay] = np.concatenate(parts, axis=1)
    return weights


def _joined_neuron(group: list[Layer]) -> Neuron:
    values: dict[str, Any] = {}
    for name in parameter_names(group[0].neuron):
        parts = [
            np.broadcast_to(getattr(layer.neuron, name), (layer.bias.size,)) for layer in group
        ]
        scalar = all(getattr(layer.neuron, name).ndim == 0 for layer in group)
        joined = np.concatenate(parts)
        values[name] = joined[0] if scalar and (joined == joined[0]).all() else joined
    return replace(group[0].neuron, **values)


def _common_path(paths: list[str]) -> str:
    """``list.0 list.1`` is ``list``; ``enc.spk_x enc.spk_y`` is ``enc``; else ``encoder``."""
    split = [path.split(".") for path in paths]
    shared = []
    for parts in zip(*split, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return ".".join(shared) or "encoder"


def structured(weight: NDArray, cells: int) -> tuple[NDArray, int]:
    """A dense matrix as (weight, blocks) of least storage; shared blocks per cell come first."""
    options = [(_blocks(weight, k), k) for k in _block_counts(weight)]
    fitting = [(b, k) for b, k in options if k == cells and b.ndim == 2]
    best = min(fitting or options, key=lambda option: option[0].size, default=None)
    return (weight, 0) if best is None else best


def _block_counts(weight: NDArray) -> list[int]:
    """All k > 1 for which the matrix is exactly block diagonal with k equal-sized blocks."""
    rows, columns = weight.shape
    common = gcd(rows, columns)
    if common == 1 or np.count_nonzero(weight) > weight.size // 2:
        return []
    row, column = np.nonzero(weight)
    divisors = (k for k in range(2, common + 1) if common % k == 0)
    return [k for k in divisors if np.array_equal(row // (rows // k), column // (columns // k))]


def _blocks(weight: NDArray, count: int) -> NDArray:
    """The diagonal blocks: ``[rows, columns]`` if all equal, else ``[count, rows, columns]``."""
    rows, columns = weight.shape[0] // count, weight.shape[1] // count
    index = np.arange(count)
    blocks = weight.reshape(count, rows, count, columns)[index, :, index, :]
    return blocks[0] if (blocks == blocks[:1]).all() else blocks


def memory_cells(layer: Layer) -> int:
    """How many memory cells a layer has: the count its shared blocks agree on, or 0.

    Blocks of one row (an identity, say) speak for no grouping, but do not contradict one.
    """
    agreed: set[int] = set()
    for weight in layer.weights.values():
        shared = {k for k in _block_counts(weight) if _blocks(weight, k).ndim == 2}
        if shared and max(shared) < layer.bias.size:
            agreed = agreed & shared or agreed or shared
    if len(layer.shape) > 1 and layer.shape[0] in agreed:
        return layer.shape[0]
    return max(agreed, default=0)
