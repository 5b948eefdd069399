"""The Network: a spiking model as populations of neurons joined by projections of synapses.

The whole representation on one screen::

    Network    = name, stage, window, Input, Population*, Projection*, Readout, Buffer*
    Input      = name, size                         sensor channels, real-valued
    Population = name, shape, Neuron, bias          neurons with the same dynamics
    Neuron     = LIF | CuBaLIF | LI                 see `l2mu_compile.neurons`
    Projection = source, target, weight, delay      a linear map from spikes (or samples) to current
    Readout    = population, rule                   how a window's decision is read

A network describes one time step. Every value is immutable; a pass builds a new Network. Names are
valid C identifiers. What each stage promises is written down in `l2mu_compile.verify`; what a
network means, in `l2mu_compile.interpreter`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from l2mu_compile.errors import ModelError
from l2mu_compile.neurons import LI, Neuron, freeze, parameter_names
from l2mu_compile.projection import Projection
from l2mu_compile.values import Value

STAGES = ("traced", "folded", "quantized", "planned")
READOUT_RULES = ("spike_count", "last_membrane", "max_membrane", "mean_membrane")
SENSOR_ARRAYS = ("scale", "offset", "unit", "center")
WEIGHT_LIMIT = 127  # of int8 weights, either way
NARROW_BITS = 14  # of membranes in int16, which leaves room for a step's currents
CTYPE_BYTES = {
    **{"float": 4, "int32_t": 4, "int64_t": 8},
    **{"uint16_t": 2, "int16_t": 2, "uint8_t": 1},
}
DTYPES = {"float": "<f4", "int32_t": "<i4", "int64_t": "<i8", "int16_t": "<i2"}
IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}\Z")


@dataclass(frozen=True, eq=False)
class Input(Value):
    """Sensor channels, ``size`` of them.

    ``scale`` and ``offset`` (float32 ``[size]`` or scalar, or None) turn a raw sample into what the
    weights expect: ``scale · sample + offset``. Once these are folded into the weights, ``unit``
    and ``center`` keep what raw samples are like: ``unit · x + center`` for x in the model's units.
    ``low`` and ``high`` are the smallest and largest raw sample seen in calibration. In a quantized
    network a sample is stored as an int16 of ``sample · 2^fraction``. To a ``spiking`` input a
    sample above 1/2 is a spike.
    """

    name: str
    size: int
    scale: NDArray | None = None
    offset: NDArray | None = None
    unit: NDArray | None = None
    center: NDArray | None = None
    low: float | None = None
    high: float | None = None
    fraction: int | None = None
    spiking: bool = False

    def __post_init__(self) -> None:
        freeze(self, *SENSOR_ARRAYS)

    @property
    def is_raw(self) -> bool:
        """Whether samples are told to be other numbers than the model's units."""
        return any(getattr(self, name) is not None for name in SENSOR_ARRAYS)

    def raw(self, samples: NDArray) -> NDArray:
        """Raw samples, float64 ``[..., size]``, of ``samples`` in the model's units."""
        raw = np.asarray(samples, dtype=np.float64)
        raw = raw if self.offset is None else raw - self.offset
        raw = raw if self.scale is None else raw / self.scale
        raw = raw if self.unit is None else raw * self.unit
        return raw if self.center is None else raw + self.center

    def in_units(self, raw: NDArray) -> NDArray:
        """``raw`` samples in the model's units, float64 ``[..., size]``: what `raw` undoes."""
        x = np.asarray(raw, dtype=np.float64)
        x = x if self.center is None else x - self.center
        x = x if self.unit is None else x / self.unit
        x = x if self.scale is None else x * self.scale
        return x if self.offset is None else x + self.offset


@dataclass(frozen=True, eq=False)
class Population(Value):
    """Neurons with the same dynamics.

    ``shape`` is ``(n,)``, or ``(cells, order)`` for memory cells that are kept together. ``bias``
    is a constant input current per neuron (float32 or int32, ``[n]``, or None). ``membrane_bits``
    is the signed width a quantized membrane saturates to; None in float. ``rate`` (spikes per
    neuron and step) and ``low``/``high`` (extreme membranes) are measured by calibration.
    ``kernel`` is set by the select-kernels pass.
    """

    name: str
    shape: tuple[int, ...]
    neuron: Neuron
    bias: NDArray | None = None
    membrane_bits: int | None = None
    rate: float | None = None
    low: float | None = None
    high: float | None = None
    kernel: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        freeze(self, "bias")

    @property
    def size(self) -> int:
        """Number of neurons."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def stored_bytes(self) -> int:
        """Bytes of its neurons' parameters and biases, scalars included."""
        arrays = [getattr(self.neuron, name) for name in parameter_names(self.neuron)]
        return sum(a.nbytes for a in (*arrays, self.bias) if a is not None)


