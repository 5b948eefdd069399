"""A step as ONNX nodes, in ONNX Runtime, from every state the interpreter was in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import drawn_networks
import networks
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import chain, cuba, f32, feed_forward, late_reader, li, lif, narrow, recurrent
from onnx_graphs import compare_floats, forced, steps_of, window_of, zeros_of

from l2mu_compile.convolution import Convolution
from l2mu_compile.interpreter import run
from l2mu_compile.network import Input, Network, Population, Readout
from l2mu_compile.neurons import LIF, CuBaLIF
from l2mu_compile.onnx_export import to_onnx
from l2mu_compile.projection import Projection

QUARTERS = {
    "feed forward": feed_forward(),
    "recurrent": recurrent(),
    "late reader": late_reader(),
    "chain": chain(),
    "currents": feed_forward(cuba(0.5, 0.5)),
    "integrator": feed_forward().replace(
        populations=(Population("h", (3,), lif()), Population("out", (2,), li())),
        readout=Readout("out", "max_membrane"),
    ),
}
SPIKING = [(LIF, reset) for reset in LIF.resets] + [(CuBaLIF, reset) for reset in CuBaLIF.resets]


def assert_equal(network: Network, x: np.ndarray) -> None:
    """Step by step and from each state alone, everything is the interpreter's, bit for bit."""
    told = run(network, x, record=("membranes", "spikes"))
    alone = forced(network, x, told)
    after = steps_of(network, x, zeros_of(network, len(x)))
    for p in network.populations:
        kinds = {"membrane.next": told.membranes, "synapse.next": told.synapses}
        for kind, recorded in {**kinds, "spikes": told.spikes}.items():
            name = f"{p.name}.{kind}"
            if name in alone:
                assert (alone[name] == recorded[p.name]).all(), name
                stepped = np.stack([step[name] for step in after], axis=1)
                assert (stepped == recorded[p.name]).all(), name


@pytest.mark.parametrize("name", QUARTERS)
def test_floats_that_are_not_rounded_are_equal(name: str) -> None:
    network = QUARTERS[name]
    x = np.round(4 * networks.samples(network, steps=10)) / f32(4)
    assert_equal(network, x)


@pytest.mark.parametrize("kind, reset", SPIKING)
@pytest.mark.parametrize("scalar", [True, False])
def test_every_reset_of_integers(kind: type, reset: str, scalar: bool) -> None:
    network = narrow(9, reset, scalar, kind=kind)
    x = networks.samples(network, steps=20)
    assert_equal(network, x)
    assert any(run(network, x).spike_totals.values())


@pytest.mark.parametrize("kind, reset", SPIKING)
def test_every_reset_of_floats(kind: type, reset: str) -> None:
    def neuron(count: int) -> Any:
        decays = [f32(np.linspace(0.1, 1, count)) for _ in kind.decays]
        return kind(*decays, f32(0.5), reset)

    network = networks.l2mu(neuron)
    assert compare_floats(network, networks.samples(network, windows=8, steps=40)) > 0.9


@pytest.mark.parametrize("bits", [16, 17, 30])
def test_decays_of_wide_membranes(bits: int) -> None:
    """The largest and the least membranes there are, decayed by all there is."""
    top = 2 ** (bits - 1)
    neuron = LIF(np.int32([0, 1, 16385, 32767, 32768]), np.int32(top - 1), "none")
    network = networks.integer_toy()
    nothing = replace(network.projections[0], weight=np.zeros((5, 2), np.int8), shift=None)
    network = network.replace(
        populations=(Population("h", (5,), neuron, membrane_bits=bits),),
        projections=(nothing,),
        readout=Readout("h"),
    )
    states = zeros_of(network, 4)
    states["h.membrane"] = np.int32([[-top] * 5, [top - 1] * 5, [-1] * 5, [1 - top] * 5])
    found = steps_of(network, np.zeros((4, 1, 2), np.float32), states)[0]["h.membrane.next"]
    wide = states["h.membrane"].astype(np.int64) * neuron.beta
    assert (found == wide >> 15).all()


@settings(max_examples=60)
@given(st.data())
def test_random_integer_networks_are_equal(data: st.DataObject) -> None:
    network = data.draw(drawn_networks.integer_networks())
    x = data.draw(drawn_networks.windows_for(network, finite=False))
    told = run(network, x, record=("membranes", "spikes"))
    found = forced(network, x, told)
    for name, recorded in told.membranes.items():
        assert (found[f"{name}.membrane.next"] == recorded).all(), name
    for name, recorded in told.synapses.items():
        assert (found[f"{name}.synapse.next"] == recorded).all(), name
    outcome = window_of(network, x)
    assert (outcome["window.scores"] == told.scores).all()
    assert (outcome["window.decision"] == told.decisions).all()
    if network.readout.margins:
        assert (outcome["window.needed"][:, 0] == told.needed).all()


@settings(max_examples=60)
@given(st.data())
def test_random_float_networks_differ_by_rounding(data: st.DataObject) -> None:
    network = data.draw(drawn_networks.float_networks())
    compare_floats(network, data.draw(drawn_networks.windows_for(network)))


def test_samples_are_rounded_as_the_interpreter_does() -> None:
    """Around halves, at the ends of int16, and what is no number."""
    network = networks.integer_toy()
    network = network.replace(input=replace(network.input, fraction=0))
    halves = np.float32([0.5, 1.5, 2.5, 16383.5, 32766.5, 32767.5, 1e30, np.inf, 1e-45])
    near = [np.nextafter(halves, np.float32(to)) for to in (-np.inf, np.inf)]
    values = np.concatenate([*near, halves, -halves, *(-n for n in near), [np.nan, 0.0, -0.0]])
    x = np.stack([values, np.roll(values, 1)], axis=-1).astype(np.float32)[:, None]
    assert_equal(network, x)


def test_values_are_named() -> None:
    graph = to_onnx(networks.l2mu()).graph
    names = ["enc", "u", "m", "h", "out"]
    states = [*(f"{name}.membrane" for name in names), "readout.scores"]
    assert [i.name for i in graph.input] == [*states, "x"]
    after = [f"{state}.next" for state in states]
    assert [o.name for o in graph.output] == after + [f"{name}.spikes" for name in names]
    assert all(node.name == node.output[0] for node in graph.node)
    kinds = "Add Mul Sub Where Greater Cast MatMul Reshape Identity".split()
    assert {node.op_type for node in graph.node} == set(kinds)


@pytest.mark.parametrize("quantized", [False, True], ids=["float32", "int8"])
def test_convolutions_are_matrices(quantized: bool) -> None:
    made = Convolution((2, 6, 5), (3, 3, 3), (2, 2), (1, 1))
    after = Convolution((3, 3, 3), (4, 3, 3), padding=(1, 1))
    rng = np.random.default_rng(4)
    network = Network(
        "maps",
        Input("x", 60),
        (Population("a", (27,), networks.lif(0.75)), Population("b", (36,), networks.lif(0.5))),
        (
            Projection("x", "a", f32(rng.normal(0.1, 0.4, (3, 2, 3, 3))), convolution=made),
            Projection("a", "b", f32(rng.normal(0.1, 0.4, (4, 3, 3, 3))), convolution=after),
        ),
        Readout("b"),
    )
    x = networks.samples(network, steps=15)
    if quantized:
        assert_equal(networks.planned(network, True, x), x)
    else:
        assert compare_floats(network, x) > 0.9
    assert all(run(network, x).spike_totals.values())
