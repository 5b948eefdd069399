"""A teacher: how far the spikes of integer neurons are from those of the float ones they stand for.

Each population is judged alone, given what its sources say (teacher forcing): the spikes of the
float network, or, of populations that are integers already, those that these gave when their turn
came. So a neuron's drift depends on nothing that is still to be chosen, all neurons of a population
are judged in one run, and those later in the network make up for what earlier ones have lost. Of
sources that have not had their turn, a population itself among them, the float spikes are heard.

The distance of two spike trains is van Rossum's (`l2mu_compile.drift`): the sum of squares of their
difference, filtered by an exponential kernel, so that a spike some steps late costs little and one
too many or too few is heard. Where neurons do not spike, it is that of membranes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.drift import filtered
from l2mu_compile.interpreter import respond, run
from l2mu_compile.network import Network, spiking
from l2mu_compile.projection import Projection
from l2mu_compile.samples import check_samples, prepared
from l2mu_compile.scaling import compared
from l2mu_compile.windows import spread

MOST_STEPS = 2**12  # of all windows together


class Teacher:
    """A float network's spikes on some of its windows, ``samples`` ``[B, T, inputs]``."""

    def __init__(self, network: Network, samples: NDArray) -> None:
        samples = check_samples(network, samples)[:, :MOST_STEPS]
        self.samples = samples[spread(max(MOST_STEPS // samples.shape[1], 1), len(samples))]
        silent = [p for p in network.populations if not spiking(p) or compared(network, p)]
        record = ("spikes", "membranes") if silent else ("spikes",)
        done = run(network.replace(window=None), self.samples, record)
        self.spikes = dict(done.spikes)
        self.membranes = {p.name: done.membranes[p.name] for p in silent}
        if network.input.spiking:
            self.spikes[network.input.name] = prepared(network, self.samples)
        self.heard = dict(self.spikes)

    def drift(self, part: Network, scale: NDArray, name: str) -> NDArray:
        """Distances ``[n]``, per step, of a population whose neurons, and what ends at them, are
        integers in ``part``, at these scales."""
        spikes, membranes = self._response(part, name)
        if name in self.membranes:
            off = membranes / scale - self.membranes[name]
            return (off.astype(np.float64) ** 2).mean(axis=(0, 1))
        total = np.zeros(spikes.shape[2])
        for off in filtered(spikes.astype(np.int8) - self.spikes[name], np.float32):
            total += np.square(off).sum(axis=0)
        return total / (spikes.shape[0] * spikes.shape[1])

    def adopt(self, part: Network, name: str) -> None:
        """From now on a population says what it does as it is in ``part``."""
        self.heard[name], _ = self._response(part, name)

    def _response(self, part: Network, name: str) -> tuple[NDArray, NDArray]:
        """Spikes and membranes."""
        population = part.population(name)
        currents = np.zeros((*self.samples.shape[:2], population.size), dtype=np.int64)
        for p in part.into(name):
            currents += self._current(part, p)
        return respond(part, population, currents)

    def _current(self, part: Network, p: Projection) -> NDArray:
        """What a projection adds, int64 ``[B, T, targets]``, in the steps in which it counts."""
        windows, steps, _ = self.samples.shape
        total: NDArray
        if part.multiplies(p):
            counts = prepared(part, self.samples).astype(np.float64)
            counts = counts.reshape(windows * steps, -1)
            total = p.applied(p.weight.astype(np.float64), counts)
            shift = 0 if p.shift is None else p.shift.astype(np.float64)
            # Half is added before the shift; without a shift nothing is left to round.
            total = np.floor(total * 2.0**-shift + 0.5)
        else:
            # int8 weights of 2^16 sources at most: float32 holds every sum.
            heard = self.heard[p.source].astype(np.float32).reshape(windows * steps, -1)
            total = p.applied(p.weight.astype(np.float32), heard)
        current = total.astype(np.int64).reshape(windows, steps, -1)
        if p.delay:
            current[:, 1:] = current[:, :-1].copy()
            current[:, 0] = 0
        return current
