"""The interpreter: what a Network means, in NumPy. Emitted code must equal it bit for bit.

A step takes the populations in turn (`l2mu_compile.schedule`). Each has an accumulator ``a``, which
holds its decayed membrane and gathers the currents. At its turn::

    a = a + current of each projection of samples and of spikes of this step, in network order
    v = saturate(a);   s = v > threshold
    a = decay(beta, v) - threshold * s      reset = subtract (zero: 0 where s; none: no s term)
    a = decay(beta, v - threshold * s)      reset = subtract_first
    a = a + bias

and then, as soon as both ends of a projection with a delay have had their turn, its current from
this step's spikes is added to its target's ``a``, which the next step starts with. At first every
``a`` is 0 + bias.

A `CuBaLIF` gathers currents in its synaptic state instead, then integrates it; ``r`` is 1 where
last step's ``v`` was above threshold::

    syn = saturate(a)
    v   = saturate(decay(beta, v) - threshold * r + syn);   s = v > threshold
    a   = decay(alpha, syn) + bias

(reset = subtract_first: decay(beta, v - threshold * r); reset = zero: decay(beta, v) is 0 where r;
reset = clamp: v is 0 where r.)

**Float networks** compute in float32, every operation rounded to nearest: ``decay(b, v) = b · v``,
no saturation. A spike of source neuron i adds column i of the weights; sources are added one after
the other in index order. A sample channel adds ``weight · sample`` (product rounded, then the sum),
channel after channel. Nothing is added for a source that did not spike, nor outside a block or
a convolution's kernel.
Infinite samples follow IEEE arithmetic; which NaN comes out of them is left open.

**Spiking inputs** add weights where a sample is above 1/2, as populations do.

**Raw counts** of a sensor, int16, are samples like any other: a count stands for the float32 of its
value. A sensor's scale and offset belong to the network (`Input`) and, once folded, to its weights.

**Integer networks** compute exactly:

- a sample, float32 or raw count, is exactly ``floor(sample · 2^fraction + 1/2)``, clipped to int16;
  NaN is 0;
- ``decay(b, v) = floor(b · v / 32768)``, an arithmetic shift right by 15;
- a projection of samples adds ``floor((Σ weight · sample + half) / 2^shift)``, where ``half`` is
  ``2^(shift-1)``, or 0 when the shift is 0: one rounding of the whole sum;
- ``saturate`` clips to the signed range of ``membrane_bits``. Sums before it never overflow int32
  (`l2mu_compile.verify` proves it for every network).

**Shorter windows**: of a window longer than the network's the first steps are taken, where the
network says so (``full_window``); else it is refused.

**Decided early**: where a readout has margins, a window is decided once the largest score is at
least its class's margin above every other; further spikes are not counted. With one class no window
is.

Scores: see `Readout`; a maximum starts at the lowest finite number of its type, and the mean is
kept as a sum (float32 in step order, or an exact integer), since only the largest counts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.network import Network, Population
from l2mu_compile.neurons import CuBaLIF, Neuron, spikes_of
from l2mu_compile.projection import Projection
from l2mu_compile.samples import check_samples, prepared
from l2mu_compile.schedule import turns
from l2mu_compile.scores import Scores, largest

Q15 = 15

Progress = Callable[[int, int], None]


@dataclass
class Run:
    """What happened to ``B`` windows of ``T`` steps.

    ``decisions`` int64 ``[B]``; ``scores`` ``[B, classes]``; ``needed`` int64 ``[B]`` steps until a
    window was decided, ``T`` without margins; ``spike_totals`` spikes of each
    population over everything; ``operations`` synaptic operations (a weight that is not zero added
    because a spike arrived) over everything. ``spikes`` (bool), ``membranes`` and ``synapses`` (syn
    of CuBaLIF) and ``accumulators`` (at the end of a step) are ``[B, T, neurons]`` by population,
    present if recorded.
    """

    windows: int
    steps: int
    decisions: NDArray
    scores: NDArray
    needed: NDArray
    spike_totals: dict[str, int] = field(default_factory=dict)
    operations: int = 0
    spikes: dict[str, NDArray] = field(default_factory=dict)
    membranes: dict[str, NDArray] = field(default_factory=dict)
    synapses: dict[str, NDArray] = field(default_factory=dict)
    accumulators: dict[str, NDArray] = field(default_factory=dict)

    def rate(self, population: Population) -> float:
        """Mean spikes per neuron and step."""
        return self.spike_totals[population.name] / (population.size * self.windows * self.steps)

    @property
    def operations_per_step(self) -> float:
        """Mean synaptic operations in one time step of one window."""
        return self.operations / (self.windows * self.steps)


@dataclass(frozen=True)
class State:
    """What ``B`` windows remember between two steps, but for scores: ``accumulators`` of all
    populations and ``membranes`` of each `CuBaLIF`, ``[B, neurons]``, by population."""

    accumulators: Mapping[str, NDArray]
    membranes: Mapping[str, NDArray]


def run(
    network: Network,
    samples: NDArray,
    record: Collection[str] = (),
    progress: Progress | None = None,
    recorded: int | None = None,
    start: State | None = None,
) -> Run:
    """Run windows through ``network`` from a state of zero, or from ``start``; scores from zero.

    ``samples``: float32 or raw counts ``[B, T, inputs]``. ``record`` may hold ``"spikes"`` and
    ``"membranes"`` (with synaptic states and accumulators), of the first ``recorded`` steps or all.
    ``progress(step, steps)`` is called after each step. Raises `ModelError` if the samples do not
    fit the network.
    """
    samples = check_samples(network, samples)
    windows, steps, _ = samples.shape
    machine = _Machine(network, windows)
    if start is not None:
        machine.go_on_from(start)
    last = steps if recorded is None else min(recorded, steps)
    recorder = _Recorder(network, (windows, last), record)
    scores, shown = Scores(network, windows, steps), network.readout.population
    with np.errstate(over="ignore", invalid="ignore"):
        for step in range(steps):
            machine.step(samples[:, step])
            scores.add(step, machine.spikes[shown], machine.membranes[shown])
            if step < last:
                recorder.keep(machine, step)
            if progress:
                progress(step + 1, steps)
    return Run(
        windows=windows,
        steps=steps,
        decisions=largest(scores.total),
        scores=scores.total,
        needed=scores.needed,
        spike_totals=machine.spike_totals,
        operations=machine.operations,
        **recorder.kept,
    )


def respond(network: Network, population: Population, currents: NDArray) -> tuple[NDArray, NDArray]:
    """What a population of ``network`` does, alone, with given ``currents`` ``[B, T, neurons]``:
    its spikes, bool, and its membranes, likewise. A current counts in the step it is of."""
    machine = _Machine(network.replace(populations=(population,), projections=()), len(currents))
    spikes, membranes = np.empty(currents.shape, bool), np.empty(currents.shape, machine.dtype)
    for step in range(currents.shape[1]):
        machine.accumulators[population.name] += currents[:, step]
        machine.fire(population)
        spikes[:, step] = machine.spikes[population.name]
        membranes[:, step] = machine.membranes[population.name]
    return spikes, membranes


class _Machine:
    """State of a batch of windows, and one step of time."""

    def __init__(self, network: Network, windows: int) -> None:
        self.network = network
        self.turns = turns(network)
        self.dtype = np.int64 if network.quantized else np.float32

        def zeros(population: Population, dtype: type = self.dtype) -> NDArray:
            return np.zeros((windows, population.size), dtype)

        everyone = [turn.population for turn in self.turns]
        self.accumulators = {p.name: _biased(p, zeros(p)) for p in everyone}
        self.membranes = {p.name: zeros(p) for p in everyone}
        self.synapses = {p.name: zeros(p) for p in everyone if isinstance(p.neuron, CuBaLIF)}
        self.spikes = {p.name: zeros(p, bool) for p in everyone}
        self.spike_totals = {p.name: 0 for p in everyone}
        self.fan_outs = {p.name: p.fan_outs for p in network.projections}
        self.operations = 0

    def go_on_from(self, start: State) -> None:
        """Take what ``start`` remembers."""
        for now, then in (
            (self.accumulators, start.accumulators),
            (self.membranes, start.membranes),
        ):
            now |= {name: array.astype(self.dtype) for name, array in then.items()}

    def step(self, sample: NDArray) -> None:
        """Advance by one sample ``[B, inputs]``."""
        sample = prepared(self.network, sample)
        for turn in self.turns:
            for projection in turn.arriving:
                self._add(projection, sample)
            self.fire(turn.population)
            for projection in turn.leaving:
                self._add(projection, sample)

    def fire(self, population: Population) -> None:
        """Take a population's turn with the currents that have arrived."""
        neuron, name = population.neuron, population.name
        total = self._saturate(population, self.accumulators[name])
        if isinstance(neuron, CuBaLIF):
            fired = spikes_of(neuron, self.membranes[name])
            integrated = self._leak(neuron, self.membranes[name], fired) + total
            if neuron.reset == "clamp":
                integrated = np.where(fired, self.dtype(0), integrated)
            self.synapses[name] = total
            self.membranes[name] = self._saturate(population, integrated)
            self.spikes[name] = spikes_of(neuron, self.membranes[name])
            start = self._decay(neuron.alpha, total)
        else:
            self.membranes[name] = total
            self.spikes[name] = spikes_of(neuron, total)
            start = self._leak(neuron, total, self.spikes[name])
        self.accumulators[name] = _biased(population, start)
        self.spike_totals[name] += int(self.spikes[name].sum())

    def _leak(self, neuron: Neuron, membrane: NDArray, fired: NDArray) -> NDArray:
        if neuron.reset == "subtract_first":
            left = np.where(fired, membrane - neuron.threshold, membrane)
            return self._decay(neuron.beta, left)
        decayed = self._decay(neuron.beta, membrane)
        if neuron.reset == "subtract":
            return np.where(fired, decayed - neuron.threshold, decayed)
        if neuron.reset == "zero":
            return np.where(fired, self.dtype(0), decayed)
        return decayed

    def _decay(self, factor: NDArray, state: NDArray) -> NDArray:
        if self.network.quantized:
            return (factor.astype(np.int64) * state) >> Q15
        return factor * state

    def _saturate(self, population: Population, state: NDArray) -> NDArray:
        if population.membrane_bits is None:
            return state
        limit = 2 ** (population.membrane_bits - 1)
        return np.clip(state, -limit, limit - 1)

    def _add(self, projection: Projection, sample: NDArray) -> None:
        """Add a projection's current to its target's accumulator."""
        total = self.accumulators[projection.target]
        if self.network.multiplies(projection):
            self._add_samples(total, projection, sample)
            return
        from_input = projection.source == self.network.input.name
        spikes = sample if from_input else self.spikes[projection.source]
        self.operations += int(spikes.sum(axis=0) @ self.fan_outs[projection.name])
        if projection.convolution is not None:
            projection.convolution.add_spikes(total, projection.weight, spikes)
        elif projection.blocks:
            _add_block_spikes(total, projection, spikes)
        else:
            _add_listed_spikes(total, projection.weight, spikes)

    def _add_samples(self, total: NDArray, projection: Projection, sample: NDArray) -> None:
        if self.network.quantized:
            shift = np.int64(0) if projection.shift is None else projection.shift.astype(np.int64)
            half = np.where(shift > 0, np.int64(1) << np.maximum(shift - 1, 0), 0)
            summed = projection.applied(projection.weight.astype(np.int64), sample)
            total += (summed + half) >> shift
            return
        if projection.convolution is not None:
            projection.convolution.add_samples(total, projection.weight, sample)
            return
        for rows, weight, values in _diagonal(projection, sample):
            for channel in range(weight.shape[1]):
                total[:, rows] += weight[:, channel] * values[:, channel, None]


