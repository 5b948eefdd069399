"""tune-activity: fewer spikes, about as many right decisions, or the network as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from networks import planned
from toy_training import int8, network, split

from l2mu_compile.errors import ModelError, UsageError
from l2mu_compile.interpreter import run
from l2mu_compile.kept import Kept
from l2mu_compile.network import Network
from l2mu_compile.passbase import Context
from l2mu_compile.passes.fine_tune import FineTune
from l2mu_compile.passes.tune_activity import TuneActivity
from l2mu_compile.pipeline import parse_pipeline
from l2mu_compile.template import parse_template
from l2mu_compile.text import network_digest
from l2mu_compile.verify import verify

ITEM = TuneActivity(epochs=6, learning_rate=0.03, batch=16, activity=0.5, tolerance=0.05)
TAUGHT = FineTune(epochs=6, learning_rate=0.03, batch=16)


def measured(found: Network) -> tuple[float, float]:
    """Accuracy, and synaptic operations of a step."""
    windows = split(network()).validation
    result = run(found, windows.x)
    return float((result.decisions == windows.y).mean()), result.operations_per_step


def taught(numbers: str) -> Network:
    before = network() if numbers == "float32" else int8(network())
    return TAUGHT.apply(before, Context(labelled=split(before)))


@pytest.mark.parametrize("numbers", ["float32", "int8"])
def test_fewer_operations_at_the_same_accuracy(numbers: str) -> None:
    notes: list[str] = []
    before = taught(numbers)
    digest = network_digest(before)
    after = ITEM.apply(before, Context(labelled=split(before), note=notes.append))
    assert network_digest(before) == digest, "the pass changed its argument"
    verify(after)
    (was, many), (now, few) = measured(before), measured(after)
    assert now >= was - ITEM.tolerance
    assert few < 0.75 * many
    right, spent = notes
    assert right.startswith(f"tune-activity: {100 * was:.2f} % of validation windows right before")
    assert f", {100 * now:.2f} % after epoch" in right
    assert f" {many:.0f} synaptic operations a step before" in spent
    assert f" {few:.0f} synaptic operations a step after" in spent


def test_less_is_asked_for_less_is_left() -> None:
    before = taught("float32")
    free = replace(ITEM, tolerance=1.0)
    context = Context(labelled=split(before))
    operations = [
        measured(replace(free, activity=share).apply(before, context))[1] for share in (0.9, 0.3)
    ]
    assert operations[1] < 0.7 * operations[0]


def test_what_decides_worse_is_not_taken() -> None:
    """Trained on wrong labels, every epoch is beyond the tolerance: the network stays."""
    notes: list[str] = []
    before = taught("float32")
    data = split(before)
    assert data.train.y is not None
    wrong = replace(data, train=replace(data.train, y=(data.train.y + 1) % 3))
    item = replace(ITEM, learning_rate=0.3, tolerance=0.0)
    assert item.apply(before, Context(labelled=wrong, note=notes.append)) is before
    assert "no epoch took fewer operations and decided as well, so the network stays" in notes[0]


class Killed(Exception):
    pass


def test_a_killed_run_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    def progress(done: int, _total: int) -> None:
        if done == 17:
            raise Killed

    before = taught("int8")
    context = Context(labelled=split(before))
    whole = ITEM.apply(before, context)
    context = replace(context, kept=Kept(tmp_path, lambda _line: None))
    with pytest.raises(Killed):
        ITEM.apply(before, replace(context, progress=progress))
    calls: list[int] = []
    again = ITEM.apply(before, replace(context, progress=lambda done, _: calls.append(done)))
    assert calls[0] == 16
    assert network_digest(again) == network_digest(whole)


def test_memory_is_trained_on_request() -> None:
    before = taught("float32")
    still, moved = (
        replace(ITEM, memory=memory, tolerance=1.0).apply(before, Context(labelled=split(before)))
        for memory in (False, True)
    )
    assert np.array_equal(still.projections[1].weight, before.projections[1].weight)
    assert not np.array_equal(moved.projections[1].weight, before.projections[1].weight)


def test_a_silent_network_stays() -> None:
    silent = network().map_projections(lambda p: replace(p, weight=p.weight * 0))
    silent = silent.map_populations(lambda p: replace(p, bias=None))
    assert ITEM.apply(silent, Context(labelled=split(silent))) is silent


def test_refusals() -> None:
    with pytest.raises(UsageError, match="tune-activity needs labelled windows"):
        ITEM.apply(network(), Context())
    with pytest.raises(ModelError, match="train it before select-kernels"):
        ITEM.apply(planned(network()), Context(labelled=split(network())))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("activity=0", "activity must be above 0"),
        ("activity=1.1", "activity must be above 0"),
        ("activity=nan", "activity must be above 0"),
        ("tolerance=-0.1", "tolerance must be from"),
        ("epochs=0", "epochs must be from 1"),
    ],
)
def test_options_out_of_range(options: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"tune-activity: {message}"):
        parse_pipeline(f"tune-activity{{{options}}}")


def test_a_search_can_choose_its_options() -> None:
    text = "prune-synapses{sparsity=0.3..0.9,tile=1|4|16}?,tune-activity{activity=0.3..0.9}?"
    names = [d.name for d in parse_template(text).dimensions()]
    assert names == [
        *("prune-synapses", "prune-synapses.sparsity", "prune-synapses.tile"),
        *("tune-activity", "tune-activity.activity"),
    ]
