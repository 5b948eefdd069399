"""What is kept comes back as it was, or not at all."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from networks import f32

from l2mu_compile import kept as module
from l2mu_compile.kept import Kept


def test_round_trip(tmp_path: Path) -> None:
    lines: list[str] = []
    kept = Kept(tmp_path, lines.append)
    assert kept.load("a") is None
    arrays = {"w": f32([[1, -0.0]]), "n": np.asarray(np.int32(7)), "d": np.float64([0.1])}
    kept.save("a", {"w": f32([2])}, {"epoch": 0})
    kept.save("a", arrays, {"epoch": 3, "loss": 0.1})
    found = kept.load("a")
    assert found is not None and found[1] == {"epoch": 3, "loss": 0.1}
    assert found[0].keys() == arrays.keys()
    for name, array in arrays.items():
        assert (found[0][name].dtype, found[0][name].shape) == (array.dtype, np.shape(array))
        assert found[0][name].tobytes() == array.tobytes()
    assert kept.load("b") is None and lines == []
    assert [p.name for p in tmp_path.iterdir()] == ["a.kept"]


@pytest.mark.parametrize(
    "content",
    [b"", b"short", bytes(5000), hashlib.sha256(b"{}").digest() + b"{}", b"\xff" * 40],
)
def test_what_is_not_ours_is_ignored(content: bytes, tmp_path: Path) -> None:
    lines: list[str] = []
    kept = Kept(tmp_path, lines.append)
    (tmp_path / "a.kept").write_bytes(content)
    assert kept.load("a") is None
    assert len(lines) == 1 and "a.kept: not what an earlier run kept" in lines[0]
    kept.save("a", {}, {"epoch": 1})
    assert kept.load("a") == ({}, {"epoch": 1})


def test_large_files_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    kept = Kept(tmp_path, lines.append)
    kept.save("a", {"w": f32(np.zeros(99))}, {})
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    assert kept.load("a") is None and "too large" in lines[0]


def test_a_directory_is_not_read(tmp_path: Path) -> None:
    lines: list[str] = []
    (tmp_path / "a.kept").mkdir()
    assert Kept(tmp_path, lines.append).load("a") is None and len(lines) == 1
