"""A network on its way through passes: what it is after each, and does on the same few windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from numpy.typing import NDArray

from l2mu_compile.drift import drift
from l2mu_compile.interpreter import Run, run
from l2mu_compile.lowering import lower
from l2mu_compile.network import Network
from l2mu_compile.neurobench import neurobench
from l2mu_compile.passbase import Context, Pass
from l2mu_compile.passes.fold_input import FoldInput
from l2mu_compile.passes.plan_memory import PlanMemory
from l2mu_compile.passes.select_kernels import SelectKernels
from l2mu_compile.projection import Projection
from l2mu_compile.report import Drift, NeuroBench, PopulationStep, ProjectionStep, Step
from l2mu_compile.samples import check_samples, prepared
from l2mu_compile.targets.kernel_costs import costs_for, in_all, predicted
from l2mu_compile.targets.record import Target
from l2mu_compile.windows import Windows

MOST_VALUES = 1 << 24  # windows times steps times neurons, whose numbers are kept during a run

Judge = Callable[[Network], float]


class Steps:
    """The `Step` of a network as it came, and of what every pass made of it, in ``taken``.

    At most ``count`` of ``windows`` are run, evenly spread; fewer where they are long and many
    neurons take part. Accuracy is on these, if they have labels, or what ``judge`` says.
    Instructions are predicted where a ``target`` is given whose kernels were measured.
    """

    def __init__(
        self,
        network: Network,
        windows: Windows,
        count: int,
        target: Target | None = None,
        judge: Judge | None = None,
    ) -> None:
        values = windows.x.shape[1] * sum(p.size for p in network.populations)
        self.windows = windows.first(min(count, max(MOST_VALUES // values, 1)))
        self.target = target if target is not None and costs_for(target) else None
        self.judge = judge
        self.given: dict[str, NDArray] | None = None
        self.last = self._run(network)
        self.taken = [self._step(None, network)]

    def observe(self, item: Pass, before: Network, after: Network) -> None:
        """Note what ``item`` made of ``before``."""
        if after is before:
            self.taken.append(self.taken[-1].model_copy(update={"after": str(item)}))
            return
        if _meaning(after) != _meaning(before):
            self.last = self._run(after)
        self.taken.append(self._step(item, after))

    def _run(self, network: Network) -> _Activity:
        x, y = self.windows.x, self.windows.y
        result = run(network, x, record=("spikes", "membranes"))
        if self.given is None:
            self.given = result.spikes
        accuracy = None if y is None else float((result.decisions == y).mean())
        return _Activity(
            rates={p.name: result.rate(p) for p in network.populations},
            operations={p.name: _operations(network, p, x, result) for p in network.projections},
            needed=float(result.needed.mean()),
            accuracy=accuracy if self.judge is None else self.judge(network),
            drift=drift(self.given, result.spikes),
            neurobench=neurobench(network, x, result),
        )

    def _step(self, item: Pass | None, network: Network) -> Step:
        did, taken = self.last, self._instructions(network)
        return Step(
            after=None if item is None else str(item),
            stage=network.stage,
            neurons=sum(p.size for p in network.populations),
            synapses=sum(p.synapses for p in network.projections),
            parameter_bytes=network.parameter_bytes(),
            accuracy=did.accuracy,
            steps_per_decision=did.needed,
            synaptic_operations_per_step=sum(did.operations.values()),
            instructions_per_step=in_all(taken) if taken else None,
            populations=[
                PopulationStep(
                    name=p.name,
                    neurons=p.size,
                    bytes=p.stored_bytes,
                    spike_rate=did.rates[p.name],
                    instructions_per_step=taken.get(p.name),
                )
                for p in network.populations
            ],
            projections=[
                ProjectionStep(
                    name=p.name,
                    synapses=p.synapses,
                    bytes=_bytes(p),
                    synaptic_operations_per_step=did.operations[p.name],
                    instructions_per_step=taken.get(p.name),
                )
                for p in network.projections
            ],
            drift=did.drift,
            neurobench=did.neurobench,
        )

    def _instructions(self, network: Network) -> dict[str, float | None]:
        """Of a step, by what they are for, as if the network were compiled as it is."""
        if self.target is None:
            return {}
        network = network.map_populations(lambda p: replace(p, rate=self.last.rates[p.name]))
        context = Context(target=self.target)
        if network.stage == "traced":
            network = FoldInput().apply(network, context)
        for item in (SelectKernels(), PlanMemory()):
            network = item.apply(network, context)
        return predicted(network, lower(network), self.target)


@dataclass(frozen=True)
class _Activity:
    """What a network did on the windows: rates and synaptic operations per step, by name."""

    rates: dict[str, float]
    operations: dict[str, float]
    needed: float
    accuracy: float | None
    drift: list[Drift]
    neurobench: NeuroBench


def _meaning(network: Network) -> Network:
    """``network`` without what is only known or planned of it; equal ones do the same."""
    bare = network.map_populations(
        lambda p: replace(p, rate=None, low=None, high=None, kernel=None)
    )
    return bare.map_projections(lambda p: replace(p, kernel=None)).replace(
        input=replace(network.input, low=None, high=None), stage="", buffers=()
    )


def _bytes(p: Projection) -> int:
    """Of weights, and of shifts where every neuron has its own."""
    return p.stored_bytes + (p.shift.nbytes if p.shift is not None and p.shift.ndim else 0)


def _operations(network: Network, p: Projection, samples: NDArray, result: Run) -> float:
    """Synaptic operations of a step; samples that are numbers are multiplied instead."""
    if network.multiplies(p):
        return 0.0
    if p.source == network.input.name:
        spikes = prepared(network, check_samples(network, samples))
    else:
        spikes = result.spikes[p.source]
    return int(spikes.sum(axis=(0, 1)) @ p.fan_outs) / (result.windows * result.steps)
