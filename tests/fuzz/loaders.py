"""What reads files of this tool's users, each fed bytes: only `L2MUError` may come of any of them.

An input of several files is one sequence of bytes with `SPLIT` between them.
"""

from __future__ import annotations

import io
import json
import tempfile
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from mutation import mutate_archive, mutate_bytes, mutate_tensors, mutate_text
from mutation_hdf5 import mutate_members
from mutation_onnx import mutate_model
from networks import cuba, feed_forward, integer_toy, l2mu, late_reader, planned
from reference_models import CellNet, Options, RawNet
from safetensors.torch import save

from l2mu_compile import nir_file
from l2mu_compile.build_config import load_config
from l2mu_compile.build_report import Build, BuildReport, load_build_report
from l2mu_compile.checkpoint import load_checkpoint
from l2mu_compile.frontend import load_model, read_network
from l2mu_compile.hyperparameters import read_params
from l2mu_compile.network import IDENTIFIER, Network
from l2mu_compile.nir_export import write_nir
from l2mu_compile.onnx_export import to_onnx
from l2mu_compile.provenance import load_provenance
from l2mu_compile.report import load_report
from l2mu_compile.text import parse, tensor_bytes, to_text
from l2mu_compile.windows import load_windows

SPLIT = b"\n--- next file ---\n"
Mutate = Callable[[bytes, Random], bytes]


@dataclass(frozen=True)
class Loader:
    """``read(path)`` reads the first of the files ``names``, and the others with it.

    ``seeds()`` are contents that it takes, and ``mutate`` makes others of one.
    """

    names: tuple[str, ...]
    read: Callable[[Path], Any]
    seeds: Callable[[], Iterable[bytes]]
    mutate: Mutate = mutate_bytes

    def feed(self, data: bytes, folder: Path) -> None:
        """Have ``data`` read from files in ``folder``; whatever is not as it must be is raised."""
        parts = data.split(SPLIT, len(self.names) - 1)
        for index, name in enumerate(self.names):
            (folder / name).write_bytes(parts[index] if index < len(parts) else b"")
        before = sorted(folder.rglob("*"))
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            try:
                self.read(folder / self.names[0])
            finally:
                assert sorted(folder.rglob("*")) == before, "files were written"


def _sound(network: Network) -> None:
    """Names can be C, labels can be shown."""
    for name in (network.name, network.input.name, *(p.name for p in network.populations)):
        assert IDENTIFIER.match(name), name
    assert all(label.isprintable() for label in network.class_names)


def _graph(path: Path) -> None:
    with patch.object(nir_file, "CPU_SECONDS", 2):
        _sound(load_model(path).network)


def _graph_here(path: Path) -> None:
    """Not in a process of its own, so that its memory, time and coverage are seen."""
    with patch.object(nir_file, "alone", lambda work, *limits: work()):
        _sound(load_model(path).network)


def _text(path: Path) -> None:
    network = read_network(path)
    _sound(network)
    assert parse(to_text(network), network.tensors()) == network


# ---- contents that are taken ----


def _saved(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _states() -> Iterable[bytes]:
    yield _saved(dict(RawNet(Options()).state_dict()))
    yield _saved(dict(RawNet(Options(encoder="stacked", neuron="synaptic")).state_dict()))
    yield _saved(dict(RawNet(Options(trainable_theta=True, bias=True)).state_dict()))


def _lightning() -> Iterable[bytes]:
    yield _saved(CellNet().checkpoint())


def _tensors() -> Iterable[bytes]:
    state = RawNet(Options()).state_dict()
    params = json.dumps(
        {"params": {"beta_spk_u": 0.5, "theta": "6", "class_names": ["a", "b", "c"]}}
    )
    yield save({k: v.contiguous() for k, v in state.items()}) + SPLIT + params.encode()


def _params() -> Iterable[bytes]:
    values = {"beta_spk_x_acc": [0.5, 1e-3], "threshold_spk_u": "1e-3", "labels": ["a", "b", "c"]}
    yield json.dumps({"params": values, "theta": 6.0}).encode()


def _yaml() -> Iterable[bytes]:
    yield from _params()
    yield b"params:\n  beta_spk_u: 1e-3\n  threshold: [1, 2.5]\nclasses: [still, walk]\ntheta: 6\n"


def _networks() -> Iterable[Network]:
    yield from (feed_forward(), feed_forward(cuba(), "last_membrane"), late_reader(), l2mu())
    yield from (integer_toy(), planned(l2mu()), planned(integer_toy()))


def _texts() -> Iterable[bytes]:
    for network in _networks():
        yield to_text(network).encode() + SPLIT + tensor_bytes(network)


def _nir_files() -> Iterable[bytes]:
    import nir
    from nir_graphs import FLAT, affine, braille, ends, li, lif, written

    rng = np.random.default_rng(0)
    start, end = ends([1, 4, 4], 3)
    kernel = nir.Conv2d((4, 4), np.ones((2, 1, 3, 3), "f4"), 1, 0, 1, 1, np.zeros(2, "f4"))
    nodes = {"input": start, "conv": kernel, "flat": nir.Flatten({"input": np.array([2, 2, 2])})}
    nodes |= {"lif": lif(8), "fc": affine(rng, 3, 8), "li": li(3), "output": end}
    order = ("input", "conv", "flat", "lif", "fc", "li", "output")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.nir")
        yield written(path, braille(), FLAT).read_bytes()
        yield written(path, braille(cell=lif), FLAT, producer="snntorch").read_bytes()
        yield written(path, nodes, list(pairwise(order))).read_bytes()
        for network in (feed_forward(cuba(), "last_membrane"), l2mu(sensors=None), _maps()):
            write_nir(network, path)
            yield path.read_bytes()


def _maps() -> Network:
    from maps import convolutional

    return convolutional(spiking=True)


def _onnx_files() -> Iterable[bytes]:
    import models

    yield to_onnx(feed_forward(), "step").SerializeToString()
    yield to_onnx(integer_toy(), "window").SerializeToString()
    yield to_onnx(l2mu(), "window").SerializeToString()
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            models.Feedforward().eval(), (torch.zeros(4, 2, 5),), buffer, dynamo=False
        )
    yield buffer.getvalue()


