"""Every target by name: those listed here, and those that plug-ins bring."""

from __future__ import annotations

from difflib import get_close_matches

from l2mu_compile import plugins
from l2mu_compile.errors import UsageError
from l2mu_compile.targets.android import ANDROID_ARM, ANDROID_ARM64, ANDROID_X86_64
from l2mu_compile.targets.cortex_a import (
    CORTEX_A7,
    CORTEX_A53,
    CORTEX_A72,
    CORTEX_A76,
    LINUX_AARCH64,
)
from l2mu_compile.targets.cortex_m import (
    CORTEX_M0PLUS,
    CORTEX_M3,
    CORTEX_M4,
    CORTEX_M4F,
    CORTEX_M7,
    CORTEX_M33,
    CORTEX_M55,
    CORTEX_M85,
)
from l2mu_compile.targets.host import HOST
from l2mu_compile.targets.record import Target

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        HOST,
        CORTEX_M0PLUS,
        CORTEX_M3,
        CORTEX_M4,
        CORTEX_M4F,
        CORTEX_M7,
        CORTEX_M33,
        CORTEX_M55,
        CORTEX_M85,
        CORTEX_A7,
        CORTEX_A53,
        CORTEX_A72,
        CORTEX_A76,
        LINUX_AARCH64,
        ANDROID_ARM64,
        ANDROID_ARM,
        ANDROID_X86_64,
    )
}


def known_targets() -> dict[str, Target]:
    """All targets by name; `UsageError` naming a plug-in that is not sound."""
    return plugins.known(plugins.TARGETS)


def get_target(name: str) -> Target:
    """The target called ``name``; raises UsageError with the known names if there is none."""
    if name in TARGETS:  # plug-ins, while they are being loaded, make theirs from these
        return TARGETS[name]
    known = known_targets()
    if name in known:
        return known[name]
    close = get_close_matches(name.lower().replace("_", "-"), known, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    raise UsageError(f"unknown target '{name}' (known: {', '.join(known)}){hint}")
