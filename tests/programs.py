"""What Programs hold, as tests look at it."""

from __future__ import annotations

import numpy as np

from l2mu_compile.program import Program


def kernels(program: Program) -> list[str]:
    return [call.kernel.removeprefix("l2mu_") for call in program.step]


def data(program: Program, name: str) -> np.ndarray:
    return next(d.values for d in program.data if d.name == name)


def record(program: Program, name: str) -> dict[str, object]:
    return dict(next(r.fields for r in program.records if r.name == name))
