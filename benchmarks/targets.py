"""Compile the example for every target, run it, and write what came out into a page as a table.

Every number in the table was measured by this command: nothing in it is typed by hand.

    python benchmarks/targets.py [--windows N] [--page FILE] [--json FILE]
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from page import JsonFile, PageFile, Place, table

from l2mu_compile.compiled import ProgressOf, no_progress, verify_output
from l2mu_compile.compiler import Job, compile_model
from l2mu_compile.display import bars, err
from l2mu_compile.errors import L2MUError, MismatchError
from l2mu_compile.frontend import Model, load_model
from l2mu_compile.pipeline import default_pipeline
from l2mu_compile.targets.record import Target
from l2mu_compile.targets.registry import TARGETS
from l2mu_compile.windows import Windows, load_windows

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "har_smartwatch"
PAGE = ROOT / "README.md"
WINDOWS = 8  # float32 on a core without an FPU takes a second for each
NUMBERS = ("int8", "float32")
PLACE = "targets"
HEAD = (
    *("target", "built", "run by", "int8", "float32", "flash", "RAM"),
    *("instructions per step", "whole image in QEMU"),
)
GAP = "–"
CAPTION = """\
The example in int8 / float32, compiled by zig {zig} from PyPI and run on {windows} of its
held-out windows of {steps} steps. "Exact": all of its memory equalled the specification after every
step. Flash and RAM are the bytes of firmware that takes samples and decides, else those of a shared
library with every function, and of one state. "{gap}": not counted, or there is no such thing."""
REMARKS = """\
QEMU has no Cortex-M85 and runs its code on a Cortex-M55. Android's libraries are also loaded by a
dynamic linker under `qemu-aarch64`, `qemu-arm` and `qemu-x86_64`, by a test
(`tests/targets/packaging/test_aar.py`). On 64-bit Arm Linux, `host` is `linux-aarch64`."""


@dataclass(frozen=True)
class Build:
    """The example in ``numbers`` for one target; None is what is not known or was not done.

    ``run_by`` names the emulator, or this machine. ``whole_image`` is the board in QEMU for images
    of the target, or the program of QEMU's for executables. ``trouble`` says why the example was
    not built, why nothing ran it, or where it differs.
    """

    target: str
    numbers: str
    whole_image: str | None
    whole_image_exact: bool | None = None
    flash_bytes: int | None = None
    ram_bytes: int | None = None
    run_by: str | None = None
    bit_exact: bool | None = None
    instructions_per_step: float | None = None
    trouble: str | None = None


@dataclass(frozen=True)
class Example:
    """A model, the windows it is calibrated on, and those the compiled code is verified on."""

    model: Model
    calibration: Windows
    held_out: Windows


def load_example(windows: int = WINDOWS) -> Example:
    """The smartwatch example, with that many of its held-out windows."""
    held_out = load_windows(EXAMPLE / "heldout.npz").first(windows)
    return Example(
        load_model(EXAMPLE / "har.ckpt"), load_windows(EXAMPLE / "calibration.npz"), held_out
    )


def measure(
    example: Example,
    target: Target,
    numbers: str,
    folder: Path,
    progress_of: ProgressOf = no_progress,
) -> Build:
    """Compile ``example`` into ``folder`` and run it on all that runs this target's code."""
    whole = whole_image(target)
    executable = "executable" in target.artifacts and whole is not None
    job = Job(
        target,
        default_pipeline(quantized=numbers == "int8", calibrated=True),
        example.calibration,
        artifacts=("executable",) if executable else (),
        progress_of=progress_of,
    )
    found: dict[str, Any] = {}
    try:
        report = compile_model(example.model, job, folder)
        found |= {"flash_bytes": report.flash_bytes, "ram_bytes": report.ram_bytes}
        report = verify_output(folder, example.held_out, progress_of=progress_of)
        assert report.verify is not None, "it ran"
        found["run_by"] = report.verify.emulator or "this machine"
        found["bit_exact"] = report.verify.bit_exact
        found["instructions_per_step"] = report.instructions_per_step_mean
        if whole is not None:
            verify_output(folder, example.held_out, progress_of=progress_of, emulator="qemu")
            found["whole_image_exact"] = True
    except MismatchError as error:
        found |= {"whole_image_exact" if "bit_exact" in found else "bit_exact": False}
        found["trouble"] = str(error)
    except L2MUError as error:
        found["trouble"] = str(error)
    return Build(target.name, numbers, whole, **found)


