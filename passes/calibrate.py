"""calibrate: run the network on sample windows and write down rates and ranges."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from l2mu_compile.errors import ModelError, UsageError
from l2mu_compile.interpreter import run
from l2mu_compile.network import Network, Population
from l2mu_compile.passbase import Context, Pass
from l2mu_compile.samples import check_samples
from l2mu_compile.windows import spread

CHUNK = 64


@dataclass(frozen=True)
class Calibrate(Pass):
    """Requires calibration windows; keeps all numbers, sets rates and ranges; exact.

    Sets the input's ``low`` and ``high`` (extreme finite samples) and each population's ``rate``
    (spikes per neuron and step), ``low`` and ``high`` (extreme membranes). At most ``windows``
    windows are used, evenly spread over the data.
    """

    name: ClassVar[str] = "calibrate"
    idempotent: ClassVar[bool] = True
    exact: ClassVar[bool] = True
    windows: int = 256

    def __post_init__(self) -> None:
        if self.windows < 1:
            raise UsageError(f"calibrate: windows must be at least 1, not {self.windows}")

    def apply(self, network: Network, context: Context) -> Network:
        if context.samples is None:
            raise UsageError("calibrate needs windows: give --calibrate data.npz")
        samples = check_samples(network, context.samples)
        samples = samples[spread(self.windows, len(samples))]
        origin = context.samples_from or "samples"
        if not np.isfinite(samples).all():
            raise ModelError(f"{origin}: hold NaN or infinity")
        measured = _measure(network, samples, context)
        for name, values in measured.items():
            if not np.isfinite([values["low"], values["high"]]).all():
                raise ModelError(
                    f"{origin}: drives membranes of {name} beyond float32; "
                    "are its samples in the model's units (--input-scale)?"
                )
        calibrated = network.replace(
            input=replace(network.input, low=float(samples.min()), high=float(samples.max()))
        ).map_populations(lambda p: replace(p, **measured[p.name]))
        return network if calibrated == network else calibrated


def _measure(network: Network, samples: np.ndarray, context: Context) -> dict[str, dict[str, Any]]:
    """Rate, low and high of every population, a bounded number of windows at a time."""
    parts = []
    for start in range(0, len(samples), CHUNK):
        part = run(network, samples[start : start + CHUNK], record=("membranes",))
        parts.append(part)
        if context.progress:
            context.progress(min(start + CHUNK, len(samples)), len(samples))

    def measured(p: Population) -> dict[str, Any]:
        spikes = sum(part.spike_totals[p.name] for part in parts)
        steps = sum(part.windows * part.steps for part in parts)
        return {
            "rate": spikes / (steps * p.size),
            "low": min(float(part.membranes[p.name].min()) for part in parts),
            "high": max(float(part.membranes[p.name].max()) for part in parts),
        }

    return {p.name: measured(p) for p in network.populations}
