"""Networks as NIR graphs, for other tools and for `l2mu_compile.nir_import` to read.

Decays become time constants as snnTorch's exporter has it (``snntorch/export_nir.py``):
``tau = dt/(1-decay)``, ``r = tau/dt``, ``w_in = tau_syn/dt``, so that the gain of every current is
1. A convolution is a ``Conv1d`` or ``Conv2d``, a pool, or both (`l2mu_compile.nir_convolutions`),
any other projection a ``Linear`` or ``Affine`` node of its full matrix; after a ``Delay`` of one
step where it reads the step before. How membranes are reset, the step and what NIR has no field for
are metadata.

Time constants are float32 where reading them back gives the same decay, else float64. Every decay
comes back as it was but those between 0 and 2^-28, which come back within 2^-53.
"""

from __future__ import annotations

import io
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.errors import ModelError
from l2mu_compile.network import Network, Population, identifier
from l2mu_compile.neurons import LI, CuBaLIF
from l2mu_compile.nir_convolutions import Plan, plan, slid_nodes
from l2mu_compile.nir_extras import KEY, extras_of
from l2mu_compile.nir_file import require
from l2mu_compile.output import write_whole
from l2mu_compile.projection import Projection
from l2mu_compile.verify import MAX_MATRIX

DT = 1e-4
NEVER = 2.0**60  # steps of a time constant that stands for no decay at all

Shape = tuple[int, ...]


def write_nir(network: Network, path: Path, dt: float = DT) -> None:
    """Write ``network`` as a ``.nir`` file. Raises `ModelError` for what a graph cannot say."""
    nir = require("nir")
    file = io.BytesIO()
    nir.write(file, to_nir(network, dt))
    write_whole(path, file.getvalue())


def to_nir(network: Network, dt: float = DT) -> Any:
    """``network`` as a ``nir.NIRGraph``, a step taking ``dt`` seconds."""
    nir = require("nir")
    made = plan(network)
    _check(network, made)
    entry, read = network.input, network.readout.population
    shape_of: dict[str, Shape] = {p.name: (p.size,) for p in network.populations}
    shape_of |= {entry.name: (entry.size,), **made.shapes}
    nodes: dict[str, Any] = {entry.name: nir.Input(np.array(shape_of[entry.name]))}
    edges: list[tuple[str, str]] = []
    for population in network.populations:
        nodes[population.name] = _neurons(nir, population, shape_of[population.name], dt)
    for projection in network.projections:
        row = {}
        if projection.delay:
            waits = np.full(shape_of[projection.source], dt)
            row[f"{projection.name}.delay"] = nir.Delay(waits)
        if projection.name in made.slid:
            row |= slid_nodes(nir, projection, made)
        else:
            row |= _full(nir, projection, shape_of[projection.source], made)
        nodes |= row
        edges += pairwise((projection.source, *row, projection.target))
    end = identifier("output", nodes)
    nodes[end] = nir.Output(np.array(shape_of[read]))
    edges.append((read, end))
    metadata = {
        "producer": "l2mu-compile",
        "dt": dt,
        "reset": network.populations[0].neuron.reset,
        KEY: extras_of(network),
    }
    # What the package makes of types is wrong for groups and for kernels that are not square.
    return nir.NIRGraph(nodes, edges, metadata, type_check=not made.slid)


def _check(network: Network, made: Plan) -> None:
    if network.quantized:
        raise ModelError(f"network {network.name} holds integers, which NIR does not know")
    if network.input.scale is not None or network.input.offset is not None:
        raise ModelError(
            f"network {network.name} reads raw samples, which NIR does not know: apply fold-input"
        )
    for population in network.populations:
        name, read = population.name, network.readout.population
        if not network.into(name):
            raise ModelError(f"{name}: hears nothing, which a NIR graph cannot say")
        if not network.out_of(name) and name != read:
            raise ModelError(f"{name}: leads nowhere, in a NIR graph either: apply remove-dead")
    for p in network.projections:
        if p.name not in made.slid and p.shape[0] * p.shape[1] > MAX_MATRIX:
            raise ModelError(f"{p.name}: its full matrix has more than {MAX_MATRIX} weights")


def _full(nir: Any, projection: Projection, source: Shape, made: Plan) -> dict[str, Any]:
    """The nodes of a projection's full matrix, which reads a vector."""
    weight, bias = np.array(projection.dense()), made.biases.get(projection.name)
    matrix = nir.Linear(weight) if bias is None else nir.Affine(weight, np.array(bias))
    if len(source) == 1:
        return {projection.name: matrix}
    flat = nir.Flatten({"input": np.array(source)}, 0, -1)
    return {f"{projection.name}.flat": flat, projection.name: matrix}


def _neurons(nir: Any, population: Population, shape: Shape, dt: float) -> Any:
    neuron = population.neuron
    zeros = np.zeros(shape, np.float32)
    metadata = {"reset": neuron.reset}
    if isinstance(neuron, LI):
        return nir.LI(**_constants(neuron.beta, shape, dt, "tau", "r"), v_leak=zeros)
    threshold = _spread(neuron.threshold, shape)
    common = {"v_threshold": threshold, "v_reset": zeros, "metadata": metadata}
    if isinstance(neuron, CuBaLIF):
        return nir.CubaLIF(
            **_constants(neuron.alpha, shape, dt, "tau_syn", "w_in"),
            **_constants(neuron.beta, shape, dt, "tau_mem", "r"),
            v_leak=zeros,
            **common,
        )
    if (neuron.beta == 1).all():
        return nir.IF(r=np.ones(shape, np.float32), **common)
    return nir.LIF(**_constants(neuron.beta, shape, dt, "tau", "r"), v_leak=zeros, **common)


def _constants(
    decay: NDArray, shape: Shape, dt: float, tau: str, factor: str
) -> dict[str, NDArray]:
    """A time constant, and the factor that makes the gain of a current 1, by their names."""
    values = _time_constants(_spread(decay, shape), dt)
    return {tau: values, factor: values / values.dtype.type(dt)}


def _spread(values: NDArray, shape: Shape) -> NDArray:
    """One value, or one for each neuron, for neurons of this ``shape``."""
    return np.broadcast_to(values, math.prod(shape)).reshape(shape).copy()


def _time_constants(decay: NDArray, dt: float) -> NDArray:
    """Time constants of these decays, float32 if they are read back as they were, else float64."""
    rest = 1 - decay.astype(np.float64)
    single, double = (_divided(np.float64(kind(dt)), rest) for kind in (np.float32, np.float64))
    values = single.astype(np.float32)
    read = 1 - np.float64(np.float32(dt)) / values.astype(np.float64)
    return values if np.array_equal(read.astype(np.float32), decay) else double


def _divided(step: np.float64, rest: NDArray) -> NDArray:
    return step * np.where(rest > 0, 1 / np.where(rest > 0, rest, 1), NEVER)
