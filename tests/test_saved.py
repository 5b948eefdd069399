"""What is saved of a state, and the limits of what is restored."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import cuba, feed_forward, float_networks, l2mu, planned, windows_for

from l2mu_compile.interpreter import run
from l2mu_compile.network import READOUT_RULES
from l2mu_compile.program import lower
from l2mu_compile.saved import Member, saved_members


def limits(member: Member) -> tuple[int, int]:
    return member.low, member.high


def test_members_are_what_a_step_keeps_in_the_order_of_the_struct() -> None:
    network = planned(l2mu(), quantized=True)
    members = saved_members(network)
    state = [b for b in network.buffers if b.lifetime == "state"]
    assert [m.buffer for m in members] == state
    assert {m.buffer.name: m.kind for m in members} == {
        **{f"{p.name}_membrane": "integers" for p in network.populations},
        "score": "integers",
        "m_spikes": "spikes",
        "h_spikes": "spikes",
    }


def test_floats_may_be_anything_and_counts_of_spikes_stay_integers() -> None:
    kinds = {m.buffer.name: m.kind for m in saved_members(planned(feed_forward(cuba())))}
    assert kinds == {
        "h_membrane": "floats",
        "h_synapse": "floats",
        "out_membrane": "floats",
        "out_synapse": "floats",
        "score": "integers",
    }


@pytest.mark.parametrize("rule", READOUT_RULES)
def test_limits_of_integers(rule: str) -> None:
    network = planned(l2mu(rule=rule), quantized=True)
    found = {m.buffer.name: m for m in saved_members(network)}
    low, high = -(2**27), 2**27 - 1
    assert limits(found["u_membrane"]) == (low, high)
    assert (
        limits(found["score"])
        == {
            "spike_count": (0, 2**30),
            "last_membrane": (low, high),
            "max_membrane": (-(2**31), high),
            "mean_membrane": (-(2**62), 2**62),
        }[rule]
    )


@settings(max_examples=30)
@given(st.data())
def test_what_a_network_reaches_is_within_its_limits(data: st.DataObject) -> None:
    network = planned(data.draw(float_networks()), quantized=True)
    found = run(network, data.draw(windows_for(network)), record=("membranes",))
    for member in saved_members(network):
        population, _, quantity = member.buffer.name.rpartition("_")
        reached = {"membrane": found.membranes, "synapse": found.synapses}.get(quantity, {})
        values = found.scores if member.buffer.name == "score" else reached.get(population)
        if values is not None:
            assert member.low <= np.min(values) <= np.max(values) <= member.high


def test_the_program_shows_them() -> None:
    text = str(lower(planned(l2mu(), quantized=True)))
    assert "\n  saved   integers u_membrane [-134217728, 134217727]\n" in text
    assert "\n  saved   spikes h_spikes\n" in text
