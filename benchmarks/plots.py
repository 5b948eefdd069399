"""Plots of benchmark figures, as SVG that is the same for the same numbers."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scaling import Figure

COLORS = ("#0b6e99", "#d9730d", "#6940a5", "#0f7b6c", "#ad1a72", "#64473a")
SIZE = (7.2, 4.2)  # inches


@dataclass(frozen=True)
class Series:
    """A line: its name, places and values."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]


def plot(figure: Figure) -> str:
    """Both axes logarithmic, every line named where it ends."""
    import matplotlib

    settings = {"svg.hashsalt": figure.title, "svg.fonttype": "none", "font.family": "sans-serif"}
    with matplotlib.rc_context(settings):
        from matplotlib.figure import Figure as Canvas
        from matplotlib.ticker import LogLocator, NullFormatter

        canvas = Canvas(figsize=SIZE, layout="constrained")
        axes = canvas.add_subplot()
        for series, color in zip(figure.series, COLORS, strict=False):
            axes.loglog(series.x, series.y, "o-", color=color, linewidth=2, markersize=4)
            place, offset = (series.x[-1], series.y[-1]), (7, 0)
            axes.annotate(
                series.name,
                place,
                offset,
                textcoords="offset points",
                color=color,
                verticalalignment="center",
                annotation_clip=False,
            )
        axes.set_title(figure.title, loc="left", fontsize=11)
        axes.set_xlabel(figure.x_label)
        axes.set_ylabel(figure.y_label)
        axes.grid(which="major", color="#dddddd", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(lambda value, _: f"{value:,.10g}")
            axis.set_minor_formatter(NullFormatter())
        written = io.StringIO()
        canvas.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    return written.getvalue()
