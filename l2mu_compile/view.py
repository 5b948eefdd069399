"""A network as one page of HTML that needs nothing else: no other file, no network, no script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from l2mu_compile import __version__
from l2mu_compile.activity import Activity, watch
from l2mu_compile.drawing import (
    MOST_POPULATIONS,
    MOST_PROJECTIONS,
    draw,
    maps,
    membranes,
    sliding,
    structure,
    times,
)
from l2mu_compile.interpreter import Progress
from l2mu_compile.network import Network
from l2mu_compile.paths import printable
from l2mu_compile.report import Report, Step
from l2mu_compile.subject import Subject
from l2mu_compile.tuning import TuneReport
from l2mu_compile.windows import Windows

PAGE_DIR = Path(__file__).parent / "page"
MOST_STEPS, MOST_NOTES, MOST_COLUMNS = 60, 20, 12  # rows and columns of tables
MOST_LETTERS = 200  # of a text from a file
WORDS = ("after", "population", "kind", "reset", "from", "to", "weights", "kernel")  # of columns


@dataclass(frozen=True)
class Cell:
    """A number as text; ``share`` is its part of the largest in its column. Or text, with small
    print."""

    text: str
    share: float | None = None
    small: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of cells under ``columns``; ``left_out`` says what it lacks."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    left_out: str = ""

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Which columns hold numbers, and stand to the right."""
        return tuple(name not in WORDS for name in self.columns)


def view(
    subject: Subject,
    windows: Windows | None = None,
    number: int = 0,
    progress: Progress | None = None,
) -> str:
    """The page on ``subject``, with what it does on window ``number`` of ``windows``.

    Equal arguments make equal pages. Raises `ModelError` for windows that do not fit, `UsageError`
    if there is no such window.
    """
    network, report = subject.network, subject.report
    activity = None
    if windows is not None:
        windows.require_fit(network)
        activity = watch(network, subject.original, windows, number, progress)
    rates, rates_from = _rates(subject, activity)
    steps = report.steps if report else []
    return _render(
        {
            "version": __version__,
            "subject": subject,
            "network": network,
            "report": report,
            "facts": _facts(subject),
            "drawing": draw(network, rates),
            "rates_from": rates_from,
            "populations": _populations(network, rates, _instructions(report, "populations")),
            "projections": _projections(network, _instructions(report, "projections")),
            "widest": max((r for r in rates.values() if r), default=None),
            "steps": _step_table(steps),
            "step_rates": _rate_table(steps),
            "steps_measured_on": report.steps_measured_on if report else "",
            "activity": activity,
            "notes": subject.notes[:MOST_NOTES],
            "more_notes": max(len(subject.notes) - MOST_NOTES, 0),
        }
    )


def _render(values: dict[str, Any]) -> str:
    style = (PAGE_DIR / "view.css").read_text(encoding="utf-8")
    return _template().render(values, style=style)


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(PAGE_DIR),
        undefined=StrictUndefined,
        autoescape=True,
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "number": number_text}
    return environment.get_template("view.html.jinja")


def _harmless(value: Any) -> Any:
    """Text in one short line of printable letters; what the template calls safe as it is."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    text = printable(value)
    return text if len(text) <= MOST_LETTERS else f"{text[: MOST_LETTERS - 1]}…"


def percent(share: float | None, digits: int = 1) -> str:
    """``12.3 %``, or a dash."""
    return "–" if share is None else f"{100 * share:.{digits}f} %"


def number_text(value: float | None) -> str:
    """Whole numbers with commas, others to a tenth; a dash for None."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if value == round(value) or abs(value) >= 100 else f"{value:,.1f}"