@dataclass(frozen=True)
class Readout:
    """How a window becomes a decision: the neuron of ``population`` with the largest score.

    Scores over the window: ``spike_count`` (the paper's), ``last_membrane``, ``max_membrane``,
    ``mean_membrane``. Ties go to the lowest index. ``labels`` name the classes, if that is known.
    ``margins`` (one per class; spikes, counted) decide a window early: once the leading class is
    ahead of all others by its margin. From then on its scores stay as they are.
    """

    population: str
    rule: str = "spike_count"
    labels: tuple[str, ...] | None = None
    margins: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Buffer:
    """A planned array: ``count`` elements of C type ``ctype`` at byte ``offset`` of the arena.

    ``lifetime`` is ``state`` (kept between steps) or ``scratch`` (valid within one step).
    """

    name: str
    ctype: str
    count: int
    offset: int
    lifetime: str

    @property
    def end(self) -> int:
        """First byte after the buffer."""
        return self.offset + self.count * CTYPE_BYTES[self.ctype]

    def overlaps(self, other: Buffer) -> bool:
        """True when the two share a byte."""
        return self.offset < other.end and other.offset < self.end


@dataclass(frozen=True)
class Network:
    """Populations joined by projections; one time step (`l2mu_compile.network`).

    ``window`` is how many steps a decision takes, if that is known. Where ``full_window`` is set,
    windows may have up to so many, of which the first ``window`` are taken.
    """

    name: str
    input: Input
    populations: tuple[Population, ...]
    projections: tuple[Projection, ...]
    readout: Readout
    window: int | None = None
    stage: str = "traced"
    buffers: tuple[Buffer, ...] = ()
    full_window: int | None = None

    def population(self, name: str) -> Population:
        """The population called ``name``; `ModelError` if there is none."""
        for population in self.populations:
            if population.name == name:
                return population
        raise ModelError(f"network {self.name} has no population {name!r}")

    def into(self, name: str) -> tuple[Projection, ...]:
        """Projections that end at ``name``, in the order their currents are added."""
        return tuple(p for p in self.projections if p.target == name)

    def out_of(self, name: str) -> tuple[Projection, ...]:
        """Projections that start at ``name``."""
        return tuple(p for p in self.projections if p.source == name)

    @property
    def classes(self) -> int:
        """Number of classes a decision chooses from."""
        return self.population(self.readout.population).size

    @property
    def class_names(self) -> tuple[str, ...]:
        """A name for every class: its label, or else its number."""
        return self.readout.labels or tuple(map(str, range(self.classes)))

    @property
    def quantized(self) -> bool:
        """True when every number is an integer."""
        return self.input.fraction is not None

    def multiplies(self, projection: Projection) -> bool:
        """True for projections of samples that are numbers, not spikes."""
        return projection.source == self.input.name and not self.input.spiking

    def graph(self) -> nx.MultiDiGraph[str]:
        """Populations and the input as nodes, projections as edges (attribute ``projection``)."""
        graph: nx.MultiDiGraph[str] = nx.MultiDiGraph(name=self.name)
        graph.add_node(self.input.name)
        graph.add_nodes_from(p.name for p in self.populations)
        for p in self.projections:
            graph.add_edge(p.source, p.target, projection=p)
        return graph

    def order(self) -> tuple[Population, ...]:
        """Populations in the order they update within a step: sources of delay-0 projections first.

        Raises `ModelError` naming the populations of a delay-0 cycle.
        """
        position = {p.name: i for i, p in enumerate(self.populations)}
        graph: nx.DiGraph[str] = nx.DiGraph()
        graph.add_nodes_from(position)
        graph.add_edges_from(
            (p.source, p.target)
            for p in self.projections
            if p.delay == 0 and p.source in position and p.target in position
        )
        try:
            names = list(nx.lexicographical_topological_sort(graph, key=position.__getitem__))
        except nx.NetworkXUnfeasible:
            cycle = " -> ".join(edge[0] for edge in nx.find_cycle(graph))
            raise ModelError(f"projections without delay form a cycle: {cycle}") from None
        return tuple(self.populations[position[name]] for name in names)

    def replace(self, **changes: Any) -> Network:
        """A copy with these fields changed."""
        return replace(self, **changes)

    def map_populations(self, change: Callable[[Population], Population]) -> Network:
        """A copy with every population passed through ``change``; itself if none changed."""
        changed = tuple(change(p) for p in self.populations)
        same = all(a is b for a, b in zip(changed, self.populations, strict=True))
        return self if same else self.replace(populations=changed)

    def map_projections(self, change: Callable[[Projection], Projection]) -> Network:
        """A copy with every projection passed through ``change``; itself if none changed."""
        changed = tuple(change(p) for p in self.projections)
        same = all(a is b for a, b in zip(changed, self.projections, strict=True))
        return self if same else self.replace(projections=changed)

    def tensors(self) -> dict[str, NDArray]:
        """Every array that is not a scalar, by its name in the text form (``u.beta``, ``u.x``)."""
        named: dict[str, NDArray] = {}
        for name in SENSOR_ARRAYS:
            named |= _array_entry(f"{self.input.name}.{name}", getattr(self.input, name))
        for population in self.populations:
            for name in parameter_names(population.neuron):
                named |= _array_entry(f"{population.name}.{name}", getattr(population.neuron, name))
            named |= _array_entry(f"{population.name}.bias", population.bias)
        for projection in self.projections:
            named |= _array_entry(projection.name, projection.weight)
            named |= _array_entry(f"{projection.name}.shift", projection.shift)
            named |= _array_entry(f"{projection.name}.quantum", projection.quantum)
        return named

    def parameter_bytes(self) -> int:
        """Bytes of all weights, biases and neuron parameters as stored, scalars included."""
        scalars = sum(
            getattr(p.neuron, name).nbytes
            for p in self.populations
            for name in parameter_names(p.neuron)
            if getattr(p.neuron, name).ndim == 0
        )
        other = {f"{self.input.name}.{name}" for name in SENSOR_ARRAYS}
        other |= {name for p in self.projections for name in (p.name, f"{p.name}.quantum")}
        weights = sum(p.stored_bytes for p in self.projections)
        arrays = sum(a.nbytes for name, a in self.tensors().items() if name not in other)
        return scalars + weights + arrays