def whole_image(target: Target) -> str | None:
    """What runs whole images or executables in QEMU: a board, or an emulator of processes."""
    if target.qemu is None or not {"firmware", "executable"} & set(target.artifacts):
        return None
    return target.qemu.options[-1] if target.qemu.options else target.qemu.program


def as_text(builds: Sequence[Build], windows: Windows) -> str:
    """The builds as a Markdown table with a caption; a row for every target, in their order."""
    count, steps, _ = windows.x.shape
    caption = CAPTION.format(zig=version("ziglang"), windows=count, steps=steps, gap=GAP)
    targets = dict.fromkeys(build.target for build in builds)
    rows = [row([build for build in builds if build.target == target]) for target in targets]
    troubles = dict.fromkeys(f"- `{b.target}`: {b.trouble}" for b in builds if b.trouble)
    parts = [caption, table(HEAD, rows), "\n".join(troubles), REMARKS]
    return "\n\n".join(filter(None, parts))


def row(builds: Sequence[Build]) -> tuple[str, ...]:
    """The cells of a target's builds in int8 and in float32."""
    counts = [b.instructions_per_step and round(b.instructions_per_step) for b in builds]
    return (
        f"`{builds[0].target}`",
        _same(["no" if b.flash_bytes is None else "yes" for b in builds]),
        _same([b.run_by or "**nothing**" for b in builds]),
        *(_exact(b.bit_exact) for b in builds),
        _each([b.flash_bytes for b in builds]),
        _each([b.ram_bytes for b in builds]),
        _each(counts),
        _same([_whole(b) for b in builds]),
    )


def _exact(bit_exact: bool | None) -> str:
    return {None: "not run", True: "exact", False: "**differs**"}[bit_exact]


def _whole(build: Build) -> str:
    if build.whole_image is None:
        return GAP
    outcome = _exact(build.whole_image_exact)
    return build.whole_image if outcome == "exact" else f"{build.whole_image}: {outcome}"


def _each(numbers: Sequence[int | None]) -> str:
    cells = [GAP if number is None else str(number) for number in numbers]
    return GAP if set(cells) == {GAP} else " / ".join(cells)


def _same(cells: Sequence[str]) -> str:
    return " / ".join(dict.fromkeys(cells))


def main(
    windows: Annotated[
        int, typer.Option(min=1, help="Held-out windows that each build is verified on.")
    ] = WINDOWS,
    page: PageFile = PAGE,
    json_file: JsonFile = None,
) -> None:
    """Compile the example for every target, run it, and write the table into a page."""
    place = Place.of(page, PLACE)
    example = load_example(windows)
    builds = measure_all(example)
    figures = {
        "versions": {name: version(name) for name in ("l2mu-compile", "ziglang", "unicorn")},
        "windows": len(example.held_out.x),
        "steps": example.held_out.x.shape[1],
        "builds": [asdict(build) for build in builds],
    }
    place.write(as_text(builds, example.held_out), json_file, figures)
    if any(False in (build.bit_exact, build.whole_image_exact) for build in builds):
        raise typer.Exit(MismatchError.exit_code)


def measure_all(example: Example) -> list[Build]:
    """Every target in int8 and float32, with what is being done and what is done on stderr."""
    jobs = [(target, numbers) for target in TARGETS.values() for numbers in NUMBERS]
    builds = []
    with tempfile.TemporaryDirectory() as folder, bars(False) as progress:
        for index, (target, numbers) in enumerate(jobs):
            label = f"{index + 1}/{len(jobs)} {target.name} {numbers}: "
            progress_of = progress.phases_of(label)
            build = measure(
                example, target, numbers, Path(folder) / f"{target.name}-{numbers}", progress_of
            )
            err.print(f"{label}{build.trouble or _exact(build.bit_exact)}", markup=False)
            builds.append(build)
    return builds


if __name__ == "__main__":
    typer.run(main)
