"""Studies: what is kept, what is drawn, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest

from l2mu_compile.errors import ModelError, UsageError
from l2mu_compile.measures import Budget, Measures, parse_budget
from l2mu_compile.study import Study, journal, open_study, shared_storage
from l2mu_compile.template import parse_template
from l2mu_compile.trial import Outcome, Problem

TEMPLATE = "prune-population{sparsity=0..0.8,criterion=readout|rate}?,fine-tune{epochs=1..9}"
IDENTITY = {"model": "a", "data": "b"}


@contextmanager
def opened(
    path: Path,
    identity: dict[str, str] = IDENTITY,
    seed: int = 0,
    template: str = TEMPLATE,
    budget: str = "flash=30",
) -> Iterator[Study]:
    with journal(path) as storage:
        rest = identity, parse_template(template), parse_budget(budget), seed
        study = open_study(storage, "s", str(path), *rest)
        study.abandon_running()
        yield study


def outcome(passes: str) -> Outcome:
    """Of a trial: fewer bytes the longer it is trained, and nothing of much of one kind."""
    if "criterion=rate" in passes:
        return Problem("no rates here")
    epochs = int(passes.rpartition("=")[2].rstrip("}"))
    return Measures(
        accuracy=0.5, flash=40 - epochs, ram=1, instructions=2.5, window_instructions=25
    )


def run(study: Study, count: int) -> None:
    for _ in range(count):
        number, passes = study.ask()
        study.tell(number, outcome(passes))


def found(study: Study) -> list[tuple[str, Outcome]]:
    return [(trial.passes, trial.outcome) for trial in study.ended()]


def test_trials_are_kept_with_their_outcomes(tmp_path: Path) -> None:
    with opened(tmp_path / "x.study") as study:
        run(study, 20)
        first = found(study)
    assert first[0][0] == "fine-tune{epochs=1}"
    assert all(o == outcome(passes) for passes, o in first)
    assert {type(o) for _, o in first} == {Measures, Problem}
    with opened(tmp_path / "x.study") as study:
        assert found(study) == first


def test_a_run_that_was_killed_draws_what_it_would_have_drawn(tmp_path: Path) -> None:
    with opened(tmp_path / "whole.study") as study:
        run(study, 16)
        whole = found(study)
    for _ in range(2):
        for count in (0, 3, 9):  # after these, one begins and never ends
            with opened(tmp_path / "parts.study") as study:
                run(study, min(count, 16 - len(found(study))))
                study.ask()
    with opened(tmp_path / "parts.study") as study:
        run(study, 16 - len(found(study)))
        assert found(study) == whole
    assert len({passes for passes, _ in whole}) > 8
    with opened(tmp_path / "other.study", seed=1) as study:
        run(study, 16)
        assert found(study) != whole


def test_the_sampler_learns(tmp_path: Path) -> None:
    template = "fine-tune{epochs=1..1000}"
    with opened(tmp_path / "x.study", template=template) as study:
        for _ in range(40):
            number, passes = study.ask()
            flash = int(passes.rpartition("=")[2].rstrip("}"))
            one = {"accuracy": 0.5, "ram": 1, "instructions": 2, "window_instructions": 2}
            study.tell(number, Measures(flash=flash, **one))
        drawn = [t.outcome.flash for t in study.ended() if isinstance(t.outcome, Measures)]
    assert sum(drawn[25:]) / 15 < sum(drawn[1:11]) / 10 / 2


def test_the_budget_may_change(tmp_path: Path) -> None:
    path = tmp_path / "x.study"
    for budget in ("accuracy=0.1", "flash=35,ram=9", "instructions=1", "flash=36"):
        with opened(path, budget=budget) as study:
            run(study, 6)
    with opened(path) as study:
        assert len(found(study)) == 24


def test_a_line_cut_short_is_no_loss(tmp_path: Path) -> None:
    path = tmp_path / "x.study"
    with opened(path) as study:
        run(study, 3)
        before = found(study)
    path.write_bytes(path.read_bytes() + b'{"op_code":4,"worker')
    with opened(path) as study:
        assert found(study) == before
        run(study, 1)
    with opened(path) as study:
        assert len(found(study)) == 4


def test_one_run_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "x.study"
    busy = pytest.raises(UsageError, match="another search is working on it")
    with opened(path), busy, opened(path):
        pass


@pytest.mark.parametrize("part", IDENTITY)
def test_of_another_search(tmp_path: Path, part: str) -> None:
    path = tmp_path / "x.study"
    with opened(path) as study:
        run(study, 1)
    content = path.read_bytes()
    other = pytest.raises(UsageError, match=f"x.study: is a search with another {part}")
    with other, opened(path, IDENTITY | {part: "c"}):
        pass
    assert path.read_bytes() == content


@pytest.mark.parametrize("text", ["hello\n", "[1]\n", "3\n", "{}\n", "\x00\xff" * 40])
def test_files_that_are_no_studies_stay_as_they_are(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.study"
    path.write_text(text, encoding="latin-1")
    content = path.read_bytes()
    with pytest.raises(ModelError, match=r"x\.study: is no study of a search"), opened(path):
        pass
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "line",
    [
        '{"op_code":99}',
        '{"op_code":0}',
        '{"op_code":0,"worker_id":"a","study_name":"s","directions":[7]}',
        "nonsense",
    ],
)
def test_damaged_studies(tmp_path: Path, line: str) -> None:
    path = tmp_path / "x.study"
    path.write_text(f'{{"op_code":99}}\n{line}\n{line}\n')
    damaged = pytest.raises(ModelError, match=r"x\.study: (is damaged|cannot be read)")
    with damaged, opened(path):
        pass


def test_trials_of_somebody_else(tmp_path: Path) -> None:
    path = tmp_path / "x.study"
    with opened(path) as study:
        run(study, 1)
    lines = path.read_text().splitlines()
    changed = [line.replace('"flash":39', '"flash":"many"') for line in lines]
    assert changed != lines
    path.write_text("\n".join(changed) + "\n")
    with opened(path) as study, pytest.raises(ModelError, match="trial 0 is not what a search"):
        study.ended()


def test_a_study_that_is_no_search(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'x.db'}"
    made = optuna.create_study(storage=url, study_name="s")
    made.add_trial(optuna.trial.create_trial(value=1.0))
    with pytest.raises(UsageError, match="holds a study that is no search"):
        rest = IDENTITY, parse_template(TEMPLATE), Budget({}), 0
        open_study(shared_storage(url), "s", "x.db", *rest)


def test_a_database_serves_too(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'x.db'}"
    rest = IDENTITY, parse_template(TEMPLATE), Budget({}), 0
    one = open_study(shared_storage(url), "s", "x.db", *rest)
    other = open_study(shared_storage(url), "s", "x.db", *rest)
    numbers = []
    for study in (one, other, one):
        number, passes = study.ask()
        study.tell(number, outcome(passes))
        numbers.append(number)
    assert numbers == [0, 1, 2]
    assert found(one) == found(other) and len(found(one)) == 3


def test_secrets_of_a_storage_are_not_told() -> None:
    with pytest.raises(UsageError) as caught:
        shared_storage("nosuch://me:secret@host/x")
    assert "--storage" in str(caught.value) and "secret" not in str(caught.value)


def test_constraints_are_the_budget(tmp_path: Path) -> None:
    path = tmp_path / "x.study"
    with opened(path) as study:
        run(study, 1)
    written = [json.loads(line) for line in path.read_text().splitlines()]
    (value,) = [
        line["system_attr"]["constraints:flash"]
        for line in written
        if "constraints:flash" in line.get("system_attr", {})
    ]
    assert value == pytest.approx(0.3)
