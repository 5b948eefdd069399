"""Models of snnTorch that ``torch.onnx.export`` wrote, read as the networks they are."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import models
import numpy as np
import onnx
import onnxruntime
import pytest
import snntorch
import torch
from command_line import ok
from networks import feed_forward, l2mu
from torch import Tensor, nn

from l2mu_compile.errors import ModelError
from l2mu_compile.frontend import from_module, load_model
from l2mu_compile.interpreter import run
from l2mu_compile.network import Network
from l2mu_compile.onnx_export import to_onnx

STEPS = 6
EXPORTERS = ["legacy", "dynamo"]


def exported(module: nn.Module, arguments: tuple[Tensor, ...], how: str, **options: Any) -> Any:
    """What ``torch.onnx.export`` makes of a module."""
    module.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if how == "dynamo":
            pytest.importorskip("onnxscript", reason="torch's dynamo exporter needs onnxscript")
            program = torch.onnx.export(module, arguments, dynamo=True, verbose=False, **options)
            return program.model_proto
        written = io.BytesIO()
        torch.onnx.export(module, arguments, written, dynamo=False, **options)
    return onnx.load_from_string(written.getvalue())


def written(path: Path, model: Any) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def same(found: Network, wanted: Network) -> None:
    """The same network, whatever its populations are called."""
    names = dict(zip(*([p.name for p in n.populations] for n in (found, wanted)), strict=True))
    names[found.input.name] = wanted.input.name

    def renamed(value: Any, *fields: str) -> Any:
        changes = {f: names[getattr(value, f)] for f in fields}
        return value.__class__(**{**vars(value), **changes})

    again = found.map_populations(lambda p: renamed(p, "name")).map_projections(
        lambda p: renamed(p, "source", "target")
    )
    readout = renamed(found.readout, "population")
    again = again.replace(readout=readout, name=wanted.name, window=wanted.window)
    assert by_name(again) == by_name(wanted)


def by_name(network: Network) -> Network:
    return network.replace(projections=tuple(sorted(network.projections, key=lambda p: p.name)))


class Window(nn.Module):
    """Two layers over a whole window ``[B, T, 3]``; a step of them, with states, is `Step`."""

    def __init__(self, make: Callable[..., Any] = snntorch.Leaky, **options: Any) -> None:
        super().__init__()
        more = {"alpha": 0.6} if make is snntorch.Synaptic else {}
        self.fc1, self.fc2 = nn.Linear(3, 6), nn.Linear(6, 4)
        self.one, self.two = (make(beta=0.9, **more, **options) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        first, second = (self.states(n.reset_mem()) for n in (self.one, self.two))
        spikes = []
        for step in range(x.shape[1]):
            fired, *first = self.one(self.fc1(x[:, step]), *first)
            fired, *second = self.two(self.fc2(fired), *second)
            spikes.append(fired)
        return torch.stack(spikes, 1)

    @staticmethod
    def states(found: Any) -> list[Tensor]:
        return list(found) if isinstance(found, tuple) else [found]

    def at_rest(self) -> list[Tensor]:
        count = 2 if isinstance(self.one, snntorch.Synaptic) else 1
        return [torch.zeros(1, n) for n in (6, 4) for _ in range(count)]


class Step(nn.Module):
    def __init__(self, window: Window) -> None:
        super().__init__()
        self.window = window

    def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        half = len(states) // 2
        fired, *first = self.window.one(self.window.fc1(x), *states[:half])
        fired, *second = self.window.two(self.window.fc2(fired), *states[half:])
        return (fired, *first, *second)


NEURONS = {
    **{
        f"{make.__name__} {reset}": (make, {"reset_mechanism": reset})
        for make in (snntorch.Leaky, snntorch.Synaptic)
        for reset in ("subtract", "zero", "none")
    },
    "threshold": (snntorch.Leaky, {"threshold": 0.4}),
    "graded": (snntorch.Leaky, {"graded_spikes_factor": 0.5, "threshold": 0.3}),
}


@pytest.fixture(params=NEURONS)
def window(request: pytest.FixtureRequest) -> Window:
    torch.manual_seed(2)
    make, options = NEURONS[request.param]
    return Window(make, **options)


@pytest.mark.parametrize("how", EXPORTERS)
def test_windows(tmp_path: Path, window: Window, how: str) -> None:
    wanted = from_module(window, inputs=3).network
    model = exported(window, (torch.zeros(1, STEPS, 3),), how)
    found = load_model(written(tmp_path / "a.onnx", model)).network
    assert found.window == STEPS
    same(found, wanted)


@pytest.mark.parametrize("how", EXPORTERS)
def test_steps(tmp_path: Path, window: Window, how: str) -> None:
    wanted = from_module(window, inputs=3).network
    model = exported(Step(window), (torch.zeros(1, 3), *window.at_rest()), how)
    same(load_model(written(tmp_path / "a.onnx", model)).network, wanted)


def test_open_batches_and_time_first(tmp_path: Path) -> None:
    torch.manual_seed(2)
    module = models.Net(hidden=5)
    options = {"input_names": ["x"], "dynamic_axes": {"x": {1: "batch"}}}
    model = exported(module, (torch.zeros(STEPS, 2, 3),), "legacy", **options)
    found = load_model(written(tmp_path / "a.onnx", model))
    same(found.network, from_module(module, inputs=3).network)


def of_runtime(model: Any, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(None, {session.get_inputs()[0].name: x})[0])


@pytest.mark.parametrize("encoder", ["plain", "single", "stacked"])
def test_an_l2mu_decides_as_in_onnx_runtime(tmp_path: Path, encoder: str) -> None:
    torch.manual_seed(4)
    module = models.l2mu(encoder=encoder)
    options = {"input_names": ["x"], "dynamic_axes": {"x": {1: "batch"}}}
    model = exported(module, (torch.zeros(STEPS, 2, 3),), "legacy", **options)
    found = load_model(written(tmp_path / "a.onnx", model))
    same(found.network, from_module(module, inputs=3).network)
    x = np.random.default_rng(0).normal(size=(64, STEPS, 3)).astype(np.float32)
    told = run(found.network, x, record=("spikes",)).spikes[found.network.readout.population]
    spikes = np.swapaxes(of_runtime(model, np.swapaxes(x, 0, 1)), 0, 1)
    assert spikes.any() and (spikes == told).mean() > 0.999


@pytest.mark.parametrize("make", [feed_forward, l2mu])
def test_our_own_steps_without_what_they_say(tmp_path: Path, make: Any) -> None:
    """Read as anybody's: the graph alone says it all."""
    network = make(rule="last_membrane")
    network = network.replace(input=replace(network.input, scale=None, offset=None))
    model = to_onnx(network)
    del model.metadata_props[:]
    path = written(tmp_path / "a.onnx", model)
    found = load_model(path, readout="last_membrane").network
    x = np.random.default_rng(0).normal(size=(40, 12, network.input.size)).astype(np.float32)
    np.testing.assert_allclose(run(found, x).scores, run(network, x).scores, atol=1e-5)
    assert [p.neuron for p in found.populations] == [p.neuron for p in network.populations]


