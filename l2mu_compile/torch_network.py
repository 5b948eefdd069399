"""A Network as a torch module, to be trained, and back; at every stage before planning.

The module computes what the interpreter computes, turn by turn (`l2mu_compile.schedule`). That of
an integer network computes in float64, which holds all its integers, and adds int8 weights where
spikes arrive in float32, which holds every such sum (2^16 sources at most): every spike, membrane
and score is the interpreter's own. That of a float network adds currents in another order than the
interpreter, so membranes agree to within float32 rounding.

Gradients: a spike's derivative is that of a fast sigmoid, ``1 / (1 + slope · |u|)²`` (SuperSpike,
Zenke and Ganguli 2018, arXiv 1705.11146), of the membrane in units of its threshold,
``u = v / threshold − 1``. Rounding counts as the identity, saturation has no gradient beyond its
limits, and a reset is taken as given (detached, as in snnTorch).

Weights, biases and thresholds are trained, in units of their neuron's threshold: LIF dynamics are
scale-free, so a neuron learns alike before and after its threshold is folded or its numbers are
quantized. Decays stay, and so do shared blocks, the memory's A and B, unless ``memory`` is set. A
weight of zero is no synapse and stays zero; an integer weight stays within the bits that the
weights of its projection have, and on the grid of its neuron's quantum.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from l2mu_compile.bounds import membrane_limit
from l2mu_compile.convolution import Convolution
from l2mu_compile.errors import ModelError
from l2mu_compile.interpreter import Q15
from l2mu_compile.network import Network, Population, spiking, with_neuron
from l2mu_compile.neurons import CuBaLIF
from l2mu_compile.projection import Projection
from l2mu_compile.samples import SPIKE_LEVEL, check_samples, quantize_samples
from l2mu_compile.schedule import turns
from l2mu_compile.surgery import unmeasured
from l2mu_compile.trainable import Trainable, floor_through
from l2mu_compile.weight_units import neuron_units, weight_units

SLOPE = 10.0  # of the fast sigmoid
LEAST_THRESHOLD = 0.05  # of what it was
BIAS_LIMIT = 2**24


@dataclass(frozen=True)
class Activity:
    """What ``B`` windows of ``T`` steps did.

    ``scores`` ``[B, classes]`` as `Readout` defines them; ``spikes`` (0 or 1) and ``membranes``
    ``[B, T, neurons]`` by population, present if recorded.
    """

    scores: Tensor
    spikes: dict[str, Tensor] = field(default_factory=dict)
    membranes: dict[str, Tensor] = field(default_factory=dict)


class NetworkModule(nn.Module):
    """``network`` as a torch module; `network` gives it back with all that was trained.

    Arrays keep their types, shapes and structure; those that were not trained are bit-equal. Raises
    `ModelError` for a network that is planned or decides early.
    """

    def __init__(self, network: Network, memory: bool = False) -> None:
        super().__init__()
        self._local = False
        if network.stage == "planned":
            raise ModelError(f"network {network.name} is planned: train it before select-kernels")
        if network.readout.margins is not None:
            raise ModelError(
                f"network {network.name} decides early, by margins that training would make wrong: "
                "train it before early-exit"
            )
        self._network = network
        self._turns = turns(network)
        self._dtype = torch.float64 if network.quantized else torch.float32
        self.weights = nn.ModuleList(
            _weight(network, p, trained=memory or not p.shared) for p in network.projections
        )
        self.neurons = nn.ModuleList(
            _Neurons(t.population, neuron_units(network, t.population), self._dtype)
            for t in self._turns
        )

    def forward(self, samples: Tensor, record: Collection[str] = ()) -> Activity:
        """Run windows, float32 ``[B, T, inputs]``, from a state of zero.

        ``record`` may hold ``"spikes"`` and ``"membranes"``. Raises `ModelError` if the samples do
        not fit the network.
        """
        return _Pass(self, self._prepare(samples), record).run()

    def trained(self) -> list[nn.Parameter]:
        """The parameters to optimize."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    @contextmanager
    def local_gradients(self) -> Iterator[None]:
        """Backward passes within end at a neuron's own weights, bias and threshold: how spikes of
        others would have to change is not asked."""
        self._local = True
        try:
            yield
        finally:
            self._local = False

    def keep_allowed(self) -> None:
        """Bring all parameters back to what the network's numbers allow; after every update."""
        for array in self._arrays():
            array.keep_allowed()

    def network(self) -> Network:
        """The network with its arrays as they are now; rates and ranges that were measured on other
        numbers are dropped. The same object if nothing has changed."""
        neurons = dict(self._populations())
        weights = {p.name: weight.array() for p, weight in self._synapses()}

        def synapses(p: Projection) -> Projection:
            same = weights[p.name] is p.weight
            return p if same else replace(p, weight=weights[p.name])

        network = self._network.map_populations(lambda p: neurons[p.name].population())
        network = network.map_projections(synapses)
        return network if network is self._network else network.map_populations(unmeasured)

    def adopt(self, network: Network) -> None:
        """Take over the arrays of a network where they differ from those of `network`."""
        for p, (_, weight) in zip(network.projections, self._synapses(), strict=True):
            weight.adopt(p.weight)
        for name, neurons in self._populations():
            neurons.adopt(network.population(name))

    def _arrays(self) -> list[Trainable]:
        return [m for m in self.modules() if isinstance(m, Trainable)]

    def _synapses(self) -> Iterator[tuple[Projection, Trainable]]:
        for p, weight in zip(self._network.projections, self.weights, strict=True):
            assert isinstance(weight, Trainable)
            yield p, weight

    def _populations(self) -> Iterator[tuple[str, _Neurons]]:
        for turn, neurons in zip(self._turns, self.neurons, strict=True):
            assert isinstance(neurons, _Neurons)
            yield turn.population.name, neurons

    def _prepare(self, samples: Tensor) -> Tensor:
        """Samples as the projections read them."""
        entry = self._network.input
        x = check_samples(self._network, samples.numpy())
        if entry.spiking:
            return torch.from_numpy(x > SPIKE_LEVEL).float()
        if entry.fraction is not None:
            return torch.from_numpy(quantize_samples(x, entry.fraction)).to(self._dtype)
        x = x if entry.scale is None else x * entry.scale
        return torch.from_numpy(x if entry.offset is None else x + entry.offset)


