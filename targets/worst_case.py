"""The worst case of an integer network: a step in which every neuron spikes.

How many instructions its kernels take depends on nothing but on which neurons spike and, where a
compiler makes branches of it, on which membranes saturate and are to be reset. So the same network
with other numbers shows the worst case in its first step: nothing weighs anything, accumulators
start beyond the largest membrane, and thresholds are as low as they can be. Kernels, layouts and
the order of calls are the same, and so are the instructions.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.bounds import membrane_limit, narrow
from l2mu_compile.network import (
    Network,
    Population,
    Projection,
    identifier,
    spiking,
    with_neuron,
)
from l2mu_compile.program import (
    Call,
    Constant,
    Data,
    Place,
    Program,
    Record,
    accumulator,
    lower,
    number,
)

STEPS = 2  # in the second, membranes that do not leak away spike without saturating
SAMPLE = 100  # in the network's own integers: neither clipped nor zero
WIDE_BITS = 16  # of membranes in int32, which without currents must not fit int16

_CTYPES = {"i16": "int16_t", "i32": "int32_t"}


def where_all_spike(network: Network) -> Program:
    """The Program of a planned integer ``network`` with numbers that make every neuron spike."""

    def excitable(p: Population) -> Population:
        bias = None if p.bias is None else np.zeros_like(p.bias)
        bits = p.membrane_bits if narrow(network, p) else WIDE_BITS
        calm = replace(p, bias=bias, membrane_bits=bits)
        if not spiking(p):
            return calm
        can_spike = p.neuron.threshold < membrane_limit(p) - 1
        return with_neuron(calm, threshold=np.where(can_spike, 1, membrane_limit(calm)))

    def weightless(p: Projection) -> Projection:
        return replace(p, weight=np.zeros_like(p.weight))

    calm = network.map_projections(weightless).map_populations(excitable)
    program = lower(calm)
    for p in calm.populations:
        program = _started_high(program, calm, p)
    return program


def window_where_all_spike(program: Program) -> NDArray:
    """A float32 window ``[1, T, inputs]`` in which every channel is a sample, or spikes."""
    assert program.from_floats is not None, "integer networks convert their samples"
    last = program.from_floats.arguments[-1]
    value = SAMPLE * 2.0**-last if isinstance(last, int) else 1.0
    return np.full((1, STEPS, program.inputs), value, np.float32)


def _started_high(program: Program, network: Network, population: Population) -> Program:
    """The accumulator of ``population`` starts beyond its largest membrane.

    So do membranes from which a CuBaLIF subtracts a threshold: it subtracts when they have spiked,
    which takes longer. Other resets do without the decay then.
    """
    numbers = number(network, population)
    taken = {b.name for b in program.buffers} | {d.name for d in program.data}
    taken |= {r.name for r in program.records}
    values, start = (identifier(f"{population.name}_{word}", taken) for word in ("high", "start"))
    high = np.full(population.size, membrane_limit(population))
    fields = (("bias", values), ("size", population.size))
    places = {accumulator(population)}
    if population.neuron.reset == "subtract":
        places.add(Place(f"{population.name}_membrane"))  # of a LIF that is its accumulator
    add, owner = f"l2mu_add_bias_{numbers}", population.name
    calls = [Call(add, (Constant(start, address=True), place), owner) for place in places]
    return replace(
        program,
        data=(*program.data, Data(values, _CTYPES[numbers], high)),
        records=(*program.records, Record(start, f"l2mu_neurons_{numbers}_t", fields)),
        reset=(*program.reset, *calls),
    )
