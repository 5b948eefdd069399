"""The example's trained network, from checkpoint to verified code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import ok

from l2mu_compile.compiled import load_host_model
from l2mu_compile.frontend import Model, load_model
from l2mu_compile.interpreter import run
from l2mu_compile.network_files import load_network, save_network
from l2mu_compile.report import Report
from l2mu_compile.windows import Windows, load_windows

EXAMPLE = Path(__file__).parent.parent / "examples/har_smartwatch"
CHECKPOINT, CALIBRATION, HELDOUT = (
    EXAMPLE / name for name in ("har.ckpt", "calibration.npz", "heldout.npz")
)


@pytest.fixture(scope="module")
def heldout() -> Windows:
    return load_windows(HELDOUT)


@pytest.fixture(scope="module")
def traced() -> Model:
    return load_model(CHECKPOINT)


@pytest.fixture(scope="module")
def host(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("host") / "out"
    ok("compile", CHECKPOINT, "--calibrate", CALIBRATION, "-o", folder)
    return folder


def verified(folder: Path, windows: int) -> Report:
    result = ok("verify", folder, "--data", HELDOUT, "--windows", windows, "--json")
    report = Report.model_validate(result.json)
    assert report.verify is not None
    assert report.verify.windows == windows
    assert report.verify.bit_exact
    return report


def test_float32_on_the_host(host, traced, heldout):
    """Bit-exact on a part of the held-out windows; as PyTorch decides on all of them."""
    assert verified(host, 8).numbers == "float32"
    assert traced.decide is not None
    network = load_network(host / "network.txt")
    device = load_host_model(host)
    decisions = device.run(heldout.x)
    wanted = traced.decide(heldout.x)
    assert (decisions == wanted).mean() >= 0.995
    some = heldout.first(16)
    np.testing.assert_array_equal(run(network, some.x).decisions, device.run(some.x))
    assert (decisions == heldout.y).mean() > 0.6, "the example has learned something"


def test_int8_on_cortex_m4(tmp_path):
    arguments = ("--target", "cortex-m4", "--quantize", "int8", "--calibrate", CALIBRATION)
    ok("compile", CHECKPOINT, *arguments, "-o", tmp_path / "out")
    report = verified(tmp_path / "out", 3)
    assert report.numbers == "int8"
    assert report.verify is not None
    assert report.verify.ran_on == "cortex-m4"
    assert report.flash_bytes < 150_000
    assert report.instructions_per_step_mean
    assert report.class_names == ["PEN", "ABD", "FEL", "IR", "ER", "TRAP", "ROW"]
    assert (report.window, report.hop) == (100, 100)
    assert report.stack_bytes is not None
    assert report.stack_bounds is not None
    assert report.stack_bytes <= max(report.stack_bounds.values()) < report.stack_bytes + 100


def test_int8_keeps_the_accuracy(tmp_path, traced, heldout):
    """The interpreter on held-out windows: int8 loses little against the PyTorch model."""
    some = heldout.first(120)
    passes = "fold-input,remove-dead,fold-threshold,calibrate,quantize"
    save_network(traced.network, tmp_path / "har.txt")
    written = ("-o", tmp_path / "int8.txt", "--calibrate", CALIBRATION)
    ok("opt", tmp_path / "har.txt", "-p", passes, *written)
    decisions = run(load_network(tmp_path / "int8.txt"), some.x).decisions
    assert traced.decide is not None
    wanted = traced.decide(some.x)
    assert (decisions == wanted).mean() > 0.9
    assert (decisions == some.y).mean() > (wanted == some.y).mean() - 0.05


@pytest.mark.slow
def test_all_held_out_windows_bit_for_bit(host, heldout):
    report = verified(host, len(heldout.x))
    assert report.verify is not None
    assert report.verify.decision_agreement_with_float >= 0.995
