"""The Python API of compiling and of compiled directories."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from command_line import ok
from networks import f32, feed_forward, l2mu, late_reader, samples
from reference_models import RawNet, save_state
from refusals import WINDOWS

from l2mu_compile import (
    Job,
    compile_model,
    default_pipeline,
    get_target,
    load_host_model,
    load_model,
    load_network,
    load_windows,
    save_network,
    verify_output,
)
from l2mu_compile.compiled import require_exact
from l2mu_compile.errors import BudgetError, MismatchError, ModelError, UsageError
from l2mu_compile.frontend import Model
from l2mu_compile.interpreter import run
from l2mu_compile.network import Network
from l2mu_compile.passbase import Context, Pass
from l2mu_compile.passes.shorten_window import ShortenWindow
from l2mu_compile.report import Difference, Source, load_report
from l2mu_compile.targets.record import Memory, Region
from l2mu_compile.windows import Windows

FLOAT32 = default_pipeline(quantized=False, calibrated=False)
INT8 = default_pipeline(quantized=True, calibrated=False)


class Name:
    """Any object that stands for a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __fspath__(self) -> str:
        return str(self._path)


def model(network: Network) -> Model:
    return Model(network, Source(kind="network", name="test"))


@pytest.mark.parametrize("spelling", [str, Path, Name])
def test_any_spelling_of_a_path_will_do(compiled, tmp_path, spelling):
    def path(name: str) -> str | os.PathLike[str]:
        return spelling(tmp_path / name)

    save_network(feed_forward(), path("toy.txt"))
    assert load_network(path("toy.txt")) == feed_forward()
    loaded = load_model(path("toy.txt"))
    report = compile_model(loaded, Job(get_target("host"), FLOAT32), path("out"))
    np.savez(tmp_path / "w.npz", x=np.zeros((2, 5, 2), "f4"))
    windows = load_windows(path("w.npz"))
    assert windows.source == str(tmp_path / "w.npz")
    again = verify_output(path("out"), windows)
    assert again.verify is not None
    assert again.verify.windows == 2
    assert again.artifacts == report.artifacts
    assert load_host_model(path("out")).run(windows.x).shape == (2,)


def small(flash: int, ram: int, stack: int = 512):
    memory = Memory(Region(0, flash), Region(0x2000_0000, ram), stack)
    return replace(get_target("cortex-m4"), memory=memory)


