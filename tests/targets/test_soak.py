"""A day of samples without a pause: compiled code equals the interpreter all along.

25 samples a second for 24 hours are 2,160,000 steps. The compiled code takes them one by one, from
one state that is never reset. The interpreter, which is slow with one window, takes every hour in
parts side by side, each from the memory that the compiled code had there; so if all parts end as
the next begin, all of the day is equal, as the first part began from zero.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from conftest import HostCompiler
from machines import Host
from networks import cuba, l2mu, lif, planned
from numpy.typing import NDArray

from l2mu_compile.differential import recorded_state
from l2mu_compile.interpreter import Run, State, run
from l2mu_compile.lowering import lower
from l2mu_compile.network import DTYPES, Network
from l2mu_compile.neurons import Neuron
from l2mu_compile.program import Program
from l2mu_compile.stream import Stream
from l2mu_compile.targets.emit_c import state_bytes, state_layout, stream_bytes

RATE, HOURS = 25, 24
HOUR = 3600 * RATE
PARTS = 750  # of an hour, 120 steps each
WINDOW, HOP = 100, 50


def hours(network: Network) -> Iterator[NDArray]:
    """Samples ``[steps, inputs]`` of every hour, all drawn alike."""
    rng = np.random.default_rng(11)
    for _ in range(HOURS):
        yield (2 * rng.normal(size=(HOUR, network.input.size))).astype(np.float32)


@dataclass
class Stepped:
    """A state of compiled code, and what it is after every step."""

    host: Host
    program: Program

    def __post_init__(self) -> None:
        self.size = state_bytes(self.program)
        self.state = self.host.place(bytes(self.size))
        self.host.call(f"{self.program.name}_init", self.state)

    def memory(self, samples: NDArray) -> NDArray:
        """The state before each of these samples and after the last, ``[steps + 1, bytes]``."""
        memory = np.empty((len(samples) + 1, self.size), np.uint8)
        step = self.host.function(f"{self.program.name}_step")
        state, stride = self.state, samples.strides[0]
        for i in range(len(samples)):
            ctypes.memmove(memory.ctypes.data + i * self.size, state, self.size)
            step(state, samples.ctypes.data + i * stride)
        memory[-1] = np.frombuffer(self.host.read(state, self.size), np.uint8)
        return memory


def arrays(program: Program, memory: NDArray) -> dict[str, NDArray]:
    """The persistent arrays in ``memory`` ``[..., bytes]``, by name."""
    found = {}
    for name, b in state_layout(program).items():
        size = b.count * np.dtype(DTYPES[b.ctype]).itemsize
        part = np.ascontiguousarray(memory[..., b.offset : b.offset + size])
        found[name] = part.view(DTYPES[b.ctype])
    return found


def remembered(network: Network, program: Program, memory: NDArray) -> State:
    """What the interpreter goes on from, for ``memory`` ``[B, bytes]``."""
    found = arrays(program, memory)
    accumulators, membranes = {}, {}
    for p in network.populations:
        synapses = f"{p.name}_synapse"
        kept = found[f"{p.name}_membrane"][:, : p.size]
        if synapses in found:
            membranes[p.name] = kept
            kept = found[synapses][:, : p.size]
        accumulators[p.name] = kept
    return State(accumulators, membranes)


def check_hour(network: Network, program: Program, memory: NDArray, x: NDArray) -> Run:
    """All persistent arrays, but scores, after every step of an hour; what the interpreter did."""
    parts = x.reshape(PARTS, -1, x.shape[1])
    steps = parts.shape[1]
    start = remembered(network, program, memory[:-1:steps])
    expected = run(network, parts, record=("membranes",), start=start)
    after = arrays(program, memory[1:].reshape(PARTS, steps, -1))
    for name, buffer in state_layout(program).items():
        if name == "score":
            continue
        wanted = recorded_state(network, buffer, expected).astype(after[name].dtype)
        found = np.ascontiguousarray(after[name][..., : wanted.shape[-1]])
        assert found.tobytes() == wanted.tobytes(), name
        assert not after[name][..., wanted.shape[-1] :].any(), name
    return expected


def mixed(size: int) -> Neuron:
    """Memory cells with a synaptic current, other neurons without."""
    return cuba(0.5, 0.875, 0.75) if size == 12 else lif(0.9375, 0.75)


@pytest.mark.slow
@pytest.mark.parametrize("quantized", [True, False], ids=["int8", "float32"])
def test_a_day_without_a_reset_is_exact_and_does_not_drift(
    host: HostCompiler,
    record_property: Callable[[str, object], None],
    quantized: bool,
) -> None:
    network = planned(l2mu(mixed), quantized)
    program = lower(network)
    stepped = Stepped(Host.of(host.model(program)), program)
    rates, counted = [], np.zeros(network.classes, np.int64)
    for x in hours(network):
        memory = stepped.memory(x)
        done = check_hour(network, program, memory, x)
        rates.append([done.rate(p) for p in network.populations])
        counted += done.scores.sum(axis=0)
        assert np.array_equal(arrays(program, memory[-1])["score"], counted)
    check_no_drift(np.array(rates))
    record_property("said", f"soaked a state: {HOURS * HOUR} steps, all equal")


def check_no_drift(rates: NDArray) -> None:
    """Rates ``[hours, populations]`` are those of any hour: samples are drawn alike."""
    assert (rates > 0.01).all()
    assert (rates < 0.99).all()
    assert np.abs(rates / rates.mean(axis=0) - 1).max() < 0.02


@pytest.mark.slow
def test_a_stream_of_a_day_decides_every_window_as_interpreted(
    host: HostCompiler, record_property: Callable[[str, object], None]
) -> None:
    network = planned(l2mu(lambda _: lif(0.9375, 0.75)), True)
    program = lower(network, Stream(WINDOW, HOP))
    machine = Host.of(host.model(program))
    push, decision = (machine.function(f"cell_{word}") for word in ("push", "decision"))
    stream = machine.place(bytes(stream_bytes(program)))
    machine.call("cell_stream_init", stream)
    before, windows = np.empty((0, network.input.size), np.float32), 0
    for x in hours(network):
        address, stride = x.ctypes.data, x.strides[0]
        ended = (push(stream, address + i * stride) for i in range(len(x)))
        decided = [decision(stream, None) for has_ended in ended if has_ended]
        joined = np.concatenate([before, x])
        cut = np.lib.stride_tricks.sliding_window_view(joined, WINDOW, axis=0)[::HOP]
        expected = run(network, np.ascontiguousarray(cut.transpose(0, 2, 1)))
        assert decided == expected.decisions.tolist()
        before, windows = joined[-(WINDOW - HOP) :], windows + len(decided)
    assert windows == 1 + (HOURS * HOUR - WINDOW) // HOP
    record_property("said", f"soaked a stream: {HOURS * HOUR} samples, {windows} decisions")
