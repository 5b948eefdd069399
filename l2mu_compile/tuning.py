"""Tuning: passes that may train, on labelled windows; out come a network and ``tune.json``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field

from l2mu_compile import __version__
from l2mu_compile.compiled import NETWORK_FILE, ProgressOf, no_progress
from l2mu_compile.errors import UsageError
from l2mu_compile.frontend import Model
from l2mu_compile.kept import SUFFIX, Kept
from l2mu_compile.labelled import LabelledWindows, labelled
from l2mu_compile.network import Network
from l2mu_compile.network_files import save_network
from l2mu_compile.output import (
    check_output,
    file_digest,
    files_below,
    lasting_directory,
    whole_directory,
)
from l2mu_compile.passbase import Context, Pass
from l2mu_compile.paths import StrPath, printable
from l2mu_compile.pipeline import run_passes
from l2mu_compile.report import Artifact, ReportFile, Step, Strict
from l2mu_compile.steps import Steps
from l2mu_compile.targets.record import Target
from l2mu_compile.text import network_digest
from l2mu_compile.training import score
from l2mu_compile.windows import Windows

TUNE_FILE = "tune.json"
VALIDATION_WINDOWS = 8
STEP_WINDOWS = 64  # of those to validate on, for all but accuracy


class DataFile(Strict):
    """A file of labelled windows."""

    name: str
    sha256: str
    windows: int


class LabelledReport(ReportFile):
    """What files begin with that tell of labelled windows."""

    data: list[DataFile]
    validated_on: str
    training_windows: int
    validation_windows: int
    seed: int


class TuneReport(LabelledReport):
    """``tune.json``: what was done to a model, and what came of it on the validation windows."""

    passes: list[str]
    target: str | None = Field(description="for which instructions are predicted")
    steps: list[Step] = Field(description="accuracy is that on all validation windows")
    steps_measured_on: str = Field(description="the windows that all else was measured on")
    notes: list[str] = Field([])
    digest: str = Field(description="SHA-256 of the network that came out")
    class_names: list[str]
    artifacts: list[Artifact]


@dataclass(frozen=True)
class TuneJob:
    """How to tune: everything besides the model and where the output goes.

    ``windows`` are split unless there are ``validation`` windows; their sources are files, whose
    digests go into the report. ``target`` is for passes that choose by it, and to predict
    instructions for. ``seed`` is that of the split and of training. ``say`` takes lines
    about this run that are not about its result.
    """

    passes: tuple[Pass, ...]
    windows: Windows
    validation: Windows | None = None
    target: Target | None = None
    seed: int = 0
    command: tuple[str, ...] = ()
    progress_of: ProgressOf = no_progress
    say: Callable[[str], None] = field(default=lambda _line: None)


def tune_model(model: Model, job: TuneJob, output: StrPath) -> TuneReport:
    """Apply the passes to ``model`` and write the network and `TuneReport` to ``output``.

    ``output`` appears whole or not at all. What training has found so far lies in a hidden
    directory beside it, from which the same call goes on if it is killed. Raises `ModelError` for a
    model or windows that do not serve, `UsageError` for passes that do not or if ``output`` cannot
    be written.
    """
    output = Path(output)
    check_output(output, TUNE_FILE)
    given = [job.windows, *([job.validation] if job.validation is not None else [])]
    files = [data_file(windows) for windows in given]
    data = labelled(job.windows, job.validation, model.network, job.seed)
    notes = [*model.notes, *model.validate(data.train.first(VALIDATION_WINDOWS).x)]
    notes.append(f"validated on {len(data.validation.x)} windows: {data.split}")
    with lasting_directory(output, SUFFIX) as folder:
        context = Context(
            target=job.target,
            samples=data.train.x,
            samples_from=data.train.source,
            labelled=data,
            original=model.network,
            note=notes.append,
            progress=job.progress_of("tuning"),
            kept=Kept(folder, job.say),
        )

        def accuracy(network: Network) -> float:
            return score(network, data.validation).accuracy

        steps = Steps(model.network, data.validation, STEP_WINDOWS, job.target, accuracy)
        network = run_passes(model.network, job.passes, context, steps.observe)
        with whole_directory(output, TUNE_FILE) as fresh:
            save_network(network, fresh / NETWORK_FILE)
            artifacts = [Artifact(path=n, bytes=b, sha256=d) for n, b, d in files_below(fresh)]
            report = _report(model, job, files, data, network, steps, notes, artifacts)
            (fresh / TUNE_FILE).write_text(report.to_json(), encoding="utf-8")
    return report


def _report(
    model: Model,
    job: TuneJob,
    files: list[DataFile],
    data: LabelledWindows,
    network: Network,
    steps: Steps,
    notes: list[str],
    artifacts: list[Artifact],
) -> TuneReport:
    return TuneReport(
        tool=f"l2mu-compile {__version__}",
        command=list(job.command),
        source=model.source,
        data=files,
        validated_on=data.split,
        training_windows=len(data.train.x),
        validation_windows=len(data.validation.x),
        seed=job.seed,
        passes=[str(p) for p in job.passes],
        target=None if job.target is None else job.target.name,
        steps=steps.taken,
        steps_measured_on=f"{len(steps.windows.x)} validation windows",
        notes=notes,
        digest=network_digest(network),
        class_names=list(network.class_names),
        artifacts=artifacts,
    )


def data_file(windows: Windows) -> DataFile:
    """The file that ``windows`` are from; raises `UsageError` if it cannot be read."""
    path = Path(windows.source)
    try:
        digest = file_digest(path)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    return DataFile(name=printable(path.name), sha256=digest, windows=len(windows.x))
