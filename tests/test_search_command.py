"""``l2mu-compile search``: what it finds, writes and refuses, and that a killed one goes on."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Result, ok, readable, run
from refusals import contents, refused
from toy_training import network, windows

from l2mu_compile import interpreter
from l2mu_compile.labelled import labelled
from l2mu_compile.measures import Measures, pareto
from l2mu_compile.network_files import load_network, save_network
from l2mu_compile.report import load_report
from l2mu_compile.search import SearchReport
from l2mu_compile.text import network_digest
from l2mu_compile.windows import load_windows

pytestmark = pytest.mark.usefixtures("workplace")

DATA = ("--data", "train.npz", "--target", "cortex-m4")
SEARCH = ("search", "net.txt", *DATA)
TEMPLATE = (
    "prune-population{sparsity=0.1..0.4}?,quantize,"
    "fine-tune{epochs=1..3,learning_rate=0.01..0.1,batch=16}?,early-exit{risk=0.1..0.4}?"
)
PASSES = ("--passes", TEMPLATE)


LIMITS = "flash=64KiB,instructions=5000"


@pytest.fixture(autouse=True)
def files(workplace: Path) -> None:
    save_network(network(), "net.txt")
    save()


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A folder in which five trials were run, and what was shown."""
    folder = tmp_path_factory.mktemp("searched")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("COLUMNS", "80")
        patch.setenv("TERM", "dumb")
        save_network(network(), "net.txt")
        save()
        return folder, ok(*SEARCH, *PASSES, "--trials", "5", "--budget", LIMITS)


@pytest.fixture
def found(searched: tuple[Path, Result], workplace: Path) -> SearchReport:
    """A copy of that folder to work in."""
    shutil.copytree(searched[0], workplace, dirs_exist_ok=True)
    return report()


def save(**changes: Any) -> None:
    data = windows()
    arrays = {"x": data.x, "y": data.y, "group": data.group} | changes
    np.savez("train.npz", **{name: array for name, array in arrays.items() if array is not None})


def report(folder: str = "out") -> SearchReport:
    return SearchReport.model_validate_json(Path(folder, "search.json").read_text())


def tried(found: SearchReport) -> list[tuple[str, Measures | None]]:
    """Trials without their numbers: one that was killed leaves a gap."""
    return [(trial.passes, trial.measures) for trial in found.trials]


def test_what_was_chosen_is_viewed(found: SearchReport) -> None:
    ok("view", "out", "-o", "a.html")
    ok("view", "out/compiled", "-o", "b.html")
    assert Path("a.html").read_text() == Path("b.html").read_text()


def test_what_is_shown(searched: tuple[Path, Result]) -> None:
    folder, shown = searched
    readable(shown.out)
    for word in ("5 trials", "accuracy", "flash", "per window", "chosen", "compiled", "65536"):
        assert word in shown.out
    assert "note: validated on 15 windows: group" in shown.err
    assert {p.name for p in folder.iterdir()} == {
        *("net.txt", "net.safetensors", "train.npz", "out", "out.study")
    }


def test_the_pareto_set_is_found_and_the_chosen_trial_compiled(found: SearchReport) -> None:
    assert [trial.number for trial in found.trials] == [0, 1, 2, 3, 4]
    assert found.trials[0].passes == "quantize"
    measured = [trial.measures for trial in found.trials if trial.measures is not None]
    assert len(measured) == 5 and len(set(tried(found))) > 2
    assert [t.measures for t in found.pareto] == [measured[k] for k in pareto(measured)]
    # The chosen one is the most accurate, and what is compiled is what the trial was.
    assert found.predicted().accuracy == max(m.accuracy for m in measured)
    chosen = next(t for t in found.pareto if t.number == found.chosen)
    code = load_report("out/compiled/report.json")
    assert code.verify is not None and code.verify.bit_exact and code.verify.windows == 15
    assert found.counted and found.budget == {"flash": 65536, "instructions": 5000}
    assert found.measured.flash == code.flash_bytes == chosen.measures.flash
    assert found.measured.ram == code.ram_bytes == chosen.measures.ram
    assert found.measured.instructions == code.instructions_per_step_mean
    assert found.measured.instructions == pytest.approx(chosen.measures.instructions, rel=0.1)
    assert found.measured.window_instructions == code.instructions_per_window_mean
    assert found.measured.accuracy == chosen.measures.accuracy == code.verify.accuracy_compiled
    after = load_network("out/network.txt")
    assert after.stage == "quantized" and found.digest == network_digest(after)
    data = labelled(load_windows("train.npz"), None, network()).validation
    right = interpreter.run(after, data.x).decisions == data.y
    assert right.mean() == found.measured.accuracy
    listed = {artifact.path for artifact in found.artifacts} | {"search.json"}
    assert listed == set(contents(Path("out")))
    picture = Path("out/pareto.svg").read_text()
    assert picture.count("</svg>") == 1 and "flash, KiB" in picture and "chosen" in picture
    ok("verify", "out/compiled", "--data", "train.npz")


def test_killed_it_goes_on_and_ends_as_if_it_had_not_been() -> None:
    arguments = (*SEARCH, *PASSES, "--trials", "4", "-o")
    process = subprocess.Popen(
        [sys.executable, "-m", "l2mu_compile.cli", *arguments, "out"], stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: ended("out.study") >= 2)
    finally:
        process.kill()
        process.wait()
    assert not Path("out").exists()
    before = Path("out.study").read_bytes()
    assert ended("out.study") < 4, "it was not killed in time"
    ok(*arguments, "out")
    assert Path("out.study").read_bytes().startswith(before)
    ok(*arguments, "whole")
    assert tried(report()) == tried(report("whole"))
    for name in ("network.txt", "network.safetensors", "compiled/network.txt"):
        assert Path("out", name).read_bytes() == Path("whole", name).read_bytes()


