"""Each command, as a person sees it and as a program reads it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command_line import ok, readable, run
from reference_models import Options, RawNet, Shape, save_state
from test_compile_command import MODULE

import l2mu_compile
from l2mu_compile.network_files import load_network
from l2mu_compile.pipeline import FLOAT_PIPELINE, INT8_PIPELINE
from l2mu_compile.targets.registry import TARGETS

BUILDS = """
[model.har]
checkpoint = "har.ckpt"
[target.watch]
[pipeline.int8]
"""

pytestmark = pytest.mark.usefixtures("terminal")

COMMANDS = (
    *("inspect", "compile", "verify", "view", "build", "verify-build", "tune", "search", "export"),
    *("opt", "passes", "targets", "boards"),
)


# ---- help ----


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command):
    text = ok(command, "--help").out
    readable(text)
    assert f"Usage: l2mu-compile {command}" in text
    assert f"Example: l2mu-compile {command} " in text
    assert "[[" not in text
    assert re.search(r"--json +Print JSON", text)


def test_help_of_all():
    text = ok("--help").out
    readable(text)
    for command in COMMANDS:
        assert f" {command} " in text
    assert "Exit codes: 0 ok" in text


def test_without_arguments():
    result = run()
    assert result.code in (0, 2)
    assert "Usage: l2mu-compile" in result.out
    assert "error" not in result.err


def test_version():
    assert ok("--version").out == f"l2mu-compile {l2mu_compile.__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_in_help_are_accepted(command, tmp_path, monkeypatch):
    """The example's options exist: what fails is only that its files are not here."""
    monkeypatch.chdir(tmp_path)
    Path("l2mu.toml").write_text(BUILDS)
    text = " ".join(ok(command, "--help").out.split())
    examples = text.split("Example: l2mu-compile ")[1:]
    assert examples
    for example in examples:
        result = run(*example.replace('"', "").split())
        assert result.code in (0, 3), result.err
        assert "No such" not in result.err.replace("No such file", "")


# ---- inspect ----


def test_inspect(data):
    text = ok("inspect", data / "net.pt").out
    readable(text)
    assert text.startswith("net (traced): 6 channels in, 3 classes out, spike_count of output")
    for word in ("population", "5 x 4", "lif", "beta", "threshold", "subtract"):
        assert word in text
    assert re.search(r"m -> m +1 +5 times one 4 x 4 +80 +32 +64", text)
    assert re.search(r"\d+ neurons, \d+ synapses, \d+ bytes\n$", text)


def test_inspect_json(data):
    found = ok("inspect", data / "net.pt", "--json").json
    assert (found["name"], found["inputs"], found["classes"]) == ("net", 6, 3)
    populations = {p["name"]: p for p in found["populations"]}
    assert populations["m"]["shape"] == [5, 4]
    assert populations["u"]["neuron"] == "lif"
    assert 0.5 <= populations["u"]["beta"] <= 0.95
    shapes = {(p["source"], p["target"], p["delay"]): p["shape"] for p in found["projections"]}
    assert shapes["h", "h", 1] == [7, 7]
    assert found["parameter_bytes"] > sum(p["bytes"] for p in found["projections"])


def test_inspect_compiled(cortex):
    text = ok("inspect", cortex / "network.txt").out
    readable(text)
    assert text.startswith("net (planned)")
    assert "rate" in text
    assert "accumulate_dense_i8" in text


def test_inspect_with_hyper_parameters(tmp_path):
    net = RawNet(Options("single", "synaptic"))
    save_state(net.state_dict(), tmp_path / "net.pt")
    (tmp_path / "p.json").write_text(json.dumps(net.hyper_parameters()))
    text = ok("inspect", tmp_path / "net.pt", "--params", tmp_path / "p.json").out
    readable(text)
    assert "cuba" in text
    assert "alpha" in text


