"""The whole road: a model in, a directory of verified code out."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2mu_compile import __version__
from l2mu_compile.differential import Comparison, compare
from l2mu_compile.errors import MismatchError, ModelError, NoEmulatorError, UsageError
from l2mu_compile.frontend import Decide, Model, on_counts, read_network
from l2mu_compile.interpreter import Progress, Run, check_samples, run
from l2mu_compile.network import Network
from l2mu_compile.output import files_below, whole_directory, write_whole
from l2mu_compile.passbase import Context, Pass
from l2mu_compile.pipeline import Observer, run_passes
from l2mu_compile.program import Program, lower
from l2mu_compile.report import (
    Artifact,
    Difference,
    PopulationReport,
    ProjectionReport,
    Report,
    Verification,
    load_report,
)
from l2mu_compile.targets.artifacts import chosen_packages
from l2mu_compile.targets.build import build, measured_footprint, open_device
from l2mu_compile.targets.devices import Device, HostModel
from l2mu_compile.targets.emit_c import state_bytes
from l2mu_compile.targets.product import Product, Window
from l2mu_compile.targets.record import Target
from l2mu_compile.targets.registry import get_target
from l2mu_compile.targets.toolchain import CommandLog
from l2mu_compile.text import save_network
from l2mu_compile.windows import Windows

SELF_CHECK_WINDOWS = 4
SELF_CHECK_STEPS = 50

NETWORK_FILE, FLOAT_FILE, REPORT_FILE = "network.txt", "float/network.txt", "report.json"


def _no_progress(_what: str) -> Progress | None:
    return None


@dataclass(frozen=True)
class Job:
    """How to compile: everything besides the model and where the output goes.

    ``windows`` calibrate and are what the fresh code is checked on; random ones serve without.
    ``artifacts`` are packages to make besides what is always built. ``command`` goes into the
    report. ``progress_of(what)`` gives a progress callback for a phase.
    """

    target: Target
    passes: tuple[Pass, ...]
    windows: Windows | None = None
    artifacts: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    observer: Observer | None = None
    check_passes: bool = True
    log: CommandLog = field(default_factory=CommandLog)
    progress_of: Callable[[str], Progress | None] = _no_progress


def compile_model(model: Model, job: Job, output: Path) -> Report:
    """Compile ``model`` into the directory ``output`` and check the result on a few windows.

    ``output`` appears whole or not at all. Raises `ModelError` if the model cannot be compiled,
    `MismatchError` if the fresh code is not bit-exact, `ToolchainError` if it cannot be built. Code
    that nothing on this machine runs is left unchecked, which a note in the report says.
    """
    packages = chosen_packages(job.target, job.artifacts)
    notes = list(model.notes)
    x = None if job.windows is None else job.windows.x
    context = Context(job.target, x, notes.append, job.progress_of("calibrating"))
    network = run_passes(model.network, job.passes, context, job.observer, job.check_passes)
    if network.stage != "planned":
        raise UsageError(f"the passes end with a {network.stage} network; end with plan-memory")
    program = lower(network)
    windows, origin = _self_check_windows(network, job.windows)
    stamp = _stamp(model, job, program)
    with whole_directory(output) as folder, tempfile.TemporaryDirectory() as scratch:
        _write_networks(folder, model.network, network, program)
        window = Window(windows.x[0], origin)
        product = Product(program, job.target, window, stamp, folder, Path(scratch), job.log)
        build(product)
        report = _describe(model, job, network, program, folder, notes)
        check = _Check(network, program, job.target, folder, model.network, model.decide)
        if "firmware" in job.target.artifacts:
            decision = int(run(network, windows.x[:1]).decisions[0])
            report = report.model_copy(update={"firmware_decision": decision})
        try:
            report = check.on(windows, report, job.progress_of("checking"))
        except NoEmulatorError as error:
            report = check.not_run(windows, report, str(error))
        _require_exact(report)
        for package in packages:
            package.make(replace(product, report=report))
        report = report.model_copy(update={"artifacts": _artifacts(folder)})
        (folder / REPORT_FILE).write_text(report.to_json(), encoding="utf-8")
    return report


def verify_output(
    folder: Path,
    windows: Windows,
    decide: Decide | None = None,
    progress: Progress | None = None,
    emulator: str | None = None,
) -> Report:
    """Run ``windows`` through a compiled directory and write the outcome into its report.

    Decisions are compared with ``decide`` (the PyTorch model) if given, else with the traced float
    network kept in the directory. ``emulator`` is one of EMULATORS, or None for the usual one.
    Raises `ModelError` if the directory is not what the compiler wrote, `MismatchError` after
    writing the report if the code is not bit-exact, `NoEmulatorError` if nothing here runs it.
    """
    report = load_report(folder / REPORT_FILE)
    _require_untouched(folder, report)
    network = read_network(folder / NETWORK_FILE)
    original = read_network(folder / FLOAT_FILE)
    target = get_target(report.target)
    if decide is not None:
        decide = on_counts(decide, original.input)
    check = _Check(network, lower(network), target, folder, original, decide, emulator)
    report = check.on(windows, report, progress)
    write_whole(folder / REPORT_FILE, report.to_json())
    _require_exact(report)
    return report


def load_host_model(folder: Path) -> HostModel:
    """The library of a directory compiled for this machine, callable on NumPy windows.

    Raises `UsageError` if ``folder`` was compiled for another machine, `ModelError` if it is not
    what the compiler wrote.
    """
    report = load_report(folder / REPORT_FILE)
    device = open_device(
        lower(read_network(folder / NETWORK_FILE)), get_target(report.target), folder
    )
    if not isinstance(device, HostModel):
        raise UsageError(f"{folder} was compiled for {report.target}, not for this machine")
    return device


@dataclass(frozen=True)
class _Check:
    """Built code against the interpreter and the float model."""

    network: Network
    program: Program
    target: Target
    folder: Path
    original: Network
    decide: Decide | None
    emulator: str | None = None

    def on(self, windows: Windows, report: Report, progress: Progress | None) -> Report:
        """``report`` with what was measured on ``windows``."""
        x = check_samples(self.network, windows.x)
        labels = windows.y
        if labels is not None and (labels.min() < 0 or labels.max() >= self.network.classes):
            raise ModelError(f"labels y must be between 0 and {self.network.classes - 1}")
        device = open_device(self.program, self.target, self.folder, self.emulator)
        result = compare(self.network, self.program, device, x, progress)
        difference = result.first_difference or _firmware_difference(device, report)
        wanted = self.decide(x) if self.decide else run(self.original, x).decisions
        changes = self._activity(result) | _instruction_counts(device, result)
        changes |= {
            "verify": Verification(
                windows=result.windows,
                steps=result.steps,
                ran_on=self.target.name,
                emulator=device.emulator,
                bit_exact=difference is None,
                first_difference=difference,
                float_model="pytorch" if self.decide else "network",
                decision_agreement_with_float=_mean_equal(result.decisions, wanted),
                accuracy_float=None if labels is None else _mean_equal(wanted, labels),
                accuracy_compiled=None if labels is None else _mean_equal(result.decisions, labels),
            ),
        }
        return report.model_copy(update=changes)

    def not_run(self, windows: Windows, report: Report, why: str) -> Report:
        """``report`` with what the interpreter alone can tell of ``windows``."""
        activity = self._activity(run(self.network, check_samples(self.network, windows.x)))
        notes = [*report.notes, f"the code was built but not run: {why}"]
        return report.model_copy(update=activity | {"notes": notes})

    def _activity(self, result: Comparison | Run) -> dict[str, Any]:
        per_step = result.windows * result.steps
        return {
            "synaptic_operations_per_step": result.operations / per_step,
            "spike_rates": {
                p.name: result.spike_totals[p.name] / (p.size * per_step)
                for p in self.network.populations
            },
        }


def _firmware_difference(device: Device, report: Report) -> Difference | None:
    """Run the image from reset: its decision on its own window must be the interpreter's."""
    actual = device.run_firmware()
    if actual is None or report.firmware_decision is None or actual == report.firmware_decision:
        return None
    return Difference(
        window=0,
        step=0,
        quantity="firmware decision",
        neuron=0,
        expected=report.firmware_decision,
        actual=actual,
    )


