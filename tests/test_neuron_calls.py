"""The calls of populations, and their parameters as kernels read them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from exactness import kernels_and_memory
from networks import (
    cuba,
    feed_forward,
    integer_toy,
    l2mu,
    lif,
    narrow,
    planned,
)
from programs import data, kernels, record

from l2mu_compile.lowering import lower
from l2mu_compile.neuron_calls import number
from l2mu_compile.neurons import CuBaLIF
from l2mu_compile.program import Place


def test_currents_go_to_the_synapse_of_a_current_based_neuron() -> None:
    program = lower(planned(feed_forward(cuba(reset="clamp"))))
    assert kernels(program)[:2] == ["input_f32", "fire_synaptic_clamp_f32"]
    assert program.step[0].arguments[1] == Place("h_synapse")
    places = (Place("h_membrane"), Place("h_synapse"), Place("h_spikes"))
    assert program.step[1].arguments[1:] == places


@pytest.mark.parametrize("quantized", [False, True])
def test_a_window_starts_with_the_biases(quantized: bool) -> None:
    network = planned(l2mu(rule="max_membrane"), quantized)
    assert [(call.kernel, call.owner) for call in lower(network).reset] == [
        *(
            (f"l2mu_add_bias_{number(network, network.population(name))}", name)
            for name in ("enc", "out")
        ),
        ("l2mu_fill_i32" if quantized else "l2mu_fill_f32", "readout"),
    ]


def test_narrow_parameters_are_as_their_kernels_read_them() -> None:
    """Decays are Q16, and arrays are filled up with what does nothing."""
    network = kernels_and_memory(narrow(9, "subtract", scalar=False))
    hidden, program = network.population("h"), lower(network)
    fields = record(program, "h_neurons")
    assert (fields["size"], fields["beta_step"]) == (9, 1)
    assert "low" not in fields
    beta, threshold = data(program, "h_beta"), data(program, "h_threshold")
    assert beta.tolist() == [*(2 * hidden.neuron.beta).tolist(), *7 * [0]]
    assert hidden.neuron.threshold.tolist()[::7] == [25_000, 25_000]
    reachable = np.minimum(hidden.neuron.threshold, 2**13 - 1)  # no membrane is above
    assert threshold.tolist() == [*reachable.tolist(), *7 * [2**15 - 1]]
    assert data(program, "h_bias").tolist() == [*hidden.bias.tolist(), *7 * [0]]
    assert (beta.dtype, threshold.dtype) == (np.int32, np.int16)
    one = lower(kernels_and_memory(narrow(9, "subtract", scalar=True)))
    assert data(one, "h_beta").size == 1
    assert data(one, "h_threshold").size == 16


def test_narrow_decays_are_all_one_for_every_neuron_or_all_one_for_each() -> None:
    """Whichever of them is which in the network."""
    alpha, beta = np.int32(1000), np.int32(np.arange(9))
    for decays in ((alpha, beta), (beta, alpha), (beta, beta), (alpha, alpha)):
        neuron = CuBaLIF(*decays, np.int32(50))
        network = narrow(9, "subtract", scalar=True, kind=CuBaLIF).map_populations(
            lambda p, neuron=neuron: replace(p, neuron=neuron) if p.name == "h" else p
        )
        program = lower(kernels_and_memory(network))
        fields = record(program, "h_neurons")
        each = any(decay.ndim for decay in decays)
        assert fields["beta_step"] == each
        for name, decay in zip(("alpha", "beta"), decays, strict=True):
            wanted = np.broadcast_to(2 * decay, 9 if each else 1)
            assert data(program, f"h_{name}").tolist() == [*wanted.tolist(), *7 * each * [0]]


def test_parameters_say_whether_there_is_one_for_each_neuron() -> None:
    network = feed_forward(lif([0.5, 0.25, 0.75], 1))
    network = network.replace(populations=(network.populations[0], feed_forward().populations[1]))
    program = lower(planned(network))
    assert record(program, "h_neurons")["beta_step"] == 1
    assert record(program, "h_neurons")["threshold_step"] == 0
    assert record(program, "h_neurons")["bias"] is None


def test_integer_neurons_carry_their_saturation() -> None:
    fields = record(lower(kernels_and_memory(integer_toy())), "h_neurons")
    assert (fields["low"], fields["high"], fields["bias"]) == (-(2**15), 2**15 - 1, "h_bias")
