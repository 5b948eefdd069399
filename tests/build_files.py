"""A project with a file of builds, for tests of ``l2mu-compile build``."""

from __future__ import annotations

import shutil
from pathlib import Path

FILE = """\
jobs = 1

[model.net]
checkpoint = "net.pt"
calibrate = "windows.npz"
test = "windows.npz"

[target.here]
target = "host"

[pipeline.int8]
quantize = "int8"
[pipeline.float]
"""
INT8, FLOAT = "net/here/int8", "net/here/float"


def make_project(data: Path) -> None:
    """Put a checkpoint, windows and a file of two builds into the current directory."""
    for name in ("net.pt", "windows.npz"):
        shutil.copy(data / name, name)
    Path("l2mu.toml").write_text(FILE)
