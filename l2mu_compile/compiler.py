"""The whole road: a model in, a directory of verified code out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from l2mu_compile import __version__
from l2mu_compile.compiled import (
    FLOAT_FILE,
    NETWORK_FILE,
    REPORT_FILE,
    Check,
    ProgressOf,
    no_progress,
    require_exact,
)
from l2mu_compile.errors import BudgetError, ModelError, UsageError
from l2mu_compile.frontend import Model
from l2mu_compile.interpreter import run
from l2mu_compile.network import Network
from l2mu_compile.output import files_below, whole_directory
from l2mu_compile.passbase import Context, Pass
from l2mu_compile.paths import StrPath, printable
from l2mu_compile.pipeline import Observer, run_passes
from l2mu_compile.program import Program, lower
from l2mu_compile.report import (
    Artifact,
    PopulationReport,
    ProjectionReport,
    Report,
    WindowsFrom,
)
from l2mu_compile.targets.build import Window, build, measured_footprint
from l2mu_compile.targets.emit_c import state_bytes
from l2mu_compile.targets.record import Target
from l2mu_compile.targets.toolchain import CommandLog
from l2mu_compile.text import save_network
from l2mu_compile.windows import Windows

SELF_CHECK_WINDOWS = 4
SELF_CHECK_STEPS = 50
VALIDATION_WINDOWS = 8
SELF_CHECK_SAMPLES = 1 << 24  # numbers in one window

_ORIGINS: dict[WindowsFrom, str] = {
    "calibration": "The first calibration window.",
    "random": "Random numbers (no calibration data was given).",
}


@dataclass(frozen=True)
class Job:
    """How to compile: everything besides the model and where the output goes.

    ``windows`` calibrate and are what the fresh code is checked on; random ones serve without.
    ``command`` goes into the report. ``progress_of(what)`` gives a progress callback for a phase.
    """

    target: Target
    passes: tuple[Pass, ...]
    windows: Windows | None = None
    command: tuple[str, ...] = ()
    observer: Observer | None = None
    check_passes: bool = True
    log: CommandLog = field(default_factory=CommandLog)
    progress_of: ProgressOf = no_progress


def compile_model(model: Model, job: Job, output: StrPath) -> Report:
    """Compile ``model`` into the directory ``output`` and check the result on a few windows.

    ``output`` appears whole or not at all. Raises `ModelError` if the model cannot be compiled,
    `BudgetError` if it does not fit the target's memory, `MismatchError` if the fresh code is not
    bit-exact, `ToolchainError` if it cannot be built, `UsageError` if ``output`` cannot be written.
    """
    notes = list(model.notes)
    if job.windows is not None:
        job.windows.require_fit(model.network)
        notes += model.validate(job.windows.first(VALIDATION_WINDOWS).x)
    context = Context(
        target=job.target,
        samples=None if job.windows is None else job.windows.x,
        samples_from="" if job.windows is None else job.windows.source,
        note=notes.append,
        progress=job.progress_of("calibrating"),
    )
    network = run_passes(model.network, job.passes, context, job.observer, job.check_passes)
    if network.stage != "planned":
        raise UsageError(f"the passes end with a {network.stage} network; end with plan-memory")
    program = lower(network)
    _require_room(program, job.target)
    windows, origin = _self_check_windows(model.network, job.windows)
    stamp = _stamp(model, job, program)
    with whole_directory(output) as folder:
        _write_networks(folder, model.network, network, program)
        window = Window(windows.x[0], _ORIGINS[origin])
        if progress := job.progress_of("building"):
            progress(0, 0)
        build(program, job.target, window, stamp, folder, folder.with_name("objects"), job.log)
        report = _describe(model, job, network, program, folder, notes)
        check = Check(network, program, job.target, folder, model.network, model.decide)
        if "firmware" in job.target.artifacts:
            decision = int(run(network, windows.x[:1]).decisions[0])
            report = report.model_copy(update={"firmware_decision": decision})
        report = check.on(windows, origin, report, job.progress_of)
        (folder / REPORT_FILE).write_text(report.to_json(), encoding="utf-8")
        require_exact(report)
    return report


def _require_room(program: Program, target: Target) -> None:
    """Refuse what would not fit a firmware target's memory even if its code took none."""
    if target.memory is None or "firmware" not in target.artifacts:
        return
    ram = target.memory.ram.size - target.memory.stack_bytes
    for what, needed, kind, size in (
        ("weights alone take", program.data_bytes, "flash", target.memory.flash.size),
        ("state alone takes", state_bytes(program), "RAM besides the stack", ram),
    ):
        if needed > size:
            raise BudgetError(
                f"{program.name}: its {what} {needed} bytes, {needed - size} more than "
                f"the {size} bytes of {kind} of {target.name}; make the network smaller"
            )


