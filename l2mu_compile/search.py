"""Search: trials of pipelines, the best of them on the trade-off, and the chosen one compiled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field

from l2mu_compile import __version__
from l2mu_compile.compiled import (
    COMPILED,
    NETWORK_FILE,
    SEARCH_FILE,
    ProgressOf,
    no_progress,
    verify_output,
)
from l2mu_compile.compiler import Job, compile_model
from l2mu_compile.errors import BudgetError, ModelError
from l2mu_compile.frontend import Model, read_network
from l2mu_compile.labelled import LabelledWindows, labelled
from l2mu_compile.measures import Budget, Measures, closest, pareto, preferred
from l2mu_compile.network import Network
from l2mu_compile.network_files import save_network
from l2mu_compile.output import check_output, files_below, whole_directory
from l2mu_compile.passbase import Pass
from l2mu_compile.paths import StrPath, printable
from l2mu_compile.plot import plot_pareto
from l2mu_compile.plugins import fingerprint
from l2mu_compile.processes import signals_held
from l2mu_compile.report import Artifact, Report, Strict
from l2mu_compile.study import Study, Trial, journal, open_study, shared_storage
from l2mu_compile.targets.record import Target
from l2mu_compile.task_workers import Workers
from l2mu_compile.template import Template
from l2mu_compile.text import network_digest
from l2mu_compile.trial import (
    Evaluator,
    Problem,
    outcomes,
    own_passes,
    require_costs,
    whole_pipeline,
)
from l2mu_compile.tuning import DataFile, LabelledReport, data_file
from l2mu_compile.windows import Windows

PLOT_FILE = "pareto.svg"
STUDY_SUFFIX = ".study"
STUDY_NAME = "l2mu-compile"
CANDIDATES = 4  # compiled at most, where code exceeds a budget that predictions met
COUNTED_WINDOWS = 64  # of the validation windows, on which instructions are counted


class TrialReport(Strict):
    """A pipeline that was tried, and its measures or why it has none."""

    number: int
    passes: str
    measures: Measures | None
    problem: str | None = None


class SearchReport(LabelledReport):
    """``search.json``: all trials, the best of them, and what the chosen one is once compiled.

    Of a trial's measures instructions are predicted; accuracy, flash and RAM are not.
    """

    target: str
    board: str | None
    template: str
    budget: dict[str, float]
    study: dict[str, str] = Field(description="what the study belongs to, as digests")
    trials: list[TrialReport]
    pareto: list[TrialReport] = Field(description="those no other trial is better than")
    chosen: int = Field(description="number of the trial that was compiled")
    measured: Measures = Field(description="of the compiled code; instructions are counted")
    counted: bool = Field(description="false where nothing here runs the code: still predicted")
    notes: list[str] = Field([])
    digest: str = Field(description="SHA-256 of the chosen network, before planning")
    class_names: list[str]
    artifacts: list[Artifact]

    def shown(self) -> list[tuple[TrialReport, Measures]]:
        """The Pareto set, and the chosen trial behind it where limits made it be another one."""
        numbers = [trial.number for trial in self.pareto]
        others = [t for t in self.trials if t.number == self.chosen and t.number not in numbers]
        return [(t, t.measures) for t in (*self.pareto, *others) if t.measures is not None]

    def predicted(self) -> Measures:
        """Those of the chosen trial."""
        return next(measures for trial, measures in self.shown() if trial.number == self.chosen)


@dataclass(frozen=True)
class SearchJob:
    """How to search: everything besides the model and where the output goes.

    ``windows`` are split unless there are ``validation`` windows; their sources are files.
    ``trials`` is how many there are to be in all, with those of earlier runs; ``workers`` how many
    run at a time. Trials are kept in the journal file ``study``, or under that name in ``storage``,
    the URL of a storage that Optuna knows; None stands for the usual place and name.
    """

    template: Template
    windows: Windows
    target: Target
    board: str | None = None
    validation: Windows | None = None
    budget: Budget = field(default_factory=lambda: Budget({}))
    trials: int = 30
    workers: int = 1
    study: str | None = None
    storage: str | None = None
    seed: int = 0
    command: tuple[str, ...] = ()
    progress_of: ProgressOf = no_progress


def search_model(model: Model, job: SearchJob, output: StrPath) -> SearchReport:
    """Try pipelines on ``model``, and write the best and the chosen one, compiled, to ``output``.

    ``output`` appears whole or not at all; trials are kept in the study whatever happens, and the
    same call goes on from them. The choice is that of `preferred`, with instructions counted for
    at most CANDIDATES. Raises `BudgetError` if no trial is within the budget, saying how close the
    closest is, and otherwise what `compile_model` and `labelled` raise.
    """
    output = Path(output)
    check_output(output, SEARCH_FILE)
    require_costs(job.target)
    given = [job.windows, *([job.validation] if job.validation is not None else [])]
    files = [data_file(windows) for windows in given]
    data = labelled(job.windows, job.validation, model.network, job.seed)
    identity = _identity(model, job, data)
    evaluator = Evaluator(model.network, data, job.target, job.board or job.target.name)
    with _study(job, output, identity) as study:
        trials = _run(study, evaluator, job)
    found = [(t, t.outcome) for t in trials if isinstance(t.outcome, Measures)]
    measures = [m for _, m in found]
    if not found:
        problem = next(t.outcome.text for t in trials if isinstance(t.outcome, Problem))
        raise ModelError(f"none of {len(trials)} trials could be measured: {problem}")
    candidates = [found[k][0] for k in preferred(measures, job.budget)]
    if not candidates:
        raise BudgetError(_how_close(trials, found, job.budget))
    best = [found[k][0] for k in pareto(measures)]
    misses = []
    for trial in candidates[:CANDIDATES]:
        try:
            with whole_directory(output, SEARCH_FILE) as fresh:
                chosen = _compiled(model, job, data, trial, fresh)
                report = _report(model, job, files, data, identity, trials, best, chosen)
                plot_pareto(report, fresh / PLOT_FILE)
                report.artifacts += _artifacts(fresh)
                (fresh / SEARCH_FILE).write_text(report.to_json(), encoding="utf-8")
            return report
        except BudgetError as error:
            misses.append(f"trial {trial.number}: {error}")
    raise BudgetError(
        f"within the budget as predicted, but not once compiled: {'; '.join(misses)} "
        f"(of {len(candidates)} such trials); more --trials may find one"
    )


def default_study(output: Path) -> Path:
    """The journal file of a search whose output is ``output``."""
    return output.with_name(output.name + STUDY_SUFFIX)


@dataclass(frozen=True)
class _Chosen:
    """A trial, compiled."""

    trial: Trial
    network: Network
    measures: Measures
    report: Report

    @property
    def counted(self) -> bool:
        return self.report.instructions_per_step_mean is not None


@contextmanager
def _study(job: SearchJob, output: Path, identity: dict[str, str]) -> Iterator[Study]:
    """The study of a job; a file in which no trial ever ended goes on an error."""
    rest = identity, job.template, job.budget, job.seed
    if job.storage is not None:
        name = job.study or STUDY_NAME
        storage = shared_storage(job.storage)
        yield open_study(storage, name, f"--storage, study {printable(name)}", *rest)
        return
    path = default_study(output) if job.study is None else Path(job.study)
    with journal(path) as storage:
        study = open_study(storage, STUDY_NAME, str(path), *rest)
        study.abandon_running()
        try:
            yield study
        except BaseException:
            if not study.ended():
                path.unlink()
            raise


def _run(study: Study, evaluator: Evaluator, job: SearchJob) -> list[Trial]:
    """Run trials until there are as many as asked for; all of them.

    Signals wait while the study is written, so that nothing is cut off halfway.
    """
    progress = job.progress_of("trials")
    with Workers(evaluator, job.workers) as workers:
        while True:
            with signals_held():
                ended = _hand_out(study, workers, job.trials)
            if progress:
                progress(len(ended), job.trials)
            if not workers.busy:
                return ended
            number, outcome = workers.next()
            with signals_held():
                study.tell(number, outcome)


def _hand_out(study: Study, workers: Workers, wanted: int) -> list[Trial]:
    """Begin trials, as long as some are wanted and workers idle; those that have ended."""
    ended = study.ended()
    while workers.idle and len(ended) + workers.busy < wanted:
        number, passes = study.ask()
        known = {trial.passes: trial.outcome for trial in ended}
        if passes in known:
            study.tell(number, known[passes])
            ended = study.ended()
        else:
            workers.start(number, passes)
    return ended


def _how_close(trials: list[Trial], found: list[tuple[Trial, Measures]], budget: Budget) -> str:
    trial, measures = found[closest([m for _, m in found], budget)]
    return (
        f"none of {len(trials)} trials is within {budget}; the closest, trial {trial.number}, "
        f"has {budget.misses(measures)}; passes: {trial.passes}"
    )


def _compiled(
    model: Model, job: SearchJob, data: LabelledWindows, trial: Trial, fresh: Path
) -> _Chosen:
    """The trial's passes once more, and the code they give; `BudgetError` if it takes too much."""
    own = own_passes(trial.passes)
    networks = [model.network]

    def observe(_item: Pass, _before: Network, after: Network) -> None:
        networks.append(after)

    compile_job = Job(
        target=job.target,
        passes=whole_pipeline(trial.passes),
        windows=data.train,
        labelled=data,
        board=job.board,
        command=job.command,
        observer=observe,
        progress_of=job.progress_of,
    )
    folder = fresh / COMPILED
    report = compile_model(model, compile_job, folder)
    network = networks[len(own)]
    save_network(network, fresh / NETWORK_FILE)
    if report.verify is not None:
        some = data.validation.first(COUNTED_WINDOWS)
        report = verify_output(folder, some, progress_of=job.progress_of)
    measures = _measured(read_network(folder / NETWORK_FILE), report, data, trial)
    if not job.budget.met(measures):
        raise BudgetError(job.budget.misses(measures))
    return _Chosen(trial, network, measures, report)


