"""NIR files that are damaged, hostile, or of a kind that is not read."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nir_graphs import FLAT, braille, changed, ends, f32, lif, written

from l2mu_compile import nir_file
from l2mu_compile.errors import ModelError
from l2mu_compile.nir_file import read_nir
from l2mu_compile.nir_import import import_nir

WEIGHT = "node/nodes/fc1/weight"
TAU = "node/nodes/lif2/tau_mem"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return written(tmp_path / "a.nir", braille(), FLAT, dt=1e-4, made="here")


def test_nodes_edges_and_metadata(path: Path) -> None:
    graph = read_nir(path)
    assert (graph.kind, graph.edges) == ("NIRGraph", FLAT)
    assert set(graph.nodes) == set(braille())
    assert (graph.metadata["dt"], graph.metadata["made"]) == (1e-4, "here")
    weight = graph.nodes["fc1"].fields["weight"]
    assert isinstance(weight, np.ndarray)
    assert (weight.dtype, weight.tobytes()) == (np.float32, braille()["fc1"].weight.tobytes())


def replaced(name: str, **options: Any) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        del file[name]
        file.create_dataset(name, **options)

    return change


def linked(link: Any) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        del file[WEIGHT]
        file[WEIGHT] = link

    return change


def virtual(file: Any) -> None:
    del file[TAU]
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (4,))
    file.create_virtual_dataset(TAU, layout)


def many_groups(file: Any) -> None:
    for i in range(nir_file.MAX_OBJECTS):
        file["node/nodes"].create_group(f"g{i}")


def one_string_for_all(file: Any) -> None:
    del file["node/edges"]
    names = np.full((2000, 2), b"x" * (1 << 16), dtype=object)
    file.create_dataset("node/edges", data=names, dtype=h5py.string_dtype())


def itself(file: Any) -> None:
    file["node/nodes/again"] = file["node"]


def without(name: str) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        del file[name]

    return change


HUGE = {"shape": (1 << 20, 1 << 14), "dtype": "f4", "chunks": (64, 1 << 14), "compression": "gzip"}
BOMB = {"data": np.zeros((6000, 6000), "f4"), "compression": "gzip", "compression_opts": 1}
FAR = {"name": "lif2", "shape": [1 << 80, 2], "arrays": []}
HOSTILE = {
    "claims more than it holds": (replaced(WEIGHT, **HUGE), "weight: has shape [1048576, 16384]"),
    "bomb": (
        replaced(WEIGHT, **BOMB),
        "weight: too much to read, more than 268435456 bytes in all",
    ),
    "soft link": (linked(h5py.SoftLink("/elsewhere")), "weight: is a link to somewhere else"),
    "external link": (linked(h5py.ExternalLink("/etc/passwd", "/")), "weight: is a link to some"),
    "virtual": (virtual, "tau_mem: lies in another file, which is not read"),
    "external": (
        replaced(TAU, shape=(4,), dtype="f4", external=[("/etc/passwd", 0, 16)]),
        "tau_mem: lies in another file, which is not read",
    ),
    "compound": (replaced(TAU, data=np.zeros(4, "f4,i4")), "tau_mem: holds [('f0', '<f4'), ("),
    "complex": (replaced(TAU, data=np.zeros(4, "c8")), "tau_mem: holds complex64, neither numbers"),
    "references": (replaced(TAU, shape=(4,), dtype=h5py.ref_dtype), "tau_mem: holds object"),
    "strings": (replaced(TAU, data=[b"a", b"b"]), "tau_mem: holds object, not numbers"),
    "empty": (replaced(TAU, data=h5py.Empty("f4")), "tau_mem: holds nothing"),
    "no type": (without("node/nodes/fc1/type"), "fc1/type: is missing"),
    "type is no string": (replaced("node/nodes/fc1/type", data=3), "fc1/type: is not a string"),
    "no nodes": (without("node/nodes"), "an edge names fc1, which is no node"),
    "no edges": (without("node/edges"), "nothing leads to it"),
    "edges of three": (replaced("node/edges", data=np.zeros((2, 3))), "edges: has shape [2, 3]"),
    "edges of numbers": (replaced("node/edges", data=np.zeros((2, 2))), "edges: is not a string"),
    "no graph": (without("node"), "not a NIR file: it has no group 'node'"),
    "long names": (one_string_for_all, "edges: a name of more than 1024 letters"),
    "long text": (
        lambda file: file["node/metadata"].create_dataset("x", data="y" * (1 << 21)),
        "metadata/x: is not a string, or too long a one",
    ),
    "many": (many_groups, "holds more than 20000 groups and arrays"),
    "itself": (itself, "graphs in graphs more than 16 deep"),
    "no parameter": (without(TAU), "lif2 (CubaLIF): has no tau_mem"),
    "no weight": (without(WEIGHT), "fc1 (Affine): has no weight"),
    "flat weight": (replaced(WEIGHT, data=f32([1, 2])), "fc1 (Affine): weight has shape [2], no"),
    "empty weight": (replaced(WEIGHT, data=np.zeros((0, 6))), "weight has shape [0, 6], no matrix"),
    "parameter is a group": (
        lambda file: (file.__delitem__(TAU), file.create_group(TAU)),
        "lif2 (CubaLIF): has no tau_mem",
    ),
    "unknown kind": (
        replaced("node/nodes/fc1/type", data="Convolution\x1b[31m"),
        "fc1 is a Convolution?[31m: there is no such kind of node",
    ),
    "damaged extras": (
        lambda file: file["node/metadata"].create_dataset(
            "l2mu_compile", data='{"format_version": 1, "name": 3}'
        ),
        "metadata l2mu_compile is damaged: name",
    ),
    "negative dt": (replaced("node/metadata/dt", data=-1.0), "its metadata makes no sense: dt=-1"),
    "dt is text": (replaced("node/metadata/dt", data="soon"), "its metadata makes no sense"),
    "reset is many": (
        lambda file: file["node/metadata"].create_dataset("reset", data=np.zeros((3, 3))),
        "its metadata makes no sense: reset=[[0. 0. 0.]?",
    ),
    "a shape beyond all": (
        lambda file: file["node/metadata"].create_dataset(
            "l2mu_compile",
            data=json.dumps({"format_version": 1, "populations": [FAR], "rule": "x"}),
        ),
        "unknown rule 'x'",
    ),
    "dt is many": (replaced("node/metadata/dt", data=[1.0, 2.0]), "its metadata makes no sense"),
}


def test_a_producer_that_is_no_text_is_none(path: Path) -> None:
    def change(file: Any) -> None:
        file["node/metadata"].create_dataset("producer", data=[1.0, 2.0])

    assert import_nir(changed(path, change)).notes == import_nir(path).notes


def asking(path: Path, *nodes: Any) -> Path:
    """A small file of nodes in a row."""
    names = [*map(str, range(len(nodes)))]
    return written(path, dict(zip(names, nodes, strict=True)), list(pairwise(names)))


def test_small_files_that_ask_for_much_are_refused_before_it_is_taken(tmp_path: Path) -> None:
    def refused(expected: str, *nodes: Any) -> None:
        with pytest.raises(ModelError, match=expected):
            import_nir(asking(tmp_path / "a.nir", *nodes))

    one, neuron = f32([1.0]), lif(1)
    refused("0 .Input.: has 1152921504606846976 values; at most 65535", *around((1 << 30,) * 2))
    kernel = np.zeros((5, 1, 327, 327), "f4")
    conv = nir.Conv2d((200, 200), kernel, 1, "same", 1, 1, np.zeros(5, "f4"))
    last = nir.Linear(np.ones((1, 5 * 200 * 200), "f4"))
    refused("more than 17179869184 multiplications", *around((1, 200, 200), conv, last, neuron))
    many = [nir.IF(r=one, v_threshold=one, v_reset=one)] * 1025
    refused("1025 nodes of neurons; at most 1024", *around(1, *many))


def around(shape: Any, *nodes: Any) -> list[Any]:
    start, end = ends(shape, 1)
    return [start, *(nodes or [lif(1)]), end]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_by_name(path: Path, name: str) -> None:
    change, expected = HOSTILE[name]
    with pytest.raises(ModelError) as caught:
        import_nir(changed(path, change))
    message = str(caught.value)
    assert expected in message
    assert message.isprintable()


def test_a_lone_node_is_no_graph(tmp_path: Path) -> None:
    nir.write(tmp_path / "a.nir", braille()["lif2"])
    with pytest.raises(ModelError, match="holds a CubaLIF, not a graph"):
        import_nir(tmp_path / "a.nir")


def test_a_filter_from_elsewhere_is_not_run(path: Path) -> None:
    def change(file: Any) -> None:
        del file[WEIGHT]
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_chunk((9, 6))
        plan.set_filter(32008, h5py.h5z.FLAG_OPTIONAL, ())
        space = h5py.h5s.create_simple((9, 6))
        h5py.h5d.create(file.id, WEIGHT.encode(), h5py.h5t.IEEE_F32LE, space, plan)

    with pytest.raises(ModelError, match="packed by a filter that is not HDF5's own"):
        import_nir(changed(path, change))


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04" * 99])
def test_files_that_are_no_hdf5(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.nir"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="not a readable NIR file"):
        import_nir(path)


def test_missing_files_and_directories(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        import_nir(tmp_path / "a.nir")
    with pytest.raises(ModelError, match="cannot be read"):
        import_nir(tmp_path)


def test_large_files_are_not_opened(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nir_file, "MAX_FILE_BYTES", 1000)
    with pytest.raises(ModelError, match="larger than 1000 bytes"):
        import_nir(path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damage_anywhere_ends_in_a_message(path: Path, data: st.DataObject) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    damaged = path.with_name("damaged.nir")
    damaged.write_bytes(content[: data.draw(st.sampled_from([len(content), len(content) // 2]))])
    try:
        import_nir(damaged)
    except ModelError as error:
        assert str(damaged) in str(error)


def test_without_the_extra_the_message_says_what_to_install(path: Path) -> None:
    code = (
        "import sys; sys.modules['h5py'] = None\n"
        "from l2mu_compile.cli import main\n"
        f"sys.argv = ['l2mu-compile', 'inspect', {str(path)!r}]\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert "pip install 'l2mu-compile[nir]'" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