@pytest.mark.parametrize("passes", [FLOAT32, INT8])
def test_firmware_beyond_its_flash(tmp_path, passes):
    """Weights fit, code does not: it takes a link to see that."""
    target = small(flash=2048, ram=8192)
    with pytest.raises(BudgetError, match=r"the firmware needs ([0-9]+) bytes more than the 2048"):
        compile_model(model(l2mu()), Job(target, passes), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    roomy = compile_model(model(l2mu()), Job(small(1 << 16, 8192), passes), tmp_path / "out")
    assert roomy.weights_bytes < 2048 < roomy.flash_bytes


def test_firmware_beyond_its_ram(tmp_path):
    target = small(flash=1 << 16, ram=576)
    with pytest.raises(BudgetError, match=r"its state alone takes [0-9]+ bytes, .* the 64 bytes"):
        compile_model(model(l2mu()), Job(target, FLOAT32), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_windows_are_checked_first(tmp_path):
    windows = Windows(np.zeros((2, 5, 3), np.float32), source="mine.npz")
    with pytest.raises(ModelError, match=r"^mine.npz: windows have shape \[2, 5, 3\]"):
        compile_model(
            model(feed_forward()),
            Job(get_target("host"), FLOAT32, windows),
            tmp_path / "out",
        )


def test_host_code_only(tmp_path):
    compile_model(model(feed_forward()), Job(get_target("cortex-m4"), FLOAT32), tmp_path / "out")
    with pytest.raises(UsageError, match="compiled for cortex-m4, not for this machine"):
        load_host_model(tmp_path / "out")


def test_unfinished_passes(tmp_path):
    job = Job(get_target("host"), FLOAT32[:1])
    with pytest.raises(UsageError, match="end with plan-memory"):
        compile_model(model(feed_forward()), job, tmp_path / "out")


def test_reference_without_decisions(compiled):
    """A network's text has no PyTorch model to ask."""
    reference = load_model(compiled / "out/float/network.txt")
    reference = replace(reference, source=Source(kind="raw", name="text"))
    with pytest.raises(UsageError, match="text: gives no decisions to compare with"):
        verify_output(compiled / "out", load_windows(compiled / WINDOWS), reference)


def test_reference_that_is_the_model(tmp_path):
    save_state(RawNet().state_dict(), tmp_path / "net.pt")
    ok("compile", tmp_path / "net.pt", "-o", tmp_path / "out")
    x = np.random.default_rng(0).normal(size=(40, 9, 6)).astype("f4")
    told: dict[str, list[tuple[int, int]]] = {}

    def progress_of(phase: str):
        return lambda *at: told.setdefault(phase, []).append(at)

    report = verify_output(
        tmp_path / "out", Windows(x), load_model(tmp_path / "net.pt"), progress_of
    )
    assert report.verify is not None
    assert report.verify.float_model == "pytorch"
    assert report.verify.decisions_unlike_float == 0
    assert told == {
        "checking code": [(n, 40) for n in range(1, 41)],
        "float model": [(40, 40)],
    }


def test_the_report_tells_what_differs(compiled):
    windows = load_windows(compiled / WINDOWS)
    report = verify_output(compiled / "out", windows)
    require_exact(report.verify)
    assert report.verify is not None
    difference = Difference(
        window=2, step=3, quantity="u_membrane", neuron=1, expected=0.5, actual=0.25
    )
    check = report.verify.model_copy(update={"first_difference": difference})
    text = r"window 2, step 3, u_membrane\[1\] is 0.25, the interpreter says 0.5"
    with pytest.raises(MismatchError, match=text):
        require_exact(check)


def test_a_constant_samples_window_for_a_network_with_late_readers(tmp_path):
    """Random windows have as many steps as the network was made for."""
    network = late_reader().replace(window=7)
    report = compile_model(model(network), Job(get_target("host"), FLOAT32), tmp_path / "out")
    assert report.verify is not None
    assert (report.verify.windows, report.verify.steps) == (4, 7)
    assert f32(report.verify.decision_agreement_with_float) == 1


def test_the_report_has_every_pass_and_what_it_did(tmp_path):
    network = feed_forward()
    x = samples(network, windows=20, steps=9)
    given = Windows(x, np.arange(20) % 2, source="mine.npz")
    seen = []
    job = Job(get_target("cortex-m4"), default_pipeline(True, True), given)
    job = replace(job, observer=lambda item, _before, after: seen.append((str(item), after.stage)))
    report = compile_model(model(network), job, tmp_path / "out")
    assert load_report(tmp_path / "out/report.json") == report
    assert [(step.after, step.stage) for step in report.steps] == [(None, "traced"), *seen]
    assert report.steps_measured_on == "16 calibration windows"
    right = run(network, given.first(16).x).decisions == given.first(16).y
    assert report.steps[0].accuracy == right.mean()
    assert report.steps[-1].parameter_bytes < report.steps[0].parameter_bytes
    assert report.steps[-1].instructions_per_step is not None
    report = compile_model(model(network), Job(get_target("host"), FLOAT32), tmp_path / "other")
    assert report.steps_measured_on == "4 random windows"
    assert report.steps[-1].accuracy is None


@dataclass(frozen=True)
class Slow(Pass):
    """Requires nothing, changes nothing, and takes long; exact."""

    name: ClassVar[str] = "slow"

    def apply(self, network: Network, context: Context) -> Network:
        raise AssertionError("passes run")


@pytest.mark.parametrize(
    ("own", "passes", "options", "says"),
    [
        (None, [Slow()], {"window": 0}, "--window 0: from 1 to"),
        (None, [Slow()], {"window": 2**30}, "--window 1073741824: from 1 to 1073741823 samples"),
        (None, [Slow()], {"window": 9, "hop": 10}, "--hop 10: from 1 to the window's 9 samples"),
        (None, [Slow()], {"window": 9, "hop": 0}, "--hop 0: from 1 to the window's 9 samples"),
        (None, [Slow()], {"hop": 3}, "--hop 3: how long is a window? Give --window or --calib"),
        (None, [Slow()], {"hop": 21, "windows": 20}, "--hop 21: from 1 to the window's 20 sam"),
        (12, [Slow()], {"hop": 13, "windows": 12}, "--hop 13: from 1 to the window's 12 samples"),
        (12, [Slow()], {"window": 13}, "--window 13: network toy was made for 12 samples"),
        (12, [Slow(), ShortenWindow(5)], {"window": 12}, "network toy was made for 5 samples"),
        (None, [ShortenWindow(5), Slow()], {"hop": 6}, "--hop 6: from 1 to the window's 5 sam"),
        (None, [Slow()], {"hop": 6, "backend": "tvm"}, "--hop 6: --backend tvm makes no streams"),
    ],
)
def test_windows_that_can_never_be_are_refused_before_passes_run(
    tmp_path, own, passes, options, says
):
    steps = options.pop("windows", None)
    windows = None if steps is None else Windows(samples(feed_forward(), 1, steps))
    job = Job(get_target("host"), tuple(passes), windows, **options)
    with pytest.raises(UsageError) as error:
        compile_model(model(feed_forward().replace(window=own)), job, tmp_path / "out")
    assert says in str(error.value)
    assert not (tmp_path / "out").exists()


def test_other_windows_let_passes_run(tmp_path):
    job = Job(get_target("host"), (ShortenWindow(5), Slow()), window=5, hop=2)
    with pytest.raises(ModelError, match=r"pass slow .*: AssertionError: passes run"):
        compile_model(model(feed_forward().replace(window=9)), job, tmp_path / "out")
