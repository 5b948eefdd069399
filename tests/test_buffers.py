"""Which arrays a step needs, and when each is in use."""

from __future__ import annotations

from dataclasses import replace

import pytest
from networks import (
    chain,
    cuba,
    feed_forward,
    integer_toy,
    l2mu,
    late_reader,
    li,
    narrow,
    recurrent,
)

from l2mu_compile.buffers import Need, needs
from l2mu_compile.network import READOUT_RULES, Input, Network, Readout


def by_name(network: Network) -> dict[str, Need]:
    return {need.name: need for need in needs(network)}


def test_a_feed_forward_network_keeps_membranes_and_scores() -> None:
    found = by_name(feed_forward())
    assert {n for n, need in found.items() if need.lifetime == "state"} == {
        "h_membrane",
        "out_membrane",
        "score",
    }
    assert found["h_membrane"] == Need("h_membrane", "float", 3, "state", 0, 3)


def test_a_spike_list_has_room_for_every_neuron_and_their_number() -> None:
    assert by_name(feed_forward())["h_spikes"].count == 1 + 3


def test_spikes_live_from_their_neurons_update_to_their_last_reader() -> None:
    found = by_name(feed_forward())
    assert (found["h_spikes"].first, found["h_spikes"].last) == (1, 2)
    assert (found["out_spikes"].first, found["out_spikes"].last) == (2, 3)  # 3 reads out


@pytest.mark.parametrize("network", [recurrent(), late_reader(), l2mu()], ids=lambda n: n.name)
def test_no_spikes_are_kept_from_one_step_to_the_next(network: Network) -> None:
    found = by_name(network)
    lists = {f"{p.name}_spikes" for p in network.populations}
    assert {name for name, need in found.items() if need.ctype == "uint16_t"} == lists
    assert {found[name].lifetime for name in lists} == {"scratch"}


def test_spikes_that_are_heard_a_step_later_live_until_their_target_has_fired() -> None:
    assert (by_name(recurrent())["h_spikes"].first, by_name(recurrent())["h_spikes"].last) == (1, 2)
    late = by_name(late_reader())["a_spikes"]
    assert (late.first, late.last) == (1, 2)
    spikes = by_name(l2mu())["h_spikes"]  # for itself, for u before it, for out after it
    assert (spikes.first, spikes.last) == (4, 5)


@pytest.mark.parametrize(("size", "count"), [(1, 8), (7, 8), (8, 8), (9, 16), (31, 32), (33, 40)])
def test_narrow_accumulators_are_filled_up_to_a_multiple_of_eight(size: int, count: int) -> None:
    found = by_name(narrow(size, "subtract", scalar=True))
    assert found["h_membrane"] == Need("h_membrane", "int16_t", count, "state", 0, 4)
    assert found["h_spikes"].count == 1 + size


def test_wide_accumulators_are_not() -> None:
    assert by_name(integer_toy())["h_membrane"] == Need("h_membrane", "int32_t", 2, "state", 0, 3)


def multiplied(network: Network, *names: str) -> Network:
    """``network`` with kernels for these projections that read flags."""
    return network.map_projections(
        lambda p: replace(p, kernel="multiply_dense_i8_i16_mve") if p.name in names else p
    )


def test_flags_live_from_the_first_that_reads_them_to_the_last() -> None:
    network = narrow(37, "subtract", scalar=True)  # turns: h, m, out
    assert not any(name.endswith("_flags") for name in by_name(network))
    one = by_name(multiplied(network, "m.h"))
    assert one["h_flags"] == Need("h_flags", "uint8_t", 48, "scratch", 2, 2)
    both = by_name(multiplied(network, "m.h", "h.h.last"))
    assert both["h_flags"] == Need("h_flags", "uint8_t", 48, "scratch", 1, 2)
    assert "m_flags" not in both
    assert both["h_spikes"] == by_name(network)["h_spikes"]


def test_flags_of_samples_are_those_of_any_spikes() -> None:
    network = l2mu(sensors=None)
    spikes = network.replace(input=Input("x", network.input.size, spiking=True))
    [reader] = [p.name for p in spikes.out_of("x")]
    found = by_name(multiplied(spikes, reader))["x_flags"]
    assert (found.count, found.first, found.last) == (16, 1, 1)


def test_only_current_based_neurons_have_a_synaptic_state() -> None:
    assert "h_synapse" in by_name(feed_forward(cuba()))
    assert "h_synapse" not in by_name(feed_forward())


def test_a_leaky_integrator_has_no_spike_list() -> None:
    network = feed_forward(li(), "last_membrane")
    assert not any(name.endswith("_spikes") for name in by_name(network))


def test_converted_samples_live_until_their_last_reader() -> None:
    assert by_name(integer_toy())["converted_sample"] == Need(
        "converted_sample", "int16_t", 2, "scratch", 0, 1
    )


@pytest.mark.parametrize("rule", READOUT_RULES)
def test_scores_are_wide_enough_for_their_rule(rule: str) -> None:
    def ctype(network: Network) -> str:
        return by_name(network.replace(readout=Readout("out", rule)))["score"].ctype

    assert ctype(feed_forward()) == ("int32_t" if rule == "spike_count" else "float")
    assert ctype(integer_toy()) == ("int64_t" if rule == "mean_membrane" else "int32_t")


def test_state_comes_first() -> None:
    lifetimes = [need.lifetime for need in needs(l2mu())]
    assert lifetimes == sorted(lifetimes, key=lambda lifetime: lifetime != "state")


def test_state_lives_with_everything() -> None:
    state = Need("a", "float", 1, "state", 0, 0)
    assert state.lives_with(Need("b", "float", 1, "scratch", 5, 6))


def test_scratch_lives_with_what_shares_a_moment() -> None:
    first = Need("a", "float", 1, "scratch", 1, 2)
    assert first.lives_with(Need("b", "float", 1, "scratch", 2, 3))
    assert not first.lives_with(Need("b", "float", 1, "scratch", 3, 4))
    assert not Need("b", "float", 1, "scratch", 3, 4).lives_with(first)


def test_lists_of_distant_populations_never_live_together() -> None:
    found = by_name(chain())
    assert found["p0_spikes"].lives_with(found["p1_spikes"])
    assert not found["p0_spikes"].lives_with(found["p2_spikes"])


def test_bytes_follow_the_type() -> None:
    assert Need("a", "uint16_t", 3, "state", 0, 1).bytes == 6
    assert Need("a", "int64_t", 3, "state", 0, 1).bytes == 24
