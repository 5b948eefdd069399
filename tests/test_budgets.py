"""Budgets: what breaks them, and how that is said."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from l2mu_compile.budgets import Budget, Figures, unjudged, violations

FOUND = Figures(
    flash=2048, ram=100, instructions_per_step=10.4, worst_case_instructions=70, accuracy=0.8
)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"max_flash": 2048}, ()),
        ({"max_flash": 2047}, ("flash 2,048 bytes, max_flash 2,047 bytes",)),
        ({"max_flash": "1.5 KiB"}, ("flash 2,048 bytes, max_flash 1,536 bytes",)),
        ({"max_ram": 99}, ("RAM 100 bytes, max_ram 99 bytes",)),
        (
            {"max_instructions_per_step": 10},
            ("instructions per step 10.4, max_instructions_per_step 10.0",),
        ),
        (
            {"max_worst_case_instructions": 69},
            ("instructions if all spike 70, max_worst_case_instructions 69",),
        ),
        ({"min_accuracy": 0.8}, ()),
        ({"min_accuracy": "81 %"}, ("accuracy 80.00 %, min_accuracy 81.00 %",)),
        (
            {"min_agreement": 0},
            ("agreement: not known of this build, so min_agreement cannot be shown to be kept",),
        ),
        ({"max_flash_growth": 0}, ()),
    ],
)
def test_without_a_baseline(limits, said):
    assert violations(Budget(**limits), FOUND, None) == said


BEFORE = Figures(flash=2000, ram=100, instructions_per_step=10.4, accuracy=0.83)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"max_flash_growth": "2.4 %"}, ()),
        (
            {"max_flash_growth": "2 %"},
            ("flash 2,048 bytes, was 2,000 bytes: grew by 2.40 %, max_flash_growth 2 %",),
        ),
        ({"max_ram_growth": 0, "max_instructions_growth": 0}, ()),
        ({"max_worst_case_growth": 0}, ()),
        ({"max_accuracy_loss": 0.03}, ()),
        (
            {"max_accuracy_loss": "2.5 %"},
            ("accuracy 80.00 %, was 83.00 %: 3.00 points less, max_accuracy_loss 2.5 points",),
        ),
    ],
)
def test_against_a_baseline(limits, said):
    assert violations(Budget(**limits), FOUND, BEFORE) == said


def test_what_the_baseline_does_not_know_is_named():
    budget = Budget(max_flash=1, max_flash_growth=0.1, max_accuracy_loss=0.1)
    assert unjudged(budget, Figures(flash=1)) == ("accuracy",)
    assert unjudged(budget, Figures()) == unjudged(budget, None) == ("flash", "accuracy")
    assert unjudged(Budget(max_flash=1), None) == ()


@pytest.mark.parametrize("percent", range(100))
def test_limits_that_are_just_kept(percent):
    """As written in decimals, which binary fractions are near."""
    growth = Budget(max_flash_growth=f"{percent} %", max_accuracy_loss=f"{percent / 2} %")
    before = Figures(flash=100, accuracy=0.9)
    kept = Figures(flash=100 + percent, accuracy=0.9 - percent / 200)
    assert violations(growth, kept, before) == ()
    flash = violations(growth, kept.model_copy(update={"flash": 101 + percent}), before)
    assert [text.split()[0] for text in flash] == ["flash"]
    least = Budget(min_accuracy=f"{percent}.{percent % 10} %", min_agreement=percent / 100)
    share = (10 * percent + percent % 10) / 1000
    assert violations(least, Figures(accuracy=share, agreement=percent / 100), None) == ()


def test_figure_and_limit_are_told_apart():
    found = violations(
        Budget(min_accuracy=0.9000001, max_instructions_per_step=99.6, max_flash=1000),
        Figures(accuracy=0.9, instructions_per_step=99.95, flash=1001),
        None,
    )
    assert found == (
        "flash 1,001 bytes, max_flash 1,000 bytes",
        "instructions per step 100.0, max_instructions_per_step 99.6",
        "accuracy 90.00000 %, min_accuracy 90.00001 %",
    )


@pytest.mark.parametrize("value", [True, "-1 %", "1e9", "much", "", "5 % more"])
def test_shares_and_counts_are_numbers(value):
    for key in ("min_accuracy", "max_flash_growth", "max_accuracy_loss"):
        with pytest.raises(ValidationError, match="write a share, such as"):
            Budget(**{key: value})
    with pytest.raises(ValidationError, match="write a number"):
        Budget(max_instructions_per_step=True)


def test_growth_from_nothing():
    said = violations(Budget(max_ram_growth=1), FOUND, Figures(ram=0))
    assert said == ("RAM 100 bytes, was 0 bytes: grew from nothing, max_ram_growth 100 %",)


@pytest.mark.parametrize(
    "limits",
    [
        {"max_flash": 0},
        {"max_flash": "2 miles"},
        {"max_flash": True},
        {"max_ram": "nan"},
        {"max_instructions_per_step": float("inf")},
        {"min_accuracy": 1.1},
        {"min_accuracy": "110 %"},
        {"max_flash_growth": -0.1},
        {"max_speed": 1},
    ],
)
def test_limits_that_are_none(limits):
    with pytest.raises(ValidationError):
        Budget(**limits)


def test_a_budget_with_changes_keeps_what_is_not_changed():
    both = Budget(max_flash=1, max_ram=2).with_changes(Budget(max_ram=3))
    assert both.limits() == {"max_flash": 1, "max_ram": 3}
    assert not both.compares and Budget(max_accuracy_loss=0).compares
