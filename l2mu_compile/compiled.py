"""What the compiler wrote: checked against interpreter and float model, or loaded to run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.differential import Comparison, compare
from l2mu_compile.errors import MismatchError, ModelError, UsageError, reason
from l2mu_compile.frontend import Decide, Model, on_counts, read_network
from l2mu_compile.interpreter import Progress, Run, run
from l2mu_compile.lowering import lower
from l2mu_compile.network import Network
from l2mu_compile.output import file_digest, write_whole
from l2mu_compile.paths import StrPath
from l2mu_compile.program import Program
from l2mu_compile.report import Difference, Report, Verification, WindowsFrom, load_report
from l2mu_compile.samples import check_samples
from l2mu_compile.targets.backends import get_backend
from l2mu_compile.targets.boards import get_board
from l2mu_compile.targets.devices import Device, HostModel
from l2mu_compile.targets.product import executable_path, image_path
from l2mu_compile.targets.record import Target
from l2mu_compile.targets.registry import get_target
from l2mu_compile.targets.tvm_build import TensorModel
from l2mu_compile.windows import Windows

NETWORK_FILE, FLOAT_FILE, REPORT_FILE = "network.txt", "float/network.txt", "report.json"
SEARCH_FILE, COMPILED = "search.json", "compiled"  # a search's report, and what it compiled

BATCH = 256  # windows the float model decides at a time

ProgressOf = Callable[[str], Progress | None]


def no_progress(_phase: str) -> Progress | None:
    """Nobody looks."""
    return None


def verify_output(
    folder: StrPath,
    windows: Windows,
    reference: Model | None = None,
    progress_of: ProgressOf = no_progress,
    emulator: str | None = None,
) -> Report:
    """Run ``windows`` through a compiled directory and write the outcome into its report.

    Decisions are compared with the PyTorch model ``reference`` if given, else with the traced float
    network kept in the directory. ``emulator`` is one of EMULATORS, or None for the usual one.
    Where the report cannot be written the one returned says so in a note. Raises `ModelError` if
    the directory is not what the compiler wrote, `UsageError` if ``reference`` is not the model it
    was compiled from, `NoEmulatorError` if nothing here runs the code, `MismatchError` after
    writing the report if it is not bit-exact.
    """
    folder = Path(folder)
    report = load_report(folder / REPORT_FILE)
    require_untouched(folder, report)
    network, program = read_program(folder)
    original = read_network(folder / FLOAT_FILE)
    windows.require_fit(network)
    windows.require_fit(original)
    decide = _decisions(reference, report, original) if reference else None
    target = _target_of(report)
    whole = emulator == "qemu" and target.shared
    image = executable_path(program, folder) if whole else image_path(program, target, folder)
    check = Check(network, program, target, image, original, decide, emulator, report.backend)
    report = check.on(windows, "given", report, progress_of)
    report = _write_report(folder / REPORT_FILE, report)
    require_exact(report.verify)
    return report


def load_host_model(folder: StrPath) -> HostModel | TensorModel:
    """The library of a directory compiled for this machine, callable on NumPy windows.

    Raises `UsageError` if ``folder`` was compiled for another machine, `ModelError` if it is not
    what the compiler wrote.
    """
    folder = Path(folder)
    report = load_report(folder / REPORT_FILE)
    program, target = read_program(folder)[1], _target_of(report)
    backend = get_backend(report.backend)
    device = backend.open(program, target, image_path(program, target, folder), None)
    if not isinstance(device, HostModel | TensorModel):
        raise UsageError(f"{folder} was compiled for {report.target}, not for this machine")
    return device


@dataclass(frozen=True)
class Check:
    """A built image against the interpreter, and against the float model.

    ``decide`` is the PyTorch model's, or None to take the decisions of the network ``original``.
    """

    network: Network
    program: Program
    target: Target
    image: Path
    original: Network
    decide: Decide | None
    emulator: str | None = None
    backend: str = "c"

    def on(
        self, windows: Windows, origin: WindowsFrom, report: Report, progress_of: ProgressOf
    ) -> Report:
        """``report`` with what was measured on ``windows``."""
        measured = self.measure(windows, origin, report.firmware_decision, progress_of)
        return report.model_copy(update=measured)

    def measure(
        self,
        windows: Windows,
        origin: WindowsFrom,
        firmware_decision: int | None,
        progress_of: ProgressOf,
    ) -> dict[str, Any]:
        """Fields of a report, by name; ``firmware_decision`` is what a whole image must decide."""
        device = self._open()
        whole, labels = check_samples(self.original, windows.x), windows.y
        progress = progress_of("checking code")
        result = compare(self.network, self.program, self._open, windows.x, progress)
        difference = result.first_difference or _firmware_difference(device, firmware_decision)
        wanted = self._float_decisions(whole, progress_of("float model"))
        measured = self._activity(result) | _instruction_counts(result)
        measured |= {
            "verify": Verification(
                windows=result.windows,
                steps=result.steps,
                windows_from=origin,
                ran_on=self.target.name,
                emulator=device.emulator,
                bit_exact=difference is None,
                first_difference=difference,
                float_model="pytorch" if self.decide else "network",
                decision_agreement_with_float=_mean_equal(result.decisions, wanted),
                decisions_unlike_float=int((result.decisions != wanted).sum()),
                accuracy_float=None if labels is None else _mean_equal(wanted, labels),
                accuracy_compiled=None if labels is None else _mean_equal(result.decisions, labels),
            ),
        }
        return measured

    def not_run(self, windows: Windows, report: Report) -> Report:
        """``report`` with what the interpreter alone can tell of ``windows``."""
        return report.model_copy(
            update=self._activity(run(self.network, check_samples(self.network, windows.x)))
        )

    def _activity(self, result: Comparison | Run) -> dict[str, Any]:
        per_step = result.windows * result.steps
        return {
            "steps_per_decision": float(result.needed.mean()),
            "synaptic_operations_per_step": result.operations / per_step,
            "spike_rates": {
                p.name: result.spike_totals[p.name] / (p.size * per_step)
                for p in self.network.populations
            },
        }

    def _open(self) -> Device:
        backend = get_backend(self.backend)
        return backend.open(self.program, self.target, self.image, self.emulator)

    def _float_decisions(self, x: NDArray, progress: Progress | None) -> NDArray:
        parts = []
        for start in range(0, len(x), BATCH):
            part = x[start : start + BATCH]
            parts.append(self.decide(part) if self.decide else run(self.original, part).decisions)
            if progress:
                progress(start + len(part), len(x))
        return np.concatenate(parts)


def require_exact(check: Verification | None) -> None:
    """Raise `MismatchError` with the first difference that was seen, if any."""
    if check is None or check.first_difference is None:
        return
    d = check.first_difference
    raise MismatchError(
        f"not bit-exact on {check.ran_on}: window {d.window}, step {d.step}, "
        f"{d.quantity}[{d.neuron}] is {d.actual:g}, the interpreter says {d.expected:g}"
    )


def read_program(folder: Path) -> tuple[Network, Program]:
    network = read_network(folder / NETWORK_FILE)
    try:
        return network, lower(network)
    except ModelError as error:
        raise ModelError(f"{folder / NETWORK_FILE}: {error}") from error


def _decisions(reference: Model, report: Report, original: Network) -> Decide:
    """The PyTorch model's decisions, once it is shown to be the one that was compiled."""
    given, compiled = reference.source, report.source
    traced = compiled.kind != "network"  # a network's text has a digest of its own
    if traced and None not in (given.sha256, compiled.sha256) and given.sha256 != compiled.sha256:
        raise UsageError(
            f"{given.name}: its SHA-256 is {_short(given.sha256)}, but this was compiled from "
            f"{compiled.name} with {_short(compiled.sha256)}; give that file, or compile again"
        )
    entry, classes = reference.network.input.size, reference.network.classes
    if (entry, classes) != (original.input.size, original.classes):
        raise UsageError(
            f"{given.name}: maps {entry} channels to {classes} classes, but this was compiled "
            f"from a model of {original.input.size} channels and {original.classes} classes"
        )
    if reference.decide is None:
        raise UsageError(f"{given.name}: gives no decisions to compare with; leave it out")
    return on_counts(reference.decide, original.input)


