"""``report.json``: what was compiled, what it costs and how it was checked, as pydantic models.

The JSON schema is shipped beside this file as ``report.schema.json``; ``python -m
l2mu_compile.report`` prints it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from l2mu_compile.errors import ModelError, reason
from l2mu_compile.paths import StrPath, file_bytes
from l2mu_compile.versions import require_json_version

MAX_FILE_BYTES = 16 << 20


PREDICTED = (
    "by what its kernel was measured to take, at the spike rates of calibration, or at 10 % where "
    "there was none; None for kernels that were not measured on this target"
)

STEP_PREDICTED = (
    "by what kernels were measured to take, at the spike rates of this network on these windows; "
    "None without a target, or where not all of its kernels were measured"
)

OPERATIONS = (
    "weights that are not zero, added in a time step because spikes arrived; those of samples that "
    "are numbers are multiplied and do not count"
)

WindowsFrom = Literal["random", "calibration", "given"]


class Strict(BaseModel):
    """What files hold: no field that is not known."""

    model_config = ConfigDict(extra="forbid")


class Source(Strict):
    """Where the model came from; ``sha256`` is that of the checkpoint file, if it was one."""

    kind: str = Field(
        description="checkpoint layout, 'module', 'network', 'nir', 'onnx', or an importer's name"
    )
    name: str
    sha256: str | None = None


class PopulationReport(Strict):
    """One population of the compiled network."""

    name: str
    neurons: int
    neuron: str
    membranes: str = Field(description="what they are kept in: float, int32_t or int16_t")
    kernel: str
    instructions_per_step: float | None = Field(
        None, description="of its neurons, on the first calibration window; None if not counted"
    )
    predicted_instructions_per_step: float | None = Field(None, description=PREDICTED)


class ProjectionReport(Strict):
    """One projection of the compiled network."""

    name: str
    structure: str
    synapses: int = Field(description="those that are not zero")
    bits: int = Field(description="of a weight, as stored")
    bytes: int = Field(description="of all weights, as stored")
    kernel: str
    instructions_per_step: float | None = Field(
        None, description="on the first calibration window, None if not counted"
    )
    predicted_instructions_per_step: float | None = Field(None, description=PREDICTED)


class PopulationStep(Strict):
    """A population of a network on the way."""

    name: str
    neurons: int
    bytes: int = Field(description="of parameters and biases, as stored")
    spike_rate: float = Field(description="spikes per neuron and step")
    instructions_per_step: float | None = Field(None, description=STEP_PREDICTED)


class ProjectionStep(Strict):
    """A projection of a network on the way."""

    name: str
    synapses: int = Field(description="those that are not zero")
    bytes: int = Field(description="of weights and shifts, as stored")
    synaptic_operations_per_step: float = Field(description=OPERATIONS)
    instructions_per_step: float | None = Field(None, description=STEP_PREDICTED)


class Drift(Strict):
    """How far a population's spikes are from those of the model as given (`l2mu_compile.drift`)."""

    population: str
    rate: float = Field(description="spikes per neuron and step, less those of the model as given")
    distance: float = Field(
        ge=0,
        le=1,
        description="van Rossum's, of spike trains: 0 where they are the same, 1 where no spike is "
        "near one of the other; about the share of spikes that are elsewhere",
    )
    compared: Literal["neurons", "sum"] = Field(
        description="trains of every neuron, or where their number differs all spikes of a step"
    )


class SynapticOperations(Strict):
    """Of a window, as NeuroBench counts and calls them."""

    Effective_MACs: float
    Effective_ACs: float
    Dense: float


class NeuroBench(Strict):
    """NeuroBench's metrics, by its names (`l2mu_compile.neurobench`)."""

    footprint: int
    connection_sparsity: float
    activation_sparsity: float
    synaptic_operations: SynapticOperations
    membrane_updates: float


class Step(Strict):
    """A network on the way: as it came, or after a pass."""

    after: str | None = Field(description="the pass with its options; None for the model as given")
    stage: str
    neurons: int
    synapses: int = Field(description="those that are not zero")
    parameter_bytes: int
    accuracy: float | None = Field(
        None, description="share of right decisions; None where labels are not known"
    )
    steps_per_decision: float = Field(description="mean steps of a window until it is decided")
    synaptic_operations_per_step: float = Field(description=OPERATIONS)
    instructions_per_step: float | None = Field(None, description=STEP_PREDICTED)
    populations: list[PopulationStep]
    projections: list[ProjectionStep]
    drift: list[Drift] = Field(description="of every population of the model as given")
    neurobench: NeuroBench


class Artifact(Strict):
    """A file of the output directory."""

    path: str
    bytes: int
    sha256: str


class Difference(Strict):
    """The first value that was not as the interpreter says."""

    window: int
    step: int
    quantity: str
    neuron: int
    expected: float
    actual: float


