"""What is shown in the terminal: tables and progress bars for a person, networks as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from l2mu_compile.interpreter import Progress as Callback
from l2mu_compile.network import Network
from l2mu_compile.neurons import parameter_names
from l2mu_compile.projection import Projection
from l2mu_compile.report import PackagedLibrary, Report, Step, Verification

if TYPE_CHECKING:
    from l2mu_compile.tuning import TuneReport

# Columns of numbers.
_NUMBERS = ("synapses", "bits", "bytes", "delay", "rate", "syn. ops", "instructions", "accuracy")

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


class Bars:
    """One line on standard error that says what is being done; silent where nobody looks."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def phase(self, what: str) -> Callback | None:
        """A callback ``(done, total)`` that shows how far ``what`` is; total 0: nobody knows."""
        if self._progress is None:
            return None
        task: TaskID | None = None

        def show(done: int, total: int) -> None:
            nonlocal task
            if task is None:
                task = self._begin(what)
            self._shown.update(task, completed=done, total=total or None)

        return show

    def phases_of(self, label: str) -> Callable[[str], Callback | None]:
        """`phase` for what belongs to something, whose ``label`` is said first."""
        return lambda what: self.phase(label + what)

    def say(self, what: str) -> None:
        """Name a phase that cannot tell how far it is."""
        if self._progress is not None:
            self._begin(what)

    @property
    def _shown(self) -> Progress:
        assert self._progress is not None
        return self._progress

    def _begin(self, what: str) -> TaskID:
        if self._task is not None:
            self._shown.remove_task(self._task)
        self._task = self._shown.add_task(what, total=None)
        return self._task


@contextmanager
def bars(quiet: bool) -> Iterator[Bars]:
    """Show progress while the block runs, unless ``quiet`` or standard error is no terminal."""
    if quiet or not err.is_terminal:
        yield Bars(None)
        return
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), _Count()
    with Progress(*columns, TimeElapsedColumn(), console=err, transient=True) as progress:
        yield Bars(progress)


class _Count(ProgressColumn):
    """``17/60``, or nothing where it is not known how much there is."""

    def render(self, task: Task) -> Text:
        return Text("" if task.total is None else f"{task.completed:.0f}/{task.total:.0f}")


def show_network(network: Network) -> None:
    """Populations and projections as tables."""
    entry = network.input
    window = f", window of {network.window} steps" if network.window else ""
    window += f", the first of {network.full_window}" if network.full_window else ""
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


def network_json(network: Network) -> dict[str, Any]:
    """A network for ``--json``: everything but its weights."""
    return {
        "name": network.name,
        "stage": network.stage,
        "window": network.window,
        "full_window": network.full_window,
        "inputs": network.input.size,
        "classes": network.classes,
        "class_names": list(network.class_names),
        "readout": {"population": network.readout.population, "rule": network.readout.rule},
        "parameter_bytes": network.parameter_bytes(),
        "populations": [
            {
                "name": p.name,
                "shape": list(p.shape),
                "neuron": p.neuron.kind,
                "reset": p.neuron.reset,
                "rate": p.rate,
                **{n: getattr(p.neuron, n).tolist() for n in parameter_names(p.neuron)},
            }
            for p in network.populations
        ],
        "projections": [
            {
                "source": p.source,
                "target": p.target,
                "delay": p.delay,
                "blocks": p.blocks,
                "shape": list(p.weight.shape),
                "synapses": p.synapses,
                "bits": p.bits,
                "bytes": p.stored_bytes,
                "kernel": p.kernel,
            }
            for p in network.projections
        ],
    }


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
                "bits": str(p.bits),
                "bytes": str(p.stored_bytes),
                "kernel": p.kernel or "",
            }
            for p in network.projections
        ]
    )


def show_report(report: Report, where: str) -> None:
    """The few lines a compile or verify ends with."""
    table = Table(show_header=False, box=None, pad_edge=False)
    by = "" if report.backend == "c" else f", built by {report.backend.upper()}"
    table.add_row("target", f"{report.target}, {report.numbers}{by}")
    _add_memory(table, report)
    table.add_row("stream", _stream(report))
    if report.instructions_per_step_mean is not None:
        table.add_row(
            "instructions",
            f"{report.instructions_per_step_mean:.0f} per step, "
            f"{report.instructions_per_step_max} at most, "
            f"{report.instructions_per_window_mean:.0f} per window",
        )
    if report.predicted_instructions_per_step is not None:
        predicted = f"{report.predicted_instructions_per_step:.0f} per step"
        table.add_row("predicted", f"{predicted}, by kernels and spike rates")
    if report.instructions_if_all_spike is not None:
        table.add_row("worst case", f"{report.instructions_if_all_spike} per step, if all spike")
    table.add_row("synaptic ops", f"{report.synaptic_operations_per_step:.0f} per step")
    rates = "  ".join(f"{name} {100 * r:.1f} %" for name, r in report.spike_rates.items())
    table.add_row("spike rates", rates)
    if report.verify is not None:
        if (report.steps_per_decision or report.verify.steps) < report.verify.steps:
            early = f"after {report.steps_per_decision:.1f} of {report.verify.steps} steps"
            table.add_row("decides", early)
        _add_verification(table, report.verify)
    else:
        table.add_row("verified", "[yellow]no: the code was not run[/]")
    for library in report.libraries:
        table.add_row("packaged", _checked(library))
    out.print(f"[bold]{escape(where)}[/]", soft_wrap=True)
    out.print(table)
    for note in report.notes:
        show_note(note)
    if report.verify is not None and report.numbers == "float32":
        _note_other_decisions(report.verify)


