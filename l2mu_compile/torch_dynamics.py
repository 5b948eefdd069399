"""What a population does in a run, in torch: the turns that `l2mu_compile.interpreter` defines."""

from __future__ import annotations

import torch
from torch import Tensor

from l2mu_compile.neurons import CuBaLIF
from l2mu_compile.surrogate import spike
from l2mu_compile.torch_neurons import Neurons


class Dynamics:
    """The state of a population, ``[B, neurons]``, from the beginning of ``B`` windows on:
    ``accumulator``, ``membrane`` and ``spikes`` (0 or 1)."""

    def __init__(self, neurons: Neurons, windows: int) -> None:
        self._neurons, self._neuron = neurons, neurons.neuron
        self._threshold = None if neurons.threshold is None else neurons.threshold()
        self._bias = None if neurons.bias is None else neurons.bias()
        self.membrane = torch.zeros(windows, neurons.size, dtype=neurons.dtype)
        self.spikes = self.membrane.float()
        self.accumulator = self._biased(self.membrane)

    def receive(self, currents: Tensor) -> None:
        """Add currents that arrive."""
        self.accumulator = self.accumulator + currents

    def fire(self) -> None:
        """Take a turn with the currents that have arrived."""
        total = self._neurons.saturate(self.accumulator)
        if isinstance(self._neuron, CuBaLIF):
            fired = self.spikes.detach()
            integrated = self._leak(self.membrane, fired) + total
            if self._neuron.reset == "clamp":
                integrated = integrated * (1 - fired)
            self._show(self._neurons.saturate(integrated))
            start = self._neurons.decay("alpha", total)
        else:
            self._show(total)
            start = self._leak(total, self.spikes.detach())
        self.accumulator = self._biased(start)

    def _show(self, membrane: Tensor) -> None:
        self.membrane = membrane
        if self._threshold is not None:
            self.spikes = spike(membrane, self._threshold)

    def _leak(self, membrane: Tensor, fired: Tensor) -> Tensor:
        reset = self._neuron.reset
        if reset == "subtract_first":
            return self._neurons.decay("beta", self._lowered(membrane, fired))
        decayed = self._neurons.decay("beta", membrane)
        if reset == "subtract":
            return self._lowered(decayed, fired)
        return decayed * (1 - fired) if reset == "zero" else decayed

    def _lowered(self, membrane: Tensor, fired: Tensor) -> Tensor:
        """Less the threshold where a neuron fired."""
        assert self._threshold is not None
        return membrane - self._threshold * fired

    def _biased(self, state: Tensor) -> Tensor:
        return state if self._bias is None else state + self._bias
