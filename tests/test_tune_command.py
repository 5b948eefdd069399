"""``l2mu-compile tune``: what it writes and refuses, and that it goes on where it was killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import ok, readable
from refusals import contents, refused
from toy_training import by_class, network, windows

from l2mu_compile.interpreter import run
from l2mu_compile.labelled import labelled
from l2mu_compile.network import Network
from l2mu_compile.network_files import load_network, save_network
from l2mu_compile.report import load_report
from l2mu_compile.text import network_digest
from l2mu_compile.windows import Windows, load_windows

pytestmark = pytest.mark.usefixtures("workplace")

TUNE = "fine-tune{epochs=4,learning_rate=0.03,batch=16}"
DATA = ("--data", "train.npz")
TUNED = ("tune", "net.txt", *DATA)
KEPT = ".out.l2mu-kept"


def save(data: Windows, path: str = "train.npz", **changes: Any) -> None:
    arrays = {"x": data.x, "y": data.y, "group": data.group} | changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})


@pytest.fixture(autouse=True)
def files(workplace: Path) -> None:
    save_network(network(), "net.txt")
    save(windows())


def accuracy(found: Network, data: Windows) -> float:
    return float((run(found, data.x).decisions == data.y).mean())


def test_a_quantized_network_is_trained_and_compiles() -> None:
    shown = ok("tune", "net.txt", *DATA, "--passes", f"quantize,{TUNE}", "-o", "out")
    readable(shown.out)
    for word in ("fold-input", "quantize", "fine-tune", "accuracy", "%"):
        assert word in shown.out
    assert "note: validated on" in shown.err and "note: fine-tune:" in shown.err
    assert sorted(contents(Path())) == ["net.safetensors", "net.txt"] + [
        f"out/{name}" for name in ("network.safetensors", "network.txt", "tune.json")
    ] + ["train.npz"]
    found = load_network("out/network.txt")
    assert found.stage == "quantized"
    report = json.loads(Path("out/tune.json").read_text())
    data = labelled(load_windows("train.npz"), None, network())
    assert report["steps"][-1]["accuracy"] == accuracy(found, data.validation)
    assert report["steps"][0]["accuracy"] == accuracy(network(), data.validation)
    assert report["steps"][-1]["accuracy"] > report["steps"][0]["accuracy"] + 0.2
    assert report["digest"] == network_digest(found)
    assert [step["after"] for step in report["steps"][1:]] == report["passes"]
    assert [name.partition("{")[0] for name in report["passes"]] == [
        *("fold-input", "remove-dead", "fold-threshold", "detect-spikes", "calibrate"),
        *("quantize", "fine-tune"),
    ]
    assert report["training_windows"] + report["validation_windows"] == 90
    assert report["data"][0]["name"] == "train.npz" and report["data"][0]["windows"] == 90
    # What is done already is not done again, whether int8 is asked for or not.
    for name, options in (("a", ()), ("b", ("--quantize", "int8", "--calibrate", "train.npz"))):
        ok("compile", "out/network.txt", *options, "-o", name)
        compiled = load_report(f"{name}/report.json")
        assert compiled.numbers == "int8"
        assert compiled.verify is not None and compiled.verify.bit_exact
        checked = ok("verify", name, "--data", "train.npz", "--json").json["verify"]
        assert checked["bit_exact"]
        assert checked["accuracy_compiled"] == accuracy(found, load_windows("train.npz"))


def test_a_float_network_stays_one() -> None:
    found = ok("tune", "net.txt", *DATA, "--passes", TUNE, "--json").json
    assert found == json.loads(Path("out/tune.json").read_text())
    after = load_network("out/network.txt")
    assert after.stage == "traced" and not after.quantized
    ok("compile", "out/network.txt", "-o", "compiled")
    assert load_report("compiled/report.json").numbers == "float32"


def test_every_pass_is_a_line_and_a_step_with_what_it_did() -> None:
    passes = "prune-population{sparsity=0.3},quantize,early-exit{risk=0.2}"
    options = ("--passes", passes, "--target", "cortex-m4")
    shown = ok(*TUNED, *options)
    readable(shown.out)
    header, *rows = shown.out.splitlines()[1:]
    for word in ("synapses", "bytes", "syn. ops", "instructions", "accuracy", "drift"):
        assert word in header
    report = json.loads(Path("out/tune.json").read_text())
    assert len(rows) == len(report["steps"]) == 9 and report["target"] == "cortex-m4"
    assert report["steps_measured_on"] == "15 validation windows"
    first, last = report["steps"][0], report["steps"][-1]
    worst = max(last["drift"], key=lambda drift: drift["distance"])
    assert worst["distance"] > 0
    assert f"{worst['distance']:.2f} {worst['population']}" in rows[-1]
    assert f"{last['instructions_per_step']:.0f}" in rows[-1]
    assert 0 < last["instructions_per_step"] < first["instructions_per_step"]
    assert last["steps_per_decision"] < first["steps_per_decision"] == 12
    assert all(drift["distance"] == 0 for drift in first["drift"])
    ok(*TUNED, "--passes", passes)
    report = json.loads(Path("out/tune.json").read_text())
    assert report["target"] is None and report["steps"][-1]["instructions_per_step"] is None


def test_the_default_passes() -> None:
    found = ok("tune", "net.txt", *DATA, "--json").json
    assert [name.partition("{")[0] for name in found["passes"]][-2:] == ["quantize", "fine-tune"]


def test_windows_to_validate_on_and_names_of_classes() -> None:
    save(windows(30, seed=9), "val.npz", classes=np.array(["a", "b", "c"]))
    found = ok("tune", "net.txt", *DATA, "--validation", "val.npz", "--passes", TUNE, "--json").json
    assert found["class_names"] == ["a", "b", "c"]
    assert [d["name"] for d in found["data"]] == ["train.npz", "val.npz"]
    assert (found["training_windows"], found["validation_windows"]) == (90, 30)
    assert found["validated_on"] == "windows of val.npz"
    after = load_network("out/network.txt")
    assert found["steps"][-1]["accuracy"] == accuracy(after, load_windows("val.npz"))


def test_raw_samples() -> None:
    data = windows()
    save(replace(data, x=np.round(data.x * 1000).astype(np.int16)))
    found = ok(
        "tune", "net.txt", *DATA, "--input-scale", "0.001", "--passes", f"quantize,{TUNE}", "--json"
    ).json
    assert found["steps"][-1]["accuracy"] > found["steps"][0]["accuracy"] + 0.2
    assert load_network("out/network.txt").input.unit is not None


def test_seeds() -> None:
    digests = []
    for seed in (0, 0, 1):
        found = ok("tune", "net.txt", *DATA, "--passes", TUNE, "--seed", seed, "--json").json
        assert found["seed"] == seed
        digests.append((found["digest"], found["validated_on"]))
    assert digests[0] == digests[1] != digests[2]
    assert digests[0][1] != digests[2][1]


def test_an_earlier_result_is_replaced_but_nothing_else() -> None:
    ok("tune", "net.txt", *DATA, "--passes", TUNE)
    first = contents(Path("out"))
    ok("tune", "net.txt", *DATA, "--passes", "fold-input")
    assert contents(Path("out")) != first
    assert json.loads(Path("out/tune.json").read_text())["steps"][-1]["stage"] == "folded"
    Path("out/mine.txt").write_text("mine")
    refused(2, "holds files this tool did not write (mine.txt)", arguments=TUNED)
    ok("compile", "net.txt", "-o", "compiled")
    arguments = ("tune", "net.txt", *DATA, "-o", "compiled")
    refused(2, "compiled: holds files this tool did not write", arguments=arguments)


@pytest.mark.parametrize(
    ("changes", "texts"),
    [
        ({"y": None}, ("train.npz: no array 'y': training needs the class",)),
        ({"y": np.arange(90) % 2}, ("train.npz: holds no window of class 2",)),
        ({"y": np.arange(90) % 4}, ("train.npz: label y[3] is 3",)),
        ({"group": np.zeros(90, int)}, ("all windows are of group 0", "--validation")),
        ({"group": np.zeros(3, int)}, ("train.npz: group is int64 [3]; expected",)),
        ({"x": np.zeros((90, 12, 2), "f4")}, ("train.npz: windows have shape [90, 12, 2]",)),
        ({"classes": np.array(["a", "b"])}, ("train.npz:", "2 labels for 3 classes")),
    ],
)
def test_windows_that_do_not_serve(changes: dict[str, Any], texts: tuple[str, ...]) -> None:
    save(windows(), **changes)
    refused(3, *texts, arguments=TUNED)


@pytest.mark.parametrize(
    ("code", "arguments", "text"),
    [
        (2, ("tune", "net.txt"), "give labelled windows with --data"),
        (3, ("tune", "net.txt", "--data", "none.npz"), "none.npz: cannot read windows"),
        (3, ("tune", "none.txt", *DATA), "none.txt: cannot read network text"),
        (2, (*TUNED, "--passes", "fine-tune{epochs=0}"), "fine-tune: epochs must be from 1"),
        (2, (*TUNED, "--passes", "finetune"), "did you mean 'fine-tune'?"),
        (2, (*TUNED, "--passes", "select-kernels"), "select-kernels needs a target"),
        (2, (*TUNED, "--target", "cortex-m5"), "cortex-m5"),
        (3, (*TUNED, "--validation", "net.txt"), "net.txt: cannot read windows"),
        (2, (*TUNED, "--seed", "-1"), "--seed"),
        (2, (*TUNED, "-o", "net.txt"), "net.txt: is not a directory"),
        (2, ("opt", "net.txt", "-p", "fine-tune"), "use l2mu-compile tune --data FILE"),
    ],
)
def test_refused(code: int, arguments: tuple[str, ...], text: str) -> None:
    refused(code, text, arguments=arguments)


def test_names_of_classes_that_contradict() -> None:
    save(windows(), classes=np.array(["a", "b", "c"]))
    save(windows(), "val.npz", classes=np.array(["a", "c", "b"]))
    refused(2, "val.npz: classes are a, c, b", arguments=(*TUNED, "--validation", "val.npz"))


def test_a_failure_after_training_leaves_only_what_was_kept() -> None:
    # A second run, whose passes end otherwise, goes on from it.
    arguments = ("tune", "net.txt", *DATA, "-o", "deep/out", "--passes")
    failed = run_cli(*arguments, f"{TUNE},select-kernels")
    assert failed.returncode == 2 and "needs a target" in failed.stderr
    (kept,) = Path("deep").iterdir()
    assert kept.name == KEPT and len(list(kept.iterdir())) == 1
    shown = ok(*arguments, TUNE)
    assert "note: going on after epoch 4 of 4" in shown.err
    assert [p.name for p in Path("deep").iterdir()] == ["out"]


# ---- killed, and going on ----


def run_cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "l2mu_compile.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_goes_on_and_ends_as_if_it_had_not_been(number: int) -> None:
    passes = f"{TUNE},quantize,fine-tune{{epochs=30,learning_rate=0.01,batch=16}}"
    arguments = ("tune", "net.txt", *DATA, "--passes", passes, "-o")
    process = subprocess.Popen(
        [sys.executable, "-m", "l2mu_compile.cli", *arguments, "out"], stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: len(list(Path(KEPT).glob("*.kept"))) == 2)  # the second training began
    finally:
        os.kill(process.pid, number)
        code = process.wait()
    assert code == (-number if number == signal.SIGKILL else 128 + number)
    assert not Path("out").exists() and Path(KEPT).is_dir()
    again = ok(*arguments, "out")
    assert "note: going on after epoch 4 of 4" in again.err, "the first training was done again"
    assert again.err.count("note: going on after epoch") == 2
    assert not Path(KEPT).exists()
    whole = Path("elsewhere")
    whole.mkdir()
    ok(*arguments, whole / "out")
    assert contents(Path("out")) == contents(whole / "out")


def wait_for(condition: Any) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


def test_two_runs_at_once_are_refused() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "l2mu_compile.cli", *TUNED, "--passes", "fine-tune{epochs=9999}"],
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: list(Path(KEPT).glob("*.kept")))
        other = run_cli(*TUNED)
        assert other.returncode == 2 and "another run is working there" in other.stderr
    finally:
        process.kill()
        process.wait()
    assert Path(KEPT).is_dir()


@pytest.mark.parametrize("found", ["a file of somebody's", "a link"])
def test_what_is_not_ours_stays(found: str, tmp_path: Path) -> None:
    if found == "a link":
        (tmp_path / "place").mkdir()
        Path(KEPT).symlink_to(tmp_path / "place")
        refused(2, "is a link; remove it", arguments=TUNED)
    else:
        Path(KEPT).mkdir()
        Path(KEPT, "mine.txt").write_text("mine")
        refused(2, "holds mine.txt, which no run put there", arguments=TUNED)


def test_damaged_state_is_said_and_not_used() -> None:
    failed = run_cli(*TUNED, "--passes", f"{TUNE},select-kernels")
    assert failed.returncode == 2
    (path,) = Path(KEPT).iterdir()
    path.write_bytes(path.read_bytes()[:-50] + bytes(50))
    shown = ok(*TUNED, "--passes", TUNE)
    assert "not what an earlier run kept (its digest is wrong); starting anew" in shown.err
    ok(*TUNED, "--passes", TUNE, "-o", "again")
    assert contents(Path("out"))["network.txt"] == contents(Path("again"))["network.txt"]


def test_windows_without_groups() -> None:
    save(by_class(windows()))
    found = ok(*TUNED, "--passes", TUNE, "--json").json
    assert found["validated_on"] == "a fifth of the windows of each class of train.npz"
