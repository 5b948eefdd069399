"""ONNX files made to do harm: one line that says what is wrong, at once."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import snntorch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from test_onnx_import import Step, Window, exported

from l2mu_compile.errors import ModelError
from l2mu_compile.frontend import load_model
from l2mu_compile.onnx_import import import_onnx

HUGE = 10**12
MOST_SECONDS, MOST_BYTES = 5.0, 1 << 29


@pytest.fixture(scope="module")
def small() -> bytes:
    """A step of snnTorch neurons, as torch writes it."""
    module = Window(snntorch.Leaky)
    model = exported(Step(module), (torch.zeros(1, 3), *module.at_rest()), "legacy")
    return bytes(model.SerializeToString())


def refused(path: Path, content: bytes, message: str) -> None:
    """By one line that names the file, soon and with little memory."""
    path.write_bytes(content)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(ModelError, match=message) as caught:
        load_model(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ") and text.isprintable() and ".py" not in text
    assert time.monotonic() - start < MOST_SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10 < MOST_BYTES


def graph_of(nodes: list[Any], constants: list[Any] = (), shape: Any = (1, 3)) -> Any:
    """A model of one input, ``x``, and one output, ``y``."""
    ends = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, s)
        for n, s in (("x", shape), ("y", [1]))
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], list(constants))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def node(kind: str, inputs: str, output: str = "y", **attributes: Any) -> Any:
    return helper.make_node(kind, inputs.split(), [output], name=f"my_{kind}", **attributes)


def claimed(dims: list[int], kind: int = TensorProto.FLOAT, raw: bytes = b"") -> Any:
    """A tensor that says it has more than it holds."""
    tensor = TensorProto(name="w", data_type=kind, raw_data=raw)
    tensor.dims.extend(dims)
    return tensor


def integers(name: str, *values: int) -> Any:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def branch() -> Any:
    inner = helper.make_graph([node("Neg", "x")], "g", [], [])
    return graph_of([node("If", "x", then_branch=inner, else_branch=inner)])


def nested(depth: int) -> bytes:
    """Graphs in attributes of nodes of graphs, as no library would write them."""

    def field(number: int, content: bytes) -> bytes:
        size, small = b"", len(content)
        while small > 127:
            size, small = size + bytes([small & 127 | 128]), small >> 7
        return bytes([number << 3 | 2]) + size + bytes([small]) + content

    graph = b""
    for _ in range(depth):
        graph = field(1, field(5, field(6, graph)))
    return field(7, graph)


def with_function() -> Any:
    model = graph_of([node("Mine", "x")])
    made = helper.make_function("", "Mine", ["a"], ["b"], [node("Mine", "a", "b")], [])
    model.functions.append(made)
    return model


def of_opset(version: int) -> Any:
    model = graph_of([node("Neg", "x")])
    model.opset_import[0].version = version
    return model


def twice(what: str) -> Any:
    model = graph_of([node("Neg", "x"), node("Neg", "x", "z")], [integers("c", 1)])
    getattr(model.graph, what).append(getattr(model.graph, what)[0])
    return model


def of_type(kind: int) -> Any:
    model = graph_of([node("Neg", "x")])
    model.graph.input[0].type.tensor_type.elem_type = kind
    return model


def attribute(kind: str, **changes: Any) -> Any:
    """A node with an attribute that is nonsense."""
    made = node(kind, "x", axis=0)
    for name, value in changes.items():
        setattr(made.attribute[0], name, value)
    return graph_of([made])


def without(kind: str, what: str) -> Any:
    made = node(kind, "x")
    made.ClearField(what)
    return graph_of([made])


ADD_W = node("Add", "x w")
HOSTILE: dict[str, tuple[Callable[[], Any], str]] = {
    "a constant": (
        lambda: graph_of([ADD_W], [claimed([HUGE])]),
        "constant 'w': has shape .*, which is not what the file holds",
    ),
    "a constant of many axes": (
        lambda: graph_of([ADD_W], [claimed([1] * 200_000, raw=b"1234")]),
        "constant 'w': has shape",
    ),
    "a constant below zero": (
        lambda: graph_of([ADD_W], [claimed([-1, -4], raw=b"1234")]), "constant 'w': has shape",
    ),
    "a constant that ends early": (
        lambda: graph_of([ADD_W], [claimed([1], raw=b"123456")]),
        "constant 'w': cannot be read",
    ),
    "strings": (
        lambda: graph_of([ADD_W], [claimed([1], TensorProto.STRING)]), "of a type other than",
    ),
    "half floats": (
        lambda: graph_of([ADD_W], [claimed([1], TensorProto.FLOAT16, b"12")]),
        "constant 'w': is of a type other than",
    ),
    "an input": (
        lambda: graph_of([node("Neg", "x")], shape=(1, HUGE)), "has inputs of more than",
    ),
    "zeros": (
        lambda: graph_of([node("ConstantOfShape", "s")], [integers("s", HUGE)]),
        r"node 'my_ConstantOfShape' \(ConstantOfShape\) makes 1000000000000 values",
    ),
    "zeros again and again": (
        lambda: graph_of(
            [node("ConstantOfShape", "s", f"z{k}", value=claimed_one(k)) for k in range(500)],
            [integers("s", 1 << 24)],
        ),
        "more than 33554432 constants in all up to here",
    ),
    "a shape": (
        lambda: graph_of([node("Expand", "x s")], [integers("s", HUGE, 3)]), "makes 3000000000000",
    ),
    "a product": (
        lambda: graph_of(
            [node("Transpose", "x", "t"), node("MatMul", "t x")], shape=(1, 1 << 20),
        ),
        r"\(MatMul\): more than 33554432 values in all",
    ),
    "copies of copies": (
        lambda: graph_of(
            [node("Concat", f"v{k - 1} " * 2 if k else "x x", f"v{k}", axis=1) for k in range(40)]
            + [node("Neg", "v39")],
        ),
        r"\(Concat\): more than 33554432 values in all",
    ),
    "integers": (
        lambda: graph_of(
            [node("Concat", f"v{k - 1} " * 2 if k else "s s", f"v{k}", axis=0) for k in range(40)],
            [integers("s", 1)],
        ),
        "too many integers",
    ),
    "a cycle": (
        lambda: graph_of([node("Add", "x b", "a"), node("Add", "a x", "b")]),
        r"node 'my_Add' \(Add\): nothing before it makes the value 'b'",
    ),
    "its own input": (lambda: graph_of([node("Add", "x y")]), "nothing before it makes"),
    "a branch": (branch, r"\(If\): this operator is not supported"),
    "a graph where there is none": (
        lambda: graph_of([node("Neg", "x", body=graph_of([node("Neg", "x")]).graph)]),
        r"\(Neg\): has a graph of its own",
    ),
    "functions": (with_function, "has functions of its own"),
    "old": (lambda: of_opset(1), "is of opset 1; 13 is the oldest"),
    "new": (lambda: of_opset(2**40), "is of opset 1099511627776; 27 is the newest"),
    "below zero": (lambda: of_opset(-1), "is of opset"),
    "two nodes": (lambda: twice("node"), "the value 'y' is there already"),
    "two inputs": (lambda: twice("input"), "the value 'x' is there already"),
    "two constants": (lambda: twice("initializer"), "the value 'c' is there already"),
    "doubles": (lambda: of_type(TensorProto.DOUBLE), "input 'x' is not of float32"),
    "no type": (lambda: of_type(0), "input 'x' is not of float32"),
    "a type that is none": (lambda: of_type(999), "input 'x' is not of float32"),
    "attributes of no type": (lambda: attribute("Neg", type=0), "has no neurons|attribute"),
    "attributes of another type": (
        lambda: attribute("Concat", type=3, s=b"\xff"), r"\(Concat\) cannot be run",
    ),
    "an axis": (lambda: attribute("Concat", i=2**40), r"\(Concat\) cannot be run"),
    "no output": (lambda: without("Identity", "output"), r"\(Identity\): has 0 outputs, not one"),
    "no input": (lambda: without("Identity", "input"), r"\(Identity\)"),
    "nothing to add": (lambda: without("Add", "input"), r"\(Add\)"),
    "a constant of nothing": (
        lambda: graph_of([helper.make_node("Constant", [], ["y"])]), "holds no tensor",
    ),
    "letters": (
        lambda: graph_of([helper.make_node("Neg\n\x1b[2J", ["x"], ["\n"], name="\u202e\n")]),
        "this operator is not supported",
    ),
    "no neurons": (lambda: graph_of([node("Neg", "x")]), "has no neuron"),
}  # fmt: skip


def claimed_one(k: int) -> Any:
    """A number of its own for every k."""
    return helper.make_tensor("", TensorProto.FLOAT, [1], [float(k)])


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_graphs(tmp_path: Path, name: str) -> None:
    make, message = HOSTILE[name]
    refused(tmp_path / "a.onnx", make().SerializeToString(), message)


def test_graphs_in_graphs(tmp_path: Path) -> None:
    for depth in (2, 50, 20_000):
        refused(tmp_path / "a.onnx", nested(depth), r"a\.onnx: ")


def test_two_attributes_of_one_name(tmp_path: Path) -> None:
    model = graph_of([node("Neg", "x", axis=0)])
    model.graph.node[0].attribute.append(model.graph.node[0].attribute[0])
    refused(tmp_path / "a.onnx", model.SerializeToString(), r"two attributes of one name")


def test_a_valid_file_that_is_cut_short(tmp_path: Path, small: bytes) -> None:
    for share in range(20):
        refused(tmp_path / "a.onnx", small[: len(small) * share // 20], r"a\.onnx: ")


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_any_damage_is_an_error_of_our_own(
    tmp_path: Path, small: bytes, data: st.DataObject
) -> None:
    """Bytes of a valid file are changed: it is refused in one line, or read as something else."""
    whole = bytearray(small)
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "a.onnx"
    path.write_bytes(whole)
    try:
        import_onnx(path)
    except ModelError as error:
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error)


def test_the_valid_file_itself(tmp_path: Path, small: bytes) -> None:
    onnx.checker.check_model(onnx.load_from_string(small))
    (tmp_path / "a.onnx").write_bytes(small)
    assert [p.size for p in load_model(tmp_path / "a.onnx").network.populations] == [6, 4]
