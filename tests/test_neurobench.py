"""NeuroBench's metrics: counted by hand, and as the ``neurobench`` package measures a module."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models import leaky, synaptic
from networks import f32, feed_forward, li, lif, recurrent, samples
from snntorch import SpikingNeuron
from torch import nn

from l2mu_compile.checkpoint import load_checkpoint
from l2mu_compile.frontend import from_module, load_model
from l2mu_compile.interpreter import Run, run
from l2mu_compile.network import Input, Network, Population, Readout
from l2mu_compile.neurobench import neurobench
from l2mu_compile.projection import Projection
from l2mu_compile.report import NeuroBench
from l2mu_compile.windows import load_windows

EXAMPLE = Path(__file__).parent.parent / "examples/har_smartwatch"
BOOKKEEPING = ("graded_spikes_factor", "reset_mechanism_val")  # of snnTorch, for every module


def recorded(network: Network, x: np.ndarray) -> Run:
    return run(network, x, record=("spikes", "membranes"))


def measured(network: Network, x: np.ndarray) -> NeuroBench:
    return neurobench(network, x, recorded(network, x))


# ---- by hand ----


def test_by_hand() -> None:
    """One channel drives two neurons; the first spikes in every step, and drives the output."""
    network = Network(
        "toy",
        Input("x", 2),
        (Population("h", (2,), lif(0.0, 0.5, "none")), Population("out", (1,), lif(0.0, 0.5))),
        (Projection("x", "h", f32([[1, 0], [0.25, 1]])), Projection("h", "out", f32([[0.25, 1]]))),
        Readout("out"),
    )
    found = measured(network, f32([[[1, 0]] * 4, [[1, 0], [0, 0], [0, 0], [0, 0]]]))
    # Five weights and, of each population, beta and threshold.
    assert found.footprint == 4 * (4 + 2 + 2 + 2)
    assert found.connection_sparsity == round(1 / 6, 4)
    assert found.activation_sparsity == 1 - 5 / (3 * 8)
    # Of a window: 5 of 8 samples of channel 0, which has 2 weights; 5 spikes of 1 weight each.
    assert found.synaptic_operations.Effective_MACs == 5 * 2 / 2
    assert found.synaptic_operations.Effective_ACs == 5 / 2
    assert found.synaptic_operations.Dense == 4 * (4 + 2)
    # All three in the first step; in the second window all go back to 0 after it.
    assert found.membrane_updates == (3 + 3 + 3) / 2


def test_last_spikes_reach_no_one() -> None:
    network = recurrent()
    x = samples(network)
    spikes = run(network, x, record=("spikes",)).spikes["h"]
    active = spikes.sum(axis=(0, 1)).astype(int)
    delayed = spikes[:, :-1].sum(axis=(0, 1))
    loop = np.array([1, 1, 1])  # one weight of every neuron is not zero
    found = measured(network, x).synaptic_operations
    assert found.Effective_ACs * len(x) == (2 * active).sum() + (loop * delayed).sum()


@pytest.mark.parametrize("shared", [True, False])
def test_blocks_work_for_every_cell(shared: bool) -> None:
    block = f32([[1, 0], [0.5, 2]])
    weight = block if shared else np.stack([block] * 3)
    network = Network(
        "blocks",
        Input("x", 6),
        (Population("a", (6,), lif()), Population("b", (6,), lif())),
        (Projection("x", "a", f32(np.eye(6))), Projection("a", "b", weight, blocks=3)),
        Readout("b"),
    )
    x = samples(network)
    found = measured(network, x)
    dense = network.map_projections(
        lambda p: replace(p, weight=p.dense(), blocks=0) if p.blocks else p
    )
    whole = measured(dense, x)
    assert found.synaptic_operations.Effective_ACs == whole.synaptic_operations.Effective_ACs > 0
    assert found.synaptic_operations.Dense == x.shape[1] * (36 + 12)
    zeros, stored = (30 + 1, 40) if shared else (30 + 3, 48)
    assert found.connection_sparsity == round(zeros / stored, 4)


def test_spiking_samples_are_accumulated_and_integrators_left_out() -> None:
    network = feed_forward().replace(input=Input("x", 2, spiking=True))
    network = network.replace(
        populations=(network.populations[0], Population("out", (2,), li())),
        readout=Readout("out", "max_membrane"),
    )
    x = f32(np.random.default_rng(0).random((3, 9, 2)) > 0.5)
    found = measured(network, x)
    spikes = run(network, x, record=("spikes",)).spikes["h"]
    assert found.activation_sparsity == pytest.approx(1 - spikes.mean())
    assert found.synaptic_operations.Effective_MACs == 0
    assert found.synaptic_operations.Effective_ACs * 3 == x.sum() * 2 + spikes.sum() * 2


# ---- as the package has it ----


class Layers(nn.Module):
    """``Linear`` and neurons in turn, one step a call as NeuroBench calls it; with a loop around
    the first layer, if that is asked for."""

    def __init__(self, make: Any, sizes: tuple[int, ...], loop: bool, **options: Any) -> None:
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(sizes))
        self.neurons = nn.ModuleList(make(**options) for _ in sizes[1:])
        self.loop = nn.Linear(sizes[1], sizes[1], bias=False) if loop else None

    def reset(self) -> None:
        self.states: list[tuple[Any, ...]] = [_state(neuron) for neuron in self.neurons]
        self.last: torch.Tensor | None = None

    def forward(self, sample: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        for k, (linear, neuron) in enumerate(zip(self.linears, self.neurons, strict=True)):
            current = linear(sample)
            if k == 0 and self.loop is not None:
                if self.last is None:
                    self.last = torch.zeros_like(current)
                current = current + self.loop(self.last)
            sample, *self.states[k] = neuron(current, *self.states[k])
            if k == 0:
                self.last = sample
        return sample, self.states[-1][-1]


class Whole(nn.Module):
    """The same, a window a call, as this package takes it."""

    def __init__(self, layers: Layers) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, window: torch.Tensor) -> torch.Tensor:
        self.layers.reset()
        return torch.stack([self.layers(sample)[0] for sample in window])


def _state(neuron: SpikingNeuron) -> tuple[Any, ...]:
    found = neuron.reset_mem()
    return found if isinstance(found, tuple) else (found,)


def package(net: nn.Module, x: np.ndarray, whole: bool = False) -> dict[str, Any]:
    """What ``neurobench`` says of a module, on all windows in two batches."""
    pytest.importorskip(
        "neurobench", reason="neurobench is not installed: pip install --no-deps neurobench"
    )
    from neurobench.benchmarks import Benchmark
    from neurobench.metrics.static import ConnectionSparsity, Footprint
    from neurobench.metrics.workload import ActivationSparsity, MembraneUpdates, SynapticOperations
    from neurobench.models import SNNTorchModel
    from torch.utils.data import DataLoader, TensorDataset

    data = TensorDataset(torch.from_numpy(x), torch.zeros(len(x), dtype=torch.int64))
    static = [Footprint, ConnectionSparsity]
    workload = [ActivationSparsity, SynapticOperations, MembraneUpdates]
    loader = DataLoader(data, batch_size=len(x) // 2)
    with torch.no_grad():
        model = SNNTorchModel(net, custom_forward=whole)
        benchmark = Benchmark(model, loader, [], [], [static, workload])
        return benchmark.run(quiet=True)


@pytest.mark.parametrize("loop", [False, True], ids=["feed-forward", "recurrent"])
@pytest.mark.parametrize("make", [leaky, synaptic])
@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_the_package_says_the_same(make: Any, reset: str, loop: bool) -> None:
    decays = {"beta": 0.5} if make is leaky else {"alpha": 0.5, "beta": 0.5}
    layers = Layers(make, (4, 9, 7, 3), loop, reset_mechanism=reset, **decays).eval()
    random = np.random.default_rng(0)
    for tensor in layers.parameters():  # so that sums are the same in every order
        tensor.data = torch.from_numpy(f32(random.integers(-12, 21, tensor.shape) / 16))
    x = f32(random.integers(-8, 9, (10, 12, 4)) / 4)
    x[:, :, 0] *= random.random((10, 12)) < 0.5
    network = from_module(Whole(layers), inputs=4, time_first=True).network
    ours, theirs = measured(network, x), package(layers, x)
    assert 0.1 < ours.activation_sparsity < 0.99
    assert theirs["ActivationSparsity"] == pytest.approx(ours.activation_sparsity, abs=1e-12)
    assert theirs["ConnectionSparsity"] == ours.connection_sparsity > 0
    assert theirs["SynapticOperations"] == ours.synaptic_operations.model_dump()
    assert theirs["MembraneUpdates"] == ours.membrane_updates
    assert theirs["Footprint"] == ours.footprint + bookkeeping(layers)


def bookkeeping(module: nn.Module) -> int:
    """Bytes that snnTorch keeps beside a neuron's parameters."""
    kept = sum(
        tensor.numel() * tensor.element_size()
        for name, tensor in module.named_buffers()
        if name.rpartition(".")[2] in BOOKKEEPING
    )
    assert kept == 12 * sum(isinstance(part, SpikingNeuron) for part in module.modules())
    return kept