def show_tuning(report: TuneReport, where: str) -> None:
    """Every step of a `tune`: operations and instructions are those of a time step, accuracy that
    on the validation windows, drift that of the population whose spikes changed most."""
    out.print(f"[bold]{escape(where)}[/]", soft_wrap=True)
    out.print(_filled([_tuning_row(step) for step in report.steps]))
    for note in report.notes:
        show_note(note)


def _tuning_row(step: Step) -> dict[str, str]:
    taken = step.instructions_per_step
    worst = max(step.drift, key=lambda drift: drift.distance)
    moved = f"{worst.distance:.2f} {worst.population}" if worst.distance else "0"
    return {
        "after": "" if step.after is None else step.after.partition("{")[0],
        "synapses": str(step.synapses),
        "bytes": str(step.parameter_bytes),
        "syn. ops": f"{step.synaptic_operations_per_step:.0f}",
        "instructions": "" if taken is None else f"{taken:.0f}",
        "accuracy": "" if step.accuracy is None else f"{100 * step.accuracy:.2f} %",
        "drift": moved,
    }


def _add_memory(table: Table, report: Report) -> None:
    """Flash and RAM of firmware; of a library, which has neither to itself, its own bytes."""
    weights = f"{report.weights_bytes} of them weights"
    stack = "" if report.stack_bytes is None else f", stack {report.stack_bytes} bytes"
    if report.stack_bounds:
        stack = f", stack at most {max(report.stack_bounds.values())} bytes"
    if report.firmware_decision is None:
        table.add_row("library", f"{report.flash_bytes} bytes of code and constants, {weights}")
        table.add_row("state", f"{report.state_bytes} bytes{stack}")
        return
    table.add_row("flash", f"{report.flash_bytes} bytes, {weights}")
    table.add_row("RAM", f"{report.ram_bytes} bytes, {report.state_bytes} of them state{stack}")


def _checked(library: PackagedLibrary) -> str:
    if library.verify is None:
        return f"[yellow]not run here[/]: {escape(library.path)}"
    return f"[green]bit-exact[/]: {escape(library.path)}"


def amount(size: int | None) -> str:
    """Bytes in the largest unit that gives a whole number: ``amount(2**18)`` is ``"256 KiB"``."""
    if size is None:
        return ""
    units = ("bytes", "KiB", "MiB", "GiB")
    power = max(p for p in range(len(units)) if size % 1024**p == 0)
    return f"{size // 1024**power} {units[power]}"


def _stream(report: Report) -> str:
    if report.backend != "c":
        return "none: these are made by --backend c"
    if report.window is None or report.hop is None:
        return "none: the length of a window is not known (--window)"
    lanes = -(-report.window // report.hop)
    cost = "1 step" if lanes == 1 else f"up to {lanes} steps"
    return (
        f"{report.window} samples every {report.hop}, {report.stream_bytes} bytes, "
        f"{cost} per sample"
    )


def show_note(text: str) -> None:
    """Something worth knowing, on standard error."""
    err.print(f"[yellow]note:[/] {escape(text)}", soft_wrap=True)


_WINDOWS_FROM = {
    "random": "on random windows",
    "calibration": "on calibration data",
    "given": "on the data given",
}


def _add_verification(table: Table, check: Verification) -> None:
    verdict = "[green]bit-exact[/]" if check.bit_exact else "[red]NOT bit-exact[/]"
    count = "1 window" if check.windows == 1 else f"{check.windows} windows"
    table.add_row("verified", f"{verdict}: {count} x {check.steps} steps")
    share = f"{100 * check.decision_agreement_with_float:.2f} % of decisions as the"
    where = _WINDOWS_FROM[check.windows_from]
    table.add_row("agreement", f"{share} {_float_model(check)}, {where}")
    if check.accuracy_compiled is not None and check.accuracy_float is not None:
        compiled, original = 100 * check.accuracy_compiled, 100 * check.accuracy_float
        given = "float" if check.float_model == "pytorch" else "as given"
        table.add_row("accuracy", f"{compiled:.2f} %, {given} {original:.2f} %, {where}")


def _note_other_decisions(check: Verification) -> None:
    """The same numbers in another order may decide otherwise; nobody should have to guess."""
    if check.decisions_unlike_float:
        show_note(
            f"decisions differ from the {_float_model(check)} on {check.decisions_unlike_float} "
            f"of {check.windows} windows"
        )


def _float_model(check: Verification) -> str:
    return "PyTorch model" if check.float_model == "pytorch" else "network as given"


def show_entries(entries: list[tuple[str, str]]) -> None:
    """Names, each with its explanation on the lines below; a long one is broken after a comma."""
    for name, text in entries:
        lines = textwrap.wrap(
            name.replace(",", ", "), out.width, subsequent_indent="  ", break_on_hyphens=False
        )
        out.print(f"[bold]{escape(chr(10).join(lines))}[/]", soft_wrap=True)
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
        right = name in _NUMBERS
        whole = name == columns[0]
        table.add_column(
            name, justify="right" if right else "left", overflow="fold", no_wrap=whole or right
        )
    return table


def _structure(p: Projection) -> str:
    if p.convolution is not None:
        return f"convolution {' x '.join(map(str, p.weight.shape))}"
    rows, columns = p.weight.shape[-2:]
    if not p.blocks:
        return f"dense {rows} x {columns}"
    repeat = "times one" if p.shared else "blocks"
    return f"{p.blocks} {repeat} {rows} x {columns}"


def _range(array) -> str:  # type: ignore[no-untyped-def]
    low, high = float(array.min()), float(array.max())
    digits = ".0f" if array.dtype.kind == "i" else ".3g"
    return f"{low:{digits}}" if low == high else f"{low:{digits}}..{high:{digits}}"
