"""A naive simulation: the docstring of the interpreter, one neuron and one weight at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.convolution import Convolution
from l2mu_compile.interpreter import run
from l2mu_compile.network import Network, Population
from l2mu_compile.neurons import LI, CuBaLIF
from l2mu_compile.projection import Projection


@dataclass
class Trace:
    """What one window did: per population a list over steps of lists over neurons."""

    spikes: dict[str, list[list[bool]]] = field(default_factory=dict)
    membranes: dict[str, list[list[Any]]] = field(default_factory=dict)
    synapses: dict[str, list[list[Any]]] = field(default_factory=dict)
    scores: list[Any] = field(default_factory=list)
    decision: int = -1


def simulate(network: Network, window: NDArray) -> Trace:
    """The docstring of the interpreter, read literally: np.float32 scalars, or Python integers."""
    number = _Integers(network) if network.quantized else _Floats(network)
    trace = Trace()
    v = {p.name: [number.zero] * p.size for p in network.populations}
    syn = {p.name: [number.zero] * p.size for p in network.populations}
    now = {p.name: [False] * p.size for p in network.populations}
    for raw in window:
        sample = [number.sample(raw, i) for i in range(len(raw))]
        if network.input.spiking:
            sample = [bool(value > 0.5) for value in raw]
        last = {name: list(spikes) for name, spikes in now.items()}
        for population in network.order():
            name = population.name
            for j in range(population.size):
                v[name][j], syn[name][j] = _update(
                    network, population, number, j, v[name][j], syn[name][j], sample, now, last
                )
            now[name] = [_spikes(population, j, v[name][j]) for j in range(population.size)]
        for population in network.populations:
            name = population.name
            trace.membranes.setdefault(name, []).append(list(v[name]))
            trace.synapses.setdefault(name, []).append(list(syn[name]))
            trace.spikes.setdefault(name, []).append(list(now[name]))
    trace.scores = _scores(network, trace, number)
    trace.decision = _first_largest(trace.scores)
    return trace


class _Floats:
    zero = np.float32(0)
    lowest = np.finfo(np.float32).min

    def __init__(self, network: Network) -> None:
        self.entry = network.input

    def sample(self, raw: NDArray, i: int) -> Any:
        value = np.float32(raw[i])
        if self.entry.scale is not None:
            value = _one(self.entry.scale, i) * value
        if self.entry.offset is not None:
            value = value + _one(self.entry.offset, i)
        return value

    def decay(self, factor: Any, state: Any) -> Any:
        return np.float32(factor * state)

    def saturate(self, population: Population, state: Any) -> Any:
        return state

    def add_samples(self, total: Any, p: Projection, j: int, sample: list[Any]) -> Any:
        for i, inside in enumerate(_row_of_blocks(p, j)):
            if inside is not None:
                total = np.float32(total + np.float32(inside * sample[i]))
        return total

    def scalar(self, value: Any) -> Any:
        return np.float32(value)


class _Integers:
    zero = 0
    lowest = -(2**31)

    def __init__(self, network: Network) -> None:
        self.fraction = network.input.fraction or 0

    def sample(self, raw: NDArray, i: int) -> int:
        if not np.isfinite(raw[i]):
            return 0 if np.isnan(raw[i]) else 2**15 - 1 if raw[i] > 0 else -(2**15)
        rounded = math.floor(
            Fraction(float(raw[i])) * Fraction(2) ** self.fraction + Fraction(1, 2)
        )
        return min(max(rounded, -(2**15)), 2**15 - 1)

    def decay(self, factor: int, state: int) -> int:
        return math.floor(factor * state / 32768) if abs(state) < 2**30 else (factor * state) >> 15

    def saturate(self, population: Population, state: int) -> int:
        limit = 2 ** (population.membrane_bits - 1)
        return min(max(state, -limit), limit - 1)

    def add_samples(self, total: int, p: Projection, j: int, sample: list[int]) -> int:
        shift = 0 if p.shift is None else int(_one(p.shift, j))
        half = 2 ** (shift - 1) if shift else 0
        row = _row_of_blocks(p, j)
        current = sum(int(w) * sample[i] for i, w in enumerate(row) if w is not None)
        return total + (current + half) // 2**shift

    def scalar(self, value: Any) -> int:
        return int(value)


def _one(values: NDArray, j: int) -> Any:
    return values[()] if values.ndim == 0 else values[j]


def _row_of_blocks(p: Projection, j: int) -> list[Any]:
    """The weights of target ``j`` from every source; None outside its block or kernel."""
    if p.convolution is not None:
        return _row_of_convolution(p.convolution, p.weight, j)
    if not p.blocks:
        return list(p.weight[j])
    rows, columns = p.weight.shape[-2:]
    block = p.weight if p.weight.ndim == 2 else p.weight[j // rows]
    row: list[Any] = [None] * (columns * p.blocks)
    start = j // rows * columns
    row[start : start + columns] = list(block[j % rows])
    return row


def _row_of_convolution(c: Convolution, kernel: NDArray, j: int) -> list[Any]:
    """What target ``j`` has of every source, one after the other: None where it reads nothing."""
    out, y, x = np.unravel_index(j, c.target)
    channels = c.source[0] // c.groups
    first = out // (c.target[0] // c.groups) * channels
    row: list[Any] = []
    for channel, *place in np.ndindex(*c.source):
        weight = kernel[out, channel - first] if first <= channel < first + channels else None
        for axis, here in enumerate((y, x)):
            if weight is None:
                break
            pooled = place[axis] // c.pool[axis]
            reached = pooled - here * c.stride[axis] + c.padding[axis]
            k, between = divmod(reached, c.dilation[axis])
            inside = not between and 0 <= k < len(weight)
            weight = weight[k] if inside and pooled < c.source[axis + 1] // c.pool[axis] else None
        row.append(weight)
    return row


def _spikes(population: Population, j: int, v: Any) -> bool:
    if isinstance(population.neuron, LI):
        return False
    return bool(v > _one(population.neuron.threshold, j))


def _update(
    network: Network,
    population: Population,
    number: Any,
    j: int,
    v: Any,
    syn: Any,
    sample: list[Any],
    now: dict[str, list[bool]],
    last: dict[str, list[bool]],
) -> tuple[Any, Any]:
    neuron = population.neuron
    r = _spikes(population, j, v)
    threshold = number.scalar(_one(neuron.threshold, j)) if r else number.zero
    left = v - threshold if neuron.reset == "subtract_first" else v
    a = number.decay(number.scalar(_one(neuron.beta, j)), left)
    if r and neuron.reset == "subtract":
        a = a - threshold
    if r and neuron.reset == "zero":
        a = number.zero
    if not isinstance(neuron, CuBaLIF):
        return number.saturate(
            population, _gather(network, population, number, j, a, sample, now, last)
        ), syn
    syn = number.decay(number.scalar(_one(neuron.alpha, j)), syn)
    syn = _gather(network, population, number, j, syn, sample, now, last)
    syn = number.saturate(population, syn)
    a = number.zero if r and neuron.reset == "clamp" else a + syn
    return number.saturate(population, a), syn


def _gather(
    network: Network,
    population: Population,
    number: Any,
    j: int,
    total: Any,
    sample: list[Any],
    now: dict[str, list[bool]],
    last: dict[str, list[bool]],
) -> Any:
    if population.bias is not None:
        total = total + number.scalar(population.bias[j])
    for p in _as_they_arrive(network, population):
        if p.source == network.input.name and not network.input.spiking:
            total = number.add_samples(total, p, j, sample)
            continue
        spikes = (last if p.delay else now)[p.source] if p.source in now else sample
        for i, weight in enumerate(_row_of_blocks(p, j)):
            if spikes[i] and weight is not None:
                total = total + number.scalar(weight)
    return total


def _as_they_arrive(network: Network, population: Population) -> list[Projection]:
    """Last step's spikes first, each once both its ends had fired; the others in network order."""
    turn = [p.name for p in network.order()].index
    late = [p for p in network.into(population.name) if p.delay]
    late.sort(key=lambda p: max(turn(p.source), turn(p.target)))
    return late + [p for p in network.into(population.name) if not p.delay]


