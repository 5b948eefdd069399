"""The order of work within a step: turns, what arrives before and what leaves after."""

from __future__ import annotations

from drawn_networks import float_networks, integer_networks
from hypothesis import given
from hypothesis import strategies as st
from networks import l2mu, late_reader, recurrent

from l2mu_compile.network import Network
from l2mu_compile.schedule import arriving, delayed, turns


def shown(network: Network) -> list[str]:
    return [
        f"{' '.join(p.name for p in t.arriving)} | {t.population.name} | "
        f"{' '.join(p.name for p in t.leaving)}".strip()
        for t in turns(network)
    ]


def test_own_spikes_leave_when_they_are_there() -> None:
    assert shown(recurrent()) == ["h.x | h | h.h.last", "out.h | out |"]


def test_spikes_of_one_that_fired_earlier_wait_for_their_target_to_fire() -> None:
    """Before its turn the target still gathers what this step uses."""
    assert shown(late_reader()) == ["a.x | a |", "b.a | b | b.a.last"]


def test_an_l2mu() -> None:
    assert shown(l2mu()) == [
        "enc.x | enc |",
        "u.enc | u |",
        "m.u | m | u.m.last m.m.last",
        "h.enc h.m | h | u.h.last h.h.last",
        "out.h | out |",
    ]


@given(st.one_of(float_networks(), integer_networks()))
def test_every_projection_has_its_one_moment(network: Network) -> None:
    order = turns(network)
    assert [t.population for t in order] == list(network.order())
    position = {t.population.name: i for i, t in enumerate(order)}
    found = []
    for i, turn in enumerate(order):
        for p in turn.arriving:
            assert p.target == turn.population.name
            assert p.source == network.input.name or position[p.source] < i
        for p in turn.leaving:
            assert max(position[p.source], position[p.target]) == i
        for group in (turn.arriving, turn.leaving):
            places = [network.projections.index(p) for p in group]
            assert places == sorted(places)
            found += places
    assert sorted(found) == list(range(len(network.projections)))


@given(float_networks())
def test_what_reaches_a_population_arrives_or_is_delayed(network: Network) -> None:
    for population in network.populations:
        now, later = arriving(network, population), delayed(network, population)
        assert {p.delay for p in now} <= {0}
        assert {p.delay for p in later} <= {1}
        both = sorted((*now, *later), key=network.projections.index)
        assert both == list(network.into(population.name))
