"""early-exit: the leads that decide, what they cost and save, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from network_texts import applied, read, show
from networks import PORTABLE, f32, feed_forward, samples

from l2mu_compile.errors import ModelError, UsageError
from l2mu_compile.interpreter import run
from l2mu_compile.labelled import LabelledWindows
from l2mu_compile.network import Network
from l2mu_compile.passbase import Context
from l2mu_compile.passes.early_exit import EarlyExit
from l2mu_compile.verify import verify
from l2mu_compile.windows import Windows

# A class's neuron spikes wherever its channel is 1.
RACE = """
    network n stage=traced window=none
      input      x : f32[2]
      population out : lif[2] beta=0.0 threshold=0.5 reset=none
      projection x -> out : dense[2,2] @out.x
      readout    out : spike_count{} labels=["left", "right"]
    out.x = [[1.0, 0.0], [0.0, 1.0]]
"""


def races(*runs: str) -> np.ndarray:
    """Windows ``[N, T, 2]``: which class spikes in each step, L, R or neither."""
    return f32([[[mark == "L", mark == "R"] for mark in race] for race in runs])


def margins(x: np.ndarray, risk: float) -> tuple[int, ...] | None:
    context = Context(target=PORTABLE, samples=x)
    return applied(EarlyExit(risk), read(RACE.format("")), context).readout.margins


def noted(x: np.ndarray, risk: float) -> list[str]:
    notes: list[str] = []
    EarlyExit(risk).apply(read(RACE.format("")), Context(samples=x, note=notes.append))
    return notes


def test_the_least_margins_that_are_safe_decide() -> None:
    """Left is once ahead by 2 and still loses 5 times of 79."""
    x = races(*["LLRRR."] * 5, *["LLL..."] * 34, *["RRRR.."] * 40)
    assert margins(x, risk=0.07) == (3, 3)
    # (5 + 1) / (79 + 1) is 0.075: then a lead of 1 is safe enough.
    assert margins(x, risk=0.075) == (1, 1)


def test_margins_come_down_class_after_class() -> None:
    """Right loses with a lead of 2, left with none."""
    x = races(*["RRLLL."] * 2, *["LLL..."] * 20, *["RRR..."] * 7)
    assert margins(x, risk=0.05) == (2, 3)
    assert margins(x, risk=0.1) == (1, 1)


def test_what_larger_margins_would_change_counts() -> None:
    """The last window is decided as by all steps with margins of 1, but not with those of 2."""
    x = races(*["RRR....", "LLL...."] * 9, "RLLLRRR")
    assert run(read(RACE.format(" margins=[1, 1]")), x[-1:]).decisions.tolist() == [1]
    assert margins(x, risk=0.05) == (3, 3)
    assert margins(x, risk=0.1) == (1, 1)


def test_classes_with_few_windows_are_decided_early_too() -> None:
    x = races(*["LLL..."] * 18, "RRR...")
    assert margins(x, risk=0.05) == (1, 1)


def test_too_few_windows_are_no_early_exit() -> None:
    x = races(*["LLL..."] * 18)
    assert margins(x, risk=0.05) is None
    assert margins(x, risk=0.06) == (1, 1)
    assert noted(x, risk=0.05) == [
        "early-exit: never: 18 windows are too few for risk=0.05 (at least 19), or too close a race"
    ]


def test_none_that_is_decided_early_is_no_early_exit() -> None:
    assert margins(races(*["..L"] * 40), risk=0.1) is None
    assert margins(races(*["LRR", "RLL"] * 40), risk=0.1) is None


def test_one_class_has_nothing_to_decide() -> None:
    one = read(
        """
        network n stage=traced window=none
          input      x : f32[1]
          population out : lif[1] beta=0.0 threshold=0.5 reset=none
          projection x -> out : dense[1,1] @out.x
          readout    out : spike_count
        out.x = [[1.0]]
        """
    )
    x = np.ones((20, 4, 1), np.float32)
    assert applied(EarlyExit(0.5), one, Context(samples=x)) is one


RACES = st.text("LR.", min_size=8, max_size=8)


@given(st.lists(RACES, min_size=8, max_size=16), st.sampled_from([0.15, 0.3, 0.5]))
@settings(max_examples=40)
def test_a_window_left_out_is_decided_otherwise_as_seldom_as_stated(
    drawn: list[str], risk: float
) -> None:
    """On average over all windows, each judged by margins of the others: what makes the promise to
    a further window hold whatever windows there are."""
    x, network = races(*drawn), read(RACE.format(""))
    whole = run(network, x).decisions
    changed = [
        run(
            EarlyExit(risk).apply(network, Context(samples=np.delete(x, k, axis=0))), x[[k]]
        ).decisions[0]
        != whole[k]
        for k in range(len(x))
    ]
    assert np.mean(changed) <= risk


def test_the_note_tells_what_is_saved_and_lost() -> None:
    x = races("LRRR", *["L..."] * 18, *["RRR."] * 21)
    assert noted(x, risk=0.1) == [
        "early-exit: 1.0 of 4 steps a window; 2.50 % of 40 windows are decided otherwise"
    ]
    result = run(EarlyExit(0.1).apply(read(RACE.format("")), Context(samples=x)), x)
    assert result.needed.tolist() == [1] * 40
    assert result.decisions.tolist() == [0] * 19 + [1] * 21


def test_the_note_tells_the_accuracy_that_is_paid() -> None:
    x = races("LRRR", *["L..."] * 18, *["RRR."] * 21)
    unseen = Windows(x, np.array([1] + [0] * 16 + [1] * 23))
    notes: list[str] = []
    context = Context(labelled=LabelledWindows(unseen, unseen, "all"), note=notes.append)
    EarlyExit(0.1).apply(read(RACE.format("")), context)
    assert notes == [
        "early-exit: 1.0 of 4 steps a window; 2.50 % of 40 windows are decided otherwise; "
        "92.50 % are right, by all steps 95.00 %"
    ]


def test_the_note_is_what_the_interpreter_does() -> None:
    network = feed_forward()
    x = samples(network, windows=200, steps=20)
    notes: list[str] = []
    after = EarlyExit(0.2).apply(network, Context(samples=x, note=notes.append))
    assert after.readout.margins is not None
    early, whole = run(after, x), run(network, x)
    changed = 100 * (early.decisions != whole.decisions).mean()
    assert notes[-1] == (
        f"early-exit: {early.needed.mean():.1f} of 20 steps a window; "
        f"{changed:.2f} % of 200 windows are decided otherwise"
    )
    assert early.needed.mean() < 20


def test_scores_stay_once_a_window_is_decided() -> None:
    network = read(RACE.format(" margins=[2, 3]"))
    x = races("LLRRRR", "RRRLLL", "LRLRLR", "RLLLRR")
    result = run(network, x)
    assert result.scores.tolist() == [[2, 0], [0, 3], [3, 3], [3, 1]]
    assert result.needed.tolist() == [2, 3, 6, 4]
    assert result.decisions.tolist() == [0, 1, 0, 0]
    assert run(network, races("LLLL"), ("spikes",)).spikes["out"][0, :, 0].all()


def test_the_text_form() -> None:
    network = read(RACE.format(" margins=[2, 3]"))
    assert network.readout.margins == (2, 3)
    assert 'readout    out : spike_count margins=[2, 3] labels=["left", "right"]' in show(network)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (" margins=[1]", "1 margins for 2 classes"),
        (" margins=[0, 1]", r"margin 0 is outside \[1, 2147483647\]"),
        (" margins=[1, 99999999999]", r"margin 99999999999 is outside \[1, 2147483647\]"),
    ],
)
def test_margins_that_make_no_sense(given: str, problem: str) -> None:
    with pytest.raises(ModelError, match=problem):
        verify(read(RACE.format(given)))


def _with_rule(network: Network, rule: str) -> Network:
    return network.replace(readout=replace(network.readout, rule=rule))


def test_membranes_are_refused() -> None:
    network = _with_rule(feed_forward(), "max_membrane")
    with pytest.raises(ModelError, match="classes that score by spikes, not by max_membrane"):
        EarlyExit().apply(network, Context(samples=samples(network)))


def test_windows_are_needed() -> None:
    with pytest.raises(UsageError, match="needs windows: give --calibrate"):
        EarlyExit().apply(feed_forward(), Context())


@pytest.mark.parametrize("risk", [0.0, 1.0, -1.0, float("nan")])
def test_a_risk_that_makes_no_sense(risk: float) -> None:
    with pytest.raises(UsageError, match="risk must be between 0 and 1"):
        EarlyExit(risk)


def test_while_tuning_margins_are_of_windows_to_validate_on() -> None:
    fitted, unseen = races(*["LLL"] * 30), races(*["RR."] * 15, *["LRR"] * 15)
    data = LabelledWindows(Windows(fitted), Windows(unseen), "some")
    context = Context(samples=fitted, labelled=data)
    network = read(RACE.format(""))
    found = EarlyExit(0.1).apply(network, context)
    assert found == EarlyExit(0.1).apply(network, Context(samples=unseen))
    assert found != EarlyExit(0.1).apply(network, Context(samples=fitted))
