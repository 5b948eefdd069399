"""NIR graphs as Networks: spike for spike what a simulation of the graph itself says."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nir_graphs import (
    DT,
    FLAT,
    ORDER,
    Simulation,
    affine,
    braille,
    changed,
    cuba,
    ends,
    events,
    f32,
    graphs,
    li,
    lif,
    spread,
    written,
)

from l2mu_compile.errors import ModelError
from l2mu_compile.interpreter import run
from l2mu_compile.network import Network
from l2mu_compile.neurons import LI, LIF, CuBaLIF
from l2mu_compile.nir_import import Imported, import_nir
from l2mu_compile.nir_reading import parse_options

RULES = {"zero": "zero", "subtract": "subtract_first"}


def imported(path: Path, said: str | None = None, **options: Any) -> Imported:
    return import_nir(path, parse_options(said), **options)


def read(path: Path, said: str | None = None, **options: Any) -> Network:
    return imported(path, said, **options).network


def agrees(
    network: Network, simulation: Simulation, names: dict[str, str], inputs: int, steps: int = 120
) -> None:
    """Every population spikes, and as the simulation's node does."""
    samples = events(steps, inputs)
    expected = simulation.run(samples)
    found = run(network, samples[None], ("spikes",))
    for node, population in names.items():
        assert np.array_equal(found.spikes[population][0], expected[node] > 0), node
        assert 0 < expected[node].mean() < 1, node


NAMES = {"lif1.lif": "lif1_lif", "lif2": "lif2"}


# ---- the published shapes ----------------------------------------------------------------------


@pytest.mark.parametrize("reset", RULES)
@pytest.mark.parametrize("seed", range(3))
def test_recurrent_network_of_the_paper(tmp_path: Path, reset: str, seed: int) -> None:
    nodes = braille(seed)
    network = read(written(tmp_path / "a.nir", nodes, FLAT), f"reset={RULES[reset]}")
    assert [p.name for p in network.populations] == ["lif1_lif", "lif2"]
    assert all(isinstance(p.neuron, CuBaLIF) for p in network.populations)
    loop = network.into("lif1_lif")[1]
    assert (loop.source, loop.delay) == ("lif1_lif", 1)
    agrees(network, Simulation(nodes, FLAT, ORDER, reset), NAMES, 6)


def nested(nodes: dict[str, Any], inner: str = "lif") -> tuple[dict[str, Any], list[Any]]:
    """The same network with its recurrent layer in a graph of its own (``Subgraph_rnn.ipynb``),
    whose edges name its neurons ``inner``."""
    start, end = ends(9, 9)
    cell = {"input": start, "lif": nodes["lif1.lif"], "lin": nodes["lif1.w_rec"], "output": end}
    edges = [("input", inner), (inner, "lin"), ("lin", inner), (inner, "output")]
    graph = nir.NIRGraph(cell, edges, {}, type_check=False)
    outer = {name: nodes[name] for name in ("input", "fc1", "fc2", "lif2", "output")}
    outer["lif1"] = graph
    row = ["input", "fc1", "lif1", "fc2", "lif2", "output"]
    return outer, list(pairwise(row))


@pytest.mark.parametrize("inner", ["lif", "lif1"])
def test_a_subgraph_is_as_good_as_its_nodes(tmp_path: Path, inner: str) -> None:
    nodes = braille()
    flat = read(written(tmp_path / "flat.nir", nodes, FLAT))
    found = imported(written(tmp_path / "nested.nir", *nested(nodes, inner)))
    agrees(found.network, Simulation(nodes, FLAT, ORDER), {**NAMES, "lif1.lif": "lif1_lif"}, 6)
    assert found.network.replace(name="flat") == flat
    put_right = "edges name lif1.lif1, which is no node; taken for lif1.lif"
    assert any(put_right in note for note in found.notes) == (inner != "lif")


def test_shapes_with_axes_of_time_and_batch(tmp_path: Path) -> None:
    nodes = braille() | dict(zip(("input", "output"), ends([256, 6], [1, 1, 4]), strict=True))
    assert read(written(tmp_path / "a.nir", nodes, FLAT)).input.size == 6


