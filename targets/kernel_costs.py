"""How many instructions a kernel is going to take: by a table of what was measured.

``kernel_costs.json`` holds, for every target whose instructions are counted and every kernel it
can run, a sum of terms, each a number of instructions for every unit of something: a product of
sizes.
``spikes*targets+3%16/4`` is the spikes times (targets + 3) % 16 / 4, rounded down: the fours, begun
or whole, that sixteens leave; with a ``?`` behind, 1 if there are any. ``1`` is the call. Sizes
are, by operation,

    targets, sources    of a dense projection
    rows, columns       of a block; and ``blocks``
    lines, reads        rows that a source of a convolution is read from, on average, and places;
                        for samples, that a target reads from in a channel
    out, channels       of targets and of sources, of a convolution's group; and all ``targets``
    single, many        1 where each channel has a single target, or many; else 0
    neurons             or channels, or classes
    tiles               of a source of a sparse projection that spikes, on average
    biased, own         1 for neurons with a bias, with a decay each; else 0
    bounded             1 for neurons whose membranes are never beyond their limits, else 0
    spikes              that a call reads or finds, on average
    any                 how often there is one at all
    full8               how many eights of neurons have one (2, 4, 16, 32 likewise)

``off`` is the worst error among the calls that a row was fitted to. `benchmarks/measure_kernels.py`
measures and writes the table.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from l2mu_compile.bounds import unsaturated_range
from l2mu_compile.convolution import Convolution, Pair
from l2mu_compile.network import Network, Population, spiking
from l2mu_compile.program import Call, Program
from l2mu_compile.projection import Projection
from l2mu_compile.sparse import tile_of, tiles_of
from l2mu_compile.targets.kernel_sets import parts, usable_sets
from l2mu_compile.targets.record import Target

TABLE = Path(__file__).parent / "kernel_costs.json"
# Spikes per neuron and step of what was not calibrated.
ASSUMED_RATE = 0.1

Sizes = Mapping[str, float]

GROUPS = (2, 4, 8, 16, 32)  # of neurons

_FACTOR = re.compile(
    r"(?P<size>\w+)(\+(?P<more>\d+))?(?P<left>(%\d+)*)(/(?P<many>\d+))?(?P<some>\?)?\Z"
)


@dataclass(frozen=True)
class KernelCost:
    """Instructions of one kernel on one target: ``terms`` by what they are for, and how far ``off``
    they were at most (0.05 is 5 %)."""

    terms: Mapping[str, float]
    off: float

    def of(self, sizes: Sizes) -> float:
        """Instructions of a call of these sizes."""
        return sum(value * unit(term, sizes) for term, value in self.terms.items())


def unit(term: str, sizes: Sizes) -> float:
    """How much of what a term is for there is: ``unit("spikes*targets/4", sizes)``."""
    product = 1.0
    for factor in term.split("*"):
        if factor != "1":
            product *= _factor(factor, sizes)
    return product


def costs_for(target: Target) -> dict[str, KernelCost]:
    """The costs of kernels on ``target``, by their C names; none for what was never measured, such
    as another processor than that of the target's own record, or a machine that lacks some of its
    kernel sets."""
    entry, measured = _table().get(target.name), as_measured(target)
    if entry is None or [entry["triple"], entry["cpu"]] != [measured.triple, measured.cpu]:
        return {}
    if usable_sets(target) != target.kernel_sets:
        return {}
    return {
        kernel: KernelCost({k: v for k, v in row.items() if k != "off"}, row["off"])
        for kernel, row in entry["kernels"].items()
    }


def as_measured(target: Target) -> Target:
    """``target`` for the processor that its kernels are measured for."""
    if target.cpu == "native" and target.measured_as is not None:
        return replace(target, cpu=target.measured_as)
    return target


def weights_read(kernel: str, sizes: Sizes) -> float:
    """Bytes of weights, and what tells where they are, that a call of a kernel of a dense or sparse
    projection reads."""
    operation, numbers, _ = parts(kernel)
    tile = tile_of(kernel)
    if tile is not None:
        return sizes["spikes"] * sizes["tiles"] * (tile + 1)
    rows = sizes["sources" if operation.startswith("multiply") else "spikes"]
    return rows * sizes["targets"] * (4 if numbers.startswith("f32") else 1)


def projection_sizes(network: Network, projection: Projection) -> dict[str, float]:
    """The sizes of a projection, at the rate of its source; ``tiles`` are those of its kernel."""
    rows, columns = projection.weight.shape[-2:]
    targets, sources = projection.shape
    found: dict[str, float] = {"targets": targets, "sources": sources}
    if projection.convolution is not None:
        found |= _convolved(projection.convolution, (rows, columns), network.multiplies(projection))
    found |= {"rows": rows, "columns": columns}
    found["blocks"] = max(projection.blocks, 1)
    if network.multiplies(projection):
        return found
    if projection.tile is not None:
        found["tiles"] = _tiles_of_a_spike(projection, projection.tile)
    return found | activity(sources, sources * _rate(network, projection.source))


def population_sizes(network: Network, population: Population) -> dict[str, float]:
    """The sizes of a population, at its own rate."""
    bounded = network.quantized and unsaturated_range(network, population) is not None
    found = {
        "bounded": float(bounded),
        "neurons": population.size,
        "biased": float(population.bias is not None),
        "own": float(population.neuron.beta.ndim > 0),
    }
    if not spiking(population):
        return found
    return found | activity(population.size, population.size * _rate_of(population))


def activity(neurons: int, spikes: float) -> dict[str, float]:
    """``spikes``, ``any`` and ``full8`` … of neurons that spike so often on average, each whenever
    it likes."""
    silent = 1 - spikes / neurons
    full = {f"full{n}": -(-neurons // n) * (1 - silent**n) for n in GROUPS}
    return {"spikes": spikes, "any": 1 - silent**neurons, **full}


def predicted(network: Network, program: Program, target: Target) -> dict[str, float | None]:
    """Instructions of a step by what they are for, as calls name their owners; None where not all
    are known. The conversion of a float sample is the input's; what the driver does between its
    calls is left out."""
    costs = costs_for(target)
    found: dict[str, float | None] = {}
    for call in (*([program.from_floats] if program.from_floats else []), *program.step):
        so_far, cost = found.get(call.owner, 0.0), costs.get(call.kernel)
        if so_far is None or cost is None:
            found[call.owner] = None
        else:
            found[call.owner] = so_far + cost.of(_sizes(network, call))
    return found


def in_all(parts: Mapping[str, float | None]) -> float | None:
    """All of what was `predicted`; None if some of it is not known."""
    known = [value for value in parts.values() if value is not None]
    return sum(known) if len(known) == len(parts) else None


def _sizes(network: Network, call: Call) -> dict[str, float]:
    """Of a call of a step of ``network``."""
    for projection in network.projections:
        if projection.name == call.owner:
            return projection_sizes(network, projection)
    if call.owner == network.input.name:
        channels = network.input.size
        return {"neurons": channels} | activity(channels, channels * ASSUMED_RATE)
    named = {p.name: p for p in network.populations}
    return population_sizes(network, named.get(call.owner) or named[network.readout.population])


def _convolved(convolution: Convolution, kernel: Pair, of_targets: bool) -> dict[str, float]:
    """What a source reaches, or a target reads in each channel, on average."""
    ends = convolution.target if of_targets else convolution.source
    lines, columns = (convolution.reads(a, kernel[a]).sum() / ends[a + 1] for a in (0, 1))
    groups = convolution.groups
    return {
        **{"lines": float(lines), "reads": float(lines * columns)},
        **{"out": convolution.target[0] // groups, "channels": convolution.source[0] // groups},
        "single": float(convolution.positions == 1),
        "many": float(convolution.positions > 1),
    }


def _tiles_of_a_spike(projection: Projection, tile: int) -> float:
    """If sources spike in proportion to their tiles: those that seldom do train small weights,
    which are the first to be pruned."""
    each = np.diff(tiles_of(projection.weight.T, tile).start)
    return float((each * each).sum() / max(each.sum(), 1))


def _rate(network: Network, source: str) -> float:
    return ASSUMED_RATE if source == network.input.name else _rate_of(network.population(source))


def _rate_of(population: Population) -> float:
    return ASSUMED_RATE if population.rate is None else min(population.rate, 1.0)


def _factor(text: str, sizes: Sizes) -> float:
    match = _FACTOR.match(text)
    if match is None:
        raise ValueError(f"{text!r} is no size with +number, %number, /number and ?")
    value = sizes[match["size"]] + int(match["more"] or 0)
    for width in match["left"].split("%")[1:]:
        value %= int(width)
    value = value // int(match["many"]) if match["many"] else value
    return float(value > 0) if match["some"] else value


@cache
def _table() -> dict[str, Any]:
    return dict(json.loads(TABLE.read_text(encoding="utf-8")))
