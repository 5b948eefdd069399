"""NeuroBench's metrics of a Network, by its names and definitions.

Yik et al., "The NeuroBench framework for benchmarking neuromorphic computing algorithms and
systems", Nature Communications 16:1545, 2025, as computed by version 2.3 of the ``neurobench``
package for models made of ``nn.Linear`` and snnTorch neurons:

- ``footprint``: bytes of all weights, biases and neuron parameters;
- ``connection_sparsity``: share of weights that are zero, rounded to four digits;
- ``activation_sparsity``: share of neurons that do not spike in a step;
- ``synaptic_operations`` of a window: ``Dense`` is every weight in every step, effective ones are
  weights that are not zero where the input is not; ``MACs`` for samples, ``ACs`` for spikes;
- ``membrane_updates`` of a window: membranes that are not what they were in the step before; in the
  first step all are.

What a Network lets be told otherwise than a module of torch:

- snnTorch keeps 12 bytes more for every module of neurons (``graded_spikes_factor`` and
  ``reset_mechanism_val``), 4 for the threshold of one that never spikes, and as many parameters as
  the module was given; a Network has one for all neurons where all have the same. A module may also
  hold what no step reads. A quantized network's footprint is that of its integers, as stored;
- matrices that are no ``nn.Linear``, such as an L2MU's A and B, are not seen there; here they are
  weights like all others. Blocks that cells share are stored once, and work for every cell;
  so do a convolution's kernels for every place where they read a source
- a leaky integrator does not spike, so it is left out of ``activation_sparsity``;
- with a delay the last step's spikes reach no one in the window, though code adds their weights,
  which every other count of synaptic operations has. Biases are no synapses;
- samples are spikes once the network says so (``detect-spikes``), not whenever a batch of them has
  no other numbers than 0, 1 and -1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.interpreter import Run
from l2mu_compile.network import Network, spiking
from l2mu_compile.projection import Projection
from l2mu_compile.report import NeuroBench, SynapticOperations
from l2mu_compile.samples import check_samples, prepared


def neurobench(network: Network, samples: NDArray, run: Run) -> NeuroBench:
    """The metrics of ``network``, whose ``run`` on ``samples`` recorded spikes and membranes."""
    weights = sum(p.weight.size for p in network.projections)
    zeros = weights - sum(int(np.count_nonzero(p.weight)) for p in network.projections)
    spiked = [run.spikes[p.name] for p in network.populations if spiking(p)]
    places = sum(spikes.size for spikes in spiked)
    return NeuroBench(
        footprint=network.parameter_bytes(),
        connection_sparsity=round(zeros / weights, 4) if weights else 0.0,
        activation_sparsity=(places - sum(int(s.sum()) for s in spiked)) / places if places else 0,
        synaptic_operations=_operations(network, samples, run),
        membrane_updates=sum(map(_updates, run.membranes.values())) / run.windows,
    )


def _operations(network: Network, samples: NDArray, run: Run) -> SynapticOperations:
    with np.errstate(over="ignore"):
        entry = prepared(network, check_samples(network, samples))
    effective = {True: 0, False: 0}  # by whether samples are multiplied
    for p in network.projections:
        inputs = entry if p.source == network.input.name else run.spikes[p.source]
        heard = inputs[:, : run.steps - p.delay]
        active = np.count_nonzero(heard, axis=(0, 1))
        effective[network.multiplies(p)] += int(active @ p.fan_outs)
    return SynapticOperations(
        Effective_MACs=effective[True] / run.windows,
        Effective_ACs=effective[False] / run.windows,
        Dense=float(sum(map(_weights, network.projections)) * run.steps),
    )


def _weights(p: Projection) -> int:
    """Zeros included; shared ones count for every target."""
    return int(p.row_sums(np.ones_like(p.weight, np.int64)).sum())


def _updates(membranes: NDArray) -> int:
    """In all windows; membranes are ``[B, T, neurons]``."""
    return membranes[:, 0].size + int(np.count_nonzero(membranes[:, 1:] != membranes[:, :-1]))