def _self_check_windows(network: Network, windows: Windows | None) -> tuple[Windows, WindowsFrom]:
    if windows is not None:
        return windows.first(SELF_CHECK_WINDOWS), "calibration"
    steps = network.window or SELF_CHECK_STEPS
    if steps * network.input.size > SELF_CHECK_SAMPLES:
        raise ModelError(
            f"network {network.name}: its window of {steps} steps is too long to check with random "
            "numbers; give --calibrate"
        )
    x = np.random.default_rng(0).normal(size=(SELF_CHECK_WINDOWS, steps, network.input.size))
    largest = np.finfo(np.float32).max
    raw = np.clip(network.input.raw(x), -largest, largest)
    return Windows(raw.astype(np.float32), source="random windows"), "random"


def _write_networks(folder: Path, original: Network, network: Network, program: Program) -> None:
    (folder / FLOAT_FILE).parent.mkdir()
    save_network(original, folder / FLOAT_FILE)
    save_network(network, folder / NETWORK_FILE)
    (folder / "program.txt").write_text(str(program), encoding="utf-8")


def _stamp(model: Model, job: Job, program: Program) -> list[str]:
    source = f"{model.source.kind} {model.source.name}"
    digest = f", sha256 {model.source.sha256}" if model.source.sha256 else ""
    lines = [
        f"{program.name}: generated by l2mu-compile {__version__} for {job.target.name}",
        f"from {source}{digest}",
        f"passes: {', '.join(map(str, job.passes))}",
        f"command: {' '.join(job.command)}",
    ]
    return [_comment(line) for line in lines]


def _comment(line: str) -> str:
    """Safe inside a C comment, whatever a file was called."""
    clean = printable(line).replace("*/", "* /").replace("/*", "/ *").replace("\\", "/")
    return re.sub(r"\?(?=\?)", "? ", clean)


def _describe(
    model: Model,
    job: Job,
    network: Network,
    program: Program,
    folder: Path,
    notes: Sequence[str],
) -> Report:
    size = measured_footprint(program, job.target, folder)
    return Report(
        tool=f"l2mu-compile {__version__}",
        command=list(job.command),
        source=model.source,
        target=job.target.name,
        numbers="int8" if network.quantized else "float32",
        passes=[str(p) for p in job.passes],
        notes=list(notes),
        flash_bytes=size.flash,
        ram_bytes=size.ram,
        weights_bytes=program.data_bytes,
        state_bytes=state_bytes(program),
        synaptic_operations_per_step=0.0,
        spike_rates={},
        populations=[
            PopulationReport(name=p.name, neurons=p.size, neuron=p.neuron.kind)
            for p in network.populations
        ],
        projections=[
            ProjectionReport(
                name=p.name,
                structure="dense" if not p.blocks else f"{p.blocks} blocks",
                synapses=p.synapses,
                bytes=p.weight.nbytes,
                kernel=str(p.kernel),
            )
            for p in network.projections
        ],
        artifacts=[Artifact(path=n, bytes=b, sha256=d) for n, b, d in files_below(folder)],
    )
