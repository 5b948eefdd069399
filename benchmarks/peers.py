"""The benchmark networks in other frameworks: each classifies one window of spikes, batch 1.

All compute in float32 what `l2mu_compile.interpreter` defines; where they add up in another order,
a membrane close to its threshold can spike a step sooner or later, and all after it differ.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.network import Network, Population
from l2mu_compile.projection import Projection
from l2mu_compile.schedule import turns
from l2mu_compile.targets.host import HOST
from l2mu_compile.targets.linking import shared_library
from l2mu_compile.targets.toolchain import compile_objects

Classify = Callable[[NDArray], NDArray]  # float32 [T, inputs] to the output spikes of each class
DENSE = Path(__file__).parent / "dense.c"


class Missing(Exception):
    """Why a peer cannot be measured here."""


@dataclass(frozen=True)
class Fused:
    """A population with all its dense synapses as one matrix ``[size, sum of sources]``.

    ``sources`` are the populations (or the input) whose spikes are its columns, and whether they
    are last step's; ``blocks`` the projections within memory cells.
    """

    name: str
    size: int
    beta: float
    threshold: float
    weight: NDArray
    sources: tuple[tuple[str, bool], ...]
    blocks: tuple[Projection, ...]


def fused(network: Network) -> list[Fused]:
    """The populations of a network of LIFs that reset by subtraction, in the order of a step."""
    return [_fused(network, p) for p in network.order()]


def _fused(network: Network, p: Population) -> Fused:
    into = network.into(p.name)
    dense = [q for q in into if not q.blocks]
    return Fused(
        name=p.name,
        size=p.size,
        beta=float(p.neuron.beta),
        threshold=float(p.neuron.threshold),
        weight=np.hstack([q.weight for q in dense]) if dense else np.zeros((p.size, 0), np.float32),
        sources=tuple((q.source, bool(q.delay)) for q in dense),
        blocks=tuple(q for q in into if q.blocks),
    )


# ---- NumPy ---------------------------------------------------------------------------------------


def with_numpy(network: Network) -> Classify:
    """A matrix product for each population and step."""
    populations, out = fused(network), network.readout.population

    def classify(window: NDArray) -> NDArray:
        spikes = {p.name: np.zeros(p.size, np.float32) for p in populations}
        v = {p.name: np.zeros(p.size, np.float32) for p in populations}
        counts = np.zeros(network.classes, np.float32)
        for sample in window:
            now = {network.input.name: sample}
            for p in populations:
                new = np.float32(p.beta) * v[p.name] - np.float32(p.threshold) * spikes[p.name]
                if p.sources:
                    parts = [(spikes if late else now)[source] for source, late in p.sources]
                    new += p.weight @ np.concatenate(parts)
                for q in p.blocks:
                    cells = (spikes if q.delay else now)[q.source].reshape(q.blocks, -1)
                    new += (cells @ q.weight.T).ravel()
                v[p.name] = new
                now[p.name] = (new > np.float32(p.threshold)).astype(np.float32)
            spikes = now
            counts += now[out]
        return counts.astype(np.int64)

    return classify


# ---- PyTorch -------------------------------------------------------------------------------------


def with_torch(network: Network) -> Classify:
    """Fused by hand: one product for each population and step, and as few other operations."""
    return _torch_steps(network, compiled=False)


def with_torch_compile(network: Network) -> Classify:
    """The same step after ``torch.compile``, for this network's sizes alone."""
    import torch

    torch.compiler.reset()  # or the third network's step is one for all sizes, and spikes otherwise
    return _torch_steps(network, compiled=True)


def _torch_steps(network: Network, compiled: bool) -> Classify:
    import torch

    populations, out = fused(network), network.readout.population
    weights = {p.name: torch.from_numpy(p.weight) for p in populations}
    blocks = {q.name: torch.from_numpy(np.array(q.weight.T)) for p in populations for q in p.blocks}

    def step(
        sample: torch.Tensor, v: dict[str, torch.Tensor], spikes: dict[str, torch.Tensor]
    ) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        now, membranes = {network.input.name: sample}, {}
        for p in populations:
            new = torch.sub(p.beta * v[p.name], spikes[p.name], alpha=p.threshold)
            if p.sources:
                parts = [(spikes if late else now)[source] for source, late in p.sources]
                new = torch.addmv(new, weights[p.name], torch.cat(parts))
            for q in p.blocks:
                cells = (spikes if q.delay else now)[q.source].view(q.blocks, -1)
                new = torch.addmm(new.view(q.blocks, -1), cells, blocks[q.name]).view(-1)
            membranes[p.name] = new
            now[p.name] = (new > p.threshold).float()
        return membranes, now

    run_step = torch.compile(step, dynamic=False) if compiled else step

    @torch.inference_mode()
    def classify(window: NDArray) -> NDArray:
        v = {p.name: torch.zeros(p.size) for p in populations}
        spikes = {network.input.name: torch.zeros(network.input.size), **v}
        counts = torch.zeros(network.classes)
        for sample in torch.from_numpy(window):
            v, spikes = run_step(sample, v, spikes)
            counts += spikes[out]
        return counts.numpy().astype(np.int64)

    return classify