def test_module_is_found_in_the_working_directory(tmp_path):
    (tmp_path / "my_module.py").write_text(MODULE)
    command = [sys.executable, "-m", "l2mu_compile.cli", "inspect", "--module", "my_module:Net"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr.startswith("note: 3 channels: the smallest number the module runs with")
    assert done.stdout.startswith("Net (traced): 3 channels in, 4 classes out")


def test_wide_networks_stay_readable(tmp_path):
    torch.manual_seed(0)
    shape = Shape(classes=11, hidden=110, cells=40, order=8)
    save_state(
        RawNet(Options("stacked", "synaptic", per_neuron=True), shape).state_dict(),
        path := (tmp_path / "wide.pt"),
    )
    readable(ok("inspect", path).out)


# ---- opt ----


def test_opt_prints_what_it_reads(data):
    source = data / "host/float/network.txt"
    assert ok("opt", source, "-p", "").out == source.read_text()


def test_opt_round_trip(data, tmp_path):
    source = data / "host/float/network.txt"
    passes = "fold-input,remove-dead,fold-threshold,calibrate,quantize"
    written = ("-o", tmp_path / "int8.txt", "--calibrate", data / "windows.npz")
    assert ok("opt", source, "-p", passes, *written).out == ""
    printed = ok("opt", source, "-p", passes, "--calibrate", data / "windows.npz").out
    assert (tmp_path / "int8.txt").read_text() == printed
    network = load_network(tmp_path / "int8.txt")
    assert network.stage == "quantized"
    assert network.quantized
    ends = ("-p", "select-kernels,plan-memory", "--target", "cortex-m4", "--json")
    assert ok("opt", tmp_path / "int8.txt", *ends).json["stage"] == "planned"
    arguments = ("--passes", "select-kernels,plan-memory", "--target", "cortex-m4")
    result = ok("compile", tmp_path / "int8.txt", *arguments, "-o", tmp_path / "out", "--json")
    assert result.json["verify"]["bit_exact"]


def test_opt_json(data):
    found = ok("opt", data / "host/float/network.txt", "-p", "fold-threshold", "--json").json
    assert all(p["threshold"] == 1.0 for p in found["populations"])


def test_opt_writes_over_its_source(data, tmp_path):
    for suffix in (".txt", ".safetensors"):
        shutil.copy(data / f"host/float/network{suffix}", tmp_path / f"net{suffix}")
    ok("opt", tmp_path / "net.txt", "-p", "fold-threshold", "-o", tmp_path / "net.txt")
    network = load_network(tmp_path / "net.txt")
    assert all((p.neuron.threshold == 1).all() for p in network.populations)


def test_opt_to_nowhere(data, tmp_path):
    source = data / "host/float/network.txt"
    result = run("opt", source, "-p", "remove-dead", "-o", tmp_path / "none/net.txt")
    assert result.code == 2
    assert "cannot be written" in result.err


def test_opt_notes(data):
    result = ok("opt", data / "host/float/network.txt", "-p", "fold-input,quantize", "--json")
    assert result.err.startswith("note: quantize: no calibration data")
    assert result.json["stage"] == "quantized"


# ---- passes and targets ----


def test_passes():
    text = ok("passes").out
    readable(text)
    for name in (*FLOAT_PIPELINE, *INT8_PIPELINE):
        assert re.search(rf"^{name}(\{{|$)", text, re.MULTILINE), name
    assert ", ".join(FLOAT_PIPELINE) in " ".join(text.split())


def test_passes_json():
    found = ok("passes", "--json").json
    names = {p["name"] for p in found["passes"]}
    assert names >= set(FLOAT_PIPELINE) | set(INT8_PIPELINE)
    assert found["pipelines"]["int8"] == list(INT8_PIPELINE)
    for item in found["passes"]:
        assert item["spelling"].startswith(item["name"])
        assert item["contract"].endswith(".")


def test_targets():
    text = ok("targets").out
    readable(text)
    for name in TARGETS:
        assert re.search(rf"^{name} ", text, re.MULTILINE)


def test_targets_json():
    found = {t["name"]: t for t in ok("targets", "--json").json}
    assert set(found) == set(TARGETS)
    assert found["host"]["runs_on"] == "this machine"
    assert "firmware" in found["cortex-m4"]["artifacts"]