def _scores(network: Network, trace: Trace, number: Any) -> list[Any]:
    name, rule = network.readout.population, network.readout.rule
    membranes = trace.membranes[name]
    scores = []
    for j in range(len(membranes[0])):
        history = [step[j] for step in membranes]
        if rule == "spike_count":
            scores.append(sum(step[j] for step in trace.spikes[name][: _needed(network, trace)]))
        elif rule == "last_membrane":
            scores.append(history[-1])
        else:
            score = number.lowest if rule == "max_membrane" else number.zero
            for value in history:
                if rule == "max_membrane":
                    score = value if value > score else score
                else:
                    score = score + value
            scores.append(score)
    return scores


def _needed(network: Network, trace: Trace) -> int:
    """Steps until the leading class is ahead of every other by its margin."""
    spikes, margins = trace.spikes[network.readout.population], network.readout.margins
    if margins is None or len(margins) == 1:
        return len(spikes)
    counts = [0] * len(margins)
    for step, fired in enumerate(spikes, 1):
        counts = [count + bool(spike) for count, spike in zip(counts, fired, strict=True)]
        best = _first_largest(counts)
        others = [count for j, count in enumerate(counts) if j != best]
        if all(counts[best] - other >= margins[best] for other in others):
            return step
    return len(spikes)


def _first_largest(scores: list[Any]) -> int:
    best = 0
    for j, score in enumerate(scores):
        if score > scores[best]:
            best = j
    return best


def assert_same_bits(got: NDArray, wanted: list[Any]) -> None:
    """Equal bit for bit, but for which NaN a NaN is."""
    array = np.array(wanted, dtype=got.dtype)
    if got.dtype.kind == "f":
        nan = np.isnan(array)
        assert np.array_equal(np.isnan(got), nan)
        got, array = np.where(nan, 0, got), np.where(nan, 0, array)
        assert np.array_equal(np.signbit(got), np.signbit(array))
    assert np.array_equal(got, array)


def assert_as_simulated(network: Network, x: NDArray) -> None:
    with np.errstate(all="ignore"):
        result = run(network, x, record=("spikes", "membranes"))
        for b, window in enumerate(x):
            trace = simulate(network, window)
            for population in network.populations:
                name = population.name
                assert_same_bits(result.spikes[name][b], trace.spikes[name])
                assert_same_bits(result.membranes[name][b], trace.membranes[name])
                if name in result.synapses:
                    assert_same_bits(result.synapses[name][b], trace.synapses[name])
            assert_same_bits(result.scores[b], trace.scores)
            assert result.needed[b] == _needed(network, trace)
            assert result.decisions[b] == trace.decision
