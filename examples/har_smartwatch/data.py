"""The smartwatch recordings: find, check, normalise and cut them into windows.

140 recordings of 10 people doing 7 shoulder exercises with a watch on the left or right wrist,
50 samples a second; shipped in the PyPI package ``seglearn`` (Burns et al., arXiv 1802.01489).
"""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SHA256 = "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"
CHANNELS = ("x_acc", "x_gyro", "y_acc", "y_gyro", "z_acc", "z_gyro")
FILE_CHANNELS = ("ax", "wx", "ay", "wy", "az", "wz")  # the same, as the file calls them
CLASSES = ("PEN", "ABD", "FEL", "IR", "ER", "TRAP", "ROW")
RATE_HZ = 50
WINDOW = 100  # samples: 2 s
TRAINING_PEOPLE = (1, 2, 3, 4, 5, 6, 7, 8)
HELDOUT_PEOPLE = (9, 10)

# Fixed input scaling: x = (sample - OFFSET) / SCALE, in g and rad/s, in CHANNELS order. Mean and
# standard deviation of people 1-8; the three channels whose sign depends on the wrist have no
# offset, so the mirrored recording of a wrist is the recording of the other.
OFFSET = np.array([0.0, 0.02, 0.38, 0.0, -0.14, 0.0])
SCALE = np.array([0.93, 1.02, 0.50, 2.56, 0.55, 1.09])
MIRROR = np.array([-1.0, 1.0, 1.0, -1.0, 1.0, -1.0])  # left wrist to right wrist and back
STEP = 1.0 / 1024.0  # resolution that scaled samples are rounded to


class DataError(Exception):
    """The recordings are missing or are not the published ones."""


@dataclass(frozen=True)
class Recording:
    """One exercise set: scaled samples ``[n, 6]`` float32, class, person and wrist."""

    x: np.ndarray
    y: int
    person: int
    right: bool


def find() -> Path:
    """The data file inside the installed ``seglearn`` package, which is not imported."""
    spec = importlib.util.find_spec("seglearn")
    if spec is None or spec.origin is None:
        raise DataError("seglearn is not installed; run: pip install --no-deps seglearn==1.2.5")
    return Path(spec.origin).parent / "data" / "watch_dataset.npy"


def load(path: Path | None = None) -> list[Recording]:
    """All 140 recordings. The file is a pickle, so its checksum is verified before it is read."""
    path = path or find()
    if not path.is_file():
        raise DataError(f"no such file: {path}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != SHA256:
        raise DataError(
            f"{path} is not the file of seglearn 1.2.5: SHA-256 {digest}, expected {SHA256}"
        )
    raw = np.load(path, allow_pickle=True).item()
    columns = [list(raw["X_labels"]).index(name) for name in FILE_CHANNELS]
    entries = zip(raw["X"], raw["y"], raw["subject"], raw["side"], strict=True)
    return [
        Recording(scale(x[:, columns]), int(y), int(person), bool(side))
        for x, y, person, side in entries
    ]


def scale(samples: np.ndarray) -> np.ndarray:
    """Samples in g and rad/s, last axis in CHANNELS order, to what the network reads."""
    return rounded((samples - OFFSET) / SCALE)


def rounded(scaled: np.ndarray) -> np.ndarray:
    """Scaled samples at the resolution that the network reads."""
    return (np.round(scaled / STEP) * STEP).astype(np.float32)


def windows(
    recordings: list[Recording], people: tuple[int, ...], stride: int = WINDOW
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Windows ``[N, WINDOW, 6]`` every ``stride`` samples, their classes and people ``[N]``.

    Each recording's first window starts at its first sample; a last, shorter piece is dropped.
    """
    chosen = [
        (r.x[start : start + WINDOW], r.y, r.person)
        for r in recordings
        if r.person in people
        for start in range(0, len(r.x) - WINDOW + 1, stride)
    ]
    x, y, person = zip(*chosen, strict=True)
    return np.stack(x), np.array(y, dtype=np.int64), np.array(person, dtype=np.int64)
