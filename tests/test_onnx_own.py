"""Networks written as ONNX models and read again: equal, or refused."""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import drawn_networks
import networks
import numpy as np
import onnx
import pytest
import toy_training
from command_line import ok
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from networks import PORTABLE, feed_forward, integer_toy, planned, recurrent

from l2mu_compile import onnx_file
from l2mu_compile.convolution import Convolution
from l2mu_compile.errors import ModelError, UsageError
from l2mu_compile.frontend import load_model
from l2mu_compile.network import Input, Network, Population, Readout
from l2mu_compile.onnx_export import to_onnx, write_onnx
from l2mu_compile.onnx_import import import_onnx
from l2mu_compile.onnx_own import ARRAYS, TEXT
from l2mu_compile.passbase import Context
from l2mu_compile.pipeline import parse_pipeline, run_passes
from l2mu_compile.projection import Projection
from l2mu_compile.text import to_text
from l2mu_compile.windows import Windows

GRAPHS = st.sampled_from(["step", "window"])
MANY = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def comes_back(network: Network, folder: Path, graph: str = "step") -> None:
    write_onnx(network, folder / "a.onnx", graph)
    assert import_onnx(folder / "a.onnx") == network


@MANY
@given(drawn_networks.float_networks(), GRAPHS)
def test_floats_come_back(tmp_path: Path, network: Network, graph: str) -> None:
    comes_back(network, tmp_path, graph)


@MANY
@given(drawn_networks.integer_networks(), GRAPHS)
def test_integers_come_back(tmp_path: Path, network: Network, graph: str) -> None:
    comes_back(network, tmp_path, graph)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("graph", ["step", "window"])
def test_what_is_compiled_comes_back(tmp_path: Path, bits: int, graph: str) -> None:
    """Kernels and buffers, too, and quanta, which no graph has."""
    network = planned(networks.l2mu(sensors=None), quantized=True, bits=bits)
    comes_back(network, tmp_path, graph)
    said = {p.key for p in onnx.load(tmp_path / "a.onnx").metadata_props}
    assert (ARRAYS in said) == (bits == 4)


FOLD = "fold-input, remove-dead, fold-threshold, calibrate"
LIST = {
    "as given": "",
    "folded": FOLD,
    "int8": f"{FOLD}, quantize",
    "int4": f"{FOLD}, quantize{{bits=4}}",
    "ternary": f"{FOLD}, quantize{{bits=2}}",
    "shifts": f"{FOLD}, quantize{{bits=4,weights=shift,decay=shift}}",
    "some of few bits": f"{FOLD}, quantize{{bits=4,share=0.95}}",
    "fewer synapses": f"prune-synapses{{sparsity=0.7}}, {FOLD}, quantize",
    "fewer neurons": f"prune-population{{sparsity=0.3}}, {FOLD}, quantize{{bits=4}}",
    "early exit": f"{FOLD}, quantize, early-exit{{risk=0.2}}",
    "of floats, early exit": f"{FOLD}, early-exit{{risk=0.2}}",
    "shorter": f"shorten-window{{steps=9}}, {FOLD}, quantize",
}


@pytest.mark.parametrize("plan", ["", ", select-kernels{prefer=size}, plan-memory"])
@pytest.mark.parametrize("passes", LIST)
def test_every_pass_comes_back(tmp_path: Path, passes: str, plan: str) -> None:
    """Whatever passes made of a network, its text is the same after a round trip, both graphs."""
    given = networks.l2mu(sensors=None).replace(window=12)
    x = networks.samples(given, windows=60, steps=12)
    data = Windows(x, np.arange(60) % given.classes, source="x.npz", group=np.arange(60) % 6)
    context = Context(PORTABLE, x, labelled=toy_training.split(given, data))
    listed = parse_pipeline((LIST[passes] + plan).removeprefix(", ") or "remove-dead")
    network = run_passes(given, listed, context)
    bits = {"int4": 4, "ternary": 2, "shifts": 4, "some of few bits": 4}.get(passes)
    assert bits is None or bits in {p.bits for p in network.projections}
    labels = tuple(f"class {k}" for k in range(network.classes))
    readout = replace(network.readout, labels=labels)
    network = network.replace(name="renamed", readout=readout)
    for graph in ("step", "window"):
        write_onnx(network, tmp_path / "a.onnx", graph)
        found = import_onnx(tmp_path / "a.onnx")
        assert isinstance(found, Network)
        assert to_text(found) == to_text(network) and found == network


