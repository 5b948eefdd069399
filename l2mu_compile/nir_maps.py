"""Maps of a NIR graph: what convolutions and pools read, and how.

A map is ``(channels, height, width)``, the last axes of what the ``Input`` declares or what a
convolution says of its own input; it stays through neurons and ends at a matrix. Where a matrix
leads to neurons, the shape of their parameters says it anew. `Conv1d` has a height of 1.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.convolution import Convolution, Map, Pair
from l2mu_compile.errors import ModelError
from l2mu_compile.nir_file import NirNode
from l2mu_compile.nir_graph import FlatGraph, shown
from l2mu_compile.nir_neurons import FIELDS

CONVOLUTIONS = ("Conv1d", "Conv2d")
POOLS = ("SumPool2d", "AvgPool2d")
LARGEST = 2**16  # of any number that says how a kernel slides


@dataclass(frozen=True, eq=False)
class Slide:
    """A linear map: a ``kernel``, float64 ``[out, in of a group, height, width]``, that slides."""

    convolution: Convolution
    kernel: NDArray

    @property
    def pools(self) -> bool:
        """Whether it does nothing but pool, and weigh channels."""
        plain = Convolution(self.convolution.source, self.convolution.target)
        channels = self.convolution.source[0]
        same = (self.convolution.stride, self.convolution.padding) == (plain.stride, plain.padding)
        return same and self.convolution.groups == channels and self.kernel.size == channels


def slides(graph: FlatGraph) -> dict[str, Slide]:
    """Every convolution and pool of ``graph``, by its node's name. Raises `ModelError` naming the
    node whose map is not known, or that does not fit it."""
    wanted = [n for n, node in graph.nodes.items() if node.kind in (*CONVOLUTIONS, *POOLS)]
    if not wanted:
        return {}
    found: dict[str, Slide] = {}
    maps: dict[str, Map] = {}
    declared = _map_of(graph, graph.nodes[graph.input].fields.get("shape"))
    if declared is not None:
        maps[graph.input] = declared
    for name in wanted:
        own = _own_map(name, graph.nodes[name])
        if own is not None:
            found[name] = _checked(name, graph.nodes[name], own)
            maps[name] = found[name].convolution.target
    _spread(graph, wanted, found, maps, maps)
    shaped = {name: _shape(node) for name, node in graph.nodes.items() if name not in maps}
    start = {name: made for name, shape in shaped.items() if (made := _map_of(graph, shape))}
    _spread(graph, wanted, found, maps, start)
    for name in wanted:
        if name not in found:
            raise ModelError(
                f"{shown(name)} ({graph.nodes[name].kind}): nothing tells the height and width of "
                "what it reads; the Input's shape or its own input_shape has to"
            )
    return found


def _spread(
    graph: FlatGraph,
    wanted: list[str],
    found: dict[str, Slide],
    maps: dict[str, Map],
    start: Mapping[str, Map],
) -> None:
    """Add to ``maps``, and to ``found``, what follows from the maps that nodes at the ``start``
    put out."""
    maps |= start
    waiting = deque(start)
    while waiting:
        source = waiting.popleft()
        for target in graph.out_of[source]:
            node = graph.nodes[target]
            if target in maps or node.kind in ("Linear", "Affine", "Flatten"):
                continue
            arriving = maps[source]
            if target in wanted:
                found[target] = _checked(target, node, arriving)
                arriving = found[target].convolution.target
            maps[target] = arriving
            waiting.append(target)


def _shape(node: NirNode) -> NDArray | None:
    """The shape of what neurons put out, where they have parameters of their own."""
    arrays = [node.fields.get(field) for field in FIELDS.get(node.kind, ())]
    shapes = [a.shape for a in arrays if isinstance(a, np.ndarray) and a.size > 1]
    return np.array(shapes[0]) if shapes else None


def _map_of(graph: FlatGraph, shape: Any) -> Map | None:
    """A shape as a map: its last axes, as many as the graph's convolutions read."""
    if not isinstance(shape, np.ndarray) or shape.ndim > 1 or shape.size < 2:
        return None
    if not ((shape >= 1) & (shape < LARGEST) & (shape == np.floor(shape))).all():
        return None
    sizes = [int(n) for n in shape]
    flat = {node.kind for node in graph.nodes.values()} & {"Conv1d"}
    if flat or len(sizes) == 2:
        return sizes[-2], 1, sizes[-1]
    return sizes[-3], sizes[-2], sizes[-1]


def _own_map(name: str, node: NirNode) -> Map | None:
    """What a convolution says itself."""
    if node.kind not in CONVOLUTIONS or not isinstance(node.fields.get("input_shape"), np.ndarray):
        return None
    values = np.asarray(node.fields["input_shape"]).reshape(-1)
    axes = 1 if node.kind == "Conv1d" else 2
    if values.size != axes:
        return None  # as files have it that say nothing
    height, width = _pair(name, node, "input_shape", 1)
    channels = _kernel(name, node).shape[1] * _whole(name, node, "groups", 1)
    return channels, height, width


