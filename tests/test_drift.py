"""Distances of spike trains, and what is compared when neurons are gone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from l2mu_compile.drift import TIME_CONSTANT, distance, drift


def trains(*spikes: str) -> np.ndarray:
    """One window ``[1, T, n]``: a neuron per string, ``|`` where it spikes."""
    return np.array([[mark == "|" for mark in train] for train in spikes]).T[None]


def far_apart(*lone: int, steps: int = 1000) -> np.ndarray:
    spikes = np.zeros((1, steps, 1), dtype=bool)
    spikes[0, list(lone)] = True
    return spikes


def test_the_same_and_none() -> None:
    some = trains("..|..|", "|....|")
    assert distance(some, some) == 0
    assert distance(np.zeros_like(some), np.zeros_like(some)) == 0
    assert distance(some, np.zeros_like(some)) == 1
    assert distance(trains("|....", "....."), trains(".....", "|....")) == 1, "neurons differ"


def test_a_spike_that_moves_one_step_is_near() -> None:
    """Of two lone spikes k steps apart 1 - exp(-k / TIME_CONSTANT) is left."""
    for k in (1, 3, 10):
        found = distance(far_apart(100), far_apart(100 + k))
        assert found == pytest.approx(1 - math.exp(-k / TIME_CONSTANT), abs=1e-9)


def test_about_the_share_of_spikes_that_are_elsewhere() -> None:
    before, after = far_apart(100, 300, 500, 700), far_apart(100, 300, 500, 850)
    assert distance(before, after) == pytest.approx(1 / 4, abs=1e-6)


@given(arrays.arrays(bool, (2, 2, 9, 3)))
def test_it_is_symmetric_and_within_bounds(pair: np.ndarray) -> None:
    a, b = pair
    found = distance(a, b)
    assert found == distance(b, a) and 0 <= found <= 1 + 1e-12
    assert (found == 0) == bool((a == b).all())


def filtered(spikes: np.ndarray) -> np.ndarray:
    """By its definition: at every step what is left of each spike so far."""
    steps = np.arange(spikes.shape[1])
    age = steps[:, None] - steps
    kernel = np.where(age >= 0, np.exp(-np.maximum(age, 0) / TIME_CONSTANT), 0)
    return np.einsum("ts,bsn->btn", kernel, spikes.astype(float))


@given(arrays.arrays(bool, (2, 2, 9, 3), elements=st.booleans()))
def test_it_is_the_integral_that_it_is_defined_as(pair: np.ndarray) -> None:
    f, g = map(filtered, pair)
    both = (f**2).sum() + (g**2).sum()
    expected = ((f - g) ** 2).sum() / both if both else 0
    assert distance(*pair) == pytest.approx(expected, abs=1e-12)


def test_every_population_as_given_has_a_drift() -> None:
    before = {"a": trains("|.|.", "...."), "b": trains("|...", "|..."), "gone": trains("|||.")}
    after = {"a": trains("|.|.", "|..."), "b": trains("|...")}
    a, b, gone = drift(before, after)
    assert (a.population, a.compared) == ("a", "neurons")
    assert a.rate == pytest.approx(1 / 8) and 0 < a.distance < 1
    # Which neuron left is not known: half of the spikes did.
    assert (b.population, b.compared) == ("b", "sum")
    assert b.rate == 0 and b.distance == pytest.approx(1 / 5)
    assert (gone.compared, gone.distance, gone.rate) == ("sum", 1.0, -0.75)


def test_a_silent_neuron_that_leaves_changes_nothing() -> None:
    (found,) = drift({"a": trains("|.|.", "....")}, {"a": trains("|.|.")})
    assert found.distance == 0 and found.rate == 0.25


def test_steps_that_are_no_longer_taken_are_left_out() -> None:
    (found,) = drift({"a": trains("|..|||")}, {"a": trains("|..")})
    assert found.distance == 0 and found.rate == 0 and found.compared == "neurons"
