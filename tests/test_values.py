"""Immutable values that compare bit for bit."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from l2mu_compile.values import Value, frozen_array


@dataclass(frozen=True, eq=False)
class Box(Value):
    array: NDArray
    label: str = ""


@dataclass(frozen=True, eq=False)
class OtherBox(Value):
    array: NDArray
    label: str = ""


def box(values: object, dtype: type = np.float32) -> Box:
    return Box(frozen_array(np.asarray(values, dtype)))


def test_equal_arrays_make_equal_values() -> None:
    assert box([1, 2]) == box([1, 2])


@pytest.mark.parametrize(
    "other",
    [
        box([1, 3]),
        box([1, 2], np.float64),
        box([[1, 2]]),
        Box(frozen_array(np.float32([1, 2])), "other"),
        OtherBox(frozen_array(np.float32([1, 2]))),
        Box(None),  # type: ignore[arg-type]
        "text",
    ],
)
def test_another_value_dtype_shape_field_or_class_is_different(other: object) -> None:
    assert box([1, 2]) != other


def test_zeros_of_different_sign_differ() -> None:
    assert box([0.0]) != box([-0.0])


def test_not_a_number_equals_itself() -> None:
    assert box([np.nan]) == box([np.nan])


def test_fields_cannot_be_assigned() -> None:
    with pytest.raises(FrozenInstanceError):
        box([1]).label = "x"  # type: ignore[misc]


def test_values_are_not_hashable() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(box([1]))


def test_a_frozen_array_is_a_contiguous_copy_that_cannot_be_written() -> None:
    original = np.arange(6).reshape(2, 3)
    frozen = frozen_array(original.T)
    original[0, 0] = 99
    assert frozen.tolist() == [[0, 3], [1, 4], [2, 5]]
    assert frozen.flags.c_contiguous
    with pytest.raises(ValueError, match="read-only"):
        frozen[0, 0] = 1


def test_a_frozen_scalar_stays_a_scalar() -> None:
    assert frozen_array(np.float32(3)).shape == ()
