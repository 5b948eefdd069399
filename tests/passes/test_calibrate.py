"""calibrate: measured rates and ranges, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from network_texts import applied, assert_becomes
from networks import f32, feed_forward, l2mu, samples

from l2mu_compile.errors import ModelError, UsageError
from l2mu_compile.interpreter import run
from l2mu_compile.passbase import Context
from l2mu_compile.passes.calibrate import Calibrate


def test_rates_and_ranges_are_written_down() -> None:
    before = """
        network n stage=folded window=none
          input      x : f32[1]
          population p : lif[1] beta=0.5 threshold=1.0 reset=subtract
          projection x -> p : dense[1,1] @p.x
          readout    p : spike_count
        p.x = [[2.0]]
    """
    # Membranes 2, 1 - 1 - 1 = -1, -0.5, 1.75: spikes at the first and the last step.
    window = f32([[[1], [-0.5], [0], [1]]])
    assert_becomes(
        Calibrate(),
        before,
        """
        network n stage=folded window=none
          input      x : f32[1] low=-0.5 high=1.0
          population p : lif[1] beta=0.5 threshold=1.0 reset=subtract rate=0.5 low=-1.0 high=2.0
          projection x -> p : dense[1,1] @p.x
          readout    p : spike_count
        p.x = [[2.0]]
        """,
        Context(samples=window),
    )


def test_numbers_stay_as_they_were() -> None:
    network, x = l2mu(), samples(l2mu())
    after = applied(Calibrate(), network, Context(samples=x))
    assert run(after, x).scores.tolist() == run(network, x).scores.tolist()
    stripped = after.map_populations(lambda p: replace(p, rate=None, low=None, high=None))
    assert stripped.replace(input=network.input) == network


def test_what_is_measured_is_what_the_interpreter_does() -> None:
    x = samples(l2mu(), windows=70)  # more than are run at once
    after = applied(Calibrate(), l2mu(), Context(samples=x))
    result = run(l2mu(), x, ("membranes",))
    for p in after.populations:
        assert p.rate == pytest.approx(result.rate(p))
        assert (p.low, p.high) == (
            result.membranes[p.name].min(),
            result.membranes[p.name].max(),
        )
    assert (after.input.low, after.input.high) == (x.min(), x.max())


def test_only_some_windows_may_be_used_evenly_spread() -> None:
    x = f32(np.zeros((5, 1, 2)))
    x[:, 0, 0] = [1, 20, 3, 40, 5]
    after = applied(Calibrate(windows=3), feed_forward(), Context(samples=x))
    assert after.input.high == 5


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_refused(value: float) -> None:
    x = f32([[[1, 0.5], [value, -2]]])
    with pytest.raises(ModelError, match="here: hold NaN or infinity"):
        Calibrate().apply(feed_forward(), Context(samples=x, samples_from="here"))


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    context = Context(samples=samples(l2mu(), 70), progress=lambda *at: told.append(at))
    Calibrate().apply(l2mu(), context)
    assert told == [(64, 70), (70, 70)]


def test_no_windows_are_refused() -> None:
    with pytest.raises(UsageError, match="calibrate needs windows: give --calibrate"):
        Calibrate().apply(feed_forward(), Context())


def test_windows_of_another_shape_are_refused() -> None:
    with pytest.raises(ModelError, match="network toy reads"):
        Calibrate().apply(feed_forward(), Context(samples=f32(np.zeros((1, 2, 3)))))
