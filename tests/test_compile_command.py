"""The compile command: what it writes, and what it says."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import ok, readable, run

from l2mu_compile.compiled import load_host_model
from l2mu_compile.network_files import load_network, save_network
from l2mu_compile.pipeline import FLOAT_PIPELINE, INT8_PIPELINE, NEED_WINDOWS
from l2mu_compile.report import Report, load_report
from l2mu_compile.text import network_digest

MODULE = """
import torch, snntorch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.fc, self.spk = nn.Linear(3, 4), snntorch.Leaky(beta=0.8, threshold=0.4)

    def forward(self, x):
        mem, found = self.spk.reset_mem(), []
        for sample in x:
            spk, mem = self.spk(self.fc(sample), mem)
            found.append(spk)
        return torch.stack(found)
"""

pytestmark = pytest.mark.usefixtures("terminal")


def test_compile(data, tmp_path):
    result = ok("compile", data / "net.pt", "-o", tmp_path / "out")
    readable(result.out.replace(str(tmp_path), ""))
    assert "bit-exact: 4 windows x 50 steps" in result.out
    assert "100.00 % of decisions as the PyTorch model, on random windows" in result.out
    assert "Traceback" not in result.err
    report = load_report(tmp_path / "out/report.json")
    assert report.command == ["l2mu-compile", "compile", "net.pt", "-o", "out"]
    assert report.source.name == "net.pt"
    files = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.*")}
    assert files >= {"report.json", "network.txt", "float/network.txt", "src/net.c", "src/net.h"}
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_compile_json(data, tmp_path):
    arguments = ("compile", data / "net.pt", "-o", tmp_path / "out", "--json")
    result = ok(*arguments)
    report = Report.model_validate(result.json)
    assert report == load_report(tmp_path / "out/report.json")
    assert report.verify is not None
    assert report.verify.bit_exact
    assert report.numbers == "float32"
    assert 0 < report.state_bytes <= report.ram_bytes
    assert result.err == ""


def test_report_of_int8_on_cortex_m4(cortex):
    report = load_report(cortex / "report.json")
    assert (report.target, report.numbers) == ("cortex-m4", "int8")
    assert report.verify is not None
    assert report.verify.bit_exact
    assert report.verify.accuracy_compiled is not None
    assert 0 < report.weights_bytes < report.flash_bytes
    assert report.instructions_per_step_mean is not None
    assert report.instructions_per_step_mean <= report.instructions_per_step_max
    assert report.instructions_per_window_mean == pytest.approx(
        20 * report.instructions_per_step_mean
    )
    assert report.stack_bytes
    assert report.firmware_decision in (0, 1, 2)
    assert [p.split("{")[0] for p in report.passes] == list(INT8_PIPELINE)
    assert (cortex / "firmware/net.elf").read_bytes()[:4] == b"\x7fELF"
    for artifact in report.artifacts:
        assert (cortex / artifact.path).stat().st_size == artifact.bytes


@pytest.mark.parametrize(("target", "numbers"), [("host", "int8"), ("cortex-m4", "none")])
def test_other_combinations(data, tmp_path, target, numbers):
    arguments = ("--target", target, "--quantize", numbers, "-o", tmp_path / "out")
    source = data / "host/float/network.txt"
    report = Report.model_validate(ok("compile", source, *arguments, "--json").json)
    assert report.target == target
    assert report.numbers == ("int8" if numbers == "int8" else "float32")
    assert report.verify is not None
    assert report.verify.bit_exact


def test_compile_twice_gives_the_same_bytes(data, tmp_path):
    source = data / "host/float/network.txt"
    arguments = ("compile", source, "--calibrate", data / "windows.npz", "-o")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        ok(*arguments, tmp_path / name / "out")
    first, second = (
        {p.relative_to(tmp_path / n): p.read_bytes() for p in (tmp_path / n).rglob("*.*")}
        for n in ("a", "b")
    )
    assert first == second
    assert not any(str(tmp_path).encode() in content for content in first.values())


def test_compile_replaces_its_own_output(data, tmp_path):
    source = data / "host/float/network.txt"
    ok("compile", source, "-o", tmp_path / "out", "--print-after", "all")
    ok("compile", source, "-o", tmp_path / "out", "--target", "cortex-m4")
    assert (tmp_path / "out/firmware/net.elf").exists()
    assert not list((tmp_path / "out/lib").glob("*.so"))
    (tmp_path / "out/notes.txt").touch()
    refused = run("compile", source, "-o", tmp_path / "out")
    assert refused.code == 2
    assert (tmp_path / "out/firmware/net.elf").exists()


def test_commands_of_options_with_equals_signs(data, tmp_path):
    ok("compile", data / "host/float/network.txt", f"--output={tmp_path / 'out'}")
    report = load_report(tmp_path / "out/report.json")
    assert report.command == ["l2mu-compile", "compile", "network.txt", "--output=out"]


def test_print_after(data, tmp_path):
    arguments = (
        "compile",
        data / "host/float/network.txt",
        "-o",
        tmp_path / "out",
        "--print-after",
    )
    result = ok(*arguments, "select-kernels", "--json")
    assert result.err.count("# after ") == 1
    assert result.err.startswith("# after select-kernels")
    assert "network net stage=folded" in result.err
    assert Report.model_validate(result.json)
    passes = [name for name in FLOAT_PIPELINE if name not in NEED_WINDOWS]
    found = re.findall(r"^# after ([a-z-]+)", ok(*arguments, "all").err, re.MULTILINE)
    assert found == passes


def test_verbose_shows_commands_whole(data, tmp_path):
    source = data / "host/float/network.txt"
    result = ok("compile", source, "-o", tmp_path / "out", "-v")
    commands = [line for line in result.err.splitlines() if " cc " in line]
    assert len(commands) >= 2
    assert any(" -c " in line and line.rstrip().endswith("net.o") for line in commands)
    assert ok("compile", source, "-o", tmp_path / "out").err == ""


def test_own_passes(data, tmp_path):
    passes = "fold-input,quantize{input_range=8},select-kernels,plan-memory"
    arguments = ("--passes", passes, "-o", tmp_path / "out", "--no-verify-passes")
    source = data / "host/float/network.txt"
    report = Report.model_validate(ok("compile", source, *arguments, "--json").json)
    assert report.numbers == "int8"
    assert [p.split("{")[0] for p in report.passes] == passes.replace("{input_range=8}", "").split(
        ","
    )
    assert "input_range=8.0" in report.passes[1]


def test_notes(data, tmp_path):
    arguments = ("--quantize", "int8", "-o", tmp_path / "out")
    result = ok("compile", data / "host/float/network.txt", *arguments)
    assert "note: quantize: no calibration data" in result.err
    assert all(line.startswith("note: ") for line in result.err.splitlines())


def test_compile_module(tmp_path, monkeypatch):
    (tmp_path / "my_module.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    try:
        result = ok("compile", "--module", "my_module:Net", "-o", "out", "--json")
    finally:
        sys.modules.pop("my_module", None)
    report = Report.model_validate(result.json)
    assert (report.source.kind, report.source.name) == ("module", "my_module:Net")
    assert (tmp_path / "out/src/Net.h").exists()


def test_compile_network_text(data, tmp_path):
    arguments = ("compile", data / "host/float/network.txt", "-o", tmp_path / "out", "--json")
    report = Report.model_validate(ok(*arguments).json)
    assert report.source.kind == "network"
    assert report.verify is not None
    assert report.verify.float_model == "network"
    assert report.verify.decision_agreement_with_float == 1.0


# ---- raw counts ----


@pytest.mark.parametrize("target", ["host", "cortex-m4"])
def test_windows_of_counts_run_through_the_functions_for_counts(data, tmp_path, target):
    counts = np.random.default_rng(1).integers(-300, 300, (3, 20, 6)).astype(np.int16)
    np.savez(tmp_path / "counts.npz", x=counts)
    arguments = ("--target", target, "--quantize", "int8", "-o", tmp_path / "out")
    scale = ("--input-scale", "0.005", "--calibrate", tmp_path / "counts.npz")
    ok("compile", data / "host/float/network.txt", *arguments, *scale)
    np.savez(tmp_path / "floats.npz", x=counts.astype(np.float32))
    reports = [
        Report.model_validate(ok("verify", tmp_path / "out", "--data", file, "--json").json)
        for file in (tmp_path / "counts.npz", tmp_path / "floats.npz")
    ]
    for report in reports:
        assert report.verify is not None
        assert report.verify.bit_exact
    if target == "cortex-m4":
        raw, plain = (report.instructions_per_step_mean for report in reports)
        assert raw < plain - 100, "no floats are converted"


def test_a_host_model_takes_counts(data, tmp_path):
    model = load_host_model(data / "host")
    counts = np.random.default_rng(1).integers(-9, 9, (8, 20, 6)).astype(np.int16)
    decisions = model.run(counts)
    assert decisions.tolist() == model.run(counts.astype(np.float32)).tolist()
    assert decisions.tolist() == model.run(counts.astype(np.int64)).tolist()
    assert len(set(decisions.tolist())) > 1


# ---- streams and names ----


def compiled(data, tmp_path, *arguments: str | Path) -> Report:
    source = data / "host/float/network.txt"
    ok("compile", source, "-o", tmp_path / "out", *arguments)
    return load_report(tmp_path / "out/report.json")


def test_a_stream_of_calibration_windows(data, tmp_path):
    report = compiled(data, tmp_path, "--calibrate", data / "windows.npz")
    assert (report.window, report.hop) == (20, 20)
    assert report.stream_bytes is not None
    assert report.state_bytes < report.stream_bytes < report.state_bytes + 64
    assert "int net_push(" in (tmp_path / "out/src/net.h").read_text()


def test_a_stream_with_a_hop(data, tmp_path):
    source, arguments = data / "host/float/network.txt", ("--window", 100, "--hop", 30)
    text = ok("compile", source, "-o", tmp_path / "out", *arguments).out
    report = load_report(tmp_path / "out/report.json")
    assert (report.window, report.hop) == (100, 30)
    line = rf"stream +100 samples every 30, {report.stream_bytes} bytes, up to 4 steps per sample"
    assert re.search(line, text)
    program = (tmp_path / "out/program.txt").read_text()
    assert program.startswith("program net inputs=6 classes=3 window=100 hop=30 lanes=4\n")
    verify = ok("verify", tmp_path / "out", "--data", data / "windows.npz", "--json").json
    assert (verify["window"], verify["hop"]) == (100, 30)


def test_no_stream_without_a_window(data, tmp_path):
    text = ok("compile", data / "host/float/network.txt", "-o", tmp_path / "out").out
    report = load_report(tmp_path / "out/report.json")
    assert (report.window, report.hop, report.stream_bytes) == (None, None, None)
    assert re.search(r"stream +none: the length of a window is not known \(--window\)", text)
    assert "No net_push:" in (tmp_path / "out/src/net.h").read_text()


def test_a_network_made_for_a_window(data, tmp_path):
    save_network(
        load_network(data / "host/float/network.txt").replace(window=20), tmp_path / "n.txt"
    )
    ok("compile", tmp_path / "n.txt", "-o", tmp_path / "out", "--hop", 5)
    report = load_report(tmp_path / "out/report.json")
    assert (report.window, report.hop) == (20, 5)


def test_a_window_that_a_pass_makes(data, tmp_path):
    passes = "shorten-window{steps=5}, fold-input, fold-threshold, select-kernels, plan-memory"
    windows = ("--calibrate", data / "windows.npz")
    report = compiled(data, tmp_path, "--passes", passes, *windows, "--window", 5, "--hop", 2)
    assert (report.window, report.hop) == (5, 2)


def test_names_of_classes(data, tmp_path):
    report = compiled(data, tmp_path, "--classes", "walk, run,sit still")
    assert report.class_names == ["walk", "run", "sit still"]
    assert '"walk", "run", "sit still",' in (tmp_path / "out/src/net.c").read_text()
    text = (tmp_path / "out/network.txt").read_text()
    assert 'spike_count labels=["walk", "run", "sit still"]\n' in text
    again = ok("inspect", tmp_path / "out/network.txt", "--json").json
    assert again["class_names"] == report.class_names


def test_names_of_classes_in_a_file(data, tmp_path):
    (tmp_path / "names.txt").write_text("Größe\nb, c\r\n d\n", encoding="utf-8")
    report = compiled(data, tmp_path, "--classes", tmp_path / "names.txt")
    assert report.class_names == ["Größe", "b, c", "d"]


def test_names_of_classes_beside_the_windows(data, tmp_path):
    with np.load(data / "windows.npz") as stored:
        np.savez(tmp_path / "w.npz", **stored, classes=np.array(["a", "b", "c"]))
    report = compiled(data, tmp_path, "--calibrate", tmp_path / "w.npz")
    assert report.class_names == ["a", "b", "c"]
    named = tmp_path / "out/float/network.txt"
    shutil.copytree(named.parent, tmp_path / "named")
    again = ("compile", tmp_path / "named/network.txt", "-o", tmp_path / "out")
    ok(*again, "--calibrate", tmp_path / "w.npz")
    with np.load(data / "windows.npz") as stored:
        np.savez(tmp_path / "w.npz", **stored, classes=np.array(["a", "c", "b"]))
    refused = run(*again, "--calibrate", tmp_path / "w.npz")
    assert refused.code == 2
    assert "w.npz: classes are a, c, b, but the model's are a, b, c: say which" in refused.err
    ok(*again, "--calibrate", tmp_path / "w.npz", "--classes", "x,y,z")
    assert load_report(tmp_path / "out/report.json").class_names == ["x", "y", "z"]


def test_classes_are_numbered_without_names(data, tmp_path):
    assert compiled(data, tmp_path).class_names == ["0", "1", "2"]


def test_the_digest_is_that_of_the_network_in_the_directory(data, cortex):
    for folder in (data / "host", cortex):
        digest = network_digest(load_network(folder / "network.txt"))
        assert load_report(folder / "report.json").digest == digest
        assert f'"{digest}"' in (folder / "src/net.c").read_text()


def test_nothing_is_left_in_temporary_directories(data, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    ok("compile", data / "host/float/network.txt", "-o", tmp_path / "out")
    assert list((tmp_path / "tmp").iterdir()) == []
