"""What NIR has no field for, as metadata of files this package writes, so that a network comes back
as it was: names, order, shapes, blocks along diagonals, convolutions in full, readout."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from l2mu_compile.convolution import Convolution
from l2mu_compile.errors import ModelError
from l2mu_compile.network import Network, Population, Readout, with_neuron
from l2mu_compile.neurons import parameter_names
from l2mu_compile.projection import Projection
from l2mu_compile.versions import require_json_version

KEY = "l2mu_compile"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PopulationExtras(_Strict):
    """A population's shape, and which parameters hold one value per neuron."""

    name: str
    shape: list[int]
    arrays: list[str]


class ProjectionExtras(_Strict):
    """Which projection this is, and how its matrix is made of blocks, or of kernels (of shape
    ``kernel``) of a convolution."""

    name: str
    blocks: int
    shared: bool
    convolution: Convolution | None = None
    kernel: list[int] | None = None


class Extras(_Strict):
    """What a file's metadata says of a network. Whatever does not fit the graph is left out of
    account: another tool may have changed it."""

    format_version: Literal[1] = 1
    name: str | None = None
    spiking: bool = False
    populations: list[PopulationExtras] = []
    projections: list[ProjectionExtras] = []
    rule: str | None = None
    labels: list[str] | None = None
    margins: list[int] | None = None
    window: int | None = None
    full_window: int | None = None

    def order(self, names: Iterable[str]) -> list[str]:
        """``names`` of populations in the network's order, unknown ones last."""
        place = {p.name: i for i, p in enumerate(self.populations)}
        return sorted(names, key=lambda name: place.get(name, len(place)))

    def shaped(self, population: Population) -> Population:
        """``population`` with the shape it had, and scalars spread out that were arrays."""
        known = {p.name: p for p in self.populations}.get(population.name)
        if known is None or math.prod(known.shape) != population.size:
            return population
        names = set(known.arrays) & set(parameter_names(population.neuron))
        spread = {
            name: np.broadcast_to(getattr(population.neuron, name), population.size)
            for name in names
        }
        return replace(with_neuron(population, **spread), shape=tuple(known.shape))

    def in_order(self, projections: Iterable[Projection]) -> list[Projection]:
        """``projections`` in the network's order, unknown ones last."""
        place = {p.name: i for i, p in enumerate(self.projections)}
        return sorted(projections, key=lambda p: place.get(p.name, len(place)))

    def in_form(self, projection: Projection) -> Projection | None:
        """A dense ``projection`` with the blocks it had, or the convolution it was; None if it is
        not known or has others."""
        known = {p.name: p for p in self.projections}.get(projection.name)
        if known is not None and known.convolution is not None:
            return _convolved(projection, known.convolution, known.kernel or [])
        if known is None or known.blocks < 1:
            return None if known is None else projection
        rows, columns = projection.weight.shape
        count = known.blocks
        if rows % count or columns % count:
            return None
        parts = projection.weight.reshape(count, rows // count, count, columns // count)
        blocks = np.stack([parts[k, :, k] for k in range(count)])
        weight = blocks[0] if known.shared else blocks
        made = replace(projection, weight=weight, blocks=count)
        return made if np.array_equal(made.dense(), projection.weight) else None

    def decided(self, readout: Readout) -> Readout:
        """``readout`` with the labels and margins the file knows of."""
        margins = None if self.margins is None else tuple(self.margins)
        labels = None if self.labels is None else tuple(self.labels)
        return replace(readout, labels=labels, margins=margins)


def extras_of(network: Network) -> str:
    """What `read_extras` reads."""
    extras = Extras(
        name=network.name,
        spiking=network.input.spiking,
        populations=[_population(p) for p in network.populations],
        projections=[
            ProjectionExtras(
                name=p.name,
                blocks=p.blocks,
                shared=p.shared,
                convolution=p.convolution,
                kernel=None if p.convolution is None else list(p.weight.shape),
            )
            for p in network.projections
        ],
        rule=network.readout.rule,
        labels=_listed(network.readout.labels),
        margins=_listed(network.readout.margins),
        window=network.window,
        full_window=network.full_window,
    )
    said = extras.model_dump(mode="json", exclude_defaults=True)
    versioned = {"format_version": extras.format_version, **said}
    return json.dumps(versioned, separators=(",", ":"))


def read_extras(metadata: Mapping[str, Any]) -> Extras:
    """What a graph's metadata says; nothing, if another tool wrote it."""
    text = metadata.get(KEY)
    if not isinstance(text, str):
        return Extras()
    try:
        require_json_version(text, Extras().format_version)
        return Extras.model_validate_json(text)
    except ModelError as error:
        raise ModelError(f"metadata {KEY}: {error}") from None
    except ValidationError as error:
        found = error.errors()[0]
        place = ".".join(map(str, found["loc"]))
        raise ModelError(f"metadata {KEY} is damaged: {place} {found['msg']}") from None


def _convolved(
    projection: Projection, convolution: Convolution, kernel: Sequence[int]
) -> Projection | None:
    """``projection`` as a ``convolution``, if it is that one."""
    shape = tuple(kernel)
    if len(shape) != 4 or math.prod(shape) > projection.weight.size:
        return None
    if convolution.problem(shape) is not None or convolution.shape != projection.shape:
        return None
    weight = convolution.kernel_in(projection.weight, shape)
    made = replace(projection, weight=weight, convolution=convolution)
    return made if np.array_equal(made.dense(), projection.weight) else None


def _population(population: Population) -> PopulationExtras:
    neuron = population.neuron
    arrays = [name for name in parameter_names(neuron) if getattr(neuron, name).ndim]
    return PopulationExtras(name=population.name, shape=list(population.shape), arrays=arrays)


def _listed(values: Iterable[Any] | None) -> list[Any] | None:
    return None if values is None else list(values)
