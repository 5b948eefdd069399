"""Names of files and what counts as one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from l2mu_compile.paths import file_bytes, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("har.ckpt", "har.ckpt"),
        ("ü →", "ü →"),
        ("a\nb\t\x1b[2J\u2028", "a?b??[2J?"),
        (os.fsdecode(b"n\xff"), "n?"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown
    printable(text).encode()


def test_file_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert file_bytes(tmp_path / "file") == 3
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "none", tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(OSError, match=r"Is a directory|No such file|Not a regular file"):
            file_bytes(path)
