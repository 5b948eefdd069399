"""What a long computation has found so far, kept in files: a killed run can go on from there.

A file is named after the digest of everything the computation depends on, and holds the SHA-256 of
its own content: one that is damaged, or was written by something else, is not used.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from l2mu_compile.output import write_whole
from l2mu_compile.paths import file_bytes

MAX_BYTES = 1 << 32
SUFFIX = ".kept"
_VALUES = "values"
_DIGEST_BYTES = hashlib.sha256().digest_size

Arrays = Mapping[str, NDArray]


@dataclass(frozen=True)
class Kept:
    """Files in ``folder``; ``say`` takes a line for the user, that nothing else depends on."""

    folder: Path
    say: Callable[[str], None]

    def save(self, key: str, arrays: Arrays, values: Mapping[str, Any]) -> None:
        """Keep named arrays and plain ``values``; what was kept of ``key`` goes."""
        text = np.frombuffer(json.dumps(values).encode(), dtype=np.uint8)
        content = save({**arrays, _VALUES: text})
        write_whole(self._path(key), hashlib.sha256(content).digest() + content)

    def load(self, key: str) -> tuple[dict[str, NDArray], dict[str, Any]] | None:
        """What was kept last, or None; what cannot be used is said and ignored."""
        path = self._path(key)
        try:
            if file_bytes(path) > MAX_BYTES:
                raise ValueError("too large")
            content = path.read_bytes()
            if hashlib.sha256(content[_DIGEST_BYTES:]).digest() != content[:_DIGEST_BYTES]:
                raise ValueError("its digest is wrong")
            arrays = load(content[_DIGEST_BYTES:])
            return arrays, json.loads(arrays.pop(_VALUES).tobytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            self.say(f"{path}: not what an earlier run kept ({error}); starting anew")
            return None

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{SUFFIX}"
