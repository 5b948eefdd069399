"""ONNX models of windows and their files: the example, what they say of themselves, refusals."""

from __future__ import annotations

import json
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import network_texts
import networks
import numpy as np
import onnx
import pytest
from command_line import ok
from networks import feed_forward, integer_toy, planned, recurrent
from onnx_graphs import compare_floats, forced, window_of
from refusals import refused

from l2mu_compile import __version__, onnx_export
from l2mu_compile.errors import ModelError, UsageError
from l2mu_compile.frontend import load_model
from l2mu_compile.interpreter import run
from l2mu_compile.network import READOUT_RULES, Network, Readout
from l2mu_compile.network_files import save_network
from l2mu_compile.onnx_export import to_onnx, write_onnx
from l2mu_compile.text import file_text, network_digest

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples/har_smartwatch"


@pytest.fixture(scope="module")
def example() -> Network:
    return load_model(EXAMPLE / "har.ckpt").network


def held_out(count: int = 16) -> np.ndarray:
    return np.load(EXAMPLE / "heldout.npz")["x"][:count].astype(np.float32)


def assert_decides(network: Network, x: np.ndarray) -> None:
    told, found = run(network, x), window_of(network, x)
    assert (found["window.scores"] == told.scores).all()
    assert (found["window.decision"] == told.decisions).all()


def test_the_example_spikes_as_the_interpreter(example: Network) -> None:
    """In float32, too: no membrane of these windows is near enough to its threshold."""
    x = held_out()
    assert compare_floats(example, x) > 0.999
    found = window_of(example, x)["window.decision"]
    assert (found == run(example, x).decisions).all()


def test_the_example_in_integers_is_equal(example: Network) -> None:
    x = held_out()
    network = planned(example, quantized=True, windows=x[:8])
    told = run(network, x, record=("membranes", "spikes"))
    found = forced(network, x, told)
    for name, membranes in told.membranes.items():
        assert (found[f"{name}.membrane.next"] == membranes).all(), name
    assert_decides(network, x)


@pytest.mark.parametrize("rule", READOUT_RULES)
@pytest.mark.parametrize("integers", [False, True])
def test_every_readout(rule: str, integers: bool) -> None:
    network = feed_forward(rule=rule)
    network = integer_toy().replace(readout=Readout("out", rule)) if integers else network
    assert_decides(network, np.round(4 * networks.samples(network)) / np.float32(4))


def test_early_decisions() -> None:
    """Scores stand still once a class leads by its margin; how many steps that took is told."""
    network = recurrent().replace(readout=Readout("out", margins=(2, 1)))
    x = np.round(4 * networks.samples(network, windows=20)) / np.float32(4)
    assert_decides(network, x)
    told = run(network, x)
    needed = window_of(network, x)["window.needed"]
    assert (needed[:, 0] == told.needed).all()
    assert len(set(told.needed)) > 2


def test_one_class_is_never_ahead() -> None:
    network = networks.chain(1, 1).replace(readout=Readout("p0", margins=(1,)))
    x = np.full((1, 6, 1), 2, np.float32)
    assert_decides(network, x)
    assert window_of(network, x)["window.needed"].item() == 6


def test_what_a_model_says_of_itself() -> None:
    network = integer_toy().replace(
        window=12, readout=Readout("out", "max_membrane", labels=("no", "yes"))
    )
    model = to_onnx(network)
    assert (model.producer_name, model.producer_version) == ("l2mu-compile", __version__)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 13)]
    props = {p.key: p.value for p in model.metadata_props}
    assert props == {
        "l2mu.text": file_text(network),
        "l2mu.network": "itoy",
        "l2mu.graph": "step",
        "l2mu.sha256": network_digest(network),
        "l2mu.classes": '["no", "yes"]',
        "l2mu.readout": "max_membrane",
        "l2mu.window": "12",
        "l2mu.start": json.dumps({"readout.scores": -(2**31)}),
    }
    shape = to_onnx(network, "window").graph.input[0].type.tensor_type.shape
    assert [d.dim_param or d.dim_value for d in shape.dim] == ["batch", 12, 2]


@pytest.mark.parametrize("graph", ["step", "window"])
def test_files_are_the_same_every_time(tmp_path: Path, graph: str) -> None:
    write_onnx(recurrent(), tmp_path / "a.onnx", graph)
    write_onnx(recurrent(), tmp_path / "b.onnx", graph)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    onnx.checker.check_model(str(tmp_path / "a.onnx"), full_check=True)


def test_names_that_might_meet() -> None:
    """A population called like a quantity, an input called like an output."""
    text = network_texts.show(recurrent())
    text = re.sub(r"\bh\b", "membrane", re.sub(r"\bx\b", "window", text))
    network = network_texts.read(re.sub(r"\bout\b", "readout", text))
    assert network.input.name == "window" and network.readout.population == "readout"
    assert_decides(network, np.round(networks.samples(network)))


def test_a_rule_of_the_network_is_broken() -> None:
    with pytest.raises(ModelError, match="'gone' is not a population"):
        to_onnx(feed_forward().replace(readout=Readout("gone")))


def test_more_than_a_file_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_export, "MAX_BYTES", 47)
    with pytest.raises(ModelError, match="toy is larger than an ONNX file can be"):
        to_onnx(feed_forward())
    monkeypatch.setattr(onnx_export, "MAX_BYTES", 48)
    to_onnx(feed_forward())


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UsageError, match=r"need onnx, which is not .* 'l2mu-compile\[onnx\]'"):
        to_onnx(feed_forward())


def test_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_network(recurrent(), tmp_path / "n.txt")
    ok("export", "n.txt", "-o", "n.onnx")
    told = ok("export", "n.txt", "--format", "onnx", "--graph", "window", "-o", "w", "--json").json
    assert told == {"file": "w", "notes": []}
    step, window = (onnx.load(name) for name in ("n.onnx", "w"))
    assert (step, window) == (to_onnx(recurrent()), to_onnx(recurrent(), "window"))
    refused(2, "no/n.onnx: cannot be written", arguments=("export", "n.txt", "-o", "no/n.onnx"))


def test_the_page_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its commands and its program run."""
    page = (ROOT / "docs/onnx.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out/har").mkdir(parents=True)
    network = replace(networks.l2mu(sensors=None), window=12)
    save_network(network, tmp_path / "har.txt")
    save_network(planned(network, quantized=True), tmp_path / "out/har/network.txt")
    commands = re.findall(r"^\$ (l2mu-compile .*)$", page, re.MULTILINE)
    assert len(commands) == 4
    for command in commands:
        ok(*shlex.split(command.replace("har.ckpt", "har.txt"))[1:])
    x = networks.samples(network)
    np.savez(tmp_path / "heldout.npz", x=x)
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(program, names)
    told = run(network, x[:1], record=("membranes",))
    assert (names["states"]["readout.scores"] == told.scores).all()
    assert names["found"]["u.spikes"].shape == (1, 3)
    quantized = planned(network, quantized=True)
    wanted = [quantized.class_names[k] for k in run(quantized, x).decisions]
    assert names["decisions"] == wanted