def _checked(name: str, node: NirNode, arriving: Map) -> Slide:
    made = _convolution(name, node, arriving) if node.kind in CONVOLUTIONS else None
    made = made or _pool(name, node, arriving)
    problem = made.convolution.problem(made.kernel.shape)
    if problem is not None:
        raise _refusal(name, node, problem)
    return made


def _convolution(name: str, node: NirNode, arriving: Map) -> Slide:
    kernel = _kernel(name, node)
    stride = _pair(name, node, "stride", 1)
    dilation = _pair(name, node, "dilation", 1)
    spans = [(k - 1) * d + 1 for k, d in zip(kernel.shape[2:], dilation, strict=True)]
    said = node.fields.get("padding")
    if isinstance(said, str) and said not in ("same", "valid"):
        raise _refusal(name, node, f"padding is 'same', 'valid' or numbers, not {shown(said)}")
    if isinstance(said, str) and said == "same":
        if stride != (1, 1):
            raise _refusal(name, node, "padding 'same' with strides makes no sense")
        padding = ((spans[0] - 1) // 2, (spans[1] - 1) // 2)
        size = list(arriving[1:])
    else:
        padding = (0, 0) if isinstance(said, str) else _pair(name, node, "padding", 0)
        size = _slid(arriving, spans, stride, padding)
    target = (len(kernel), size[0], size[1])
    groups = _whole(name, node, "groups", 1)
    return Slide(Convolution(arriving, target, stride, padding, dilation, groups), kernel)


def _pool(name: str, node: NirNode, arriving: Map) -> Slide:
    """Of windows side by side a pool, else a kernel of ones for each channel."""
    window = _pair(name, node, "kernel_size", 1)
    stride, padding = _pair(name, node, "stride", 1), _pair(name, node, "padding", 0)
    height, width = _slid(arriving, window, stride, padding)
    channels = arriving[0]
    target = (channels, height, width)
    weight = 1.0 if node.kind == "SumPool2d" else 1 / (window[0] * window[1])
    if stride == window and padding == (0, 0):
        made = Convolution(arriving, target, groups=channels, pool=window)
        return Slide(made, np.full((channels, 1, 1, 1), weight))
    if window[0] * window[1] > LARGEST:
        raise _refusal(name, node, f"a window of {list(window)}")
    made = Convolution(arriving, target, stride, padding, groups=channels)
    return Slide(made, np.full((channels, 1, *window), weight))


def _slid(arriving: Map, spans: list[int] | Pair, stride: Pair, padding: Pair) -> list[int]:
    """Height and width of what comes out."""
    return [
        (size + 2 * before - span) // step + 1
        for size, span, step, before in zip(arriving[1:], spans, stride, padding, strict=True)
    ]


def _kernel(name: str, node: NirNode) -> NDArray:
    weight = node.fields.get("weight")
    axes = 3 if node.kind == "Conv1d" else 4
    if not isinstance(weight, np.ndarray) or weight.ndim != axes or weight.size == 0:
        shape = list(weight.shape) if isinstance(weight, np.ndarray) else None
        raise _refusal(name, node, f"weight has shape {shape}, not {axes} axes")
    if not np.isfinite(weight).all():
        raise _refusal(name, node, "weight holds NaN or infinity")
    weight = weight.astype(np.float64)
    return weight[:, :, None] if axes == 3 else weight


def _pair(name: str, node: NirNode, field: str, least: int) -> Pair:
    """One number for both axes, or one for each; of a `Conv1d` that of its only one."""
    values = _numbers(name, node, field, least)
    if node.kind == "Conv1d" and len(values) == 1:
        return (0 if field == "padding" else 1), values[0]
    if node.kind == "Conv1d" or len(values) > 2:
        raise _refusal(name, node, f"{field} has {len(values)} numbers")
    return values[0], values[-1]


def _whole(name: str, node: NirNode, field: str, least: int) -> int:
    values = _numbers(name, node, field, least)
    if len(values) != 1:
        raise _refusal(name, node, f"{field} has {len(values)} numbers")
    return values[0]


def _numbers(name: str, node: NirNode, field: str, least: int) -> list[int]:
    found = node.fields.get(field)
    if not isinstance(found, np.ndarray) or found.size == 0:
        raise _refusal(name, node, f"has no {field}")
    if not ((found >= least) & (found < LARGEST) & (found == np.floor(found))).all():
        raise _refusal(name, node, f"{field} is not whole, below {least} or from {LARGEST} on")
    return [int(value) for value in found.reshape(-1)[:3]]


def _refusal(name: str, node: NirNode, problem: str) -> ModelError:
    return ModelError(f"{shown(name)} ({node.kind}): {problem}")
