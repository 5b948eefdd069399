"""How costs grow: with activity, with the size of populations, with instances; and compile time.

Instructions are an emulator's counts, times this machine's. Each figure is a plot beside the page
and a table in it.

    python benchmarks/scaling.py [--quick] [--only NAME]... [--page FILE] [--json FILE]
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Optional

import numpy as np
import typer
from host import Library, one_thread
from networks import Shape, network_of, untuned_network_of, windows_of
from page import JsonFile, processor, table, with_text
from peers import with_torch_batch
from plots import Series, plot

from l2mu_compile.compiler import Job, compile_model
from l2mu_compile.display import bars
from l2mu_compile.errors import UsageError
from l2mu_compile.frontend import load_model
from l2mu_compile.network import Network
from l2mu_compile.network_files import save_network
from l2mu_compile.output import write_together
from l2mu_compile.pipeline import default_pipeline
from l2mu_compile.report import Report
from l2mu_compile.targets.registry import get_target
from l2mu_compile.windows import Windows

# ruff: noqa: UP045 (typer reads annotations at run time, on Python 3.10 too)

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
CORES = ("cortex-m0plus", "cortex-m4", "cortex-m55", "cortex-a53")
RATES = (0.005, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
SIZES = (8, 16, 32, 64, 128, 256)
INSTANCES = (1, 4, 16, 64, 256)
SYNAPSES = (10_000, 100_000, 1_000_000, 5_000_000)
MINUTE = 60
QUICK_POINTS = 2
WINDOWS, SEED, ROUNDS = 4, 2, 5
ORDER, INPUTS, CLASSES, STEPS = 4, 24, 7, 40


@dataclass(frozen=True)
class Figure:
    """One plot and its numbers: ``x`` of every series is what ``x_label`` says."""

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    note: str = ""


@dataclass(frozen=True)
class Work:
    """Where to compile, whom to tell, and whether few points are enough."""

    folder: Path
    say: Callable[[str], None]
    quick: bool

    def points(self, places: tuple[Any, ...]) -> tuple[Any, ...]:
        """Those of a figure that are measured."""
        return places[:QUICK_POINTS] if self.quick else places


def square(size: int, rate: float) -> Shape:
    """An L2MU with as many memory cells as hidden neurons."""
    return Shape(f"n{size}", INPUTS, size, size, ORDER, CLASSES, STEPS, rate)


def by_activity(work: Work) -> Figure:
    """Instructions of one network's step at spike rates from none to half."""
    shapes = [square(64, rate) for rate in work.points(RATES)]
    return Figure(
        "A step by activity: 64 cells of order 4, 64 hidden neurons",
        "accumulates, % of all synapses",
        "instructions per step",
        _counted(shapes, work, _activity),
    )


def by_size(work: Work) -> Figure:
    """Instructions of a step at one spike rate, of networks of many sizes."""
    shapes = [square(size, 0.05) for size in work.points(SIZES)]
    return Figure(
        "A step by size: as many cells of order 4 as hidden neurons, 5 % active",
        "synapses",
        "instructions per step",
        _counted(shapes, work, lambda network, _: synapses(network)),
    )


def by_instances(work: Work) -> Figure:
    """Time for a window of each of many instances, ours one by one, PyTorch all at once."""
    shape = square(128, 0.05)
    work.say(f"tuning {shape.name}")
    network = network_of(shape)
    library = Library(_compiled(network, shape, "host", work.folder)[1], raw=True)
    windows = windows_of(shape, max(INSTANCES), seed=SEED)
    samples = np.ascontiguousarray(windows.astype(np.int16))
    batch = with_torch_batch(network)
    counts, ours, theirs = work.points(INSTANCES), [], []
    with one_thread():
        for count in counts:
            work.say(f"{count} instances")
            ours.append(_seconds(lambda n=count: [library(w) for w in samples[:n]]) / count)
            theirs.append(_seconds(lambda n=count: batch(windows[:n])) / count)
    return Figure(
        "A window by instances, this machine: 128 cells of order 4, 128 hidden neurons",
        "instances",
        "µs per window and instance",
        (
            Series("ours, int8, one after another", counts, _micro(ours)),
            Series("PyTorch, fused by hand, a batch", counts, _micro(theirs)),
        ),
        f"{processor()}, one thread, medians of {ROUNDS} rounds.",
    )


