"""``report.json``: what was compiled, what it costs and how it was checked, as pydantic models.

The JSON schema is shipped beside this file as ``report.schema.json``; ``python -m
l2mu_compile.report`` prints it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from l2mu_compile.errors import ModelError


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Source(_Strict):
    """Where the model came from; ``sha256`` is that of the checkpoint file, if it was one."""

    kind: str = Field(description="checkpoint layout, 'module' or 'network'")
    name: str
    sha256: str | None = None


class PopulationReport(_Strict):
    """One population of the compiled network."""

    name: str
    neurons: int
    neuron: str


class ProjectionReport(_Strict):
    """One projection of the compiled network."""

    name: str
    structure: str
    synapses: int
    bytes: int
    kernel: str


class Artifact(_Strict):
    """A file of the output directory."""

    path: str
    bytes: int
    sha256: str


class Difference(_Strict):
    """The first value that was not as the interpreter says."""

    window: int
    step: int
    quantity: str
    neuron: int
    expected: float
    actual: float


class Verification(_Strict):
    """The compiled code against the interpreter (bit for bit) and the float model (decisions)."""

    windows: int
    steps: int
    ran_on: str
    emulator: str | None = Field(
        None, description="what ran it: 'unicorn' or a program of QEMU's; None for this machine"
    )
    bit_exact: bool
    first_difference: Difference | None = None
    float_model: str = Field(description="'pytorch', or 'network' for the traced float network")
    decision_agreement_with_float: float
    accuracy_float: float | None = Field(None, description="None where labels are not known")
    accuracy_compiled: float | None = None


class Report(_Strict):
    """The whole report. Bytes are bytes; instructions are executed instructions, not cycles."""

    format_version: Literal[1] = 1
    tool: str
    command: list[str]
    source: Source
    target: str
    numbers: str = Field(description="'float32' or 'int8'")
    passes: list[str]
    notes: list[str] = []
    flash_bytes: int = Field(description="code and constants of the model, start-up code included")
    ram_bytes: int = Field(description="variables, state included, stack excluded")
    stack_bytes: int | None = Field(None, description="deepest stack seen, None if not measured")
    weights_bytes: int = Field(description="all constant arrays")
    state_bytes: int
    instructions_per_step_mean: float | None = Field(
        None,
        description="None if not counted; counts by QEMU, which are those of targets that unicorn "
        "does not run, include instructions whose condition failed",
    )
    instructions_per_step_max: int | None = Field(None, description="largest seen")
    instructions_per_window_mean: float | None = None
    synaptic_operations_per_step: float
    spike_rates: dict[str, float] = Field(description="spikes per neuron and step, by population")
    populations: list[PopulationReport]
    projections: list[ProjectionReport]
    artifacts: list[Artifact]
    firmware_decision: int | None = Field(
        None, description="what the firmware prints for its window; None without firmware"
    )
    verify: Verification | None = None

    def to_json(self) -> str:
        """The file's text."""
        return self.model_dump_json(indent=2) + "\n"


def load_report(path: Path) -> Report:
    """Read a report. Raises `ModelError` naming the file and the field that is wrong."""
    try:
        return Report.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: cannot read the report: {error}") from None
    except ValidationError as error:
        problems = error.errors()
        versions = [p for p in problems if p["loc"] == ("format_version",)]
        first = (versions or problems)[0]
        field = ".".join(map(str, first["loc"]))
        raise ModelError(f"{path}: {field}: {first['msg']}") from None


def schema() -> str:
    """The JSON schema of a report."""
    return json.dumps(Report.model_json_schema(), indent=2) + "\n"


if __name__ == "__main__":
    print(schema(), end="")
