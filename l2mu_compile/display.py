"""What a person sees in the terminal: tables and progress bars."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from l2mu_compile.interpreter import Progress as Callback
from l2mu_compile.network import Network, Projection
from l2mu_compile.neurons import parameter_names
from l2mu_compile.report import Report

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


class Bars:
    """Progress bars on standard error, one for each phase; silent where nobody looks."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress

    def phase(self, what: str) -> Callback | None:
        """A callback ``(done, total)`` that moves the bar called ``what``."""
        bars = self._progress
        if bars is None:
            return None
        task = bars.add_task(what, total=None, visible=False)
        return lambda done, total: bars.update(task, completed=done, total=total, visible=True)

    def say(self, what: str) -> None:
        """Name a phase that cannot tell how far it is."""
        if self._progress is not None:
            self._progress.add_task(what, total=None)


@contextmanager
def bars(quiet: bool) -> Iterator[Bars]:
    """Show progress while the block runs, unless ``quiet`` or standard error is no terminal."""
    if quiet or not err.is_terminal:
        yield Bars(None)
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeElapsedColumn(), console=err, transient=True) as progress:
        yield Bars(progress)


def show_network(network: Network) -> None:
    """Populations and projections as tables."""
    entry = network.input
    window = f", window of {network.window} steps" if network.window else ""
    out.print(
        f"[bold]{network.name}[/] ({network.stage}): {entry.size} channels in, "
        f"{network.classes} classes out, {network.readout.rule} of "
        f"{network.readout.population}{window}"
    )
    out.print(_population_table(network))
    out.print(_projection_table(network))
    synapses = sum(p.synapses for p in network.projections)
    neurons = sum(p.size for p in network.populations)
    out.print(f"{neurons} neurons, {synapses} synapses, {network.parameter_bytes()} bytes")


def _population_table(network: Network) -> Table:
    rows = []
    for p in network.order():
        row = {"population": p.name, "size": " x ".join(map(str, p.shape))}
        row["neuron"] = p.neuron.kind
        row |= {name: _range(getattr(p.neuron, name)) for name in parameter_names(p.neuron)}
        row["reset"] = p.neuron.reset
        row["bias"] = "" if p.bias is None else "yes"
        row["rate"] = "" if p.rate is None else f"{100 * p.rate:.1f} %"
        rows.append(row)
    return _filled(rows)


def _projection_table(network: Network) -> Table:
    chosen = any(p.kernel for p in network.projections)  # its name tells the structure
    return _filled(
        [
            {
                "projection": f"{p.source} -> {p.target}",
                "delay": str(p.delay),
                "structure": "" if chosen else _structure(p),
                "synapses": str(p.synapses),
                "bytes": str(p.weight.nbytes),
                "kernel": p.kernel or "",
            }
            for p in network.projections
        ]
    )


def show_report(report: Report, where: str) -> None:
    """The few lines a compile or verify ends with."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("target", f"{report.target}, {report.numbers}")
    table.add_row("flash", f"{report.flash_bytes} bytes, {report.weights_bytes} of them weights")
    stack = "" if report.stack_bytes is None else f", stack {report.stack_bytes} bytes"
    table.add_row("RAM", f"{report.ram_bytes} bytes, {report.state_bytes} of them state{stack}")
    if report.instructions_per_step_mean is not None:
        table.add_row(
            "instructions",
            f"{report.instructions_per_step_mean:.0f} per step, "
            f"{report.instructions_per_step_max} at most, "
            f"{report.instructions_per_window_mean:.0f} per window",
        )
    table.add_row("synaptic ops", f"{report.synaptic_operations_per_step:.0f} per step")
    rates = "  ".join(f"{name} {100 * r:.1f} %" for name, r in report.spike_rates.items())
    table.add_row("spike rates", rates)
    _add_verification(table, report)
    out.print(f"[bold]{escape(where)}[/]")
    out.print(table)
    for note in report.notes:
        show_note(note)


def show_note(text: str) -> None:
    """Something worth knowing, on standard error."""
    err.print(f"[yellow]note:[/] {escape(text)}", soft_wrap=True)


def _add_verification(table: Table, report: Report) -> None:
    check = report.verify
    if check is None:
        table.add_row("verified", "[yellow]no: the code was not run[/]")
        return
    verdict = "[green]bit-exact[/]" if check.bit_exact else "[red]NOT bit-exact[/]"
    table.add_row("verified", f"{verdict}: {check.windows} windows x {check.steps} steps")
    reference = "PyTorch model" if check.float_model == "pytorch" else "float network"
    agreement = f"{100 * check.decision_agreement_with_float:.2f} % of decisions as the {reference}"
    table.add_row("agreement", agreement)
    if check.accuracy_compiled is not None and check.accuracy_float is not None:
        table.add_row(
            "accuracy",
            f"{100 * check.accuracy_compiled:.2f} %, float {100 * check.accuracy_float:.2f} %",
        )


def show_entries(entries: list[tuple[str, str]]) -> None:
    """Names, each with its explanation on the lines below."""
    for name, text in entries:
        out.print(f"[bold]{escape(name)}[/]", soft_wrap=True)
        out.print(Padding(escape(text), (0, 0, 0, 4)))


def show_rows(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """A plain table."""
    table = _table(*header)
    for row in rows:
        table.add_row(*map(escape, row))
    out.print(table)


def _filled(rows: list[dict[str, str]]) -> Table:
    """A table of the columns that hold something."""
    names = dict.fromkeys(name for row in rows for name in row)
    columns = [c for c in names if any(row.get(c) for row in rows)]
    table = _table(*columns)
    for row in rows:
        table.add_row(*(row.get(c, "") for c in columns))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        right = name in ("synapses", "bytes", "delay", "rate")
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    return table


def _structure(p: Projection) -> str:
    rows, columns = p.weight.shape[-2:]
    if not p.blocks:
        return f"dense {rows} x {columns}"
    repeat = "times one" if p.shared else "blocks"
    return f"{p.blocks} {repeat} {rows} x {columns}"


def _range(array) -> str:  # type: ignore[no-untyped-def]
    low, high = float(array.min()), float(array.max())
    digits = ".0f" if array.dtype.kind == "i" else ".3g"
    return f"{low:{digits}}" if low == high else f"{low:{digits}}..{high:{digits}}"
