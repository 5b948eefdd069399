"""Networks, convolutions and windows that hypothesis draws."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from networks import f32, i8
from numpy.typing import NDArray

from l2mu_compile.convolution import Convolution
from l2mu_compile.grids import GRIDS
from l2mu_compile.network import (
    NARROW_BITS,
    READOUT_RULES,
    Input,
    Network,
    Population,
    Readout,
)
from l2mu_compile.neurons import LI, LIF, CuBaLIF, Neuron
from l2mu_compile.projection import Projection

AWKWARD_SIZES = (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33)
SHIFTS = ([0, 1, 7, 12, 30], [17, 22, 30])  # the larger ones keep currents narrow
_PAIRS = st.tuples(st.integers(1, 3), st.integers(1, 3))
Draw = Callable[[st.SearchStrategy[Any]], Any]


@st.composite
def float_networks(draw: Draw, name: str = "rand") -> Network:
    """Any traced float network of up to four populations."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rule = draw(st.sampled_from(READOUT_RULES))
    return _network(draw, name, rule, _FloatNumbers(draw, rng))


@st.composite
def integer_networks(draw: Draw, name: str = "rand") -> Network:
    """Any quantized network of up to four populations, its integers drawn over their full range."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rule = draw(st.sampled_from(READOUT_RULES))
    network = _network(draw, name, rule, _IntegerNumbers(draw, rng))
    return network.replace(stage="quantized")


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[Convolution, NDArray]:
    """A convolution whose kernel reads something, and an integer kernel."""
    groups = draw(st.integers(1, 3))
    channels, out = (groups * draw(st.integers(1, 2)) for _ in range(2))
    kernel = np.array(draw(_PAIRS))
    stride, pool = np.array(draw(_PAIRS)), np.array(draw(_PAIRS))
    dilation, padding = np.array(draw(_PAIRS)), np.array(draw(_PAIRS)) - 1
    span = (kernel - 1) * dilation + 1
    pooled = span + np.array(draw(_PAIRS)) * 2
    rest = np.minimum(np.array(draw(_PAIRS)) - 1, pool - 1)
    size = (pooled + 2 * padding - span) // stride + 1
    made = Convolution(
        (channels, *(pooled * pool + rest).tolist()),
        (out, *size.tolist()),
        *(tuple(values.tolist()) for values in (stride, padding, dilation)),
        groups,
        tuple(pool.tolist()),
    )
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    return made, rng.integers(-9, 10, (out, channels // groups, *kernel))


@st.composite
def windows_for(draw: Draw, network: Network, steps: int = 10, finite: bool = True) -> NDArray:
    """Up to three windows: silence, ordinary samples, or extremes; also NaN if not ``finite``."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.integers(1, 3)), draw(st.integers(1, steps)), network.input.size
    kind = draw(st.sampled_from(("silent", "normal", "normal", "extreme")))
    if kind == "silent":
        return f32(np.zeros(shape))
    array = f32(rng.normal(size=shape) * 2)
    if kind == "extreme":
        special = [0.0, -0.0, 1e-45, -1e-40, 1e6, -1e6, 0.5, 0.50000006, 0.49999997, -0.5, 1.0]
        special += [] if finite else [np.nan, np.inf, -np.inf, 3e38]
        array = np.where(rng.random(shape) < 0.5, rng.choice(f32(special), shape), array)
    return f32(array)


def _network(draw: Draw, name: str, rule: str, numbers: Any) -> Network:
    count = draw(st.integers(1, 4))
    entry = numbers.input("x", draw(st.sampled_from(AWKWARD_SIZES[:6])))
    names = [f"p{i}" for i in range(count)]
    leaky = rule != "spike_count" and draw(st.booleans())
    populations = [numbers.population(n, leaky and n == names[-1]) for n in names]
    sizes = {p.name: p.size for p in populations}
    projections = []
    for j, target in enumerate(names):
        if j == 0 or draw(st.integers(0, 3)) == 0:
            slides = entry.scale is None or entry.scale.ndim == 0
            synapses = numbers.synapses(sizes[target], entry.size, slides)
            reading = Projection("x", target, **synapses)
            made = numbers.packed if entry.spiking else numbers.sampled
            projections.append(made(reading))
        for i, source in enumerate(names):
            if leaky and source == names[-1]:
                continue
            for delay in (0, 1):
                if (delay == 0 and i >= j) or draw(st.integers(0, 2)) == 0:
                    continue
                synapses = numbers.synapses(sizes[target], sizes[source])
                heard = Projection(source, target, delay=delay, **synapses)
                projections.append(numbers.packed(heard))
    order = draw(st.permutations(range(len(projections))))
    listed = draw(st.permutations(range(count)))
    return Network(
        name,
        entry,
        tuple(populations[i] for i in listed),
        tuple(projections[i] for i in order),
        Readout(names[-1], rule, margins=_margins(numbers, rule, sizes[names[-1]])),
    )


