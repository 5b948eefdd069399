"""Tuning from Python; what the command does with it is in ``test_tune_command.py``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy_training import network, windows

from l2mu_compile import TuneJob, load_model, load_network, tune_model
from l2mu_compile.errors import ModelError, UsageError
from l2mu_compile.frontend import Model
from l2mu_compile.network_files import save_network
from l2mu_compile.passes.fine_tune import FineTune
from l2mu_compile.passes.fold_input import FoldInput
from l2mu_compile.tuning import TuneReport
from l2mu_compile.windows import Windows, load_windows

QUICK = FineTune(epochs=3, learning_rate=0.03, batch=16)


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Model, Windows]:
    """A model and windows to train it on, both from files; one of its weights is zero."""
    monkeypatch.chdir(tmp_path)
    toy = network()
    loop = np.array(toy.projections[1].weight)
    loop[0, 1] = 0
    toy = toy.map_projections(lambda p: replace(p, weight=loop) if p.blocks else p)
    save_network(toy, "net.txt")
    data = windows()
    np.savez("train.npz", x=data.x, y=data.y, group=data.group)
    return load_model("net.txt"), load_windows("train.npz")


def test_the_report_is_what_is_written(given: tuple[Model, Windows]) -> None:
    model, data = given
    phases: list[str] = []
    job = TuneJob((FoldInput(), QUICK), data, progress_of=lambda what: phases.append(what))
    report = tune_model(model, job, "out")
    written = Path("out/tune.json").read_text(encoding="utf-8")
    assert TuneReport.model_validate_json(written) == report and written == report.to_json()
    assert phases == ["tuning"]
    steps = [(step.after, step.stage) for step in report.steps]
    assert steps == [(None, "traced"), ("fold-input", "folded"), (str(QUICK), "folded")]
    # 6 x 3 from samples, twice a block of 3 x 3 with one zero, 3 x 6 to the outputs.
    assert {step.synapses for step in report.steps} == {18 + 2 * 8 + 18}
    assert {step.neurons for step in report.steps} == {9}
    found = load_network("out/network.txt")
    assert report.steps[-1].parameter_bytes == found.parameter_bytes()
    assert [a.path for a in report.artifacts] == ["network.safetensors", "network.txt"]


def test_windows_are_those_of_a_file(given: tuple[Model, Windows]) -> None:
    model, data = given
    Path("train.npz").unlink()
    phases: list[str] = []
    job = TuneJob((FoldInput(),), data, progress_of=lambda what: phases.append(what))
    with pytest.raises(UsageError, match=r"train.npz: No such file"):
        tune_model(model, job, "out")
    assert not Path("out").exists() and not phases, "training began"


def test_nothing_appears_when_a_pass_fails(given: tuple[Model, Windows]) -> None:
    model, data = given
    with pytest.raises(ModelError, match="no array 'y'"):
        tune_model(model, TuneJob((QUICK,), replace(data, y=None)), "deep/out")
    assert sorted(p.name for p in Path().iterdir()) == ["net.safetensors", "net.txt", "train.npz"]
