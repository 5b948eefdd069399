"""Budgets of a build: what it may cost at most, how well it must decide, how far it may grow."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from l2mu_compile.measures import AMOUNT, UNITS

ROUNDING = 1e-12  # of shares
MAX_DIGITS = 15  # more than what is usual, of a figure and a limit that are nearly the same

_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_NUMBER = re.compile(r"\d*\.?\d+")


def _size(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("write bytes, KiB or MiB")
    match = AMOUNT.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        return value
    if match[2].lower() not in UNITS:
        raise ValueError("write bytes, KiB or MiB")
    size = float(match[1]) * UNITS[match[2].lower()]
    if not math.isfinite(size):
        raise ValueError("is too large a size")
    return round(size)


def _share(value: object) -> object:
    text = value.strip() if isinstance(value, str) else ""
    if match := _SHARE.fullmatch(text):
        return float(match[1]) / 100
    if isinstance(value, bool) or (isinstance(value, str) and not _NUMBER.fullmatch(text)):
        raise ValueError('write a share, such as 0.02 or "2 %"')
    return value


def _count(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("write a number")
    return value


Size = Annotated[int, BeforeValidator(_size), Field(gt=0)]
Count = Annotated[float, BeforeValidator(_count), Field(gt=0)]
Share = Annotated[float, BeforeValidator(_share), Field(ge=0, le=1)]
Growth = Annotated[float, BeforeValidator(_share), Field(ge=0, le=100)]


class Figures(BaseModel):
    """What budgets are held against; None for what is not known of a build."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    flash: int | None = Field(None, description="bytes of code and constants")
    ram: int | None = Field(None, description="bytes of variables, stack excluded")
    stack: int | None = Field(None, description="bytes of stack, at most, of any function")
    instructions_per_step: float | None = Field(None, description="mean, on the windows verified")
    worst_case_instructions: int | None = Field(None, description="of a step if all spike")
    accuracy: float | None = Field(None, description="share of right decisions on test windows")
    agreement: float | None = Field(None, description="share of decisions as the float model's")


class Budget(BaseModel):
    """Limits; those called ``growth`` and ``loss`` are against a baseline."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    max_flash: Size | None = None
    max_ram: Size | None = None
    max_stack: Size | None = None
    max_instructions_per_step: Count | None = None
    max_worst_case_instructions: Count | None = None
    min_accuracy: Share | None = None
    min_agreement: Share | None = None
    max_flash_growth: Growth | None = None
    max_ram_growth: Growth | None = None
    max_instructions_growth: Growth | None = None
    max_worst_case_growth: Growth | None = None
    max_accuracy_loss: Share | None = None

    def with_changes(self, other: Budget) -> Budget:
        """This budget, with the limits that ``other`` sets instead."""
        return self.model_copy(update=other.limits())

    def limits(self) -> dict[str, Any]:
        """The limits that are set."""
        return self.model_dump(exclude_none=True)

    @property
    def compares(self) -> bool:
        """Whether there is a limit against a baseline."""
        return any(key in CHANGES for key in self.limits())


@dataclass(frozen=True)
class Figure:
    """A field of `Figures`: what it is called, in a table's head too, and how it is shown."""

    field: str
    name: str
    title: str
    unit: str = ""

    @property
    def is_share(self) -> bool:
        """Whether it is shown in percent."""
        return self.unit == " %"

    def shown(self, value: float | None, more_digits: int = 0) -> str:
        """``value`` for a person."""
        if value is None:
            return ""
        if self.is_share:
            return f"{100 * value:.{2 + more_digits}f} %"
        return f"{value:,.{more_digits}f}{self.unit}"

    def shown_apart(self, value: float, limit: float) -> tuple[str, str]:
        """Both for a person, in as many digits as tell one from the other."""
        shown = self.shown(value), self.shown(limit)
        for more in range(1, MAX_DIGITS):
            if shown[0] != shown[1]:
                break
            shown = self.shown(value, more), self.shown(limit, more)
        return shown

    def with_change(self, value: float | None, before: float | None) -> str:
        """``value`` as a number of a table, and how it has changed since ``before``."""
        if value is None:
            return ""
        shown = f"{100 * value:.2f} %" if self.is_share else f"{value:,.0f}"
        if before is None or before == value:
            return shown
        if self.is_share:
            return f"{shown} ({100 * (value - before):+.2f})"
        return f"{shown} ({100 * (value / before - 1):+.1f} %)" if before else shown


FIGURES = {
    figure.field: figure
    for figure in (
        Figure("flash", "flash", "flash", " bytes"),
        Figure("ram", "RAM", "RAM", " bytes"),
        Figure("stack", "stack", "stack", " bytes"),
        Figure("instructions_per_step", "instructions per step", "step"),
        Figure("worst_case_instructions", "instructions if all spike", "worst"),
        Figure("accuracy", "accuracy", "accuracy", " %"),
        Figure("agreement", "agreement", "agrees", " %"),
    )
}

# Which figure every limit is on.
CEILINGS = {
    "max_flash": "flash",
    "max_ram": "ram",
    "max_stack": "stack",
    "max_instructions_per_step": "instructions_per_step",
    "max_worst_case_instructions": "worst_case_instructions",
}
FLOORS = {"min_accuracy": "accuracy", "min_agreement": "agreement"}
GROWTHS = {
    "max_flash_growth": "flash",
    "max_ram_growth": "ram",
    "max_instructions_growth": "instructions_per_step",
    "max_worst_case_growth": "worst_case_instructions",
}
LOSSES = {"max_accuracy_loss": "accuracy"}
CHANGES = {**GROWTHS, **LOSSES}


def violations(budget: Budget, figures: Figures, baseline: Figures | None) -> tuple[str, ...]:
    """What breaks ``budget``, each with figure and limit; changes only where there is a baseline.

    A limit on what is not known is broken: nothing shows that it is kept.
    """
    return tuple(_violations(budget, figures, baseline))


def unjudged(budget: Budget, baseline: Figures | None) -> tuple[str, ...]:
    """Figures that ``budget`` has limits of change on, and ``baseline`` does not know."""
    figures = (FIGURES[CHANGES[key]] for key in budget.limits() if key in CHANGES)
    return tuple(f.name for f in figures if getattr(baseline, f.field, None) is None)


def _violations(budget: Budget, figures: Figures, before: Figures | None) -> Iterator[str]:
    for key, limit in budget.limits().items():
        figure = FIGURES[{**CEILINGS, **FLOORS, **CHANGES}[key]]
        value = getattr(figures, figure.field)
        if value is None:
            yield f"{figure.name}: not known of this build, so {key} cannot be shown to be kept"
        elif key in CHANGES:
            earlier = None if before is None else getattr(before, figure.field)
            yield from () if earlier is None else _change(key, figure, value, earlier, limit)
        elif value > limit if key in CEILINGS else value < limit - ROUNDING:
            shown, most = figure.shown_apart(value, limit)
            yield f"{figure.name} {shown}, {key} {most}"


def _change(key: str, figure: Figure, value: float, before: float, limit: float) -> Iterator[str]:
    shown = f"{figure.name} {figure.shown(value)}, was {figure.shown(before)}"
    if key in LOSSES and before - value > limit + ROUNDING:
        yield f"{shown}: {100 * (before - value):.2f} points less, {key} {100 * limit:g} points"
    if key in GROWTHS and value - before > (limit + ROUNDING) * before:
        grown = f"by {100 * (value / before - 1):.2f} %" if before else "from nothing"
        yield f"{shown}: grew {grown}, {key} {100 * limit:g} %"
