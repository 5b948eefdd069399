"""Static executables in tests: the network in them, and files of windows they read."""

from __future__ import annotations

import io
from pathlib import Path

import command_line
import numpy as np
from hypothesis import strategies as st
from networks import l2mu, samples
from numpy.typing import NDArray

from l2mu_compile.network_files import save_network

MODEL = l2mu(seed=4)  # decides one way and the other
STEPS, INPUTS, CLASSES = 7, 2, 3
WINDOWS = samples(MODEL, windows=4, steps=STEPS)


def compiled(folder: Path, target: str, numbers: str = "int8") -> Path:
    """The output directory of an L2MU compiled with its executable."""
    network, windows, out = folder / "cell.txt", folder / "windows.npz", folder / "out"
    save_network(MODEL, network)
    np.savez(windows, x=WINDOWS)
    how = ("--target", target, "--quantize", numbers, "--calibrate", windows)
    command_line.ok("compile", network, *how, "--artifact", "executable", "-o", out)
    return out


def npy(array: NDArray, version: tuple[int, int] | None = None) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version)
    return file.getvalue()


def csv(windows: NDArray, comma: str = ",", blank: str = "\n\n", newline: str = "\n") -> bytes:
    lines = [newline.join(comma.join(repr(float(v)) for v in s) for s in w) for w in windows]
    return blank.join(lines).encode()


def header(text: str) -> bytes:
    body = text.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body + bytes(56)


ONE = "'descr': '<f4', 'fortran_order': False, 'shape': "


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A file of windows with some bytes changed, taken out, doubled or cut off."""
    whole = st.sampled_from(
        [
            npy(WINDOWS),
            npy(WINDOWS[0].astype("<f8"), (2, 0)),
            npy((WINDOWS * 100).astype("<i2")),
            header("{" + ONE + "(7, 2)}"),
            csv(WINDOWS),
            csv(WINDOWS, comma=" ", newline="\r\n"),
        ]
    )
    content = bytearray(draw(whole))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.one_of(st.integers(0, min(130, len(content))), st.integers(0, len(content))))
        piece = draw(st.one_of(st.binary(max_size=4), st.sampled_from(PIECES)))
        content[at : at + draw(st.integers(0, 6))] = piece
    if draw(st.booleans()):
        del content[draw(st.integers(0, len(content))) :]
    return bytes(content)


PIECES = [
    *(b"\n", b",", b"'", b"(", b")", b"{", b"}", b"\0", b"-", b"1e999", b"9" * 21, b"0x1p3"),
    *(b"'shape': (1, 2),", b"<i4", b"'descr':", b"True", b"\xff" * 8, b"\n\n", b"A" * 200),
]
