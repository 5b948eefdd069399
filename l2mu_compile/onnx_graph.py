"""An ONNX graph in plain values: its operators known, equal nodes one, every input there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from l2mu_compile.errors import L2MUError, ModelError
from l2mu_compile.onnx_file import array_of
from l2mu_compile.onnx_nodes import onnx_package
from l2mu_compile.onnx_ops import MAX_VALUES, OPERATORS, apply
from l2mu_compile.tensor_files import shown

OLDEST_OPSET, NEWEST_OPSET = 13, 27
MAX_NODES = 100_000


@dataclass(frozen=True, eq=False)
class OnnxNode:
    """An operation: values in by name (None where one is left out), one value out.

    Of a ``Split`` it is one ``part``.
    """

    kind: str
    label: str
    inputs: tuple[str | None, ...]
    output: str
    attributes: dict[str, Any]

    def __str__(self) -> str:
        return f"node {shown(self.label)} ({self.kind})"

    def run(self, values: Mapping[str, Any]) -> Any:
        """What it computes. Raises `ModelError` naming it where that cannot be."""
        arguments = [None if name is None else values[name] for name in self.inputs]
        try:
            return apply(self.kind, self.attributes, arguments)
        except L2MUError as error:
            raise ModelError(f"{self} {error}") from None
        except Exception as failure:
            text = (str(failure).strip() or type(failure).__name__).splitlines()[0]
            raise ModelError(f"{self} cannot be run: {text}") from None


@dataclass(frozen=True, eq=False)
class OnnxGraph:
    """``nodes`` in the order in which they can be run. ``inputs`` maps names to shapes, with None
    for sizes that are left open; ``outputs`` are names."""

    inputs: dict[str, tuple[int | None, ...]]
    outputs: tuple[str, ...]
    constants: dict[str, Any]
    nodes: tuple[OnnxNode, ...]

    def run(self, values: Mapping[str, Tensor]) -> dict[str, Any]:
        """Every value, for ``values`` of the inputs."""
        found: dict[str, Any] = {**self.constants, **values}
        for node in self.nodes:
            found[node.output] = node.run(found)
        return found

    def run_carefully(self, values: Mapping[str, Tensor]) -> dict[str, Any]:
        """`run`; `ModelError` where all values together would take up too much memory."""
        found: dict[str, Any] = {**self.constants, **values}
        total = 0
        for node in self.nodes:
            sizes = {i: _sizes_only(found[i]) for i in node.inputs if i is not None}
            made = node.run(sizes)
            total += made.numel() if isinstance(made, Tensor) else made.size
            if total > MAX_VALUES:
                raise ModelError(f"{node}: more than {MAX_VALUES} values in all up to here")
            found[node.output] = node.run(found) if isinstance(made, Tensor) else made
        return found


def read_graph(model: Any) -> OnnxGraph:
    """The graph of an ``onnx.ModelProto``.

    Raises `ModelError` naming the node and the rule it breaks: an operator, an opset or a type that
    is not supported, a value that nothing makes.
    """
    opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)
    if opset < OLDEST_OPSET:
        raise ModelError(
            f"is of opset {opset}; {OLDEST_OPSET} is the oldest that is read: export with "
            f"opset_version={OLDEST_OPSET} or later"
        )
    if opset > NEWEST_OPSET:
        raise ModelError(
            f"is of opset {opset}; {NEWEST_OPSET} is the newest that is read: export with "
            f"opset_version={NEWEST_OPSET} or earlier"
        )
    if len(model.graph.node) > MAX_NODES:
        raise ModelError(f"has {len(model.graph.node)} nodes; at most {MAX_NODES}")
    if model.functions or model.graph.sparse_initializer:
        raise ModelError("has functions of its own, or sparse constants, which are not supported")
    return _Reader().read(model.graph)


class _Reader:
    def __init__(self) -> None:
        self.names: dict[str, str] = {}  # of every value so far, by the name the file has for it
        self.constants: dict[str, Any] = {}
        self.known: dict[Any, str] = {}
        self.nodes: list[OnnxNode] = []
        self.folded = 0

    def read(self, graph: Any) -> OnnxGraph:
        for tensor in graph.initializer:
            self.constant(tensor.name, tensor, f"constant {shown(tensor.name)}")
        inputs = {}
        for value in graph.input:
            if value.name not in self.constants:
                self.define(value.name, value.name, "input")
                inputs[value.name] = self.shape(value)
        for node in graph.node:
            self.node(node)
        outputs = tuple(self.value(v.name, "an output of the graph") for v in graph.output)
        return OnnxGraph(inputs, outputs, self.constants, tuple(self.nodes))

    def node(self, node: Any) -> None:
        label = node.name or next(iter(node.output), "")
        where = f"node {shown(label)} ({shown(node.op_type).strip(chr(39))})"
        if node.domain not in ("", "ai.onnx"):
            raise ModelError(f"{where}: operators of {shown(node.domain)} are not supported")
        known = (*OPERATORS, "Identity", "Constant")
        if len(node.output) != 1 and node.op_type in known and node.op_type != "Split":
            raise ModelError(f"{where}: has {len(node.output)} outputs, not one")
        if node.op_type == "Identity" and len(node.input) == 1:
            self.define(node.output[0], self.value(node.input[0], where), where)
            return
        if node.op_type == "Constant":
            self.constant(node.output[0], _held(node, where), where)
            return
        if node.op_type not in OPERATORS:
            raise ModelError(
                f"{where}: this operator is not supported; between neurons, which spike where a "
                f"membrane is greater than a threshold, there may be {', '.join(OPERATORS)}"
            )
        found = {a.name: _attribute(a, where) for a in node.attribute}
        if len(found) < len(node.attribute):
            raise ModelError(f"{where}: has two attributes of one name")
        inputs = tuple(self.value(name, where) if name else None for name in node.input)
        for part, output in enumerate(node.output):
            if node.op_type == "Split":
                found |= {"part": part, "outputs": len(node.output)}
            key = (node.op_type, inputs, repr(sorted(found.items())))
            if key not in self.known:
                self.known[key] = output
                self.keep(OnnxNode(node.op_type, label, inputs, output, dict(found)))
            self.define(output, self.known[key], where)

    def keep(self, node: OnnxNode) -> None:
        """A node, or what it makes where that is constant."""
        if all(i is None or i in self.constants for i in node.inputs):
            made = OnnxGraph({}, (), self.constants, (node,)).run_carefully({})[node.output]
            self.folded += made.numel() if isinstance(made, Tensor) else made.size
            if self.folded > MAX_VALUES:
                raise ModelError(f"{node}: more than {MAX_VALUES} constants in all up to here")
            self.constants[node.output] = made
        else:
            self.nodes.append(node)

    def constant(self, name: str, tensor: Any, where: str) -> None:
        array = array_of(tensor, where).copy()
        first = self.known.setdefault((array.dtype.str, array.shape, array.tobytes()), name)
        if first == name:
            self.constants[name] = array if array.dtype == np.int64 else torch.from_numpy(array)
        self.define(name, first, where)

    def define(self, name: str, value: str, where: str) -> None:
        if name in self.names:
            raise ModelError(f"{where}: the value {shown(name)} is there already")
        self.names[name] = value

    def value(self, name: str, where: str) -> str:
        if name not in self.names:
            raise ModelError(f"{where}: nothing before it makes the value {shown(name)}")
        return self.names[name]

    def shape(self, value: Any) -> tuple[int | None, ...]:
        kind = value.type.tensor_type
        if kind.elem_type != onnx_package().TensorProto.FLOAT:
            raise ModelError(f"input {shown(value.name)} is not of float32, which is not supported")
        return tuple(d.dim_value if d.dim_value > 0 else None for d in kind.shape.dim)


def _held(node: Any, where: str) -> Any:
    """The tensor of a ``Constant``, which may be written as numbers, too."""
    onnx = onnx_package()
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if attribute.name == "value" and attribute.type == onnx.AttributeProto.TENSOR:
            return value
        if attribute.name in ("value_float", "value_floats"):
            return onnx.numpy_helper.from_array(np.array(value, np.float32))
        if attribute.name in ("value_int", "value_ints"):
            return onnx.numpy_helper.from_array(np.array(value, np.int64))
    raise ModelError(f"{where}: holds no tensor and no numbers, which is not supported")


def _sizes_only(value: Any) -> Any:
    return value.to("meta") if isinstance(value, Tensor) else value


def _attribute(attribute: Any, where: str) -> Any:
    value = onnx_package().helper.get_attribute_value(attribute)
    if attribute.type == onnx_package().AttributeProto.TENSOR:
        return torch.from_numpy(array_of(value, where).copy())
    if attribute.type == onnx_package().AttributeProto.GRAPH:
        raise ModelError(f"{where}: has a graph of its own, which is not supported")
    return list(value) if attribute.type > 5 else value
