"""detect-spikes: an input whose samples are all 0 or 1 is one of spikes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from l2mu_compile.errors import UsageError
from l2mu_compile.network import SENSOR_ARRAYS, Network
from l2mu_compile.passbase import Context, Pass
from l2mu_compile.samples import check_samples


@dataclass(frozen=True)
class DetectSpikes(Pass):
    """Requires calibration windows; keeps all numbers; exact for samples of 0 and 1.

    Where all samples of the windows are 0 or 1, weights are added for those above 1/2, and nothing
    is multiplied. Nothing changes for an input with a scale or offset, folded or not.
    """

    name: ClassVar[str] = "detect-spikes"

    def apply(self, network: Network, context: Context) -> Network:
        if context.samples is None:
            raise UsageError("detect-spikes needs windows: give --calibrate data.npz")
        entry = network.input
        scaled = any(getattr(entry, name) is not None for name in SENSOR_ARRAYS)
        if entry.spiking or scaled or network.quantized:
            return network
        samples = check_samples(network, context.samples)
        if not np.isin(samples, (0, 1)).all() or not samples.any():
            return network
        origin = context.samples_from or "samples"
        context.note(f"detect-spikes: all of {origin} are 0 or 1; samples above 1/2 are spikes")
        return network.replace(input=replace(entry, spiking=True))