def _instruction_counts(device: Device, result: Comparison) -> dict[str, Any]:
    """What was measured; what was not stays as it is in the report."""
    stack, counts = device.stack_bytes(), result.instructions
    measured: dict[str, Any] = {} if stack is None else {"stack_bytes": stack}
    if counts is not None:
        measured |= {
            "instructions_per_step_mean": float(counts.mean()),
            "instructions_per_step_max": int(counts.max()),
            "instructions_per_window_mean": float(counts.sum() / result.windows),
        }
    return measured


def _self_check_windows(network: Network, windows: Windows | None) -> tuple[Windows, str]:
    if windows is not None:
        return windows.first(SELF_CHECK_WINDOWS), "The first calibration window."
    steps = network.window or SELF_CHECK_STEPS
    shape = (SELF_CHECK_WINDOWS, steps, network.input.size)
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return Windows(x), "Random numbers (no calibration data was given)."


def _write_networks(folder: Path, original: Network, network: Network, program: Program) -> None:
    (folder / FLOAT_FILE).parent.mkdir()
    save_network(original, folder / FLOAT_FILE)
    save_network(network, folder / NETWORK_FILE)
    (folder / "program.txt").write_text(str(program), encoding="utf-8")


def _stamp(model: Model, job: Job, program: Program) -> tuple[str, ...]:
    source = f"{model.source.kind} {model.source.name}"
    digest = f", sha256 {model.source.sha256}" if model.source.sha256 else ""
    lines = [
        f"{program.name}: generated by l2mu-compile {__version__} for {job.target.name}",
        f"from {source}{digest}",
        f"passes: {', '.join(map(str, job.passes))}",
        f"command: {' '.join(job.command)}",
    ]
    return tuple(_printable(line) for line in lines)


def _printable(line: str) -> str:
    """Safe inside a C comment, whatever a file was called."""
    clean = "".join(c if c.isprintable() else "?" for c in line)
    return clean.replace("*/", "* /").replace("/*", "/ *").replace("\\", "/").replace("??", "? ?")


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
        artifacts=_artifacts(folder),
    )


def _artifacts(folder: Path) -> list[Artifact]:
    return [Artifact(path=n, bytes=b, sha256=d) for n, b, d in files_below(folder)]


def _require_untouched(folder: Path, report: Report) -> None:
    found = {name: digest for name, _, digest in files_below(folder)}
    for artifact in report.artifacts:
        if found.get(artifact.path) != artifact.sha256:
            state = "has changed" if artifact.path in found else "is missing"
            raise ModelError(f"{folder / artifact.path}: {state} since it was compiled")


def _require_exact(report: Report) -> None:
    check = report.verify
    if check is None or check.first_difference is None:
        return
    d = check.first_difference
    raise MismatchError(
        f"not bit-exact on {check.ran_on}: window {d.window}, step {d.step}, "
        f"{d.quantity}[{d.neuron}] is {d.actual:g}, the interpreter says {d.expected:g}"
    )


def _mean_equal(a: NDArray, b: NDArray) -> float:
    return float((a == b).mean())
