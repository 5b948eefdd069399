"""The generated API besides steps, streams and saved states: early decisions, raw counts, names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from api_places import Place, check_stream, counts, everywhere, lowered
from conftest import HostCompiler
from exactness import kernels_and_memory
from machines import Host, State, Stream
from networks import f32, feed_forward, l2mu, planned, samples

import l2mu_compile
from l2mu_compile.interpreter import run
from l2mu_compile.lowering import lower
from l2mu_compile.network import Network
from l2mu_compile.targets.emit_c import emit_c
from l2mu_compile.text import network_digest

# ---- windows that are decided early ------------------------------------------------------------


def early(network: Network, margins: tuple[int, ...]) -> Network:
    """``network`` before planning, with margins."""
    return network.replace(readout=replace(network.readout, margins=margins))


@everywhere
@pytest.mark.parametrize("quantized", [False, True])
def test_a_window_ends_once_it_is_decided(
    host: HostCompiler, tmp_path: Path, place: Place, quantized: bool
) -> None:
    """And its state is that of the step which decided it."""
    margins = [(1, 1, 1), (2, 3, 1), (3, 2, 2**31 - 1)]
    networks = [
        planned(early(l2mu(name=f"net{i}", sensors=None), m), quantized)
        for i, m in enumerate(margins)
    ]
    programs = [lowered(network, 6, 2) for network in networks]
    ended = set()
    for network, machine, program in zip(
        networks, place(host, programs, tmp_path), programs, strict=True
    ):
        windows = samples(network, 4, 20)
        expected = run(network, windows)
        assert check_stream(Stream(machine, program), network, windows[0]) == 8
        for k, window in enumerate(windows):
            whole, stepped = State(machine, program), State(machine, program)
            assert whole.run(window) == expected.decisions[k]
            needed = int(expected.needed[k])
            ended.add(needed < 20)
            for step, sample in enumerate(window, 1):
                stepped.step(sample)
                wanted = expected.decisions[k] if step >= needed and whole.decided() >= 0 else -1
                assert stepped.decided() == wanted
                if step == needed:
                    kept = stepped.kept()
            for name, array in whole.kept().items():
                assert array.tobytes() == kept[name].tobytes(), name
            assert stepped.scores() == whole.scores() == expected.scores[k].tolist()
            assert stepped.classify() == expected.decisions[k]
    assert ended == {True, False}


def test_only_networks_that_decide_early_have_the_function(host: HostCompiler) -> None:
    network = feed_forward()
    assert "toy_decided" not in lowered(planned(network), 4, 4).functions
    program = lowered(planned(early(network, (2, 2))), 4, 4)
    assert "toy_decided" in program.functions
    assert "early   l2mu_decided_i32(score, 2, out_margin)" in str(program)
    assert "int toy_decided(const toy_state_t *state);" in emit_c(program, [])["toy.h"]


# ---- raw counts --------------------------------------------------------------------------------


@everywhere
@pytest.mark.parametrize("quantized", [False, True])
def test_raw_counts_are_samples_of_the_same_numbers(
    host: HostCompiler, tmp_path: Path, place: Place, quantized: bool
) -> None:
    network = planned(l2mu(), quantized)
    program = lowered(network, 12, 12)
    (machine,) = place(host, [program], tmp_path)
    raw, plain = State(machine, program), State(machine, program)
    for window in counts(network, 4, 12):
        raw.reset()
        plain.reset()
        for sample in window:
            raw.step(sample)
            plain.step(sample.astype(np.float32))
            for name, array in raw.kept().items():
                assert array.tobytes() == plain.kept()[name].tobytes(), name
        decision = run(network, window[None]).decisions[0]
        assert raw.classify() == decision
        assert State(machine, program).run(window) == decision


@pytest.mark.parametrize("fraction", [-100, -17, -3, 0, 9, 24, 100])
def test_counts_at_every_scale_of_an_integer_network(host: HostCompiler, fraction: int) -> None:
    network = kernels_and_memory(scaled(fraction))
    x = counts(network, 5, 10)
    found = host.model(lower(network)).run(x)
    assert found.tolist() == run(network, x).decisions.tolist()


def scaled(fraction: int) -> Network:
    network = planned(l2mu(name="scaled"), quantized=True)
    entry = replace(network.input, fraction=fraction)
    return network.replace(input=entry, stage="quantized", buffers=())


# ---- names -------------------------------------------------------------------------------------

UGLY = (
    'a "quoted" name',
    "back\\slash",
    "??= ??/",
    "%s %n",
    "/* comment */ //",
    "Größe 7",
    "漢字 é1",
    "tab\there",
    "line\nbreak\r",
    "\x001",
    "#define",
)


def with_labels(network: Network, labels: Sequence[str]) -> Network:
    return network.replace(readout=replace(network.readout, labels=tuple(labels)))


@everywhere
def test_class_names_are_the_labels(host: HostCompiler, tmp_path: Path, place: Place) -> None:
    labels = ("walking", 'a "b" ??/', "Größe 7")
    program = lower(with_labels(planned(l2mu()), labels))
    (machine,) = place(host, [program], tmp_path)
    names = [machine.text("cell_class_name", i) for i in range(3)]
    assert names == [label.encode() for label in labels]
    for label in (-1, 3, 2**31 - 1, -(2**31)):
        assert machine.text("cell_class_name", label & 0xFFFFFFFF) is None


def test_classes_without_labels_are_numbered(host: HostCompiler) -> None:
    machine = Host.of(host.model(lower(planned(l2mu()))))
    assert [machine.text("cell_class_name", i) for i in range(3)] == [b"0", b"1", b"2"]


def test_any_text_is_a_c_string(host: HostCompiler) -> None:
    """Whatever the bytes: what the compiler reads back is the text, up to a NUL."""
    network = feed_forward()
    out = replace(network.populations[1], shape=(len(UGLY),))
    wide = replace(network.projections[1], weight=f32(np.ones((len(UGLY), 3))))
    network = network.replace(
        populations=(network.populations[0], out), projections=(network.projections[0], wide)
    )
    machine = Host.of(host.model(lower(with_labels(planned(network), UGLY))))
    found = [machine.text("toy_class_name", i) for i in range(len(UGLY))]
    assert found == [label.encode().partition(b"\0")[0] for label in UGLY]


@everywhere
def test_code_tells_what_it_is(host: HostCompiler, tmp_path: Path, place: Place) -> None:
    network = planned(l2mu())
    program = lower(network)
    (machine,) = place(host, [program], tmp_path)
    assert machine.text("cell_version") == f"l2mu-compile {l2mu_compile.__version__}".encode()
    assert machine.text("cell_digest") == network_digest(network).encode()
