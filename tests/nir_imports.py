"""NIR graphs as they are imported in tests, beside a simulation of the graph itself."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from nir_graphs import (
    Simulation,
    affine,
    ends,
    events,
)

from l2mu_compile.interpreter import run
from l2mu_compile.network import Network
from l2mu_compile.nir_import import Imported, import_nir
from l2mu_compile.nir_reading import parse_options

RULES = {"zero": "zero", "subtract": "subtract_first"}


def imported(path: Path, said: str | None = None, **options: Any) -> Imported:
    return import_nir(path, parse_options(said), **options)


def read(path: Path, said: str | None = None, **options: Any) -> Network:
    return imported(path, said, **options).network


def agrees(
    network: Network, simulation: Simulation, names: dict[str, str], inputs: int, steps: int = 120
) -> None:
    """Every population spikes, and as the simulation's node does."""
    samples = events(steps, inputs)
    expected = simulation.run(samples)
    found = run(network, samples[None], ("spikes",))
    for node, population in names.items():
        assert np.array_equal(found.spikes[population][0], expected[node] > 0), node
        assert 0 < expected[node].mean() < 1, node


def layer(node: Any, size: int = 5, inputs: int = 4, scale: float = 2.0) -> Any:
    """Nodes, edges and order of an affine map and one layer."""
    start, end = ends(inputs, size)
    nodes = {"input": start, "fc": affine(np.random.default_rng(1), size, inputs, scale)}
    nodes |= {"n": node, "output": end}
    order = list(nodes)
    return nodes, list(pairwise(order)), order
