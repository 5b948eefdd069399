"""The trade-off that a search found, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.figure import Figure

from l2mu_compile.measures import Measures

if TYPE_CHECKING:
    from l2mu_compile.search import SearchReport

KIB = 1024
SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "l2mu-compile",
    "font.family": "sans-serif",
}


def plot_pareto(report: SearchReport, path: Path) -> None:
    """Accuracy against flash as SVG: the Pareto set coloured by instructions, other trials grey."""
    shown = report.shown()
    numbers = [trial.number for trial, _ in shown]
    best = [measures for _, measures in shown]
    others = [t.measures for t in report.trials if t.measures and t.number not in numbers]
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(8, 5), layout="constrained")
        axes = figure.subplots()
        axes.scatter(*_places(others), color="0.8", s=24, label="other trials")
        points = axes.scatter(
            *_places(best),
            c=[measures.window_instructions / 1000 for measures in best],
            cmap="viridis",
            s=60,
            label="Pareto set",
        )
        figure.colorbar(points, label="thousand instructions per window, predicted")
        chosen = _places([report.predicted()])
        axes.scatter(*chosen, s=200, facecolors="none", edgecolors="red", label="chosen")
        _limits(axes, report.budget)
        for number, x, y in zip(numbers, *_places(best), strict=True):
            near = (7, 6)
            axes.annotate(str(number), (x, y), near, textcoords="offset points", fontsize=8)
        axes.set_xlabel("flash, KiB")
        axes.set_ylabel("accuracy on validation windows, %")
        axes.set_title(f"{len(report.trials)} trials for {report.target}")
        axes.grid(color="0.93")
        axes.set_axisbelow(True)
        axes.margins(0.08)
        axes.legend(loc="best", fontsize=9)
        figure.savefig(path, format="svg", metadata={"Date": None})


def _places(found: Sequence[Measures]) -> tuple[list[float], list[float]]:
    """Flash in KiB and accuracy in percent."""
    return [m.flash / KIB for m in found], [100 * m.accuracy for m in found]


def _limits(axes: Any, budget: dict[str, float]) -> None:
    style = {"color": "red", "linestyle": "--", "linewidth": 1}
    if "flash" in budget:
        axes.axvline(budget["flash"] / KIB, label="limit", **style)
    if "accuracy" in budget:
        axes.axhline(100 * budget["accuracy"], **style)
