"""Random networks and windows to test passes on; the same for the same seed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.convolution import Convolution, Map, Pair
from l2mu_compile.errors import UsageError
from l2mu_compile.network import Input, Network, Population, Readout
from l2mu_compile.neurons import LI, LIF, CuBaLIF, Neuron
from l2mu_compile.passbase import Context
from l2mu_compile.pipeline import INT8_PIPELINE, parse_pipeline, run_passes
from l2mu_compile.projection import Projection
from l2mu_compile.verify import verify

STAGES = ("traced", "folded", "quantized")

WINDOWS, STEPS = 8, 20
_SIZES = (1, 2, 3, 4, 6, 8, 9)
# Few values, so that populations with equal parameters come about.
_DECAYS, _THRESHOLDS = (0.0, 0.5, 0.875, 1.0), (0.25, 0.5, 1.0)
_MEMBRANE_RULES = ("last_membrane", "max_membrane", "mean_membrane")


def random_network(seed: int, stage: str = "traced") -> Network:
    """A network of one to five populations, of ``stage`` traced, folded or quantized.

    It has what networks of this package can have: neurons of every kind and reset, scalar
    parameters and one for each neuron, memory cells, blocks, convolutions, delays, loops and
    readouts by spikes and by membranes. Raises `UsageError` for another stage.
    """
    if stage not in STAGES:
        raise UsageError(f"random networks are {', '.join(STAGES)}, not {stage}")
    network = _Maker(np.random.default_rng(seed)).network(f"random{seed}")
    verify(network)
    if stage == "traced":
        return network
    last = "fold-input" if stage == "folded" else "quantize"
    names = INT8_PIPELINE[: INT8_PIPELINE.index(last) + 1]
    context = Context(samples=random_windows(network, seed))
    return run_passes(network, parse_pipeline(",".join(names)), context)


def random_windows(
    network: Network, seed: int, windows: int = WINDOWS, steps: int = STEPS
) -> NDArray:
    """Normal samples with a spread of two, float32 ``[windows, steps, channels]``; as many steps
    as the network's window has, where it has one."""
    rng = np.random.default_rng(seed)
    steps = network.window or steps
    samples = 2 * rng.normal(size=(windows, steps, network.input.size))
    return network.input.raw(samples).astype(np.float32)


@dataclass(frozen=True)
class _Maker:
    rng: np.random.Generator

    def network(self, name: str) -> Network:
        rule = self.pick("spike_count", *_MEMBRANE_RULES)
        leaky = rule != "spike_count" and self.chance()
        names = [f"p{i}" for i in range(self.rng.integers(1, 6))]
        populations = [self.population(n, leaky and n == names[-1]) for n in names]
        entry = self.input()
        projections = [
            self.projection(entry.name, self.read(entry), target, 0)
            for i, target in enumerate(populations)
            if i == 0 or self.chance()
        ]
        for i, source in enumerate(populations):
            for j, target in enumerate(populations):
                if leaky and source is populations[-1]:
                    continue
                read = self.map(source.size)
                if i < j and (i + 2 == j + 1 == len(names) or self.chance()):
                    projections.append(self.projection(source.name, read, target, 0))
                if self.chance(3):
                    projections.append(self.projection(source.name, read, target, 1))
        return Network(
            name, entry, tuple(populations), tuple(projections), Readout(names[-1], rule)
        )

    def input(self) -> Input:
        size = int(self.rng.integers(1, 5))
        if self.chance():
            return Input("x", size)
        scale, offset = self.rng.uniform(0.5, 2, size), self.rng.normal(size=size)
        return Input("x", size, scale=_float32(scale), offset=_float32(offset))

    def population(self, name: str, leaky: bool) -> Population:
        size = int(self.pick(*_SIZES))
        shape = (size // 2, 2) if size % 2 == 0 and self.chance(3) else (size,)
        bias = _float32(self.rng.normal(size=size) / 4) if self.chance(3) else None
        return Population(name, shape, self.neuron(size, leaky), bias)

    def neuron(self, size: int, leaky: bool) -> Neuron:
        count = None if self.chance() else size
        alpha, beta = (_float32(self.rng.choice(_DECAYS, count)) for _ in range(2))
        threshold = _float32(self.rng.choice(_THRESHOLDS, count))
        if leaky:
            return LI(beta)
        if self.chance():
            return LIF(beta, threshold, str(self.pick(*LIF.resets)))
        return CuBaLIF(alpha, beta, threshold, str(self.pick(*CuBaLIF.resets)))

    def projection(self, source: str, read: Map, target: Population, delay: int) -> Projection:
        size = math.prod(read)
        if self.chance(6):
            return self.convolution(source, read, target, delay)
        common = [n for n in range(2, size + 1) if size % n == target.size % n == 0]
        if not common or self.chance():
            return Projection(source, target.name, self.weights(target.size, size), delay)
        count = int(self.pick(*common))
        block = target.size // count, size // count
        weight = self.weights(*block) if self.chance() else self.weights(count, *block)
        return Projection(source, target.name, weight, delay, blocks=count)

    def convolution(self, source: str, read: Map, target: Population, delay: int) -> Projection:
        written = self.map(target.size)
        groups = [g for g in range(1, read[0] + 1) if read[0] % g == written[0] % g == 0]
        stride, dilation = self.pair((2, 2)), self.pair((2, 2))
        padding = int(self.rng.integers(2)), int(self.rng.integers(2))
        pool, kernel = self.pair(read[1:]), self.pair((3, 3))
        made = Convolution(read, written, stride, padding, dilation, int(self.pick(*groups)), pool)
        shape = written[0], read[0] // made.groups, *kernel
        weight = made.kernel_in(made.dense(self.weights(*shape)), shape)  # 0 where nothing reads
        return Projection(source, target.name, weight, delay, convolution=made)

    def read(self, entry: Input) -> Map:
        """The map that an input is: each channel of it has one scale."""
        return self.map(entry.size) if entry.scale is None else (entry.size, 1, 1)

    def map(self, size: int) -> Map:
        """Channels, height and width of so many neurons."""
        channels = int(self.pick(*(n for n in range(1, size + 1) if size % n == 0)))
        positions = size // channels
        height = int(self.pick(*(n for n in range(1, positions + 1) if positions % n == 0)))
        return channels, height, positions // height

    def pair(self, most: Pair) -> Pair:
        """A number for each axis, from 1 to ``most``, and to 3."""
        first, second = (int(self.rng.integers(1, min(n, 3) + 1)) for n in most)
        return first, second

    def weights(self, *shape: int) -> NDArray:
        return _float32(self.rng.normal(size=shape) * self.rng.integers(0, 4, shape).clip(max=1))

    def chance(self, one_in: int = 2) -> bool:
        return bool(self.rng.integers(one_in) == 0)

    def pick(self, *values: Any) -> Any:
        return values[self.rng.integers(len(values))]


def _float32(values: Any) -> NDArray:
    return np.asarray(values, dtype=np.float32)
