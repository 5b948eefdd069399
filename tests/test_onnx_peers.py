"""ONNX files that others wrote, of snnTorch models: their own spikes, or a named refusal."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import models
import numpy as np
import onnx
import onnxruntime
import pytest
import snntorch
import torch
from onnx import helper, numpy_helper
from test_onnx_import import Step, Window, exported, of_kind, written
from torch import Tensor, nn

from l2mu_compile.errors import ModelError
from l2mu_compile.frontend import load_model
from l2mu_compile.network import Network

STEPS = 6
Make = Callable[[int], Any]


class Layers(nn.Module):
    """Neurons of any kind over windows ``[B, T, 3]``, or ``[T, B, 3]`` if ``time_first``."""

    def __init__(self, make: Make, time_first: bool = False, layers: int = 2, shown: int = 0):
        super().__init__()
        torch.manual_seed(7)
        sizes = [3, *[6] * (layers - 1), 4]
        self.maps = nn.ModuleList(map(nn.Linear, sizes, sizes[1:]))
        self.neurons = nn.ModuleList(map(make, sizes[1:]))
        self.time_first, self.shown = time_first, shown
        for layer in self.maps:
            layer.weight.data *= 3

    def forward(self, x: Tensor) -> Tensor:
        axis = 0 if self.time_first else 1
        states = [Window.states(neuron.reset_mem()) for neuron in self.neurons]
        record = []
        for entry in x.unbind(axis):
            value, made = entry, ()
            for k, (layer, neuron) in enumerate(zip(self.maps, self.neurons, strict=True)):
                made = neuron(layer(value), *states[k])
                recurrent = isinstance(neuron, snntorch.RLeaky | snntorch.RSynaptic)
                value, states[k] = made[0], list(made if recurrent else made[1:])
            record.append(made[self.shown])
        return torch.stack(record, axis)


def leaky(size: int, **options: Any) -> Any:
    return snntorch.Leaky(beta=torch.linspace(0.4, 0.9, size), learn_beta=True, **options)


def synaptic(size: int, **options: Any) -> Any:
    decays = torch.linspace(0.3, 0.8, size)
    return snntorch.Synaptic(decays, 0.9 * decays, learn_alpha=True, learn_beta=True, **options)


def own_spikes(module: nn.Module, found: Network) -> None:
    """The network spikes as the module does in float64, over windows of its own length."""
    module = deepcopy(module).double()
    for neuron in module.modules():
        if isinstance(neuron, snntorch.SpikingNeuron):
            neuron.spike_grad = models.step_gradient
    with models.float64():
        models.agree(
            module, found, 3, found.window, batch=30, time_first=module.time_first, level=2.0
        )


def both(module: nn.Module, path: Path, change: Any = None, how: str = "legacy", **options: Any):
    """The network of a module's export, after ``change``; it must spike as the module does."""
    steps = options.pop("steps", STEPS)
    kept = deepcopy(module)
    shape = (steps, 1, 3) if module.time_first else (1, steps, 3)
    model = exported(module, (torch.zeros(options.pop("shape", shape)),), how, **options)
    model = change(model) if change else model
    found = load_model(written(path / "a.onnx", model)).network
    own_spikes(kept, found)
    return found


