"""plan-memory: every array in one arena, and none over another that is in use."""

from __future__ import annotations

import pytest
from drawn_networks import float_networks, integer_networks
from hypothesis import given
from hypothesis import strategies as st
from network_texts import applied, assert_becomes
from networks import chain, l2mu, late_reader, narrow, planned

from l2mu_compile.buffers import needs
from l2mu_compile.network import CTYPE_BYTES, Network
from l2mu_compile.passbase import Context
from l2mu_compile.passes.plan_memory import PlanMemory
from l2mu_compile.passes.select_kernels import SelectKernels
from l2mu_compile.targets.registry import get_target


def ready(network: Network) -> Network:
    return SelectKernels().apply(
        network.replace(stage="quantized" if network.quantized else "folded"),
        Context(target=get_target("host")),
    )


def test_a_small_network() -> None:
    body = """
          input      x : f32[2] fraction=3
          population a : lif[2] beta=16384 threshold=5 reset=subtract membrane_bits=16 kernel=i32
          population b : lif[1] beta=16384 threshold=5 reset=subtract membrane_bits=16 kernel=i32
          projection x -> a : dense[2,2] @a.x kernel=input_i8_i32
          projection a -> b : dense[1,2] @b.a kernel=accumulate_dense_i8_i32
          projection b -> a : dense[2,1] @a.b.last delay=1 kernel=accumulate_dense_i8_i32
          readout    b : mean_membrane
"""
    arrays = """        a.x = [[1, 2], [3, 4]]
        b.a = [[1, 2]]
        a.b.last = [[1], [2]]
"""
    # The int64 score is widest and first; a's list and the sample are both in use in a's turn,
    # b's list only in its own, when a's is read.
    buffers = """          buffer     score : int64_t[1] @0 state
          buffer     a_membrane : int32_t[2] @8 state
          buffer     b_membrane : int32_t[1] @16 state
          buffer     a_spikes : uint16_t[3] @20 scratch
          buffer     b_spikes : uint16_t[2] @26 scratch
          buffer     converted_sample : int16_t[2] @26 scratch
"""
    head = "        network n stage={} window=none"
    assert_becomes(
        PlanMemory(),
        head.format("quantized") + body + arrays,
        head.format("planned") + body + buffers + arrays,
    )


def test_lists_in_a_row_share_two_places() -> None:
    network = planned(chain(6, 3))
    scratch = [b for b in network.buffers if b.lifetime == "scratch"]
    assert len(scratch) == 6
    assert len({b.offset for b in scratch}) == 2


def test_a_list_that_a_later_turn_still_pushes_has_its_own_place() -> None:
    network = planned(late_reader())
    a, b = (next(x for x in network.buffers if x.name == f"{name}_spikes") for name in "ab")
    assert not a.overlaps(b)


def test_narrow_accumulators_follow_wider_state() -> None:
    """Their kernels read two of them at once: they are aligned to 4 bytes."""
    network = ready(narrow(9, "subtract", scalar=False))
    after = applied(PlanMemory(), network)
    places = {b.name: (b.offset, b.ctype) for b in after.buffers if b.lifetime == "state"}
    assert places == {
        "score": (0, "int32_t"),
        "h_membrane": (12, "int16_t"),
        "m_membrane": (12 + 32, "int16_t"),
        "out_membrane": (12 + 32 + 64, "int16_t"),
    }


@pytest.mark.parametrize("quantized", [False, True])
def test_only_stage_and_buffers_change(quantized: bool) -> None:
    network = planned(l2mu(), quantized)
    bare = network.replace(buffers=(), stage="quantized" if quantized else "folded")
    assert applied(PlanMemory(), bare) == network


@given(st.one_of(float_networks(), integer_networks()))
def test_no_two_arrays_in_use_share_a_byte(network: Network) -> None:
    if not network.quantized:
        network = planned(network).replace(buffers=())
    after = applied(PlanMemory(), ready(network))
    placed = {b.name: b for b in after.buffers}
    wanted = needs(after)
    assert set(placed) == {need.name for need in wanted}
    moments = max(need.last for need in wanted) + 1
    for moment in range(moments):
        used: set[int] = set()
        for need in wanted:
            if need.lifetime == "state" or need.first <= moment <= need.last:
                place = placed[need.name]
                bytes_of = set(range(place.offset, place.end))
                assert len(bytes_of) == need.bytes
                assert not used & bytes_of
                used |= bytes_of
    state = [b for b in after.buffers if b.lifetime == "state"]
    scratch = [b for b in after.buffers if b.lifetime == "scratch"]
    assert max(b.end for b in state) <= min((b.offset for b in scratch), default=10**9)
    assert all(b.offset % CTYPE_BYTES[b.ctype] == 0 for b in after.buffers)
    assert all(b.offset % 4 == 0 for b in state)
