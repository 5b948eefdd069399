"""How far sums can go, whatever spikes and samples are: integer arithmetic is proved with these."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.network import NARROW_BITS, Network, Population, spiking
from l2mu_compile.neurons import LIF
from l2mu_compile.projection import Projection
from l2mu_compile.schedule import arriving, delayed

SAMPLE_LOW, SAMPLE_HIGH = -(2**15), 2**15 - 1


def membrane_limit(population: Population) -> int:
    """Membranes of an integer population are from minus this to one below it."""
    return 2 ** ((population.membrane_bits or 1) - 1)


def can_be_narrow(network: Network, population: Population) -> bool:
    """Whether there are kernels with int16 accumulators for such a population."""
    read = network.readout.population == population.name
    return spiking(population) and not (read and network.readout.rule != "spike_count")


def narrow(network: Network, population: Population) -> bool:
    """Whether int16 holds the population's accumulator: kernels for that saturate membranes and
    synapses to NARROW_BITS, and no sum of it and any of a step's currents may be beyond int16.

    A membrane of so many bits, decayed and reset, plus a synapse is never beyond.
    """
    if population.membrane_bits != NARROW_BITS or not can_be_narrow(network, population):
        return False
    return not beyond_int16(network, population).any()


def beyond_int16(network: Network, population: Population) -> NDArray:
    """Neurons, bool ``[n]``, with an accumulator that may be beyond int16."""
    low, high = accumulator_ranges(network, population)
    return (low < -(2**15)) | (high >= 2**15)


def accumulator_ranges(network: Network, population: Population) -> tuple[NDArray, NDArray]:
    """Least and greatest, int64 ``[n]``, that the accumulators of an integer population can be when
    its turn comes."""
    low, high = start_range(network, population)
    more_low, more_high = _current_range(network, arriving(network, population))
    each = np.zeros(population.size, dtype=np.int64)
    return each + low + more_low, each + high + more_high


def start_range(network: Network, population: Population) -> tuple[NDArray, NDArray]:
    """Least and greatest, int64 ``[n]``, that an accumulator can be between two steps."""
    limit = membrane_limit(population)
    low, high = _current_range(network, delayed(network, population))
    bias = np.int64(0) if population.bias is None else population.bias.astype(np.int64)
    return low + bias - np.maximum(limit, _reset(population)), high + bias + limit


def unsaturated_range(network: Network, population: Population) -> tuple[int, int] | None:
    """Least and greatest a LIF's accumulator can be between two steps, if no sum at its turn is
    ever beyond its membranes; None if one may be, and for other neurons.

    Proved by induction: where a membrane is within its limits, so is the next. A state in which all
    neurons spike is within the range.
    """
    if not isinstance(population.neuron, LIF):
        return None
    limit = membrane_limit(population)
    more_low, more_high = _current_range(network, arriving(network, population))
    low, high = -limit - int(more_low.min()), limit - 1 - int(more_high.max())
    least, greatest = _next_range(network, population)
    proved = low <= least and max(greatest, int(population.neuron.threshold.max()) + 1) <= high
    return (low, high) if proved else None


def largest_sum(network: Network, population: Population) -> int:
    """Largest magnitude any partial sum of an integer population's update can reach, with currents
    in any order and from any state between two steps."""
    early = _magnitudes(network, delayed(network, population)).max()
    late = _magnitudes(network, arriving(network, population)).max()
    return int(early + late) + _start(population) + membrane_limit(population)


def largest_start(network: Network, population: Population) -> int:
    """Largest magnitude of an integer population's accumulator between two steps."""
    early = _magnitudes(network, delayed(network, population)).max()
    return int(early) + _start(population)


def _next_range(network: Network, population: Population) -> tuple[int, int]:
    """Least and greatest a LIF's accumulator can be after any membrane within its limits."""
    limit, neuron = membrane_limit(population), population.neuron
    bias = np.int64(0) if population.bias is None else population.bias.astype(np.int64)
    threshold = neuron.threshold.astype(np.int64)
    beta = neuron.beta.astype(np.int64)
    low, high = _current_range(network, delayed(network, population))
    # A membrane above its threshold does not fall below minus the threshold when it is reset.
    least = np.minimum((beta * -limit) >> 15, -threshold)
    greatest = (beta * (limit - 1)) >> 15
    return int((least + bias + low).min()), int((greatest + bias + high).max())


def _start(population: Population) -> int:
    bias = 0 if population.bias is None else int(np.abs(population.bias.astype(np.int64)).max())
    return membrane_limit(population) + int(np.max(_reset(population))) + bias


def _reset(population: Population) -> NDArray | int:
    """An accumulator of a membrane above its threshold does not fall below minus this."""
    return population.neuron.threshold if isinstance(population.neuron, LIF) else 0


def _current_range(network: Network, projections: Sequence[Projection]) -> tuple[NDArray, NDArray]:
    low: NDArray = np.zeros(1, dtype=np.int64)
    high = low
    for p in projections:
        weight = p.weight.astype(np.int64)
        positive = p.row_sums(np.maximum(weight, 0))
        negative = p.row_sums(np.minimum(weight, 0))
        if network.multiplies(p):
            least = positive * SAMPLE_LOW + negative * SAMPLE_HIGH
            greatest = positive * SAMPLE_HIGH + negative * SAMPLE_LOW
            negative, positive = _shifted(least, p), _shifted(greatest, p)
        low, high = low + negative, high + positive
    return low, high


def _shifted(total: NDArray, p: Projection) -> NDArray:
    shift = np.int64(0) if p.shift is None else p.shift.astype(np.int64)
    return (total + ((np.int64(1) << shift) >> 1)) >> shift


def _magnitudes(network: Network, projections: Sequence[Projection]) -> NDArray:
    total = np.zeros(1, dtype=np.int64)
    for p in projections:
        rows = p.row_sums(np.abs(p.weight.astype(np.int64)))
        if network.multiplies(p):
            shift = np.int64(0) if p.shift is None else p.shift.astype(np.int64)
            rows = rows * max(-SAMPLE_LOW, SAMPLE_HIGH) + (np.int64(1) << shift)
        total = total + rows
    return total
