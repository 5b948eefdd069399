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
    ends,
    events,
    f32,
    graphs,
    li,
    lif,
    written,
)
from nir_imports import RULES, agrees, imported, layer, read

from l2mu_compile.interpreter import run
from l2mu_compile.neurons import CuBaLIF

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


def test_readout_is_the_users_to_say(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nir", braille(), FLAT)
    assert read(path).readout.rule == "spike_count"
    assert read(path, readout="max_membrane").readout.rule == "max_membrane"
    nodes, edges, _ = layer(li(5))
    path = written(tmp_path / "b.nir", nodes, edges)
    assert imported(path).notes[-1] == "decides by last_membrane of n"
    assert read(path, readout="max_membrane").readout.rule == "max_membrane"