def with_torch_batch(network: Network) -> Classify:
    """Fused by hand, for windows ``[N, T, inputs]`` at once; spikes of each class ``[N, C]``."""
    import torch

    populations, out = fused(network), network.readout.population
    weights = {p.name: torch.from_numpy(np.array(p.weight.T)) for p in populations}
    blocks = {q.name: torch.from_numpy(np.array(q.weight.T)) for p in populations for q in p.blocks}

    @torch.inference_mode()
    def classify(windows: NDArray) -> NDArray:
        count = len(windows)
        v = {p.name: torch.zeros(count, p.size) for p in populations}
        spikes = dict(v)
        counts = torch.zeros(count, network.classes)
        for sample in torch.from_numpy(windows).unbind(1):
            now = {network.input.name: sample}
            for p in populations:
                new = torch.sub(p.beta * v[p.name], spikes[p.name], alpha=p.threshold)
                if p.sources:
                    parts = [(spikes if late else now)[source] for source, late in p.sources]
                    new = torch.addmm(new, torch.cat(parts, 1), weights[p.name])
                for q in p.blocks:
                    cells = (spikes if q.delay else now)[q.source].reshape(count * q.blocks, -1)
                    new += (cells @ blocks[q.name]).view(count, -1)
                v[p.name] = new
                now[p.name] = (new > p.threshold).float()
            spikes = now
            counts += spikes[out]
        return counts.numpy().astype(np.int64)

    return classify


def with_snntorch(network: Network) -> Classify:
    """Modules as one writes them: a ``Linear`` for each projection, a ``Leaky`` for each
    population."""
    import snntorch
    import torch

    order, out = network.order(), network.readout.population
    linear = {
        q.name: torch.nn.Linear(*reversed(q.weight.shape), bias=False) for q in network.projections
    }
    leaky = {
        p.name: snntorch.Leaky(
            beta=float(p.neuron.beta),
            threshold=float(p.neuron.threshold),
            reset_mechanism="subtract",
        )
        for p in order
    }
    with torch.no_grad():
        for q in network.projections:
            linear[q.name].weight.copy_(torch.from_numpy(q.weight.copy()))

    @torch.inference_mode()
    def classify(window: NDArray) -> NDArray:
        v = {p.name: torch.zeros(p.size) for p in order}
        spikes = {p.name: torch.zeros(p.size) for p in order}
        counts = torch.zeros(network.classes)
        for sample in torch.from_numpy(window):
            now = {network.input.name: sample}
            for p in order:
                current = torch.zeros(p.size)
                for q in network.into(p.name):
                    source = (spikes if q.delay else now)[q.source]
                    if q.blocks:
                        source = source.view(q.blocks, -1)
                    current = current + linear[q.name](source).view(-1)
                now[p.name], v[p.name] = leaky[p.name](current, v[p.name])
            spikes = now
            counts = counts + spikes[out]
        return counts.numpy().astype(np.int64)

    return classify


# ---- C -------------------------------------------------------------------------------------------


class _Op(ctypes.Structure):
    """``op_t`` of ``dense.c``."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("weights", "source", "v", "spikes")),
        *((name, ctypes.c_size_t) for name in ("blocks", "columns", "rows")),
        *((name, ctypes.c_float) for name in ("beta", "threshold")),
    )


def with_dense_c(network: Network, folder: Path) -> Classify:
    """Plain C that multiplies every weight by its spike, ``-O3`` for this processor; it adds up in
    the order of our code."""
    host = replace(HOST, cflags=("-O3",))
    objects = compile_objects(host, [DENSE], [], folder)
    library = ctypes.CDLL(str(shared_library(host, objects, folder / "dense.so")))
    spikes = {p.name: np.zeros(p.size, np.float32) for p in network.populations}
    spikes[network.input.name] = np.zeros(network.input.size, np.float32)
    v = {p.name: np.zeros(p.size, np.float32) for p in network.populations}
    kept: list[NDArray] = []

    def synapses(q: Projection) -> _Op:
        rows, columns = q.weight.shape
        kept.append(np.ascontiguousarray(q.weight.T))
        addresses = (a.ctypes.data for a in (kept[-1], spikes[q.source], v[q.target]))
        return _Op(*addresses, None, max(q.blocks, 1), columns, rows, 0, 0)

    def neurons(p: Population) -> _Op:
        addresses = (v[p.name].ctypes.data, spikes[p.name].ctypes.data)
        return _Op(None, None, *addresses, 1, 1, p.size, p.neuron.beta, p.neuron.threshold)

    ops: list[_Op] = []
    for turn in turns(network):
        ops += [*map(synapses, turn.arriving), neurons(turn.population)]
        ops += map(synapses, turn.leaving)
    table, counts = (_Op * len(ops))(*ops), np.zeros(network.classes, np.int64)
    sample, output = spikes[network.input.name], spikes[network.readout.population]
    sizes = [ctypes.c_size_t(n) for n in (len(ops), sample.size, counts.size)]
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in (sample, output, counts)]

    def classify(window: NDArray) -> NDArray:
        for array in (*v.values(), *spikes.values(), counts):
            array[:] = 0
        steps, samples = ctypes.c_size_t(len(window)), ctypes.c_void_p(window.ctypes.data)
        library.run(table, *sizes, *pointers, samples, steps)
        assert kept, "the table points into these"
        return counts.copy()

    return classify
