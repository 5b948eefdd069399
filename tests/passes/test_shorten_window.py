"""shorten-window: the first steps decide, everywhere, and the same files still serve."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import ok
from network_texts import applied, assert_becomes
from networks import PORTABLE, feed_forward, l2mu, planned, samples
from refusals import refused
from toy_training import network, split, windows

from l2mu_compile.errors import ModelError, UsageError
from l2mu_compile.interpreter import run
from l2mu_compile.labelled import LabelledWindows
from l2mu_compile.network import Network
from l2mu_compile.network_files import load_network, save_network
from l2mu_compile.passbase import Context, Pass
from l2mu_compile.passes.calibrate import Calibrate
from l2mu_compile.passes.early_exit import EarlyExit
from l2mu_compile.passes.fine_tune import FineTune
from l2mu_compile.passes.shorten_window import ShortenWindow
from l2mu_compile.report import load_report
from l2mu_compile.windows import Windows

TUNE = "fine-tune{epochs=2,learning_rate=0.03,batch=16}"


def shortened(given: Network, steps: int = 5, full: int = 12) -> Network:
    return applied(ShortenWindow(steps), given.replace(window=full))


def test_the_text() -> None:
    network = """
        network n stage={stage} window={window}
          input      x : f32[1]
          population p : lif[1] beta=0.5 threshold=1.0 reset=subtract
          projection x -> p : dense[1,1] @p.x
          readout    p : spike_count
        p.x = [[2.0]]
    """

    def written(stage: str, window: str) -> str:
        return network.format(stage=stage, window=window)

    for stage in ("traced", "folded"):
        after = written(stage, "50 full_window=100")
        assert_becomes(ShortenWindow(50), written(stage, "100"), after)
        data = Context(target=PORTABLE, samples=np.zeros((2, 100, 1), np.float32))
        assert_becomes(ShortenWindow(50), written(stage, "none"), after, data)
        assert_becomes(ShortenWindow(20), after, written(stage, "20 full_window=100"))


def test_the_first_steps_decide() -> None:
    given = l2mu()
    x = samples(given, windows=20, steps=12)
    short, expected = shortened(given), run(given, x[:, :5], ("spikes",))
    for length in (5, 8, 12):
        found = run(short, x[:, :length], ("spikes",))
        assert found.steps == 5
        assert (found.scores == expected.scores).all()
        assert (found.spikes["m"] == expected.spikes["m"]).all()
    assert (run(given, x).scores != expected.scores).any()


@pytest.mark.parametrize("steps", [4, 13])
def test_other_windows_are_refused(steps: int) -> None:
    given = shortened(feed_forward())
    with pytest.raises(ModelError, match=f"windows have {steps} steps; .* was made for 5 to 12"):
        run(given, samples(given, steps=steps))


@pytest.mark.parametrize(
    "item", [Calibrate(), EarlyExit(0.2), FineTune(epochs=2, learning_rate=0.03, batch=16)]
)
def test_passes_behind_it_see_only_its_steps(item: Pass) -> None:
    """As if there had never been more."""

    def outcome(given: Network, data: Windows) -> tuple[Network, list[str]]:
        notes: list[str] = []
        parts = split(network(), data)
        context = Context(samples=parts.train.x, labelled=parts, note=notes.append)
        return item.apply(given, context).replace(window=None, full_window=None), notes

    whole = windows()
    short = replace(whole, x=whole.x[:, :5])
    found = outcome(shortened(network()), whole)
    assert found == outcome(network(), short)
    assert found != outcome(network(), whole)


def test_the_note() -> None:
    notes: list[str] = []
    given = feed_forward()
    ShortenWindow(5).apply(given, Context(samples=samples(given), note=notes.append))
    assert notes == ["shorten-window: decides by the first 5 of 12 steps"]


@pytest.mark.parametrize("steps", [0, -3])
def test_steps_that_make_no_sense(steps: int) -> None:
    with pytest.raises(UsageError, match="steps must be at least 1"):
        ShortenWindow(steps)


@pytest.mark.parametrize("steps", [12, 13])
def test_windows_that_are_not_longer(steps: int) -> None:
    given = feed_forward()
    with pytest.raises(ModelError, match="network toy has windows of 12 steps, which is no more"):
        ShortenWindow(steps).apply(given.replace(window=12), Context())
    context = Context(samples=samples(given), samples_from="mine.npz")
    with pytest.raises(ModelError, match=rf"mine.npz: has windows of 12 steps, .* the {steps} of"):
        ShortenWindow(steps).apply(given, context)
    long, short = Windows(samples(given, steps=40)), Windows(samples(given, steps=12))
    context = Context(samples=long.x, labelled=LabelledWindows(long, short, "some"))
    with pytest.raises(ModelError, match="windows of 12 steps"):
        ShortenWindow(steps).apply(given, context)


def test_windows_of_unknown_length() -> None:
    with pytest.raises(UsageError, match="how long is a window"):
        ShortenWindow().apply(feed_forward(), Context())


def test_too_late() -> None:
    with pytest.raises(ModelError, match="must come before plan-memory"):
        ShortenWindow(5).apply(planned(feed_forward()), Context())
    given = feed_forward().replace(window=12)
    early = given.replace(readout=replace(given.readout, margins=(1, 1)))
    with pytest.raises(ModelError, match="run shorten-window before early-exit"):
        ShortenWindow(5).apply(early, Context())


# ---- from the command line, always with files of whole windows ----


@pytest.fixture
def files(workplace: Path) -> None:
    save_network(network(), "net.txt")
    data = windows()
    np.savez("train.npz", x=data.x, y=data.y, group=data.group)


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("numbers", ["quantize,", ""])
def test_tuned_compiled_and_verified(numbers: str) -> None:
    passes = f"shorten-window{{steps=7}},{numbers}{TUNE},early-exit{{risk=0.3}}"
    tuned = ok("tune", "net.txt", "--data", "train.npz", "--passes", passes, "-o", "tuned")
    assert "note: shorten-window: decides by the first 7 of 12 steps" in tuned.err
    found = load_network("tuned/network.txt")
    assert (found.window, found.full_window) == (7, 12)
    steps = json.loads(Path("tuned/tune.json").read_text())["steps"]
    assert steps[0]["steps_per_decision"] == 12 and steps[-1]["steps_per_decision"] <= 7
    ok("compile", "tuned/network.txt", "--calibrate", "train.npz", "-o", "out")
    report = load_report("out/report.json")
    assert (report.window, report.hop) == (7, 7)
    ok("verify", "out", "--data", "train.npz")
    check = load_report("out/report.json").verify
    assert check is not None and check.bit_exact
    assert (check.windows, check.steps) == (90, 7)
    data = windows()
    right = run(found, data.x[:, :7]).decisions == data.y
    assert check.accuracy_compiled == right.mean()
    np.savez("long.npz", x=np.zeros((2, 13, 3), np.float32))
    refused(3, "long.npz: windows have 13 steps", arguments=("verify", "out", "--data", "long.npz"))


@pytest.mark.usefixtures("files")
def test_float_decisions_are_those_of_whole_windows() -> None:
    passes = "shorten-window{steps=3},fold-input,calibrate,select-kernels,plan-memory"
    arguments = ("net.txt", "--calibrate", "train.npz", "--passes", passes, "--hop", 2)
    ok("compile", *arguments, "-o", "out")
    ok("verify", "out", "--data", "train.npz")
    report = load_report("out/report.json")
    assert (report.window, report.hop) == (3, 2)
    check, data = report.verify, windows()
    assert check is not None and check.bit_exact and check.steps == 3
    whole, short = (run(network(), x).decisions for x in (data.x, data.x[:, :3]))
    assert check.accuracy_float == (whole == data.y).mean()
    assert check.decision_agreement_with_float == (whole == short).mean() < 1
    assert all(drift.distance == 0 for drift in report.steps[-1].drift), "its steps are the same"


@pytest.mark.usefixtures("files")
def test_a_network_made_for_a_window_needs_all_of_it_to_compare_with() -> None:
    save_network(network().replace(window=12), "net.txt")
    passes = "shorten-window{steps=3},fold-input,select-kernels,plan-memory"
    ok("compile", "net.txt", "--passes", passes, "-o", "out")
    assert load_report("out/report.json").verify.steps == 3
    data = windows()
    np.savez("short.npz", x=data.x[:, :3])
    arguments = ("verify", "out", "--data", "short.npz")
    refused(3, "short.npz: windows have 3 steps; network toy was made for 12", arguments=arguments)
    ok("verify", "out", "--data", "train.npz")


@pytest.mark.usefixtures("files")
def test_searched() -> None:
    template = "shorten-window{steps=3..8},quantize"
    options = ("--target", "cortex-m4", "--trials", "4", "-o", "out", "--json")
    found = ok("search", "net.txt", "--data", "train.npz", "--passes", template, *options).json
    after = load_network("out/network.txt")
    assert 3 <= after.window <= 8 and after.full_window == 12
    assert len({trial["passes"] for trial in found["trials"]}) > 1
    for trial in found["trials"]:
        steps = int(trial["passes"].partition("steps=")[2].partition("}")[0])
        measures = trial["measures"]
        assert measures["window_instructions"] == pytest.approx(steps * measures["instructions"])
    assert load_report("out/compiled/report.json").window == after.window
    ok("verify", "out/compiled", "--data", "train.npz")
