"""A run of windows in torch: the turns of `l2mu_compile.schedule`, and what is kept of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from l2mu_compile.network import Network
from l2mu_compile.projection import Projection
from l2mu_compile.schedule import Turn
from l2mu_compile.surrogate import Hearing
from l2mu_compile.torch_dynamics import Dynamics
from l2mu_compile.torch_neurons import Neurons
from l2mu_compile.torch_synapses import currents, sample_currents
from l2mu_compile.trainable import Trainable


@dataclass(frozen=True)
class Activity:
    """What ``B`` windows of ``T`` steps did.

    ``scores`` ``[B, classes]`` as `Readout` defines them; ``spikes`` (0 or 1) and ``membranes``
    ``[B, T, neurons]`` by population, present if recorded.
    """

    scores: Tensor
    spikes: dict[str, Tensor] = field(default_factory=dict)
    membranes: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Parts:
    """What a run is of: a network's arrays as they are trained, ``neurons`` by population and
    ``weights`` by projection, and how spikes are heard."""

    network: Network
    turns: Sequence[Turn]
    neurons: Mapping[str, Neurons]
    weights: Mapping[str, Trainable]
    hearing: Hearing


def run_parts(parts: Parts, x: Tensor, record: Collection[str]) -> Activity:
    """Run samples ``x`` ``[B, T, inputs]``, in numbers of the network, from a state of zero;
    ``record`` may hold ``"spikes"`` and ``"membranes"``."""
    return _Run(parts, x).over(x.shape[1], record)


class _Run:
    def __init__(self, parts: Parts, x: Tensor) -> None:
        self.parts, network = parts, parts.network
        self.weights = {
            p.name: parts.weights[p.name]() if network.multiplies(p) else self._light(p)
            for p in network.projections
        }
        self.populations = {n: Dynamics(part, len(x)) for n, part in parts.neurons.items()}
        self.sampled = {
            p.name: sample_currents(p, self.weights[p.name], x).unbind(1)
            for p in network.projections
            if p.source == network.input.name
        }

    def _light(self, p: Projection) -> Tensor:
        """Weights to add where spikes arrive: float32 holds every such sum."""
        return self.parts.weights[p.name]().float()

    def over(self, steps: int, record: Collection[str]) -> Activity:
        readout = self.parts.network.readout
        shown = ("spikes" if readout.rule == "spike_count" else "membranes", readout.population)
        recorded = {(what, name) for what in record for name in self.populations}
        history: dict[tuple[str, str], list[Tensor]] = {k: [] for k in sorted(recorded | {shown})}
        for step in range(steps):
            self._step(step)
            for (what, name), kept in history.items():
                population = self.populations[name]
                kept.append(population.spikes if what == "spikes" else population.membrane)
        stacked = {key: torch.stack(kept, dim=1) for key, kept in history.items()}
        spikes, membranes = (
            {name: values for (kind, name), values in stacked.items() if kind == what}
            for what in ("spikes", "membranes")
        )
        return Activity(_scores(readout.rule, stacked[shown]), spikes, membranes)

    def _step(self, step: int) -> None:
        for turn in self.parts.turns:
            for p in turn.arriving:
                self._add(p, step)
            self.populations[turn.population.name].fire()
            for p in turn.leaving:
                self._add(p, step)

    def _add(self, p: Projection, step: int) -> None:
        if p.name in self.sampled:
            current = self.sampled[p.name][step]
        else:
            spikes = self.parts.hearing.hear(self.populations[p.source].spikes)
            current = currents(p, self.weights[p.name], spikes)
        self.populations[p.target].receive(current)


def _scores(rule: str, values: Tensor) -> Tensor:
    """Scores of what the population read from did, ``[B, T, neurons]``."""
    if rule == "last_membrane":
        return values[:, -1]
    return values.amax(1) if rule == "max_membrane" else values.sum(1)