def test_a_convolution_comes_back_as_one(tmp_path: Path) -> None:
    """It is written as its matrix."""
    slides = Convolution((2, 4, 5), (3, 4, 5), padding=(1, 1))
    kernels = np.random.default_rng(0).normal(size=(3, 2, 3, 3)).astype(np.float32)
    network = Network(
        "maps",
        Input("x", 40),
        (Population("u", (60,), networks.lif(0.5)),),
        (Projection("x", "u", kernels, convolution=slides),),
        Readout("u"),
    )
    write_onnx(network, tmp_path / "a.onnx")
    assert import_onnx(tmp_path / "a.onnx") == network


def test_wherever_a_checkpoint_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_onnx(recurrent(), tmp_path / "a.onnx")
    model = load_model("a.onnx", name="other")
    assert model.network == recurrent().replace(name="other")
    assert (model.source.kind, model.source.name) == ("onnx", "a.onnx")
    ok("export", "a.onnx", "-o", "b.onnx")
    assert Path("a.onnx").read_bytes() == Path("b.onnx").read_bytes()
    with pytest.raises(UsageError, match=r"--readout belongs to .* has its own rule"):
        load_model("a.onnx", readout="max_membrane")
    with pytest.raises(UsageError, match="--params belongs to a checkpoint"):
        load_model("a.onnx", params="p.json")


# ---- models that have been changed -----------------------------------------------------------


def changed(path: Path, change: Callable[[Any], None], network: Network | None = None) -> Path:
    model = to_onnx(network or recurrent())
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def of(values: Any, key: str) -> Any:
    return next(v for v in values if key in (getattr(v, "key", None), getattr(v, "name", None)))


def set_weight(model: Any) -> None:
    weight = model.graph.initializer[0]
    array = onnx.numpy_helper.to_array(weight).copy()
    array.flat[0] += 1
    weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))


def set_text(old: str, new: str) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        text = of(model.metadata_props, TEXT)
        assert old in text.value
        text.value = text.value.replace(old, new)

    return change


