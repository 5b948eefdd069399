"""The generated API in tests: programs on this machine and on an emulated core."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import HostCompiler
from drawn_networks import float_networks, integer_networks
from exactness import kernels_and_memory
from hypothesis import strategies as st
from machines import Host, Machine, Stream, cortex_m4
from networks import planned
from numpy.typing import NDArray

from l2mu_compile import stream as streams
from l2mu_compile.interpreter import run
from l2mu_compile.lowering import lower
from l2mu_compile.network import Network
from l2mu_compile.program import Program


def lowered(network: Network, window: int, hop: int) -> Program:
    return lower(network, streams.Stream(window, hop))


def counts(network: Network, windows: int, steps: int, seed: int = 2) -> NDArray:
    """Raw samples: small ones and the extremes."""
    rng = np.random.default_rng(seed)
    shape = windows, steps, network.input.size
    small = rng.integers(-4, 5, shape)
    extreme = rng.choice([-(2**15), 2**15 - 1, 0, 300], shape)
    return np.where(rng.random(shape) < 0.9, small, extreme).astype(np.int16)


def on_host(host: HostCompiler, programs: Sequence[Program], _folder: Path) -> list[Machine]:
    return [Host.of(model) for model in host.models(programs)]


def on_cortex_m4(_host: HostCompiler, programs: Sequence[Program], folder: Path) -> list[Machine]:
    return [cortex_m4(programs, folder)] * len(programs)


Place = Callable[[HostCompiler, Sequence[Program], Path], list[Machine]]
everywhere = pytest.mark.parametrize("place", [on_host, on_cortex_m4], ids=["host", "cortex-m4"])


def random_network(data: st.DataObject) -> Network:
    if data.draw(st.booleans()):
        return kernels_and_memory(data.draw(integer_networks()))
    return planned(data.draw(float_networks()), quantized=data.draw(st.booleans()))


def check_stream(stream: Stream, network: Network, x: NDArray) -> int:
    """Push samples ``[T, inputs]``: every window is decided as the interpreter decides it, at its
    last sample, and stays readable until the next. Returns the number of windows."""
    shape = stream.program.stream
    assert shape is not None
    decision, scores, ended = -1, [0.0] * stream.program.classes, 0
    for time, sample in enumerate(x, 1):
        start = time - shape.window
        ends = start >= 0 and start % shape.hop == 0
        assert stream.push(sample) == ends, time
        if ends:
            expected = run(network, x[None, start:time])
            decision, scores = int(expected.decisions[0]), expected.scores[0].tolist()
            ended += 1
        assert stream.decision() == decision, time
        assert np.array_equal(stream.scores(), scores, equal_nan=True), time
    return ended
