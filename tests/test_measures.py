"""Limits, the Pareto set, and which network is chosen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2mu_compile.errors import UsageError
from l2mu_compile.measures import Budget, Measures, closest, pareto, parse_budget, preferred


def measures(
    accuracy: float, flash: int = 100, ram: int = 10, step: float = 5, window: float = 50
) -> Measures:
    return Measures(
        accuracy=accuracy, flash=flash, ram=ram, instructions=step, window_instructions=window
    )


SMALL = st.builds(
    measures,
    st.sampled_from([0.5, 0.6, 0.7]),
    st.integers(1, 3),
    st.integers(1, 3),
    st.just(5.0),
    st.sampled_from([1.0, 2.0, 3.0]),
)


@given(st.lists(SMALL, max_size=12))
def test_the_pareto_set_is_what_nothing_is_better_than(found: list[Measures]) -> None:
    best = pareto(found)

    def better(a: Measures, b: Measures) -> bool:
        pairs = list(zip(a.objectives(), b.objectives(), strict=True))
        return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)

    points = [found[k].objectives() for k in best]
    assert points == sorted(set(points))
    for k, m in enumerate(found):
        beaten = any(better(other, m) for other in found)
        assert (m.objectives() in points) is not beaten
        if k in best:
            assert found.index(m) == k, "of equals the first"


def test_within_a_budget_the_most_accurate_is_chosen() -> None:
    found = [
        measures(0.95, flash=200),
        measures(0.90, window=60),
        measures(0.90, window=50),
        measures(0.80, window=10),
    ]
    assert preferred(found, Budget({"flash": 100})) == [2, 1, 3]
    assert preferred(found, Budget({"flash": 99})) == []


def test_without_one_the_quickest_of_those_nearly_as_accurate() -> None:
    found = [
        measures(0.900, window=90),
        measures(0.896, window=40),
        measures(0.894, window=10),
        measures(0.899, window=50),
    ]
    assert preferred(found, Budget({})) == [1, 3, 0, 2]


def test_the_closest_misses_its_limits_by_the_smallest_share() -> None:
    budget = Budget({"flash": 100, "accuracy": 0.9})
    found = [measures(0.95, flash=150), measures(0.81, flash=90), measures(0.6, flash=101)]
    assert closest(found, budget) == 1
    assert budget.misses(found[1]) == "accuracy 81.00 % (at least 90.00 %)"
    assert budget.misses(found[2]) == (
        "accuracy 60.00 % (at least 90.00 %), flash 101 bytes (limit 100 bytes)"
    )
    assert budget.misses(measures(0.9)) == "" and budget.met(measures(0.9))


def test_limits_are_read() -> None:
    text = "flash=64KiB, ram=1.5 kib,instructions=4000,accuracy=0.85,window-instructions=4e5"
    with pytest.raises(UsageError, match="window-instructions=4e5: write a number"):
        parse_budget(text)
    found = parse_budget(text.replace("4e5", "400000"))
    assert found.limits == {
        "flash": 65536,
        "ram": 1536,
        "instructions": 4000,
        "accuracy": 0.85,
        "window-instructions": 400000,
    }
    assert str(parse_budget("flash=2MiB,accuracy=1")) == "flash=2097152, accuracy=1"
    assert parse_budget(None).limits == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "unexpected ''"),
        ("flash", "unexpected 'flash'; limits are accuracy, flash, ram"),
        ("size=3", "unexpected 'size=3'"),
        ("flash=1,flash=2", "flash has two limits"),
        ("flash=64KB", "flash=64KB: write bytes, KiB or MiB"),
        ("flash=-1", "flash=-1: write bytes"),
        ("flash=0", "flash=0: must be above 0"),
        ("instructions=4KiB", "instructions=4KiB: write a number"),
        ("accuracy=85", "accuracy=85: must be above 0 and at most 1"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_budget(text)
    assert message in str(caught.value)
