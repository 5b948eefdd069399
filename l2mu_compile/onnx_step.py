"""One time step of a Network as ONNX nodes: what `l2mu_compile.interpreter` does, in its order.

States are membranes (``u.membrane``), synaptic currents of `CuBaLIF` (``u.synapse``) and what the
readout keeps; each comes in under its name and goes out as ``NAME.next``. Last step's spikes are
read off last step's membranes. Every value is ``[batch, ...]``.

Integers: spikes are uint8 and weights int8, so their products are `MatMulInteger`, exact in int32.
A shift right is a division rounded down; the decay of membranes wider than 16 bits goes through
int64. Samples are rounded with float32 alone: ``y - floor(y) >= 1/2`` holds in float32 where it
holds exactly.

Floats: a projection is one `MatMul`, the order of whose sum is the runtime's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from l2mu_compile.bounds import SAMPLE_HIGH, SAMPLE_LOW
from l2mu_compile.interpreter import Q15
from l2mu_compile.network import Network, Population, spiking
from l2mu_compile.neurons import CuBaLIF
from l2mu_compile.onnx_nodes import Nodes, State
from l2mu_compile.onnx_readout import add_readout
from l2mu_compile.projection import Projection
from l2mu_compile.samples import SPIKE_LEVEL
from l2mu_compile.schedule import turns

BATCH = "batch"
NARROW = 16  # bits of membranes whose product with a Q15 decay an int32 holds


@dataclass(frozen=True)
class Step:
    """The nodes of a step; ``sample`` names its input, ``states`` go in and out.

    ``scores`` names the state that decides at the end of a window.
    """

    nodes: Nodes
    sample: str
    states: tuple[State, ...]
    scores: str

    def ins(self, network: Network) -> list[Any]:
        """What a step reads: all states, then the sample."""
        states = [self._described(s, s.name, f"{s.text}; {s.start} at first") for s in self.states]
        size = [BATCH, network.input.size]
        return [*states, self.nodes.described(self.sample, np.float32, size, "a sample")]

    def outs(self) -> list[Any]:
        """What a step leaves to the next one."""
        return [self._described(s, s.after, s.text) for s in self.states]

    def _described(self, state: State, name: str, text: str) -> Any:
        return self.nodes.described(name, state.dtype, [BATCH, state.size], text)


def make_step(network: Network, sample: str) -> Step:
    """One step of ``network``, whose sample is called ``sample``."""
    maker = _Maker(network, sample)
    for turn in turns(network):
        maker.turn(turn.population, turn.arriving)
    states, scores = add_readout(maker.nodes, network)
    return Step(maker.nodes, sample, (*maker.states(), *states), scores)


class _Maker:
    def __init__(self, network: Network, sample: str) -> None:
        self.network, self.sample, self.nodes = network, sample, Nodes()
        self.late: dict[str, list[Projection]] = {p.name: [] for p in network.populations}
        for turn in turns(network):
            for p in turn.leaving:
                self.late[p.target].append(p)
        self.samples = self._prepared() if network.out_of(network.input.name) else sample

    @property
    def dtype(self) -> DTypeLike:
        return np.int32 if self.network.quantized else np.float32

    @property
    def spike_dtype(self) -> DTypeLike:
        return np.uint8 if self.network.quantized else np.float32

    def states(self) -> list[State]:
        """Membranes and synapses, in the order of the network."""
        found = []
        for p in self.network.populations:
            found.append(State(f"{p.name}.membrane", self.dtype, p.size, text="membranes"))
            if isinstance(p.neuron, CuBaLIF):
                found.append(State(f"{p.name}.synapse", self.dtype, p.size, text="currents"))
        return found

    def turn(self, p: Population, arriving: tuple[Projection, ...]) -> None:
        """A population's part of the step."""
        name, neuron, add = p.name, p.neuron, self.nodes.add
        if isinstance(neuron, CuBaLIF):
            total = self._decay(p, "alpha", f"{name}.synapse", f"{name}/synapse/decay")
        else:
            total = self._leak(p)
        if p.bias is not None:
            bias = self.nodes.constant(f"{name}/bias", p.bias)
            total = add("Add", [total, bias], f"{name}/biased")
        for projection in (*self.late[name], *arriving):
            total = self._add(projection, total)
        if isinstance(neuron, CuBaLIF):
            synapse = self._saturate(p, total, f"{name}.synapse.next")
            total = add("Add", [self._leak(p), synapse], f"{name}/integrated")
            if neuron.reset == "clamp":
                total = self._zero_where_fired(p, total, f"{name}/clamped")
        membrane = self._saturate(p, total, f"{name}.membrane.next")
        if spiking(p):
            fired = add("Greater", [membrane, self._threshold(p)], f"{name}/fired")
            self.nodes.cast(fired, self.spike_dtype, f"{name}.spikes")

    def _leak(self, p: Population) -> str:
        """What last step leaves of a membrane: decayed and reset."""
        name, reset, membrane = p.name, p.neuron.reset, f"{p.name}.membrane"
        if reset == "subtract_first":
            left = self.nodes.add("Sub", [membrane, self._taken(p)], f"{name}/reset")
            return self._decay(p, "beta", left, f"{name}/decay")
        decayed = self._decay(p, "beta", membrane, f"{name}/decay")
        if reset == "subtract":
            return self.nodes.add("Sub", [decayed, self._taken(p)], f"{name}/reset")
        return self._zero_where_fired(p, decayed, f"{name}/reset") if reset == "zero" else decayed

    def _taken(self, p: Population) -> str:
        """The threshold, where there was a spike."""
        choice = [self._fired_last(p), self._threshold(p), self._zero()]
        return self.nodes.add("Where", choice, f"{p.name}/taken")

    def _zero_where_fired(self, p: Population, value: str, output: str) -> str:
        return self.nodes.add("Where", [self._fired_last(p), self._zero(), value], output)

    def _zero(self) -> str:
        return self.nodes.constant("/zero", 0, self.dtype)

    def _threshold(self, p: Population) -> str:
        return self.nodes.constant(f"{p.name}/threshold", p.neuron.threshold)

    def _fired_last(self, p: Population) -> str:
        parts = [f"{p.name}.membrane", self._threshold(p)]
        return self.nodes.once("Greater", parts, f"{p.name}/fired.last")

    def _decay(self, p: Population, factor: str, value: str, output: str) -> str:
        by, q15 = getattr(p.neuron, factor), np.array(1 << Q15, np.int32)
        constant = f"{p.name}/{factor}"
        if not self.network.quantized:
            return self.nodes.add("Mul", [value, self.nodes.constant(constant, by)], output)
        if (p.membrane_bits or 0) <= NARROW:
            factors = self.nodes.constant(constant, by)
            product = self.nodes.add("Mul", [value, factors], f"{output}/product")
            return self.nodes.floor_divided(product, q15, output)
        factors = self.nodes.constant(constant, by, np.int64)
        wide = self.nodes.cast(value, np.int64, f"{output}/wide")
        product = self.nodes.add("Mul", [wide, factors], f"{output}/product")
        floor = self.nodes.floor_divided(product, q15.astype(np.int64), f"{output}/floor")
        return self.nodes.cast(floor, np.int32, output)

    def _saturate(self, p: Population, value: str, output: str) -> str:
        if p.membrane_bits is None:
            return self.nodes.add("Identity", [value], output)
        limit = 2 ** (p.membrane_bits - 1)
        low = self.nodes.constant(f"{p.name}/lowest", np.int32(-limit))
        high = self.nodes.constant(f"{p.name}/highest", np.int32(limit - 1))
        return self.nodes.add("Clip", [value, low, high], output)

    def _add(self, p: Projection, total: str) -> str:
        """``total`` and the current of a projection."""
        sampled = self.network.multiplies(p)
        exact = self.network.quantized
        weight = p.weight.astype(np.int32) if exact and sampled else p.weight
        kind = "MatMulInteger" if exact and not sampled else "MatMul"
        current = self._product(kind, p, weight, self._source(p))
        if p.shift is not None:
            current = self._shifted(p.name, p.shift, current)
        return self.nodes.add("Add", [total, current], f"{p.name}/total")

    def _source(self, p: Projection) -> str:
        if p.source == self.network.input.name:
            return self.samples
        if not p.delay:
            return f"{p.source}.spikes"
        last = self._fired_last(self.network.population(p.source))
        to = self.nodes.type_of(self.spike_dtype)
        return self.nodes.once("Cast", [last], f"{p.source}/spikes.last", to=to)

    def _product(self, kind: str, p: Projection, weight: NDArray, source: str) -> str:
        """Weights times a source's values; blocks are products of their own, a convolution is a
        matrix in full: no operator of ONNX slides over integers as wide as samples are."""
        name = p.name
        weight = weight if p.convolution is None else p.convolution.dense(weight)
        columns = self.nodes.constant(f"{name}/weight", np.swapaxes(weight, -1, -2))
        if not p.blocks:
            return self.nodes.add(kind, [source, columns], f"{name}/current")
        row = [] if p.shared else [1]
        cells = self._reshaped(source, [p.blocks, *row, weight.shape[-1]], f"{name}/cells")
        product = self.nodes.add(kind, [cells, columns], f"{name}/product")
        return self._reshaped(product, [p.shape[0]], f"{name}/current")

    def _reshaped(self, value: str, shape: list[int], output: str) -> str:
        """``value`` as ``[batch, *shape]``."""
        name = f"{output}/shape"
        return self.nodes.add(
            "Reshape", [value, self.nodes.constant(name, [0, *shape], np.int64)], output
        )

    def _shifted(self, name: str, shift: NDArray, value: str) -> str:
        divisor = np.left_shift(np.int32(1), shift)
        half = self.nodes.constant(f"{name}/half", np.asarray(divisor >> 1, np.int32))
        raised = self.nodes.add("Add", [value, half], f"{name}/raised")
        return self.nodes.floor_divided(raised, np.asarray(divisor, np.int32), f"{name}/shifted")

    def _prepared(self) -> str:
        """What weights are multiplied with, of a sample."""
        entry, nodes, x = self.network.input, self.nodes, self.sample
        own = f"{entry.name}/"
        if entry.spiking:
            level = nodes.constant(f"{own}level", SPIKE_LEVEL)
            fired = nodes.add("Greater", [x, level], f"{own}fired")
            return nodes.cast(fired, self.spike_dtype, f"{own}spikes")
        if entry.fraction is not None:
            return self._rounded(x, own, entry.fraction)
        if entry.scale is not None:
            x = nodes.add("Mul", [x, nodes.constant(f"{own}scale", entry.scale)], f"{own}scaled")
        if entry.offset is None:
            return x
        return nodes.add("Add", [x, nodes.constant(f"{own}offset", entry.offset)], f"{own}moved")

    def _rounded(self, x: str, own: str, fraction: int) -> str:
        add, constant = self.nodes.add, self.nodes.constant
        nothing = add("IsNaN", [x], f"{own}nothing")
        zero = constant(f"{own}zero", np.float32(0))
        number = add("Where", [nothing, zero, x], f"{own}number")
        unit = constant(f"{own}unit", np.float32(2.0**fraction))
        scaled = add("Mul", [number, unit], f"{own}scaled")
        limits = [
            constant(f"{own}lowest", np.float32(SAMPLE_LOW)),
            constant(f"{own}highest", np.float32(SAMPLE_HIGH)),
        ]
        clipped = add("Clip", [scaled, *limits], f"{own}clipped")
        floor = add("Floor", [clipped], f"{own}floor")
        rest = add("Sub", [clipped, floor], f"{own}rest")
        half = constant(f"{own}half", np.float32(0.5))
        up = self.nodes.cast(
            add("GreaterOrEqual", [rest, half], f"{own}upper"), np.int32, f"{own}up"
        )
        whole = self.nodes.cast(floor, np.int32, f"{own}whole")
        return add("Add", [whole, up], f"{own}rounded")
