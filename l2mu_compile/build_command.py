"""The command ``l2mu-compile build``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from l2mu_compile.display import bars, err, out, show_note
from l2mu_compile.errors import ModelError, UsageError
from l2mu_compile.options import AsJson, command_line
from l2mu_compile.paths import printable

if TYPE_CHECKING:
    from l2mu_compile.build_config import BuildFile
    from l2mu_compile.build_report import Build, BuildReport

# ruff: noqa: UP045 (typer reads annotations at run time, on Python 3.10 too)

MAX_WIDTH = 1000  # letters of a line of the table

EPILOG = (
    "Example: l2mu-compile build\n\n"
    "Example: l2mu-compile build har/watch --jobs 4 --baseline main/build.json\n\n"
    "Example: l2mu-compile build --set budget.max_flash=96KiB --set budget.min_accuracy=0.88\n\n"
    "Example: l2mu-compile build --print-config"
)


def build(
    builds: Annotated[
        Optional[list[str]],
        typer.Argument(
            metavar="BUILD",
            help="Only these: har/watch/int8, or parts of it: har, watch/int8.",
        ),
    ] = None,
    config: Annotated[
        Optional[Path],
        typer.Option(
            metavar="FILE",
            help="l2mu.toml, or tool.l2mu-compile of pyproject.toml, if not given.",
        ),
    ] = None,
    output: Annotated[
        Optional[Path], typer.Option("--output", "-o", metavar="DIR", help="Instead of the file's.")
    ] = None,
    cache: Annotated[
        Optional[Path], typer.Option(metavar="DIR", help="Instead of the file's.")
    ] = None,
    jobs: Annotated[
        Optional[int],
        typer.Option("--jobs", "-j", metavar="N", min=0, max=256, help="Builds at a time."),
    ] = None,
    baseline: Annotated[
        Optional[Path],
        typer.Option(metavar="FILE", help="An earlier build.json, which budgets of change are of."),
    ] = None,
    settings: Annotated[
        Optional[list[str]],
        typer.Option("--set", metavar="KEY=VALUE", help="Wins over the file; may be repeated."),
    ] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", metavar="", help="Take nothing from the cache.")
    ] = False,
    print_config: Annotated[
        bool, typer.Option("--print-config", metavar="", help="Print what would be built, as JSON.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Build all that a file says: models, targets, pipelines; and hold them to their budgets."""
    from l2mu_compile.build_config import find_config, load_config
    from l2mu_compile.plugins import load_plugin

    given: dict[str, Any] = {
        "output": output and str(output.absolute()),
        "cache": cache and str(cache.absolute()),
        "baseline": baseline and str(baseline.absolute()),
        "jobs": jobs,
    }
    changes = _settings(settings) | {k: v for k, v in given.items() if v is not None}
    file = load_config(config or find_config(Path()), changes)
    chosen = file.chosen(builds or ())
    if print_config:
        print(json.dumps(_resolved(file, [b.id for b in chosen]), indent=2))
        return
    for plugin in file.config.plugins:
        load_plugin(file.place(plugin))
    before = _baseline(file)
    from l2mu_compile.build import check_names, run_builds

    check_names(file)
    with bars(as_json) as progress:
        done = 0
        show = progress.phase("building")
        if show:
            show(0, len(chosen))

        def ended(made: Build) -> None:
            nonlocal done
            done += 1
            if show:
                show(done, len(chosen))
            if not as_json:
                err.print(escape(f"{made.id}: {made.state}"), soft_wrap=True)

        report = run_builds(file, chosen, before, rebuild, command_line(), ended)
    if as_json:
        print(report.to_json(), end="")
    else:
        _show(report, before, file)
    raise typer.Exit(report.exit_code())


def _settings(texts: list[str] | None) -> dict[str, Any]:
    """``--set`` values: TOML, or a bare text that is none."""
    from l2mu_compile.toml_lines import TomlError, read_toml

    found: dict[str, Any] = {}
    for text in texts or ():
        key, separator, value = text.partition("=")
        if not separator or not key.strip():
            raise UsageError(f"--set {text}: write KEY=VALUE, such as budget.max_flash=96KiB")
        try:
            found[key.strip()] = read_toml(f"value = {value}")["value"]
        except TomlError:
            found[key.strip()] = value.strip()
    return found


def _baseline(file: BuildFile) -> BuildReport | None:
    from l2mu_compile.build_report import load_build_report

    if file.config.baseline is None:
        return None
    place = file.place(file.config.baseline)
    if not place.exists():
        raise ModelError(
            f"{place}: there is no such baseline; a first run has none, and its build.json is one"
        )
    return load_build_report(place)


def _resolved(file: BuildFile, chosen: list[str]) -> dict[str, Any]:
    """The configuration with all defaults, and the budgets of every build."""
    config = file.config.model_dump(mode="json", exclude_none=True)
    budgets = {b.id: b.budget.limits() for b in file.builds if b.id in chosen}
    return {"file": str(file.path), **config, "builds": budgets}


def _table(rows: list[list[str]]) -> Table:
    """Everything in one table, changes below their figures."""
    from l2mu_compile.budgets import FIGURES

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("build")
    for figure in FIGURES.values():
        table.add_column(figure.title, justify="right")
    table.add_column("budget")
    for name, _, *figures, verdict in rows:
        changes = (text.replace(" (", "\n(") for text in figures)
        table.add_row(*map(escape, (name, *changes, verdict)))
    return table


def _show_build(row: list[str]) -> None:
    """A build on lines of its own, for terminals that are narrower than the table."""
    from l2mu_compile.budgets import FIGURES

    name, _, *figures, verdict = row
    out.print(f"[bold]{escape(name)}[/]: {escape(verdict)}", soft_wrap=True)
    for figure, text in zip(FIGURES.values(), figures, strict=True):
        if text:
            out.print(escape(f"  {figure.title:8}  {text}"), soft_wrap=True)


def _show(report: BuildReport, before: BuildReport | None, file: BuildFile) -> None:
    from l2mu_compile.build_report import cells, figures_of

    earlier = figures_of(before)
    rows = [cells(build, earlier) for build in report.builds]
    table = _table(rows)
    width = out.measure(table, options=out.options.update(width=MAX_WIDTH)).maximum
    if out.is_terminal and width > out.width:
        for row in rows:
            _show_build(row)
    else:  # no line of a file or a pipe is too long
        Console(highlight=False, width=max(width, out.width)).print(table)
    for build in report.builds:
        for text in [build.failure.message] if build.failure else build.violations:
            err.print(f"[red]{escape(build.id)}:[/] {escape(printable(text))}", soft_wrap=True)
    notes = [f"{build.id}: {note}" for build in report.builds for note in build.notes]
    for note in (*notes, *report.notes):
        show_note(note)
    where = printable(str(file.place(file.config.output)))
    out.print(escape(f"{where}: build.json, junit.xml, summary.md"), soft_wrap=True)