class _Neurons(nn.Module):
    """Parameters of one population, and what its numbers allow."""

    threshold: Trainable | None
    bias: Trainable | None
    beta: Tensor
    alpha: Tensor

    def __init__(self, population: Population, unit: NDArray, dtype: torch.dtype) -> None:
        super().__init__()
        self._population = population
        neuron, bits = population.neuron, population.membrane_bits
        self.limit = None if bits is None else membrane_limit(population)
        one = 1 if bits is None else 2**Q15
        for name in neuron.decays:
            decay = torch.tensor(getattr(neuron, name)).to(dtype) / one
            self.register_buffer(name, decay)
        self.threshold = self.bias = None
        if spiking(population):
            low, high = _threshold_range(population)
            self.threshold = Trainable(neuron.threshold, neuron.threshold, low, high)
        if population.bias is not None:
            reach = max(BIAS_LIMIT, np.abs(population.bias.astype(np.float64)).max())
            reach = np.inf if bits is None else reach
            self.bias = Trainable(population.bias, unit, -reach, reach)

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
        if self.threshold is not None:
            self.threshold.adopt(population.neuron.threshold)
        if self.bias is not None:
            assert population.bias is not None
            self.bias.adopt(population.bias)

    def decay(self, name: str, state: Tensor) -> Tensor:
        decayed = getattr(self, name) * state
        return decayed if self.limit is None else floor_through(decayed)

    def saturate(self, state: Tensor) -> Tensor:
        return state if self.limit is None else state.clamp(-self.limit, self.limit - 1)


