"""What a compiled network is judged by, the limits a user sets, and which networks are best."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from l2mu_compile.errors import UsageError

UNITS = {"": 1, "b": 1, "bytes": 1, "kib": 2**10, "mib": 2**20}
AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")  # a number, a unit
AS_ACCURATE = 0.005  # without limits, how much less accurate what is faster may be


class Measures(BaseModel):
    """Of one compiled network."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    accuracy: float = Field(description="share of right decisions on the validation windows")
    flash: int = Field(description="bytes of code and constants of what a user links")
    ram: int = Field(description="bytes of variables, one state included, stack excluded")
    instructions: float = Field(description="mean of a time step")
    window_instructions: float = Field(description="mean of a window, until it is decided")

    def objectives(self) -> tuple[float, ...]:
        """What a search makes small."""
        return -self.accuracy, self.flash, self.ram, self.window_instructions


@dataclass(frozen=True)
class Figure:
    """How a measure is called, shown and limited: from below if ``least``."""

    field: str
    name: str
    unit: str
    least: bool = False

    def shown(self, value: float) -> str:
        """``value`` for a person."""
        if self.least:
            return f"{100 * value:.2f} %"
        return f"{value:.0f}{self.unit}"


FIGURES = {
    "accuracy": Figure("accuracy", "accuracy", "", least=True),
    "flash": Figure("flash", "flash", " bytes"),
    "ram": Figure("ram", "RAM", " bytes"),
    "instructions": Figure("instructions", "instructions per step", ""),
    "window-instructions": Figure("window_instructions", "instructions per window", ""),
}


@dataclass(frozen=True)
class Budget:
    """Limits, by the keys of FIGURES."""

    limits: dict[str, float]

    def excess(self, measures: Measures) -> dict[str, float]:
        """By what share every limit is missed; 0 or less where it is met."""
        return {key: self._excess(key, measures) for key in self.limits}

    def met(self, measures: Measures) -> bool:
        """Whether all limits are."""
        return all(value <= 0 for value in self.excess(measures).values())

    def misses(self, measures: Measures) -> str:
        """The limits that are not met, each with what was found."""
        return ", ".join(
            f"{figure.name} {figure.shown(getattr(measures, figure.field))} "
            f"({'at least' if figure.least else 'limit'} {figure.shown(self.limits[key])})"
            for key, figure in FIGURES.items()
            if key in self.limits and self._excess(key, measures) > 0
        )

    def _excess(self, key: str, measures: Measures) -> float:
        figure, limit = FIGURES[key], self.limits[key]
        value = getattr(measures, figure.field)
        return float((limit - value if figure.least else value - limit) / limit)

    def __str__(self) -> str:
        return ", ".join(f"{key}={value:.15g}" for key, value in self.limits.items())


def parse_budget(text: str | None) -> Budget:
    """Read ``flash=64KiB,instructions=4000,accuracy=0.85``; raises `UsageError`."""
    limits: dict[str, float] = {}
    for part in (part.strip() for part in (text or "").split(",") if text is not None):
        key, separator, value = (piece.strip() for piece in part.partition("="))
        if not separator or key not in FIGURES:
            raise UsageError(f"--budget: unexpected {part!r}; limits are {', '.join(FIGURES)}")
        if key in limits:
            raise UsageError(f"--budget: {key} has two limits")
        limits[key] = _limit(key, value)
    return Budget(limits)


def _limit(key: str, text: str) -> float:
    match = AMOUNT.fullmatch(text)
    units = UNITS if key in ("flash", "ram") else {"": 1}
    if match is None or match[2].lower() not in units:
        written = "bytes, KiB or MiB" if len(units) > 1 else "a number"
        raise UsageError(f"--budget {key}={text}: write {written}")
    limit = float(match[1]) * units[match[2].lower()]
    if not limit > 0 or (key == "accuracy" and limit > 1):
        between = "above 0 and at most 1" if key == "accuracy" else "above 0"
        raise UsageError(f"--budget {key}={text}: must be {between}")
    return limit


def pareto(found: Sequence[Measures]) -> list[int]:
    """Indices of those that no other one is at least as good as in everything and better in
    something, the most accurate first; of equals the first."""
    points = [measures.objectives() for measures in found]

    def beaten(k: int) -> bool:
        return any(
            (other != points[k] or j < k)
            and all(a <= b for a, b in zip(other, points[k], strict=True))
            for j, other in enumerate(points)
        )

    return sorted((k for k in range(len(points)) if not beaten(k)), key=lambda k: points[k])


def preferred(found: Sequence[Measures], budget: Budget) -> list[int]:
    """Indices of those within the budget, the best first.

    With limits the most accurate is best, among equals the one with the fewest instructions in a
    window. Without, it is the one with the fewest instructions among those that are at most half a
    point less accurate than the best; the others follow by accuracy.
    """
    fitting = [k for k, measures in enumerate(found) if budget.met(measures)]
    best = max((found[k].accuracy for k in fitting), default=0.0)

    def key(k: int) -> tuple[Any, ...]:
        m = found[k]
        near = not budget.limits and m.accuracy >= best - AS_ACCURATE
        return not near, 0.0 if near else -m.accuracy, m.window_instructions, m.flash, m.ram, k

    return sorted(fitting, key=key)


def closest(found: Sequence[Measures], budget: Budget) -> int:
    """Index of the one whose worst miss of a limit is the smallest."""
    return min(range(len(found)), key=lambda k: max(budget.excess(found[k]).values()))
