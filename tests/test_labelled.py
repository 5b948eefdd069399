"""Windows are split before training: whole groups where there are some, else each class alike."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from networks import f32
from toy_training import by_class, network, windows

from l2mu_compile.errors import ModelError
from l2mu_compile.labelled import VALIDATION_SHARE, labelled
from l2mu_compile.windows import Windows


def members(part: Windows, whole: Windows) -> set[int]:
    """Where windows of a part are in the whole."""
    return {int(np.flatnonzero((whole.x == x).all((1, 2)))[0]) for x in part.x}


@pytest.mark.parametrize("grouped", [True, False])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_window_is_on_one_side(grouped: bool, seed: int) -> None:
    whole = windows(100) if grouped else by_class(windows(100))
    found = labelled(whole, None, network(), seed)
    train, validation = members(found.train, whole), members(found.validation, whole)
    assert train | validation == set(range(100)) and not train & validation
    assert abs(len(validation) / 100 - VALIDATION_SHARE) < 0.05
    for part, indices in ((found.train, train), (found.validation, validation)):
        order = sorted(indices)
        assert whole.y is not None and part.y is not None
        assert np.array_equal(part.x, whole.x[order]) and np.array_equal(part.y, whole.y[order])
    assert found.seed == seed


def test_groups_stay_whole() -> None:
    names = np.array(["ann", "bob", "cy", "di", "eve"])
    whole = windows(100)
    whole = replace(whole, group=names[np.random.default_rng(0).integers(0, 5, 100)])
    held = set()
    for seed in range(16):
        found = labelled(whole, None, network(), seed)
        assert found.train.group is not None and found.validation.group is not None
        train, validation = (set(p.group.tolist()) for p in (found.train, found.validation))
        assert train | validation == set(names.tolist()) and not train & validation
        listed = ", ".join(sorted(validation))
        kind = "group" if len(validation) == 1 else "groups"
        assert found.split == f"{kind} {listed} of 5 of toy.npz"
        held |= validation
    assert held == set(names.tolist()), "some groups are never held back"


def test_groups_are_named_as_terminals_and_files_bear_it() -> None:
    whole = replace(windows(90), group=np.repeat(["a\x1b[31m", "b\n"], 45), source="some/w.npz")
    assert labelled(whole, None, network()).split in (
        "group a?[31m of 2 of w.npz",
        "group b? of 2 of w.npz",
    )
    many = replace(whole, group=np.arange(90))
    assert labelled(many, None, network()).split == "18 groups of 90 of w.npz"


def test_as_near_to_a_fifth_as_groups_allow() -> None:
    whole = replace(windows(100), group=np.repeat([7, 8, 9], [80, 10, 10]))
    for seed in range(6):
        found = labelled(whole, None, network(), seed)
        assert len(found.validation.x) in (10, 20, 80)
        assert found.validation.group is not None
        if len(found.validation.x) == 80:
            assert set(found.validation.group.tolist()) == {7}


def test_without_groups_every_class_has_its_share() -> None:
    whole = by_class(windows(100))
    y = np.repeat([0, 1, 2], [80, 18, 2])
    found = labelled(replace(whole, y=y), None, network())
    assert found.validation.y is not None
    assert np.bincount(found.validation.y).tolist() == [16, 4, 1]
    assert found.split == "a fifth of the windows of each class of toy.npz"


def test_the_same_seed_splits_alike() -> None:
    for whole in (windows(60, groups=20), by_class(windows(60))):
        parts = [labelled(whole, None, network(), seed).validation.x for seed in (3, 3, 4)]
        assert np.array_equal(parts[0], parts[1])
        assert not np.array_equal(parts[0], parts[2])


def test_windows_to_validate_on_may_be_given() -> None:
    whole, other = windows(60), replace(windows(9, seed=1), source="other.npz")
    found = labelled(whole, other, network())
    assert found.train is whole and found.validation is other
    assert found.split == "windows of other.npz"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": None}, "toy.npz: no array 'y': training needs the class of each window"),
        ({"y": np.full(90, 3)}, r"toy.npz: label y\[0\] is 3; those of network toy"),
        ({"y": np.arange(90) % 2}, "toy.npz: holds no window of class 2$"),
        ({"y": np.zeros(90, int)}, "toy.npz: holds no window of class 1 and 1 more"),
        ({"x": f32(np.zeros((90, 4, 2)))}, "toy.npz: windows have shape"),
        ({"group": np.full(90, 5)}, "toy.npz: all windows are of group 5; give windows of other"),
        (
            {"y": np.where(np.arange(90) < 40, 0, np.arange(90) % 2 + 1), "group": None},
            None,
        ),
    ],
)
def test_windows_that_cannot_serve(change: dict[str, Any], message: str | None) -> None:
    whole = replace(windows(), **change)
    if message is None:
        labelled(whole, None, network())
        return
    with pytest.raises(ModelError, match=message):
        labelled(whole, None, network())
    if "group" not in change:
        with pytest.raises(ModelError, match=message):
            labelled(whole, windows(), network())


def test_a_class_that_only_held_back_groups_have() -> None:
    whole = windows(90, groups=3)
    assert whole.group is not None and whole.y is not None
    y = np.where(whole.group == 1, 2, whole.y % 2)
    readout = replace(network().readout, labels=("a", "b", "row"))
    messages = set()
    for seed in range(6):
        try:
            labelled(replace(whole, y=y), None, network().replace(readout=readout), seed)
        except ModelError as error:
            messages.add(str(error))
    assert messages == {
        "toy.npz: validating on group 1 of 3 of toy.npz leaves no window to train on of class 2 "
        "(row)"
    }


def test_unlabelled_windows_to_validate_on() -> None:
    with pytest.raises(ModelError, match=r"val.npz: no array 'y'"):
        labelled(windows(), replace(windows(), y=None, source="val.npz"), network())