def _rates(subject: Subject, activity: Activity | None) -> tuple[dict[str, float | None], str]:
    """Spikes per neuron and step of every population, and where they were measured."""
    network, report = subject.network, subject.report
    if activity is not None:
        return dict(activity.rates), f"in window {activity.number}"
    if isinstance(report, Report):
        check = report.verify
        found = report.spike_rates
        where = "in random windows" if check and check.windows_from == "random" else "when verified"
    elif report is not None and report.steps:
        found = {p.name: p.spike_rate for p in report.steps[-1].populations}
        where = f"on {report.steps_measured_on}"
    else:
        found = {p.name: p.rate for p in network.populations if p.rate is not None}
        where = "in calibration" if found else ""
    rates = {p.name: found.get(p.name) for p in network.populations}
    return rates, where


def _facts(subject: Subject) -> list[tuple[str, str, str]]:
    """Name, value and remark of the figures that the page begins with."""
    network, report = subject.network, subject.report
    neurons = sum(p.size for p in network.populations)
    synapses = sum(p.synapses for p in network.projections)
    shown = f"{network.parameter_bytes():,}"
    facts = [
        ("Neurons", f"{neurons:,}", f"in {len(network.populations):,} populations"),
        ("Synapses", f"{synapses:,}", f"in {len(network.projections):,} projections"),
        ("Parameters", shown, f"bytes, {_numbers(network)}"),
    ]
    if isinstance(report, Report):
        facts += _compiled_facts(report)
    elif report is not None and report.steps:
        first, last = report.steps[0], report.steps[-1]
        remark = f"from {percent(first.accuracy, 2)}, on {report.validation_windows} windows"
        facts.append(("Accuracy", percent(last.accuracy, 2), remark))
    return facts


def _numbers(network: Network) -> str:
    if not network.quantized:
        return "float32"
    bits = sorted({p.bits for p in network.projections})
    return f"integers, weights of {', '.join(map(str, bits))} bits"


def _compiled_facts(report: Report) -> list[tuple[str, str, str]]:
    memory = f"RAM {report.ram_bytes:,}"
    facts = [("Flash", f"{report.flash_bytes:,}", f"bytes, {memory}")]
    if report.instructions_per_step_mean is not None:
        most = f"per step, {number_text(report.instructions_per_step_max)} at most"
        facts.append(("Instructions", f"{report.instructions_per_step_mean:,.0f}", most))
    check = report.verify
    if check is None:
        return [*facts, ("Verified", "no", "the code was not run")]
    if check.accuracy_compiled is not None:
        remark = f"float {percent(check.accuracy_float, 2)}, {check.windows:,} windows"
        facts.append(("Accuracy", percent(check.accuracy_compiled, 2), remark))
    verdict = "bit-exact" if check.bit_exact else "NOT bit-exact"
    how = f"{check.windows:,} windows × {check.steps:,} steps on {check.ran_on}"
    return [*facts, ("Verified", verdict, how)]


def _instructions(report: Report | TuneReport | None, what: str) -> dict[str, float | None]:
    """Of a step by name of ``what``, counted or else predicted."""
    if not isinstance(report, Report):
        return {}
    return {
        entry.name: entry.predicted_instructions_per_step
        if entry.instructions_per_step is None
        else entry.instructions_per_step
        for entry in getattr(report, what)
    }


def _populations(
    network: Network, rates: dict[str, float | None], taken: dict[str, float | None]
) -> Table:
    shown = network.order()[:MOST_POPULATIONS]
    bars = _bars([taken.get(p.name) for p in shown])
    rows = [
        (
            Cell(p.name),
            Cell(times(maps(network, p.name))),
            Cell(p.neuron.kind),
            Cell(p.neuron.reset),
            Cell(membranes(network, p)),
            Cell(f"{p.stored_bytes:,}"),
            Cell(percent(rates[p.name])),
            bar,
            Cell(p.kernel or "–"),
        )
        for p, bar in zip(shown, bars, strict=True)
    ]
    columns = (
        *("population", "neurons", "kind", "reset", "membranes", "bytes", "spikes"),
        *("instructions", "kernel"),
    )
    return _table(columns, rows, len(network.populations), "populations")


