"""The benchmark of instructions: networks are as active as stated; what is counted is written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, float], str]:
    """What was measured of one network on one core, and the page it was written to."""
    folder = tmp_path_factory.mktemp("instructions")
    page, figures = folder / "page.md", folder / "figures.json"
    page.write_text("a\n<!-- instructions -->\nold\n<!-- /instructions -->\nb\n", encoding="utf-8")
    command = [sys.executable, str(ROOT / "benchmarks/instructions.py"), "--target", "cortex-m4"]
    command += ["--network", "har05", "--page", str(page), "--json", str(figures)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (measured,) = json.loads(figures.read_text())["measurements"]
    return measured, page.read_text(encoding="utf-8")


def test_the_activity_is_the_stated_one(outcome: tuple[dict[str, float], str]) -> None:
    """Of 86,016 synapses 5 % should have a spike."""
    assert 0.04 < outcome[0]["accumulates"] / 86_016 < 0.06


def test_what_is_counted_is_written(outcome: tuple[dict[str, float], str]) -> None:
    measured, page = outcome
    assert page.startswith("a\n<!-- instructions -->\n| target |")
    assert page.endswith("<!-- /instructions -->\nb\n")
    row = f"| `cortex-m4` | har05 | {measured['per_step']:,.0f} | 6,300 | {measured['at_most']:,} |"
    assert row in page
    accumulating = measured["per_accumulate"] * measured["accumulates"]
    firing = measured["per_neuron"] * (64 + 256 + 128 + 7)
    assert 0.8 * measured["per_step"] < accumulating + firing < 1.2 * measured["per_step"]