def outside(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_weight, "are not in the|another program has changed it"),
        (set_text("delay=1", "delay=0"), "form a cycle|another program has changed it"),
        (set_text("reset=subtract", "reset=zero"), "another program has changed it"),
        (set_text("readout ", "reading "), f"metadata {TEXT}: line .*: unknown line kind"),
        (lambda m: m.graph.node[0].output.append("more"), "another program has changed it"),
        (lambda m: setattr(m.opset_import[0], "version", 14), "another program has changed it"),
        (
            lambda m: setattr(of(m.metadata_props, "l2mu.graph"), "value", "x"),
            "one of step, window",
        ),
        (lambda m: m.ClearField("graph"), "not an ONNX file: it has no graph"),
        (outside, "lies in another file, which is not read"),
        (lambda m: m.graph.initializer[0].dims.append(3), "which is not what the file holds"),
        (lambda m: m.graph.initializer[0].dims.append(-1), "has shape"),
        (lambda m: setattr(m.graph.initializer[0], "data_type", 8), "of a type other than"),
        (lambda m: m.metadata_props.add(key=ARRAYS, value="?"), f"metadata {ARRAYS}: "),
        (
            lambda m: m.metadata_props.add(
                key=ARRAYS, value=base64.b64encode(b"12345678").decode()
            ),
            f"metadata {ARRAYS}: ",
        ),
    ],
)
def test_models_that_were_changed(
    tmp_path: Path, change: Callable[[Any], None], message: str
) -> None:
    path = changed(tmp_path / "a.onnx", change)
    with pytest.raises(ModelError, match=message) as caught:
        import_onnx(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_quanta_that_are_not_those_of_the_weights(tmp_path: Path) -> None:
    """No graph shows them; the rules of the network's stage do."""
    network = planned(networks.l2mu(sensors=None), quantized=True, bits=4)
    (packed, *_) = (p for p in network.projections if p.quantum is not None and p.quantum.ndim)
    wrong = np.full_like(packed.quantum, 77)
    projections = tuple(
        networks.replace(p, quantum=wrong) if p is packed else p for p in network.projections
    )
    said = to_onnx(network)

    def change(model: Any) -> None:
        from l2mu_compile.onnx_own import said_of

        made = said_of(network.replace(projections=projections), said.graph)
        for key, value in made.items():
            of(model.metadata_props, key).value = value

    path = changed(tmp_path / "a.onnx", change, network)
    with pytest.raises(ModelError, match="quantum"):
        import_onnx(path)


# ---- files that are none ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"", b"\x00", b"not protobuf at all", b"\x3a\xff\xff\xff\xff\x7f"]
)
def test_no_onnx_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"a\.onnx: not (an|a readable) ONNX file"):
        import_onnx(path)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_any_damage_is_an_error_of_our_own(tmp_path: Path, data: st.DataObject) -> None:
    whole = bytearray(to_onnx(integer_toy()).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(whole) - 1))
        whole[place] = data.draw(st.integers(0, 255))
    path = tmp_path / "a.onnx"
    path.write_bytes(bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    try:
        assert import_onnx(path) == integer_toy()
    except ModelError as error:
        assert str(error).startswith(f"{path}: ")


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"gone\.onnx: no such file"):
        import_onnx(tmp_path / "gone.onnx")
    (tmp_path / "d.onnx").mkdir()
    with pytest.raises(ModelError, match=r"d\.onnx: cannot be read: Is a directory"):
        import_onnx(tmp_path / "d.onnx")


def test_small_files_that_would_take_much_memory(tmp_path: Path) -> None:
    """Two million empty nodes in 4 MB: refused before a parser makes objects of them."""
    body = b"\x0a\x00" * 2_000_000
    size = bytes(
        (len(body) >> shift & 0x7F) | (0x80 if shift < 21 else 0) for shift in (0, 7, 14, 21)
    )
    path = tmp_path / "a.onnx"
    path.write_bytes(b"\x3a" + size + body)
    with pytest.raises(ModelError, match="holds more than 1000000 fields"):
        import_onnx(path)


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = changed(tmp_path / "a.onnx", lambda m: None, feed_forward())
    raw = sum(len(t.raw_data) for t in onnx.load(path).graph.initializer)
    other = path.stat().st_size - raw
    monkeypatch.setattr(onnx_file, "MAX_OTHER_BYTES", other)
    import_onnx(path)
    monkeypatch.setattr(onnx_file, "MAX_OTHER_BYTES", other - 1)
    with pytest.raises(ModelError, match=f"holds {other} bytes besides the raw data"):
        import_onnx(path)
    monkeypatch.setattr(onnx_file, "MAX_FILE_BYTES", path.stat().st_size - 1)
    with pytest.raises(ModelError, match="larger than"):
        import_onnx(path)


def test_without_the_extra(tmp_path: Path) -> None:
    write_onnx(feed_forward(), tmp_path / "a.onnx")
    code = (
        "import sys; sys.modules['onnx'] = None\n"
        "from l2mu_compile.frontend import load_model\n"
        f"load_model({str(tmp_path / 'a.onnx')!r})"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "UsageError" in found.stderr and "pip install 'l2mu-compile[onnx]'" in found.stderr
