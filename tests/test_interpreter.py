"""The interpreter against a naive simulation, against snnTorch, and against numbers by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import snntorch
import torch
from drawn_networks import float_networks, integer_networks, windows_for
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import cuba, f32, feed_forward, i8, integer_toy, l2mu, late_reader, li, lif, samples
from numpy.typing import NDArray
from simulation import assert_as_simulated

from l2mu_compile.errors import ModelError
from l2mu_compile.interpreter import State, run
from l2mu_compile.network import Input, Network, Population, Readout
from l2mu_compile.neurons import LIF, CuBaLIF
from l2mu_compile.projection import Projection
from l2mu_compile.samples import quantize_samples


@settings(max_examples=60)
@given(st.data())
def test_float_networks_run_as_the_docstring_says(data: st.DataObject) -> None:
    network = data.draw(float_networks())
    assert_as_simulated(network, data.draw(windows_for(network, steps=5, finite=False)))


@settings(max_examples=60)
@given(st.data())
def test_integer_networks_run_as_the_docstring_says(data: st.DataObject) -> None:
    network = data.draw(integer_networks())
    assert_as_simulated(network, data.draw(windows_for(network, steps=5, finite=False)))


@pytest.mark.slow
@settings(max_examples=500)
@given(st.data())
def test_many_networks_run_as_the_docstring_says(data: st.DataObject) -> None:
    network = data.draw(st.one_of(float_networks(), integer_networks()))
    assert_as_simulated(network, data.draw(windows_for(network, steps=12, finite=False)))


def test_an_l2mu_runs_as_the_docstring_says() -> None:
    network = l2mu()
    x = samples(network, windows=2, steps=8)
    assert_as_simulated(network, x)
    assert all(run(network, x).spike_totals.values()), "every population should have spiked"


# ---- against snnTorch --------------------------------------------------------------------------

# snnTorch's name for each rule; its Synaptic calls `clamp` zero, and cannot do Leaky's zero.
LEAKY_RESETS = {"subtract": "subtract", "zero": "zero", "none": "none"}
SYNAPTIC_RESETS = {"subtract": "subtract", "clamp": "zero", "none": "none"}
# What it calls them if it resets a neuron in the step of its spike.
EARLY_RESETS = {"subtract_first": "subtract", "zero": "zero"}


def currents(size: int = 6, windows: int = 3, steps: int = 9) -> NDArray:
    """Multiples of 1/8: with decays of 1/2 every sum is exact, whatever its order."""
    rng = np.random.default_rng(5)
    return f32(rng.integers(-8, 16, (windows, steps, size)) / 8)


def alone(neuron: Any, size: int = 6) -> Network:
    """One population that each channel drives one neuron of."""
    return Network(
        "alone",
        Input("x", size),
        (Population("p", (size,), neuron),),
        (Projection("x", "p", f32(np.eye(size))),),
        Readout("p", "last_membrane"),
    )


@pytest.mark.parametrize("reset", LEAKY_RESETS)
def test_lif_is_the_leaky_of_snntorch(reset: str) -> None:
    thresholds = f32([0.5, 0.75, 1, 1, 1.25, 2])
    result = run(alone(LIF(f32(0.5), thresholds, reset)), currents(), ("spikes", "membranes"))
    module = snntorch.Leaky(
        beta=0.5, threshold=torch.tensor(thresholds), reset_mechanism=LEAKY_RESETS[reset]
    )
    membrane = module.init_leaky()
    for step in range(currents().shape[1]):
        spikes, membrane = module(torch.tensor(currents()[:, step]), membrane)
        assert np.array_equal(result.spikes["p"][:, step], spikes.numpy() > 0)
        assert np.array_equal(result.membranes["p"][:, step], membrane.numpy())
    assert result.spikes["p"].any()


@pytest.mark.parametrize("synaptic", [False, True])
@pytest.mark.parametrize("reset", EARLY_RESETS)
def test_resets_in_the_step_of_a_spike_are_those_of_snntorch(reset: str, synaptic: bool) -> None:
    half, one = f32(0.5), f32(1)
    neuron = CuBaLIF(half, half, one, reset) if synaptic else LIF(half, one, reset)
    x = np.minimum(currents(), f32(0.875))  # beyond twice the threshold snnTorch resets once more
    result = run(alone(neuron), x, ("spikes",))
    options = {"reset_mechanism": EARLY_RESETS[reset], "reset_delay": False}
    if synaptic:
        module = snntorch.Synaptic(alpha=0.5, beta=0.5, **options)
        state = module.init_synaptic()
    else:
        module = snntorch.Leaky(beta=0.5, **options)
        state = (module.init_leaky(),)
    for step in range(x.shape[1]):
        spikes, *state = module(torch.tensor(x[:, step]), *state)
        assert np.array_equal(result.spikes["p"][:, step], spikes.numpy() > 0)
    assert result.spikes["p"].any()


@pytest.mark.parametrize("reset", SYNAPTIC_RESETS)
def test_cuba_lif_is_the_synaptic_of_snntorch(reset: str) -> None:
    neuron = CuBaLIF(f32(0.5), f32(0.5), f32(1), reset)
    result = run(alone(neuron), currents(), ("spikes", "membranes"))
    module = snntorch.Synaptic(
        alpha=0.5, beta=0.5, threshold=1.0, reset_mechanism=SYNAPTIC_RESETS[reset]
    )
    synapse, membrane = module.init_synaptic()
    for step in range(currents().shape[1]):
        current = torch.tensor(currents()[:, step])
        spikes, synapse, membrane = module(current, synapse, membrane)
        assert np.array_equal(result.spikes["p"][:, step], spikes.numpy() > 0)
        assert np.array_equal(result.synapses["p"][:, step], synapse.numpy())
        assert np.array_equal(result.membranes["p"][:, step], membrane.numpy())
    assert result.spikes["p"].any()


# ---- by hand -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("neuron", "expected"),
    [
        (lif(0.5, 1, "subtract"), [1.5, 1.25, 1.125, 1.0625]),
        (lif(0.5, 1, "zero"), [1.5, 1.5, 1.5, 1.5]),
        (lif(0.5, 1, "none"), [1.5, 2.25, 2.625, 2.8125]),
        (li(0.5), [1.5, 2.25, 2.625, 2.8125]),
        (cuba(0, 0.5, 1, "subtract"), [1.5, 1.25, 1.125, 1.0625]),
        (cuba(0, 0.5, 1, "zero"), [1.5, 1.5, 1.5, 1.5]),
        (cuba(0, 0.5, 1, "clamp"), [1.5, 0, 1.5, 0]),
        (cuba(0.5, 0.5, 9, "none"), [1.5, 3, 4.125, 4.875]),
    ],
)
def test_a_constant_current_of_one_and_a_half(neuron: Any, expected: list[float]) -> None:
    x = f32(np.full((1, 4, 1), 1.5))
    assert run(alone(neuron, 1), x, ("membranes",)).membranes["p"][0, :, 0].tolist() == expected


def test_a_membrane_equal_to_its_threshold_does_not_spike() -> None:
    x = f32([[[1.0], [0.5]]])
    result = run(alone(lif(0.5, 1), 1), x, ("spikes",))
    assert not result.spikes["p"].any()


def test_a_delayed_projection_reads_the_spikes_of_the_step_before() -> None:
    x = f32([[[2, 0], [0, 0], [0, 0]]])
    spikes = run(late_reader(), x, ("spikes", "membranes"))
    assert spikes.spikes["a"][0].tolist() == [[True, False], [False, False], [False, False]]
    assert spikes.membranes["b"][0].tolist() == [[0.75, 0], [0.375, 0.75], [0.1875, 0.375]]


def test_a_decay_rounds_down_for_negative_membranes_too() -> None:
    toy = integer_toy()
    x = f32(np.zeros((1, 3, 2)))
    # h[1] has a bias of -1: floor(-1/2) - 1, then floor(-2/2) - 1.
    assert run(toy, x, ("membranes",)).membranes["h"][0, :, 1].tolist() == [-1, -2, -2]


def test_membranes_saturate_to_their_width() -> None:
    network = Network(
        "sat",
        Input("x", 1, fraction=0),
        (Population("p", (2,), LIF(np.int32(32768), np.int32(127)), membrane_bits=8),),
        (Projection("x", "p", i8([[1], [-1]])),),
        Readout("p", "last_membrane"),
        stage="quantized",
    )
    result = run(network, f32(np.full((1, 4, 1), 100)), ("membranes", "spikes"))
    assert result.membranes["p"][0].tolist() == [[100, -100], [127, -128]] + [[127, -128]] * 2
    assert not result.spikes["p"].any()


@pytest.mark.parametrize(
    ("sample", "fraction", "expected"),
    [
        (0.5, 0, 1),
        (-0.5, 0, 0),
        (-0.51, 0, -1),
        (1.25, 2, 5),
        (1e9, 0, 32767),
        (-1e9, 0, -32768),
        (np.inf, 3, 32767),
        (-np.inf, 3, -32768),
        (np.nan, 3, 0),
        (-32768.4, 0, -32768),
        (1000, -3, 125),
    ],
)
def test_samples_round_half_up_and_saturate(sample: float, fraction: int, expected: int) -> None:
    assert quantize_samples(f32([sample]), fraction).tolist() == [expected]


@pytest.mark.parametrize(
    ("rule", "scores", "decision"),
    [
        ("spike_count", [1, 1], 0),
        ("last_membrane", [-2.0, 3.0], 1),
        ("max_membrane", [4.0, 3.0], 0),
        ("mean_membrane", [2.0, 3.0], 1),
    ],
)
def test_readout_rules(rule: str, scores: list[float], decision: int) -> None:
    network = alone(lif(0, 1, "none"), 2).replace(readout=Readout("p", rule))
    result = run(network, f32([[[4, 0], [0, 0], [-2, 3]]]))
    assert result.scores[0].tolist() == scores
    assert result.decisions[0] == decision


def test_a_tie_goes_to_the_lowest_class() -> None:
    network = alone(lif(0, 1), 3)
    assert run(network, f32([[[0, 2, 2]]])).decisions.tolist() == [1]


def test_a_later_score_that_is_not_a_number_is_never_chosen() -> None:
    network = alone(lif(0, 1), 3).replace(
        projections=(Projection("x", "p", f32([[1]]), blocks=3),),
        readout=Readout("p", "last_membrane"),
    )
    assert run(network, f32([[[1, np.nan, 2]]])).decisions.tolist() == [2]
    assert run(network, f32([[[np.nan, 1, 2]]])).decisions.tolist() == [0]


def test_operations_count_every_synapse_a_spike_reaches() -> None:
    result = run(feed_forward(), f32([[[2, 0], [0, 0]]]))
    # Step 1: h[0] alone spikes (2 > 1; 0.5 · 2 is not above 1), and reaches two classes.
    assert result.spike_totals["h"] == 1
    assert result.operations == 2
    assert result.operations_per_step == 1
    assert result.rate(feed_forward().population("h")) == 1 / 6
    pruned = feed_forward().map_projections(
        lambda p: replace(p, weight=p.weight * (p.weight > 0)) if p.source == "h" else p
    )
    assert run(pruned, f32([[[2, 0], [0, 0]]])).operations == 1, "a weight of zero is no synapse"


def test_windows_do_not_disturb_each_other() -> None:
    network = l2mu()
    x = samples(network, windows=4)
    together = run(network, x, ("membranes",))
    for b in range(4):
        single = run(network, x[b : b + 1], ("membranes",))
        for name, membranes in single.membranes.items():
            assert membranes[0].tobytes() == together.membranes[name][b].tobytes()


@settings(max_examples=20)
@given(st.data())
def test_windows_go_on_from_where_others_ended(data: st.DataObject) -> None:
    network = data.draw(st.one_of(float_networks(), integer_networks()))
    x = data.draw(windows_for(network, steps=8))
    cut = data.draw(st.integers(1, 8))
    whole = run(network, x, record=("spikes", "membranes"))
    if not 0 < cut < whole.steps:
        return
    start = State(
        {name: array[:, cut - 1] for name, array in whole.accumulators.items()},
        {name: whole.membranes[name][:, cut - 1] for name in whole.synapses},
    )
    rest = run(network, x[:, cut:], record=("spikes", "membranes"), start=start)
    for kind in ("spikes", "membranes", "synapses", "accumulators"):
        for name, array in getattr(rest, kind).items():
            assert np.array_equal(array, getattr(whole, kind)[name][:, cut:], equal_nan=True), name


def test_progress_is_told_after_every_step() -> None:
    told: list[tuple[int, int]] = []
    run(feed_forward(), f32(np.zeros((1, 3, 2))), progress=lambda *at: told.append(at))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_nothing_is_recorded_unasked() -> None:
    result = run(feed_forward(), f32(np.zeros((1, 3, 2))))
    assert (result.spikes, result.membranes, result.synapses) == ({}, {}, {})


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 2), r"windows have shape \[3, 2\]; network toy reads \[windows, steps, 2\]"),
        ((1, 3, 4), r"\[1, 3, 4\]"),
        ((0, 3, 2), "nothing to run"),
        ((1, 0, 2), "nothing to run"),
        ((1, 4, 2), "windows have 4 steps; network toy was made for 3"),
    ],
)
def test_windows_that_do_not_fit_are_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        run(replace(feed_forward(), window=3), np.zeros(shape))
