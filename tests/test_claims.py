"""Small files that claim to be huge, in every format: refused at once and in little memory."""

from __future__ import annotations

import io
import struct
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np
import onnx
import pytest
import torch
from nir_graphs import FLAT, braille, changed, written
from onnx import helper, numpy_helper

from l2mu_compile.build_config import load_config
from l2mu_compile.errors import L2MUError
from l2mu_compile.frontend import load_model
from l2mu_compile.report import load_report
from l2mu_compile.windows import load_windows
from l2mu_compile.workers import alone

MANY = 10**12
CPU_SECONDS, MEMORY_BYTES = 1.0, 200 << 20


def tensors(path: Path) -> None:
    header = b'{"e_x":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}'
    path.write_bytes(struct.pack("<Q", len(header)) + header)


def header(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", MANY) + b"{}")


def storage(path: Path) -> None:
    """A storage of 200 numbers says it has very many."""
    buffer = io.BytesIO()
    torch.save({"e_x": torch.zeros(200)}, buffer)
    many = b"\x8a\x06" + MANY.to_bytes(6, "little")
    with zipfile.ZipFile(buffer) as archive, zipfile.ZipFile(path, "w") as other:
        for name in archive.namelist():
            content = archive.read(name)
            other.writestr(name, content.replace(b"K\xc8", many))
    with zipfile.ZipFile(path) as archive:
        assert many in archive.read("archive/data.pkl")


def view(path: Path) -> None:
    torch.save({"e_x": torch.zeros(1, 1).expand(10**6, 10**6)}, path)


def packed(path: Path, member: str) -> None:
    """Zeros, which pack a thousand to one."""
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 134217728, 1), }"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(member, "w", force_zip64=True) as file,
    ):
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + text.ljust(117) + b"\n")
        for _ in range(512):
            file.write(bytes(1 << 20))
    assert path.stat().st_size < 1 << 20


def array(path: Path) -> None:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({MANY}, 1, 1), }}".ljust(117)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + text.encode())


def text(*lines: str):
    return lambda path: path.write_text("network n stage=traced window=none\n" + "\n".join(lines))


def blocks(path: Path) -> None:
    from safetensors.numpy import save_file

    from l2mu_compile.text_values import digest

    weight = np.ones((1, 1), np.float32)
    save_file({"u.x": weight}, path.with_suffix(".safetensors"))
    text(
        "input x : f32[1]",
        "population u : lif[1] beta=0.5 threshold=1.0 reset=zero",
        f"projection x -> u : blocks[1,1]x{MANY} @u.x#{digest(weight)}",
        "readout u : spike_count",
    )(path)


def populations(path: Path) -> None:
    text(
        "input x : f32[1]",
        *(f"population p{i} : lif[65535] beta=0.5 threshold=1.0 reset=zero" for i in range(10**4)),
        "readout p1 : spike_count",
    )(path)


def dataset(path: Path) -> None:
    def replace(file: h5py.File) -> None:
        del file["node/nodes/fc1/weight"]
        file.create_dataset("node/nodes/fc1/weight", (10**6, 10**6), "f4", chunks=(100, 100))

    changed(written(path, braille(), FLAT), replace)


def declared(path: Path) -> None:
    def replace(file: h5py.File) -> None:
        del file["node/nodes/input/shape"]
        file["node/nodes/input/shape"] = np.array([10**6, 10**6])

    changed(written(path, braille(), FLAT), replace)


def graph(*nodes, inputs=(4, 1, 3), constants=()):
    def make(path: Path) -> None:
        value = helper.make_tensor_value_info
        ends = [value("x", 1, inputs)], [value("y", 1, None)]
        made = helper.make_graph(nodes, "g", *ends, constants)
        opset = [helper.make_opsetid("", 17)]
        path.write_bytes(helper.make_model(made, opset_imports=opset).SerializeToString())

    return make


def empty_constant(path: Path) -> None:
    constant = onnx.TensorProto(name="w", data_type=1, dims=[10**6, 10**6])
    graph(helper.make_node("Add", ["x", "w"], ["y"]), constants=[constant])(path)


expanded = graph(
    helper.make_node("Expand", ["x", "n"], ["y"]),
    constants=[numpy_helper.from_array(np.array([MANY, 1, 1, 3]), "n")],
)
long_input = graph(helper.make_node("Mul", ["x", "x"], ["y"]), inputs=(4, 1, MANY))
long_window = graph(helper.make_node("Mul", ["x", "x"], ["y"]), inputs=(MANY, 1, 3))

CLAIMS = {
    "tensors.safetensors": tensors,
    "header.safetensors": header,
    "storage.pt": storage,
    "view.pt": view,
    "packed.pt": lambda path: packed(path, "archive/data/0"),
    "array.npz": array,
    "packed.npz": lambda path: packed(path, "x.npy"),
    "input.txt": text(f"input x : f32[{MANY}]", "readout u : spike_count"),
    "population.txt": text(
        "input x : f32[1]", f"population u : lif[{MANY}] beta=0.5 threshold=1.0"
    ),
    "cells.txt": text("input x : f32[1]", "population u : lif[99999,99999] beta=0.5 threshold=1.0"),
    "blocks.txt": blocks,
    "populations.txt": populations,
    "dataset.nir": dataset,
    "declared.nir": declared,
    "constant.onnx": empty_constant,
    "expanded.onnx": expanded,
    "input.onnx": long_input,
    "window.onnx": long_window,
    "jobs.toml": lambda path: path.write_text(f'jobs = {MANY}\n[model.m]\ncheckpoint = "m.pt"\n'),
    "neurons.json": lambda path: path.write_text(f'{{"populations": [{{"neurons": {MANY}}}]}}'),
}
READERS = {".npz": load_windows, ".toml": load_config, ".json": load_report}


@pytest.mark.parametrize("name", CLAIMS)
def test_refused_at_once(tmp_path, name):
    path = tmp_path / name
    CLAIMS[name](path)
    read = READERS.get(path.suffix, load_model)
    with pytest.raises(L2MUError):  # which also imports what reading needs
        read(path)

    def refused() -> tuple[float, str]:
        begin = time.process_time()
        try:
            read(path)
        except L2MUError as error:
            return time.process_time() - begin, str(error)
        raise AssertionError("not refused")

    seconds, message = alone(refused, 30, MEMORY_BYTES)
    assert seconds < CPU_SECONDS
    assert name in message
    assert len(message) < 1000