def _projections(network: Network, taken: dict[str, float | None]) -> Table:
    shown = network.projections[:MOST_PROJECTIONS]
    bars = _bars([taken.get(p.name) for p in shown])
    rows = [
        (
            Cell(p.source),
            Cell(p.target),
            Cell(str(p.delay)),
            Cell(structure(p), small=sliding(p)),
            Cell(f"{p.synapses:,}"),
            Cell("float32" if p.weight.dtype.kind == "f" else f"{p.bits}-bit"),
            Cell(f"{p.stored_bytes:,}"),
            bar,
            Cell(p.kernel or "–"),
        )
        for p, bar in zip(shown, bars, strict=True)
    ]
    columns = (
        *("from", "to", "delay", "weights", "synapses", "stored as", "bytes"),
        *("instructions", "kernel"),
    )
    return _table(columns, rows, len(network.projections), "projections")


def _table(
    columns: tuple[str, ...], rows: Sequence[tuple[Cell, ...]], there: int, what: str
) -> Table:
    """Without the columns that hold nothing in any row."""
    filled = [i for i in range(len(columns)) if any(row[i].text != "–" for row in rows)]
    left_out = f"The first {len(rows):,} of {there:,} {what}." if len(rows) < there else ""
    return Table(
        tuple(columns[i] for i in filled),
        tuple(tuple(row[i] for i in filled) for row in rows),
        left_out,
    )


def _step_table(steps: list[Step]) -> Table:
    """Every pass with what it left; bars compare the rows of a column."""
    shown = steps[:MOST_STEPS]
    numbers: dict[str, list[float | None]] = {
        "neurons": [s.neurons for s in shown],
        "synapses": [s.synapses for s in shown],
        "bytes": [s.parameter_bytes for s in shown],
        "syn. ops": [s.synaptic_operations_per_step for s in shown],
        "instructions": [s.instructions_per_step for s in shown],
        "steps": [s.steps_per_decision for s in shown],
    }
    cells = {name: _bars(values) for name, values in numbers.items()}
    cells["accuracy"] = [Cell(percent(s.accuracy, 2)) for s in shown]
    moved = [max(s.drift, key=lambda d: d.distance, default=None) for s in shown]
    cells["drift"] = [
        Cell("–") if d is None else Cell(f"{d.distance:.2f} {d.population}" if d.distance else "0")
        for d in moved
    ]
    names = [_pass_cell(s.after) for s in shown]
    rows = list(zip(names, *cells.values(), strict=True))
    return _table(("after", *cells), rows, len(steps), "passes")


def _bars(values: Sequence[float | None]) -> list[Cell]:
    """Numbers with bars, unless all are the same."""
    most = max((v for v in values if v is not None), default=0)
    bare = len(set(values)) == 1 or most <= 0
    shares = (None if bare or v is None else max(v, 0) / most for v in values)
    return [Cell(number_text(v), share) for v, share in zip(values, shares, strict=True)]


def _pass_cell(after: str | None) -> Cell:
    """A pass, its options small."""
    name, _, options = (after or "as given").partition("{")
    return Cell(name, small=options.removesuffix("}").replace(",", ", "))


def _rate_table(steps: list[Step]) -> Table:
    """Spike rates of populations, a column each, after every pass."""
    shown = steps[:MOST_STEPS]
    names = list(dict.fromkeys(p.name for s in shown for p in s.populations))
    names, all_names = names[:MOST_COLUMNS], names
    most = max((p.spike_rate for s in shown for p in s.populations), default=0)
    rows = []
    for step in shown:
        rates = {p.name: p.spike_rate for p in step.populations}
        cells = [Cell(percent(rates.get(n)), rates.get(n, 0) / most if most else 0) for n in names]
        rows.append((Cell(_pass_cell(step.after).text), *cells))
    table = _table(("after", *names), rows, len(steps), "passes")
    more = len(all_names) - len(names)
    if more:
        table = replace(table, left_out=f"{table.left_out} Without {more:,} populations.".strip())
    return table
