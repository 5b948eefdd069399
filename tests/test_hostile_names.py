"""Names that would be paths or code: none gets out of the output's directory, or into the C."""

from __future__ import annotations

import ctypes
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import ok, run
from hypothesis import given
from hypothesis import strategies as st
from networks import feed_forward
from nir_graphs import FLAT, affine, braille, ends, lif, written
from onnx import numpy_helper
from refusals import contents, refused

from l2mu_compile.errors import ModelError
from l2mu_compile.frontend import load_model, read_network
from l2mu_compile.network import IDENTIFIER, RESERVED, identifier
from l2mu_compile.network_files import save_network
from l2mu_compile.onnx_export import to_onnx

pytestmark = pytest.mark.usefixtures("workplace")

CODE = "canary"
PLAIN = [
    *(f'../../x; system("{CODE}")', f"*/ {CODE}(); /*", f'"; {CODE}(); //', f'\\\\" {CODE}'),
    *(f"%s %n {CODE}", f"${{{CODE}}} $({CODE})", f"{{{{ {CODE} }}}}", f"??/ ü </script> {CODE}"),
    *(f"/{CODE}", "..", ".", "int", "l2mu_count", "-x"),
]
CONTROL = [f"a\nb {CODE}", f"\0{CODE}", f"\x1b[2J{CODE}", f"\u2028{CODE}", "\u202e"]
LONG = CODE * 5000

_COMMENT_OR_STRING = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.DOTALL)


def no_code(folder: Path) -> None:
    """Whatever a user wrote is in comments and strings of the C alone."""
    files = [path for path in folder.rglob("*") if path.suffix in (".c", ".h", ".ino", ".java")]
    assert files
    for path in files:
        code = _COMMENT_OR_STRING.sub(" ", path.read_text("utf-8"))
        assert not re.search(rf"\b{CODE}\b|\bsystem\b", code), path
    for path in folder.rglob("*"):
        assert CODE not in path.name


def compiled(*arguments: str | Path) -> Path:
    """The output of ``compile``, which touches nothing else."""
    before = contents(Path())
    ok("compile", *arguments, "--target", "host", "-o", "out/deep")
    left = contents(Path())
    assert {name for name in left if not name.startswith("out/deep/")} == set(before)
    no_code(Path("out/deep"))
    return Path("out/deep")


def class_names(folder: Path, name: str, count: int) -> tuple[str, ...]:
    """What the compiled code says its classes are called."""
    (library,) = (folder / "lib").glob("*.so")
    said = getattr(ctypes.CDLL(str(library.absolute())), f"{name}_class_name")
    said.restype = ctypes.c_char_p
    return tuple(said(label).decode() for label in range(count))


@given(st.text() | st.sampled_from([*PLAIN, *CONTROL, LONG]))
def test_identifiers(text):
    first = identifier(text)
    second = identifier(text, [first])
    assert first != second
    for name in (first, second):
        assert IDENTIFIER.match(name)
        assert name not in RESERVED


@pytest.mark.parametrize("name", [*PLAIN, *CONTROL, LONG, ""])
def test_no_such_network_population_or_channel(name):
    network = feed_forward()
    hidden = network.populations[0]
    renamed = type(hidden)(**{**vars(hidden), "name": name})
    entry = type(network.input)(**{**vars(network.input), "name": name})
    for bad in (
        network.replace(name=name),
        network.replace(populations=(renamed, *network.populations[1:])),
        network.replace(input=entry),
    ):
        save_network(bad, "net.txt")
        with pytest.raises(ModelError) as refusal:
            read_network("net.txt")
        assert str(refusal.value).startswith("net.txt: ")


@pytest.mark.parametrize("name", [*PLAIN[:9], CONTROL[0], LONG])
def test_the_name_that_is_asked_for(name):
    save_network(feed_forward(), "net.txt")
    made = load_model("net.txt", name=name).network.name
    assert IDENTIFIER.match(made)
    assert made not in RESERVED


