"""NIR files (HDF5), read without trusting them: plain arrays and strings, or a `ModelError`.

Nothing outside the file is opened, no filter but those of HDF5 itself is run, and no array is read
before its shape, its type and what it takes up in the file have been looked at. The HDF5 library
itself may crash on a damaged file or never return, so all this happens in a process of its own.
``nir.read`` does none of this, and refuses published files that are clear enough (see
`l2mu_compile.nir_graph`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2mu_compile import installed
from l2mu_compile.errors import L2MUError, ModelError, reason
from l2mu_compile.paths import file_bytes
from l2mu_compile.values import frozen_array
from l2mu_compile.workers import DiedError, alone

MAX_FILE_BYTES = 1 << 28
MAX_BYTES = 1 << 28  # of all arrays and strings together
MAX_OBJECTS = 20_000
MAX_DEPTH = 16
MAX_TEXT_BYTES = 1 << 20
MAX_NAME_BYTES = 1 << 10
MAX_EDGES = 1 << 16
MAX_RATIO = 1100  # deflate makes at most 1032 bytes of one
SLACK_BYTES = 1 << 20
CPU_SECONDS = 10

# gzip, shuffle, fletcher32, szip, nbit, scaleoffset, lzf: other filters are code from elsewhere.
_FILTERS = {1, 2, 3, 4, 5, 6, 32000}

Field = NDArray | str


@dataclass(frozen=True)
class NirNode:
    """A node as the file has it: ``kind`` is its type, ``fields`` its arrays and strings.

    Numbers are float32 where the file has them so, else float64. A graph has ``nodes`` by name and
    ``edges`` in the file's order instead.
    """

    kind: str
    fields: dict[str, Field] = field(default_factory=dict)
    metadata: dict[str, Field] = field(default_factory=dict)
    nodes: dict[str, NirNode] = field(default_factory=dict)
    edges: tuple[tuple[str, str], ...] = ()


def read_nir(path: Path) -> NirNode:
    """The graph in a ``.nir`` file. Raises `ModelError` (without the path) for any other file,
    `UsageError` where the ``nir`` extra is not installed."""
    h5py = require("h5py")
    try:
        if file_bytes(path) > MAX_FILE_BYTES:
            raise ModelError(f"larger than {MAX_FILE_BYTES} bytes")
        return alone(lambda: _read(h5py, path), CPU_SECONDS, 4 * MAX_BYTES)
    except L2MUError:
        raise
    except DiedError:
        raise ModelError("not a readable NIR file: the HDF5 library fails on it") from None
    except FileNotFoundError:
        raise ModelError("no such file") from None
    except (IsADirectoryError, PermissionError) as error:
        raise ModelError(f"cannot be read: {reason(error)}") from None
    except Exception as error:
        raise ModelError(f"not a readable NIR file: {_first_line(error)}") from None


def require(package: str) -> Any:
    """A package of the ``nir`` extra; `UsageError` if it is not installed."""
    return installed.require(package, "nir", "NIR files")


def _read(h5py: Any, path: Path) -> NirNode:
    with h5py.File(path, "r", locking=False) as file:
        return _Reader(h5py).graph_file(file)


class _Reader:
    """Walks a file's groups, with what all of it may take up."""

    def __init__(self, h5py: Any) -> None:
        self.h5py = h5py
        self.objects = self.bytes = 0

    def graph_file(self, file: Any) -> NirNode:
        members = self.members(file, "/")
        if "node" not in members:
            raise ModelError("not a NIR file: it has no group 'node'")
        node = self.node(members["node"], "node", 0)
        if node.kind != "NIRGraph":
            raise ModelError(f"holds a {node.kind}, not a graph")
        return node

    def members(self, group: Any, place: str) -> dict[str, Any]:
        """What is in a group, by name; nothing that lies elsewhere."""
        if not isinstance(group, self.h5py.Group):
            raise ModelError(f"{place}: is no group")
        found = {}
        for name in group:
            self.objects += 1
            if self.objects > MAX_OBJECTS:
                raise ModelError(f"holds more than {MAX_OBJECTS} groups and arrays")
            link = group.get(name, getlink=True)
            if not isinstance(link, self.h5py.HardLink):
                raise ModelError(f"{place}/{name}: is a link to somewhere else, which is not read")
            found[name] = group[name]
        return found

    def node(self, group: Any, place: str, depth: int) -> NirNode:
        if depth > MAX_DEPTH:
            raise ModelError(f"{place}: graphs in graphs more than {MAX_DEPTH} deep")
        members = self.members(group, place)
        kind = self.text(members.pop("type", None), f"{place}/type")
        metadata = members.pop("metadata", None)
        nodes = members.pop("nodes", None) if kind == "NIRGraph" else None
        edges = members.pop("edges", None) if kind == "NIRGraph" else None
        return NirNode(
            kind,
            self.values(members, place),
            {} if metadata is None else self.metadata(metadata, f"{place}/metadata"),
            {} if nodes is None else self.nodes(nodes, f"{place}/nodes", depth),
            () if edges is None else self.edges(edges, f"{place}/edges"),
        )

    def nodes(self, group: Any, place: str, depth: int) -> dict[str, NirNode]:
        members = self.members(group, place)
        return {name: self.node(member, name, depth + 1) for name, member in members.items()}

    def edges(self, dataset: Any, place: str) -> tuple[tuple[str, str], ...]:
        self.check(dataset, place)
        if dataset.size == 0:
            return ()
        if dataset.ndim != 2 or dataset.shape[1] != 2 or dataset.shape[0] > MAX_EDGES:
            raise ModelError(f"{place}: has shape {list(dataset.shape)}, not [edges, 2]")
        # One by one: many strings may be the same bytes of the file, and each takes up memory.
        rows = ([dataset[i, end] for end in (0, 1)] for i in range(len(dataset)))
        return tuple((self.name(a, place), self.name(b, place)) for a, b in rows)

    def name(self, text: Any, place: str) -> str:
        found = self.decoded(text, place)
        if len(found) > MAX_NAME_BYTES:
            raise ModelError(f"{place}: a name of more than {MAX_NAME_BYTES} letters")
        return found

    def decoded(self, text: Any, place: str) -> str:
        if isinstance(text, bytes):
            text = text.decode("utf-8", "replace")
        if not isinstance(text, str) or len(text) > MAX_TEXT_BYTES:
            raise ModelError(f"{place}: is not a string, or too long a one")
        self.take(len(text), place)
        return text

    def take(self, size: int, place: str) -> None:
        self.bytes += size
        if self.bytes > MAX_BYTES:
            raise ModelError(f"{place}: too much to read, more than {MAX_BYTES} bytes in all")

    def values(self, members: dict[str, Any], place: str) -> dict[str, Field]:
        """Arrays and strings of a node; what is neither is left for who needs it to miss."""
        found: dict[str, Field] = {}
        for name, member in members.items():
            if isinstance(member, self.h5py.Dataset):
                found[name] = self.value(member, f"{place}/{name}")
        return found

    def metadata(self, group: Any, place: str) -> dict[str, Field]:
        return self.values(self.members(group, place), place)

    def text(self, dataset: Any, place: str) -> str:
        if not isinstance(dataset, self.h5py.Dataset):
            raise ModelError(f"{place}: is missing")
        value = self.value(dataset, place)
        if not isinstance(value, str):
            raise ModelError(f"{place}: is not a string")
        return value

    def value(self, dataset: Any, place: str) -> Field:
        self.check(dataset, place)
        if dataset.shape is None:
            raise ModelError(f"{place}: holds nothing")
        if dataset.dtype.kind not in "fiub":
            if dataset.shape != ():
                raise ModelError(f"{place}: holds {dataset.dtype}, not numbers")
            return self.decoded(dataset[()], place)
        array = np.asarray(dataset[()])
        return frozen_array(array if array.dtype == np.float32 else array.astype(np.float64))

    def check(self, dataset: Any, place: str) -> None:
        """Refuse what is not in the file, or more than it can be."""
        if not isinstance(dataset, self.h5py.Dataset):
            raise ModelError(f"{place}: is no array")
        if dataset.is_virtual or dataset.external:
            raise ModelError(f"{place}: lies in another file, which is not read")
        plan = dataset.id.get_create_plist()
        filters = {plan.get_filter(i)[0] for i in range(plan.get_nfilters())}
        if filters - _FILTERS:
            raise ModelError(f"{place}: is packed by a filter that is not HDF5's own")
        string = self.h5py.check_string_dtype(dataset.dtype) is not None
        if dataset.dtype.kind not in "fiub" and not string:
            raise ModelError(f"{place}: holds {dataset.dtype}, neither numbers nor a string")
        taken = dataset.size * (dataset.dtype.itemsize if string else 8) if dataset.size else 0
        if taken > MAX_RATIO * dataset.id.get_storage_size() + SLACK_BYTES:
            raise ModelError(f"{place}: has shape {list(dataset.shape)}, more than the file holds")
        self.take(taken, place)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