class BatchFirst(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, windows: torch.Tensor) -> Any:
        return self.model(windows.transpose(0, 1))


def test_the_package_says_the_same_of_the_example() -> None:
    """But for rounding, and synapses that are no ``nn.Linear``."""
    model = load_checkpoint(EXAMPLE / "har.ckpt", None).model.eval()
    network = load_model(EXAMPLE / "har.ckpt").network
    x = load_windows(EXAMPLE / "calibration.npz").first(8).x
    theirs, did = package(BatchFirst(model), x, whole=True), recorded(network, x)
    ours = neurobench(network, x, did)
    assert theirs["Footprint"] == ours.footprint + bookkeeping(model)
    assert theirs["ActivationSparsity"] == pytest.approx(ours.activation_sparsity, rel=1e-4)
    assert theirs["MembraneUpdates"] == pytest.approx(ours.membrane_updates, rel=1e-3)
    layers = ("hidden_encoder_list.x", "encoder.hidden_encoder_list", "decoder.encoder", "output.h")
    seen = network.replace(projections=tuple(p for p in network.projections if p.name in layers))
    ours = neurobench(seen, x, did)
    assert theirs["ConnectionSparsity"] == ours.connection_sparsity
    operations = ours.synaptic_operations
    assert theirs["SynapticOperations"]["Effective_MACs"] == operations.Effective_MACs
    assert theirs["SynapticOperations"]["Dense"] == operations.Dense
    found = theirs["SynapticOperations"]["Effective_ACs"]
    assert found == pytest.approx(operations.Effective_ACs, rel=1e-3)
