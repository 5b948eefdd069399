"""Compare what each backend makes of the same programs, and write a table of ratios.

The C backend with its kernels for the processor, the same with the portable ones, and TVM, whose
kernels are those in TensorIR. On this machine they take turns at whole windows, in one run and in
processor time; for another core the instructions of a step are counted, which are the same on every
machine. All are bit-exact, or the run ends.

    python benchmarks/backends.py [--quick] [--network NAME]... [--numbers int8|float32]...
                                  [--page FILE] [--json FILE]
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Optional

import typer
from host import hot_seconds
from instructions import PAGE, Subject, subjects
from page import JsonFile, NetworkNames, PageFile, Place, processor, table

from l2mu_compile.compiled import load_host_model
from l2mu_compile.compiler import Job, compile_model
from l2mu_compile.display import err
from l2mu_compile.pipeline import default_pipeline
from l2mu_compile.report import Report
from l2mu_compile.targets.host import HOST
from l2mu_compile.targets.record import Target
from l2mu_compile.targets.registry import get_target
from l2mu_compile.windows import Windows

# ruff: noqa: UP045 (typer reads annotations at run time, on Python 3.10 too)

PLACE = "backends"
NETWORKS = ("b27", "b7", "har05", "example")
NUMBERS = ("int8", "float32")
CORE = "cortex-a53"
CALIBRATION = 4  # windows
ROUNDS, QUICK_ROUNDS = 15, 2
TUNED, PORTABLE, TVM = "C, kernels for the processor", "C, portable kernels", "TVM"
HEAD = (
    *("network", "numbers", "backend", "ms, this machine", "× C", "library, bytes"),
    *(f"instructions per step, `{CORE}`", "× C"),
)


@dataclass(frozen=True)
class Result:
    """The least ``seconds`` of a window and the library's bytes on this machine, and the
    instructions of a step on CORE."""

    network: str
    numbers: str
    side: str
    seconds: float
    library_bytes: int
    instructions: float


def measure(subject: Subject, numbers: str, rounds: int, folder: Path) -> list[Result]:
    """Every backend in turns."""
    counted = _compiled(subject, numbers, get_target(CORE), folder / CORE)
    built = _compiled(subject, numbers, HOST, folder / "host")
    window = subject.measured.x[:1]
    runs = {side: load_host_model(folder / "host" / side).run for side in built}
    found: dict[str, list[float]] = {side: [] for side in runs}
    for _ in range(rounds):
        for side, classify in runs.items():
            found[side].append(hot_seconds(classify, window))
    return [
        Result(
            network=subject.name,
            numbers=numbers,
            side=side,
            seconds=min(found[side]),
            library_bytes=report.flash_bytes,
            instructions=counted[side].instructions_per_step_mean or 0.0,
        )
        for side, report in built.items()
    ]


def _compiled(subject: Subject, numbers: str, target: Target, folder: Path) -> dict[str, Report]:
    """What each side makes for ``target``, each in a directory of its name."""
    portable = replace(target, kernel_sets=("ref",), optional_sets=())
    sides = {TUNED: (target, "c"), PORTABLE: (portable, "c"), TVM: (target, "tvm")}
    pipeline = default_pipeline(quantized=numbers == "int8", calibrated=True)
    windows = Windows(subject.calibration.x[:CALIBRATION], source="calibration")
    folder.mkdir(parents=True)
    return {
        side: compile_model(
            subject.model, Job(record, pipeline, windows, backend=backend), folder / side
        )
        for side, (record, backend) in sides.items()
    }


def as_text(results: list[Result], rounds: int) -> str:
    """Where it was measured, and the table."""
    packages = ", ".join(f"{name} {found}" for name, found in _versions().items())
    where = (
        f"{processor()}, {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}; least of "
        f"{rounds} rounds; {packages}."
    )
    tuned = {(r.network, r.numbers): r for r in results if r.side == TUNED}
    rows = [_row(result, tuned[result.network, result.numbers]) for result in results]
    return f"{where}\n\n{table(HEAD, rows)}"


def _row(result: Result, tuned: Result) -> tuple[str, ...]:
    return (
        *(result.network, result.numbers, result.side),
        f"{result.seconds * 1e3:.3f}",
        f"{result.seconds / tuned.seconds:.1f}",
        f"{result.library_bytes:,}",
        f"{result.instructions:,.0f}",
        f"{result.instructions / tuned.instructions:.1f}",
    )


def _versions() -> Mapping[str, str]:
    return {name: version(name) for name in ("ziglang", "apache-tvm", "unicorn")}


def main(
    quick: Annotated[
        bool, typer.Option("--quick", help="Few rounds: to see that it runs.")
    ] = False,
    network: NetworkNames = None,
    numbers: Annotated[
        Optional[list[str]], typer.Option(help="Only int8, or only float32.")
    ] = None,
    page: PageFile = PAGE,
    json_file: JsonFile = None,
) -> None:
    """Compare what each backend makes of the same programs and write the ratios into a page."""
    place = Place.of(page, PLACE)
    rounds = QUICK_ROUNDS if quick else ROUNDS
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for subject in subjects(folder, network or NETWORKS):
            for kind in numbers or NUMBERS:
                results += measure(subject, kind, rounds, folder / f"{subject.name}-{kind}")
                err.print(f"{subject.name}, {kind}: measured", highlight=False)
    figures = {"versions": _versions(), "results": [asdict(result) for result in results]}
    place.write(as_text(results, rounds), json_file, figures)


if __name__ == "__main__":
    typer.run(main)
