"""Convolutions as NIR nodes: a pool where there is one, then a ``Conv1d`` or ``Conv2d``.

What one convolution reads and another puts out are maps, as which neurons between them are written.
Written in full are convolutions that NIR has no node for: of another padding behind the last row
than before the first, of a map that others see in another way, and of neurons with a bias of their
own within a channel that nothing else could bring.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.convolution import Convolution, Map, Pair
from l2mu_compile.network import Network
from l2mu_compile.projection import Projection


@dataclass(frozen=True)
class Plan:
    """How a network's convolutions are written.

    ``shapes`` are those of maps, by the name of the input or population; ``slid`` the names of
    projections that stay convolutions, ``flat`` ones of one dimension; ``biases`` what each
    projection brings of its target's bias, all of it or nothing.
    """

    shapes: Mapping[str, tuple[int, ...]]
    slid: frozenset[str]
    flat: bool
    biases: Mapping[str, NDArray]


def plan(network: Network) -> Plan:
    """How to write the convolutions of ``network``."""
    joined = [(p, p.convolution) for p in network.projections if p.convolution is not None]
    flat = all(_is_flat(own, p.weight) for p, own in joined)
    maps: dict[str, Map] = {}
    slid = set()
    for p, own in joined:
        seen = dict(maps)
        ends = ((p.source, own.source), (p.target, own.target))
        alike = all(seen.setdefault(name, found) == found for name, found in ends)
        if alike and _padding(own, p.weight.shape[2:]) is not None:
            maps = seen
            slid.add(p.name)
    biases = {}
    for population in network.populations:
        into, bias = network.into(population.name), population.bias
        if bias is not None and into:
            able = [p for p in into if p.name not in slid or _even(p, bias)]
            chosen = (able or into)[0].name
            slid -= set() if able else {chosen}
            biases[chosen] = bias
    left = {name for p, _ in joined if p.name in slid for name in (p.source, p.target)}
    shapes = {n: (maps[n][0], maps[n][2]) if flat else maps[n] for n in left}
    return Plan(shapes, frozenset(slid), flat, biases)


def slid_nodes(nir: Any, projection: Projection, made: Plan) -> dict[str, Any]:
    """The nodes, one after the other, of a projection that stays a convolution."""
    assert projection.convolution is not None
    own, kernel, name = projection.convolution, np.array(projection.weight), projection.name
    bias = made.biases.get(name)
    if made.flat:
        return {name: _conv1d(nir, own, kernel, bias)}
    if own.pool == (1, 1):
        return {name: _conv2d(nir, own, kernel, bias)}
    kind = _only_pools(nir, own, kernel) if bias is None else None
    said = np.array(own.pool), np.array(own.pool), np.zeros(2, np.int64)
    if kind is not None:
        return {name: kind(*said)}
    return {f"{name}.pool": nir.SumPool2d(*said), name: _conv2d(nir, own, kernel, bias)}


def _conv1d(nir: Any, own: Convolution, kernel: NDArray, bias: NDArray | None) -> Any:
    return nir.Conv1d(
        input_shape=own.source[2],
        weight=kernel[:, :, 0],
        stride=own.stride[1],
        padding=_one(_padding(own, kernel.shape[2:])),
        dilation=own.dilation[1],
        groups=own.groups,
        bias=_by_channel(own, bias),
    )


def _one(padding: Pair | str | None) -> int | str:
    return padding if isinstance(padding, str) else (padding or (0, 0))[1]


def _conv2d(nir: Any, own: Convolution, kernel: NDArray, bias: NDArray | None) -> Any:
    return nir.Conv2d(
        input_shape=_pooled(own),
        weight=kernel,
        stride=own.stride,
        padding=_padding(own, kernel.shape[2:]),
        dilation=own.dilation,
        groups=own.groups,
        bias=_by_channel(own, bias),
    )


def _only_pools(nir: Any, own: Convolution, kernel: NDArray) -> Any:
    """The kind of pool it is, if it is nothing else."""
    plain = Convolution(own.source, own.target, groups=own.source[0], pool=own.pool)
    if own != plain or kernel.size != own.target[0]:
        return None
    if (kernel == 1).all():
        return nir.SumPool2d
    return nir.AvgPool2d if (kernel == np.float32(1 / np.prod(own.pool))).all() else None


def _padding(own: Convolution, kernel: tuple[int, ...]) -> Pair | str | None:
    """As NIR says it: as much before as behind, or ``same``; None for what is neither."""
    pooled = _pooled(own)
    spans = [(size - 1) * step + 1 for size, step in zip(kernel, own.dilation, strict=True)]
    axes = list(zip(pooled, spans, own.padding, own.stride, own.target[1:], strict=True))
    if all((size + 2 * pad - span) // step + 1 == to for size, span, pad, step, to in axes):
        return own.padding
    same = all(size == to and pad == (span - 1) // 2 for size, span, pad, _, to in axes)
    return "same" if same and own.stride == (1, 1) else None


def _pooled(own: Convolution) -> Pair:
    return own.source[1] // own.pool[0], own.source[2] // own.pool[1]


def _is_flat(own: Convolution, kernel: NDArray) -> bool:
    """Whether it is one of one dimension, and pools nothing."""
    heights = own.source[1], own.target[1], kernel.shape[2], own.stride[0], own.dilation[0]
    return set(heights) == {1} and own.padding[0] == 0 and own.pool == (1, 1)


def _even(projection: Projection, bias: NDArray) -> bool:
    """Whether each channel of a convolution's target has one bias."""
    assert projection.convolution is not None
    channels = bias.reshape(projection.convolution.target[0], -1)
    return bool((channels == channels[:, :1]).all())


def _by_channel(own: Convolution, bias: NDArray | None) -> NDArray:
    channels = own.target[0]
    if bias is None:
        return np.zeros(channels, np.float32)
    return np.array(bias.reshape(channels, -1)[:, 0])
