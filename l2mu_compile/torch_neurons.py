"""A population in torch: its bias and thresholds, to be trained, and what its numbers allow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from l2mu_compile.bounds import membrane_limit
from l2mu_compile.interpreter import Q15
from l2mu_compile.network import Network, Population, spiking, with_neuron
from l2mu_compile.neurons import Neuron
from l2mu_compile.trainable import Trainable, floor_through
from l2mu_compile.weight_units import neuron_units

LEAST_THRESHOLD = 0.05  # of what it was
BIAS_LIMIT = 2**24


class Neurons(nn.Module):
    """A population of ``network`` and its trained arrays; ``dtype`` is what its state is kept in,
    which holds all integers of an integer network."""

    threshold: Trainable | None
    bias: Trainable | None
    beta: Tensor
    alpha: Tensor

    def __init__(self, network: Network, population: Population) -> None:
        super().__init__()
        self._population = population
        self.dtype = torch.float64 if network.quantized else torch.float32
        neuron, bits = population.neuron, population.membrane_bits
        self._limit = None if bits is None else membrane_limit(population)
        one = 1 if bits is None else 2**Q15
        for name in neuron.decays:
            decay = torch.tensor(getattr(neuron, name)).to(self.dtype) / one
            self.register_buffer(name, decay)
        self.threshold = self.bias = None
        if spiking(population):
            low, high = _threshold_range(population)
            self.threshold = Trainable(neuron.threshold, neuron.threshold, low, high)
        if population.bias is not None:
            reach = np.inf if bits is None else _bias_reach(population.bias)
            unit = neuron_units(network, population)
            self.bias = Trainable(population.bias, unit, -reach, reach)

    @property
    def neuron(self) -> Neuron:
        """What kind of neurons, with the arrays they began with."""
        return self._population.neuron

    @property
    def size(self) -> int:
        """How many there are."""
        return self._population.size

    def population(self) -> Population:
        """The population with its arrays as they are now; the same object if nothing changed."""
        found = self._population
        if self.threshold is not None:
            threshold = self.threshold.array()
            if threshold is not found.neuron.threshold:
                found = with_neuron(found, threshold=threshold)
        if self.bias is not None and (bias := self.bias.array()) is not found.bias:
            found = replace(found, bias=bias)
        return found

    def adopt(self, population: Population) -> None:
        """Take over the arrays of ``population`` where they differ from the present ones."""
        if self.threshold is not None:
            self.threshold.adopt(population.neuron.threshold)
        if self.bias is not None:
            assert population.bias is not None
            self.bias.adopt(population.bias)

    def decay(self, name: str, state: Tensor) -> Tensor:
        """``state`` times the decay of this name."""
        decayed = getattr(self, name) * state
        return decayed if self._limit is None else floor_through(decayed)

    def saturate(self, state: Tensor) -> Tensor:
        """``state`` in the bits of a membrane."""
        return state if self._limit is None else state.clamp(-self._limit, self._limit - 1)


def _threshold_range(population: Population) -> tuple[NDArray, NDArray]:
    threshold = population.neuron.threshold
    if population.membrane_bits is None:
        return threshold * np.float32(LEAST_THRESHOLD), np.full_like(threshold, np.inf)
    room = membrane_limit(population) // 4
    return np.ones_like(threshold), np.maximum(threshold, room)


def _bias_reach(bias: NDArray) -> float:
    return float(max(BIAS_LIMIT, np.abs(bias.astype(np.float64)).max()))
