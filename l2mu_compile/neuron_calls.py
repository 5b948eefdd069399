"""The kernel calls of a population's neurons, and the record of their parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.bounds import membrane_limit, narrow, unsaturated_range
from l2mu_compile.buffers import filled_up
from l2mu_compile.draft import Draft
from l2mu_compile.network import NARROW_BITS, Network, Population, spiking
from l2mu_compile.neurons import CuBaLIF
from l2mu_compile.program import Argument, Call, Constant, Field, Place

# Parameters that may be one for all neurons or one each: which, says a field beside them.
_STEPPED = {
    "f32": ("alpha", "beta", "threshold"),
    "i32": ("alpha", "beta", "threshold"),
    "i16": ("beta",),
}


def accumulator(population: Population) -> Place:
    """What gathers a population's currents."""
    synaptic = isinstance(population.neuron, CuBaLIF)
    return Place(f"{population.name}_{'synapse' if synaptic else 'membrane'}")


def update(population: Population) -> str:
    """The operation that ends a population's turn: ``fire_subtract``, ``leak``, …"""
    if isinstance(population.neuron, CuBaLIF):
        return f"fire_synaptic_{population.neuron.reset}"
    return f"fire_{population.neuron.reset}" if spiking(population) else "leak"


def number(network: Network, population: Population) -> str:
    """What a population's kernels compute with: ``f32``, or integers ``i32`` or ``i16``."""
    if not network.quantized:
        return "f32"
    return "i16" if narrow(network, population) else "i32"


def neurons_record(draft: Draft, population: Population) -> Constant:
    """The record of a population's parameters, which its kernels are given as ``neurons``."""
    numbers = number(draft.network, population)
    fields: list[Field] = []
    for name, array in _parameters(population, numbers).items():
        if array is None:
            fields.append((name, None))
            continue
        fields.append((name, draft.store(f"{population.name}_{name}", array)))
        if name in _STEPPED[numbers]:
            fields.append((f"{name}_step", array.ndim))
    fields.append(("size", population.size))
    if numbers == "i32":
        limit = membrane_limit(population)
        fields += [("low", -limit), ("high", limit - 1)]
    if numbers == "i16":
        bounded = unsaturated_range(draft.network, population) is not None
        fields.append(("bounded", int(bounded)))
    return draft.record(f"{population.name}_neurons", f"l2mu_neurons_{numbers}_t", fields)


def add_bias(network: Network, population: Population, neurons: Constant) -> Call:
    """The call that an accumulator of zeros starts with."""
    kernel = f"l2mu_add_bias_{number(network, population)}"
    return Call(kernel, (neurons, accumulator(population)), population.name)


def fire(draft: Draft, population: Population, neurons: Constant) -> None:
    """Fire, decay and reset; what stays is what the next step starts with."""
    name = population.name
    arguments: list[Argument] = [neurons, Place(f"{name}_membrane")]
    arguments += [Place(f"{name}_synapse")] * isinstance(population.neuron, CuBaLIF)
    arguments += [Place(f"{name}_spikes")] * spiking(population)
    draft.call(f"{update(population)}_{population.kernel}", name, *arguments)


def show_membranes(draft: Draft, population: Population, neurons: Constant) -> None:
    """Make of accumulators what membranes are when their population fires."""
    if draft.network.quantized:
        draft.call("saturate_i32", population.name, neurons, accumulator(population))


def _parameters(population: Population, numbers: str) -> dict[str, NDArray | None]:
    """The arrays of a record, by field."""
    neuron = population.neuron
    values = {name: getattr(neuron, name, None) for name in ("alpha", "beta", "threshold")}
    if not spiking(population):
        values["threshold"] = None
    values["bias"] = population.bias
    return _narrow_parameters(values, population.size) if numbers == "i16" else values


def _narrow_parameters(values: dict[str, Any], size: int) -> dict[str, NDArray | None]:
    """Those of a population with int16 accumulators: Q16 decays, and arrays filled up."""

    def fill(array: NDArray | None, dtype: type, value: int) -> NDArray | None:
        if array is None or array.ndim == 0:
            return None if array is None else array.astype(dtype)
        padding: NDArray = np.full(filled_up(size) - size, value, dtype)
        return np.concatenate([array.astype(dtype), padding])

    # Alike for both decays: one for all neurons, or one for each.
    given = {name: values[name] * 2 for name in ("alpha", "beta") if values[name] is not None}
    decays = dict(zip(given, np.broadcast_arrays(*given.values()), strict=True))
    # No membrane is beyond this threshold, so greater ones are the same.
    threshold = np.minimum(values["threshold"], 2 ** (NARROW_BITS - 1) - 1)
    return {
        "alpha": fill(decays.get("alpha"), np.int32, 0),
        "beta": fill(decays["beta"], np.int32, 0),
        "threshold": fill(np.broadcast_to(threshold, size), np.int16, 2**15 - 1),
        "bias": fill(values["bias"], np.int16, 0),
    }
