"""The trials of a search, kept by Optuna: in a journal file, or in any storage that Optuna knows.

A trial is written down as soon as it has ended, so that a killed search goes on with all of them.
A study belongs to one model, data, template, target and seed, whose digests it holds. What a
sampler draws depends on the seed, the trials before and a trial's place among them, and so not on
whether a search was killed in between.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.samplers import TPESampler
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from pydantic import ValidationError

from l2mu_compile.errors import ModelError, UsageError, reason
from l2mu_compile.measures import Budget, Measures
from l2mu_compile.output import taken, writing
from l2mu_compile.paths import file_bytes, printable
from l2mu_compile.template import Dimension, Range, Suggest, Template, Value, least
from l2mu_compile.trial import Outcome, Problem

DIRECTIONS = [StudyDirection.MINIMIZE] * 4  # of Measures.objectives
MAX_SHOWN = 20  # letters of what a study belongs to
RANDOM_TRIALS = 10  # before the sampler learns from them
_IDENTITY = "l2mu-compile"
_PASSES, _MEASURES, _PROBLEM = "passes", "measures", "problem"


@dataclass(frozen=True)
class Trial:
    """A trial that has ended."""

    number: int
    passes: str
    outcome: Outcome


class Study:
    """Trials of one search; ``where`` names it in messages."""

    def __init__(
        self, study: optuna.Study, where: str, template: Template, budget: Budget, seed: int
    ) -> None:
        self._study, self.where, self._template = study, where, template
        self._budget, self._seed = budget, seed
        self._running: dict[int, optuna.Trial] = {}

    def ended(self) -> list[Trial]:
        """Trials with an outcome, in order. Raises `ModelError` for what no search wrote."""
        return [self._read(t) for t in self._study.get_trials(deepcopy=False) if _has_ended(t)]

    def ask(self) -> tuple[int, str]:
        """A new trial's number and pipeline; the first is the least that the template allows."""
        if all(map(_was_killed, self._study.get_trials(deepcopy=False))):
            first = {d.name: _exact(d, least(d)) for d in self._template.dimensions()}
            self._study.enqueue_trial(first)
        trial = self._study.ask()
        before = self._study.get_trials(deepcopy=False)[: trial.number]
        place = sum(not _was_killed(t) for t in before)
        draw = np.random.SeedSequence([self._seed, place]).generate_state(1)[0]
        self._study.sampler = TPESampler(seed=int(draw), n_startup_trials=RANDOM_TRIALS)
        passes = self._template.chosen(_suggestions(trial))
        trial.set_user_attr(_PASSES, passes)
        self._running[trial.number] = trial
        return trial.number, passes

    def tell(self, number: int, outcome: Outcome) -> None:
        """Write down what came of a trial."""
        trial = self._running.pop(number)
        if isinstance(outcome, Problem):
            trial.set_user_attr(_PROBLEM, outcome.text)
            self._study.tell(trial, state=TrialState.FAIL)
            return
        for key, excess in self._budget.excess(outcome).items():
            trial.set_constraint(key, excess)
        trial.set_user_attr(_MEASURES, outcome.model_dump())
        self._study.tell(trial, outcome.objectives())

    def abandon_running(self) -> None:
        """Give up trials that no process runs any more."""
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._study.tell(trial.number, state=TrialState.FAIL)

    def _read(self, trial: FrozenTrial) -> Trial:
        try:
            passes = trial.user_attrs[_PASSES]
            if not isinstance(passes, str):
                raise ValueError("its passes are no text")
            if trial.state == TrialState.COMPLETE:
                measures = Measures.model_validate(trial.user_attrs[_MEASURES])
                return Trial(trial.number, passes, measures)
            return Trial(trial.number, passes, Problem(str(trial.user_attrs[_PROBLEM])))
        except (ValidationError, ValueError, KeyError) as error:
            raise ModelError(
                f"{self.where}: trial {trial.number} is not what a search wrote: "
                f"{type(error).__name__}"
            ) from None


