"""Neuron records: parameters, resets and the spike rule."""

from __future__ import annotations

import numpy as np
import pytest
from networks import cuba, f32, li, lif

from l2mu_compile.neurons import (
    LI,
    LIF,
    NEURONS,
    RESETS,
    CuBaLIF,
    parameter_array,
    parameter_names,
    spikes_of,
)


def test_every_neuron_is_found_by_the_name_its_text_form_uses() -> None:
    assert dict(NEURONS.items()) == {"lif": LIF, "cuba_lif": CuBaLIF, "li": LI}


@pytest.mark.parametrize(
    ("kind", "names"),
    [(LIF, ("beta", "threshold")), (CuBaLIF, ("alpha", "beta", "threshold")), (LI, ("beta",))],
)
def test_parameters_in_printing_order(kind: type, names: tuple[str, ...]) -> None:
    assert parameter_names(kind) == names
    assert set(kind.decays) == set(names) - {"threshold"}  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", NEURONS.values())
def test_every_reset_of_a_neuron_is_a_known_one(kind: type) -> None:
    assert set(kind.resets) <= set(RESETS)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (1, np.int32),
        (0.5, np.float32),
        (np.float64([1, 2]), np.float32),
        (np.int64([1, 2]), np.int32),
        (np.int8(3), np.int32),
    ],
)
def test_parameters_become_float32_or_int32(value: object, dtype: type) -> None:
    array = parameter_array(value)  # type: ignore[arg-type]
    assert array.dtype == dtype
    assert array.shape == np.shape(value)  # type: ignore[arg-type]
    assert not array.flags.writeable


def test_a_neuron_keeps_its_own_copy_of_its_parameters() -> None:
    beta = f32([0.5, 0.25])
    neuron = LIF(beta, f32(1))
    beta[0] = 9
    assert neuron.beta.tolist() == [0.5, 0.25]


def test_neurons_compare_by_class_parameters_and_reset() -> None:
    assert lif(0.5, 1) == lif(0.5, 1)
    assert lif(0.5, 1) != lif(0.5, 1, "zero")
    assert lif(0.5, 1) != lif([0.5, 0.5], 1)
    assert cuba() != lif()


@pytest.mark.parametrize("neuron", [lif(0.5, [1, 2]), cuba(0.5, 0.5, [1, 2])])
def test_a_neuron_spikes_only_above_its_own_threshold(neuron: LIF) -> None:
    membranes = f32([[1, 2], [1.5, 1.5], [np.nan, np.inf]])
    expected = [[False, False], [True, False], [False, True]]
    assert spikes_of(neuron, membranes).tolist() == expected


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_a_leaky_integrator_never_spikes(dtype: type) -> None:
    membranes = np.array([[1e9, -1e9]]).astype(dtype)
    assert spikes_of(li(), membranes).tolist() == [[False, False]]
    assert spikes_of(li(), f32([[np.inf, np.nan]])).tolist() == [[False, False]]