def _biased(population: Population, state: NDArray) -> NDArray:
    return state if population.bias is None else state + population.bias


def _diagonal(projection: Projection, source: NDArray) -> Iterator[tuple[slice, NDArray, NDArray]]:
    """(target rows, weights, source values) of each block; a dense projection is one block."""
    rows, columns = projection.weight.shape[-2:]
    for k in range(max(projection.blocks, 1)):
        weight = projection.weight[k] if projection.weight.ndim == 3 else projection.weight
        yield slice(k * rows, (k + 1) * rows), weight, source[:, k * columns : (k + 1) * columns]


def _add_listed_spikes(total: NDArray, weight: NDArray, spikes: NDArray) -> None:
    """Add columns of active sources in index order, the k-th spike of every window at once."""
    counts = spikes.sum(axis=1)
    listed = np.argsort(~spikes, axis=1, kind="stable")
    by_source = np.ascontiguousarray(weight.T)
    for k in range(int(counts.max(initial=0))):
        windows = np.flatnonzero(counts > k)
        total[windows] += by_source[listed[windows, k]]


def _add_block_spikes(total: NDArray, projection: Projection, spikes: NDArray) -> None:
    """Blocks are independent, so the c-th source of every block can be added at once."""
    rows, columns = projection.weight.shape[-2:]
    cells = total.reshape(len(total), projection.blocks, rows)
    active = spikes.reshape(len(spikes), projection.blocks, columns)
    for column in range(columns):
        weight = np.broadcast_to(projection.weight[..., column], cells.shape)
        mask = active[:, :, column]
        cells[mask] += weight[mask]


class _Recorder:
    """``kept`` are the arrays of a `Run` that are recorded."""

    def __init__(self, network: Network, shape: tuple[int, ...], record: Collection[str]) -> None:
        def empty(dtype: type, populations: list[Population]) -> dict[str, NDArray]:
            return {p.name: np.empty((*shape, p.size), dtype) for p in populations}

        everyone = list(network.populations)
        synaptic = [p for p in everyone if isinstance(p.neuron, CuBaLIF)]
        state = np.int32 if network.quantized else np.float32
        self.kept: dict[str, dict[str, NDArray]] = {}
        if "spikes" in record:
            self.kept["spikes"] = empty(bool, everyone)
        if "membranes" in record:
            self.kept["membranes"] = empty(state, everyone)
            self.kept["synapses"] = empty(state, synaptic)
            self.kept["accumulators"] = empty(state, everyone)

    def keep(self, machine: _Machine, step: int) -> None:
        for what, arrays in self.kept.items():
            now = getattr(machine, what)
            for name, array in arrays.items():
                array[:, step] = now[name]
