"""The text form of a Network: printed, read back equal, weights in a ``.safetensors`` sidecar.

::

    format 1
    network NAME stage=STAGE window=STEPS [full_window=STEPS]
      input      NAME : f32[SIZE] [scale=V] [offset=V] [unit=V center=V] [low=F high=F] [fraction=N]
                 (or spikes[SIZE])
      population NAME : KIND[N] or KIND[CELLS,ORDER]  PARAMETER=V ... reset=RULE [bias=V] ...
      projection SOURCE -> TARGET : dense[R,C] @W [delay=1] [shift=V] [quantum=V] [kernel=NAME]
      projection SOURCE -> TARGET : blocks[R,C]xCOUNT @W ...          one block, repeated
      projection SOURCE -> TARGET : blocks[COUNT,R,C] @W ...          each block its own
      projection SOURCE -> TARGET : conv[OUT,IN,H,W] @W from=C,H,W to=C,H,W [stride=H,W]
                 [padding=H,W] [dilation=H,W] [groups=N] [pool=H,W] ...
      readout    POPULATION : RULE [margins=[N, ...]] [labels=["NAME", ...]]
      buffer     NAME : CTYPE[COUNT] @OFFSET state|scratch

A value ``V`` is a number or ``@name#digest``: an array in the sidecar and the first 12 hex digits
of the SHA-256 of its type, shape and bytes. Numbers with a point or an exponent are float32. Lines
that start with ``#`` are comments. Files begin with their format; without that line it is 1.
Labels are a JSON array, last on its line.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from numpy.typing import NDArray
from safetensors.numpy import save

from l2mu_compile.errors import ModelError
from l2mu_compile.network import Network, Population
from l2mu_compile.projection import Projection
from l2mu_compile.text_lines import (
    READERS,
    buffer_line,
    input_line,
    network_line,
    population_line,
    projection_line,
    readout_line,
)
from l2mu_compile.versions import unknown_version

FORMAT = 1  # of the files that are written
MAX_TEXT_BYTES = 16 << 20

Node = TypeVar("Node", Population, Projection)


def to_text(network: Network) -> str:
    """The text form, ending in a newline."""
    lines = [
        network_line(network),
        input_line(network.input),
        *map(population_line, network.populations),
        *map(projection_line, network.projections),
        readout_line(network.readout),
        *map(buffer_line, network.buffers),
    ]
    return "\n  ".join(lines) + "\n"


def file_text(network: Network) -> str:
    """The text form as files hold it, which begin with their format."""
    return f"format {FORMAT}\n{to_text(network)}"


def tensor_bytes(network: Network) -> bytes:
    """The sidecar's bytes: every array of the network, sorted by name."""
    return save(dict(sorted(network.tensors().items())))


def parse(text: str, tensors: Mapping[str, NDArray]) -> Network:
    """Read a text form; ``tensors`` holds the arrays it names.

    Raises `ModelError` with the line number when a line, a digest or a reference is wrong. What
    the network as a whole must satisfy is for `l2mu_compile.verify` to say.
    """
    parts: dict[str, list[Any]] = {kind: [] for kind in READERS}
    for number, keyword, rest in _lines(text):
        try:
            if keyword == "format":
                _check_format(rest, first=not any(parts.values()))
            elif keyword == "network" and parts["network"]:
                raise ValueError("a second 'network' line")
            elif keyword in READERS:
                parts[keyword].append(READERS[keyword](rest, tensors))
            else:
                raise ValueError(f"unknown line kind {keyword!r}")
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise ModelError(f"line {number}: {error}") from None
    return _joined(parts)


def network_digest(network: Network) -> str:
    """SHA-256, 64 hex digits, of what a network computes: of its text form without kernels and
    buffers, which differ from target to target, then of every array's bytes, sorted by name."""

    def bare(node: Node) -> Node:
        return node if node.kernel is None else replace(node, kernel=None)

    network = network.map_populations(bare).map_projections(bare).replace(buffers=())
    found = hashlib.sha256(to_text(network).encode())
    for _, array in sorted(network.tensors().items()):
        found.update(array.tobytes())
    return found.hexdigest()


def _lines(text: str) -> Iterator[tuple[int, str, str]]:
    """Number, kind and rest of each line that says something."""
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            keyword, _, rest = stripped.partition(" ")
            yield number, keyword, rest.strip()


def _check_format(version: str, first: bool) -> None:
    if not first:
        raise ValueError("'format' belongs before everything else")
    if version != str(FORMAT):
        raise ValueError(unknown_version(version, FORMAT, "format"))


def _joined(parts: Mapping[str, list[Any]]) -> Network:
    """The network of these lines, by kind."""
    if not parts["network"]:
        raise ModelError("network text: no 'network' line")
    for kind in ("input", "readout"):
        if len(parts[kind]) != 1:
            raise ModelError(f"network text: expected one '{kind}' line, found {len(parts[kind])}")
    (header,), (entry,), (readout,) = parts["network"], parts["input"], parts["readout"]
    return Network(
        input=entry,
        populations=tuple(parts["population"]),
        projections=tuple(parts["projection"]),
        readout=readout,
        buffers=tuple(parts["buffer"]),
        **header,
    )
