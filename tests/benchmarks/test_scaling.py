"""The benchmark of growth: its plots and tables, and that a batch computes what one window does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
BATCH = """
import numpy as np
from networks import SHAPES, untuned_network_of, windows_of
from peers import with_torch, with_torch_batch

shape = SHAPES["har20"]
network, windows = untuned_network_of(shape), windows_of(shape, 5)
one, many = with_torch(network), with_torch_batch(network)
found, expected = many(windows), np.array([one(window) for window in windows])
assert expected.any()
print(int((found == expected).all(axis=1).sum()))
"""


@pytest.mark.slow
def test_a_quick_run(tmp_path: Path) -> None:
    page, figures = tmp_path / "page.md", tmp_path / "figures.json"
    page.write_text("a\n<!-- size -->\nold\n<!-- /size -->\nb\n", encoding="utf-8")
    command = [sys.executable, str(ROOT / "benchmarks/scaling.py"), "--quick", "--only", "size"]
    command += ["--page", str(page), "--json", str(figures)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    series = {s["name"]: s for s in json.loads(figures.read_text())["size"]["series"]}
    for name in ("cortex-m0plus", "cortex-m4", "cortex-a53"):
        smaller, larger = series[name]["y"]
        assert series[name]["x"] == [8 * (24 + 40) * 2 + 8 * 4 * 5 + 8 * 7, 3760]
        assert smaller < larger < 3 * smaller
    assert series["cortex-m4"]["y"][0] < series["cortex-m0plus"]["y"][0]
    text = page.read_text(encoding="utf-8")
    assert text.startswith("a\n<!-- size -->\n![") and text.endswith("<!-- /size -->\nb\n")
    assert f"| cortex-m4 | {series['cortex-m4']['y'][0]:,.0f} |" in text
    picture = (tmp_path / "plots/size.svg").read_text(encoding="utf-8")
    words = "".join(ElementTree.fromstring(picture).itertext())
    assert all(name in words for name in (*series, "synapses", "instructions per step"))


def test_a_figure_there_is_not(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks/scaling.py"), "--only", "colour"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "no colour" in done.stderr


def test_a_batch_computes_what_one_window_does() -> None:
    command = [sys.executable, "-c", BATCH]
    done = subprocess.run(command, cwd=ROOT / "benchmarks", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 4  # sums in another order may differ near a threshold
