"""Files of sensor windows; bad ones are in ``test_bad_input.py``."""

from __future__ import annotations

import numpy as np
import pytest

from l2mu_compile import windows
from l2mu_compile.errors import ModelError
from l2mu_compile.windows import Windows, load_windows


def arrays(count=5):
    x = np.random.default_rng(0).normal(size=(count, 7, 3)).astype(np.float32)
    return x, np.arange(count) % 2


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_round_trip(tmp_path, save):
    x, y = arrays()
    save(tmp_path / "w.npz", x=x, y=y, person=np.array(["a", None], dtype=object))
    found = load_windows(tmp_path / "w.npz")
    np.testing.assert_array_equal(found.x, x)
    np.testing.assert_array_equal(found.y, y)
    assert (found.x.dtype, found.y.dtype) == (np.float32, np.int64)


@pytest.mark.parametrize("dtype", ["f2", "f8", ">f4", ">i2", "u1", "i8"])
def test_other_number_types(tmp_path, dtype):
    x = (arrays()[0] * 10).astype(dtype)
    np.savez(tmp_path / "w.npz", x=x, y=np.arange(5).astype("u1"))
    found = load_windows(tmp_path / "w.npz")
    np.testing.assert_array_equal(found.x, x.astype(np.float32))
    assert (found.x.dtype, found.y.dtype) == (np.float32, np.int64)


def test_raw_counts_stay_counts(tmp_path):
    x = (arrays()[0] * 1000).astype(np.int16)
    np.savez(tmp_path / "w.npz", x=x)
    found = load_windows(tmp_path / "w.npz")
    np.testing.assert_array_equal(found.x, x)
    assert found.x.dtype == np.int16


def test_names_of_classes(tmp_path):
    x, y = arrays()
    np.savez(tmp_path / "w.npz", x=x, y=y, classes=np.array(["walk", "run up"]))
    found = load_windows(tmp_path / "w.npz")
    assert found.classes == ("walk", "run up")
    assert found.first(2).classes == found.classes
    np.savez(tmp_path / "w.npz", x=x, y=y)
    assert load_windows(tmp_path / "w.npz").classes is None


@pytest.mark.parametrize(
    ("classes", "text"),
    [
        (np.arange(2), r"w.npz: classes is int64 \[2\]; expected a list of strings"),
        (np.array([["a", "b"]]), r"classes is <U1 \[1, 2\]; expected a list of strings"),
        (np.array(["a", None], dtype=object), "cannot read windows: classes.npy claims object"),
    ],
)
def test_other_classes_are_refused(tmp_path, classes, text):
    np.savez(tmp_path / "w.npz", x=arrays()[0], classes=classes)
    with pytest.raises(ModelError, match=text):
        load_windows(tmp_path / "w.npz")


def test_fortran_order(tmp_path):
    x = np.asfortranarray(arrays()[0])
    np.savez(tmp_path / "w.npz", x=x)
    found = load_windows(tmp_path / "w.npz")
    np.testing.assert_array_equal(found.x, x)
    assert found.y is None


def test_numbers_beyond_float32(tmp_path):
    x = np.zeros((4, 2, 2))
    x[3, 1, 0] = 1e300
    np.savez(tmp_path / "w.npz", x=x)
    with pytest.raises(ModelError, match=r"w.npz: x holds NaN or infinity \(window 3\)"):
        load_windows(tmp_path / "w.npz")


def test_arrays_larger_than_allowed(tmp_path, monkeypatch):
    np.savez(tmp_path / "w.npz", x=arrays()[0])
    monkeypatch.setattr(windows, "MAX_FILE_BYTES", 100)
    with pytest.raises(ModelError, match=r"x.npy unpacks to .* bytes; at most 100"):
        load_windows(tmp_path / "w.npz")


@pytest.mark.parametrize(
    ("count", "chosen"), [(None, range(9)), (99, range(9)), (3, (0, 4, 8)), (1, (0,)), (2, (0, 8))]
)
def test_first(count, chosen):
    x, y = arrays(9)
    found = Windows(x, y).first(count)
    np.testing.assert_array_equal(found.x, x[list(chosen)])
    np.testing.assert_array_equal(found.y, y[list(chosen)])
    assert Windows(x).first(count).y is None


@pytest.mark.parametrize("group", [np.arange(5) // 2, np.array(["ann", "bob", "bob", "c", "c"])])
def test_groups(tmp_path, group):
    x, y = arrays()
    np.savez(tmp_path / "w.npz", x=x, y=y, group=group)
    found = load_windows(tmp_path / "w.npz")
    np.testing.assert_array_equal(found.group, group)
    np.testing.assert_array_equal(found.first(3).group, group[[0, 2, 4]])
    np.testing.assert_array_equal(found.chosen(np.array([3])).group, group[[3]])
    np.savez(tmp_path / "w.npz", x=x)
    assert load_windows(tmp_path / "w.npz").group is None


@pytest.mark.parametrize(
    ("group", "text"),
    [
        (np.arange(4), r"group is int64 \[4\]; expected integers or strings \[5\]"),
        (np.zeros(5), r"group is float64 \[5\]; expected integers or strings"),
        (np.array(["a", None, 1, 2, 3], dtype=object), "cannot read windows: group.npy claims"),
    ],
)
def test_other_groups_are_refused(tmp_path, group, text):
    np.savez(tmp_path / "w.npz", x=arrays()[0], group=group)
    with pytest.raises(ModelError, match=text):
        load_windows(tmp_path / "w.npz")