RESETS = ("subtract", "zero", "none")
KINDS: dict[str, Make] = {
    **{f"leaky {r}": lambda n, r=r: leaky(n, reset_mechanism=r) for r in RESETS},
    **{f"synaptic {r}": lambda n, r=r: synaptic(n, reset_mechanism=r) for r in RESETS},
    "thresholds": lambda n: leaky(n, threshold=torch.linspace(0.5, 1.5, n), learn_threshold=True),
    "leaky of no memory": lambda n: snntorch.Leaky(beta=0.0),
    "leaky of no memory zero": lambda n: snntorch.Leaky(beta=0.0, reset_mechanism="zero"),
    "synaptic of no memory": lambda n: snntorch.Synaptic(alpha=0.5, beta=0.0),
    "integrating": lambda n: snntorch.Leaky(beta=1.2),
    "no reset to delay": lambda n: leaky(n, reset_mechanism="none", reset_delay=False),
    "rleaky all to all": lambda n: snntorch.RLeaky(0.8, linear_features=n),
    "rleaky one to one": lambda n: snntorch.RLeaky(0.8, V=torch.rand(n), all_to_all=False),
    "rsynaptic": lambda n: snntorch.RSynaptic(0.5, 0.8, linear_features=n),
    "rsynaptic zero": lambda n: snntorch.RSynaptic(
        0.5, 0.8, linear_features=n, reset_mechanism="zero"
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_neurons(tmp_path: Path, kind: str) -> None:
    both(Layers(KINDS[kind]), tmp_path)


@pytest.mark.parametrize("kind", ["thresholds", "rsynaptic"])
def test_neurons_of_the_dynamo_exporter(tmp_path: Path, kind: str) -> None:
    both(Layers(KINDS[kind], time_first=True), tmp_path, how="dynamo")


@pytest.mark.parametrize("opset", range(13, 21))
def test_opsets(tmp_path: Path, opset: int) -> None:
    both(Layers(synaptic), tmp_path, opset_version=opset)


@pytest.mark.parametrize(
    "options",
    [
        {"layers": 1},
        {"layers": 5},
        {"steps": 3},
        {"steps": 100},
        {"time_first": True, "steps": 5},
        {"do_constant_folding": False},
        {"shape": (4, STEPS, 3)},
        {"shape": (2, STEPS, 3), "input_names": ["x"], "dynamic_axes": {"x": {0: "batch"}}},
    ],
    ids=str,
)
def test_windows_and_exports(tmp_path: Path, options: dict[str, Any]) -> None:
    module = Layers(leaky, options.pop("time_first", False), options.pop("layers", 2))
    both(module, tmp_path, **options)


@pytest.mark.parametrize("encoder", ["single", "stacked"])
@pytest.mark.parametrize("neuron", ["leaky", "synaptic"])
@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_an_l2mu_for_one_window(tmp_path: Path, encoder: str, neuron: str, reset: str) -> None:
    """Its reshapes say a batch of 1, and mean any."""
    torch.manual_seed(4)
    module = models.l2mu(encoder=encoder, neuron=neuron, reset=reset)
    module.time_first = True
    both(models.exact(module, 2.0).float(), tmp_path, steps=12)


@pytest.mark.parametrize("make", [leaky, synaptic])
def test_membranes_that_nothing_compares_after_the_last_step(tmp_path: Path, make: Make) -> None:
    model = exported(Layers(make, shown=-1), (torch.zeros(1, STEPS, 3),), "legacy")
    path = written(tmp_path / "a.onnx", model)
    own_spikes(Layers(make), load_model(path, readout="last_membrane").network)
    with pytest.raises(ModelError, match="readout"):
        load_model(path)


# ---- graphs that tools have changed ----------------------------------------------------------


def optimized(level: Any) -> Any:
    """By ONNX Runtime."""

    def change(model: Any, path: Path) -> Any:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level, options.log_severity_level = level, 4
        options.optimized_model_filepath = str(path / "optimized.onnx")
        onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return onnx.load(path / "optimized.onnx")

    return change


def by_onnxscript(model: Any, _: Path) -> Any:
    optimizer = pytest.importorskip("onnxscript", reason="of onnxscript").optimizer
    return optimizer.optimize(model)


def put_nodes(model: Any, nodes: list[Any]) -> Any:
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def constant_nodes(model: Any, _: Path) -> Any:
    made = [helper.make_node("Constant", [], [t.name], value=t) for t in model.graph.initializer]
    del model.graph.initializer[:]
    return put_nodes(model, [*made, *model.graph.node])


def plain_numbers(model: Any, _: Path) -> Any:
    """Constants of few axes without a tensor around them."""
    for node in model.graph.node:
        array = numpy_helper.to_array(node.attribute[0].t) if node.op_type == "Constant" else None
        if array is not None and array.ndim < 2 and array.dtype in (np.float32, np.int64):
            kind = "float" if array.dtype == np.float32 else "int"
            name = f"value_{kind}{'s' if array.ndim else ''}"
            del node.attribute[:]
            node.attribute.append(helper.make_attribute(name, array.tolist()))
    return model


def products_and_sums(model: Any, _: Path) -> Any:
    nodes = []
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "Gemm":
            nodes.append(node)
            continue
        (x, w, b), (y,) = node.input, node.output
        turned = np.ascontiguousarray(constants[w].T)
        model.graph.initializer.append(numpy_helper.from_array(turned, f"{y}_w"))
        nodes.append(helper.make_node("MatMul", [x, f"{y}_w"], [f"{y}_product"]))
        nodes.append(helper.make_node("Add", [b, f"{y}_product"], [y]))
    return put_nodes(model, nodes)


def weights_turned(model: Any, _: Path) -> Any:
    tensors = {t.name: t for t in model.graph.initializer}
    gemms = [node for node in model.graph.node if node.op_type == "Gemm"]
    for name in {node.input[1] for node in gemms}:
        turned = np.ascontiguousarray(numpy_helper.to_array(tensors[name]).T)
        tensors[name].CopyFrom(numpy_helper.from_array(turned, name))
    for node in gemms:
        next(a for a in node.attribute if a.name == "transB").i = 0
    return model


def weights_turned_by_a_node(model: Any, _: Path) -> Any:
    weights_turned(model, _)
    names = {node.input[1] for node in model.graph.node if node.op_type == "Gemm"}
    for node in model.graph.node:
        if node.op_type == "Gemm":
            node.input[1] += "_back"
            next(a for a in node.attribute if a.name == "transB").i = 1
    turns = [helper.make_node("Transpose", [n], [f"{n}_back"], perm=[1, 0]) for n in names]
    return put_nodes(model, [*turns, *model.graph.node])


def without_names(model: Any, _: Path) -> Any:
    for node in model.graph.node:
        node.name = ""
    return model


def less_for_greater(model: Any, _: Path) -> Any:
    for node in model.graph.node:
        if node.op_type == "Greater":
            node.op_type, (one, other) = "Less", tuple(node.input)
            node.input[:] = [other, one]
    return model


LEVELS = onnxruntime.GraphOptimizationLevel
CHANGES = {
    "runtime's basic": optimized(LEVELS.ORT_ENABLE_BASIC),
    "onnxscript's": by_onnxscript,
    **{
        change.__name__: change
        for change in (
            *(constant_nodes, plain_numbers, products_and_sums, weights_turned),
            *(weights_turned_by_a_node, without_names, less_for_greater),
        )
    },
}


@pytest.mark.parametrize("kind", ["thresholds", "synaptic zero"])
@pytest.mark.parametrize("change", CHANGES)
def test_changed_graphs(tmp_path: Path, kind: str, change: str) -> None:
    both(Layers(KINDS[kind]), tmp_path, lambda model: CHANGES[change](model, tmp_path))


def test_states_of_a_step_in_any_order(tmp_path: Path) -> None:
    module = Window(snntorch.Synaptic)
    names = ["x", "a.syn", "a.mem", "b.syn", "b.mem"]
    arguments = (torch.zeros(1, 3), *module.at_rest())
    model = exported(Step(module), arguments, "legacy", input_names=names)
    wanted = load_model(written(tmp_path / "a.onnx", model)).network
    for values in (model.graph.input, model.graph.output):
        turned = list(values)[::-1]
        del values[:]
        values.extend(turned)
    assert load_model(written(tmp_path / "a.onnx", model)).network == wanted


# ---- refusals --------------------------------------------------------------------------------

LATE = "train with reset_delay=True"
REFUSED: dict[str, tuple[Make, str]] = {
    **{
        f"{make.__name__} {reset} at once": (
            lambda n, m=make, r=reset: m(n, reset_mechanism=r, reset_delay=False),
            rf"node '.*' \(Sub\) resets a membrane in the step of its spike.*{LATE}",
        )
        for make in (leaky, synaptic)
        for reset in ("subtract", "zero")
    },
    "no threshold": (
        lambda n: snntorch.Leaky(0.5, threshold=0.0),
        r"node '.*' \(Greater\) compares with a threshold that is not above zero",
    ),
    "below zero": (lambda n: snntorch.Leaky(0.5, threshold=-0.5), "that is not above zero"),
    "held at zero": (
        lambda n: snntorch.RLeaky(0.8, linear_features=n, reset_mechanism="zero"),
        r"node '.*' \(Sub\): is held at zero for the step after a spike",
    ),
    "alpha": (lambda n: snntorch.Alpha(0.9, 0.8), r"\(Log\): this operator is not supported"),
    "inhibition": (lambda n: snntorch.Leaky(0.8, inhibition=True), r"\(ArgMax\): this operator"),
}


def refused(path: Path, model: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        load_model(written(path / "a.onnx", model))
    text = str(caught.value)
    assert text.startswith(f"{path / 'a.onnx'}: ") and "\n" not in text and ".py" not in text


@pytest.mark.parametrize("kind", REFUSED)
def test_neurons_that_are_refused(tmp_path: Path, kind: str) -> None:
    make, message = REFUSED[kind]
    refused(tmp_path, exported(Layers(make), (torch.zeros(1, STEPS, 3),), "legacy"), message)


@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_steps_that_reset_at_once(tmp_path: Path, reset: str) -> None:
    """The state that is put out is not the membrane that was compared."""
    module = Window(snntorch.Leaky, reset_mechanism=reset, reset_delay=False)
    model = exported(Step(module), (torch.zeros(1, 3), *module.at_rest()), "legacy")
    refused(tmp_path, model, LATE)


def test_a_step_that_keeps_its_membrane(tmp_path: Path) -> None:
    module = Window()
    model = exported(Step(module), (torch.zeros(1, 3), *module.at_rest()), "legacy")
    del model.graph.output[-1]
    refused(tmp_path, model, r"node '.*' \(Sub\) is a membrane that is not put out")


@pytest.mark.parametrize(
    ("shape", "open_axes", "message"),
    [
        ((1, 2, 3), {}, "is updated 2 times in a window of 2 steps.* in at least 3 steps"),
        ((2, STEPS, 3), {0: "b", 1: "t"}, "leaves open how many steps a window has"),
        ((1, STEPS, 3), {1: "t"}, "leaves open how many steps a window has"),
        ((STEPS, STEPS, 3), {}, "which axis is time cannot be told"),
    ],
)
def test_windows_that_are_refused(
    tmp_path: Path, shape: tuple[int, ...], open_axes: dict[int, str], message: str
) -> None:
    options = {"input_names": ["x"], "dynamic_axes": {"x": open_axes}} if open_axes else {}
    model = exported(Layers(leaky), (torch.zeros(shape),), "legacy", **options)
    refused(tmp_path, model, message)


def test_fused_operators_of_a_runtime(tmp_path: Path) -> None:
    model = exported(Layers(leaky), (torch.zeros(1, STEPS, 3),), "legacy")
    of_kind(model, "Gemm").op_type, of_kind(model, "Sub").domain = "FusedGemm", "com.microsoft"
    refused(tmp_path, model, r"\(FusedGemm\): this operator|operators of 'com\.microsoft' are not")


@pytest.mark.parametrize("place", ["weights.bin", "../weights.bin", "/etc/passwd"])
def test_data_in_other_files(tmp_path: Path, place: str) -> None:
    """They are not opened, wherever they are."""
    model = exported(Layers(leaky), (torch.zeros(1, STEPS, 3),), "legacy")
    onnx.save_model(
        model, tmp_path / "w.onnx", save_as_external_data=True, location="weights.bin",
        size_threshold=0,
    )  # fmt: skip
    model = onnx.load(tmp_path / "w.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            entry.value = place if entry.key == "location" else entry.value
    refused(tmp_path, model, "constant '.*': lies in another file, which is not read")