def test_nodes_of_nir_graphs():
    rng = np.random.default_rng(0)
    start, end = ends(3, 2)
    evil = [name.replace("/", "|") for name in (*PLAIN[:8], CONTROL[0], CONTROL[3], LONG[:900])]
    nodes, edges, last = {"input": start}, [], "input"
    for index, name in enumerate(evil):
        size = 3 if index < len(evil) - 1 else 2
        nodes |= {f"fc{index}": affine(rng, size, 3), name: lif(size)}
        edges += [(last, f"fc{index}"), (f"fc{index}", name)]
        last = name
    nodes["output"] = end
    written(Path("net.nir"), nodes, [*edges, (last, "output")])
    network = load_model("net.nir").network
    assert len(network.populations) == len(evil)
    compiled("net.nir")


def test_kinds_of_nir_nodes():
    graph = braille()
    written(Path("net.nir"), graph, FLAT, producer=f"x\n{CODE}")
    result = run("inspect", "net.nir")
    assert result.err.count("\n") <= 1 or result.code == 0
    assert "Traceback" not in result.err


def test_values_of_onnx_graphs():
    model = to_onnx(feed_forward(), "window")
    del model.metadata_props[:]
    rename = dict(zip([i.name for i in model.graph.initializer], [*PLAIN, *CONTROL], strict=False))
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array(array, rename.get(tensor.name, tensor.name)))
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = rename.get(name, name)
    Path("net.onnx").write_bytes(model.SerializeToString())
    result = run("compile", "net.onnx", "-o", "out/deep")
    assert "Traceback" not in result.err
    if result.code == 0:
        no_code(Path("out/deep"))
    else:
        assert result.err.count("\n") == 1


LABELS = [name for name in PLAIN if len(name.encode()) <= 63]


def labelled(*labels: str) -> Path:
    """The checkpoint-like network with classes of these names."""
    network = feed_forward()
    readout = type(network.readout)(**{**vars(network.readout), "labels": labels})
    save_network(network.replace(readout=readout), "net.txt")
    return Path("net.txt")


@pytest.mark.parametrize("first", range(0, len(LABELS) - 1, 2))
def test_labels_are_what_the_code_says(first):
    labels = tuple(LABELS[first : first + 2])
    folder = compiled(labelled(*labels), "--artifact", "cmake")
    assert class_names(folder, "toy", 2) == labels


@pytest.mark.parametrize("label", [*CONTROL, LONG, "", "\ud800"])
def test_labels_that_are_no_plain_text(label):
    labelled(label, "other")
    refused(3, "net.txt: network toy (traced): readout: label", arguments=("inspect", "net.txt"))


def test_labels_of_windows(data):
    shutil.copy(data / "net.pt", "net.pt")
    x = np.random.default_rng(0).normal(size=(4, 8, 6)).astype("f4")
    np.savez("good.npz", x=x, classes=np.array(PLAIN[:3]))
    folder = compiled("net.pt", "--calibrate", "good.npz")
    assert class_names(folder, "net", 3) == tuple(PLAIN[:3])
    for label in (*CONTROL[:1], *CONTROL[2:], LONG):
        np.savez("bad.npz", x=x, classes=np.array(["a", "b", label]))
        arguments = ("compile", "net.pt", "--calibrate", "bad.npz", "-o", "out/other")
        refused(3, "bad.npz: ", arguments=arguments)


@pytest.mark.parametrize("name", [*PLAIN[:11], *CONTROL, LONG[:9000]])
def test_names_in_files_of_builds(name):
    quoted = "".join(f"\\U{ord(c):08x}" for c in name)
    for kind in ("model", "target", "pipeline"):
        Path("l2mu.toml").write_text(
            f'[model.m]\ncheckpoint = "m.pt"\n[target.t]\ntarget = "host"\n[{kind}."{quoted}"]\n'
        )
        line = refused(2, "l2mu.toml, line", arguments=("build",))
        assert len(line) < 1000
