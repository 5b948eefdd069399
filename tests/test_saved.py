"""What is saved of a state, and the limits of what is restored."""

from __future__ import annotations

import re

import numpy as np
import pytest
from drawn_networks import float_networks, integer_networks, windows_for
from exactness import kernels_and_memory
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import cuba, feed_forward, integer_toy, l2mu, narrow, planned

from l2mu_compile.bounds import largest_start, start_range, unsaturated_range
from l2mu_compile.differential import recorded_state
from l2mu_compile.interpreter import run
from l2mu_compile.lowering import lower
from l2mu_compile.network import READOUT_RULES
from l2mu_compile.neurons import CuBaLIF
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
    }
    sizes = {p.name: p.size for p in network.populations}
    for m in members:  # narrow arrays are longer than what is saved of them
        assert m.count == sizes.get(m.buffer.name.removesuffix("_membrane"), network.classes)


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
def test_limits_of_scores(rule: str) -> None:
    network = planned(l2mu(rule=rule), quantized=True)
    found = {m.buffer.name: m for m in saved_members(network)}
    bits = network.population("out").membrane_bits
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    assert (
        limits(found["score"])
        == {
            "spike_count": (0, 2**30),
            "last_membrane": (low, high),
            "max_membrane": (-(2**31), high),
            "mean_membrane": (-(2**62), 2**62),
        }[rule]
    )


def test_limits_of_accumulators() -> None:
    """A narrow one goes as far as it can between two steps; others stay where sums fit."""
    toy = kernels_and_memory(integer_toy())
    found = {m.buffer.name: m for m in saved_members(toy)}
    # A membrane, a threshold, a bias and the spike that h hears late.
    largest = 2**15 + 20 + 1 + 5
    assert largest == largest_start(toy, toy.population("h"))
    assert limits(found["h_membrane"]) == (-largest, largest)
    small = kernels_and_memory(narrow(9, "subtract", scalar=True))
    for population in small.populations:
        member = {m.buffer.name: m for m in saved_members(small)}[f"{population.name}_membrane"]
        low, high = start_range(small, population)
        unsaturated = unsaturated_range(small, population)
        assert limits(member) == (unsaturated or (low.min(), high.max()))
        assert member.low > -(2**15)
        assert member.high < 2**15


def test_limits_of_what_a_current_based_neuron_keeps() -> None:
    """Its accumulator is the synapse; its membrane is one."""
    wide = planned(feed_forward(cuba(), "last_membrane"), quantized=True)
    found = {m.buffer.name: m for m in saved_members(wide)}
    assert limits(found["out_membrane"]) == (-(2**27), 2**27 - 1)
    largest = largest_start(wide, wide.population("out"))
    assert limits(found["out_synapse"]) == (-largest, largest)
    assert largest >= 2**27
    small = kernels_and_memory(narrow(9, "subtract", scalar=True, kind=CuBaLIF))
    found = {m.buffer.name: m for m in saved_members(small)}
    for population in small.populations:
        low, high = start_range(small, population)
        assert limits(found[f"{population.name}_synapse"]) == (low.min(), high.max())
        assert limits(found[f"{population.name}_membrane"]) == (-(2**13), 2**13 - 1)


@settings(max_examples=60)
@given(st.data())
def test_what_a_network_reaches_is_within_its_limits(data: st.DataObject) -> None:
    if data.draw(st.booleans()):
        network = planned(data.draw(float_networks()), quantized=True)
    else:
        network = kernels_and_memory(data.draw(integer_networks()))
    found = run(network, data.draw(windows_for(network)), record=("membranes",))
    for member in saved_members(network):
        kept = member.buffer
        reached = found.scores if kept.name == "score" else recorded_state(network, kept, found)
        assert reached.shape[-1] == member.count
        assert member.low <= np.min(reached) <= np.max(reached) <= member.high


def test_the_program_shows_them() -> None:
    text = str(lower(planned(l2mu(), quantized=True)))
    assert re.search(r"\n  saved   integers u_membrane \[-\d{4}, \d{4}\]\n", text)
    assert "spikes" not in text[text.index("  saved ") :]
