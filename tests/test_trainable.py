"""Arrays that torch trains: unchanged elements come back bit for bit, the others within limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import f32, i8

from l2mu_compile.grids import GRIDS
from l2mu_compile.trainable import Trainable, floor_through, nearest_through, round_through


def step(trainable: Trainable, change: object) -> None:
    with torch.no_grad():
        trainable.change.copy_(torch.as_tensor(change))
    trainable.keep_allowed()


@pytest.mark.parametrize("array", [f32([1e-45, -0.0, 0.1, -3e38]), np.int32(7), f32(0.3)])
def test_what_was_not_trained_is_the_same_object(array: np.ndarray) -> None:
    trainable = Trainable(np.asarray(array), 0.25)
    assert trainable.array() is trainable.original


def test_changes_are_counted_in_units() -> None:
    trainable = Trainable(f32([[1, -0.0], [3, 4]]), [[0.5], [2]])
    step(trainable, [[1.0, 0.0], [0.0, -1.0]])
    assert trainable.array().tolist() == [[1.5, -0.0], [3, 2]]
    assert np.signbit(trainable.array()[0, 1]), "an element that was not trained changed its bits"
    assert trainable.array().dtype == np.float32
    trainable().sum().backward()
    assert trainable.change.grad is not None
    assert trainable.change.grad.tolist() == [[0.5, 0.5], [2, 2]]


def test_integers_are_rounded_and_clipped() -> None:
    trainable = Trainable(np.int8([1, 2, 100, -100]), 10.0, low=-127, high=127)
    step(trainable, [0.04, 0.07, 9.0, -9.0])
    assert trainable().tolist() == [1, 3, 127, -127]
    assert trainable.array().tolist() == [1, 3, 127, -127]
    assert trainable.array().dtype == np.int8


def test_elements_without_a_unit_stay() -> None:
    trainable = Trainable(f32([0, 200]), [0.0, 0.0], low=-127, high=127)
    step(trainable, [5.0, 5.0])
    assert trainable.array() is trainable.original


def test_what_is_not_to_be_trained_has_no_gradient() -> None:
    trainable = Trainable(f32([1]), 1.0, trained=False)
    assert not trainable().requires_grad


def test_other_elements_are_adopted() -> None:
    trainable = Trainable(np.int8([10, 20, 30]), 7.0)
    step(trainable, [0.06, 0.2, 0.0])
    assert trainable.array().tolist() == [10, 21, 30]
    trainable.adopt(np.int8([10, 20, 33]))
    assert trainable.array().tolist() == [10, 20, 33]
    assert trainable.change[0].item() == pytest.approx(0.06), (
        "an element that agreed lost its fraction"
    )


def test_rounding_passes_gradients_on() -> None:
    values = torch.tensor([0.5, 1.5, -0.3], requires_grad=True)
    assert round_through(values).tolist() == [0, 2, 0]
    assert floor_through(values).tolist() == [0, 1, -1]
    (round_through(values) * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert values.grad is not None and values.grad.tolist() == [1, 2, 3]


def test_integers_stay_multiples_of_their_grid() -> None:
    """A change of 4 is not half a step of 9 away; one of 5 is; bounds are multiples themselves."""
    array = Trainable(i8([[9, -18], [6, 3]]), [[1.0], [1.0]], -36, 36, grid=[[9], [3]])
    with torch.no_grad():
        array.change.copy_(torch.tensor([[4.0, 5.0], [100.0, -1.0]]))
    array.keep_allowed()
    assert array.array().tolist() == [[9, -9], [36, 3]]


def test_integers_stay_powers_of_two_of_their_quantum() -> None:
    """12 and more is nearer to 16 than to 8."""
    shift = GRIDS["shift"]
    array = Trainable(i8([[8, 9, 0]]), 1.0, -64, 64, grid=[[1]], multiples=shift.multiples)
    step(array, [[4.1, 0.0, 0.0]])
    assert array.array().tolist() == [[16, 9, 0]]
    array = Trainable(i8([[3, 96]]), 1.0, -96, 96, grid=[[3]], multiples=shift.multiples)
    step(array, [[1.0, 100.0]])
    array.keep_allowed()
    assert array.array().tolist() == [[3, 96]]
    values = torch.tensor([2.9, -40.0], requires_grad=True)
    nearest_through(values, torch.tensor([-32.0, 0.0, 2.0, 4.0])).sum().backward()
    assert values.grad is not None and values.grad.tolist() == [1, 1]
