"""Grids: which weights there are, and the nearest ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2mu_compile.grids import GRIDS, Grid

any_grid = st.sampled_from(tuple(GRIDS.values()))


@pytest.mark.parametrize("grid", GRIDS.values(), ids=list(GRIDS))
def test_bits_hold_which_multiple_it_is(grid: Grid) -> None:
    assert len(grid.multiples) <= 2**grid.bits
    codes = grid.codes(np.array(grid.multiples))
    assert codes.tolist() == list(range(len(grid.multiples)))


@given(any_grid, st.data(), st.floats(-127, 127))
def test_the_nearest_weight_is_nearest(grid: Grid, data: st.DataObject, wanted: float) -> None:
    quantum = data.draw(st.sampled_from(grid.quanta))
    found = float(grid.nearest(np.array([wanted]), quantum)[0])
    allowed = [q for m in grid.multiples if -128 <= (q := m * quantum) <= 127]
    assert found in allowed
    assert abs(found - wanted) == min(abs(a - wanted) for a in allowed)
    low, high = grid.limits(np.array([[quantum]]))
    assert (low.item(), high.item()) == (min(allowed), max(allowed))


@given(any_grid, st.data(), st.floats(0, 1))
def test_between_stays_on_the_grid_and_never_goes_too_far(
    grid: Grid, data: st.DataObject, share: float
) -> None:
    quantum = data.draw(st.sampled_from(grid.quanta))
    allowed = grid.allowed(quantum).tolist()
    start, end = (data.draw(st.sampled_from(allowed)) for _ in range(2))
    wanted = start + share * (end - start)
    found = grid.between(np.array([start]), np.array([wanted]), np.array([quantum])).item()
    assert found in allowed
    assert min(start, wanted) - 1e-9 <= found <= max(start, wanted) + 1e-9
