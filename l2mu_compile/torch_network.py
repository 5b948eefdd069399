"""A Network as a torch module, to be trained, and back; at every stage before planning.

The module computes what the interpreter computes, turn by turn (`l2mu_compile.schedule`). That of
an integer network computes in float64, which holds all its integers, and adds int8 weights where
spikes arrive in float32, which holds every such sum (2^16 sources at most): every spike, membrane
and score is the interpreter's own. That of a float network adds currents in another order than the
interpreter, so membranes agree to within float32 rounding.

Gradients: those of spikes are a surrogate's (`l2mu_compile.surrogate`). Rounding counts as the
identity, saturation has no gradient beyond its limits, and a reset is taken as given (detached, as
in snnTorch).

Weights, biases and thresholds are trained, in units of their neuron's threshold: LIF dynamics are
scale-free, so a neuron learns alike before and after its threshold is folded or its numbers are
quantized. Decays stay, and so do shared blocks, the memory's A and B, unless ``memory`` is set. A
weight of zero is no synapse and stays zero; an integer weight stays within the bits that the
weights of its projection have, and on the grid of its neuron's quantum.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import replace

import torch
from torch import Tensor, nn

from l2mu_compile.errors import ModelError
from l2mu_compile.network import Network
from l2mu_compile.projection import Projection
from l2mu_compile.samples import check_samples, prepared
from l2mu_compile.schedule import turns
from l2mu_compile.surgery import unmeasured
from l2mu_compile.surrogate import Hearing
from l2mu_compile.torch_neurons import Neurons
from l2mu_compile.torch_run import Activity, Parts, run_parts
from l2mu_compile.torch_synapses import trainable_weight
from l2mu_compile.trainable import Trainable


class NetworkModule(nn.Module):
    """``network`` as a torch module; `network` gives it back with all that was trained.

    Arrays keep their types, shapes and structure; those that were not trained are bit-equal. Raises
    `ModelError` for a network that is planned or decides early.
    """

    def __init__(self, network: Network, memory: bool = False) -> None:
        super().__init__()
        _require_trainable(network)
        self._network, in_turn = network, turns(network)
        joined = network.projections
        weights = [trainable_weight(network, p, trained=memory or not p.shared) for p in joined]
        neurons = [Neurons(network, turn.population) for turn in in_turn]
        self.weights, self.neurons = nn.ModuleList(weights), nn.ModuleList(neurons)
        self._parts = Parts(
            network,
            in_turn,
            {t.population.name: part for t, part in zip(in_turn, neurons, strict=True)},
            {p.name: part for p, part in zip(joined, weights, strict=True)},
            Hearing(),
        )

    def forward(self, samples: Tensor, record: Collection[str] = ()) -> Activity:
        """Run windows, float32 ``[B, T, inputs]``, from a state of zero.

        ``record`` may hold ``"spikes"`` and ``"membranes"``. Raises `ModelError` if the samples do
        not fit the network.
        """
        network = self._network
        x = torch.from_numpy(prepared(network, check_samples(network, samples.numpy())))
        multiplied = network.quantized and not network.input.spiking
        return run_parts(self._parts, x.double() if multiplied else x.float(), record)

    def trained(self) -> list[nn.Parameter]:
        """The parameters to optimize."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def local_gradients(self) -> AbstractContextManager[None]:
        """Backward passes within end at a neuron's own weights, bias and threshold: how spikes of
        others would have to change is not asked."""
        return self._parts.hearing.locally()

    def keep_allowed(self) -> None:
        """Bring all parameters back to what the network's numbers allow; after every update."""
        for array in self.modules():
            if isinstance(array, Trainable):
                array.keep_allowed()

    def network(self) -> Network:
        """The network with its arrays as they are now; rates and ranges that were measured on other
        numbers are dropped. The same object if nothing has changed."""
        parts = self._parts

        def synapses(p: Projection) -> Projection:
            weight = parts.weights[p.name].array()
            return p if weight is p.weight else replace(p, weight=weight)

        network = self._network.map_populations(lambda p: parts.neurons[p.name].population())
        network = network.map_projections(synapses)
        return network if network is self._network else network.map_populations(unmeasured)

    def adopt(self, network: Network) -> None:
        """Take over the arrays of a network where they differ from those of `network`."""
        for p in network.projections:
            self._parts.weights[p.name].adopt(p.weight)
        for population in network.populations:
            self._parts.neurons[population.name].adopt(population)


def _require_trainable(network: Network) -> None:
    if network.stage == "planned":
        raise ModelError(f"network {network.name} is planned: train it before select-kernels")
    if network.readout.margins is not None:
        raise ModelError(
            f"network {network.name} decides early, by margins that training would make wrong: "
            "train it before early-exit"
        )
