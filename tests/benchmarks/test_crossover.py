"""The benchmark of where multiplying pays: its table, and how a crossover is found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from l2mu_compile.targets.host import HOST
from l2mu_compile.targets.kernel_sets import usable_sets

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "benchmarks"))  # after the tests' own modules

import crossover  # noqa: E402

HERE = pytest.mark.skipif("vnni" not in usable_sets(HOST), reason="this machine has no vnni")


@pytest.mark.parametrize(
    ("saved", "expected"),
    [
        (crossover.ACTIVITIES - 0.42, 0.42),
        (crossover.ACTIVITIES + 1, 0.0),
        (crossover.ACTIVITIES - 2, None),
        (np.where(crossover.ACTIVITIES < 0.2, 1.0, crossover.ACTIVITIES - 0.51), 0.51),
    ],
)
def test_it_pays_from_where_nothing_is_lost_any_more(
    saved: np.ndarray, expected: float | None
) -> None:
    assert crossover.pays_from(saved) == (
        None if expected is None else pytest.approx(expected, abs=0.01)
    )


@HERE
def test_predictions_are_those_of_the_selection() -> None:
    """Reading more weights lets it pay later."""
    cases = crossover.cases_of(256, 256)
    shares = [
        crossover.pays_from(crossover.saved_of(crossover.predicted_costs(cost), cases))
        for cost in (0.0, HOST.byte_cost)
    ]
    assert shares[0] is not None and shares[1] is not None
    assert 0.2 < shares[0] < shares[1] < 0.7


@pytest.mark.slow
@HERE
def test_a_run(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- crossover -->\nold\n<!-- /crossover -->\nb\n", encoding="utf-8")
    command = [sys.executable, str(ROOT / "benchmarks/crossover.py"), "--page", str(page)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = page.read_text(encoding="utf-8")
    assert text.startswith("a\n<!-- crossover -->\n") and "old" not in text
    rows = [line for line in text.splitlines() if line.startswith("| 256 × 256 |")]
    assert len(rows) == 1 and rows[0].count("%") == 3
