"""Templates: what they stand for, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_training import network

from l2mu_compile.errors import UsageError
from l2mu_compile.pipeline import parse_pipeline
from l2mu_compile.template import (
    Choice,
    Dimension,
    Range,
    Value,
    default_template,
    least,
    parse_template,
)

TEMPLATE = (
    "prune-population{sparsity=0..0.8, criterion=readout|rate, windows=32}?,quantize,"
    "fine-tune{epochs=1..6,learning_rate=0.001..0.01}?, fine-tune{epochs=2..3}"
)


def test_dimensions() -> None:
    assert parse_template(TEMPLATE).dimensions() == [
        Choice("prune-population", ("without", "with")),
        Range("prune-population.sparsity", 0, 0.8, whole=False),
        Choice("prune-population.criterion", ("readout", "rate")),
        Choice("fine-tune", ("without", "with")),
        Range("fine-tune.epochs", 1, 6, whole=True),
        Range("fine-tune.learning_rate", 0.001, 0.01, whole=False),
        Range("fine-tune#2.epochs", 2, 3, whole=True),
    ]


def test_blanks_mean_nothing() -> None:
    spaced = parse_template(TEMPLATE.replace(",", " ,\n "))
    assert spaced == parse_template(TEMPLATE)
    assert spaced.text == "".join(TEMPLATE.split())


def test_pipelines() -> None:
    template = parse_template(TEMPLATE)
    assert template.chosen(least) == "quantize,fine-tune{epochs=2}"
    asked: list[str] = []

    def highest(dimension: Dimension) -> Value:
        asked.append(dimension.name)
        return dimension.high if isinstance(dimension, Range) else dimension.values[-1]

    found = template.chosen(highest)
    assert found == (
        "prune-population{sparsity=0.8,criterion=rate,windows=32},quantize,"
        "fine-tune{epochs=6,learning_rate=0.01},fine-tune{epochs=3}"
    )
    assert asked == [d.name for d in template.dimensions()]
    assert [p.name for p in parse_pipeline(found)] == [
        *("prune-population", "quantize", "fine-tune", "fine-tune")
    ]


def test_only_what_is_needed_is_asked_for() -> None:
    asked: list[str] = []

    def recorded(dimension: Dimension) -> Value:
        asked.append(dimension.name)
        return least(dimension)

    parse_template(TEMPLATE).chosen(recorded)
    assert asked == ["prune-population", "fine-tune", "fine-tune#2.epochs"]


@pytest.mark.parametrize(
    ("low", "high", "whole", "log"),
    [
        (0.005, 0.05, False, True),
        (0.005, 0.049, False, False),
        (0.0, 0.8, False, False),
        (1, 100, True, False),
    ],
)
def test_wide_fractions_are_searched_by_magnitude(
    low: float, high: float, whole: bool, log: bool
) -> None:
    assert Range("x", low, high, whole).log is log


@given(st.floats(1e-6, 0.5), st.floats(0, 1), st.floats(0, 1))
def test_what_is_written_is_short_and_in_the_range(low: float, width: float, place: float) -> None:
    found = Range("x", low, low + width, whole=False)
    value = low + place * width
    written = float(found.written(value))
    assert found.low <= written <= found.high
    assert written == pytest.approx(value, rel=1e-3)


def test_the_default_template() -> None:
    names = [item.name for item in parse_template(default_template(network())).items]
    assert names == ["prune-population", "quantize", "fine-tune", "early-exit"]
    assert "early-exit" not in default_template(network(rule="last_membrane"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("quantize,fine-tune{epochs=3}", "nothing to choose"),
        ("quantize{", "cannot read"),
        ("fine-tune{epochs=5..2}", "epochs=5..2 is no range"),
        ("fine-tune{epochs=2..2}", "epochs=2..2 is no range"),
        ("fine-tune{epochs=1..}", "epochs=1.. is no range"),
        ("fine-tune{epochs=1..2..3}", "epochs=1..2..3 is no range"),
        ("fine-tune{epochs=1..inf}", "epochs=1..inf is no range"),
        ("fine-tune{epochs=0..3}", "epochs must be from 1"),
        ("fine-tune{epochs=1.5..3}", "fine-tune: epochs=1.5"),
        ("fine-tune{epochs=1..3.5}", "fine-tune: epochs: 3.5 is no whole number"),
        ("fine-tune{epoch=1..3}", "unexpected 'epoch=1'"),
        ("prune-population{sparsity=0..1}", "sparsity must be from 0 to below 1"),
        ("prune-population{criterion=rate|size}", "criterion=size"),
        ("prune-population{criterion=rate|rate}", "names a value twice"),
        ("prune{sparsity=0..1}", "unknown pass 'prune'"),
        ("prune?", "unknown pass 'prune'"),
        ("early-exit{risk}?", "unexpected 'risk'"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_template(text)
    assert message in str(caught.value)