def _measured(network: Network, report: Report, data: LabelledWindows, trial: Trial) -> Measures:
    """Of compiled code, which does what the interpreter does: that was checked. Instructions stay
    predicted where nothing counts them."""
    assert isinstance(trial.outcome, Measures)
    right, _ = outcomes(network, data.validation)
    step, window = report.instructions_per_step_mean, report.instructions_per_window_mean
    return Measures(
        accuracy=float(right.mean()),
        flash=report.flash_bytes,
        ram=report.ram_bytes,
        instructions=trial.outcome.instructions if step is None else step,
        window_instructions=trial.outcome.window_instructions if window is None else window,
    )


def _identity(model: Model, job: SearchJob, data: LabelledWindows) -> dict[str, str]:
    """What a study belongs to; keys are words of messages."""
    plugins = fingerprint()
    return {
        "version of this program": __version__,
        "seed": str(job.seed),
        "model": network_digest(model.network),
        "data": data.digest(),
        "template": job.template.text,
        "target": f"{job.target.name} on {job.board}" if job.board else job.target.name,
        **({"plug-ins": plugins} if plugins else {}),
    }


def _report(
    model: Model,
    job: SearchJob,
    files: list[DataFile],
    data: LabelledWindows,
    identity: dict[str, str],
    trials: list[Trial],
    best: list[Trial],
    chosen: _Chosen,
) -> SearchReport:
    notes = [*model.notes, f"validated on {len(data.validation.x)} windows: {data.split}"]
    notes += [note for note in chosen.report.notes if note not in notes]
    if not chosen.counted:
        notes.append("nothing here counts the target's instructions: they are as predicted")
    return SearchReport(
        tool=f"l2mu-compile {__version__}",
        command=list(job.command),
        source=model.source,
        data=files,
        validated_on=data.split,
        training_windows=len(data.train.x),
        validation_windows=len(data.validation.x),
        seed=job.seed,
        target=job.target.name,
        board=job.board,
        template=job.template.text,
        budget=job.budget.limits,
        study=identity,
        trials=[_trial_report(trial) for trial in trials],
        pareto=[_trial_report(trial) for trial in best],
        chosen=chosen.trial.number,
        measured=chosen.measures,
        counted=chosen.counted,
        notes=notes,
        digest=network_digest(chosen.network),
        class_names=list(chosen.network.class_names),
        artifacts=[],
    )


def _trial_report(trial: Trial) -> TrialReport:
    outcome = trial.outcome
    if isinstance(outcome, Problem):
        return TrialReport(
            number=trial.number, passes=trial.passes, measures=None, problem=outcome.text
        )
    return TrialReport(number=trial.number, passes=trial.passes, measures=outcome)


def _artifacts(folder: Path) -> list[Artifact]:
    return [Artifact(path=n, bytes=b, sha256=d) for n, b, d in files_below(folder)]
