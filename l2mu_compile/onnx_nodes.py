"""Nodes of an ONNX graph, as they are made one after the other, and states of a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from l2mu_compile.installed import require


def onnx_package() -> Any:
    """The ``onnx`` package; `UsageError` if it is not installed."""
    return require("onnx", "onnx", "ONNX files")


@dataclass(frozen=True)
class State:
    """Values ``[batch, size]`` that are ``start`` at first; ``text`` says what they are."""

    name: str
    dtype: DTypeLike
    size: int
    text: str
    start: float | int = 0

    @property
    def after(self) -> str:
        """Its name after the step."""
        return f"{self.name}.next"


class Nodes:
    """Nodes and constants, each named like the value it gives.

    Every value's name has a ``/`` in it, but those of the graph's own inputs and outputs.
    """

    def __init__(self) -> None:
        self.onnx = onnx_package()
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self.made: set[str] = set()

    def add(self, kind: str, inputs: list[str], *outputs: str, **attributes: Any) -> str:
        """A node; the name of its first output, by which it is called too."""
        name = outputs[0]
        node = self.onnx.helper.make_node(kind, inputs, outputs, name=name, **attributes)
        self.nodes.append(node)
        self.made.update(outputs)
        return name

    def once(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """`add`, if there is no such node yet."""
        return output if output in self.made else self.add(kind, inputs, output, **attributes)

    def constant(self, name: str, values: ArrayLike, dtype: DTypeLike | None = None) -> str:
        """A constant that is there once, however often it is asked for."""
        if name not in self.constants:
            array = np.array(values, dtype, order="C")
            self.constants[name] = self.onnx.numpy_helper.from_array(array, name)
        return name

    def cast(self, value: str, dtype: DTypeLike, output: str) -> str:
        """``value`` as numbers of another type."""
        return self.add("Cast", [value], output, to=self.type_of(dtype))

    def floor_divided(self, value: str, divisor: NDArray, output: str) -> str:
        """Integers divided by positive ones, rounded down: ONNX's own division rounds to zero."""
        by = self.constant(f"{output}/divisor", divisor)
        rest = self.add("Mod", [value, by], f"{output}/rest")
        multiple = self.add("Sub", [value, rest], f"{output}/multiple")
        return self.add("Div", [multiple, by], output)

    def described(self, name: str, dtype: DTypeLike, shape: list[Any], text: str = "") -> Any:
        """What a graph says of one of its inputs or outputs."""
        kind = self.type_of(dtype)
        return self.onnx.helper.make_tensor_value_info(name, kind, shape, doc_string=text)

    def graph(self, name: str, inputs: list[Any], outputs: list[Any]) -> Any:
        """All nodes as a graph."""
        constants = list(self.constants.values())
        return self.onnx.helper.make_graph(self.nodes, name, inputs, outputs, constants)

    def type_of(self, dtype: DTypeLike) -> int:
        """ONNX's number for an element type."""
        return int(self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
