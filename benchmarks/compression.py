"""Compress the example in several ways from several seeds, and write what came out into a page.

Everything is trained on people 1 to 8, built, and run on people 9 and 10 by this command, which
goes on where an earlier run was if it is given the same ``--folder``.

    python examples/har_smartwatch/train.py --export-training --copies 3
    python benchmarks/compression.py [--row NAME ...] [--seeds N] [--folder DIR] [--page FILE]
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Optional

import numpy as np
import typer
from page import JsonFile, PageFile, Place, table

from l2mu_compile.compiled import NETWORK_FILE, ProgressOf, no_progress, verify_output
from l2mu_compile.compiler import Job, compile_model
from l2mu_compile.display import bars, err
from l2mu_compile.errors import L2MUError, UsageError
from l2mu_compile.frontend import Model, load_model
from l2mu_compile.output import file_digest
from l2mu_compile.pipeline import default_pipeline, parse_pipeline, with_preparation
from l2mu_compile.targets.registry import get_target
from l2mu_compile.text import network_digest
from l2mu_compile.tuning import TUNE_FILE, TuneJob, TuneReport, tune_model
from l2mu_compile.windows import Windows, load_windows

# ruff: noqa: UP045 (typer reads annotations at run time, on Python 3.10 too)

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "har_smartwatch"
PAGE = ROOT / "docs" / "compression.md"
PLACE = "compression"
DEVICE = "cortex-m4"
COUNTED = 16  # held-out windows that are run on the emulated device
FLOAT, INT8 = "float32", "int8"  # rows that others are compared with

FITTED = "headroom=1,clip=0.0001,search=6"  # how scales are chosen
AGAIN = "fine-tune{epochs=3,distill=0.9}"


EXIT = "early-exit{risk=0.01}"


@dataclass(frozen=True)
class Row:
    """Passes, of the checkpoint or of what another row's have made of it."""

    passes: str
    of: Row | None = None

    def __str__(self) -> str:
        if not self.passes:
            return "as trained"
        return (f"{self.of}, then " if self.of else "") + f"`{self.passes}`"


def _pruned(sparsity: float, epochs: int) -> Row:
    """Fewer neurons, to whom the checkpoint teaches what those knew that left."""
    return Row(
        f"prune-population{{sparsity={sparsity}}}, "
        f"fine-tune{{epochs={epochs},learning_rate=0.004,distill=0.9}}"
    )


INT8_FITTED = Row(f"quantize{{{FITTED}}}")
INT4_TRAINED = f"quantize{{bits=4,{FITTED}}}, {AGAIN}"
FOUR_FIFTHS, HALF = _pruned(0.22, 5), _pruned(0.52, 10)
HALF_INT8 = Row(f"{INT8_FITTED.passes}, {AGAIN}", HALF)
ROWS = {
    FLOAT: Row(""),
    INT8: Row("quantize"),
    "int8, scales by spikes": INT8_FITTED,
    "int4": Row("quantize{bits=4}"),
    "int4, scales by spikes": Row(f"quantize{{bits=4,{FITTED}}}"),
    "int4, trained": Row(INT4_TRAINED),
    "four and two bits": Row(f"quantize{{bits=2,share=0.4,{FITTED}}}"),
    "five sixths of the neurons, four and two bits": Row(
        f"prune-population{{sparsity=0.16}}, quantize{{bits=2,share=0.4,{FITTED}}}"
    ),
    "early exit": Row(EXIT, INT8_FITTED),
    "four fifths of the neurons, int4": Row(INT4_TRAINED, FOUR_FIFTHS),
    "half of the neurons, int4": Row(INT4_TRAINED, HALF),
    "half of the neurons, int8": HALF_INT8,
    "half of the neurons, early exit": Row(EXIT, HALF_INT8),
    "four fifths of the neurons, fewer spikes, early exit": Row(
        "tune-activity{epochs=8,activity=0.4,tolerance=0.01,distill=0.9}, "
        f"{INT8_FITTED.passes}, early-exit{{risk=0.02}}",
        FOUR_FIFTHS,
    ),
}
HEAD = (
    *("", "accuracy, held out", "points lost", "validation", "flash", "smaller", "RAM"),
    *("steps", "instructions a window", "fewer"),
)
GAP = "–"
CAPTION = """\
Mean over the seeds {seeds} and, in brackets, the least and the greatest. Accuracy and steps: all
{windows} windows of people 9 and 10, run by the compiled C on this machine. Flash, RAM and
instructions: `{device}`, counted on {counted} of them. All code was bit-exact on both."""


@dataclass(frozen=True)
class Outcome:
    """One network from one seed; accuracies are shares."""

    row: str
    seed: int
    validation: float
    accuracy: float
    flash_bytes: int
    ram_bytes: int
    steps_per_decision: float
    instructions_per_step: float

    @property
    def instructions(self) -> float:
        """Of a window, until it is decided."""
        return self.instructions_per_step * self.steps_per_decision