def test_the_command_line(tmp_path: Path) -> None:
    model = exported(Window(), (torch.zeros(1, STEPS, 3),), "legacy")
    path = written(tmp_path / "a.onnx", model)
    assert "spike_count" in ok("inspect", path).out


# ---- refusals --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain() -> Any:
    return exported(Window(), (torch.zeros(1, STEPS, 3),), "legacy")


def of_kind(model: Any, kind: str) -> Any:
    return next(node for node in model.graph.node if node.op_type == kind)


def grow(model: Any) -> None:
    """Doubles a sum thirty times over."""
    name = model.graph.input[0].name
    for k in range(30):
        model.graph.node.insert(k, onnx.helper.make_node("Concat", [name, name], [f"g{k}"], axis=1))
        name = f"g{k}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda m: setattr(of_kind(m, "Gemm"), "op_type", "Conv"),
            r"\(Conv\): this operator is not",
        ),
        (
            lambda m: setattr(of_kind(m, "Gemm"), "domain", "com.me"),
            "operators of 'com.me' are not",
        ),
        (lambda m: setattr(m.opset_import[0], "version", 12), "is of opset 12; 13 is the oldest"),
        (lambda m: of_kind(m, "Gemm").input.__setitem__(0, "gone"), "nothing before it makes"),
        (lambda m: of_kind(m, "Gemm").input.__setitem__(1, "l"), "nothing before it makes"),
        (
            lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 10),
            "is not of float32",
        ),
        (lambda m: m.graph.node.append(m.graph.node[-1]), "is there already"),
        (
            lambda m: setattr(of_kind(m, "Greater"), "op_type", "Mul"),
            "of the membrane of another neuron",
        ),
        (grow, "more than 33554432 values in all"),
    ],
)
def test_what_is_refused(tmp_path: Path, plain: Any, change: Any, message: str) -> None:
    model = onnx.ModelProto.FromString(plain.SerializeToString())
    change(model)
    path = written(tmp_path / "a.onnx", model)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
