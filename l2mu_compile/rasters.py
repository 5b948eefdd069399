"""What one window does, as small pictures: rasters of spikes, traces of membranes and samples."""

from __future__ import annotations

import base64
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_NEURONS, MOST_STEPS = 512, 1024  # in a raster
TRACE_HEIGHT, MARGIN = 44, 3

SPIKE_COLOUR, ALONE_COLOUR = (0x6B, 0x7F, 0x99), (0xE0, 0x5A, 0x1C)  # on white and on black
NOTHING, SPIKE, ALONE = 0, 1, 2  # in a raster: no spike, a spike, a spike that only this side has


@dataclass(frozen=True)
class Raster:
    """Spikes of a population: a row for every neuron shown, a column for every step.

    ``data`` is a PNG in Base64, ``height`` what it takes on the page.
    """

    data: str
    neurons: int
    shown: int
    steps: int
    spikes: int
    alone: int | None
    height: int


@dataclass(frozen=True)
class Trace:
    """A line, as the ``d`` of an SVG path: a step of time is 1 wide, all is `TRACE_HEIGHT` high."""

    path: str
    kind: str


@dataclass(frozen=True)
class Traces:
    """Lines over one another; ``level`` is the height of the threshold, if it is in sight."""

    name: str
    steps: int
    lines: tuple[Trace, ...]
    level: float | None
    low: float
    high: float


def raster(spikes: NDArray, other: NDArray | None, beside: int = 0) -> Raster:
    """Of spikes, bool ``[T, N]``; those that ``other``, of the same shape, lacks stand out. Rows
    are as high as those of a raster of ``beside`` neurons."""
    steps, neurons = spikes.shape
    rows = np.unique(np.linspace(0, neurons - 1, min(neurons, MOST_NEURONS)).astype(int))
    pixels = spikes.astype(np.uint8)
    if other is not None:
        pixels[spikes & ~other] = ALONE
    return Raster(
        data=base64.b64encode(png(pixels[:, rows].T)).decode(),
        neurons=neurons,
        shown=len(rows),
        steps=steps,
        spikes=int(spikes.sum()),
        alone=None if other is None else int((spikes & ~other).sum()),
        height=len(rows) * _row_height(max(neurons, beside)),
    )


def _row_height(neurons: int) -> int:
    """In pixels of the page."""
    return max(1, min(12, 160 // neurons))


def png(pixels: NDArray) -> bytes:
    """A PNG of two bits per pixel ``[rows, columns]``: `NOTHING` is transparent."""
    rows, columns = pixels.shape
    padded = np.zeros((rows, -(-columns // 4) * 4), np.uint8)
    padded[:, :columns] = pixels
    four = padded.reshape(rows, -1, 4)
    packed = (four << np.array([6, 4, 2, 0], np.uint8)).sum(axis=2, dtype=np.uint8)
    lines = np.hstack([np.zeros((rows, 1), np.uint8), packed])
    palette = bytes((0, 0, 0, *SPIKE_COLOUR, *ALONE_COLOUR))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(kind, data)
        for kind, data in (
            (b"IHDR", struct.pack(">IIBBBBB", columns, rows, 2, 3, 0, 0, 0)),
            (b"PLTE", palette),
            (b"tRNS", b"\0\xff\xff"),
            (b"IDAT", zlib.compress(lines.tobytes(), 9)),
            (b"IEND", b""),
        )
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    check = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)


def traces(name: str, lines: list[tuple[str, NDArray]], level: float | None = None) -> Traces:
    """Lines of numbers ``[T]``, each with its kind, in one scale that ``level`` belongs to."""
    finite = np.concatenate([values[np.isfinite(values)] for _, values in lines])
    ends = np.append(finite, [] if level is None else [level]).astype(np.float64)
    low, high = (float(ends.min()), float(ends.max())) if ends.size else (0.0, 0.0)

    def heights(values: NDArray) -> NDArray:
        span = high - low
        shares = (values.astype(np.float64) - low) / span if span else 0.5 + 0.0 * values
        return MARGIN + (TRACE_HEIGHT - 2 * MARGIN) * (1 - shares)

    return Traces(
        name=name,
        steps=max(len(values) for _, values in lines),
        lines=tuple(Trace(_line(heights(values)), kind) for kind, values in lines),
        level=None if level is None else round(float(heights(np.array([level]))[0]), 1),
        low=low,
        high=high,
    )


def _line(heights: NDArray) -> str:
    """A path through heights; it is broken where one is not a number."""
    parts, begun = [], False
    for step, y in enumerate(heights):
        if np.isfinite(y):
            parts.append(f"{' ' if begun else 'M'}{step + 0.5:g} {y:.1f}")
        begun = bool(np.isfinite(y))
    return "".join(parts)
