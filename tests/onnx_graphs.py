"""ONNX graphs in ONNX Runtime, and how far rounding lets them be from the interpreter."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from l2mu_compile.interpreter import Run, run
from l2mu_compile.network import Network, Population
from l2mu_compile.neurons import CuBaLIF
from l2mu_compile.onnx_export import to_onnx
from l2mu_compile.samples import prepared

Values = dict[str, NDArray]
UNIT = 2.0**-24  # half of what a float32 near 1 is exact to


class Session:
    """A model in ONNX Runtime, on one core."""

    def __init__(self, model: Any) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self.inputs = [i.name for i in self.session.get_inputs()]
        self.outputs = [o.name for o in self.session.get_outputs()]

    def run(self, values: Values) -> Values:
        """All outputs by name."""
        found = self.session.run(None, {name: values[name] for name in self.inputs})
        return dict(zip(self.outputs, found, strict=True))


def window_of(network: Network, x: NDArray) -> Values:
    """What the window graph makes of windows ``[B, T, inputs]``."""
    return Session(to_onnx(network, "window")).run({network.input.name: x})


def steps_of(network: Network, x: NDArray, start: Values) -> list[Values]:
    """What the step graph puts out, step after step, its states fed back."""
    session = Session(to_onnx(network))
    values, found = dict(start), []
    for sample in np.moveaxis(x, 1, 0):
        found.append(session.run({**values, network.input.name: sample}))
        values = {n.removesuffix(".next"): v for n, v in found[-1].items() if n.endswith(".next")}
    return found


def zeros_of(network: Network, batch: int) -> Values:
    """States before the first step, of the populations and of scores that start at 0."""
    session = Session(to_onnx(network))
    found = {}
    for value in session.session.get_inputs():
        kind = {"tensor(float)": np.float32, "tensor(bool)": np.bool_, "tensor(int64)": np.int64}
        if value.name != network.input.name:
            found[value.name] = np.zeros((batch, value.shape[1]), kind.get(value.type, np.int32))
    return found


def forced(network: Network, x: NDArray, told: Run) -> Values:
    """One step from every state the interpreter was in: ``[B, T, neurons]`` by name."""
    batch = x.shape[0] * x.shape[1]
    states = zeros_of(network, batch)
    for kind, recorded in (("membrane", told.membranes), ("synapse", told.synapses)):
        for name, values in recorded.items():
            states[f"{name}.{kind}"] = before(values).reshape(batch, -1)
    states[network.input.name] = x.reshape(batch, -1)
    found = Session(to_onnx(network)).run(states)
    return {name: values.reshape(*x.shape[:2], -1) for name, values in found.items()}


def before(values: NDArray) -> NDArray:
    """Recorded values ``[B, T, n]`` as they were before each step."""
    return np.concatenate([np.zeros_like(values[:, :1]), values[:, :-1]], axis=1)


def rounding(network: Network, x: NDArray, told: Run, p: Population) -> NDArray:
    """How far apart two float32 sums of a step may be, in any order, ``[B, T, neurons]``.

    A sum of n rounded terms is within ``n · u / (1 - n · u)`` of the sum of their magnitudes.
    """
    terms, size = 6, np.abs(before(told.membranes[p.name])).astype(np.float64)
    if isinstance(p.neuron, CuBaLIF):
        size = size + np.abs(before(told.synapses[p.name]))
    size = size + (0 if p.bias is None else np.abs(p.bias)) + _finite(p.neuron.threshold)
    samples = prepared(network, x)
    for projection in network.into(p.name):
        source = told.spikes.get(projection.source, samples)
        source = before(source) if projection.delay else source
        weight = np.abs(projection.dense().astype(np.float64))
        size = size + np.abs(source.astype(np.float64)) @ weight.T
        terms += 2 * projection.shape[1]
    return 2 * terms * UNIT / (1 - terms * UNIT) * size + terms * 2.0**-140


def _finite(threshold: NDArray) -> NDArray:
    return np.where(np.isfinite(threshold), threshold, 0)


def compare_floats(network: Network, x: NDArray) -> float:
    """The share of steps, of all there are, in which every spike of a step graph is the
    interpreter's.

    Asserts that from the same state membranes are within `rounding`, and that only spikes of
    membranes that near to their threshold differ; what follows from such a spike within the step
    is left out.
    """
    told = run(network, x, record=("membranes", "spikes"))
    found = forced(network, x, told)
    same = np.ones(x.shape[:2], bool)
    for p in network.order():
        bound = rounding(network, x, told, p)
        wanted = told.membranes[p.name].astype(np.float64)
        off = np.abs(found[f"{p.name}.membrane.next"] - wanted)
        assert (off <= bound)[same].all(), p.name
        if f"{p.name}.spikes" in found:
            differs = found[f"{p.name}.spikes"] != told.spikes[p.name]
            near = np.abs(wanted - p.neuron.threshold) <= bound
            assert (near | ~differs)[same].all(), p.name
            same &= ~differs.any(axis=-1)
    return float(same.mean())
