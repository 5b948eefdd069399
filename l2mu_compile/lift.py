"""Lift: an fx graph of a few time steps becomes a Network of one.

The road: read the graph as functions of its sources (`dataflow`), show that the steps repeat and
what lies between two spikes is affine (`reroll`, `affine`), find the neuron that is read out
(`readout`), recover structure (`structure`), and give everything a name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch

from l2mu_compile.dataflow import INPUT, Dataflow
from l2mu_compile.errors import UsageError
from l2mu_compile.network import READOUT_RULES, Input, Network, Population, Readout, identifier
from l2mu_compile.preserve import one_thread
from l2mu_compile.projection import Projection
from l2mu_compile.readout import Shown, read_out
from l2mu_compile.reroll import Layer, reroll
from l2mu_compile.structure import memory_cells, merge_encoders, structured
from l2mu_compile.trace import Trace


class Place(NamedTuple):
    """Where a neuron module's neurons are: those from ``first`` on of ``population``."""

    population: str
    first: int
    size: int


@dataclass(frozen=True)
class Lifted:
    """A ``network``, the ``places`` in it of every neuron module by path, and the output it reads
    a class from."""

    network: Network
    places: dict[str, Place]
    shown: Shown


def lift(trace: Trace, name: str = "l2mu", readout: str | None = None) -> Network:
    """The Network (stage "traced") that computes what the traced module computes.

    ``readout`` is one of `READOUT_RULES`; None means ``spike_count`` for a module that returns
    spikes. A module that returns membranes needs it. Raises `ModelError` naming the operation, its
    source line and the neuron for whatever a Network cannot express.
    """
    return lift_with_places(trace, name, readout).network


def lift_with_places(trace: Trace, name: str = "l2mu", readout: str | None = None) -> Lifted:
    """`lift`, and what came from where."""
    if readout is not None and readout not in READOUT_RULES:
        raise UsageError(f"readout must be one of {', '.join(READOUT_RULES)}, not {readout!r}")
    with one_thread(), torch.no_grad():
        graph = Dataflow(trace)
        layers = reroll(graph)
        shown, rule = read_out(graph, readout)
    layers = merge_encoders(layers, trace.inputs, shown.path)
    names = _names([layer.path for layer in layers])
    network = Network(
        name=identifier(name, fallback="net"),
        input=Input(INPUT, trace.inputs),
        populations=tuple(_population(layer, names) for layer in layers),
        projections=tuple(p for layer in layers for p in _projections(layer, names)),
        readout=Readout(names[shown.path], rule),
        window=trace.window,
    )
    places = {path: place for layer in layers for path, place in _places(layer, names)}
    return Lifted(network, places, shown)


def _places(layer: Layer, names: dict[str, str]) -> Iterator[tuple[str, Place]]:
    members = layer.members or (layer.path,)
    size = layer.bias.size // len(members)
    for k, path in enumerate(members):
        yield path, Place(names[layer.path], k * size, size)


def _population(layer: Layer, names: dict[str, str]) -> Population:
    cells, size = memory_cells(layer), layer.bias.size
    shape = (cells, size // cells) if cells else (size,)
    bias = layer.bias if layer.bias.any() else None
    return Population(names[layer.path], shape, layer.neuron, bias)


def _projections(layer: Layer, names: dict[str, str]) -> list[Projection]:
    """Projections into a layer, those from the input first; none where all weights are zero."""
    cells, target = memory_cells(layer), names[layer.path]
    projections = []
    for (source, delay), weight in sorted(layer.weights.items(), key=lambda i: i[0][0] != INPUT):
        if weight.any():
            stored, blocks = structured(weight, cells)
            origin = names.get(source, INPUT)
            projections.append(Projection(origin, target, stored, delay=delay, blocks=blocks))
    return projections


def _names(paths: list[str]) -> dict[str, str]:
    """Short unique C identifiers: the last part of each path, with more before it if needed."""
    names: dict[str, str] = {}
    for path in paths:
        for count in range(1, path.count(".") + 2):
            short = _tail(path, count)
            taken = any(_tail(p, count) == short for p in paths if p != path)
            if short[:1].isalpha() and not taken:
                break
        names[path] = identifier(short, taken=[INPUT, *names.values()])
    return names


def _tail(path: str, count: int) -> str:
    """The last ``count`` parts of a path, without the prefixes that only say "neuron"."""
    parts = [re.sub(r"^(spk|lif)_(?=[A-Za-z])", "", part) for part in path.split(".")]
    return "_".join(parts[-count:])
