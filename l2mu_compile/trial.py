"""One trial of a search: a pipeline, applied and measured."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.errors import BudgetError, ModelError, UsageError
from l2mu_compile.interpreter import run
from l2mu_compile.labelled import LabelledWindows
from l2mu_compile.lowering import lower
from l2mu_compile.measures import Measures
from l2mu_compile.network import Network
from l2mu_compile.passbase import Context, Pass
from l2mu_compile.pipeline import default_pipeline, parse_pipeline, run_passes, with_preparation
from l2mu_compile.stream import stream_of
from l2mu_compile.targets.build import flash_and_ram
from l2mu_compile.targets.kernel_costs import costs_for, in_all, predicted
from l2mu_compile.targets.record import Target
from l2mu_compile.targets.registry import known_targets
from l2mu_compile.targets.room import require_room
from l2mu_compile.windows import Windows

CHUNK = 256  # windows the interpreter runs at a time


@dataclass(frozen=True)
class Problem:
    """Why a pipeline cannot be measured: what it makes of this network is invalid, or too large."""

    text: str


Outcome = Measures | Problem


@dataclass(frozen=True)
class Evaluator:
    """Measures pipelines: what they make of ``network`` for ``target``, called ``device``.

    Accuracy is the interpreter's, on the windows to validate on. Flash and RAM are those of code
    that is built for it, instructions are predicted (`targets/kernel_costs.py`) at the spike rates
    of the windows to train on, and counted until windows to validate on are decided.
    """

    network: Network
    labelled: LabelledWindows
    target: Target
    device: str

    def __call__(self, pipeline: str) -> Outcome:
        """Raises `UsageError` for what is wrong with the pipeline whatever its numbers,
        `ToolchainError` where nothing can be built."""
        try:
            return self._measured(whole_pipeline(pipeline))
        except (ModelError, BudgetError) as error:
            return Problem(str(error))

    def _measured(self, passes: tuple[Pass, ...]) -> Measures:
        data, target = self.labelled, self.target
        context = Context(
            target=target,
            samples=data.train.x,
            samples_from=data.train.source,
            labelled=data,
            original=self.network,
        )
        network = run_passes(self.network, passes, context)
        program = lower(network, stream_of(network, None, None, data.train.x.shape[1]))
        require_room(program, target, self.device, network.quantized)
        instructions = in_all(predicted(network, program, target))
        if instructions is None:
            raise ModelError(f"not all of its kernels were measured for {target.name}")
        with tempfile.TemporaryDirectory(prefix="l2mu-compile-") as folder:
            flash, ram = flash_and_ram(program, target, Path(folder))
        right, steps = outcomes(network, data.validation)
        return Measures(
            accuracy=float(right.mean()),
            flash=flash,
            ram=ram,
            instructions=instructions,
            window_instructions=instructions * float(steps.mean()),
        )


def whole_pipeline(text: str) -> tuple[Pass, ...]:
    """The passes of a trial: what prepares them, those of ``text``, and what planning takes."""
    return (*own_passes(text), *default_pipeline(quantized=False, calibrated=True))


def own_passes(text: str) -> tuple[Pass, ...]:
    """The passes of ``text`` with what prepares them, as `tune` runs them."""
    return with_preparation(parse_pipeline(text))


def outcomes(network: Network, windows: Windows) -> tuple[NDArray, NDArray]:
    """Which windows are decided right, and the steps that each takes."""
    assert windows.y is not None
    right, steps = zip(*_parts(network, windows), strict=True)
    return np.concatenate(right), np.concatenate(steps)


def _parts(network: Network, windows: Windows) -> Iterator[tuple[NDArray, NDArray]]:
    assert windows.y is not None
    for start in range(0, len(windows.x), CHUNK):
        part = run(network, windows.x[start : start + CHUNK])
        yield part.decisions == windows.y[start : start + CHUNK], part.needed


def require_costs(target: Target) -> None:
    """Raise `UsageError` if nothing is known of what kernels take on ``target``."""
    if not costs_for(target):
        known = ", ".join(t.name for t in known_targets().values() if costs_for(t))
        raise UsageError(
            f"what kernels take on {target.name} was not measured, so instructions cannot be "
            f"predicted; give --target, one of {known}"
        )