def ended(study: str) -> int:
    """Trials with measures."""
    path = Path(study)
    return path.read_text().count('"measures"') if path.exists() else 0


def wait_for(condition: Any) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


@pytest.mark.slow
def test_trials_in_processes_of_their_own() -> None:
    # A second search on the same study is refused; a signal ends the processes as well.
    command = [sys.executable, "-m", "l2mu_compile.cli", *SEARCH, *PASSES, "--workers", "2"]
    process = subprocess.Popen(
        [*command, "--trials", "99"], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        wait_for(lambda: ended("out.study") >= 2)
        other = run(*SEARCH, *PASSES)
        assert other.code == 2 and "out.study: another search is working on it" in other.err
        process.terminate()
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 128 + signal.SIGTERM and said == "error: ended by SIGTERM\n"
    wait_for(lambda: gone(process.pid))
    done = ended("out.study")
    found = ok(*SEARCH, *PASSES, "--trials", done, "--json").json
    assert len(found["trials"]) == done


def gone(group: int) -> bool:
    """Whether no process of a group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_budget_that_cannot_be_met(found: SearchReport) -> None:
    """More trials are added to those there are, and none of these is run again."""
    before, study = contents(Path("out")), Path("out.study").read_bytes()
    refused(
        5,
        "none of 6 trials is within flash=1024, accuracy=0.2; the closest, trial ",
        " bytes (limit 1024 bytes); passes: ",
        arguments=(*SEARCH, *PASSES, "--trials", "6", "--budget", "flash=1KiB,accuracy=0.2"),
    )
    assert contents(Path("out")) == before
    assert Path("out.study").read_bytes().startswith(study) and ended("out.study") == 6


def test_a_study_of_other_data_is_refused(found: SearchReport) -> None:
    save(y=(windows().y + 1) % 3)
    refused(2, "out.study: is a search with another data", arguments=(*SEARCH, *PASSES))


@pytest.mark.slow
def test_a_budget_met_as_predicted_but_not_as_counted() -> None:
    arguments = (*SEARCH, "--passes", "quantize{headroom=2|4}", "--trials", "1")
    ok(*arguments)
    found = report()
    predicted, counted = found.predicted().instructions, found.measured.instructions
    assert predicted < counted, "the limit below would say nothing"
    before = contents(Path("out"))
    limit = f"instructions={(predicted + counted) / 2:.3f}"
    refused(
        5,
        "within the budget as predicted, but not once compiled: trial 0: instructions per step",
        arguments=(*arguments, "--budget", limit),
    )
    assert contents(Path("out")) == before


def test_trials_that_cannot_be_measured() -> None:
    passes = "prune-population{sparsity=0.998|0.999},quantize"
    failed = run(*SEARCH, "--passes", passes, "--trials", "2")
    assert failed.code == 3
    assert "none of 2 trials could be measured: pass prune-population" in failed.err
    assert "at least one must stay" in failed.err and not Path("out").exists()


@pytest.mark.slow
def test_a_database_and_a_study_s_name() -> None:
    arguments = (*SEARCH, "--passes", "quantize,early-exit{risk=0.1|0.2}", "--trials", "2")
    storage = ("--storage", "sqlite:///trials.db", "--study", "mine")
    first = ok(*arguments, *storage, "--json").json
    assert not Path("out.study").exists() and len(first["trials"]) == 2
    assert "sqlite" not in json.dumps(first["command"])
    again = ok(*arguments, *storage, "--json").json
    assert again["trials"] == first["trials"]
    text = "--storage, study mine: is a search with another seed"
    refused(2, text, arguments=(*arguments, *storage, "--seed", "1"))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"y": None}, "train.npz: no array 'y': training needs the class of each window"),
        ({"y": np.arange(90) % 2}, "train.npz: holds no window of class 2"),
    ],
)
def test_windows_that_do_not_serve(changes: dict[str, Any], text: str) -> None:
    save(**changes)
    refused(3, text, arguments=SEARCH)


@pytest.mark.parametrize(
    ("code", "arguments", "text"),
    [
        (2, ("search", "net.txt", "--target", "cortex-m4"), "give labelled windows with --data"),
        (2, (*SEARCH, "--budget", "speed=3"), "--budget: unexpected 'speed=3'"),
        (2, (*SEARCH, "--passes", "quantize"), "template 'quantize': nothing to choose"),
        (2, (*SEARCH, "--passes", "fine-tune{epochs=3..1}"), "epochs=3..1 is no range"),
        (
            2,
            (*SEARCH, "--passes", "prune-population{population=nobody,sparsity=0..0.5}"),
            "cannot prune 'nobody'; populations that can be: h",
        ),
        (2, (*SEARCH, "--trials", "0"), "--trials"),
        (2, (*SEARCH, "--workers", "0"), "--workers"),
        (3, (*SEARCH, "--study", "net.txt"), "net.txt: is no study of a search"),
        (2, (*SEARCH, "--study", "train.npz/x"), "train.npz/x: cannot be written"),
        (2, (*SEARCH, "--storage", "nosuch://me:secret@host/x"), "--storage: cannot be opened"),
        (2, (*SEARCH, "-o", "net.txt"), "net.txt: is not a directory"),
    ],
)
def test_refused(code: int, arguments: tuple[str, ...], text: str) -> None:
    assert "secret" not in refused(code, text, arguments=arguments)


def test_without_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec

    def without_optuna(name: str, *rest: Any) -> Any:
        return None if name == "optuna" else found(name, *rest)

    monkeypatch.setattr("l2mu_compile.search_command.find_spec", without_optuna)
    refused(2, "search needs optuna: pip install 'l2mu-compile[search]'", arguments=SEARCH)
