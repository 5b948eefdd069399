"""Windows of a stream: which there are, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from networks import feed_forward

from l2mu_compile.errors import UsageError
from l2mu_compile.stream import MAX_WINDOW, Stream, stream_of


@pytest.mark.parametrize(
    ("window", "hop", "lanes"),
    [(100, 100, 1), (100, 50, 2), (100, 99, 2), (100, 25, 4), (7, 3, 3), (5, 1, 5), (1, 1, 1)],
)
def test_lanes(window: int, hop: int, lanes: int) -> None:
    assert Stream(window, hop).lanes == lanes


@given(st.integers(1, MAX_WINDOW), st.data())
def test_a_lane_is_free_before_its_next_window_and_none_is_too_many(
    window: int, data: st.DataObject
) -> None:
    hop = data.draw(st.integers(1, window))
    lanes = Stream(window, hop).lanes
    assert lanes * hop >= window
    assert (lanes - 1) * hop < window
    assert 2 * lanes * hop < 2**32, "the generated code counts so far"


@pytest.mark.parametrize(
    ("window", "hop", "message"),
    [
        (0, 1, "--window 0: from 1 to"),
        (-1, 1, "--window -1: from 1 to"),
        (MAX_WINDOW + 1, 1, f"--window {MAX_WINDOW + 1}: from 1 to {MAX_WINDOW} samples"),
        (10, 0, "--hop 0: from 1 to the window's 10 samples"),
        (10, -3, "--hop -3: from 1 to"),
        (10, 11, "--hop 11: from 1 to the window's 10 samples, or there would be samples that no"),
    ],
)
def test_other_windows_are_refused(window: int, hop: int, message: str) -> None:
    with pytest.raises(UsageError) as error:
        Stream(window, hop)
    assert message in str(error.value)


def test_the_window_is_the_one_given_or_the_networks_or_that_of_the_data() -> None:
    free, made = feed_forward(), feed_forward().replace(window=12)
    assert stream_of(free, None, None, None) is None
    assert stream_of(free, None, None, 20) == Stream(20, 20)
    assert stream_of(free, 30, None, 20) == Stream(30, 30)
    assert stream_of(free, 30, 7, None) == Stream(30, 7)
    assert stream_of(made, None, 5, 20) == Stream(12, 5)
    assert stream_of(made, 12, None, None) == Stream(12, 12)


def test_contradictions_are_refused() -> None:
    with pytest.raises(UsageError, match="--window 9: network toy was made for 12 samples"):
        stream_of(feed_forward().replace(window=12), 9, None, None)
    with pytest.raises(UsageError, match="--hop 3: how long is a window"):
        stream_of(feed_forward(), None, 3, None)
    with pytest.raises(UsageError, match="--window 0: from 1 to"):
        stream_of(feed_forward(), 0, None, 20)