def with_neuron(population: Population, **parameters: Any) -> Population:
    """A copy of ``population`` with some of its neuron's parameters changed."""
    return replace(population, neuron=replace(population.neuron, **parameters))


def spiking(population: Population) -> bool:
    """True for populations that can spike at all."""
    return not isinstance(population.neuron, LI)


def identifier(text: str, taken: Iterable[str] = (), fallback: str = "p") -> str:
    """A valid, unused C identifier close to ``text``; letters, digits and ``_`` only.

    ``identifier("spk u;", taken=["spk_u"])`` is ``"spk_u_2"``.
    """
    clean = re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_")[:48]
    if not clean or not clean[0].isalpha():
        clean = f"{fallback}_{clean}".rstrip("_")
    used, candidate, count = set(taken), clean, 1
    while candidate in used or candidate in RESERVED:
        count += 1
        candidate = f"{clean}_{count}"
    return candidate


# Words a generated C source may not use as names: C99 and C++ keywords, and names whose spike lists
# would be called like a kernel.
RESERVED = frozenset(
    """alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl
    concept const const_cast constexpr continue decltype default delete do double dynamic_cast else
    enum explicit export extern false float for friend goto if inline int long mutable namespace new
    noexcept not not_eq nullptr operator or or_eq private protected public register reinterpret_cast
    requires restrict return short signed sizeof static static_assert static_cast struct switch
    template this thread_local throw true try typedef typeid typename union unsigned using virtual
    void volatile wchar_t while xor xor_eq l2mu_count""".split()
)


def _array_entry(name: str, array: NDArray | None) -> Mapping[str, NDArray]:
    return {} if array is None or array.ndim == 0 else {name: array}
