"""Bad windows through the command line."""

from __future__ import annotations

import os
import shutil
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from refusals import WINDOWS, refused, state, write_windows

MODULE = """
import snntorch, torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.spk = nn.Linear(3, 4), snntorch.Leaky(beta=0.8)

    def forward(self, x):
        mem, out = self.spk.reset_mem(), []
        for sample in x:
            spk, mem = self.spk(self.fc(sample), mem)
            out.append(spk)
        return torch.stack(out)
"""

pytestmark = pytest.mark.usefixtures("workplace")


def raw_npz(header: str, payload: bytes = b"", name: str = "x.npy") -> None:
    """An .npz whose array ``x`` has this .npy header."""
    text = header.encode().ljust(117) + b"\n"
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + payload
    with zipfile.ZipFile(WINDOWS, "w") as archive:
        archive.writestr(name, data)


def header(shape: str, dtype: str = "'<f4'") -> str:
    return f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}"


BAD_WINDOWS = {
    "directory": (lambda: Path(WINDOWS).mkdir(), "Is a directory"),
    "pipe": (lambda: os.mkfifo(WINDOWS), "Not a regular file"),
    "device": (lambda: Path(WINDOWS).symlink_to("/dev/zero"), "Not a regular file"),
    "empty": (lambda: Path(WINDOWS).touch(), "not a zip file"),
    "no arrays": (lambda: np.savez(WINDOWS), "no array 'x' (found: none)"),
    "truth values": (lambda: write_windows(WINDOWS, x=np.ones((5, 9, 6), bool)), "x is bool"),
    "labels beyond int64": (
        lambda: write_windows(WINDOWS, y=np.full(5, 2**63, "u8")),
        "label y[0] is 9223372036854775807; those of network net are between 0 and 2",
    ),
    "missing": (lambda: None, "No such file"),
    "not a zip": (lambda: Path(WINDOWS).write_text("x"), "not a zip file"),
    "no x": (lambda: np.savez(WINDOWS, z=np.ones(3)), "no array 'x'"),
    "flat": (lambda: write_windows(WINDOWS, x=np.ones((5, 6))), "x is float64 [5, 6]; expected"),
    "none": (lambda: write_windows(WINDOWS, x=np.ones((0, 9, 6))), "expected numbers"),
    "text": (lambda: write_windows(WINDOWS, x=np.full((5, 9, 6), "a")), "expected numbers"),
    "complex": (lambda: write_windows(WINDOWS, x=np.ones((5, 9, 6), "c8")), "expected numbers"),
    "objects": (
        lambda: write_windows(WINDOWS, x=np.full((5, 9, 6), None)),
        "not what it holds",
    ),
    "NaN": (
        lambda: write_windows(WINDOWS, x=np.full((5, 9, 6), np.nan)),
        "x holds NaN or infinity (window 0)",
    ),
    "infinity": (
        lambda: write_windows(WINDOWS, x=np.stack([np.ones((9, 6)), np.full((9, 6), 1e300)])),
        "y is",
    ),
    "channels": (lambda: write_windows(WINDOWS, channels=5), "reads [windows, steps, 6]"),
    "labels of another length": (lambda: write_windows(WINDOWS, y=np.arange(4)), "expected int"),
    "real labels": (lambda: write_windows(WINDOWS, y=np.ones(5)), "y is float64 [5]"),
    "labels too high": (lambda: write_windows(WINDOWS, y=np.full(5, 3)), "between 0 and 2"),
    "labels below 0": (lambda: write_windows(WINDOWS, y=np.full(5, -1)), "between 0 and 2"),
    "claims much": (lambda: raw_npz(header("(1000000, 1000000, 6)")), "not what it holds"),
    "claims overflow": (lambda: raw_npz(header(f"({2**62}, 4, 6)")), "not what it holds"),
    "claims below 0": (lambda: raw_npz(header("(-1, -1, 6)"), bytes(24)), "cannot read windows"),
    "pickled": (lambda: raw_npz(header("(1, 1, 6)", "'|O'"), bytes(48)), "not what it holds"),
    "deep header": (lambda: raw_npz("(" * 9000), "cannot read windows"),
    "code in header": (
        lambda: raw_npz("__import__('os').mkdir('ran')"),
        "cannot read windows",
    ),
    "no header": (
        lambda: zipfile.ZipFile(WINDOWS, "w").writestr("x.npy", b"short"),
        "cannot read windows",
    ),
}


@pytest.mark.parametrize("case", BAD_WINDOWS)
def test_windows(compiled, case):
    make, text = BAD_WINDOWS[case]
    make()
    arguments = ("verify", compiled / "out", "--data", WINDOWS)
    refused(3, f"error: {WINDOWS}: ", text, arguments=arguments)


@pytest.mark.parametrize("case", ["channels", "labels too high", "NaN"])
def test_compile_refuses_windows_too(compiled, case):
    make, text = BAD_WINDOWS[case]
    make()
    arguments = ("compile", compiled / "net.pt", "--calibrate", WINDOWS, "-o", "out")
    refused(3, f"error: {WINDOWS}: ", text, arguments=arguments)
    assert not Path("out").exists()


def test_names_of_classes_beside_windows(compiled):
    compile_ = ("compile", compiled / "net.pt", "--calibrate", WINDOWS)
    write_windows(WINDOWS, classes=np.array(["a", "b"]))
    refused(3, f"{WINDOWS}: network net (traced): readout: 2 labels for 3", arguments=compile_)
    write_windows(WINDOWS, classes=np.array([1, 2, 3]))
    refused(3, f"{WINDOWS}: classes is int64 [3]", arguments=compile_)


def test_encrypted_npz():
    write_windows(WINDOWS)
    data = bytearray(Path(WINDOWS).read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = -1
        while (place := data.find(mark, place + 1)) >= 0:
            data[place + offset] |= 1
    Path(WINDOWS).write_bytes(data)
    torch.save(state(), "net.pt")
    arguments = ("compile", "net.pt", "--calibrate", WINDOWS)
    refused(3, f"{WINDOWS}: cannot read windows", arguments=arguments)


def test_windows_of_another_length_than_the_model_was_made_for(compiled):
    text = (compiled / "out/float/network.txt").read_text()
    Path("net.txt").write_text(text.replace("window=none", "window=9"))
    shutil.copy(compiled / "out/float/network.safetensors", "net.safetensors")
    write_windows(WINDOWS)
    text = f"error: {WINDOWS}: windows have 12 steps; network net was made for 9"
    refused(3, text, arguments=("compile", "net.txt", "--calibrate", WINDOWS, "-o", "out"))
    arguments = ("opt", "net.txt", "-p", "calibrate", "--calibrate", WINDOWS)
    refused(3, text, arguments=arguments)


def test_windows_that_overflow(compiled):
    write_windows(WINDOWS, x=np.full((5, 9, 6), 3e38))
    arguments = ("compile", compiled / "net.pt", "--calibrate", WINDOWS, "-o", "out")
    refused(3, f"{WINDOWS}: drives membranes of u beyond float32", arguments=arguments)


def test_channels_that_a_module_does_not_read(compiled, monkeypatch):
    Path("own_module.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(Path.cwd()))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    write_windows(WINDOWS)
    arguments = ("compile", "--module", "own_module:Net", "--calibrate", WINDOWS, "-o", "out")
    try:
        refused(3, "6 channels", WINDOWS, arguments=arguments)
    finally:
        sys.modules.pop("own_module", None)
