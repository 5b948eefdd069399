"""The command ``l2mu-compile search``."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.markup import escape
from rich.table import Table

from l2mu_compile.display import bars, out, show_note
from l2mu_compile.errors import UsageError
from l2mu_compile.model_options import ModelOptions, with_model
from l2mu_compile.options import (
    AsJson,
    BoardName,
    OutputDirectory,
    Plugins,
    Source,
    TargetName,
    TrainingData,
    ValidationData,
    command_line,
)
from l2mu_compile.paths import printable

if TYPE_CHECKING:
    from l2mu_compile.search import SearchReport

# ruff: noqa: UP045 (typer reads annotations at run time, on Python 3.10 too)

EPILOG = (
    "Example: l2mu-compile search har.ckpt --data train.npz --target cortex-m4 "
    "--budget flash=64KiB,instructions=8000 -o out/found\n\n"
    "Example: l2mu-compile search har.ckpt --data train.npz --target cortex-m4 --trials 60 "
    '--passes "prune-population{sparsity=0..0.8},quantize,fine-tune{epochs=1..6}?" '
    "-o out/found"
)
NEEDED = ("optuna", "matplotlib")


@with_model
def search(
    ckpt: Source = None,
    data: TrainingData = None,
    validation: ValidationData = None,
    target: TargetName = None,
    board: BoardName = None,
    budget: Annotated[
        Optional[str],
        typer.Option(
            metavar="LIMITS",
            help="flash=64KiB,ram=8KiB,instructions=4000 (of a step),window-instructions=400000,"
            "accuracy=0.85: any of these.",
        ),
    ] = None,
    passes: Annotated[
        Optional[str],
        typer.Option(
            metavar="TEMPLATE",
            help="Passes with ranges a{x=1..9}, choices a{x=b|c}, and a? where a may be left out.",
        ),
    ] = None,
    trials: Annotated[
        int, typer.Option(metavar="N", min=1, help="Trials in all, earlier ones included.")
    ] = 30,
    workers: Annotated[
        int, typer.Option(metavar="N", min=1, max=256, help="Trials to run at a time.")
    ] = 1,
    study: Annotated[
        Optional[str],
        typer.Option(
            metavar="FILE",
            help="Journal of the trials, DIR.study if not given; with --storage the study's name.",
        ),
    ] = None,
    storage: Annotated[
        Optional[str],
        typer.Option(
            metavar="URL", help="Keep trials in a storage of Optuna's instead, for many machines."
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, help="Of the split and of what is tried.")
    ] = 0,
    output: OutputDirectory = Path("out"),
    *,
    model: ModelOptions,
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Try passes and options, on labelled windows; compile the best; killed, it goes on."""
    _require_packages()
    from l2mu_compile.making import model_of
    from l2mu_compile.measures import parse_budget
    from l2mu_compile.output import check_output
    from l2mu_compile.search import SEARCH_FILE, SearchJob, search_model
    from l2mu_compile.targets.boards import chosen_target
    from l2mu_compile.template import default_template, parse_template
    from l2mu_compile.trial import require_costs
    from l2mu_compile.windows import load_windows

    if data is None:
        raise UsageError("give labelled windows with --data")
    check_output(output, SEARCH_FILE)
    limits = parse_budget(budget)
    template = None if passes is None else parse_template(passes)
    record = chosen_target(target, board)
    require_costs(record)
    windows = load_windows(data)
    others = load_windows(validation) if validation else None
    with bars(as_json) as progress:
        progress.say("loading")
        loaded = model_of(model.table(ckpt), Path(), windows, others)
        job = SearchJob(
            template=template or parse_template(default_template(loaded.network)),
            windows=windows,
            target=record,
            board=board,
            validation=others,
            budget=limits,
            trials=trials,
            workers=workers,
            study=study,
            storage=storage,
            seed=seed,
            command=command_line(),
            progress_of=progress.phase,
        )
        report = search_model(loaded, job, output)
    if as_json:
        print(report.to_json(), end="")
    else:
        _show(report, printable(str(output)))


def _require_packages() -> None:
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"search needs {' and '.join(missing)}: pip install 'l2mu-compile[search]'"
        )


def _show(report: SearchReport, where: str) -> None:
    """The Pareto set, and the chosen trial as predicted and as measured."""
    out.print(f"[bold]{escape(where)}[/]", soft_wrap=True)
    out.print(_counts(report))
    out.print(_pareto_table(report))
    out.print()
    out.print(_chosen_table(report))
    for note in report.notes:
        show_note(note)


def _counts(report: SearchReport) -> str:
    from l2mu_compile.search import SEARCH_FILE

    failed = sum(trial.measures is None for trial in report.trials)
    without = f", {failed} without measures ({SEARCH_FILE} says why)" if failed else ""
    return f"{len(report.trials)} trials{without}; no other is better than these:"


def _pareto_table(report: SearchReport) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("trial", "accuracy", "flash", "RAM", "per step", "per window"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("passes", overflow="fold")
    for trial, m in report.shown():
        mark = "> " if trial.number == report.chosen else ""
        table.add_row(
            f"{mark}{trial.number}",
            f"{100 * m.accuracy:.2f} %",
            str(m.flash),
            str(m.ram),
            f"{m.instructions:.0f}",
            f"{m.window_instructions:.0f}",
            escape(trial.passes.replace(",", ", ").replace("{", " {")),
            style="bold green" if mark else None,
        )
    return table


def _chosen_table(report: SearchReport) -> Table:
    from l2mu_compile.measures import FIGURES

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(f"trial {report.chosen}, chosen", no_wrap=True)
    for name in ("predicted", "compiled", "limit"):
        table.add_column(name, justify="right", no_wrap=True)
    predicted = report.predicted()
    for key, figure in FIGURES.items():
        limit = report.budget.get(key)
        table.add_row(
            figure.name,
            figure.shown(getattr(predicted, figure.field)),
            figure.shown(getattr(report.measured, figure.field)),
            "" if limit is None else figure.shown(limit),
        )
    return table