def _configs() -> Iterable[bytes]:
    yield b"""\
jobs = 1
plugins = ["p.py"]
[budget]
max_flash = "96 KiB"
min_accuracy = 0.9
[model.net]
checkpoint = "net.pt"
calibrate = "windows.npz"
classes = ["a", "b"]
input_scale = [1, 2.5]
[target.here]
target = "host"
artifacts = ["cmake"]
[target.watch]
board = "nrf52840dk"
[pipeline.int8]
quantize = "int8"
[pipeline.passes]
passes = ["fold-input", "quantize{bits=8}"]
[[build]]
models = "net"
targets = ["here", "watch"]
budget.max_ram = 4096
"""


def _windows() -> Iterable[bytes]:
    x = np.random.default_rng(0).normal(size=(4, 6, 3)).astype("f4")
    for arrays in (
        {"x": x, "y": np.arange(4) % 3},
        {"x": (x * 99).astype("i2"), "y": np.arange(4), "classes": np.array(["a", "b"])},
        {"x": x.astype("f8"), "group": np.array(["p", "q", "p", "q"]), "other": x},
    ):
        for write in (np.savez, np.savez_compressed):
            buffer = io.BytesIO()
            write(buffer, **arrays)
            yield buffer.getvalue()


def _reports() -> Iterable[bytes]:
    from test_report import FULL

    yield json.dumps(FULL, indent=1).encode()


def _build_reports() -> Iterable[bytes]:
    from l2mu_compile.budgets import Figures

    build = Build(id="a/b/c", state="built", key="0", figures=Figures(flash=9), notes=["n"])
    yield BuildReport(tool="t", command=["c"], builds=[build], notes=["n"]).to_json().encode()


def _provenances() -> Iterable[bytes]:
    from l2mu_compile.provenance import provenance
    from l2mu_compile.recipe import ModelTable, Recipe, TargetTable

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "net.pt").write_bytes(b"x")
        recipe = Recipe(model=ModelTable(checkpoint="net.pt"), target=TargetTable(target="host"))
        yield provenance(recipe, Path(folder), ("l2mu-compile", "compile")).to_json().encode()


@cache
def loaders() -> dict[str, Loader]:
    """All of them, by the name of the file they read."""
    made = (
        Loader(("net.pt",), load_checkpoint, _states, mutate_archive),
        Loader(("net.ckpt",), load_checkpoint, _lightning, mutate_archive),
        Loader(("net.safetensors", "net.json"), load_checkpoint, _tensors, mutate_tensors),
        Loader(("params.json",), read_params, _params, mutate_text),
        Loader(("params.yaml",), read_params, _yaml, mutate_text),
        Loader(("net.txt", "net.safetensors"), _text, _texts, mutate_text),
        Loader(("net.nir",), _graph, _nir_files),
        Loader(("members.nir",), _graph_here, _nir_files, mutate_members),
        Loader(("net.onnx",), _graph, _onnx_files, mutate_model),
        Loader(("l2mu.toml",), load_config, _configs, mutate_text),
        Loader(("windows.npz",), load_windows, _windows, mutate_archive),
        Loader(("report.json",), load_report, _reports, mutate_text),
        Loader(("build.json",), load_build_report, _build_reports, mutate_text),
        Loader(
            ("provenance.json",), lambda p: load_provenance(p.parent), _provenances, mutate_text
        ),
    )
    return {loader.names[0]: loader for loader in made}
