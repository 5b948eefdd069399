"""The page of compressed networks: what was measured is what is written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "har_smartwatch"


def command(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    page = folder / "page.md"
    page.write_text("a\n<!-- compression -->\nold\n<!-- /compression -->\nb\n", encoding="utf-8")
    benchmark = [sys.executable, str(ROOT / "benchmarks" / "compression.py")]
    options = ("--page", str(page), "--data", str(EXAMPLE / "calibration.npz"), *options)
    return subprocess.run([*benchmark, *options], capture_output=True, text=True)


@pytest.mark.slow
def test_a_row_is_measured_and_written(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    options = ("--row", "int8", "--seeds", "1", "--json", str(figures))
    done = command(tmp_path, *options)
    assert done.returncode == 0, done.stderr
    (outcome,) = json.loads(figures.read_text())["outcomes"]
    assert 0.85 < outcome["accuracy"] < 0.95
    assert outcome["steps_per_decision"] == 100
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert page.startswith("a\n<!-- compression -->\n") and page.endswith("/compression -->\nb\n")
    instructions = outcome["instructions_per_step"] * 100
    size = f"{outcome['flash_bytes']:,} | – | {outcome['ram_bytes']:,}"
    assert f"| int8 | {100 * outcome['accuracy']:.1f} % | – |" in page
    assert f"{size} | 100 | {instructions:,.0f} | 1.0 × |" in page


def test_rows_that_are_unknown_are_named(tmp_path: Path) -> None:
    done = command(tmp_path, "--row", "int7")
    assert done.returncode == 2
    assert "no row int7; there are float32, int8" in done.stderr
    assert "old" in (tmp_path / "page.md").read_text(encoding="utf-8")
