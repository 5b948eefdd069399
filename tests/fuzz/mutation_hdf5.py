"""HDF5 files made of others by the library itself: it can read all of them, whatever they say."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

import h5py
import numpy as np
from mutation import MAX_BYTES, mutate_text

_TYPES = ("f4", "f8", "f2", ">f4", "i1", "i8", "u8", "?", "c8", "f4,i4", "S3", "V5")
_SHAPES = ((), (0,), (1,), (2,), (3,), (1, 1), (2, 3), (0, 4), (4, 4), (1, 2, 3), (2, 1, 3, 3))
_HUGE = ((1 << 20, 1 << 14), (1 << 40,), (1 << 16, 2), (3000, 3000))
_VALUES = (
    *(0, -1, 1, 2, 3, 255, 65535, 65536, 2**31, 2**53, -(2**31), 0.5, 1e-4, 1e-9, 1e-45, 1e38),
    *(1e39, 1e300, -1e300, np.nan, np.inf, -np.inf),
)
_KINDS = (
    *("Input", "Output", "NIRGraph", "Linear", "Affine", "Scale", "Delay", "Flatten", "Threshold"),
    *("IF", "LIF", "CubaLIF", "LI", "I", "CubaLI", "Conv1d", "Conv2d", "SumPool2d", "AvgPool2d"),
)
_FIELDS = (
    *("weight", "bias", "tau", "tau_mem", "tau_syn", "r", "v_leak", "v_threshold", "v_reset"),
    *("w_in", "scale", "delay", "shape", "input_shape", "stride", "padding", "dilation", "groups"),
    *("kernel_size", "type", "metadata", "nodes", "edges", "input_type", "start_dim", "end_dim"),
)
_SAID = (
    *(("producer", "norse"), ("producer", "x"), ("dt", 0.0), ("dt", "1"), ("dt", 1e-3)),
    *(("reset", "zero"), ("reset", "subtract_first"), ("reset", 1), ("start", "leak")),
)
_TEXTS = ("", "same", "valid", "zero", "ü", "\0", "\x1b[2J", "x" * 2000, "x" * (1 << 20), "../..")


def mutate_members(data: bytes, random: Random) -> bytes:
    """Arrays, strings, groups and links of a file changed, lost, doubled or put elsewhere."""
    with h5py.File.in_memory(data) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numbers that do not fit their new type
        for _ in range(random.choice((1, 1, 2, 3))):
            with suppress(Exception):  # not every member can be changed in every way
                _change(file, random)
        changed = _packed(file)
    return changed if len(changed) <= MAX_BYTES else data


def _packed(file: Any) -> bytes:
    """A copy without what deleted members leave behind."""
    with h5py.File.in_memory() as packed:
        for name in file:
            file.copy(name, packed)
        packed.flush()
        return bytes(packed.id.get_file_image())


def _change(file: Any, random: Random) -> None:
    group, name = random.choice(_members(file["node"], 0))
    change = random.choice(_CHANGES)
    change(file, group, name, random)


def _members(group: Any, depth: int) -> list[tuple[Any, str]]:
    """Every (group, name of a member)."""
    found = [(group, name) for name in group]
    for name in group if depth < 6 else ():
        below = group[name] if isinstance(group.get(name, getlink=True), h5py.HardLink) else None
        found += _members(below, depth + 1) if isinstance(below, h5py.Group) else []
    return found


def _replaced(group: Any, name: str, **options: Any) -> None:
    if name in group:
        del group[name]
    group.create_dataset(name, **options)


def _array(group: Any, name: str) -> Any:
    """What a member holds; it may claim more than there is."""
    if not isinstance(group[name], h5py.Dataset) or (group[name].size or 0) > MAX_BYTES:
        raise ValueError("is not changed")
    return np.array(group[name][()])


def _value(file: Any, group: Any, name: str, random: Random) -> None:
    """One number, or all."""
    values = _array(group, name)
    if values.dtype.kind not in "fiub" or not values.size:
        return
    value = random.choice(_VALUES)
    if values.dtype.kind != "f" or random.randrange(3) == 0:
        values = values.astype("f8")
    flat = values.reshape(-1)
    flat[random.randrange(flat.size) if random.randrange(2) else slice(None)] = value
    _replaced(group, name, data=values)


def _shaped(file: Any, group: Any, name: str, random: Random) -> None:
    """Another shape and type."""
    shape, dtype = random.choice(_SHAPES), random.choice(("f4", *_TYPES))
    _replaced(group, name, data=np.ones(shape, "f4").astype(np.dtype(dtype)))


def _cast(file: Any, group: Any, name: str, random: Random) -> None:
    values = _array(group, name)
    _replaced(group, name, data=values.astype(random.choice(_TYPES)))


def _cut(file: Any, group: Any, name: str, random: Random) -> None:
    """An axis shorter, longer, more or less."""
    values = _array(group, name)
    way = random.randrange(4)
    if way == 0 and values.ndim:
        values = np.take(values, range(values.shape[0] - 1), axis=0)
    elif way == 1 and values.ndim:
        values = np.concatenate([values, values], axis=random.randrange(values.ndim))
    elif way == 2:
        values = values[None]
    else:
        values = values.reshape(-1)[:1].reshape(random.choice(((), (1,))))
    _replaced(group, name, data=values)


def _claim(file: Any, group: Any, name: str, random: Random) -> None:
    """More than is there, in chunks of which none is."""
    shape = random.choice(_HUGE)
    chunks = tuple(min(n, 256) for n in shape)
    _replaced(group, name, shape=shape, dtype="f4", chunks=chunks, compression="gzip")


def _text(file: Any, group: Any, name: str, random: Random) -> None:
    way = random.randrange(4)
    if way == 0:
        _replaced(group, name, data=random.choice(_TEXTS))
    elif way == 1:
        _replaced(group, name, data=random.choice(_KINDS))
    elif group[name].dtype.kind in "OS" and not group[name].shape:
        value = group[name][()]
        value = value if isinstance(value, bytes) else str(value).encode()
        _replaced(group, name, data=mutate_text(value, random))


def _retype(file: Any, group: Any, name: str, random: Random) -> None:
    node = group[name]
    if isinstance(node, h5py.Group):
        _replaced(node, "type", data=random.choice(_KINDS))


def _lose(file: Any, group: Any, name: str, random: Random) -> None:
    del group[name]


def _copy(file: Any, group: Any, name: str, random: Random) -> None:
    """A member once more, somewhere, by a name that may mean something."""
    other, taken = random.choice(_members(file["node"], 0))
    new = random.choice((*_FIELDS, taken, name + "2", "ü", "x" * 1100, "\x1b[2J"))
    if new in other:
        del other[new]
    group.copy(name, other, new)


def _link(file: Any, group: Any, name: str, random: Random) -> None:
    links: tuple[Callable[[], Any], ...] = (
        lambda: h5py.SoftLink("/node"),
        lambda: h5py.ExternalLink("/dev/zero", "/"),
        lambda: file["node"],
        lambda: group.parent,
    )
    group[random.choice((name + "2", "again"))] = random.choice(links)()


def _edges(file: Any, group: Any, name: str, random: Random) -> None:
    """An edge more, less, turned round, or to another node."""
    groups = [g for g, n in _members(file["node"], 0) if n == "edges"]
    if not groups:
        return
    graph = random.choice(groups)
    edges = [[str(n) for n in row] for row in _array(graph, "edges").astype(str)]
    names = ["none", "input.x"]
    names += graph["nodes"] if isinstance(graph.get("nodes"), h5py.Group) else []
    way, place = random.randrange(5), random.randrange(len(edges))
    if way == 0:
        del edges[place]
    elif way == 1:
        edges[place].reverse()
    elif way == 2:
        edges[place][random.randrange(2)] = random.choice(names)
    elif way == 3:
        edges.append([random.choice(names), random.choice(names)])
    else:
        random.shuffle(edges)
    rows = np.array(edges, dtype=object).reshape(-1, 2)
    _replaced(graph, "edges", data=rows, dtype=h5py.string_dtype())


def _between(file: Any, group: Any, name: str, random: Random) -> None:
    """A node put between two others."""
    graph = file["node"]
    edges = [[str(n) for n in row] for row in _array(graph, "edges").astype(str)]
    place, new = random.randrange(len(edges)), f"n{random.randrange(100)}"
    node = graph["nodes"].create_group(new)
    node.create_dataset("type", data=random.choice(_KINDS))
    for field in random.sample(_FIELDS[:21], 10):
        values = np.full(random.choice(_SHAPES), random.choice(_VALUES[:14]), "f8")
        node.create_dataset(field, data=values)
    source, target = edges[place]
    edges[place : place + 1] = [[source, new], [new, target]]
    rows = np.array(edges, dtype=object)
    _replaced(graph, "edges", data=rows, dtype=h5py.string_dtype())


def _say(file: Any, group: Any, name: str, random: Random) -> None:
    """Something in the metadata of the graph."""
    metadata = file["node"].require_group("metadata")
    said, value = random.choice(_SAID)
    _replaced(metadata, said, data=value)


_CHANGES: tuple[Callable[[Any, Any, str, Random], None], ...] = (
    *(_value, _value, _value, _shaped, _shaped, _cast, _cut, _claim, _text, _text, _retype),
    *(_lose, _copy, _copy, _link, _edges, _edges, _between, _say),
)
