"""The benchmark of whole windows: all sides compute the same, and what is not measured is said."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_quick_run(tmp_path: Path) -> None:
    page, figures = tmp_path / "page.md", tmp_path / "figures.json"
    page.write_text("before\n<!-- host -->\nyesterday\n<!-- /host -->\nafter\n", encoding="utf-8")
    command = [sys.executable, str(ROOT / "benchmarks/host.py"), "--quick", "--network", "har05"]
    done = subprocess.run(
        [*command, "--page", str(page), "--json", str(figures)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(figures.read_text())
    timings = {t["side"]: t for t in found["timings"]}
    always = {"ours, int8", "ours, float32", "dense C, float32, -O3", "NumPy", "snnTorch, eager"}
    always |= {"PyTorch, fused by hand", *(s for s in timings if s.startswith("portable"))}
    assert always <= timings.keys()
    assert len(timings) + len(found["missing"]) == 14
    for timing in timings.values():
        assert timing["network"] == "har05"
        assert timing["hot"] > 0
        assert timing["cold"] > 0
        assert timing["alike"] >= 3, timing
    assert timings["snnTorch, eager"]["hot"] > 20 * timings["ours, int8"]["hot"]
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "yesterday" not in text
    for side in timings:
        assert re.search(rf"^\| har05 \| {re.escape(side)} \| \d", text, re.MULTILINE), side
    for side in ("ExecuTorch, XNNPACK", "PyTorch, torch.compile"):
        assert f"- not measured: {side} (" in text
        assert f"not measured: {side} (" in done.stderr
