"""Networks as NIR graphs, and back, bit for bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import drawn_networks
import networks
import nir
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from networks import chain, cuba, f32, feed_forward, late_reader, li, lif, recurrent
from nir_graphs import Simulation, events

from l2mu_compile.errors import ModelError
from l2mu_compile.interpreter import run
from l2mu_compile.network import Input, Network, Population, Readout
from l2mu_compile.neurons import LIF
from l2mu_compile.nir_export import to_nir, write_nir
from l2mu_compile.nir_import import import_nir
from l2mu_compile.nir_reading import parse_options
from l2mu_compile.projection import Projection


def back(network: Network, path: Path) -> Network:
    """``network`` written and read; nothing is left for anybody to assume."""
    write_nir(network, path / "n.nir")
    found = import_nir(path / "n.nir")
    assert found.notes == ()
    return found.network


FIXED = {
    "feed forward": feed_forward(),
    "recurrent": recurrent(),
    "late reader": late_reader(),
    "chain": chain(),
    "l2mu": networks.l2mu(sensors=None),
    "currents": networks.l2mu(
        lambda n: cuba(np.linspace(0, 1, n), 0.5, 0.5, "clamp"), sensors=None
    ),
    "integrators": feed_forward(lif(), "spike_count").replace(
        populations=(Population("h", (3,), lif()), Population("out", (2,), li(0.9))),
        readout=Readout("out", "max_membrane", labels=("no", "yes")),
    ),
    "early": recurrent().replace(readout=Readout("out", margins=(3, 5)), window=20, full_window=30),
}


@pytest.mark.parametrize("name", FIXED)
def test_networks_come_back_as_they_were(tmp_path: Path, name: str) -> None:
    assert back(FIXED[name], tmp_path) == FIXED[name]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn_networks.float_networks())
def test_random_networks_come_back_as_they_were(tmp_path: Path, network: Network) -> None:
    network = network.replace(input=replace(network.input, scale=None, offset=None))
    assume(all(network.into(p.name) for p in network.populations))
    read = network.readout.population
    assume(all(network.out_of(p.name) or p.name == read for p in network.populations))
    assert back(network, tmp_path) == network.replace(stage="traced")


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=6), st.floats(1e-6, 10))
def test_decays_come_back_as_they_were(decays: list[float], dt: float) -> None:
    decays = [d for d in decays if d == 0 or d >= 2.0**-28]
    assume(decays)
    network = Network(
        "n",
        Input("x", len(decays)),
        (Population("p", (len(decays),), LIF(f32(decays), f32(1), "zero")),),
        (Projection("x", "p", f32(np.eye(len(decays)))),),
        Readout("p"),
    )
    with TemporaryDirectory() as folder:
        path = Path(folder) / "n.nir"
        write_nir(network, path, dt)
        found = import_nir(path).network.populations[0].neuron
    assert np.array_equal(np.broadcast_to(found.beta, len(decays)), f32(decays))


def test_files_are_the_same_every_time(tmp_path: Path) -> None:
    paths = tmp_path / "a.nir", tmp_path / "b.nir"
    for path in paths:
        write_nir(recurrent(), path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_the_graph_means_what_the_network_does() -> None:
    weights = np.random.default_rng(3)
    network = recurrent().map_populations(
        lambda p: replace(
            p, neuron=lif(0.75, 0.5, "zero"), bias=f32(weights.normal(0, 0.1, p.size))
        )
    )
    graph = to_nir(network)
    order = ["x", "h.h.last.delay", "h.x", "h.h.last", "h", "out.h", "out", "output"]
    assert set(graph.nodes) == set(order)
    x = events(80, 2)
    expected = Simulation(graph.nodes, graph.edges, order).run(x)
    found = run(network, x[None], ("spikes",)).spikes
    for name in ("h", "out"):
        assert np.array_equal(found[name][0], expected[name] > 0)
        assert 0 < expected[name].mean() < 1


def test_the_nir_package_reads_what_is_written(tmp_path: Path) -> None:
    write_nir(recurrent(), tmp_path / "a.nir", dt=0.001)
    graph = nir.read(tmp_path / "a.nir")
    kinds = {name: type(node).__name__ for name, node in graph.nodes.items()}
    assert kinds == {
        "x": "Input",
        "h": "LIF",
        "out": "LIF",
        "h.x": "Linear",
        "out.h": "Linear",
        "h.h.last": "Linear",
        "h.h.last.delay": "Delay",
        "output": "Output",
    }
    assert graph.nodes["h"].tau.tolist() == pytest.approx([0.002] * 3)
    assert (graph.metadata["producer"], graph.metadata["dt"]) == ("l2mu-compile", 0.001)


def test_neurons_that_do_not_decay_are_integrate_and_fire_nodes() -> None:
    graph = to_nir(feed_forward(lif(1.0)))
    assert isinstance(graph.nodes["h"], nir.IF)


def test_an_option_is_heard_before_what_was_written(tmp_path: Path) -> None:
    write_nir(recurrent(), tmp_path / "a.nir")
    found = import_nir(tmp_path / "a.nir", parse_options("reset=none")).network
    assert {p.neuron.reset for p in found.populations} == {"none"}


def test_metadata_that_does_not_fit_the_graph_is_left_out_of_account(tmp_path: Path) -> None:
    """Another tool may cut a node out and keep the rest."""
    graph = to_nir(recurrent())
    del graph.nodes["h.h.last"], graph.nodes["h.h.last.delay"]
    graph.edges = [e for e in graph.edges if "h.h.last" not in e and "h.h.last.delay" not in e]
    nir.write(tmp_path / "a.nir", graph)
    assert import_nir(tmp_path / "a.nir").network == feed_forward()


def raw() -> Network:
    return feed_forward().replace(input=replace(feed_forward().input, scale=f32(2)))


def deaf() -> Network:
    network = feed_forward()
    return network.replace(projections=network.projections[1:])


REFUSED: dict[str, tuple[Any, str]] = {
    "integers": (networks.integer_toy(), "holds integers, which NIR does not know"),
    "raw samples": (raw(), "reads raw samples, which NIR does not know: apply fold-input"),
    "deaf": (deaf(), "h: hears nothing, which a NIR graph cannot say"),
    "idle": (feed_forward().replace(readout=Readout("h")), "out: leads nowhere, in a NIR graph"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(tmp_path: Path, name: str) -> None:
    network, message = REFUSED[name]
    with pytest.raises(ModelError, match=message):
        write_nir(network, tmp_path / "a.nir")
    assert not list(tmp_path.iterdir())
