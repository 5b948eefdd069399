"""The worst case of an integer network: a step in which every neuron spikes.

How many instructions its kernels take depends on nothing but on which neurons spike and, where a
compiler makes branches of it, on which membranes saturate and are to be reset. So the same network
with other numbers shows the worst case in its first step: nothing weighs anything (zeros are stored
where weights were), accumulators start beyond the largest membrane, and thresholds are as low as
they can be. Kernels, layouts and the order of calls are the same, and so are the instructions.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.bounds import membrane_limit, narrow
from l2mu_compile.lowering import lower
from l2mu_compile.network import Network, Population, identifier, spiking, with_neuron
from l2mu_compile.neuron_calls import accumulator, number
from l2mu_compile.neurons import CuBaLIF
from l2mu_compile.program import Call, Constant, Data, Place, Program, Record
from l2mu_compile.projection import Projection
from l2mu_compile.sparse import tile_of
from l2mu_compile.targets.structured_layouts import sparse_weights_for

STEPS = 2  # in the second, membranes that do not leak away spike without saturating
SAMPLE = 100  # in the network's own integers: neither clipped nor zero
WIDE_BITS = 16  # of membranes in int32, which without currents might be kept in int16

_CTYPES = {"i16": "int16_t", "i32": "int32_t"}


def where_all_spike(network: Network) -> Program:
    """The Program of a planned integer ``network`` with numbers that make every neuron spike."""
    calm = network.map_projections(_weightless).map_populations(lambda p: _excitable(network, p))
    program = lower(network)
    program = replace(program, data=_without_tiles(program, lower(calm).data))
    for p in network.populations:
        program = _started_high(program, network, p)
    return program


def window_where_all_spike(program: Program) -> NDArray:
    """A float32 window ``[1, T, inputs]`` in which every channel is a sample, or spikes."""
    assert program.from_floats is not None, "integer networks convert their samples"
    last = program.from_floats.arguments[-1]
    value = SAMPLE * 2.0**-last if isinstance(last, int) else 1.0
    return np.full((1, STEPS, program.inputs), value, np.float32)


def _weightless(projection: Projection) -> Projection:
    """All weights zero, unless that would change which tiles are stored."""
    if projection.tile is not None:
        return projection
    return replace(projection, weight=np.zeros_like(projection.weight))


def _without_tiles(program: Program, data: tuple[Data, ...]) -> tuple[Data, ...]:
    """``data`` of ``program`` with zeros in all tiles of sparse projections."""
    records = {record.name: dict(record.fields) for record in program.records}
    zeros: dict[str, NDArray] = {}
    named = {each.name: each.values for each in data}
    for call in program.step:
        tile, synapses = tile_of(call.kernel), call.arguments[0]
        if tile is not None and isinstance(synapses, Constant):
            name = str(records[synapses.name]["weights"])
            tiles = np.zeros_like(named[name]).reshape(-1, tile)
            zeros[name] = sparse_weights_for(call.kernel, tiles)
    return tuple(replace(d, values=zeros.get(d.name, d.values)) for d in data)


def _excitable(network: Network, population: Population) -> Population:
    """Neurons that can spike do so at the least occasion, or, where a spike before spares the
    membrane's sum, as soon as that is above half its limit; those of int16 stay so."""
    bias = None if population.bias is None else np.zeros_like(population.bias)
    bits = population.membrane_bits if narrow(network, population) else WIDE_BITS
    calm = replace(population, bias=bias, membrane_bits=bits)
    if not spiking(population):
        return calm
    limit = membrane_limit(population)
    can_spike = population.neuron.threshold < limit - 1
    least = limit // 2 if _spared(population) else 1
    return with_neuron(calm, threshold=np.where(can_spike, least, limit))


def _spared(population: Population) -> bool:
    """Whether a neuron that has just spiked has no membrane to decay, or none to add to."""
    neuron = population.neuron
    return isinstance(neuron, CuBaLIF) and neuron.reset in ("zero", "clamp")


def _started_high(program: Program, network: Network, population: Population) -> Program:
    """The accumulator of ``population`` starts beyond its largest membrane.

    So do membranes of a CuBaLIF, which then saturate; but for resets that spare a neuron something
    once it has spiked they start where it just does not.
    """
    limit, name = membrane_limit(population), population.name
    starts = {Place(f"{name}_membrane"): limit // 2 if _spared(population) else limit}
    starts[accumulator(population)] = limit  # that of a LIF is its membrane
    for place, value in starts.items():
        program = _started(program, network, population, place, value)
    return program


def _started(
    program: Program, network: Network, population: Population, place: Place, value: int
) -> Program:
    """An array of ``population`` starts with a value."""
    numbers = number(network, population)
    taken = {b.name for b in program.buffers} | {d.name for d in program.data}
    taken |= {r.name for r in program.records}
    values, start = (identifier(f"{population.name}_{word}", taken) for word in ("high", "start"))
    fields = (("bias", values), ("size", population.size))
    high = np.full(population.size, value)
    arguments = Constant(start, address=True), place
    return replace(
        program,
        data=(*program.data, Data(values, _CTYPES[numbers], high)),
        records=(*program.records, Record(start, f"l2mu_neurons_{numbers}_t", fields)),
        reset=(*program.reset, Call(f"l2mu_add_bias_{numbers}", arguments, population.name)),
    )
