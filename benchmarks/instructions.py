"""Count the instructions of a step, of every network on every kind of core, against the goals.

Counts are an emulator's: exact, and the same on every machine. Samples are raw counts, so that no
core spends instructions on floats.

    python benchmarks/instructions.py [--target NAME]... [--network NAME]... [--page FILE]
                                       [--json FILE]
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Optional

import numpy as np
import typer
from networks import SHAPES, Shape, network_of, windows_of
from numpy.typing import NDArray
from page import JsonFile, NetworkNames, PageFile, Place, table

from l2mu_compile.compiled import read_program, verify_output
from l2mu_compile.compiler import Job, compile_model
from l2mu_compile.display import Bars, bars, err
from l2mu_compile.frontend import Model, load_model
from l2mu_compile.interpreter import run
from l2mu_compile.network import Network
from l2mu_compile.network_files import save_network
from l2mu_compile.pipeline import default_pipeline
from l2mu_compile.report import PopulationReport, ProjectionReport
from l2mu_compile.samples import check_samples, prepared
from l2mu_compile.targets.registry import get_target
from l2mu_compile.targets.step_costs import STEPS as COUNTED_STEPS
from l2mu_compile.windows import Windows, load_windows

# ruff: noqa: UP045 (typer reads annotations at run time, on Python 3.10 too)

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE, EXAMPLE_NAME = ROOT / "examples" / "har_smartwatch", "example"
PAGE, PLACE = ROOT / "docs" / "benchmarks.md", "instructions"
CALIBRATION, MEASURED = 4, 2  # windows
CORES = (
    *("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55"),
    *("cortex-a7", "cortex-a53"),
)
# Instructions per step to reach, and per accumulate within the accumulate kernels.
GOALS = {
    "cortex-m0plus": {"b27": 38_000},
    "cortex-m4": {"b27": 16_000, "b7": 8_000, "har05": 6_300},
    "cortex-m7": {"b27": 16_000, "b7": 8_000, "har05": 6_300},
    "cortex-m33": {"b27": 16_000, "b7": 8_000, "har05": 6_300},
    "cortex-m55": {"b27": 7_000},
    "cortex-a53": {"b27": 4_800},
}
ACCUMULATE_GOALS = {
    **{"cortex-m0plus": 1.65, "cortex-m4": 0.76, "cortex-m7": 0.76, "cortex-m33": 0.76},
    **{"cortex-m55": 0.31, "cortex-a53": 0.17},
}
HEAD = (
    *("target", "network", "per step", "goal", "at most", "accumulates", "each", "goal"),
    *("per neuron", "RAM", "code"),
)


@dataclass(frozen=True)
class Measurement:
    """A network on a core: instructions per step, mean and largest, and ``accumulates``, weights
    added for spikes: zeros included, as kernels of dense projections add these too.

    ``per_accumulate`` and ``per_neuron`` are the instructions of accumulate kernels for each weight
    added, and of neuron kernels for each neuron, counted on a calibration window; None where the
    emulator counts whole steps alone.
    ``code_bytes`` is flash without weights.
    """

    target: str
    network: str
    per_step: float
    at_most: int
    accumulates: float
    per_accumulate: float | None
    per_neuron: float | None
    ram_bytes: int
    code_bytes: int


@dataclass(frozen=True)
class Subject:
    """A model to measure, with the windows it is calibrated and measured on."""

    name: str
    model: Model
    calibration: Windows
    measured: Windows


def subjects(folder: Path, names: Sequence[str] | None = None) -> list[Subject]:
    """The example, and networks of published sizes, which are saved to ``folder``; or only those of
    these names."""
    return [
        _example() if name == EXAMPLE_NAME else _drawn(SHAPES[name], folder)
        for name in (EXAMPLE_NAME, *SHAPES)
        if names is None or name in names
    ]


def _example() -> Subject:
    return Subject(
        EXAMPLE_NAME,
        load_model(EXAMPLE / "har.ckpt"),
        load_windows(EXAMPLE / "calibration.npz"),
        load_windows(EXAMPLE / "heldout.npz").first(MEASURED),
    )


def _drawn(shape: Shape, folder: Path) -> Subject:
    path = folder / f"{shape.name}.txt"
    save_network(network_of(shape), path)
    calibration, measured = (
        Windows(windows_of(shape, count, seed).astype(np.int16), source="spikes")
        for count, seed in ((CALIBRATION, 2), (MEASURED, 3))
    )
    return Subject(shape.name, load_model(path), calibration, measured)


def measure(subject: Subject, name: str, folder: Path, progress: Bars) -> Measurement:
    """Compile for int8, verify bit for bit, and count."""
    target = get_target(name)
    label = f"{name} {subject.name}: "
    progress_of = progress.phases_of(label)
    pipeline = default_pipeline(quantized=True, calibrated=True)
    job = Job(target, pipeline, subject.calibration, progress_of=progress_of)
    compile_model(subject.model, job, folder)
    report = verify_output(folder, subject.measured, progress_of=progress_of)
    network, _ = read_program(folder)
    counted = subject.calibration.x[:1, :COUNTED_STEPS]
    accumulating = [p for p in report.projections if p.kernel.startswith("accumulate")]
    neurons = sum(p.neurons for p in report.populations)
    assert report.instructions_per_step_mean is not None, f"{name}: nothing counts instructions"
    return Measurement(
        target=name,
        network=subject.name,
        per_step=report.instructions_per_step_mean,
        at_most=int(report.instructions_per_step_max or 0),
        accumulates=_accumulates(network, subject.measured.x),
        per_accumulate=_over(accumulating, _accumulates(network, counted)),
        per_neuron=_over(report.populations, neurons),
        ram_bytes=report.ram_bytes,
        code_bytes=report.flash_bytes - report.weights_bytes,
    )


def _accumulates(network: Network, samples: NDArray) -> float:
    """Weights added for spikes in a step."""
    whole = network.replace(window=None)
    result = run(whole, samples, record=("spikes",))
    entry = prepared(whole, check_samples(whole, samples))
    spikes = result.spikes | {network.input.name: entry}
    added = sum(
        int(spikes[p.source].sum()) * p.weight.shape[-2]
        for p in network.projections
        if not network.multiplies(p)
    )
    return added / (result.windows * result.steps)


def _over(
    counted: Sequence[PopulationReport] | Sequence[ProjectionReport], amount: float
) -> float | None:
    """Instructions of all of these for each of ``amount``; None if they were not counted."""
    counts = [part.instructions_per_step for part in counted]
    return None if None in counts else sum(filter(None, counts)) / amount


def as_table(measurements: list[Measurement]) -> str:
    """A row for every measurement."""

    def number(value: float | None, form: str = ",.0f") -> str:
        return "–" if value is None else format(value, form)

    return table(
        HEAD,
        [
            (
                f"`{m.target}`",
                m.network,
                number(m.per_step),
                number(GOALS.get(m.target, {}).get(m.network)),
                number(m.at_most),
                number(m.accumulates),
                number(m.per_accumulate, ".2f"),
                number(ACCUMULATE_GOALS.get(m.target), ".2f"),
                number(m.per_neuron, ".1f"),
                number(m.ram_bytes),
                number(m.code_bytes),
            )
            for m in measurements
        ],
    )


def main(
    page: PageFile = PAGE,
    json_file: JsonFile = None,
    target: Annotated[
        Optional[list[str]], typer.Option(help="Only this core; may be given several times.")
    ] = None,
    network: NetworkNames = None,
) -> None:
    """Count the instructions of a step and write them into a page."""
    place = Place.of(page, PLACE)
    measurements = []
    with tempfile.TemporaryDirectory() as name, bars(False) as progress:
        folder = Path(name)
        progress.say("drawing networks")
        found = subjects(folder, network)
        for core in target or CORES:
            for subject in found:
                result = measure(subject, core, folder / f"{core}-{subject.name}", progress)
                err.print(f"{core} {subject.name}: {result.per_step:,.0f} instructions per step")
                measurements.append(result)
    figures = {
        "versions": {name: version(name) for name in ("l2mu-compile", "ziglang", "unicorn")},
        "measurements": [asdict(m) for m in measurements],
    }
    place.write(as_table(measurements), json_file, figures)


if __name__ == "__main__":
    typer.run(main)
