"""The count of quiet groups: all of them in silence, none where a bias keeps neurons busy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SILENT = """
from dataclasses import replace

import numpy as np
from instructions import Subject
from networks import SHAPES, untuned_network_of
from quiet import measure

from l2mu_compile.frontend import Model
from l2mu_compile.report import Source
from l2mu_compile.windows import Windows

network = untuned_network_of(SHAPES["har05"])
bias = np.full(network.population("h").size, 0.0125, dtype=np.float32)
network = network.map_populations(lambda p: replace(p, bias=bias) if p.name == "h" else p)
silence = Windows(np.zeros((2, 40, network.input.size), dtype=np.float32))
model = Model(network, Source(kind="network", name="silent"))
found = measure(Subject("silent", model, silence, silence))
print({q.population: q.share for q in found if q.population != "out"})
"""


def test_silence_is_quiet_and_a_bias_is_not() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SILENT], cwd=ROOT / "benchmarks", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    everything, nothing = {4: 1.0, 8: 1.0, 16: 1.0}, {4: 0.0, 8: 0.0, 16: 0.0}
    assert done.stdout.strip() == str({"u": everything, "m": everything, "h": nothing})


@pytest.mark.slow
def test_shares_are_written_into_the_page(tmp_path: Path) -> None:
    page, figures = tmp_path / "page.md", tmp_path / "figures.json"
    page.write_text("a\n<!-- quiet -->\nold\n<!-- /quiet -->\nb\n", encoding="utf-8")
    command = [sys.executable, str(ROOT / "benchmarks/quiet.py"), "--network", "har05"]
    done = subprocess.run(
        [*command, "--page", str(page), "--json", str(figures)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    shares = {q["population"]: q["share"] for q in json.loads(figures.read_text())["quiet"]}
    assert shares["m"]["4"] > shares["m"]["8"] > shares["m"]["16"] > 0
    assert f"| har05 | m | 256 | {shares['m']['4']:.0%} |" in page.read_text(encoding="utf-8")
