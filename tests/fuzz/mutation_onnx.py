"""ONNX models made of others as messages: all of them can be parsed, whatever they say."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

import numpy as np
import onnx
from mutation import MAX_BYTES, mutate_bytes, mutate_text
from onnx import helper, numpy_helper

_OPS = (
    *("Add", "Sub", "Mul", "Div", "Greater", "Gemm", "MatMul", "Conv", "Concat", "Split", "Slice"),
    *(
        "Reshape",
        "Transpose",
        "Squeeze",
        "Unsqueeze",
        "Cast",
        "Where",
        "Scan",
        "Loop",
        "If",
        "Clip",
    ),
    *("Constant", "ConstantOfShape", "Shape", "Gather", "ReduceSum", "Identity", "Einsum", "Floor"),
)
_TYPES = ("f4", "f8", "f2", "i1", "i4", "i8", "u8", "?")
_SHAPES = ((), (0,), (1,), (2,), (3,), (1, 1), (2, 3), (0, 4), (4, 4), (1, 2, 3), (2, 1, 3, 3))
_VALUES = (0, -1, 1, 2, 3, 65536, 2**31, -(2**31), 2**53, 0.5, 1e-45, 1e38, np.nan, np.inf)
_WHOLE = (0, -1, 1, 2, 3, 5, 100, 1 << 31, (1 << 63) - 1, -(1 << 63))


def mutate_model(data: bytes, random: Random) -> bytes:
    """Nodes, edges, attributes and arrays of a model changed, lost or doubled; now and then any
    bytes."""
    if random.randrange(8) == 0:
        return mutate_bytes(data, random)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception:
        return mutate_bytes(data, random)
    for _ in range(random.choice((1, 1, 2, 3))):
        # Not every model can be changed in every way.
        with suppress(Exception), np.errstate(all="ignore"):
            random.choice(_CHANGES)(random.choice(_graphs(model.graph)), model, random)
    changed: bytes = model.SerializeToString()
    return changed if len(changed) <= MAX_BYTES else data


def _graphs(graph: Any, depth: int = 0) -> list[Any]:
    """A graph, and those inside its nodes."""
    inner = (a.g for node in graph.node for a in node.attribute if a.HasField("g"))
    return [graph, *(g for below in inner for g in _graphs(below, depth + 1) if depth < 4)]


def _names(graph: Any) -> list[str]:
    found = [v.name for v in (*graph.input, *graph.initializer, *graph.output)]
    return [*found, *(name for node in graph.node for name in node.output), "", "none"]


def _rewire(graph: Any, model: Any, random: Random) -> None:
    node = random.choice(graph.node)
    ends = random.choice((node.input, node.input, node.output))
    ends[random.randrange(len(ends))] = random.choice(_names(graph))


def _ends(graph: Any, model: Any, random: Random) -> None:
    """An end of a node more or less, or of the graph."""
    node = random.choice(graph.node)
    ends = random.choice((node.input, node.output))
    if random.randrange(2):
        ends.append(random.choice(_names(graph)))
    elif random.randrange(4):
        del ends[random.randrange(len(ends))]
    else:
        del random.choice((graph.input, graph.output))[0]


def _operation(graph: Any, model: Any, random: Random) -> None:
    random.choice(graph.node).op_type = random.choice(_OPS)


def _order(graph: Any, model: Any, random: Random) -> None:
    """A node lost, doubled, or put elsewhere."""
    place = random.randrange(len(graph.node))
    way = random.randrange(3)
    if way < 2:
        node = onnx.NodeProto()
        node.CopyFrom(graph.node[random.randrange(len(graph.node))])
        graph.node.insert(random.randrange(len(graph.node) + 1), node)
    if way > 0:
        del graph.node[place]


def _attribute(graph: Any, model: Any, random: Random) -> None:
    node = random.choice([n for n in graph.node if n.attribute])
    attribute = random.choice(node.attribute)
    way = random.randrange(5)
    if way == 0:
        node.attribute.remove(attribute)
    elif way == 1:
        attribute.name = random.choice(("axis", "perm", "to", "alpha", "pads", "body", "ü"))
    elif attribute.ints:
        attribute.ints[random.randrange(len(attribute.ints))] = random.choice(_WHOLE)
    elif attribute.type == onnx.AttributeProto.INT:
        attribute.i = random.choice(_WHOLE)
    elif attribute.type == onnx.AttributeProto.FLOAT:
        attribute.f = float(np.float32(random.choice(_VALUES)))
    elif attribute.type == onnx.AttributeProto.STRING:
        attribute.s = mutate_text(attribute.s, random)
    elif attribute.HasField("t"):
        attribute.t.CopyFrom(_changed(attribute.t, random))


def _added(graph: Any, model: Any, random: Random) -> None:
    """An attribute more."""
    name = random.choice(("axis", "axes", "perm", "alpha", "beta", "transA", "pads", "strides"))
    values: Any = random.choice((random.choice(_WHOLE), [random.choice(_WHOLE)] * 2, 0.5, "x"))
    random.choice(graph.node).attribute.append(helper.make_attribute(name, values))


def _array(graph: Any, model: Any, random: Random) -> None:
    tensor = random.choice(graph.initializer)
    tensor.CopyFrom(_changed(tensor, random))


def _changed(tensor: Any, random: Random) -> Any:
    """A tensor with other numbers, of another shape or type, or one that claims another."""
    values = np.array(numpy_helper.to_array(tensor))
    way = random.randrange(5)
    if way == 0 and values.size:
        flat = values.astype("f8").reshape(-1)
        place = random.randrange(flat.size) if random.randrange(2) else slice(None)
        flat[place] = random.choice(_VALUES)
        values = flat.reshape(values.shape).astype(values.dtype)
    elif way == 1:
        values = np.ones(random.choice(_SHAPES), values.dtype)
    elif way == 2:
        values = values.astype(random.choice(_TYPES))
    elif way == 3:
        values = values.T if random.randrange(2) else values[None]
    made = numpy_helper.from_array(values, tensor.name)
    if way == 4:
        made.dims[random.randrange(len(made.dims))] = random.choice(_WHOLE)
    return made


def _declared(graph: Any, model: Any, random: Random) -> None:
    """The shape or type of an end of the graph."""
    end = random.choice((*graph.input, *graph.output))
    kind = end.type.tensor_type
    way = random.randrange(4)
    if way == 0:
        kind.elem_type = random.randrange(17)
    elif way == 1:
        kind.ClearField("shape")
    elif way == 2:
        del kind.shape.dim[random.randrange(len(kind.shape.dim))]
    else:
        kind.shape.dim[random.randrange(len(kind.shape.dim))].dim_value = random.choice(_WHOLE)


def _said(graph: Any, model: Any, random: Random) -> None:
    """The metadata, versions, or operators of others."""
    way = random.randrange(6)
    if way > 3:
        del model.metadata_props[:]  # not this tool's any more
    elif way == 0:
        model.opset_import[0].version = random.choice((1, 9, 13, 17, 21, 999))
    elif way == 1:
        model.ir_version = random.choice((0, 3, 9, 99))
    elif way == 2:
        random.choice(graph.node).domain = "elsewhere"
    else:
        entry = random.choice(model.metadata_props)
        entry.value = mutate_text(entry.value.encode(), random).decode("utf-8", "replace")


_CHANGES: tuple[Callable[[Any, Any, Random], None], ...] = (
    *(_rewire, _rewire, _ends, _operation, _operation, _order, _attribute, _attribute, _added),
    *(_array, _array, _array, _declared, _said),
)
