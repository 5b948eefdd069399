"""Tuning: passes that may train, on labelled windows; out come a network and ``tune.json``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydantic import Field

from l2mu_compile import __version__
from l2mu_compile.compiled import NETWORK_FILE, ProgressOf, no_progress
from l2mu_compile.errors import UsageError
from l2mu_compile.frontend import Model
from l2mu_compile.kept import SUFFIX, Kept
from l2mu_compile.labelled import LabelledWindows, labelled
from l2mu_compile.network import Network
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
from l2mu_compile.report import Artifact, ReportFile, Strict
from l2mu_compile.text import network_digest, save_network
from l2mu_compile.training import score
from l2mu_compile.windows import Windows

TUNE_FILE = "tune.json"
VALIDATION_WINDOWS = 8


class DataFile(Strict):
    """A file of labelled windows."""

    name: str
    sha256: str
    windows: int


class Step(Strict):
    """A network on the way: as it came, or after a pass."""

    after: str | None = Field(description="the pass with its options; None for the model as given")
    stage: str
    neurons: int
    synapses: int = Field(description="those that are not zero")
    parameter_bytes: int
    accuracy: float = Field(description="share of right decisions on the validation windows")


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
    steps: list[Step]
    notes: list[str] = Field([])
    digest: str = Field(description="SHA-256 of the network that came out")
    class_names: list[str]
    artifacts: list[Artifact]


@dataclass(frozen=True)
class TuneJob:
    """How to tune: everything besides the model and where the output goes.

    ``windows`` are split unless there are ``validation`` windows; their sources are files, whose
    digests go into the report. ``seed`` is that of the split and of training. ``say`` takes lines
    about this run that are not about its result.
    """

    passes: tuple[Pass, ...]
    windows: Windows
    validation: Windows | None = None
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
            samples=data.train.x,
            samples_from=data.train.source,
            labelled=data,
            note=notes.append,
            progress=job.progress_of("tuning"),
            kept=Kept(folder, job.say),
        )
        steps = [_step(None, model.network, data)]

        def observe(item: Pass, before: Network, after: Network) -> None:
            same = steps[-1].model_copy(update={"after": str(item)})
            steps.append(same if after is before else _step(item, after, data))

        network = run_passes(model.network, job.passes, context, observe)
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
    steps: list[Step],
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
        steps=steps,
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


def _step(item: Pass | None, network: Network, data: LabelledWindows) -> Step:
    return Step(
        after=None if item is None else str(item),
        stage=network.stage,
        neurons=sum(p.size for p in network.populations),
        synapses=sum(
            int(np.count_nonzero(p.weight)) * (p.blocks if p.shared else 1)
            for p in network.projections
        ),
        parameter_bytes=network.parameter_bytes(),
        accuracy=score(network, data.validation).accuracy,
    )
