"""Time whole windows of what each backend makes of the same programs, and write a table of ratios.

The C backend with its kernels for this machine, the same with the portable ones, and TVM, whose
kernels are those in TensorIR, take turns in one run, each on one hot window. Times are processor
time.

    python benchmarks/backends.py [--network NAME]... [--page FILE] [--json FILE]
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Annotated, Optional

import numpy as np
import typer
from host import CALIBRATION, NETWORKS, hot_seconds, load_network_of
from networks import SHAPES, Shape, windows_of
from page import processor, table, with_text, write_results

from l2mu_compile.compiled import load_host_model, read_program
from l2mu_compile.compiler import Job, compile_model
from l2mu_compile.errors import MismatchError
from l2mu_compile.frontend import load_model
from l2mu_compile.interpreter import run
from l2mu_compile.pipeline import default_pipeline
from l2mu_compile.targets.registry import get_target
from l2mu_compile.text import save_network
from l2mu_compile.windows import Windows

# ruff: noqa: UP045 (typer reads annotations at run time, on Python 3.10 too)

PAGE, PLACE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md", "backends"
ROUNDS, CHECKED = 15, 4
TUNED, PORTABLE, TVM = "C, kernels for this machine", "C, portable kernels", "TVM"
HEAD = ("network", "numbers", "backend", "ms", "× C, this machine's", "library, bytes")


@dataclass(frozen=True)
class Timing:
    """Median of one window in seconds."""

    network: str
    numbers: str
    side: str
    seconds: float
    library_bytes: int


def measure(shape: Shape, numbers: str, folder: Path) -> list[Timing]:
    """Every backend in turns; MismatchError where one decides otherwise than the interpreter."""
    path = folder / f"{shape.name}.txt"
    save_network(load_network_of(shape, folder), path)
    model, host = load_model(path), get_target("host")
    samples = windows_of(shape, CALIBRATION, seed=2).astype(np.int16)
    calibration = Windows(samples, source="spikes")
    pipeline = default_pipeline(quantized=numbers == "int8", calibrated=True)
    portable = replace(host, kernel_sets=("ref",))
    sides = {TUNED: (host, "c"), PORTABLE: (portable, "c"), TVM: (host, "tvm")}
    kind = np.int16 if numbers == "int8" else np.float32
    windows = windows_of(shape, CHECKED, seed=3).astype(kind)
    runs, sizes = {}, {}
    for place, (side, (target, backend)) in enumerate(sides.items()):
        output = folder / f"{numbers}{place}"
        report = compile_model(model, Job(target, pipeline, calibration, backend=backend), output)
        device = load_host_model(output)
        expected = run(read_program(output)[0], windows).decisions
        if not np.array_equal(device.run(windows), expected):
            raise MismatchError(f"{shape.name}, {side}: decisions are not as interpreted")
        runs[side], sizes[side] = device.run, report.flash_bytes
    found: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(ROUNDS):
        for side, classify in runs.items():
            found[side].append(hot_seconds(classify, windows[:1]))
    return [Timing(shape.name, numbers, side, median(found[side]), sizes[side]) for side in sides]


def as_text(timings: list[Timing]) -> str:
    """Where it was measured, and the table."""
    from importlib.metadata import version

    packages = ", ".join(f"{name} {version(name)}" for name in ("ziglang", "apache-tvm"))
    where = (
        f"{processor()}, {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}; medians of "
        f"{ROUNDS} rounds; {packages}."
    )
    tuned = {(t.network, t.numbers): t.seconds for t in timings if t.side == TUNED}
    rows = [
        (
            *(t.network, t.numbers, t.side, f"{t.seconds * 1e3:.3f}"),
            f"{t.seconds / tuned[t.network, t.numbers]:.1f}",
            f"{t.library_bytes:,}",
        )
        for t in timings
    ]
    return f"{where}\n\n{table(HEAD, rows)}"


def main(
    network: Annotated[
        Optional[list[str]], typer.Option(help="Only this network; may be given several times.")
    ] = None,
    page: Annotated[Path, typer.Option(help="Page with a place for the table.")] = PAGE,
    json_file: Annotated[
        Optional[Path], typer.Option("--json", metavar="FILE", help="Write the figures there.")
    ] = None,
) -> None:
    """Time what each backend makes of the same programs and write the ratios into a page."""
    timings = []
    with tempfile.TemporaryDirectory() as directory:
        for name in network or NETWORKS:
            for numbers in ("int8", "float32"):
                timings += measure(SHAPES[name], numbers, _below(directory, name, numbers))
    text = as_text(timings)
    written = with_text(page.read_text(encoding="utf-8"), PLACE, text)
    write_results(page, written, json_file, {"timings": [asdict(t) for t in timings]})
    print(text)


def _below(directory: str, *names: str) -> Path:
    folder = Path(directory, *names)
    folder.mkdir(parents=True)
    return folder


if __name__ == "__main__":
    typer.run(main)
