"""snnTorch's own NIR exporter and importer, run beside ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import snntorch as snn
import torch
from networks import f32, feed_forward, lif
from nir_graphs import events
from numpy.typing import NDArray
from snntorch import utils
from snntorch.export_nir import export_to_nir
from snntorch.import_nir import import_from_nir
from torch import Tensor, nn

from l2mu_compile.frontend import from_module
from l2mu_compile.interpreter import run
from l2mu_compile.nir_export import write_nir
from l2mu_compile.nir_import import import_nir
from l2mu_compile.nir_reading import parse_options


def per_neuron(values: Any, size: int) -> Tensor:
    return torch.tensor(f32(np.broadcast_to(f32(values), size)))


class Layers(nn.Module):
    """Linear layers with neurons of snnTorch between them, stepped by ``run_own``."""

    def __init__(self, first: nn.Module, last: nn.Module, inputs: int, hidden: int, outputs: int):
        super().__init__()
        torch.manual_seed(7)
        self.fc1, self.lif1 = nn.Linear(inputs, hidden), first
        self.fc2, self.lif2 = nn.Linear(hidden, outputs), last
        for layer in (self.fc1, self.fc2, getattr(first, "recurrent", None)):
            if layer is not None:
                nn.init.normal_(layer.weight, 0.0, 0.6)
                nn.init.normal_(layer.bias, 0.0, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        return self.lif2(self.fc2(self.lif1(self.fc1(x))))

    def run_own(self, samples: NDArray) -> dict[str, NDArray]:
        """Spikes ``[steps, n]`` of both layers, from a state of zero."""
        utils.reset(self)
        kept: dict[str, list[NDArray]] = {"lif1": [], "lif2": []}
        with torch.no_grad():
            for row in torch.tensor(samples)[:, None]:
                hidden = self.lif1(self.fc1(row))
                kept["lif1"].append(hidden.numpy()[0])
                kept["lif2"].append(self.lif2(self.fc2(hidden)).numpy()[0])
        return {name: np.stack(rows) > 0 for name, rows in kept.items()}


BETAS = np.linspace(0.3, 0.95, 12)
COMMON = {"init_hidden": True}


def leaky(size: int, reset: str) -> nn.Module:
    thresholds = per_neuron(np.linspace(0.6, 1.1, size), size)
    return snn.Leaky(per_neuron(BETAS[:size], size), thresholds, reset_mechanism=reset, **COMMON)


def synaptic(size: int, reset: str) -> nn.Module:
    return snn.Synaptic(
        per_neuron(0.6, size),
        per_neuron(BETAS[:size], size),
        per_neuron(1.0, size),
        reset_mechanism=reset,
        **COMMON,
    )


def recurrent_leaky(size: int, reset: str) -> nn.Module:
    return snn.RLeaky(
        per_neuron(0.8, size),
        linear_features=size,
        threshold=per_neuron(1.0, size),
        reset_mechanism=reset,
        **COMMON,
    )


def recurrent_synaptic(size: int, reset: str) -> nn.Module:
    return snn.RSynaptic(
        per_neuron(0.5, size),
        per_neuron(0.8, size),
        linear_features=size,
        threshold=per_neuron(1.0, size),
        reset_mechanism=reset,
        **COMMON,
    )


CASES = [
    (leaky, "subtract", "subtract"),
    (leaky, "zero", "zero"),
    (leaky, "none", "none"),
    (synaptic, "subtract", "subtract"),
    (synaptic, "zero", "clamp"),
    (recurrent_leaky, "subtract", "subtract"),
    (recurrent_synaptic, "subtract", "subtract"),
    (recurrent_synaptic, "zero", "clamp"),
]


@pytest.mark.parametrize(("make", "mechanism", "reset"), CASES)
def test_what_snntorch_exports_spikes_as_in_snntorch(
    tmp_path: Path, make: Any, mechanism: str, reset: str
) -> None:
    module = Layers(make(12, mechanism), leaky(5, mechanism), 6, 12, 5)
    graph = export_to_nir(module, torch.zeros(1, 6), ignore_dims=[0])
    nir.write(tmp_path / "a.nir", graph)
    said = parse_options(f"producer=snntorch,dt=1e-4,reset={reset}")
    network = import_nir(tmp_path / "a.nir", said).network
    assert len(network.populations) == 2
    x = events(60, 6)
    expected = module.run_own(x)
    found = run(network, x[None], ("spikes",)).spikes
    for (name, spikes), population in zip(expected.items(), network.populations, strict=True):
        assert np.array_equal(found[population.name][0], spikes), name
        assert 0 < spikes.mean() < 1


def test_a_traced_module_and_its_export_are_one_network(tmp_path: Path) -> None:
    """The two doors a snnTorch model can come in by."""
    module = Layers(leaky(8, "subtract"), leaky(5, "subtract"), 6, 8, 5)
    nir.write(tmp_path / "a.nir", export_to_nir(module, torch.zeros(1, 6), ignore_dims=[0]))
    exported = import_nir(tmp_path / "a.nir", parse_options("producer=snntorch")).network

    class Looped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = module

        def forward(self, x: Tensor) -> Tensor:
            utils.reset(self)
            return torch.stack([self.layers(step) for step in x])

    traced = from_module(Looped(), inputs=6, time_first=True).network
    assert [p.shape for p in traced.populations] == [p.shape for p in exported.populations]
    for a, b in zip(traced.populations, exported.populations, strict=True):
        assert np.allclose(a.neuron.beta, b.neuron.beta, rtol=0, atol=2.0**-23)
        assert a.neuron.threshold.tolist() == b.neuron.threshold.tolist()
    for p, q in zip(traced.projections, exported.projections, strict=True):
        assert np.allclose(p.weight, q.weight, rtol=0, atol=1e-6)


def test_snntorch_reads_what_is_written_here(tmp_path: Path) -> None:
    """Its importer knows one reset, to zero in the step of the spike, and one threshold a layer."""
    network = feed_forward(lif(0.75, 0.5, "zero"))
    write_nir(network, tmp_path / "a.nir")
    module = import_from_nir(nir.read(tmp_path / "a.nir"))
    x = events(60, 2)
    spikes, state = [], None
    with torch.no_grad():
        for row in torch.tensor(x)[:, None]:
            out, state = module(row, state)
            spikes.append(out.numpy()[0] > 0)
    found = run(network, x[None], ("spikes",)).spikes["out"][0]
    assert np.array_equal(np.stack(spikes), found)
    assert 0 < found.mean() < 1
