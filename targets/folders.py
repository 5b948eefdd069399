"""Directories that builds write to; one that cannot be written is a ToolchainError."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from l2mu_compile.errors import ToolchainError, reason


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """A directory that goes when the block ends; ToolchainError where files cannot be written."""
    try:
        with tempfile.TemporaryDirectory(prefix="l2mu-compile-") as name:
            yield Path(name)
    except OSError as error:
        raise ToolchainError(f"cannot write temporary files: {reason(error)}") from error


def make_directory(path: Path) -> None:
    """Make a directory, and those above it, where there is none."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ToolchainError(f"cannot create directory {path}: {error.strerror}") from error
