"""The benchmark networks as ONNX graphs for ONNX Runtime: one run per step, or one `Scan`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from peers import Classify, Fused, fused

from l2mu_compile.network import Network

OPSET = 17


class StepGraph:
    """The nodes and constants of one step; ``s_u`` and ``v_u`` are spikes and membranes."""

    def __init__(self, network: Network) -> None:
        self.network, self.populations = network, fused(network)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.states = [f"{kind}_{p.name}" for p in self.populations for kind in "vs"]
        self.sizes = {f"{kind}_{p.name}": p.size for p in self.populations for kind in "vs"}
        for p in self.populations:
            self._population(p)

    def _population(self, p: Fused) -> None:
        name = p.name
        decayed = self._node("Mul", f"v_{name}", self._constant(np.float32(p.beta)))
        reset = self._node("Mul", f"s_{name}", self._constant(np.float32(p.threshold)))
        total = self._node("Sub", decayed, reset)
        if p.sources:
            parts = [self._spikes(source, late) for source, late in p.sources]
            spikes = self._node("Concat", *parts, axis=0)
            total = self._node(
                "Add", total, self._node("MatMul", spikes, self._constant(p.weight.T))
            )
        for q in p.blocks:
            shape = self._constant(np.int64([q.blocks, -1]))
            cells = self._node("Reshape", self._spikes(q.source, bool(q.delay)), shape)
            product = self._node("MatMul", cells, self._constant(q.weight.T))
            flat = self._node("Reshape", product, self._constant(np.int64([-1])))
            total = self._node("Add", total, flat)
        self._node("Identity", total, output=f"new_v_{name}")
        above = self._node("Greater", total, self._constant(np.float32(p.threshold)))
        self._node("Cast", above, output=f"new_s_{name}", to=1)

    def _spikes(self, source: str, late: bool) -> str:
        if source == self.network.input.name:
            return "sample"
        return f"s_{source}" if late else f"new_s_{source}"

    def _node(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        from onnx import helper

        output = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def _constant(self, values: Any) -> str:
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        array = np.ascontiguousarray(values).reshape(np.shape(values))
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def body(self, name: str) -> Any:
        """The graph of one step: states and a sample in, states and output spikes out."""
        from onnx import helper

        states = [_values(state, self.sizes[state]) for state in self.states]
        sample = _values("sample", self.network.input.size)
        after = [_values(f"new_{state}", self.sizes[state]) for state in self.states]
        out = f"new_s_{self.network.readout.population}"
        output = _values("output", self.network.classes)
        nodes = [*self.nodes, helper.make_node("Identity", [out], ["output"])]
        return helper.make_graph(nodes, name, [*states, sample], [*after, output], self.constants)


def with_onnx_steps(network: Network) -> Classify:
    """One run of the session for each step."""
    graph = StepGraph(network)
    session = _session(graph.body("step"))

    def classify(window: NDArray) -> NDArray:
        states = {state: np.zeros(graph.sizes[state], np.float32) for state in graph.states}
        counts = np.zeros(network.classes, np.float32)
        for sample in window:
            *after, output = session.run(None, {**states, "sample": sample})
            states = dict(zip(graph.states, after, strict=True))
            counts += output
        return counts.astype(np.int64)

    return classify


def with_onnx_scan(network: Network) -> Classify:
    """One run for the window; ONNX Runtime goes through the steps."""
    from onnx import helper

    graph = StepGraph(network)
    final = [f"final_{state}" for state in graph.states]
    scan = helper.make_node(
        "Scan",
        [*graph.states, "window"],
        [*final, "outputs"],
        body=graph.body("step"),
        num_scan_inputs=1,
    )
    inputs = [_values(state, graph.sizes[state]) for state in graph.states]
    inputs.append(_values("window", "steps", network.input.size))
    outputs = [_values("outputs", "steps", network.classes)]
    session = _session(helper.make_graph([scan], "window", inputs, outputs))
    zeros = {state: np.zeros(graph.sizes[state], np.float32) for state in graph.states}

    def classify(window: NDArray) -> NDArray:
        (outputs,) = session.run(["outputs"], {**zeros, "window": window})
        return outputs.sum(axis=0).astype(np.int64)

    return classify


def _values(name: str, *shape: int | str) -> Any:
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def model_of(graph: Any) -> Any:
    """A graph as an ONNX model."""
    from onnx import helper

    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


def _session(graph: Any) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model_of(graph).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
