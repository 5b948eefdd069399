"""Kernels of scores and decisions alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from kernel_machines import Array, Call, Variant, kernels
from kernel_values import NUMBERS, SIZES, activities, same, spike_list, states


@kernels("count_spikes")
def test_count_spikes(call: Call, kernel: Variant) -> None:
    rng = np.random.default_rng(14)
    for size in SIZES:
        for fired in activities(rng, size):
            score = Array(rng.integers(0, 100, size).astype(np.int32))
            call(kernel, score, Array(spike_list(fired)), changes=(score,))
            same(score.values, score.before + fired.astype(np.int32))


def decision(score: np.ndarray, margin: np.ndarray) -> int:
    """The leading class, if no other comes within its margin; -1 if one does, or there is none."""
    if score.size < 2:
        return -1
    leading = int(np.argmax(score))
    lead = score[leading] - np.delete(score, leading).max()
    return leading if lead >= margin[leading] else -1


def close_races(rng: np.random.Generator, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Scores and margins, about as many decided as not."""
    for spread in (1, 3, 30, 2**30):
        for margin in (1, 2, 2**31 - 1):
            score = rng.integers(0, spread + 1, size).astype(np.int32)
            yield score, rng.integers(1, margin, size, endpoint=True).astype(np.int32)


@kernels("decided")
def test_a_lead_of_the_margin_decides(call: Call, kernel: Variant) -> None:
    rng = np.random.default_rng(18)
    found = set()
    for size in SIZES:
        for score, margin in close_races(rng, size):
            wanted = decision(score, margin)
            assert call(kernel, Array(score), size, Array(margin)) == wanted
            found.add(wanted)
    assert {-1, 0, 1} <= found


@kernels("count_undecided")
def test_spikes_count_until_a_window_is_decided(call: Call, kernel: Variant) -> None:
    rng = np.random.default_rng(19)
    for size in SIZES:
        for fired in activities(rng, size):
            for start, margin in close_races(rng, size):
                score = Array(start // 2)
                spikes = Array(spike_list(fired))
                call(kernel, score, size, Array(margin), spikes, changes=(score,))
                more = fired if decision(score.before, margin) < 0 else np.zeros_like(fired)
                same(score.values, score.before + more.astype(np.int32))


@kernels("maximum", "copy", "fill", "sum")
def test_scores(call: Call, kernel: Variant) -> None:
    rng = np.random.default_rng(15)
    membranes = "i32" if kernel.numbers == "i64" else kernel.numbers
    for size in SIZES:
        v = Array(states(rng, membranes, size))
        start = states(rng, membranes, size).astype(NUMBERS[kernel.numbers])
        score = Array(start + 2**40 if kernel.numbers == "i64" else start)
        lowest: int | float = -1.5 if kernel.numbers == "f32" else -(2**31)
        given = lowest if kernel.operation == "fill" else v
        call(kernel, score, size, given, changes=(score,))
        wanted = {
            "maximum": np.where(v.before > score.before, v.before, score.before),
            "copy": v.before,
            "fill": np.full_like(v.before, lowest),
            "sum": score.before + v.before,
        }[kernel.operation]
        same(score.values, wanted)


@kernels("argmax")
def test_argmax_takes_the_first_of_the_largest(call: Call, kernel: Variant) -> None:
    rng = np.random.default_rng(17)
    for size in SIZES:
        for spread in (1, 3, 1000):
            values = rng.integers(-spread, spread, size).astype(NUMBERS[kernel.numbers])
            assert call(kernel, Array(values), size) == int(np.argmax(values))
    if kernel.numbers == "i64":
        assert call(kernel, Array(np.int64([1, 2**40, 2**33])), 3) == 1
