"""The command ``l2mu-compile tune``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from l2mu_compile.display import bars, show_note, show_tuning
from l2mu_compile.model_options import ModelOptions, with_model
from l2mu_compile.options import (
    AsJson,
    OutputDirectory,
    PassList,
    Plugins,
    Source,
    TrainingData,
    ValidationData,
    command_line,
)
from l2mu_compile.paths import printable

# ruff: noqa: UP045 (typer reads annotations at run time, on Python 3.10 too)

EPILOG = (
    "Example: l2mu-compile tune har.ckpt --data train.npz -o out/tuned\n\n"
    'Example: l2mu-compile tune har.ckpt --data train.npz --passes "fine-tune{epochs=10},quantize,'
    'fine-tune{epochs=5}" -o out/tuned'
)


@with_model
def tune(
    ckpt: Source = None,
    data: TrainingData = None,
    validation: ValidationData = None,
    passes: PassList = None,
    target: Annotated[
        Optional[str],
        typer.Option(metavar="NAME", help="Predict its instructions after every pass."),
    ] = None,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, help="Of the split and of training.")
    ] = 0,
    output: OutputDirectory = Path("out"),
    *,
    model: ModelOptions,
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Apply passes that may train, on labelled windows; killed, the same command goes on."""
    from l2mu_compile.errors import UsageError
    from l2mu_compile.making import model_of
    from l2mu_compile.output import check_output
    from l2mu_compile.pipeline import TUNE_PIPELINE, parse_pipeline, with_preparation
    from l2mu_compile.targets.registry import get_target
    from l2mu_compile.tuning import TUNE_FILE, TuneJob, tune_model
    from l2mu_compile.windows import load_windows

    if data is None:
        raise UsageError("give labelled windows with --data")
    check_output(output, TUNE_FILE)
    pipeline = with_preparation(parse_pipeline(passes or ",".join(TUNE_PIPELINE)))
    record = get_target(target) if target else None
    windows = load_windows(data)
    others = load_windows(validation) if validation else None
    with bars(as_json) as progress:
        progress.say("loading")
        loaded = model_of(model.table(ckpt), Path(), windows, others)
        job = TuneJob(
            passes=pipeline,
            windows=windows,
            validation=others,
            target=record,
            seed=seed,
            command=command_line(),
            progress_of=progress.phase,
            say=(lambda _line: None) if as_json else show_note,
        )
        report = tune_model(loaded, job, output)
    if as_json:
        print(report.to_json(), end="")
    else:
        show_tuning(report, printable(str(output)))
