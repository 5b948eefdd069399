"""Rasters and traces, read back."""

from __future__ import annotations

import numpy as np
import pytest
from pages import pixels

from l2mu_compile.rasters import (
    MARGIN,
    MOST_NEURONS,
    TRACE_HEIGHT,
    png,
    raster,
    traces,
)


@pytest.mark.parametrize("shape", [(1, 1), (3, 4), (5, 7), (512, 1023)])
def test_pngs_hold_their_pixels(shape: tuple[int, int]) -> None:
    values = np.random.default_rng(0).integers(0, 3, shape, np.uint8)
    import base64

    source = "data:image/png;base64," + base64.b64encode(png(values)).decode()
    np.testing.assert_array_equal(pixels(source), values)


def test_spikes_that_the_other_lacks_stand_out() -> None:
    a = np.array([[True, False], [True, True]])
    b = np.array([[True, True], [False, True]])
    found = raster(a, b)
    assert pixels(found.data).tolist() == [[1, 2], [0, 1]]
    assert (found.spikes, found.alone, raster(b, a).alone) == (3, 1, 1)
    assert raster(a, None).alone is None


def test_rows_of_a_pair_are_of_one_height() -> None:
    few, many = np.zeros((4, 20), bool), np.zeros((4, 80), bool)
    assert raster(few, None, 80).height * 4 == raster(many, None, 20).height


def test_neurons_are_spread_over_a_large_population() -> None:
    spikes = np.zeros((3, 2000), bool)
    spikes[:, -1] = True
    found = raster(spikes, None)
    assert (found.neurons, found.shown, found.height) == (2000, MOST_NEURONS, MOST_NEURONS)
    assert pixels(found.data)[-1].all() and found.spikes == 3


def points(path: str) -> list[list[tuple[float, float]]]:
    """The pieces of a path."""
    pieces = []
    for piece in path.split("M")[1:]:
        numbers = [float(n) for n in piece.split()]
        pieces.append(list(zip(numbers[::2], numbers[1::2], strict=True)))
    return pieces


def test_traces_share_a_scale() -> None:
    found = traces("n", [("a", np.array([0.0, 2.0])), ("b", np.array([1.0, 4.0]))], 1.0)
    low, high = TRACE_HEIGHT - MARGIN, MARGIN
    assert points(found.lines[0].path) == [[(0.5, low), (1.5, (low + high) / 2)]]
    assert points(found.lines[1].path)[0][1] == (1.5, high)
    assert found.level == points(found.lines[1].path)[0][0][1]
    assert (found.low, found.high, found.steps) == (0, 4, 2)


def test_traces_without_a_scale() -> None:
    flat = traces("n", [("a", np.array([3, 3]))])
    assert points(flat.lines[0].path) == [[(0.5, TRACE_HEIGHT / 2), (1.5, TRACE_HEIGHT / 2)]]
    broken = traces("n", [("a", np.array([0.0, np.nan, 1.0, np.inf]))])
    assert [len(piece) for piece in points(broken.lines[0].path)] == [1, 1]
    assert traces("n", [("a", np.array([np.nan]))]).lines[0].path == ""