class Verification(Strict):
    """The compiled code against the interpreter (bit for bit) and the float model (decisions)."""

    windows: int
    steps: int
    windows_from: WindowsFrom = Field(
        description="random numbers (agreement says nothing about real data), calibration data, "
        "or data given for verification"
    )
    ran_on: str
    emulator: str | None = Field(
        None, description="what ran it: 'unicorn' or a program of QEMU's; None for this machine"
    )
    bit_exact: bool
    first_difference: Difference | None = None
    float_model: str = Field(
        description="'pytorch', or 'network' for the network as given, before any pass"
    )
    decision_agreement_with_float: float = Field(description="share of equal decisions")
    decisions_unlike_float: int = Field(
        description="windows that the float model decides otherwise"
    )
    accuracy_float: float | None = Field(None, description="None where labels are not known")
    accuracy_compiled: float | None = None


class PackagedLibrary(Strict):
    """A library inside a package that is another build than the one in ``lib``."""

    path: str = Field(description="its place; within an archive after the archive's and a colon")
    target: str
    bytes: int
    sha256: str
    instructions_per_step_mean: float | None = Field(None, description="None if not counted")
    stack_bytes: int | None = Field(None, description="deepest stack seen, None if not measured")
    verify: Verification | None = Field(
        None, description="when compiled; None where this machine cannot run the target's code"
    )


class ReportFile(Strict):
    """What every file of a command begins with."""

    format_version: Literal[1] = 1
    tool: str
    command: list[str]
    source: Source

    def to_json(self) -> str:
        """The file's text."""
        return self.model_dump_json(indent=2) + "\n"


Kind = TypeVar("Kind", bound=Strict)


class Report(ReportFile):
    """The whole report. Instructions are those executed or passed over by a condition."""

    target: str
    backend: Literal["c", "tvm"] = Field("c", description="what made the binaries: C, or TVM")
    board: str | None = Field(None, description="the board whose memory was used, if one was named")
    cpu: str = Field("", description="processor and features, as zig spells them")
    numbers: str = Field(description="'float32' or 'int8'")
    passes: list[str]
    notes: list[str] = []
    digest: str = Field(description="SHA-256 of the compiled network, which the code also returns")
    class_names: list[str]
    window: int | None = Field(None, description="samples in a window of a stream, if known")
    hop: int | None = Field(None, description="samples from the start of a window to the next's")
    flash_bytes: int = Field(
        description="code and constants of a program that takes samples and decides, start-up code "
        "included; of a library with all functions where programs are not linked here"
    )
    ram_bytes: int = Field(description="variables, one state included, stack excluded")
    stack_bytes: int | None = Field(
        None, description="deepest stack seen while steps were checked, None if not measured"
    )
    stack_bounds: dict[str, int] | None = Field(
        None,
        description="bytes of stack that a call takes at most, by function, read from the machine "
        "code; None where that cannot be told",
    )
    weights_bytes: int = Field(description="all constant arrays")
    state_bytes: int
    stream_bytes: int | None = Field(None, description="a stream's states and results")
    instructions_per_step_mean: float | None = Field(
        None,
        description="not cycles; counted by unicorn, or by QEMU for processors that unicorn lacks, "
        "which counts alike; None if not counted",
    )
    instructions_per_step_max: int | None = Field(None, description="largest seen")
    predicted_instructions_per_step: float | None = Field(
        None,
        description="all that is predicted for populations and projections, with the conversion "
        "of a float sample and the readout; None if not all of it is known",
    )
    instructions_if_all_spike: int | None = Field(
        None,
        description="of a step in which every neuron spikes, conversion of a float sample "
        "included; none takes more. None for float networks and where nothing counts",
    )
    steps_per_decision: float | None = Field(
        None, description="mean steps of a window until it is decided; all, unless it decides early"
    )
    instructions_per_window_mean: float | None = Field(
        None, description="of the steps until it is decided"
    )
    synaptic_operations_per_step: float = Field(description=OPERATIONS)
    spike_rates: dict[str, float] = Field(description="spikes per neuron and step, by population")
    populations: list[PopulationReport]
    projections: list[ProjectionReport]
    steps: list[Step] = Field([], description="the network as it came, and after every pass")
    steps_measured_on: str = Field("", description="the windows that steps were measured on")
    artifacts: list[Artifact]
    firmware_decision: int | None = Field(
        None, description="what the firmware prints for its window; None without firmware"
    )
    verify: Verification | None = None
    libraries: list[PackagedLibrary] = Field([], description="inside packages, such as an .aar")


def load_report(path: StrPath) -> Report:
    """Read a report. Raises `ModelError` naming the file and the field that is wrong."""
    return load_report_file(path, Report)


def load_report_file(path: StrPath, kind: type[Kind]) -> Kind:
    """Read a file of ``kind``, which has a ``format_version``. Raises `ModelError` naming the file
    and the field that is wrong."""
    path = Path(path)
    try:
        if file_bytes(path) > MAX_FILE_BYTES:
            raise ModelError(f"larger than {MAX_FILE_BYTES} bytes, not a report")
        text = path.read_text(encoding="utf-8")
        require_json_version(text, kind.model_fields["format_version"].default)
        return kind.model_validate_json(text)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: cannot read the report: {reason(error)}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ": ".join(filter(None, (str(path), ".".join(map(str, first["loc"])))))
        raise ModelError(f"{place}: {first['msg']}") from None


def schema() -> str:
    """The JSON schema of a report."""
    return json.dumps(Report.model_json_schema(), indent=2) + "\n"


if __name__ == "__main__":
    print(schema(), end="")