@contextmanager
def journal(path: Path) -> Iterator[BaseStorage]:
    """A storage in the file ``path``, which is made if need be, and locked for others.

    Raises `UsageError` if it is another's or cannot be written, `ModelError` if it is no journal.
    """
    with ExitStack() as stack:
        with writing(path):
            if path.exists():
                _require_journal(path)
            path.absolute().parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(path.open("ab+"))
        if taken(file.fileno()):
            raise UsageError(f"{path}: another search is working on it")
        _cut_unfinished_line(path)
        try:
            storage = JournalStorage(JournalFileBackend(str(path), _AlreadyLocked(str(path))))
        except Exception as error:  # whatever a damaged file makes of it
            raise ModelError(f"{path}: is damaged: {type(error).__name__}: {error}") from None
        yield storage


def shared_storage(url: str) -> BaseStorage:
    """A storage for many machines. Raises `UsageError`, without the URL, which may hold secrets."""
    try:
        return optuna.storages.get_storage(url)
    except Exception as error:
        problem = f"{type(error).__name__}: {error}".splitlines()[0].replace(url, "URL")
        raise UsageError(f"--storage: cannot be opened: {problem}") from None


def open_study(
    storage: BaseStorage,
    name: str,
    where: str,
    identity: dict[str, str],
    template: Template,
    budget: Budget,
    seed: int,
) -> Study:
    """The study ``name``, as it is or new. Raises `UsageError` if it is one of another search,
    saying in which part of ``identity``."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = _loaded(storage, name)
        found = study.user_attrs.get(_IDENTITY)
        if found is None and not study.get_trials(deepcopy=False):
            study.set_user_attr(_IDENTITY, identity)
            found = identity
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
        raise ModelError(f"{where}: cannot be read as a study: {reason(error)}") from None
    _require_same(where, identity, found)
    return Study(study, where, template, budget, seed)


def _loaded(storage: BaseStorage, name: str) -> optuna.Study:
    """The study of that name; made if there is none, and else left as it is."""
    if name in {summary.study_name for summary in storage.get_all_studies()}:
        return optuna.load_study(storage=storage, study_name=name)
    return optuna.create_study(
        storage=storage, study_name=name, directions=DIRECTIONS, load_if_exists=True
    )


def _require_same(where: str, identity: dict[str, str], found: Any) -> None:
    if not isinstance(found, dict):
        raise UsageError(f"{where}: holds a study that is no search; give --study another name")
    for part, value in identity.items():
        if found.get(part) != value:
            other = printable(str(found.get(part, "none")))[:MAX_SHOWN]
            raise UsageError(
                f"{where}: is a search with another {part} ({other}, here {value[:MAX_SHOWN]}); "
                "give --study another name, or repeat the command that began it"
            )


class _AlreadyLocked(JournalFileSymlinkLock):
    """`journal` holds the file for as long as it is open."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        return None


def _require_journal(path: Path) -> None:
    """Raise `ModelError` if the file's first line is no entry of a journal."""
    if not file_bytes(path):
        return
    with path.open("rb") as file:
        line = file.readline(1 << 16)
    try:
        if "op_code" not in json.loads(line):
            raise ValueError
    except (ValueError, TypeError):
        raise ModelError(f"{path}: is no study of a search; give --study another name") from None


def _cut_unfinished_line(path: Path) -> None:
    """Remove what a process had begun to write when it was killed."""
    content = path.read_bytes()
    end = content.rfind(b"\n") + 1
    if end < len(content):
        os.truncate(path, end)


def _suggestions(trial: optuna.Trial) -> Suggest:
    def suggest(dimension: Dimension) -> Value:
        name = dimension.name
        if not isinstance(dimension, Range):
            return str(trial.suggest_categorical(name, dimension.values))
        if dimension.whole:
            return trial.suggest_int(name, int(dimension.low), int(dimension.high))
        return trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log)

    return suggest


def _exact(dimension: Dimension, value: Value) -> Value:
    return int(value) if isinstance(dimension, Range) and dimension.whole else value


def _has_ended(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.COMPLETE or (
        trial.state == TrialState.FAIL and _PROBLEM in trial.user_attrs
    )


def _was_killed(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.FAIL and _PROBLEM not in trial.user_attrs