def _margins(numbers: _Numbers, rule: str, classes: int) -> tuple[int, ...] | None:
    """Leads that decide a window, some after a spike or two and some never."""
    if rule != "spike_count" or numbers.chance():
        return None
    return tuple(numbers.rng.choice([1, 2, 4, 2**31 - 1], classes).tolist())


class _Numbers:
    def __init__(self, draw: Draw, rng: np.random.Generator) -> None:
        self.draw, self.rng = draw, rng

    def chance(self, one_in: int = 2) -> bool:
        return bool(self.draw(st.integers(0, one_in - 1)) == 0)

    def shape(self) -> tuple[int, ...]:
        size = self.draw(st.sampled_from(AWKWARD_SIZES))
        cells = [c for c in range(2, size + 1) if size % c == 0]
        if cells and self.chance(3):
            count = self.draw(st.sampled_from(cells))
            return count, size // count
        return (size,)

    def synapses(self, targets: int, sources: int, slides: bool = True) -> dict[str, Any]:
        """``weight`` and form of a projection that is dense, of blocks or, if it ``slides``, a
        convolution."""
        if slides and self.chance(4):
            return self.convolved(targets, sources)
        common = [c for c in range(1, min(targets, sources) + 1) if targets % c == sources % c == 0]
        if len(common) > 1 and not self.chance(3):
            count = self.draw(st.sampled_from(common[1:]))
            block = targets // count, sources // count
            shape = block if self.chance() else (count, *block)
            return {"weight": self.weights(shape), "blocks": count}
        return {"weight": self.weights((targets, sources))}

    def convolved(self, targets: int, sources: int) -> dict[str, Any]:
        """Any convolution with so many neurons at its ends; weights that nothing reads are 0."""
        source, target = self.map(sources), self.map(targets)
        groups = [g for g in range(1, source[0] + 1) if source[0] % g == target[0] % g == 0]
        kernel = tuple(self.draw(st.integers(1, min(3, size))) for size in source[1:])
        pool = tuple(self.draw(st.integers(1, min(2, size))) for size in source[1:])
        stride, dilation, padding = (self.draw(_PAIRS) for _ in range(3))
        padding = padding[0] - 1, padding[1] - 1
        count = self.draw(st.sampled_from(groups))
        made = Convolution(source, target, stride, padding, dilation, count, pool)
        read = [made.reads(axis, kernel[axis]).any(axis=(1, 2)) for axis in (0, 1)]
        weight = self.weights((target[0], source[0] // count, *kernel))
        weight = np.where(np.outer(*read), weight, weight.dtype.type(0))
        return {"weight": weight, "convolution": made}

    def map(self, size: int) -> tuple[int, int, int]:
        """Channels, height and width of a map of so many neurons."""
        channels, height = (
            self.draw(st.sampled_from([n for n in range(1, size + 1) if size % n == 0]))
            for _ in range(2)
        )
        height = math.gcd(height, size // channels)
        return channels, height, size // channels // height

    def neuron(self, kind: str, parameters: Callable[[str], NDArray]) -> Neuron:
        if kind == "li":
            return LI(parameters("beta"))
        if kind == "lif":
            reset = self.draw(st.sampled_from(LIF.resets))
            return LIF(parameters("beta"), parameters("threshold"), reset)
        reset = self.draw(st.sampled_from(CuBaLIF.resets))
        names = ("alpha", "beta", "threshold")
        return CuBaLIF(*(parameters(name) for name in names), reset)

    def weights(self, shape: tuple[int, ...]) -> NDArray:
        raise NotImplementedError


class _FloatNumbers(_Numbers):
    def input(self, name: str, size: int) -> Input:
        def maybe() -> NDArray | None:
            if self.chance():
                return None
            return f32(self.rng.normal(size=() if self.chance() else size))

        if self.chance(4):
            return Input(name, size, spiking=True)
        return Input(name, size, scale=maybe(), offset=maybe())

    def population(self, name: str, leaky: bool) -> Population:
        shape = self.shape()
        size = int(np.prod(shape))
        mood = self.draw(st.sampled_from(("lively", "lively", "lively", "silent", "always")))

        def parameters(parameter: str) -> NDArray:
            count = () if self.chance() else size
            if parameter == "threshold":
                value = {"silent": 1e9, "always": 1e-3}.get(mood)
                return f32(np.full(count, value) if value else self.rng.uniform(0.1, 1.5, count))
            if self.chance(4):
                return f32(np.broadcast_to(self.rng.choice([0.0, 1.0]), count))
            return f32(self.rng.uniform(0, 1, count))

        kind = "li" if leaky else self.draw(st.sampled_from(("lif", "cuba")))
        bias = self.rng.normal(size=size) + (3 if mood == "always" else 0)
        use_bias = mood == "always" or self.chance()
        neuron = self.neuron(kind, parameters)
        return Population(name, shape, neuron, f32(bias) if use_bias else None)

    def packed(self, projection: Projection) -> Projection:
        return projection

    def weights(self, shape: tuple[int, ...]) -> NDArray:
        values = f32(self.rng.normal(size=shape))
        special = self.rng.choice(f32([0.0, -0.0, 1e-45, -1e-39, 0.5, -1.0]), shape)
        return np.where(self.rng.random(shape) < 0.1, special, values)

    def sampled(self, projection: Projection) -> Projection:
        return projection


class _IntegerNumbers(_Numbers):
    def input(self, name: str, size: int) -> Input:
        if self.chance(4):
            return Input(name, size, fraction=0, spiking=True)
        return Input(name, size, fraction=self.draw(st.sampled_from((-2, 0, 4, 9, 13, 24))))

    def population(self, name: str, leaky: bool) -> Population:
        shape = self.shape()
        size = int(np.prod(shape))
        bits = self.draw(st.sampled_from((2, 8, *3 * (NARROW_BITS,), 16, 28)))
        high = 2 ** min(bits - 1, 12)

        def parameters(parameter: str) -> NDArray:
            count = () if self.chance() else size
            if parameter == "threshold":
                return np.int32(self.rng.integers(1, high + 1, count))
            if self.chance(4):
                return np.int32(np.broadcast_to(self.rng.choice([0, 1, 32767, 32768]), count))
            return np.int32(self.rng.integers(0, 32769, count))

        kind = "li" if leaky else self.draw(st.sampled_from(("lif", "cuba")))
        bias = np.int32(self.rng.integers(-high, high + 1, size))
        neuron = self.neuron(kind, parameters)
        return Population(name, shape, neuron, bias if self.chance() else None, membrane_bits=bits)

    def weights(self, shape: tuple[int, ...]) -> NDArray:
        return self.rng.integers(-128, 128, shape).astype(np.int8)

    def packed(self, projection: Projection) -> Projection:
        """``projection``, or, if it is dense, one like it with packed weights."""
        kind = self.draw(st.sampled_from(("none", "scalar", "each")))
        if kind == "none" or not projection.is_dense:
            return projection
        grid = self.draw(st.sampled_from(tuple(GRIDS.values())))
        most = min(grid.quanta[-1], 127 // -min(grid.multiples))
        quantum = np.int32(
            self.rng.integers(1, max(most, 2), () if kind == "scalar" else projection.shape[0])
        )
        weight = self.rng.choice(grid.multiples, projection.shape) * quantum.reshape(-1, 1)
        return replace(projection, weight=i8(weight), quantum=quantum, grid=grid.name)

    def sampled(self, projection: Projection) -> Projection:
        """``projection`` with a shift: none, one, or one for every neuron."""
        kind = self.draw(st.sampled_from(("none", "scalar", "each")))
        if kind == "none":
            return projection
        size = () if kind == "scalar" else projection.shape[0]
        return replace(
            projection, shift=np.int32(self.rng.choice(self.draw(st.sampled_from(SHIFTS)), size))
        )
