"""ONNX operators in torch: those that lie between the neurons of an exported model.

Every value keeps the type of float it comes in, so that a graph can be run in float64 as well.
Spikes may be numbers, 0 or 1, where the graph has booleans. Integers of 64 bits, which are sizes
and places, are numpy's: what is made of them is no part of what is recorded of a run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import torch

from l2mu_compile.errors import ModelError

Operator = Callable[[Mapping[str, Any], Sequence[Any]], Any]

MAX_VALUES = 1 << 25  # of all values of a graph together, for a small batch
MAX_INTEGERS = 1 << 16


def _axes(attributes: Mapping[str, Any], values: Sequence[Any], at: int = 1) -> list[int] | None:
    if len(values) > at and values[at] is not None:
        return _ints(values[at])
    return attributes.get("axes")


def _ints(value: Any) -> list[int]:
    if not isinstance(value, np.ndarray):
        raise ValueError("sizes or places that are no integers of 64 bits")
    return [int(v) for v in value.ravel()]


def _cast(attributes: Mapping[str, Any], values: Sequence[Any]) -> Any:
    types = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool, 11: torch.float64}
    wanted, value = types.get(attributes["to"]), values[0]
    if wanted is None:
        raise ValueError(f"a cast to type {attributes['to']}")
    if wanted == torch.float32:
        return value if value.is_floating_point() else value.to(torch.get_default_dtype())
    return value.to(wanted)


def _gemm(attributes: Mapping[str, Any], values: Sequence[Any]) -> Any:
    a, b = values[:2]
    a = a.transpose(-1, -2) if attributes.get("transA") else a
    product = torch.nn.functional.linear(a, b) if attributes.get("transB") else torch.matmul(a, b)
    product = product * attributes.get("alpha", 1.0)
    return product if len(values) < 3 else product + attributes.get("beta", 1.0) * values[2]


def _where(_: Mapping[str, Any], values: Sequence[Any]) -> Any:
    chosen, one, other = values
    if chosen.dtype == torch.bool:
        return torch.where(chosen, one, other)
    return chosen * one + (1 - chosen) * other


def _gather(attributes: Mapping[str, Any], values: Sequence[Any]) -> Any:
    value, axis = values[0], attributes.get("axis", 0)
    chosen = [value.select(axis, place) for place in _ints(values[1])]
    if values[1].ndim > 1:
        raise ValueError("a table of places")
    return torch.stack(chosen, axis) if values[1].ndim else chosen[0]


def _reshape(attributes: Mapping[str, Any], values: Sequence[Any]) -> Any:
    value, sizes = values[0], _ints(values[1])
    if attributes.get("allowzero"):
        return value.reshape(sizes)
    return value.reshape([value.shape[k] if s == 0 else s for k, s in enumerate(sizes)])


def _flatten(attributes: Mapping[str, Any], values: Sequence[Any]) -> Any:
    axis, shape = attributes.get("axis", 1), values[0].shape
    axis = axis + len(shape) if axis < 0 else axis
    return values[0].reshape(prod(shape[:axis]), prod(shape[axis:]))


def _unsqueeze(attributes: Mapping[str, Any], values: Sequence[Any]) -> Any:
    found = values[0]
    rank = found.ndim + len(_axes(attributes, values) or [])
    for axis in sorted(a % rank for a in _axes(attributes, values) or []):
        found = found.unsqueeze(axis)
    return found


def _squeeze(attributes: Mapping[str, Any], values: Sequence[Any]) -> Any:
    axes = _axes(attributes, values)
    return values[0].squeeze() if axes is None else values[0].squeeze(tuple(axes))


def _slice(_: Mapping[str, Any], values: Sequence[Any]) -> Any:
    value, starts, ends = values[0], _ints(values[1]), _ints(values[2])
    axes = _ints(values[3]) if len(values) > 3 and values[3] is not None else range(len(starts))
    steps = _ints(values[4]) if len(values) > 4 else [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step < 1:
            raise ValueError("a slice backwards")
        index: list[Any] = [slice(None)] * value.ndim
        index[axis] = slice(start, end, step)
        value = value[tuple(index)]
    return value


def _split(attributes: Mapping[str, Any], values: Sequence[Any]) -> Any:
    value, axis = values[0], attributes.get("axis", 0)
    if len(values) > 1 and values[1] is not None:
        sizes = _ints(values[1])
    else:
        size = -(-value.shape[axis] // attributes["outputs"])
        sizes = [
            len(range(value.shape[axis])[k * size :][:size]) for k in range(attributes["outputs"])
        ]
    return value.narrow(axis, sum(sizes[: attributes["part"]]), sizes[attributes["part"]])


def _reduce(name: str) -> Operator:
    def reduce(attributes: Mapping[str, Any], values: Sequence[Any]) -> Any:
        axes = _axes(attributes, values)
        if not axes and attributes.get("noop_with_empty_axes"):
            return values[0]
        axes = axes or list(range(values[0].ndim))
        return getattr(torch, name)(values[0], axes, keepdim=bool(attributes.get("keepdims", 1)))

    return reduce


def _filled(attributes: Mapping[str, Any], values: Sequence[Any]) -> Any:
    sizes, number = _ints(values[0]), attributes.get("value")
    _require_few(sizes)
    if number is None:
        return torch.zeros(sizes)
    dtype = torch.get_default_dtype() if number.is_floating_point() else number.dtype
    return torch.full(sizes, number.item(), dtype=dtype)


def _expand(_: Mapping[str, Any], values: Sequence[Any]) -> Any:
    sizes = torch.broadcast_shapes(values[0].shape, _ints(values[1]))
    _require_few(sizes)
    return values[0].expand(sizes)


def _require_few(sizes: Sequence[int]) -> None:
    if prod(sizes) > MAX_VALUES:
        raise ModelError(f"makes {prod(sizes)} values; at most {MAX_VALUES}")


def _clip(_: Mapping[str, Any], values: Sequence[Any]) -> Any:
    low, high = (values[k] if len(values) > k else None for k in (1, 2))
    return torch.clamp(values[0], low, high)


def _of(function: Callable[..., Any]) -> Operator:
    return lambda _, values: function(*values)


OPERATORS: dict[str, Operator] = {
    "Add": _of(torch.add),
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda a, v: torch.cat(list(v), a["axis"]),
    "ConstantOfShape": _filled,
    "Div": _of(torch.div),
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gemm": _gemm,
    "Greater": _of(torch.gt),
    "Less": _of(torch.lt),
    "MatMul": _of(torch.matmul),
    "Mul": _of(torch.mul),
    "Neg": _of(torch.neg),
    "Not": lambda _, v: ~v[0] if v[0].dtype == torch.bool else 1 - v[0],
    "ReduceMean": _reduce("mean"),
    "ReduceSum": _reduce("sum"),
    "Reshape": _reshape,
    "Shape": lambda _, v: np.array(v[0].shape, np.int64),
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Sub": _of(torch.sub),
    "Sum": lambda _, v: sum(v[1:], v[0]),
    "Transpose": lambda a, v: v[0].permute(a.get("perm", list(range(v[0].ndim))[::-1])),
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}

# Of integers alone.
INTEGERS: dict[str, Operator] = {
    "Add": lambda _, v: np.add(*v),
    "Cast": lambda a, v: v[0] if a["to"] == 7 else torch.from_numpy(v[0]).to(torch.float32),
    "Concat": lambda a, v: np.concatenate(v, a["axis"]),
    "Div": lambda _, v: np.floor_divide(*v),
    "Gather": lambda a, v: np.asarray(np.take(v[0], v[1], a.get("axis", 0))),
    "Mul": lambda _, v: np.multiply(*v),
    "Squeeze": lambda _, v: np.squeeze(v[0]),
    "Sub": lambda _, v: np.subtract(*v),
    "Unsqueeze": lambda a, v: np.expand_dims(v[0], tuple(_axes(a, v) or [])),
}


def apply(kind: str, attributes: Mapping[str, Any], values: Sequence[Any]) -> Any:
    """What the operator ``kind`` makes of ``values``, of which those left out are None."""
    if kind in INTEGERS and all(isinstance(v, np.ndarray) and v.ndim <= 1 for v in values):
        if sum(v.size for v in values) > MAX_INTEGERS:
            raise ValueError("too many integers")
        return INTEGERS[kind](attributes, values)
    return OPERATORS[kind](attributes, values)