class _Pass:
    """One run of a batch: the state of every population, as the interpreter keeps it."""

    def __init__(self, module: NetworkModule, x: Tensor, record: Collection[str]) -> None:
        self.module, self.x = module, x
        self.network, self.turns = module._network, module._turns
        self.neurons = dict(module._populations())
        self.weights = {
            p.name: weight() if self.network.multiplies(p) else weight().float()
            for p, weight in module._synapses()
        }
        self.thresholds = {n: p.threshold() for n, p in self.neurons.items() if p.threshold}
        self.biases = {n: p.bias() for n, p in self.neurons.items() if p.bias}
        sampled = [p for p in self.network.projections if p.source == self.network.input.name]
        self.sampled = {p.name: self._sampled(p).unbind(1) for p in sampled}
        everyone = [turn.population for turn in self.turns]
        self.membrane = {p.name: torch.zeros(len(x), p.size, dtype=module._dtype) for p in everyone}
        self.spikes = {name: zeros.float() for name, zeros in self.membrane.items()}
        self.accumulator = {n: self._biased(n, zeros) for n, zeros in self.membrane.items()}
        readout = self.network.readout
        self.shown = "spikes" if readout.rule == "spike_count" else "membranes"
        recorded = {(what, p.name) for what in record for p in everyone}
        self.history: dict[tuple[str, str], list[Tensor]] = {
            key: [] for key in sorted(recorded | {(self.shown, readout.population)})
        }

    def run(self) -> Activity:
        for step in range(self.x.shape[1]):
            for turn in self.turns:
                for p in turn.arriving:
                    self._add(p, step)
                self._fire(turn.population)
                for p in turn.leaving:
                    self._add(p, step)
            for (what, name), kept in self.history.items():
                kept.append(self.spikes[name] if what == "spikes" else self.membrane[name])
        stacked = {key: torch.stack(kept, dim=1) for key, kept in self.history.items()}
        spikes, membranes = (
            {name: values for (kind, name), values in stacked.items() if kind == what}
            for what in ("spikes", "membranes")
        )
        return Activity(self._scores(stacked), spikes, membranes)

    def _scores(self, stacked: dict[tuple[str, str], Tensor]) -> Tensor:
        readout = self.network.readout
        values = stacked[self.shown, readout.population]
        if readout.rule == "last_membrane":
            return values[:, -1]
        return values.amax(1) if readout.rule == "max_membrane" else values.sum(1)

    def _sampled(self, p: Projection) -> Tensor:
        """Currents ``[B, T, targets]`` of all samples at once."""
        current = _current(p, self.weights[p.name], self.x)
        if p.shift is None:
            return current
        shift = torch.tensor(p.shift).to(current)
        # Half is added before the shift; without a shift nothing is left to round.
        return floor_through(current * 2.0**-shift + 0.5)

    def _add(self, p: Projection, step: int) -> None:
        if p.name in self.sampled:
            current = self.sampled[p.name][step]
        else:
            spikes = _Heard.apply(self.spikes[p.source], self.module)
            current = _current(p, self.weights[p.name], spikes)
        self.accumulator[p.target] = self.accumulator[p.target] + current

    def _fire(self, population: Population) -> None:
        name, neurons = population.name, self.neurons[population.name]
        total = neurons.saturate(self.accumulator[name])
        if isinstance(population.neuron, CuBaLIF):
            fired = self.spikes[name].detach()
            integrated = self._leak(population, self.membrane[name], fired) + total
            if population.neuron.reset == "clamp":
                integrated = integrated * (1 - fired)
            self.membrane[name] = neurons.saturate(integrated)
            self._spike(name)
            start = neurons.decay("alpha", total)
        else:
            self.membrane[name] = total
            self._spike(name)
            start = self._leak(population, total, self.spikes[name].detach())
        self.accumulator[name] = self._biased(name, start)

    def _spike(self, name: str) -> None:
        if name in self.thresholds:
            self.spikes[name] = _Spike.apply(self.membrane[name], self.thresholds[name])

    def _leak(self, population: Population, membrane: Tensor, fired: Tensor) -> Tensor:
        neurons = self.neurons[population.name]
        if population.neuron.reset == "subtract_first":
            return neurons.decay("beta", membrane - self.thresholds[population.name] * fired)
        decayed = neurons.decay("beta", membrane)
        if population.neuron.reset == "subtract":
            return decayed - self.thresholds[population.name] * fired
        if population.neuron.reset == "zero":
            return decayed * (1 - fired)
        return decayed

    def _biased(self, name: str, state: Tensor) -> Tensor:
        return state + self.biases[name] if name in self.biases else state