@dataclass(frozen=True)
class Study:
    """The example, what it is trained on, the windows held out, and where results are kept."""

    model: Model
    training: Windows
    held_out: Windows
    folder: Path
    progress_of: ProgressOf = no_progress

    def outcome(self, row: str, seed: int) -> Outcome:
        """Train, build and run one network; `MismatchError` if any code of it is not exact."""
        model, report = self.tuned(ROWS[row], seed)
        passes = default_pipeline(quantized=False, calibrated=True)
        device = Job(get_target(DEVICE), passes, self.training, progress_of=self.progress_of)
        host = Job(get_target("host"), passes, self.training, progress_of=self.progress_of)
        with tempfile.TemporaryDirectory() as scratch:
            compile_model(model, device, Path(scratch) / "device")
            counted = verify_output(
                Path(scratch) / "device", self.held_out.first(COUNTED), progress_of=self.progress_of
            )
            compile_model(model, host, Path(scratch) / "host")
            whole = verify_output(
                Path(scratch) / "host", self.held_out, progress_of=self.progress_of
            )
        assert whole.verify and whole.verify.accuracy_compiled is not None
        assert whole.steps_per_decision and counted.instructions_per_step_mean
        return Outcome(
            row,
            seed,
            report.steps[-1].accuracy,
            whole.verify.accuracy_compiled,
            counted.flash_bytes,
            counted.ram_bytes,
            whole.steps_per_decision,
            counted.instructions_per_step_mean,
        )

    def tuned(self, row: Row, seed: int) -> tuple[Model, TuneReport]:
        """What its passes make of the checkpoint, now or in an earlier run."""
        model = self.tuned(row.of, seed)[0] if row.of else self.model
        passes = with_preparation(parse_pipeline(row.passes)) if row.passes else ()
        job = TuneJob(passes, self.training, seed=seed, progress_of=self.progress_of)
        data = file_digest(Path(self.training.source))
        key = f"{network_digest(model.network)}; {data}; {row.passes}; {seed}"
        folder = self.folder / sha256(key.encode()).hexdigest()
        if not (folder / TUNE_FILE).exists():
            tune_model(model, job, folder)
        text = (folder / TUNE_FILE).read_text(encoding="utf-8")
        return load_model(folder / NETWORK_FILE), TuneReport.model_validate_json(text)


def as_text(outcomes: Sequence[Outcome], held_out: Windows) -> str:
    """A Markdown table with a row for each way, the mean over its seeds and how far they spread."""
    groups = {row: [o for o in outcomes if o.row == row] for row in ROWS}
    groups = {row: found for row, found in groups.items() if found}
    seeds = sorted({o.seed for o in outcomes})
    lines = [_cells(row, found, groups) for row, found in groups.items()]
    caption = CAPTION.format(
        seeds=", ".join(map(str, seeds)), windows=len(held_out.x), device=DEVICE, counted=COUNTED
    )
    passes = [f"- **{name}**: {row}" for name, row in ROWS.items() if name in groups]
    return "\n\n".join([caption, table(HEAD, lines), "\n".join(passes)])


def _cells(row: str, found: list[Outcome], groups: dict[str, list[Outcome]]) -> tuple[str, ...]:
    base, int8 = groups.get(FLOAT, []), groups.get(INT8, [])
    accuracy = np.mean([o.accuracy for o in base]) if base else np.nan
    return (
        row,
        _spread([100 * o.accuracy for o in found], "{:.1f} %"),
        _spread([100 * (accuracy - o.accuracy) for o in found], "{:+.1f}"),
        _spread([100 * o.validation for o in found], "{:.1f} %"),
        _spread([o.flash_bytes for o in found], "{:,.0f}"),
        _times([o.flash_bytes for o in base], [o.flash_bytes for o in found]),
        _spread([o.ram_bytes for o in found], "{:,.0f}"),
        _spread([o.steps_per_decision for o in found], "{:.0f}"),
        _spread([o.instructions for o in found], "{:,.0f}"),
        _times([o.instructions for o in int8], [o.instructions for o in found]),
    )


def _times(before: Sequence[float], after: Sequence[float]) -> str:
    if not before:
        return GAP
    ratio = np.mean(before) / np.mean(after)
    return f"{ratio:.1f} ×" if ratio > 0.1 else f"{ratio:.3f} ×"


def _spread(values: Sequence[float], form: str) -> str:
    """The mean and, where seeds differ, the least and the greatest."""
    mean, least, most = (
        form.format(value) for value in (np.mean(values), min(values), max(values))
    )
    if np.isnan(values).any():
        return GAP
    return mean if least == most else f"{mean} ({least} … {most})"


def main(
    data: Annotated[
        Path, typer.Option(help="Labelled windows of people 1 to 8: train.py --export-training.")
    ] = EXAMPLE / "train.npz",
    row: Annotated[
        Optional[list[str]], typer.Option(help="Only this one; may be given several times.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of each: 0, 1, …")] = 3,
    folder: Annotated[
        Optional[Path], typer.Option(help="Keep trained networks there, and go on from them.")
    ] = None,
    page: PageFile = PAGE,
    json_file: JsonFile = None,
) -> None:
    """Compress the example, run what came out, and write the table into a page."""
    if unknown := set(row or ()) - set(ROWS):
        raise UsageError(f"no row {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    place = Place.of(page, PLACE)
    held_out = load_windows(EXAMPLE / "heldout.npz")
    model, training = load_model(EXAMPLE / "har.ckpt"), load_windows(data)
    outcomes = []
    with tempfile.TemporaryDirectory() as scratch, bars(False) as progress:
        for name in row or ROWS:
            for seed in range(seeds if ROWS[name].passes else 1):
                label = f"{name}, seed {seed}: "
                shown = progress.phases_of(label)
                study = Study(model, training, held_out, folder or Path(scratch), shown)
                outcomes.append(study.outcome(name, seed))
                err.print(f"{label}{outcomes[-1].accuracy:.2%}", markup=False)
    figures: dict[str, Any] = {"outcomes": [asdict(one) for one in outcomes]}
    place.write(as_text(outcomes, held_out), json_file, figures)


if __name__ == "__main__":
    try:
        typer.run(main)
    except L2MUError as error:
        err.print(f"error: {error}", markup=False)
        raise SystemExit(error.exit_code) from None
