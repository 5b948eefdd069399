"""Every target by name. To add one: write its record in a file here, and list it below."""

from __future__ import annotations

from difflib import get_close_matches

from l2mu_compile.errors import UsageError
from l2mu_compile.targets.cortex_m import CORTEX_M4
from l2mu_compile.targets.host import HOST
from l2mu_compile.targets.record import Target

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        HOST,
        CORTEX_M4,
    )
}


def get_target(name: str) -> Target:
    """The target called ``name``; raises UsageError with the known names if there is none."""
    if name in TARGETS:
        return TARGETS[name]
    close = get_close_matches(name.lower().replace("_", "-"), TARGETS, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    raise UsageError(f"unknown target '{name}' (known: {', '.join(TARGETS)}){hint}")
