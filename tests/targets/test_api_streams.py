"""The generated API of streams: windows that slide over samples as they come."""

from __future__ import annotations

from pathlib import Path

import pytest
from api_places import (
    Place,
    check_stream,
    counts,
    everywhere,
    lowered,
    random_network,
)
from conftest import HostCompiler
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import Host, State, Stream
from networks import feed_forward, l2mu, planned, samples

from l2mu_compile import stream as streams
from l2mu_compile.interpreter import run
from l2mu_compile.lowering import lower
from l2mu_compile.network import READOUT_RULES
from l2mu_compile.targets.emit_c import emit_c, stream_bytes

# (window, hop): one lane, hops that divide the window and that do not, a window of one sample.
SHAPES = [(5, 5), (6, 2), (7, 3), (7, 5), (4, 1), (1, 1)]


@everywhere
@pytest.mark.parametrize("quantized", [False, True])
def test_windows_of_a_stream_are_decided_as_if_they_were_alone(
    host: HostCompiler, tmp_path: Path, place: Place, quantized: bool
) -> None:
    networks = [
        planned(l2mu(rule=rule, name=f"net{i}", sensors=None), quantized)
        for i, rule in enumerate([*READOUT_RULES, *READOUT_RULES[:2]])
    ]
    programs = [lowered(n, *shape) for n, shape in zip(networks, SHAPES, strict=True)]
    machines = place(host, programs, tmp_path)
    for network, program, machine in zip(networks, programs, machines, strict=True):
        for x in (samples(network, 1, 40)[0], counts(network, 1, 40)[0]):
            assert check_stream(Stream(machine, program), network, x) >= 7


def test_a_reset_stream_starts_again(host: HostCompiler) -> None:
    network = planned(l2mu())
    program = lowered(network, 7, 3)
    stream = Stream(Host.of(host.model(program)), program)
    x = samples(network, 1, 30)[0]
    for stop in (30, 5, 8, 16):
        check_stream(stream, network, x[:stop])
        stream.reset()


def test_a_stream_goes_on_for_long(host: HostCompiler) -> None:
    """The sample counter wraps after two rounds of lanes: many of them change nothing."""
    network = planned(feed_forward())
    program = lowered(network, 3, 2)
    stream = Stream(Host.of(host.model(program)), program)
    assert check_stream(stream, network, samples(network, 1, 500)[0]) == 249


def test_a_window_as_long_as_can_be_counts_in_32_bits(host: HostCompiler) -> None:
    longest = streams.MAX_WINDOW
    network = planned(feed_forward())
    program = lowered(network, longest, longest - 1)
    machine = Host.of(host.model(program))
    stream = Stream(machine, program)
    x = samples(network, 1, 3)[0]
    for sample in x:
        assert stream.push(sample) == 0
    assert 2 * program.stream.lanes * program.stream.hop < 2**32  # type: ignore[union-attr]


@settings(max_examples=25)
@given(st.data())
def test_random_streams_of_random_networks(host: HostCompiler, data: st.DataObject) -> None:
    check_random_stream(host, data)


@pytest.mark.slow
@settings(max_examples=120)
@given(st.data())
def test_many_random_streams_of_random_networks(host: HostCompiler, data: st.DataObject) -> None:
    check_random_stream(host, data)


def check_random_stream(host: HostCompiler, data: st.DataObject) -> None:
    network = random_network(data)
    window = data.draw(st.integers(1, 9))
    program = lowered(network, window, data.draw(st.integers(1, window)))
    machine = Host.of(host.model(program))
    make = data.draw(st.sampled_from((samples, counts)))
    for length in data.draw(st.lists(st.integers(0, 40), min_size=1, max_size=3)):
        x = make(network, 1, max(length, 1), seed=length)[0]
        check_stream(Stream(machine, program), network, x)


@everywhere
def test_streams_and_states_do_not_know_of_each_other(
    host: HostCompiler, tmp_path: Path, place: Place
) -> None:
    """Several of one program, their calls interleaved."""
    network = planned(l2mu(), quantized=True)
    program = lowered(network, 6, 4)
    (machine,) = place(host, [program], tmp_path)
    xs = samples(network, 3, 15)
    things = [Stream(machine, program) for _ in xs]
    states = [State(machine, program) for _ in xs]
    for time in range(15):
        for x, thing, state in zip(xs, things, states, strict=True):
            thing.push(x[time])
            state.step(x[time])
    for x, thing, state in zip(xs, things, states, strict=True):
        assert thing.decision() == run(network, x[None, 8:14]).decisions[0]
        assert state.classify() == run(network, x[None]).decisions[0]


def test_without_a_known_window_there_is_no_stream() -> None:
    program = lower(planned(feed_forward()))
    header = emit_c(program, ["s"])["toy.h"]
    assert (
        "/* No toy_push: the length of a window was not known (compile with --window). */" in header
    )
    assert "toy_push(" not in header
    assert "stream" not in header
    assert not [f for f in program.functions if "push" in f]
    assert stream_bytes(program) == 0


def test_the_header_tells_what_a_stream_costs() -> None:
    header = emit_c(lowered(planned(feed_forward()), 10, 4), ["s"])["toy.h"]
    for line in ("WINDOW 10", "HOP 4", "LANES 3"):
        assert f"\n#define TOY_{line}\n" in header
    assert "a sample costs at most 3 steps" in header
    assert "a sample costs 1 step." in emit_c(lowered(planned(feed_forward()), 10, 10), [])["toy.h"]