def _short(digest: str | None) -> str:
    return f"{(digest or '')[:12]}…"


def _target_of(report: Report) -> Target:
    return get_target(report.target) if report.board is None else get_board(report.board).applied()


def _firmware_difference(device: Device, expected: int | None) -> Difference | None:
    """Run the image from reset: its decision on its own window must be the interpreter's."""
    actual = None if expected is None else device.run_firmware()
    if expected is None or actual is None or actual == expected:
        return None
    return Difference(
        window=0,
        step=0,
        quantity="firmware decision",
        neuron=0,
        expected=expected,
        actual=actual,
    )


def _instruction_counts(result: Comparison) -> dict[str, Any]:
    """Of all steps, and the deepest stack they took; what was not measured stays as it was."""
    stack, counts = result.stack_bytes, result.instructions
    measured: dict[str, Any] = {} if stack is None else {"stack_bytes": stack}
    if counts is not None:
        measured |= {
            "instructions_per_step_mean": float(counts.mean()),
            "instructions_per_step_max": int(counts.max()),
            "instructions_per_window_mean": float(counts[_taken(result)].sum() / result.windows),
        }
    return measured


def _taken(result: Comparison) -> NDArray:
    """Steps that windows take until they are decided, bool ``[B, T]``."""
    taken: NDArray = np.arange(result.steps) < result.needed[:, None]
    return taken


def require_untouched(folder: Path, report: Report) -> None:
    """Raise `ModelError` unless every artifact of ``report`` is in ``folder``, as compiled."""
    for needed in {NETWORK_FILE, FLOAT_FILE} - {artifact.path for artifact in report.artifacts}:
        raise ModelError(f"{folder / REPORT_FILE}: artifacts: does not list {needed}")
    for artifact in report.artifacts:
        path = folder / artifact.path
        try:
            if not path.resolve().is_relative_to(folder.resolve()):
                raise ModelError(f"{path}: lies outside of {folder}, which no artifact does")
            if not path.is_file():
                raise ModelError(f"{path}: is missing since it was compiled")
            changed = path.stat().st_size != artifact.bytes or file_digest(path) != artifact.sha256
        except (OSError, ValueError) as error:
            raise ModelError(f"{path}: cannot be read: {reason(error)}") from None
        if changed:
            raise ModelError(f"{path}: has changed since it was compiled")


def _write_report(path: Path, report: Report) -> Report:
    try:
        write_whole(path, report.to_json())
    except OSError as error:
        note = f"{path}: cannot be written ({reason(error)}); it still holds the earlier outcome"
        return report.model_copy(update={"notes": [*report.notes, note]})
    return report


def _mean_equal(a: NDArray, b: NDArray) -> float:
    return float((a == b).mean())
