"""The whole road: a model in, a directory of verified code out."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from l2mu_compile.buffers import state_ctype
from l2mu_compile.compiled import (
    FLOAT_FILE,
    NETWORK_FILE,
    REPORT_FILE,
    Check,
    ProgressOf,
    no_progress,
    require_exact,
)
from l2mu_compile.errors import ModelError, NoEmulatorError, UsageError
from l2mu_compile.frontend import Model
from l2mu_compile.interpreter import run
from l2mu_compile.labelled import LabelledWindows
from l2mu_compile.lowering import lower
from l2mu_compile.network import Network
from l2mu_compile.network_files import save_network
from l2mu_compile.output import files_below, whole_directory
from l2mu_compile.passbase import Context, Pass
from l2mu_compile.paths import StrPath, printable
from l2mu_compile.pipeline import Observer, run_passes
from l2mu_compile.program import Program
from l2mu_compile.projection import Projection
from l2mu_compile.provenance import PROVENANCE_FILE, Provenance
from l2mu_compile.report import (
    Artifact,
    PackagedLibrary,
    PopulationReport,
    ProjectionReport,
    Report,
    WindowsFrom,
)
from l2mu_compile.samples import check_samples
from l2mu_compile.steps import Steps
from l2mu_compile.stream import Stream, stream_of
from l2mu_compile.targets.backends import get_backend
from l2mu_compile.targets.build import runs_here
from l2mu_compile.targets.commands import CommandLog
from l2mu_compile.targets.costs import Costs
from l2mu_compile.targets.emit_c import TOOL, state_bytes, stream_bytes
from l2mu_compile.targets.kernel_costs import in_all, predicted
from l2mu_compile.targets.product import Product, Window
from l2mu_compile.targets.record import Target
from l2mu_compile.targets.room import require_room
from l2mu_compile.windows import Windows

SELF_CHECK_WINDOWS = 4
SELF_CHECK_STEPS = 50
VALIDATION_WINDOWS = 8
STEP_WINDOWS = 16
SELF_CHECK_SAMPLES = 1 << 24  # numbers in one window

_ORIGINS: dict[WindowsFrom, str] = {
    "calibration": "The first calibration window.",
    "random": "Random numbers (no calibration data was given).",
}


@dataclass(frozen=True)
class Job:
    """How to compile: everything besides the model and where the output goes.

    ``windows`` calibrate and are what the fresh code is checked on; random ones serve without.
    ``labelled`` ones are for passes that train.
    ``backend`` names one of BACKENDS, ``board`` the one that ``target`` was made for. ``window``
    and ``hop`` are those of streams, if not the default ones (`stream_of`). ``artifacts`` are
    packages to make besides what is always built, ``java_package`` is where those for Java put
    their class. ``command`` goes into the report; with a ``provenance`` it and
    a bill of materials are written too. ``progress_of(what)`` gives a progress callback
    for a phase.
    """

    target: Target
    passes: tuple[Pass, ...]
    windows: Windows | None = None
    labelled: LabelledWindows | None = None
    backend: str = "c"
    board: str | None = None
    window: int | None = None
    hop: int | None = None
    artifacts: tuple[str, ...] = ()
    java_package: str | None = None
    command: tuple[str, ...] = ()
    provenance: Provenance | None = None
    observer: Observer | None = None
    check_passes: bool = True
    log: CommandLog = field(default_factory=CommandLog)
    progress_of: ProgressOf = no_progress


def compile_model(model: Model, job: Job, output: StrPath) -> Report:
    """Compile ``model`` into the directory ``output`` and check the result on a few windows.

    ``output`` appears whole or not at all. Raises `ModelError` if the model cannot be compiled,
    `BudgetError` if it does not fit the target's memory, `MismatchError` if the fresh code is not
    bit-exact, `ToolchainError` if it cannot be built, `UsageError` if ``output`` cannot be written.
    Code that nothing on this machine runs is left unchecked, which a note in the report says.
    """
    backend = get_backend(job.backend)
    packages = backend.packages(job.target, job.artifacts)
    job = replace(job, target=backend.prepared(job.target))
    compilation = _compilation(model, job)
    compilation.require_stream()
    windows = (compilation.windows if job.windows is None else job.windows).first(STEP_WINDOWS)
    measured = job.target if backend.is_measured else None
    steps = Steps(model.network, windows, STEP_WINDOWS, measured)

    def observe(item: Pass, before: Network, after: Network) -> None:
        steps.observe(item, before, after)
        if job.observer:
            job.observer(item, before, after)

    network = compilation.network(job.target, observe)
    program = lower(network, compilation.stream(network))
    require_room(program, job.target, job.board or job.target.name, network.quantized)
    with whole_directory(output) as folder:
        _write_networks(folder, model.network, network, program)
        scratch = folder.with_name("objects")
        product = compilation.product(network, program, job.target, folder, scratch)
        if progress := job.progress_of("building"):
            progress(0, 0)
        costs = backend.build(product)
        report = _describe(model, job, network, program, folder, costs)
        measured_on = f"{len(steps.windows.x)} {compilation.origin} windows"
        account = {"steps": steps.taken, "steps_measured_on": measured_on}
        report = report.model_copy(update=account)
        if "firmware" in job.target.artifacts:
            decision = int(run(network, compilation.windows.x[:1]).decisions[0])
            report = report.model_copy(update={"firmware_decision": decision})
        check = compilation.check_of(network, program, job.target, product.image)
        try:
            report = check.on(compilation.windows, compilation.origin, report, job.progress_of)
        except NoEmulatorError as error:
            report = check.not_run(compilation.windows, report)
            compilation.note(f"the code was built but not run: {error}")
        require_exact(report.verify)
        for package in packages:
            package.make(replace(product, report=report))
        if job.provenance:
            _write_origin(folder, program.name, report, job.provenance)
        report = report.model_copy(
            update={
                "artifacts": _artifacts(folder),
                "libraries": compilation.libraries,
                "notes": compilation.notes,
            }
        )
        (folder / REPORT_FILE).write_text(report.to_json(), encoding="utf-8")
    return report


@dataclass(frozen=True)
class _Compilation:
    """One run of `compile_model`: what the products for all its targets share.

    ``windows`` are what built code is checked on. ``notes`` and ``libraries`` gather what the
    report will say.
    """

    model: Model
    job: Job
    windows: Windows
    origin: WindowsFrom
    notes: list[str]
    libraries: list[PackagedLibrary] = field(default_factory=list)

    def network(self, target: Target, observer: Observer | None = None) -> Network:
        """The model after the passes, for ``target``."""
        job = self.job
        context = Context(
            target=target,
            samples=None if job.windows is None else job.windows.x,
            samples_from="" if job.windows is None else job.windows.source,
            labelled=job.labelled,
            note=self.note,
            progress=job.progress_of("calibrating"),
        )
        network = run_passes(self.model.network, job.passes, context, observer, job.check_passes)
        if network.stage != "planned":
            raise UsageError(f"the passes end with a {network.stage} network; end with plan-memory")
        return network

    def require_stream(self) -> None:
        """Raise `UsageError` for windows that the network after the passes cannot have."""
        window = self.model.network.window
        for item in self.job.passes:
            window = item.window_after(window)
        self.stream(self.model.network.replace(window=window))

    def stream(self, network: Network) -> Stream | None:
        """What windows on a stream are for ``network``, if that is known and there are streams."""
        job = self.job
        if not get_backend(job.backend).has_streams:
            for option, value in (("window", job.window), ("hop", job.hop)):
                if value is not None:
                    raise UsageError(
                        f"--{option} {value}: --backend {job.backend} makes no streams; use "
                        "--backend c"
                    )
            return None
        steps = None if job.windows is None else job.windows.x.shape[1]
        return stream_of(network, job.window, job.hop, steps)

    def product(
        self, network: Network, program: Program, target: Target, output: Path, scratch: Path
    ) -> Product:
        """``network`` and its ``program``, made for ``target``, as builds and packages see them."""

        def check(library: Path, name: str) -> PackagedLibrary:
            return self._packaged(self.check_of(network, program, target, library), name)

        def for_target(other: Target) -> Product:
            folder = scratch / other.name
            folder.mkdir(parents=True, exist_ok=True)
            made = self.network(other)
            program = lower(made, self.stream(made))
            return self.product(made, program, other, folder / "output", folder)

        return Product(
            network=network,
            program=program,
            target=target,
            window=Window(check_samples(network, self.windows.x)[0], _ORIGINS[self.origin]),
            stamp=_stamp(self.model, self.job, target, program),
            output=output,
            scratch=scratch,
            log=self.job.log,
            check=check,
            for_target=for_target,
            note=self.note,
            raw=network.input.is_raw or self.windows.x.dtype == np.int16,
            java_package=self.job.java_package,
        )

    def note(self, text: str) -> None:
        """Keep a line for the user; passes that run for several targets say it several times."""
        if text not in self.notes:
            self.notes.append(text)

    def check_of(self, network: Network, program: Program, target: Target, image: Path) -> Check:
        """What compares ``image``, built from ``program``, with ``network``."""
        backend = self.job.backend
        original, decide = self.model.network, self.model.decide
        return Check(network, program, target, image, original, decide, backend=backend)

    def _packaged(self, check: Check, name: str) -> PackagedLibrary:
        content = check.image.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        entry = PackagedLibrary(
            path=name, target=check.target.name, bytes=len(content), sha256=digest
        )
        if runs_here(check.target):
            measured = check.measure(self.windows, self.origin, None, self.job.progress_of)
            require_exact(measured["verify"])
            known = PackagedLibrary.model_fields
            entry = entry.model_copy(update={k: v for k, v in measured.items() if k in known})
        self.libraries.append(entry)
        return entry


def _compilation(model: Model, job: Job) -> _Compilation:
    """Check that model and windows fit each other, and start."""
    notes = list(model.notes)
    if job.windows is not None:
        job.windows.require_fit(model.network)
        notes += model.validate(job.windows.first(VALIDATION_WINDOWS).x)
    windows, origin = _self_check_windows(model.network, job.windows)
    return _Compilation(model, job, windows, origin, notes)


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


def _write_origin(folder: Path, name: str, report: Report, origin: Provenance) -> None:
    from l2mu_compile.sbom import SBOM_FILE, sbom

    report = report.model_copy(update={"artifacts": _artifacts(folder)})
    (folder / SBOM_FILE).write_text(sbom(report, origin, name), encoding="utf-8")
    (folder / PROVENANCE_FILE).write_text(origin.to_json(), encoding="utf-8")


def _stamp(model: Model, job: Job, target: Target, program: Program) -> tuple[str, ...]:
    source = f"{model.source.kind} {model.source.name}"
    digest = f", sha256 {model.source.sha256}" if model.source.sha256 else ""
    lines = [
        f"{program.name}: generated by {TOOL} for {target.name}",
        f"from {source}{digest}",
        f"passes: {', '.join(map(str, job.passes))}",
        f"command: {' '.join(job.command)}",
    ]
    return tuple(_comment(line) for line in lines)


def _comment(line: str) -> str:
    """Safe inside a C comment, whatever a file was called."""
    clean = printable(line).replace("*/", "* /").replace("/*", "/ *").replace("\\", "/")
    return re.sub(r"\?(?=\?)", "? ", clean)


def _describe(
    model: Model, job: Job, network: Network, program: Program, folder: Path, costs: Costs
) -> Report:
    taken: dict[str, float] = {}
    for call, instructions in zip(program.step, costs.calls or (), strict=False):
        taken[call.owner] = taken.get(call.owner, 0.0) + instructions
    foreseen = predicted(network, program, job.target)
    if not get_backend(job.backend).is_measured:
        foreseen = dict.fromkeys(foreseen)
    return Report(
        tool=TOOL,
        command=list(job.command),
        source=model.source,
        target=job.target.name,
        backend=job.backend,
        numbers="int8" if network.quantized else "float32",
        passes=[str(p) for p in job.passes],
        board=job.board,
        cpu=job.target.cpu,
        digest=program.digest,
        class_names=list(program.labels),
        window=None if program.stream is None else program.stream.window,
        hop=None if program.stream is None else program.stream.hop,
        flash_bytes=costs.flash,
        ram_bytes=costs.ram,
        stack_bounds=costs.stack,
        predicted_instructions_per_step=in_all(foreseen),
        instructions_if_all_spike=costs.all_spike,
        weights_bytes=program.data_bytes,
        state_bytes=state_bytes(program),
        stream_bytes=stream_bytes(program) or None,
        synaptic_operations_per_step=0.0,
        spike_rates={},
        populations=[
            PopulationReport(
                name=p.name,
                neurons=p.size,
                neuron=p.neuron.kind,
                membranes=state_ctype(network, p),
                kernel=str(p.kernel),
                instructions_per_step=taken.get(p.name),
                predicted_instructions_per_step=foreseen.get(p.name),
            )
            for p in network.populations
        ],
        projections=[
            ProjectionReport(
                name=p.name,
                structure=_structure(p),
                synapses=p.synapses,
                bits=p.bits,
                bytes=p.stored_bytes,
                kernel=str(p.kernel),
                instructions_per_step=taken.get(p.name),
                predicted_instructions_per_step=foreseen.get(p.name),
            )
            for p in network.projections
        ],
        artifacts=_artifacts(folder),
    )


def _artifacts(folder: Path) -> list[Artifact]:
    return [Artifact(path=n, bytes=b, sha256=d) for n, b, d in files_below(folder)]


def _structure(p: Projection) -> str:
    if p.convolution is not None:
        return "convolution"
    return f"{p.blocks} blocks" if p.blocks else "dense"