def test_parameters_that_are_scalars_for_a_layer(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nir", braille(), FLAT)
    network = read(path)

    def narrowed(file: Any) -> None:
        for name, kept in (("lif1.lif", slice(0, 1)), ("lif2", 0)):
            node = file[f"node/nodes/{name}"]
            for field in ("tau_syn", "tau_mem", "r", "v_leak", "v_threshold", "v_reset", "w_in"):
                values = node[field][()]
                del node[field]
                node[field] = values[kept]

    assert read(changed(path, narrowed)) == network


def test_files_of_old_versions_have_no_reset_potential(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nir", braille(), FLAT)
    network = read(path)

    def age(file: Any) -> None:
        file["version"][()] = "0.1.1"
        for name in ("lif1.lif", "lif2"):
            del file[f"node/nodes/{name}/v_reset"]
            del file[f"node/nodes/{name}/w_in"]
            file[f"node/nodes/{name}/w_in"] = 2.0  # what it is in all neurons

    old = read(changed(path, age))
    assert [p.neuron for p in old.populations] == [p.neuron for p in network.populations]


def test_a_delay_of_one_step_in_a_cycle_is_the_step_there_is_anyway(tmp_path: Path) -> None:
    nodes = braille() | {"wait": nir.Delay(np.full(9, DT))}
    row = [("lif1.lif", "wait"), ("wait", "lif1.w_rec")]
    edges = [*row, *(e for e in FLAT if e != ("lif1.lif", "lif1.w_rec"))]
    found = imported(written(tmp_path / "a.nir", nodes, edges), "producer=nir,dt=1e-4,reset=zero")
    assert found.notes == ()
    agrees(found.network, Simulation(braille(), FLAT, ORDER), NAMES, 6)


def test_a_delay_on_a_way_forward(tmp_path: Path) -> None:
    nodes = braille() | {"wait": nir.Delay(np.full(9, DT))}
    edges = [("lif1.lif", "wait"), ("wait", "fc2"), *(e for e in FLAT if e != ("lif1.lif", "fc2"))]
    order = ["input", "fc1", "lif1.w_rec", "lif1.lif", "wait", "fc2", "lif2", "output"]
    network = read(written(tmp_path / "a.nir", nodes, edges))
    agrees(network, Simulation(nodes, edges, order), NAMES, 6)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(graphs(), st.sampled_from(sorted(RULES)))
def test_any_graph_spikes_as_its_simulation(tmp_path: Path, made: Any, reset: str) -> None:
    nodes, edges, order = made
    path = written(tmp_path / "a.nir", nodes, edges)
    network = read(path, f"producer=nir,dt=1,reset={RULES[reset]}")
    x = events(8, nodes["input"].input_type["input"][0], rate=0.5)
    expected = Simulation(nodes, edges, order, reset, dt=1.0).run(x)
    found = run(network, x[None], ("spikes",)).spikes
    for population in network.populations:
        node = population.name.replace("_", ".")
        assert np.array_equal(found[population.name][0], expected[node] > 0), node


# ---- neurons -----------------------------------------------------------------------------------


def layer(node: Any, size: int = 5, inputs: int = 4, scale: float = 2.0) -> Any:
    """Nodes, edges and order of an affine map and one layer."""
    start, end = ends(inputs, size)
    nodes = {"input": start, "fc": affine(np.random.default_rng(1), size, inputs, scale)}
    nodes |= {"n": node, "output": end}
    order = list(nodes)
    return nodes, list(pairwise(order)), order


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


# ---- nodes without a state ---------------------------------------------------------------------


def test_maps_in_a_row_are_one_projection(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    start, end = ends([2, 3], 4)
    nodes: dict[str, Any] = {"input": start, "flat": nir.Flatten({"input": np.array([2, 3])}, 0)}
    nodes |= {"a": affine(rng, 5, 6), "s": nir.Scale(f32(rng.normal(0, 1, 5)))}
    nodes |= {"b": affine(rng, 4, 5, 4), "n": lif(4), "output": end}
    order = list(nodes)
    edges = list(pairwise(order))
    network = read(written(tmp_path / "a.nir", nodes, edges))
    assert [p.name for p in network.projections] == ["n.input"]
    whole = {"input": start, "one": nir.Affine(*composed(nodes)), "n": nodes["n"], "output": end}
    names = list(whole)
    simulation = Simulation(whole, list(pairwise(names)), names)
    agrees(network, simulation, {"n": "n"}, 6)


def composed(nodes: dict[str, Any]) -> tuple[Any, Any]:
    scale = nodes["s"].scale[:, None] * nodes["a"].weight
    weight = nodes["b"].weight @ scale
    return weight, nodes["b"].weight @ (nodes["s"].scale * nodes["a"].bias) + nodes["b"].bias


def test_parallel_ways_add_up(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    start, end = ends(4, 3)
    nodes = {"input": start, "a": affine(rng, 3, 4, 2), "b": affine(rng, 3, 4, 2)}
    nodes |= {"n": lif(3), "output": end}
    edges = [("input", "a"), ("input", "b"), ("a", "n"), ("b", "n"), ("n", "output")]
    network = read(written(tmp_path / "a.nir", nodes, edges))
    assert len(network.projections) == 1
    agrees(network, Simulation(nodes, edges, list(nodes)), {"n": "n"}, 4)


def test_weights_of_three_axes_are_blocks(tmp_path: Path) -> None:
    start, end = ends(6, 4)
    blocks = f32(np.random.default_rng(5).normal(0, 2, (2, 2, 3)))
    nodes = {"input": start, "w": nir.Linear(blocks), "n": lif(4), "output": end}
    order = list(nodes)
    network = read(written(tmp_path / "a.nir", nodes, list(pairwise(order))))
    assert np.array_equal(network.projections[0].weight, blocks)
    assert network.projections[0].blocks == 2


def test_weights_keep_every_bit(tmp_path: Path) -> None:
    nodes = braille()
    network = read(written(tmp_path / "a.nir", nodes, FLAT))
    first, loop = network.into("lif1_lif")
    assert first.weight.tobytes() == nodes["fc1"].weight.tobytes()
    assert loop.weight.tobytes() == nodes["lif1.w_rec"].weight.tobytes()


# ---- cycles ------------------------------------------------------------------------------------


def test_the_way_back_is_the_late_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    start, end = ends(4, 3)
    nodes = {"input": start, "in": affine(rng, 3, 4, 3), "a": lif(3), "ab": affine(rng, 3, 3, 3)}
    nodes |= {"b": lif(3), "ba": affine(rng, 3, 3, 2), "output": end}
    edges = [("ba", "a"), ("b", "ba"), ("ab", "b"), ("a", "ab"), ("in", "a"), ("input", "in")]
    edges += [("b", "output")]
    found = imported(written(tmp_path / "a.nir", nodes, edges), "dt=1e-4,producer=nir,reset=zero")
    assert found.notes == ("a step late, to close cycles: b -> a",)
    delays = {p.name: p.delay for p in found.network.projections}
    assert delays == {"a.input": 0, "a.b.last": 1, "b.a": 0}
    order = ["input", "in", "ba", "a", "ab", "b", "output"]
    agrees(found.network, Simulation(nodes, edges, order), {"a": "a", "b": "b"}, 4)


# ---- what the file and the user say ------------------------------------------------------------


def test_what_is_assumed_is_said(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nir", braille(), FLAT)
    notes = imported(path).notes
    assert notes[0] == (
        "read as nir means it, dt=0.0001, reset=zero; the file does not say producer, dt, reset "
        "(--nir producer=...)"
    )
    assert imported(path, "producer=snntorch,dt=1e-4,reset=zero").notes == notes[1:]


def test_metadata_says_what_the_user_does_not(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nir", braille(), FLAT, dt=5e-5, reset="subtract", producer="norse")
    found = imported(path)
    assert found.notes == ("a step late, to close cycles: lif1.lif -> lif1.lif",)
    neuron = found.network.population("lif2").neuron
    assert (neuron.beta, neuron.reset) == (pytest.approx(0.9), "subtract")
    told = read(path, "reset=none,dt=1e-4").population("lif2").neuron
    assert told == CuBaLIF(0.5, 0.8, 1.0, "none")


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


def test_readout_is_the_users_to_say(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nir", braille(), FLAT)
    assert read(path).readout.rule == "spike_count"
    assert read(path, readout="max_membrane").readout.rule == "max_membrane"
    nodes, edges, _ = layer(li(5))
    path = written(tmp_path / "b.nir", nodes, edges)
    assert imported(path).notes[-1] == "decides by last_membrane of n"
    assert read(path, readout="max_membrane").readout.rule == "max_membrane"


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


# ---- refusals ----------------------------------------------------------------------------------


def without(*names: str) -> Any:
    return lambda nodes, edges: (nodes, [e for e in edges if not set(e) & set(names)])


def replaced(**fresh: Any) -> Any:
    return lambda nodes, edges: (nodes | fresh, edges)


def joined(*more: tuple[str, str], **fresh: Any) -> Any:
    return lambda nodes, edges: (nodes | fresh, [*edges, *more])


def between(name: str, source: str, target: str, node: Any) -> Any:
    def change(nodes: dict[str, Any], edges: list[tuple[str, str]]) -> Any:
        rest = [e for e in edges if e != (source, target)]
        return nodes | {name: node}, [*rest, (source, name), (name, target)]

    return change


REFUSED = {
    "zero tau": (replaced(lif2=lif(4, tau=[1, 1, 0, 1])), "lif2 (LIF): tau is 0; a time constant"),
    "negative tau": (
        replaced(lif2=cuba(4, tau_syn=[1, -1, 1, 1])),
        "lif2 (CubaLIF): tau_syn is -1; a time constant is above 0",
    ),
    "small tau": (
        replaced(lif2=lif(4, tau=[1, 5e-5, 1, 1])),
        "lif2 (LIF): tau is 5e-05, less than a step of dt=0.0001: its decay would be negative",
    ),
    "endless tau": (
        replaced(lif2=lif(4, tau=np.inf, r=1)),
        "lif2 (LIF): tau is infinite, so that no current would count",
    ),
    "nan": (
        replaced(lif2=lif(4, threshold=[1, np.nan, 1, 1])),
        "lif2 (LIF): v_threshold holds NaN",
    ),
    "nan weight": (
        replaced(fc2=nir.Linear(f32(np.full((4, 9), np.nan)))),
        "fc2 (Linear): weight holds NaN",
    ),
    "nan bias": (
        replaced(fc2=nir.Affine(f32(np.ones((4, 9))), f32([1, np.nan, 1, 1]))),
        "fc2 (Affine): bias holds NaN",
    ),
    "threshold": (replaced(lif2=lif(4, threshold=0)), "lif2 (LIF): v_threshold is 0; neurons that"),
    "few parameters": (
        replaced(
            lif2=nir.IF(spread(1, 4), spread(1, 4), spread(0, 4)), fc2=nir.Linear(np.ones((5, 9)))
        ),
        "fc2 puts out 5 values, lif2 takes 4",
    ),
    "bias": (
        replaced(fc2=nir.Affine(f32(np.ones((4, 9))), f32([1, 1, 1]))),
        "fc2 (Affine): bias has 3 values for 4",
    ),
    "vector": (replaced(fc2=nir.Scale(f32(np.ones(4)))), "lif1.lif puts out 9 values, fc2 takes 4"),
    "input shape": (
        replaced(input=nir.Input(np.array([7]))),
        "input (Input): has shape [7], but its neighbours take it for 6 values",
    ),
    "v_reset": (
        replaced(lif2=cuba(4, v_reset=[0, 0, 0.5, 0])),
        "lif2 (CubaLIF): v_reset is 0.5, not the potential that membranes start at",
    ),
    "v_leak": (
        replaced(lif2=cuba(4, v_leak=[0, -0.25, 0, 0])),
        "lif2 (CubaLIF): v_leak is -0.25: membranes that drift from 0 by themselves are not",
    ),
    "cuba li": (
        replaced(lif2=nir.CubaLI(*(spread(1, 4) for _ in range(4)))),
        "lif2 (CubaLI): a leaky integrator with a synaptic current of its own is not supported",
    ),
    "integrator heard": (
        replaced(**{"lif1.lif": li(9)}),
        "hears lif1.lif, a leaky integrator, which has no spikes; it can only be read out",
    ),
    "cycle": (
        joined(
            ("a", "b"),
            ("b", "a"),
            ("fc1", "a"),
            ("b", "lif1.lif"),
            a=nir.Scale(np.ones(9)),
            b=nir.Scale(np.ones(9)),
        ),
        "a cycle without a neuron: ",
    ),
    "long delay": (
        between("d", "lif1.lif", "fc2", nir.Delay(np.full(9, 3 * DT))),
        "d (Delay): delays by 3 steps of dt=0.0001; none or one, the same for all, is supported",
    ),
    "no delays": (
        between("d", "fc2", "lif2", nir.Delay(np.zeros(0))),
        "d (Delay): delay holds nothing",
    ),
    "mixed delays": (
        between("d", "lif1.lif", "fc2", nir.Delay(np.r_[np.full(8, DT), 0])),
        "d (Delay): delays by ",
    ),
    "late input": (
        between("d", "input", "fc1", nir.Delay(np.full(6, DT))),
        "lif1.lif: hears input 1 steps late; one step is supported, and of spikes, not",
    ),
    "late constant": (
        between("d", "fc2", "lif2", nir.Delay(np.full(4, DT))),
        "d (Delay): a delayed constant would be 0 in the first step",
    ),
    "two inputs": (joined(("i", "fc1"), i=nir.Input(np.array([6]))), "2 Input nodes ("),
    "two outputs": (
        joined(("fc2", "o"), o=nir.Output(np.array([4]))),
        "2 Output nodes (",
    ),
    "nothing arrives": (without("input"), "fc1 (Affine): nothing leads to it"),
    "no way in": (joined(("a", "lif2"), a=lif(4)), "a (LIF): nothing leads to it"),
    "no way out": (joined(("lif1.lif", "a"), a=lif(9)), "a (LIF): leads nowhere"),
    "nowhere": (joined(("fc1", "elsewhere")), "an edge names elsewhere, which is no node"),
    "into the input": (joined(("fc2", "input")), "input: an Input node with an edge to it"),
    "out of the output": (joined(("output", "fc2")), "output: an Output node with an edge from it"),
    "too large": (
        replaced(lif2=lif(4, r=3e38), fc2=nir.Linear(np.full((4, 9), 1e30))),
        "lif2: weights too large for float32",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_the_node_and_the_rule(tmp_path: Path, name: str) -> None:
    change, expected = REFUSED[name]
    path = written(tmp_path / "bad.nir", *change(braille(), list(FLAT)))
    with pytest.raises(ModelError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
