"""fine-tune: training as a pass, at every point of a pipeline before planning."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from networks import planned
from toy_training import INT8, network, split

from l2mu_compile.errors import ModelError, UsageError
from l2mu_compile.interpreter import run
from l2mu_compile.network import Network
from l2mu_compile.passbase import Context
from l2mu_compile.passes.fine_tune import FineTune
from l2mu_compile.pipeline import parse_pipeline, run_passes
from l2mu_compile.text import network_digest

QUICK = FineTune(epochs=4, learning_rate=0.03, batch=16)
TUNE = str(QUICK)


def accuracy(found: Network) -> float:
    windows = split(network()).validation
    return float((run(found, windows.x).decisions == windows.y).mean())


@pytest.mark.parametrize(
    "passes",
    [
        [TUNE],
        ["fold-input", TUNE, "remove-dead"],
        ["fold-input", "fold-threshold", TUNE],
        [INT8, TUNE],
        [TUNE, INT8, TUNE],
    ],
)
def test_anywhere_before_planning(passes: list[str]) -> None:
    notes: list[str] = []
    context = Context(labelled=split(network()), note=notes.append)
    before = network()
    digest = network_digest(before)
    found = run_passes(before, parse_pipeline(",".join(passes)), context)
    assert accuracy(found) > accuracy(before) + 0.2
    assert network_digest(before) == digest, "the pass changed its argument"
    tuned = [note for note in notes if note.startswith("fine-tune")]
    assert len(tuned) == passes.count(TUNE)
    assert f"{100 * accuracy(before):.2f} % of validation windows right before" in tuned[0]
    assert f"{100 * accuracy(found):.2f} % after epoch" in tuned[-1]


def test_no_better_network_is_said() -> None:
    notes: list[str] = []
    data = split(network())
    good = QUICK.apply(network(), Context(labelled=data))
    assert data.train.y is not None
    wrong = replace(data, train=replace(data.train, y=(data.train.y + 1) % 3))
    assert QUICK.apply(good, Context(labelled=wrong, note=notes.append)) is good
    assert "no epoch was better, so the network stays" in notes[0]


def test_memory_is_trained_on_request() -> None:
    data, shared = split(network()), network()
    assert shared.projections[1].shared
    still, moved = (
        replace(QUICK, memory=memory).apply(shared, Context(labelled=data))
        for memory in (False, True)
    )
    assert np.array_equal(still.projections[1].weight, shared.projections[1].weight)
    assert moved.projections[1].shared
    assert not np.array_equal(moved.projections[1].weight, shared.projections[1].weight)


def test_it_learns_from_the_model_as_it_was_given() -> None:
    data = split(network())
    assert data.train.y is not None
    wrong = replace(data, train=replace(data.train, y=(data.train.y + 1) % 3))
    good = QUICK.apply(network(), Context(labelled=data))
    found = replace(QUICK, distill=1.0).apply(network(), Context(labelled=wrong, original=good))
    assert accuracy(found) > accuracy(network()) + 0.2


def test_without_the_model_as_it_was_given() -> None:
    with pytest.raises(UsageError, match="fine-tune: distill needs the model as it was given"):
        replace(QUICK, distill=0.5).apply(network(), Context(labelled=split(network())))


def test_without_labelled_windows() -> None:
    with pytest.raises(UsageError, match="fine-tune needs labelled windows: use l2mu-compile tune"):
        QUICK.apply(network(), Context())


def test_a_planned_network_is_refused() -> None:
    with pytest.raises(ModelError, match="train it before select-kernels"):
        QUICK.apply(planned(network()), Context(labelled=split(network())))


@pytest.mark.parametrize(
    "options",
    ["epochs=0", "learning_rate=0", "learning_rate=nan", "batch=0", "seed=-1", "distill=1.5"],
)
def test_options_out_of_range(options: str) -> None:
    name = options.partition("=")[0]
    with pytest.raises(UsageError, match=f"fine-tune: {name} must be from"):
        parse_pipeline(f"fine-tune{{{options}}}")
