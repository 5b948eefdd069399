"""The report's model, its file, and the schema that is shipped for others to check against."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import l2mu_compile
from l2mu_compile.errors import ModelError
from l2mu_compile.report import Report, load_report, schema

SHIPPED = Path(l2mu_compile.__file__).with_name("report.schema.json")

FULL = {
    "format_version": 1,
    "tool": "l2mu-compile 0",
    "command": ["l2mu-compile", "compile"],
    "source": {"kind": "raw", "name": "net.pt", "sha256": "00"},
    "target": "host",
    "numbers": "float32",
    "passes": ["plan-memory"],
    "digest": "ab" * 32,
    "class_names": ["0", "1"],
    "flash_bytes": 10,
    "ram_bytes": 20,
    "weights_bytes": 5,
    "state_bytes": 4,
    "synaptic_operations_per_step": 1.5,
    "spike_rates": {"u": 0.25},
    "populations": [
        {"name": "u", "neurons": 3, "neuron": "lif", "membranes": "int16_t", "kernel": "i16"}
    ],
    "projections": [],
    "steps": [
        {
            "after": None,
            "stage": "traced",
            "neurons": 3,
            "synapses": 6,
            "parameter_bytes": 48,
            "steps_per_decision": 2.0,
            "synaptic_operations_per_step": 1.5,
            "populations": [{"name": "u", "neurons": 3, "bytes": 24, "spike_rate": 0.25}],
            "projections": [
                {"name": "u.x", "synapses": 6, "bytes": 24, "synaptic_operations_per_step": 0}
            ],
            "drift": [{"population": "u", "rate": -0.1, "distance": 0.5, "compared": "neurons"}],
            "neurobench": {
                "footprint": 48,
                "connection_sparsity": 0.0,
                "activation_sparsity": 0.75,
                "synaptic_operations": {"Effective_MACs": 9, "Effective_ACs": 0, "Dense": 12},
                "membrane_updates": 6,
            },
        }
    ],
    "artifacts": [{"path": "network.txt", "bytes": 1, "sha256": "11"}],
    "verify": {
        "windows": 1,
        "steps": 2,
        "windows_from": "random",
        "ran_on": "host",
        "bit_exact": False,
        "first_difference": {
            "window": 0,
            "step": 1,
            "quantity": "u.v",
            "neuron": 2,
            "expected": 0.1,
            "actual": 0.2,
        },
        "float_model": "network",
        "decision_agreement_with_float": 1.0,
        "decisions_unlike_float": 0,
    },
}


def test_shipped_schema_is_current():
    assert SHIPPED.read_text(encoding="utf-8") == schema(), "run `make schema`"


def test_module_prints_the_schema():
    command = [sys.executable, "-m", "l2mu_compile.report"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == schema()


def test_schema_covers_every_field():
    found = json.loads(schema())
    assert set(found["properties"]) == set(Report.model_fields)
    assert found["additionalProperties"] is False
    assert set(found["required"]) <= set(FULL)


def test_round_trip(tmp_path):
    report = Report.model_validate(FULL)
    path = tmp_path / "report.json"
    path.write_text(report.to_json(), encoding="utf-8")
    assert load_report(path) == report
    assert json.loads(report.to_json())["verify"]["first_difference"]["neuron"] == 2
    assert report.to_json().endswith("}\n")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"flash_bytes": "many"}, "flash_bytes: Input should be a valid integer"),
        ({"surprise": 1}, "surprise: Extra inputs are not permitted"),
        ({"populations": [{"name": "u"}]}, "populations.0.neurons: Field required"),
        ({"steps": [{"after": "x"}]}, "steps.0.stage: Field required"),
        ({"spike_rates": {"u": "x"}}, "spike_rates.u: Input should be a valid number"),
    ],
)
def test_bad_reports(tmp_path, change, text):
    path = tmp_path / "report.json"
    path.write_text(json.dumps(FULL | change), encoding="utf-8")
    with pytest.raises(ModelError, match=text) as caught:
        load_report(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_unreadable_reports(tmp_path):
    path = tmp_path / "report.json"
    with pytest.raises(ModelError, match="cannot read the report"):
        load_report(path)
    path.write_bytes(b"\xff")
    with pytest.raises(ModelError, match="cannot read the report"):
        load_report(path)
