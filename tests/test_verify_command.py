"""``l2mu-compile verify``, and what compile says of raw counts."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import ok, readable, run
from reference_models import Options, RawNet, save_state

from l2mu_compile.report import Report, Verification, load_report

pytestmark = pytest.mark.usefixtures("terminal")

MODULES = """
import torch, snntorch
from torch import nn


class Net(nn.Module):
    def __init__(self, seed=0, classes=4):
        super().__init__()
        torch.manual_seed(seed)
        self.fc, self.spk = nn.Linear(6, classes), snntorch.Leaky(beta=0.8, threshold=0.4)

    def forward(self, x):
        mem, found = self.spk.reset_mem(), []
        for sample in x:
            spk, mem = self.spk(self.fc(sample), mem)
            found.append(spk)
        return torch.stack(found)


def other():
    return Net(seed=1)


def narrow():
    return Net(classes=3)
"""


def verified(*arguments: str | Path | int) -> Verification:
    check = Report.model_validate(ok("verify", *arguments, "--json").json).verify
    assert check is not None
    return check


def test_verify(data):
    result = ok("verify", data / "host", "--data", data / "windows.npz")
    readable(result.out.replace(str(data), ""))
    assert "bit-exact: 12 windows x 20 steps" in result.out
    assert "of decisions as the network as given" in result.out
    assert "accuracy" in result.out
    again = load_report(data / "host/report.json").verify
    assert again is not None
    assert (again.windows, again.steps) == (12, 20)


def test_verify_against_the_checkpoint(data):
    arguments = ("verify", data / "host", "--data", data / "windows.npz", "--windows", 3)
    result = ok(*arguments, "--checkpoint", data / "net.pt", "--json")
    check = Report.model_validate(result.json).verify
    assert check is not None
    assert (check.windows, check.float_model) == (3, "pytorch")
    assert check.decision_agreement_with_float == 1.0
    assert result.err == ""


def test_verify_without_labels(data, tmp_path):
    with np.load(data / "windows.npz") as stored:
        np.savez(tmp_path / "w.npz", x=stored["x"])
    result = ok("verify", data / "host", "--data", tmp_path / "w.npz", "--windows", 2)
    assert "accuracy" not in result.out


def test_verify_on_the_emulator(cortex, data):
    arguments = ("verify", cortex, "--data", data / "windows.npz", "--windows", 2, "--json")
    report = Report.model_validate(ok(*arguments).json)
    assert report.verify is not None
    assert report.verify.bit_exact
    assert report.verify.ran_on == "cortex-m4"


def test_verify_needs_no_place(data, tmp_path):
    """A compiled directory may be moved."""
    shutil.copytree(data / "host", tmp_path / "elsewhere")
    arguments = ("verify", tmp_path / "elsewhere", "--data", data / "windows.npz", "--windows", 2)
    assert "bit-exact" in ok(*arguments).out


def test_verify_other_windows_than_the_network_reads(data, tmp_path):
    np.savez(tmp_path / "w.npz", x=np.zeros((2, 5, 4), np.float32))
    result = run("verify", data / "host", "--data", tmp_path / "w.npz")
    assert result.code == 3
    assert "[windows, steps, 6]" in result.err


# ---- the reference ----


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Modules to compile, and code of one of them in ``out``."""
    (tmp_path / "own_nets.py").write_text(MODULES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    sys.modules.pop("own_nets", None)


def test_verify_against_a_module(modules, data):
    ok("compile", "--module", "own_nets:Net", "--inputs", 6, "-o", "out")
    arguments = ("out", "--data", data / "windows.npz", "--windows", 5)
    with np.load(data / "windows.npz") as stored:
        np.savez("w.npz", x=stored["x"])
    arguments = ("out", "--data", "w.npz")
    same = verified(*arguments, "--module", "own_nets:Net")
    assert (same.float_model, same.decision_agreement_with_float) == ("pytorch", 1.0)
    other = verified(*arguments, "--module", "own_nets:other")
    assert 0 < other.decisions_unlike_float <= 12
    assert other.bit_exact
    network = verified(*arguments)
    assert network.float_model == "network"
    refused = run("verify", *arguments, "--module", "own_nets:narrow")
    assert refused.code == 2
    assert refused.err == (
        "error: own_nets:narrow: maps 6 channels to 3 classes, but this was compiled from a model "
        "of 6 channels and 4 classes\n"
    )


def test_verify_against_a_module_and_its_weights(modules, data):
    import torch
    from own_nets import other

    torch.save(other().state_dict(), "weights.pt")
    torch.save({k: 0.5 * v for k, v in other().state_dict().items()}, "wrong.pt")
    ok("compile", "weights.pt", "--module", "own_nets:Net", "--inputs", 6, "-o", "out")
    with np.load(data / "windows.npz") as stored:
        np.savez("w.npz", x=stored["x"])
    arguments = ("out", "--data", "w.npz", "--module", "own_nets:Net")
    check = verified(*arguments, "--checkpoint", "weights.pt")
    assert check.decision_agreement_with_float == 1.0
    refused = run("verify", *arguments, "--checkpoint", "wrong.pt")
    assert refused.code == 2
    assert "SHA-256" in refused.err


def test_another_checkpoint_is_refused(data, tmp_path):
    save_state(RawNet(Options(seed=5)).state_dict(), tmp_path / "net.pt")
    before = (data / "host/report.json").read_bytes()
    arguments = ("--data", data / "windows.npz", "--checkpoint", tmp_path / "net.pt")
    result = run("verify", data / "host", *arguments)
    own = load_report(data / "host/report.json").source.sha256
    assert own is not None
    assert result.code == 2
    assert result.err.startswith("error: net.pt: its SHA-256 is ")
    assert f"compiled from net.pt with {own[:12]}…; give that file, or compile" in result.err
    assert (data / "host/report.json").read_bytes() == before


def test_code_compiled_from_a_text_takes_any_checkpoint_that_fits(data, tmp_path):
    """Only the text's digest is known then."""
    ok("compile", data / "host/float/network.txt", "-o", tmp_path / "out")
    arguments = (tmp_path / "out", "--data", data / "windows.npz")
    check = verified(*arguments, "--checkpoint", data / "net.pt")
    assert (check.float_model, check.decision_agreement_with_float) == ("pytorch", 1.0)


def test_a_network_text_is_no_reference(data):
    text = data / "host/float/network.txt"
    arguments = ("--data", data / "windows.npz", "--checkpoint", text)
    result = run("verify", data / "host", *arguments)
    assert result.code == 2
    assert "network.txt: " in result.err


# ---- what the numbers rest on ----


def test_origin_of_the_windows(data, cortex, tmp_path):
    source = data / "host/float/network.txt"
    ok("compile", source, "-o", tmp_path / "out")
    found = [load_report(folder / "report.json").verify for folder in (tmp_path / "out", cortex)]
    assert found[0] is not None
    assert found[0].windows_from == "random"
    result = ok("verify", data / "host", "--data", data / "windows.npz")
    assert "% of decisions as the network as given, on the data given" in result.out
    assert result.out.rstrip().endswith("%, on the data given")


def test_float_decisions_that_differ_are_noted(data, tmp_path):
    """The float network in the directory is made another one, as its report says."""
    save_state(RawNet(Options(seed=9)).state_dict(), tmp_path / "net.pt")
    ok("compile", tmp_path / "net.pt", "-o", tmp_path / "other")
    shutil.copytree(data / "host", tmp_path / "out")
    for name in ("network.txt", "network.safetensors"):
        shutil.copy(tmp_path / "other/float" / name, tmp_path / "out/float" / name)
    report = load_report(tmp_path / "out/report.json")
    other = {a.path: a for a in load_report(tmp_path / "other/report.json").artifacts}
    artifacts = [other[a.path] if a.path.startswith("float/") else a for a in report.artifacts]
    (tmp_path / "out/report.json").write_text(
        report.model_copy(update={"artifacts": artifacts}).to_json()
    )
    result = ok("verify", tmp_path / "out", "--data", data / "windows.npz")
    check = load_report(tmp_path / "out/report.json").verify
    assert check is not None
    assert check.decisions_unlike_float > 0
    count = check.decisions_unlike_float
    assert (
        f"note: decisions differ from the network as given on {count} of 12 windows\n" in result.err
    )
    assert check.decision_agreement_with_float == pytest.approx(1 - count / 12)


# ---- raw counts ----

SCALE, OFFSET = (0.004, 0.004, 0.002, 0.002, 0.001, 0.001), -0.5


@pytest.mark.parametrize(
    ("target", "numbers"),
    [("host", "none"), ("host", "int8"), ("cortex-m4", "none"), ("cortex-m4", "int8")],
)
def test_raw_counts(data, tmp_path, target, numbers):
    """Windows of raw counts decide as the scaled ones do."""
    with np.load(data / "windows.npz") as stored:
        x, y = stored["x"], stored["y"]
    counts = np.round((x - OFFSET) / np.array(SCALE)).astype(np.int16)
    np.savez(tmp_path / "counts.npz", x=counts, y=y)
    scale = ("--input-scale", ",".join(map(str, SCALE)), "--input-offset", str(OFFSET))
    arguments = ("--target", target, "--quantize", numbers, "-o", tmp_path / "out")
    calibrate = ("--calibrate", tmp_path / "counts.npz")
    ok("compile", data / "host/float/network.txt", *arguments, *scale, *calibrate)
    verify = ok("verify", tmp_path / "out", "--data", tmp_path / "counts.npz", "--json")
    check = Report.model_validate(verify.json).verify
    assert check is not None
    assert check.bit_exact
    assert check.decision_agreement_with_float >= (0.75 if numbers == "int8" else 1.0)


@pytest.mark.parametrize("target", ["host", "cortex-m4"])
def test_raw_counts_without_calibration(data, tmp_path, target):
    """int8 takes its range, and the random windows, in the model's units."""
    with np.load(data / "windows.npz") as stored:
        x, y = stored["x"], stored["y"]
    np.savez(tmp_path / "counts.npz", x=np.round(1000 * x).astype(np.int16), y=y)
    source = data / "host/float/network.txt"
    common = ("--target", target, "--quantize", "int8")
    scaled = ("--input-scale", "0.001", "-o", tmp_path / "out")
    result = ok("compile", source, *common, *scaled)
    assert "samples are assumed within ±16 in the model's units, ±16000 raw" in result.err
    report = load_report(tmp_path / "out/report.json")
    plain = ok("compile", source, *common, "-o", tmp_path / "plain", "--json").json
    assert report.spike_rates == pytest.approx(plain["spike_rates"], rel=0.1, abs=0.02)
    assert sum(report.spike_rates.values()) > 0.5
    check = verified(tmp_path / "out", "--data", tmp_path / "counts.npz")
    assert check.bit_exact
    assert check.decision_agreement_with_float >= 0.75
    text = (tmp_path / "out/network.txt").read_text()
    assert "unit=999.99994" in text  # one over the float32 next to 0.001