def by_synapses(work: Work) -> Figure:
    """Seconds that a compilation takes, self-check included, up to five million synapses."""
    counts, seconds = [], []
    for wanted in work.points(SYNAPSES):
        shape = square(round((wanted / (2 * (ORDER + 1))) ** 0.5), 0.05)
        network = untuned_network_of(shape)
        work.say(f"compiling {synapses(network):,} synapses")
        start = time.perf_counter()
        _compiled(network, shape, "host", work.folder)
        counts.append(synapses(network))
        seconds.append(time.perf_counter() - start)
    if seconds[-1] > MINUTE:
        raise UsageError(f"{counts[-1]:,} synapses took {seconds[-1]:.0f} s to compile")
    return Figure(
        "Compile time for this machine, int8, calibrated, self-check included",
        "synapses",
        "seconds",
        (Series("l2mu-compile", tuple(counts), tuple(seconds)),),
        processor() + ".",
    )


FIGURES = {
    "activity": by_activity,
    "size": by_size,
    "instances": by_instances,
    "compile-time": by_synapses,
}


def synapses(network: Network) -> int:
    """Synapses of a step, those of shared weights counted for each cell."""
    return sum(p.weight.size * (p.blocks if p.shared else 1) for p in network.projections)


def _activity(_network: Network, report: Report) -> float:
    return 100 * report.synaptic_operations_per_step / sum(p.synapses for p in report.projections)


def _counted(
    shapes: Sequence[Shape],
    work: Work,
    place: Callable[[Network, Report], float],
) -> tuple[Series, ...]:
    """Instructions of a step of every shape on every core, at ``place`` on the other axis."""
    found: dict[str, list[tuple[float, float]]] = {core: [] for core in CORES}
    for shape in shapes:
        work.say(f"tuning {shape.name} to {shape.rate:.1%}")
        network = network_of(shape)
        for core in CORES:
            work.say(f"{core}, {shape.name} at {shape.rate:.1%}")
            report, _ = _compiled(network, shape, core, work.folder)
            assert report.instructions_per_step_mean is not None, f"{core}: nothing counts"
            found[core].append((place(network, report), report.instructions_per_step_mean))
    return tuple(Series(core, *zip(*points, strict=True)) for core, points in found.items())


def _compiled(network: Network, shape: Shape, core: str, folder: Path) -> tuple[Report, Path]:
    path = folder / "network.txt"
    save_network(network, path)
    samples = windows_of(shape, WINDOWS, SEED).astype(np.int16)
    calibration = Windows(samples, source="spikes")
    pipeline = default_pipeline(quantized=True, calibrated=True)
    place = folder / f"{core}-{shape.name}-{shape.rate:g}"
    job = Job(get_target(core), pipeline, calibration)
    return compile_model(load_model(path), job, place), place


def _seconds(work: Callable[[], Any]) -> float:
    work()
    found = []
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return median(found)


def _micro(seconds: Sequence[float]) -> tuple[float, ...]:
    return tuple(1e6 * s for s in seconds)


# ---- what is written -----------------------------------------------------------------------------


def as_text(figure: Figure, picture: str) -> str:
    """A plot's place and its table."""
    rows = [
        (s.name, *(f"{y:,.3g}" if y < 100 else f"{y:,.0f}" for y in s.y)) for s in figure.series
    ]
    places = tuple(f"{x:,.3g}" if x < 100 else f"{x:,.0f}" for x in figure.series[0].x)
    note = f"Values are {figure.y_label}. {figure.note}".rstrip()
    shown = table((figure.x_label, *places), rows)
    return "\n\n".join([f"![{figure.title}]({picture})", note, shown])


def main(
    quick: Annotated[
        bool, typer.Option("--quick", help="Few points: to see that it runs.")
    ] = False,
    only: Annotated[
        Optional[list[str]], typer.Option(help=f"One of {', '.join(FIGURES)}; several times.")
    ] = None,
    page: Annotated[
        Path, typer.Option(help="Page with a place for each; plots go beside it.")
    ] = PAGE,
    json_file: JsonFile = None,
) -> None:
    """Measure how costs grow; write plots and tables."""
    text = page.read_text(encoding="utf-8")
    figures, contents = {}, dict[Path, "str | bytes"]()
    for name in only or FIGURES:
        if name not in FIGURES:
            raise typer.BadParameter(f"no {name}; there are {', '.join(FIGURES)}")
        with_text(text, name, "")  # or there is no need to begin
        with tempfile.TemporaryDirectory() as folder, bars(False) as progress:
            figures[name] = FIGURES[name](Work(Path(folder), progress.say, quick))
        picture = f"plots/{name}.svg"
        contents[page.parent / picture] = plot(figures[name])
        text = with_text(text, name, as_text(figures[name], picture))
    if json_file is not None:
        found = {name: asdict(figure) for name, figure in figures.items()}
        contents[json_file] = json.dumps(found, indent=2) + "\n"
    (page.parent / "plots").mkdir(exist_ok=True)
    write_together({page: text, **contents})


if __name__ == "__main__":
    typer.run(main)
