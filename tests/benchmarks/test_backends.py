"""The benchmark of backends: what it counts is what it writes, beside the C it is compared with."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_a_quick_run(tmp_path: Path) -> None:
    pytest.importorskip("tvm", reason="apache-tvm is not installed")
    page, figures = tmp_path / "page.md", tmp_path / "figures.json"
    page.write_text("a\n<!-- backends -->\nold\n<!-- /backends -->\nb\n", encoding="utf-8")
    command = [
        sys.executable,
        str(ROOT / "benchmarks/backends.py"),
        "--quick",
        "--network",
        "har05",
    ]
    command += ["--numbers", "int8", "--page", str(page), "--json", str(figures)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = json.loads(figures.read_text())["results"]
    tuned, portable, tvm = results
    assert [r["side"] for r in results] == [
        *("C, kernels for the processor", "C, portable kernels", "TVM"),
    ]
    assert 0 < tuned["instructions"] < portable["instructions"] < 2 * tvm["instructions"]
    assert all(r["seconds"] > 0 for r in results)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("a\n<!-- backends -->\n")
    assert text.endswith("<!-- /backends -->\nb\n")
    assert "old" not in text
    for r in results:
        times = f"{r['seconds'] * 1e3:.3f} | {r['seconds'] / tuned['seconds']:.1f}"
        counts = f"{r['instructions']:,.0f} | {r['instructions'] / tuned['instructions']:.1f}"
        size = f"{r['library_bytes']:,}"
        row = f"| har05 | int8 | {r['side']} | {times} | {size} | {counts} |"
        assert row in text
