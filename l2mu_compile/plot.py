"""The trade-off that a search found, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from l2mu_compile.search import SearchReport, TrialReport

KIB = 1024
SETTINGS = {"svg.fonttype": "none", "svg.hashsalt": "l2mu-compile", "font.family": "sans-serif"}


def plot_pareto(report: SearchReport, path: Path) -> None:
    """Accuracy against flash as SVG: the Pareto set coloured by instructions, other trials grey."""
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(8, 5), layout="constrained")
        axes = figure.subplots()
        best = {trial.number for trial in report.pareto}
        others = [t for t in report.trials if t.measures is not None and t.number not in best]
        axes.scatter(*_places(others), color="0.8", s=24, label="other trials")
        points = axes.scatter(
            *_places(report.pareto),
            c=[_instructions(trial) / 1000 for trial in report.pareto],
            cmap="viridis",
            s=60,
            label="Pareto set",
        )
        figure.colorbar(points, label="thousand instructions per window, predicted")
        chosen = [trial for trial in report.pareto if trial.number == report.chosen]
        axes.scatter(*_places(chosen), s=200, facecolors="none", edgecolors="red", label="chosen")
        _limits(axes, report.budget)
        for trial, x, y in zip(report.pareto, *_places(report.pareto), strict=True):
            axes.annotate(
                str(trial.number), (x, y), xytext=(6, 5), textcoords="offset points", fontsize=8
            )
        axes.set_xlabel("flash, KiB")
        axes.set_ylabel("accuracy on validation windows, %")
        axes.set_title(f"{len(report.trials)} trials for {report.target}")
        axes.grid(color="0.93")
        axes.set_axisbelow(True)
        axes.legend(loc="lower right", fontsize=9)
        figure.savefig(path, format="svg", metadata={"Date": None})


def _places(trials: list[TrialReport]) -> tuple[list[float], list[float]]:
    """Flash in KiB and accuracy in percent."""
    found = [trial.measures for trial in trials if trial.measures is not None]
    return [m.flash / KIB for m in found], [100 * m.accuracy for m in found]


def _instructions(trial: TrialReport) -> float:
    return 0.0 if trial.measures is None else trial.measures.window_instructions


def _limits(axes: Any, budget: dict[str, float]) -> None:
    style = {"color": "red", "linestyle": "--", "linewidth": 1}
    if "flash" in budget:
        axes.axvline(budget["flash"] / KIB, **style)
    if "accuracy" in budget:
        axes.axhline(100 * budget["accuracy"], **style)
