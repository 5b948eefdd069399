"""The networks of the NIR paper, as the files that it published have them, but for their weights:
spike for spike what their equations say, and the same on devices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
from conftest import HostCompiler
from exactness import assert_same_memory
from machines import image_of
from networks import planned
from nir_graphs import DT, FLAT, ORDER, Simulation, braille, changed, cuba, events, scnn, written
from numpy.typing import NDArray

from l2mu_compile.interpreter import run
from l2mu_compile.lowering import lower
from l2mu_compile.network import Network
from l2mu_compile.nir_import import import_nir
from l2mu_compile.nir_reading import parse_options
from l2mu_compile.targets.devices import EmulatedModel
from l2mu_compile.targets.emit_c import state_bytes
from l2mu_compile.targets.registry import get_target

CHANNELS, LETTERS = 12, 7
RATES = (0.02, 0.9)  # that a layer must have for a comparison to say something


def read(path: Path, said: str, name: str) -> Network:
    return import_nir(path, parse_options(said), name=name).network


def spikes_alike(network: Network, expected: dict[str, NDArray], samples: NDArray) -> None:
    """Populations are the simulation's nodes of their names."""
    found = run(network, samples[None], ("spikes",)).spikes
    for name, spikes in found.items():
        node = {"lif1_lif": "lif1.lif"}.get(name, name.removeprefix("p_"))
        wanted = expected[node].reshape(len(samples), -1)
        assert np.array_equal(spikes[0], wanted > 0), node
        assert RATES[0] < wanted.mean() < RATES[1], node


def runs_on_devices(host: HostCompiler, network: Network, samples: NDArray, folder: Path) -> None:
    """On the host, and on an emulated Cortex-M4, in float32 and int8."""
    target = get_target("cortex-m4")
    finals = []
    for bits in ("float32", "int8"):
        named = network.replace(name=f"{network.name}_{bits}")
        finals.append(planned(named, bits == "int8", samples, target.name))
        own = planned(named, bits == "int8", samples)
        assert_same_memory(own, lower(own), host.model(lower(own)), samples)
    programs = [lower(final) for final in finals]
    image = image_of(programs, target, folder)
    for final, program in zip(finals, programs, strict=True):
        model = EmulatedModel(target, image, program.name, program.inputs, state_bytes(program))
        assert_same_memory(final, program, model, samples[:1, :3])


# ---- paper/02_cnn ------------------------------------------------------------------------------

LAYERS = {
    "p_1": "conv[16,2,5,5]",
    "p_3": "conv[16,16,3,3]",
    "p_6": "conv[8,16,3,3]",
    "p_10": "conv[256,8,4,4]",  # a pool and the matrix behind it
    "p_12": "dense[10,256]",
}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, NDArray], NDArray]:
    """The network for N-MNIST, what it does by its definition, and samples: events of the chip."""
    nodes, edges = scnn()
    path = written(tmp_path_factory.mktemp("scnn") / "scnn_mnist.nir", nodes, edges)
    samples = events(6, 2312, rate=0.05)
    return path, Simulation(nodes, edges, list(nodes), "subtract").run(samples), samples


def test_digits_spike_as_the_equations_say(digits: Any) -> None:
    path, expected, samples = digits
    network = read(path, "producer=sinabs", "scnn")
    kinds = [
        ("conv" if p.convolution else "dense", list(p.weight.shape)) for p in network.projections
    ]
    assert [f"{kind}{shape}".replace(" ", "") for kind, shape in kinds] == list(LAYERS.values())
    assert [p.name for p in network.populations] == list(LAYERS)
    spikes_alike(network, expected, samples)


def test_digits_of_an_older_file(digits: Any, tmp_path: Path) -> None:
    """The first versions wrote no reset potential, axes of a batch, and pads as they were given."""
    path, _, _ = digits
    network = read(path, "producer=sinabs", "scnn")

    def age(file: Any) -> None:
        file["version"][()] = "0.2.0"
        for group in file["node/nodes"].values():
            if group["type"][()] == b"IF":
                del group["v_reset"]
                for field in ("r", "v_threshold"):
                    values = group[field][()]
                    del group[field]
                    group[field] = values[None]
            if group["type"][()] == b"Conv2d":
                del group["input_shape"]

    old = tmp_path / "old.nir"
    old.write_bytes(path.read_bytes())
    assert read(changed(old, age), "producer=sinabs", "scnn") == network


def test_digits_run_on_devices(digits: Any, host: HostCompiler, tmp_path: Path) -> None:
    path, _, samples = digits
    runs_on_devices(host, read(path, "producer=sinabs", "scnn"), samples[None], tmp_path)


# ---- paper/03_rnn ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Letters:
    """A published network: how many recurrent neurons it has, and the decays (synapse, membrane) of
    these and of the last layer, as its parameter file says them."""

    hidden: int
    recurrent: tuple[float, float]
    last: tuple[float, float]
    biased: bool
    reset: str

    def nodes(self) -> dict[str, Any]:
        """Without biases there is a Linear for each Affine."""

        def cell(size: int) -> nir.CubaLIF:
            synapse, membrane = self.last if size == LETTERS else self.recurrent
            return cuba(size, tau_syn=DT / (1 - synapse), tau_mem=DT / (1 - membrane))

        nodes = braille(1, 0.6, cell, (CHANNELS, self.hidden, LETTERS))
        if not self.biased:
            maps = ("fc1", "lif1.w_rec", "fc2")
            nodes |= {name: nir.Linear(nodes[name].weight) for name in maps}
        return nodes


BRAILLE = {
    "noDelay_bias_zero": Letters(38, (0.55, 0.9), (0.5, 0.55), True, "zero"),
    "noDelay_noBias_subtract": Letters(40, (0.75, 0.85), (0.45, 0.7), False, "subtract"),
}


@pytest.mark.parametrize("name", BRAILLE)
def test_letters(tmp_path: Path, host: HostCompiler, name: str) -> None:
    made = BRAILLE[name]
    nodes = made.nodes()
    path = written(tmp_path / "braille.nir", nodes, FLAT)
    rule = {"zero": "zero", "subtract": "subtract_first"}[made.reset]
    network = read(path, f"producer=snntorch,reset={rule}", name)
    assert [p.size for p in network.populations] == [made.hidden, LETTERS]
    samples = events(100, CHANNELS)
    spikes_alike(network, Simulation(nodes, FLAT, ORDER, made.reset).run(samples), samples)
    runs_on_devices(host, network, samples[None, :20], tmp_path)
