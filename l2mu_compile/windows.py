"""Files of sensor windows: ``.npz`` with ``x`` ``[N, T, I]`` and, if known, labels ``y [N]``, the
``classes`` they number, and the ``group [N]`` each window is from, such as a person."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from l2mu_compile.errors import ModelError, reason
from l2mu_compile.network import Network
from l2mu_compile.paths import StrPath, file_bytes
from l2mu_compile.samples import as_samples, check_samples

MAX_FILE_BYTES = 1 << 32
MAX_RATIO = 100  # of all arrays to the file they are packed in
SLACK_BYTES = 1 << 27
ARRAYS = ("x", "y", "classes", "group")


@dataclass(frozen=True)
class Windows:
    """``x`` ``[N, T, I]``, raw counts if int16, else float32.

    ``y`` int64 ``[N]`` are class labels, ``classes`` their names and ``group`` ``[N]`` (integers
    or strings) what windows belong together, or None if unknown; ``source`` is where they come
    from, for messages.
    """

    x: NDArray
    y: NDArray | None = None
    classes: tuple[str, ...] | None = None
    source: str = "windows"
    group: NDArray | None = None

    def first(self, count: int | None) -> Windows:
        """At most ``count`` windows, evenly spread over these."""
        if count is None or count >= len(self.x):
            return self
        return self.chosen(spread(count, len(self.x)))

    def chosen(self, indices: NDArray) -> Windows:
        """The windows at ``indices``."""
        y, group = (None if a is None else a[indices] for a in (self.y, self.group))
        return replace(self, x=self.x[indices], y=y, group=group)

    def require_fit(self, network: Network) -> None:
        """Raise `ModelError`, naming the source, if ``network`` cannot run or score these."""
        try:
            check_samples(network, self.x)
        except ModelError as error:
            raise ModelError(f"{self.source}: {error}") from None
        if self.y is None:
            return
        for index in np.flatnonzero((self.y < 0) | (self.y >= network.classes)):
            raise ModelError(
                f"{self.source}: label y[{index}] is {self.y[index]}; "
                f"those of network {network.name} are between 0 and {network.classes - 1}"
            )


def spread(count: int, windows: int) -> NDArray:
    """Indices of at most ``count`` windows, evenly spread over so many."""
    return np.unique(np.linspace(0, windows - 1, min(count, windows)).astype(int))


def load_windows(path: StrPath) -> Windows:
    """Read windows. Raises `ModelError` naming the file, the array and what is wrong with it."""
    path = Path(path)
    try:
        arrays = _read_arrays(path)
    except Exception as error:
        raise ModelError(f"{path}: cannot read windows: {reason(error)}") from None
    if "x" not in arrays:
        raise ModelError(f"{path}: no array 'x' (found: {', '.join(arrays) or 'none'})")
    x = arrays["x"]
    y, classes, group = (arrays.get(name) for name in ("y", "classes", "group"))
    if x.dtype.kind not in "fiu" or x.ndim != 3 or 0 in x.shape:
        raise ModelError(
            f"{path}: x is {x.dtype} {list(x.shape)}; expected numbers [windows, steps, channels]"
        )
    if y is not None and (y.dtype.kind not in "iu" or y.shape != x.shape[:1]):
        raise ModelError(f"{path}: y is {y.dtype} {list(y.shape)}; expected int [{len(x)}]")
    if classes is not None and (classes.dtype.kind != "U" or classes.ndim != 1):
        raise ModelError(
            f"{path}: classes is {classes.dtype} {list(classes.shape)}; expected a list of strings"
        )
    if group is not None and (group.dtype.kind not in "iuU" or group.shape != x.shape[:1]):
        raise ModelError(
            f"{path}: group is {group.dtype} {list(group.shape)}; "
            f"expected integers or strings [{len(x)}]"
        )
    with np.errstate(over="ignore"):
        x = as_samples(x)
    if not np.isfinite(x).all():
        window = int(np.argwhere(~np.isfinite(x))[0, 0])
        raise ModelError(f"{path}: x holds NaN or infinity (window {window})")
    if y is not None:
        y = np.minimum(y, y.dtype.type(min(np.iinfo(y.dtype).max, np.iinfo(np.int64).max)))
        y = y.astype(np.int64)  # uint64 beyond int64 stays large, and no label
    names = None if classes is None else tuple(classes.tolist())
    return Windows(x, y, names, str(path), group)


def _read_arrays(path: Path) -> dict[str, NDArray]:
    """The arrays there are, after checking that each is as large as its header says."""
    packed = file_bytes(path)
    with zipfile.ZipFile(path) as archive:
        names = {name.removesuffix(".npy"): name for name in archive.namelist()}
        wanted = {key: names[key] for key in ARRAYS if key in names}
        unpacked = sum(archive.getinfo(name).file_size for name in wanted.values())
        if unpacked > MAX_RATIO * packed + SLACK_BYTES:
            raise ValueError(f"unpacks to {unpacked} bytes from {packed}")
        return {key: _read_array(archive, name) for key, name in wanted.items()}


def _read_array(archive: zipfile.ZipFile, name: str) -> NDArray:
    size = archive.getinfo(name).file_size
    if size > MAX_FILE_BYTES:
        raise ValueError(f"{name} unpacks to {size} bytes; at most {MAX_FILE_BYTES}")
    with archive.open(name) as file:
        readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
        version = npy.read_magic(file)
        if version not in readers:
            raise ValueError(f"{name} has .npy version {version}")
        shape, _, dtype = readers[version](file)
        needed = dtype.itemsize * int(np.prod([int(n) for n in shape], dtype=object))
        if dtype.hasobject or needed != size - file.tell():
            raise ValueError(f"{name} claims {dtype} {list(shape)}, which is not what it holds")
    with archive.open(name) as file:
        return npy.read_array(file, allow_pickle=False)