class _Heard(torch.autograd.Function):
    """Spikes as a projection hears them; gradients that are local do not come back."""

    @staticmethod
    def forward(ctx: Any, spikes: Tensor, module: NetworkModule) -> Tensor:
        ctx.module = module
        return spikes.view_as(spikes)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None]:
        return (None if ctx.module._local else grad), None


class _Spike(torch.autograd.Function):
    """Membranes and thresholds to spikes; see the module docstring for the gradient."""

    @staticmethod
    def forward(ctx: Any, membrane: Tensor, threshold: Tensor) -> Tensor:
        ctx.save_for_backward(membrane, threshold)
        return (membrane > threshold).float()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        membrane, threshold = ctx.saved_tensors
        relative = membrane / threshold
        width = (relative - 1).abs_().mul_(SLOPE).add_(1).square_().mul_(threshold)
        slope = grad / width
        return slope, -(slope * relative).sum_to_size(threshold.shape)


def _current(p: Projection, weight: Tensor, source: Tensor) -> Tensor:
    """What ``source`` ``[..., sources]`` sends through a projection, ``[..., targets]``."""
    if p.convolution is not None:
        return _convolved(p.convolution, weight, source)
    if not p.blocks:
        return F.linear(source, weight)
    cells = source.unflatten(-1, (p.blocks, -1))
    if p.shared:
        return F.linear(cells, weight).flatten(-2)
    return torch.einsum("...kc,krc->...kr", cells, weight).flatten(-2)


def _convolved(convolution: Convolution, weight: Tensor, source: Tensor) -> Tensor:
    maps = source.reshape(-1, *convolution.source)
    if convolution.pool != (1, 1):
        maps = F.avg_pool2d(maps, convolution.pool, divisor_override=1)
    height, width = (
        (size - 1) * stride + (kernel - 1) * dilation + 1
        for size, stride, kernel, dilation in zip(
            convolution.target[1:],
            convolution.stride,
            weight.shape[2:],
            convolution.dilation,
            strict=True,
        )
    )
    top, left = convolution.padding
    bottom, right = max(height - top - maps.shape[2], 0), max(width - left - maps.shape[3], 0)
    found = F.conv2d(
        F.pad(maps, (left, right, top, bottom))[..., :height, :width],
        weight,
        stride=convolution.stride,
        dilation=convolution.dilation,
        groups=convolution.groups,
    )
    return found.reshape(*source.shape[:-1], -1)


def _weight(network: Network, p: Projection, trained: bool) -> Trainable:
    unit = np.where(p.weight != 0, weight_units(network, p), 0)
    grid = np.int32(1) if p.quantum is None else p.quantum.reshape(-1, 1)
    multiples = None if p.packing is None or p.packing.uniform else p.packing.multiples
    return Trainable(p.weight, unit, *_weight_range(p), trained, grid, multiples)


def _weight_range(p: Projection) -> tuple[ArrayLike, ArrayLike]:
    """From the least to the greatest number in the bits that the weights have now."""
    if p.packing is not None and p.quantum is not None:
        return p.packing.limits(p.quantum.reshape(-1, 1))
    if p.weight.dtype.kind != "i":
        return -np.inf, np.inf
    weight = p.weight.astype(np.int64)
    bits = int(np.where(weight < 0, -weight - 1, weight).max()).bit_length()
    return min(1 - 2**bits, int(weight.min())), 2**bits - 1


def _threshold_range(population: Population) -> tuple[NDArray, NDArray]:
    threshold = population.neuron.threshold
    if population.membrane_bits is None:
        return threshold * np.float32(LEAST_THRESHOLD), np.full_like(threshold, np.inf)
    room = membrane_limit(population) // 4
    return np.ones_like(threshold), np.maximum(threshold, room)
