"""Neurons of NIR graphs: spike for spike what their equations say, or who wrote the file meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nir_graphs import (
    DT,
    FLAT,
    ORDER,
    Simulation,
    braille,
    cuba,
    events,
    f32,
    li,
    lif,
    spread,
    written,
)
from nir_imports import RULES, agrees, layer, read

from l2mu_compile.interpreter import run
from l2mu_compile.neurons import LI, LIF, CuBaLIF

RANGE = np.linspace(0.5, 1.5, 5)
NODES = {
    "lif": lif(5, tau=4e-4 * RANGE, threshold=0.7 * RANGE),
    "resistance": lif(5, r=4 * RANGE),
    "leak": lif(5, v_leak=0.4 * RANGE),
    "reset": lif(5, v_reset=-0.5 * RANGE),
    "leak and reset": lif(5, v_leak=0.2 * RANGE, v_reset=0.3 * RANGE),
    "cuba": cuba(5, tau_syn=3e-4 * RANGE, tau_mem=4e-4 * RANGE, v_threshold=RANGE),
    "gains": cuba(5, r=3 * RANGE, w_in=2.5 / RANGE),
    "if": nir.IF(r=f32(RANGE), v_threshold=f32(RANGE), v_reset=spread(0, 5)),
    "if to elsewhere": nir.IF(r=f32(RANGE), v_threshold=f32(RANGE), v_reset=f32(-RANGE / 4)),
}


@pytest.mark.parametrize("reset", RULES)
@pytest.mark.parametrize("name", NODES)
def test_neurons_spike_as_their_equations_say(tmp_path: Path, name: str, reset: str) -> None:
    nodes, edges, order = layer(NODES[name])
    network = read(written(tmp_path / "a.nir", nodes, edges), f"reset={RULES[reset]}")
    agrees(network, Simulation(nodes, edges, order, reset), {"n": "n"}, 4)


@pytest.mark.parametrize(
    ("node", "reset"),
    [
        (lif(5, v_leak=0.4 * RANGE, v_reset=0.4 * RANGE), "zero"),
        (lif(5, v_leak=0.4 * RANGE, v_reset=-0.2 * RANGE), "zero"),
        (lif(5, v_leak=0.4 * RANGE), "subtract"),
        (cuba(5, v_leak=0.4, v_reset=0.4), "zero"),
    ],
)
def test_membranes_that_start_at_the_leak_potential(tmp_path: Path, node: Any, reset: str) -> None:
    nodes, edges, order = layer(node)
    said = f"start=leak,reset={RULES[reset]}"
    network = read(written(tmp_path / "a.nir", nodes, edges), said)
    simulation = Simulation(nodes, edges, order, reset, "leak")
    agrees(network, simulation, {"n": "n"}, 4)


def test_a_threshold_is_a_neuron_that_forgets(tmp_path: Path) -> None:
    nodes, edges, _ = layer(nir.Threshold(f32(0.5 * RANGE)))
    network = read(written(tmp_path / "a.nir", nodes, edges))
    x = events(50, 4)
    found = run(network, x[None], ("spikes",)).spikes["n"][0]
    current = x.astype(np.float64) @ nodes["fc"].weight.T.astype(np.float64) + nodes["fc"].bias
    assert np.array_equal(found, current > nodes["n"].threshold)
    assert 0 < found.mean() < 1


@pytest.mark.parametrize(
    "node",
    [li(5, tau=4e-4 * RANGE), li(5, leak=RANGE), nir.I(f32(RANGE))],
    ids=("tau", "leak", "i"),
)
def test_integrators_are_read_by_their_membranes(tmp_path: Path, node: Any) -> None:
    nodes, edges, order = layer(node)
    network = read(written(tmp_path / "a.nir", nodes, edges))
    assert network.readout.rule == "last_membrane"
    assert isinstance(network.populations[0].neuron, LI)
    x = events(40, 4)
    found = run(network, x[None], ("membranes",)).membranes["n"][0]
    if isinstance(node, nir.I):
        row = x.astype(np.float64) @ nodes["fc"].weight.T.astype(np.float64) + nodes["fc"].bias
        expected = np.cumsum(node.r * row, axis=0)
    else:
        expected = Simulation(nodes, edges, order).run(x)["n"]
    assert np.allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_an_integrator_whose_current_is_gone_after_a_step(tmp_path: Path) -> None:
    ones = spread(1, 5)
    current = nir.CubaLI(DT * ones, 5e-4 * ones, 5 * ones, 0 * ones, ones)
    plain = li(5)
    found, expected = (
        read(written(tmp_path / f"{i}.nir", *layer(node)[:2]), name="a")
        for i, node in enumerate((current, plain))
    )
    assert found == expected


def test_what_is_no_neurons_output_is_an_integrator_without_memory(tmp_path: Path) -> None:
    nodes = braille()
    del nodes["lif2"]
    edges = [e for e in FLAT if "lif2" not in e] + [("fc2", "output")]
    network = read(written(tmp_path / "a.nir", nodes, edges))
    assert network.population("output").neuron == LI(f32(0))
    assert network.readout.rule == "mean_membrane"
    order = [name for name in ORDER if name != "lif2"]
    x = events(60, 6)
    expected = Simulation(nodes, edges, order).run(x)["fc2"]
    found = run(network, x[None], ("membranes",))
    assert np.allclose(found.membranes["output"][0], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("said", "beta", "gain", "reset"),
    [
        ("producer=snntorch", 0.8, 1.0, "subtract"),
        ("producer=norse,dt=1e-4", 0.8, 1.0, "zero"),
        ("producer=sinabs,dt=1e-4", np.exp(-0.2), 5 * (1 - np.exp(-0.2)), "subtract_first"),
        ("producer=rockpool,dt=1e-4", np.exp(-0.2), 1.0, "subtract_first"),
        ("producer=lava,dt=1e-4", 0.8, 5.0, "zero"),
    ],
)
def test_producers_of_lif_nodes(
    tmp_path: Path, said: str, beta: float, gain: float, reset: str
) -> None:
    nodes, edges, _ = layer(lif(5))
    network = read(written(tmp_path / "a.nir", nodes, edges), said)
    neuron = network.populations[0].neuron
    assert isinstance(neuron, LIF)
    assert (neuron.beta, neuron.reset) == (pytest.approx(beta, rel=1e-6), reset)
    weights = nodes["fc"].weight * gain
    assert np.allclose(network.projections[0].weight, weights, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("said", "beta", "gain"),
    [
        ("producer=norse,dt=1e-4", 0.8, 1.0),
        ("producer=sinabs,dt=1e-4", np.exp(-0.2), 5.0),
        ("producer=rockpool,dt=1e-4", np.exp(-0.2), np.exp(-0.2)),
        ("producer=lava,dt=1e-4", 0.8, 5.0),
    ],
)
def test_producers_of_li_nodes(tmp_path: Path, said: str, beta: float, gain: float) -> None:
    nodes, edges, _ = layer(li(5))
    network = read(written(tmp_path / "a.nir", nodes, edges), said)
    assert network.populations[0].neuron.beta == pytest.approx(beta, rel=1e-6)
    weights = nodes["fc"].weight * gain
    assert np.allclose(network.projections[0].weight, weights, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("said", "decays", "gain"),
    [
        ("producer=snntorch", (0.5, 0.8), 1.0),
        ("producer=sinabs,dt=1e-4", np.exp([-0.5, -0.2]), 5 * (1 - np.exp(-0.2)) * np.exp(-0.5)),
        ("producer=rockpool,dt=1e-4", np.exp([-0.5, -0.2]), np.exp(-0.5)),
        ("producer=lava,dt=1e-4", (0.5, 0.8), 5.0),
    ],
)
def test_producers_of_cuba_nodes(tmp_path: Path, said: str, decays: Any, gain: float) -> None:
    nodes, edges, _ = layer(cuba(5))
    network = read(written(tmp_path / "a.nir", nodes, edges), said)
    neuron = network.populations[0].neuron
    assert isinstance(neuron, CuBaLIF)
    assert np.allclose((neuron.alpha, neuron.beta), decays, rtol=1e-6, atol=0)
    weights = nodes["fc"].weight * gain
    assert np.allclose(network.projections[0].weight, weights, rtol=1e-6, atol=0)


def test_clamp_is_for_neurons_with_a_current(tmp_path: Path) -> None:
    nodes = braille() | {"lif2": lif(4)}
    network = read(written(tmp_path / "a.nir", nodes, FLAT), "reset=clamp")
    assert [p.neuron.reset for p in network.populations] == ["clamp", "zero"]


def test_decays_at_the_ends(tmp_path: Path) -> None:
    with np.errstate(divide="ignore"):
        tau = f32(DT) / (1 - f32([0, 0.5, 0.9, 1]))
    nodes, edges, _ = layer(lif(4, tau=tau), size=4)
    network = read(written(tmp_path / "a.nir", nodes, edges))
    assert network.populations[0].neuron.beta.tolist() == f32([0, 0.5, 0.9, 1]).tolist()
    assert network.projections[0].weight.tobytes() == nodes["fc"].weight.tobytes()


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=5))
def test_decays_as_snntorch_writes_them(decays: list[float]) -> None:
    from l2mu_compile.nir_reading import PRODUCERS

    beta = f32(decays)
    with np.errstate(divide="ignore"):
        tau = 1e-4 / (1 - beta)
    assert tau.dtype == np.float32
    found = f32(np.maximum(PRODUCERS["snntorch"].decay(tau, 1e-4), 0))
    assert (np.abs(found.astype(np.float64) - beta) <= 2.0**-23).all()
    high = beta >= 0.625
    assert np.array_equal(found[high], beta[high])
