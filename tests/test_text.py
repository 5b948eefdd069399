"""The text form: exact round trips, and an error with a line number for everything else."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_networks import float_networks, integer_networks
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import f32, feed_forward, integer_toy, l2mu, planned, samples
from safetensors.torch import save_file

from l2mu_compile.errors import ModelError
from l2mu_compile.network import Network, Readout
from l2mu_compile.network_files import load_network, save_network
from l2mu_compile.text import MAX_TEXT_BYTES, network_digest, parse, tensor_bytes, to_text
from l2mu_compile.text_values import digest

Golden = Callable[[str, str], None]


# ---- round trips -------------------------------------------------------------------------------


@given(st.one_of(float_networks(), integer_networks()))
def test_any_network_is_read_back_equal(network: Network) -> None:
    assert parse(to_text(network), network.tensors()) == network


finite = st.floats(allow_nan=False)


@given(
    st.floats(width=32, allow_nan=False),
    finite,
    finite,
    st.floats(width=32, allow_nan=False),
    st.integers(1, 999_999_999),
)
def test_any_number_is_read_back_bit_for_bit(
    threshold: float, low: float, rate: float, offset: float, window: int
) -> None:
    network = feed_forward()
    h = network.populations[0]
    neuron = replace(h.neuron, threshold=f32(threshold))
    network = network.replace(
        input=replace(network.input, offset=f32(offset), low=low, high=-low),
        populations=(replace(h, neuron=neuron, rate=rate), network.populations[1]),
        window=window,
    )
    back = parse(to_text(network), network.tensors())
    assert back == network
    assert np.signbit(back.population("h").rate) == np.signbit(rate)


@pytest.mark.parametrize("quantized", [False, True])
def test_a_planned_network_is_read_back_equal(quantized: bool) -> None:
    final = planned(l2mu(), quantized, samples(l2mu()))
    assert final.buffers
    assert parse(to_text(final), final.tensors()) == final


def test_a_rate_from_numpy_is_printed_as_a_number() -> None:
    network = feed_forward().map_populations(lambda p: replace(p, rate=np.float64(0.25)))
    assert " rate=0.25" in to_text(network)
    assert parse(to_text(network), network.tensors()) == network


@given(st.lists(st.text(), max_size=4))
def test_any_labels_are_read_back_equal(labels: list[str]) -> None:
    readout = replace(feed_forward().readout, labels=tuple(labels))
    network = feed_forward().replace(readout=readout)
    assert to_text(network).count("\n") == TEXT.count("\n"), "on one line"
    assert parse(to_text(network), network.tensors()) == network


def test_files_are_read_back_equal(tmp_path: Path) -> None:
    save_network(l2mu(), tmp_path / "net.txt")
    assert load_network(tmp_path / "net.txt") == l2mu()


def test_a_network_of_scalars_needs_no_sidecar_arrays(tmp_path: Path) -> None:
    network = feed_forward().replace(projections=())
    save_network(network, tmp_path / "net.txt")
    (tmp_path / "net.safetensors").unlink()
    assert load_network(tmp_path / "net.txt") == network


def test_files_say_their_format(tmp_path: Path) -> None:
    save_network(l2mu(), tmp_path / "net.txt")
    text = (tmp_path / "net.txt").read_text()
    assert text == f"format 1\n{to_text(l2mu())}"
    (tmp_path / "net.txt").write_text(to_text(l2mu()))
    assert load_network(tmp_path / "net.txt") == l2mu(), "of the first release without"
    for version in ("2", "1.0", "", "1" * 5000):
        (tmp_path / "net.txt").write_text(text.replace("format 1", f"format {version}"))
        with pytest.raises(ModelError, match=r"line 1: format .*; this release reads 1"):
            load_network(tmp_path / "net.txt")
    (tmp_path / "net.txt").write_text(to_text(l2mu()) + "format 1\n")
    with pytest.raises(ModelError, match="'format' belongs before everything else"):
        load_network(tmp_path / "net.txt")


def test_the_same_network_has_the_same_bytes() -> None:
    network = l2mu()
    shuffled = network.replace(populations=network.populations[::-1])
    assert tensor_bytes(network) == tensor_bytes(shuffled) == tensor_bytes(l2mu())


def test_golden_text(golden: Golden) -> None:
    golden("network_float.txt", to_text(planned(l2mu(), False, samples(l2mu()))))


def test_golden_integer_text(golden: Golden) -> None:
    golden("network_int8.txt", to_text(integer_toy()))


def test_comments_and_blank_lines_are_skipped() -> None:
    text = "# a comment\n\n" + to_text(feed_forward()).replace("readout", "\n  # more\n readout")
    assert parse(text, feed_forward().tensors()) == feed_forward()


def test_stage_and_window_have_defaults() -> None:
    text = to_text(feed_forward()).replace(" stage=traced window=none", "")
    assert parse(text, feed_forward().tensors()) == feed_forward()


@pytest.mark.parametrize(
    "other", [f32([[1, 2]]), f32([1, -2]), np.int32([1, 2]), np.float64([1, 2])]
)
def test_digests_cover_type_shape_and_bytes(other: np.ndarray) -> None:
    assert digest(other) != digest(f32([1, 2]))
    assert digest(f32([1, 2])) == digest(f32([1, 2]))


# ---- the digest of a network -------------------------------------------------------------------


def test_a_network_has_one_digest_on_every_target() -> None:
    network = planned(l2mu(), quantized=True)
    assert re.fullmatch("[0-9a-f]{64}", network_digest(network))
    assert network_digest(network) == network_digest(planned(l2mu(), quantized=True))
    other = network.map_projections(lambda p: replace(p, kernel=f"{p.kernel}_dsp"))
    other = other.map_populations(lambda p: replace(p, kernel=f"{p.kernel}_dsp"))
    assert network_digest(other) == network_digest(network)


def test_whatever_a_network_computes_is_in_its_digest() -> None:
    network = planned(l2mu(), quantized=True)
    u, readout = network.population("u"), network.readout
    weight = network.projections[1].weight.copy()
    weight[0, 0] += 1
    others = [
        network.replace(name="other"),
        network.replace(window=9),
        network.replace(window=9, full_window=20),
        network.replace(input=replace(network.input, fraction=3)),
        network.replace(readout=replace(readout, labels=("a", "b", "c"))),
        network.replace(readout=replace(readout, rule="max_membrane")),
        network.map_populations(lambda p: replace(p, membrane_bits=27) if p == u else p),
        network.replace(
            projections=(
                network.projections[0],
                replace(network.projections[1], weight=weight),
                *network.projections[2:],
            )
        ),
        network.replace(projections=network.projections[::-1]),
    ]
    assert len({network_digest(n) for n in (network, *others)}) == 1 + len(others)


# ---- errors ------------------------------------------------------------------------------------

TEXT = to_text(feed_forward())
"""Lines: 1 network, 2 input, 3 and 4 populations, 5 and 6 projections, 7 readout."""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("network toy", "net toy", "line 1: unknown line kind 'net'"),
        ("network toy stage=traced window=none\n", "", "network text: no 'network' line"),
        ("  input", "network a\n  input", "line 2: a second 'network' line"),
        ("window=none", "window=-1", "line 1: window must be a number of steps or 'none'"),
        ("window=none", "window=1.5", "line 1: window must be"),
        ("window=none", "window=" + "9" * 5000, "line 1: window must be"),
        (
            "window=none",
            "window=none x=1",
            "line 1: unexpected 'x=1'; options here: stage, window, full_window",
        ),
        ("window=none", "window=9 full_window=-1", "line 1: full_window must be a number of steps"),
        ("x : f32[2]", "x f32[2]", "line 2: expected: input NAME : f32[SIZE]"),
        ("x : f32[2]", "x : f64[2]", "line 2: input type must be f32 or spikes, not f64"),
        ("x : f32[2]", "x : f32[2,2]", "line 2: an input has one size, not [2,2]"),
        ("x : f32[2]", "x : f32[0]", "line 2: sizes must be between 1 and 2^31 - 1: [0]"),
        ("x : f32[2]", "x : f32[4294967296]", "line 2: sizes must be between"),
        ("h : lif[3]", "h : lif[3,]", "line 3: invalid literal for int()"),
        ("x : f32[2]", "x : f32[2] scale=big", "line 2: could not convert string to float"),
        ("x : f32[2]", "x : f32[2] fraction=x", "line 2: invalid literal for int()"),
        ("x : f32[2]", "x : f32[2] gain=1", "line 2: unexpected 'gain=1'; options here: scale"),
        ("h : lif[3]", "h : izhikevich[3]", "line 3: unknown neuron 'izhikevich'; known: lif,"),
        ("h : lif[3] beta=0.5", "h : lif[3]", "line 3: population h lacks beta"),
        ("beta=0.5", "beta=9999999999", "line 3: "),
        ("beta=0.5", "beta=@h.beta#00", "line 3: weights 'h.beta' are not in the .safetensors"),
        ("reset=subtract", "reset", "line 3: unexpected 'reset'"),
        ("x -> h : dense", "x => h : dense", "line 5: expected: projection SOURCE -> TARGET"),
        ("dense[3,2]", "sparse[3,2]", "line 5: expected: projection SOURCE -> TARGET"),
        ("dense[3,2]", "dense[2,3]", "line 5: weights h.x have shape [3, 2], not (2, 3)"),
        ("dense[3,2]", "blocks[3,2]", "line 5: blocks are [R,C]xCOUNT or [COUNT,R,C]"),
        ("dense[3,2]", "dense[3,2]x2", "line 5: dense weights are [R,C]"),
        ("@h.x#", "@h.y#", "line 5: weights 'h.y' are not in the .safetensors sidecar"),
        ("@h.x#", "@h.x#0", "line 5: weights 'h.x' have digest"),
        ("@h.x#", "@out.h#", "line 5: weights 'out.h' have digest"),
        ("out : spike_count", "out", "line 7: expected: readout POPULATION : RULE"),
        ("out : spike_count", "out : a b", "line 7: expected: readout POPULATION : RULE"),
        ("_count", "_count labels=[1]", "line 7: labels are a JSON array of strings"),
        ("_count", '_count labels="ab"', "line 7: labels are a JSON array of strings"),
        ("_count", '_count labels=["a"', "line 7: Expecting ',' delimiter"),
        ("_count", "_count labels=" + "[" * 100_000, "line 7: "),
        ("readout", "options", "line 7: unknown line kind 'options'"),
        ("readout    out : spike_count", "", "network text: expected one 'readout' line, found 0"),
        ("input      x : f32[2]", "", "network text: expected one 'input' line, found 0"),
    ],
)
def test_a_wrong_line_is_named_by_its_number(old: str, new: str, message: str) -> None:
    assert old in TEXT
    tensors = feed_forward().tensors()
    with pytest.raises(ModelError) as error:
        parse(TEXT.replace(old, new, 1), tensors)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("projection h -> h : dense[3,2] @h.x#{0} delay=x", "line 8: invalid literal for int()"),
        ("projection h -> h : dense[3,2] @h.x#{0} delay=1 gain=2", "line 8: unexpected 'gain=2'"),
        ("buffer b : float[2]", "line 8: invalid literal for int()"),
        ("buffer b : float[2,2] @0 state", "line 8: a buffer has one size"),
        ("readout h : spike_count", "network text: expected one 'readout' line, found 2"),
    ],
)
def test_an_added_line_may_be_wrong(line: str, message: str) -> None:
    tensors = feed_forward().tensors()
    with pytest.raises(ModelError) as error:
        parse(TEXT + line.format(digest(tensors["h.x"])), tensors)
    assert message in str(error.value)


def test_changed_weights_are_noticed() -> None:
    tensors = feed_forward().tensors()
    tensors["h.x"] = tensors["h.x"] + f32(1)
    with pytest.raises(ModelError, match=r"line 5: weights 'h\.x' have digest .* the text says"):
        parse(TEXT, tensors)


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    with pytest.raises(ModelError, match=r"line|network text"):
        parse(text, {})


@settings(max_examples=200)
@given(st.integers(0, len(TEXT)), st.integers(0, 20), st.text(max_size=6))
def test_a_damaged_text_is_read_or_refused(at: int, cut: int, inserted: str) -> None:
    damaged = TEXT[:at] + inserted + TEXT[at + cut :]
    try:
        network = parse(damaged, feed_forward().tensors())
    except ModelError as error:
        assert str(error).startswith(("line ", "network text"))
    else:
        assert isinstance(network.readout, Readout)


# ---- hostile files -----------------------------------------------------------------------------


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.txt: cannot read network text"):
        load_network(tmp_path / "none.txt")


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelError, match="cannot read network text"):
        load_network(tmp_path / "net.txt")


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "net.txt").open("wb") as file:
        file.truncate(MAX_TEXT_BYTES + 1)
    with pytest.raises(ModelError, match="larger than"):
        load_network(tmp_path / "net.txt")


def test_a_broken_sidecar_is_named(tmp_path: Path) -> None:
    save_network(feed_forward(), tmp_path / "net.txt")
    (tmp_path / "net.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(ModelError, match=r"net\.safetensors: cannot read weights"):
        load_network(tmp_path / "net.txt")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn])
def test_a_sidecar_type_that_numpy_lacks_is_refused(tmp_path: Path, dtype: torch.dtype) -> None:
    save_network(feed_forward(), tmp_path / "net.txt")
    save_file({"h.x": torch.zeros(3, 2, dtype=dtype)}, tmp_path / "net.safetensors")
    with pytest.raises(ModelError, match=r"net\.safetensors: cannot read weights"):
        load_network(tmp_path / "net.txt")


def test_a_missing_sidecar_is_reported_by_the_line_that_needs_it(tmp_path: Path) -> None:
    save_network(feed_forward(), tmp_path / "net.txt")
    (tmp_path / "net.safetensors").unlink()
    with pytest.raises(ModelError, match=r"line 6: weights 'h\.x' are not in the"):
        load_network(tmp_path / "net.txt")
