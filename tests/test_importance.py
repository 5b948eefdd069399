"""What neurons are worth, on networks small enough to count by hand."""

from __future__ import annotations

import numpy as np
import pytest
from networks import feed_forward, integer_toy, recurrent

from l2mu_compile.importance import CRITERIA, by_magnitude, by_rate, by_readout, redundant_first


def trains(*columns: str) -> np.ndarray:
    """Spikes bool ``[steps, neurons]``, a string of dots and bars for each neuron."""
    return np.array([[mark == "|" for mark in column] for column in columns]).T


def test_rate_counts_spikes() -> None:
    spikes = {"h": trains("|...", "||..", "||||"), "out": trains("....", "|.|.")}
    found = by_rate(feed_forward(), spikes)
    assert {name: rates.tolist() for name, rates in found.items()} == {
        "h": [0.25, 0.5, 1.0],
        "out": [0.0, 0.5],
    }


def test_magnitude_is_weights_in_times_weights_out() -> None:
    """In: 1, 1, 1; out: 2, 2, 1/2 of thresholds of 1."""
    assert by_magnitude(feed_forward(), {})["h"].tolist() == [2.0, 2.0, 0.5]


def test_integer_weights_count_in_thresholds() -> None:
    """In: (8 + 5) / 20, (9 + 5) / 20; out: (37 + 5) / 20 both."""
    found = by_magnitude(integer_toy(), {})["h"]
    assert found == pytest.approx([13 / 20 * 42 / 20, 14 / 20 * 42 / 20])


def test_readout_follows_spikes_to_the_readout() -> None:
    """A hidden neuron counts its rate times its weights; the readout's neurons count nothing."""
    spikes = {"h": trains("|...", "||..", "||||"), "out": trains("....", "....")}
    found = by_readout(feed_forward(), spikes)["h"]
    assert found / found.max() == pytest.approx([0.5, 1.0, 0.5])


def test_readout_follows_detours() -> None:
    """Weights on itself make a neuron's way longer: 1 and 2 hand on to each other, 3 to itself."""
    spikes = {"h": trains("||||", "||||", "||||"), "out": trains("....", "....")}
    plain, looped = (by_readout(n, spikes)["h"] for n in (feed_forward(), recurrent()))
    assert (plain / plain[0]).tolist() == [1.0, 1.0, 0.25]
    assert looped[2] / looped[0] > 0.25
    assert looped[0] == looped[1]


def test_the_most_alike_leaves_first_and_names_its_twin() -> None:
    """1 and 2 are equal, 0 shares one spike with them, 3 none; of equals the first leaves."""
    order = redundant_first(trains("|..|", "||..", "||..", "....")[:, :, None])
    assert order[0] == (1, 2)
    assert order[1] in ((0, 2), (2, 0))
    assert len({leaving for leaving, _ in order}) == 3


@pytest.mark.parametrize("criterion", CRITERIA)
def test_silence_is_worth_nothing_and_no_error(criterion: str) -> None:
    network = recurrent()
    silent = {p.name: np.zeros((5, p.size), dtype=bool) for p in network.populations}
    found = CRITERIA[criterion](network, silent)
    assert found.keys() == silent.keys()
    assert all(np.isfinite(values).all() for values in found.values())
    assert criterion == "magnitude" or not any(values.any() for values in found.values())
