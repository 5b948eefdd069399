"""Networks as ONNX models, for ONNX Runtime, ST Edge AI, netron and other tools.

A ``step`` graph is one time step: states and a sample in, states and spikes out
(`l2mu_compile.onnx_step`). A ``window`` graph is a `Scan` of it over windows
``[batch, steps, channels]`` from a state of zero: scores and decisions out.

Opset 13, of 2021: the first in which every operator used here takes the types it is used with in
the form that later ones keep, so that old and new tools read it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from l2mu_compile import __version__
from l2mu_compile.errors import ModelError
from l2mu_compile.network import Network, spiking
from l2mu_compile.onnx_nodes import Nodes, State, onnx_package
from l2mu_compile.onnx_own import said_of
from l2mu_compile.onnx_readout import NEEDED
from l2mu_compile.onnx_step import BATCH, Step, make_step
from l2mu_compile.output import write_whole
from l2mu_compile.text import network_digest
from l2mu_compile.verify import verify

OPSET, IR_VERSION = 13, 7
GRAPHS = ("step", "window")
KEY = "l2mu."
MAX_BYTES = 2**31 - 2**24  # a protobuf message is below 2^31


def write_onnx(network: Network, path: Path, graph: str = "step") -> None:
    """Write ``network`` as an ``.onnx`` file. Raises `ModelError` if it is too large for one."""
    content = to_onnx(network, graph).SerializeToString(deterministic=True)
    write_whole(path, content)


def to_onnx(network: Network, graph: str = "step") -> Any:
    """``network`` as an ``onnx.ModelProto`` of its ``step`` or of a whole ``window``.

    Raises `ModelError` if it breaks a rule of its stage or is too large, `UsageError` where the
    ``onnx`` extra is not installed.
    """
    onnx = onnx_package()
    verify(network)
    if sum(array.nbytes for array in network.tensors().values()) > MAX_BYTES:
        raise ModelError(f"network {network.name} is larger than an ONNX file can be, 2 GiB")
    states, made = {"step": _step, "window": _window}[graph](network)
    model = onnx.helper.make_model(
        made,
        producer_name="l2mu-compile",
        producer_version=__version__,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    said = _metadata(network, graph, states) | said_of(network, made)
    onnx.helper.set_model_props(model, said)
    onnx.checker.check_model(model, full_check=True)
    return model


def _metadata(network: Network, graph: str, states: tuple[State, ...]) -> dict[str, str]:
    starts = {state.name: state.start for state in states if state.start}
    found = {
        "network": network.name,
        "graph": graph,
        "sha256": network_digest(network),
        "classes": json.dumps(network.class_names),
        "readout": network.readout.rule,
        "window": network.window,
        "start": json.dumps(starts) if starts else None,
    }
    return {f"{KEY}{name}": str(value) for name, value in found.items() if value is not None}


def _step(network: Network) -> tuple[tuple[State, ...], Any]:
    step = make_step(network, network.input.name)
    kind = np.uint8 if network.quantized else np.float32
    spikes = [
        step.nodes.described(f"{p.name}.spikes", kind, [BATCH, p.size], "spikes of this step")
        for p in network.populations
        if spiking(p)
    ]
    outs = [*step.outs(), *spikes]
    return step.states, step.nodes.graph(network.name, step.ins(network), outs)


def _window(network: Network) -> tuple[tuple[State, ...], Any]:
    name = network.input.name
    step = make_step(network, f"{name}/step")
    body = step.nodes.graph(f"{network.name}_step", step.ins(network), step.outs())
    nodes = Nodes()
    size = nodes.add("Shape", [name], f"{name}/shape")
    batch = nodes.add("Gather", [size, nodes.constant("/first", [0], np.int64)], "/batch")
    starts = [_start(nodes, state, batch) for state in step.states]
    ends = {state.name: f"{state.name}/end" for state in step.states}
    nodes.add(
        "Scan",
        [*starts, name],
        *ends.values(),
        body=body,
        num_scan_inputs=1,
        scan_input_axes=[1],
    )
    shape = [BATCH, network.window or "steps", network.input.size]
    window = nodes.described(name, np.float32, shape, "a window's samples")
    return (), nodes.graph(network.name, [window], _outcome(nodes, network, step, ends))


def _start(nodes: Nodes, state: State, batch: str) -> str:
    size = nodes.constant(f"{state.name}/size", [state.size], np.int64)
    shape = nodes.add("Concat", [batch, size], f"{state.name}/shape", axis=0)
    value = nodes.onnx.numpy_helper.from_array(np.array([state.start], state.dtype))
    return nodes.add("ConstantOfShape", [shape], f"{state.name}/start", value=value)


def _outcome(nodes: Nodes, network: Network, step: Step, ends: dict[str, str]) -> list[Any]:
    """Scores, the first class of the largest, and, with margins, the steps that took."""
    scores = next(s for s in step.states if s.name == step.scores)
    nodes.add("Identity", [ends[scores.name]], "window.scores")
    nodes.add("ArgMax", ["window.scores"], "window.decision", axis=1, keepdims=0)
    found = [
        nodes.described("window.decision", np.int64, [BATCH], "the class decided for"),
        nodes.described("window.scores", scores.dtype, [BATCH, network.classes], scores.text),
    ]
    if NEEDED in ends:
        nodes.add("Identity", [ends[NEEDED]], "window.needed")
        text = "steps until it was decided"
        found.append(nodes.described("window.needed", np.int32, [BATCH, 1], text))
    return found
