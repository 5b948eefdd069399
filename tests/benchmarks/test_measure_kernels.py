"""The table of kernel costs is what the kernels take now, and foretells what a step takes."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from networks import f32, lif

from l2mu_compile.compiler import Job, compile_model
from l2mu_compile.convolution import Convolution
from l2mu_compile.frontend import Model, load_model
from l2mu_compile.network import Input, Network, Population, Readout
from l2mu_compile.pipeline import default_pipeline
from l2mu_compile.projection import Projection
from l2mu_compile.report import Source
from l2mu_compile.targets.kernel_costs import TABLE, as_measured, costs_for
from l2mu_compile.targets.kernel_sets import parts
from l2mu_compile.targets.kernel_table import kernel_table
from l2mu_compile.targets.registry import get_target
from l2mu_compile.windows import Windows, load_windows

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "benchmarks"))  # after the tests' own modules

import measure_kernels  # noqa: E402
from counted_code import cannot_count  # noqa: E402
from kernel_counter import Case, counts  # noqa: E402

EXAMPLE = ROOT / "examples" / "har_smartwatch"
ROUNDING = 0.001  # of the table's figures
WITHIN = 0.1  # of the instructions of a whole step of the example: spikes do not come independently
EMULATED = [
    *("cortex-m0plus", "cortex-m4", "cortex-a53"),
    pytest.param(
        "cortex-m55",
        marks=pytest.mark.skipif(
            shutil.which("qemu-system-arm") is None, reason="qemu-system-arm is not installed"
        ),
    ),
]
COUNTED_HERE = [
    pytest.param(name, marks=pytest.mark.skipif(bool(reason), reason=reason))
    for name in ("host", "android-x86_64")
    for reason in [cannot_count(get_target(name))]
]


@pytest.mark.parametrize("name", [*EMULATED, *COUNTED_HERE])
def test_the_table_is_current(tmp_path: Path, name: str) -> None:
    """Kernels that are no longer as they were measured: make kernel-costs."""
    target = as_measured(get_target(name))
    costs = costs_for(target)
    kernels = [
        kernel
        for kernel in kernel_table()
        if parts(kernel)[0].startswith(measure_kernels.OPERATIONS)
        and parts(kernel)[1].endswith(("i16", "i32"))
        and parts(kernel)[2] in target.kernel_sets
    ]
    cases = {kernel: measure_kernels.cases_of(kernel)[::7] for kernel in kernels}
    for kernel, counted in counts(target, cases, tmp_path).items():
        for case, count in zip(cases[kernel], counted, strict=True):
            error = costs[kernel].of(measure_kernels.sizes_of(case)) - count
            allowed = (costs[kernel].off + ROUNDING) * max(count, measure_kernels.FEW)
            assert abs(error) <= allowed, f"{kernel} of {case} takes {count}: make kernel-costs"


@pytest.mark.parametrize("name", EMULATED)
def test_a_step_takes_what_is_predicted(tmp_path: Path, name: str) -> None:
    """At the rates of the very windows it is counted on."""
    windows = load_windows(EXAMPLE / "calibration.npz").first(4)
    job = Job(get_target(name), default_pipeline(quantized=True, calibrated=True), windows)
    report = compile_model(load_model(EXAMPLE / "har.ckpt"), job, tmp_path / "out")
    counted, foreseen = (
        report.instructions_per_step_mean,
        report.predicted_instructions_per_step,
    )
    assert counted is not None
    assert foreseen == pytest.approx(counted, rel=WITHIN)


def test_a_table_is_written_for_some_targets_and_keeps_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = [name for name in kernel_table() if name.startswith("l2mu_fire_none_i16")]
    monkeypatch.setattr(measure_kernels, "kernel_table", lambda: dict.fromkeys(some))
    output = tmp_path / "table.json"
    output.write_text('{"mine": {"triple": "t", "cpu": "c", "kernels": {"k": {"off": 0.5}}}}')
    measure_kernels.main(["cortex-m4"], output)
    table = json.loads(output.read_text(encoding="utf-8"))
    assert list(table) == ["cortex-m4", "mine"]
    assert table["mine"]["kernels"] == {"k": {"off": 0.5}}
    checked_in = json.loads(TABLE.read_text(encoding="utf-8"))["cortex-m4"]
    measured = table["cortex-m4"]
    assert measured["kernels"]
    for kernel, row in measured["kernels"].items():
        assert row == pytest.approx(checked_in["kernels"][kernel], rel=0.01, abs=0.05)
    lines = output.read_text(encoding="utf-8").splitlines()
    assert sum("l2mu_fire_none_i16_dsp" in line for line in lines) == 1


def test_rows_of_other_operations_stay(tmp_path: Path) -> None:
    output = tmp_path / "table.json"
    output.write_text(TABLE.read_text(encoding="utf-8"), encoding="utf-8")
    measure_kernels.main(["cortex-m4"], output, ["input_conv"])
    found, before = (json.loads(path.read_text(encoding="utf-8")) for path in (output, TABLE))
    assert list(found["cortex-m4"]["kernels"]) == list(before["cortex-m4"]["kernels"])
    assert found == before


def test_a_convolution_takes_what_is_predicted(tmp_path: Path) -> None:
    """Of samples, and of spikes: what is predicted for their calls is what is counted."""
    rng = np.random.default_rng(0)
    made = Convolution((2, 8, 8), (8, 4, 4), (2, 2), (1, 1))
    after = Convolution((8, 4, 4), (4, 2, 2), padding=(1, 1), pool=(2, 2))
    network = Network(
        "maps",
        Input("x", 128),
        (Population("a", (128,), lif(0.5)), Population("b", (16,), lif(0.5))),
        (
            Projection("x", "a", f32(rng.normal(0.1, 0.4, (8, 2, 3, 3))), convolution=made),
            Projection("a", "b", f32(rng.normal(0.1, 0.3, (4, 8, 3, 3))), convolution=after),
        ),
        Readout("b"),
    )
    windows = Windows(f32(rng.normal(0, 1, (3, 12, 128))))
    job = Job(get_target("cortex-m4"), default_pipeline(quantized=True, calibrated=True), windows)
    model = Model(network, Source(kind="network", name="maps"))
    report = compile_model(model, job, tmp_path / "out")
    assert report.instructions_per_step_mean is not None
    assert report.predicted_instructions_per_step == pytest.approx(
        report.instructions_per_step_mean, rel=WITHIN
    )


def test_sizes_of_cases_are_those_of_their_spikes() -> None:
    found = measure_kernels.sizes_of(Case(16, sources=16, spikes=16))
    assert (found["full8"], found["full2"], found["any"], found["spikes"]) == (2, 8, 1, 16)
    none = measure_kernels.sizes_of(Case(16, sources=16))
    assert (none["full8"], none["any"], none["spikes"]) == (0, 0, 0)
