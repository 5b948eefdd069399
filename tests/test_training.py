"""Training makes networks better, never worse, and the same again; also when it was interrupted."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import f32, li, narrow
from toy_training import int8, network, split, windows

from l2mu_compile import bounds, training
from l2mu_compile.errors import ModelError
from l2mu_compile.interpreter import run
from l2mu_compile.kept import Kept
from l2mu_compile.labelled import LabelledWindows
from l2mu_compile.network import Input, Network, Population, Readout
from l2mu_compile.projection import Projection
from l2mu_compile.text import network_digest
from l2mu_compile.torch_network import NetworkModule
from l2mu_compile.training import (
    LEAST_RATE,
    LOGIT_PER_RATE,
    LOGIT_SPREAD,
    Recipe,
    Score,
    fine_tune,
    logit_scale,
    rates,
    score,
)
from l2mu_compile.verify import verify
from l2mu_compile.windows import Windows

RECIPE = Recipe(epochs=6, learning_rate=0.03, batch=16)


@pytest.mark.parametrize("kind", ["lif", "cuba"])
@pytest.mark.parametrize("numbers", ["float32", "int8"])
def test_training_helps(kind: str, numbers: str) -> None:
    before = network(kind) if numbers == "float32" else int8(network(kind))
    data = split(before)
    found = fine_tune(before, data, RECIPE)
    verify(found.network)
    assert found.network.quantized == before.quantized
    assert found.before.accuracy < 0.6 < 0.85 < found.after.accuracy
    assert found.epoch > 0 and not found.diverged
    # What is reported is what the network does in the interpreter.
    decisions = run(found.network, data.validation.x).decisions
    assert (decisions == data.validation.y).mean() == found.after.accuracy
    assert found.after == score(found.network, data.validation, logit_scale(before, data.train))


@pytest.mark.parametrize("rule", ["last_membrane", "max_membrane", "mean_membrane"])
def test_membranes_are_trained_as_they_are_read(rule: str) -> None:
    before = int8(network(rule=rule))
    found = fine_tune(before, split(before), RECIPE)
    assert found.after.accuracy > found.before.accuracy + 0.2


def test_only_what_helps_on_validation_is_kept() -> None:
    # A network that was trained on other labels than those it is validated with gets worse.
    good = fine_tune(network(), split(network()), RECIPE).network
    data = split(good)
    assert data.train.y is not None
    wrong = replace(data, train=replace(data.train, y=(data.train.y + 1) % 3))
    found = fine_tune(good, wrong, RECIPE)
    assert found.network is good
    assert (found.epoch, found.after) == (0, found.before)


def test_the_best_epoch_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    scores: list[Score] = []

    def recorded(*arguments: Any) -> Score:
        scores.append(score(*arguments))
        return scores[-1]

    monkeypatch.setattr(training, "score", recorded)
    found = fine_tune(network(), split(network()), replace(RECIPE, learning_rate=0.3))
    assert len(scores) == RECIPE.epochs + 1
    best = max(scores, key=lambda s: (s.right, -s.loss))
    assert found.after == best and scores[found.epoch] == best
    assert 0 < found.epoch < RECIPE.epochs, "no epoch after the best one got worse"


@pytest.mark.parametrize(
    ("a", "b", "better"),
    [
        ((5, 1.0), (4, 0.5), True),
        ((5, 1.0), (5, 0.5), False),
        ((5, 0.5), (5, 1.0), True),
        ((5, 1.0), (5, 1.0), False),
        ((5, math.nan), (5, 1.0), False),
    ],
)
def test_ties_go_to_the_lower_loss_then_to_the_earlier(a: Any, b: Any, better: bool) -> None:
    assert Score(a[0], 9, a[1], 0, 0).better_than(Score(b[0], 9, b[1], 0, 0)) == better


def test_a_score_by_hand() -> None:
    toy = network()
    data = windows(5)
    assert data.y is not None
    counts = run(toy, data.x).scores * 0.5
    likely = np.exp(counts) / np.exp(counts).sum(1, keepdims=True)
    found = score(toy, data, 0.5)
    assert found.loss == pytest.approx(-np.log(likely[np.arange(5), data.y]).mean())
    assert found.right == (counts.argmax(1) == data.y).sum()
    result = run(toy, data.x)
    assert found.operations == result.operations_per_step
    assert found.spikes == sum(result.spike_totals.values()) / (5 * data.x.shape[1])


def test_logits_of_counts_and_of_membranes() -> None:
    assert logit_scale(network(), windows(steps=30)) == LOGIT_PER_RATE / 30
    read = network(rule="mean_membrane")
    scale = logit_scale(read, windows())
    assert (run(read, windows().x).scores * scale).std() == pytest.approx(LOGIT_SPREAD)
    silent = read.map_projections(lambda p: replace(p, weight=p.weight * 0))
    silent = silent.map_populations(lambda p: replace(p, bias=None))
    assert logit_scale(silent, windows()) == 1


def test_more_spikes_have_a_price(monkeypatch: pytest.MonkeyPatch) -> None:
    # A third of the weights, so that the hidden neurons are quiet at first, and have to speak up.
    before = network().map_projections(lambda p: replace(p, weight=p.weight * f32(0.35)))
    before = before.map_populations(lambda p: replace(p, bias=None))
    data = split(before)
    assert rates(before, data.train).keys() == {"h"}
    assert rates(before, data.train)["h"] < LEAST_RATE
    held = fine_tune(before, data, RECIPE)
    monkeypatch.setattr(training, "RATE_PRICE", 0.0)
    free = fine_tune(before, data, RECIPE)
    held_rate, free_rate = (rates(found.network, data.train)["h"] for found in (held, free))
    assert LEAST_RATE < held_rate < free_rate - 0.01
    assert held.after.accuracy > held.before.accuracy + 0.2


@pytest.mark.parametrize("reads", ["numbers", "spikes"])
def test_operations_have_a_price(reads: str) -> None:
    """The aim comes down from all operations to half of them; more cost the square of how many."""
    before = network()
    if reads == "spikes":
        before = before.replace(input=replace(before.input, spiking=True))
    data = split(before)
    price = training._Price(before, data.train, 0.5)
    activity = NetworkModule(before)(torch.from_numpy(data.train.x), ("spikes",))
    expected = [0.0, (2**0.5 - 1) ** 2, 1.0, 1.0]
    for done, due in zip((0, training.RAMP / 2, training.RAMP, 1), expected, strict=True):
        found = price.of(activity, done).item()
        assert found == pytest.approx(training.OPERATIONS_PRICE * due, rel=1e-4, abs=1e-9)


def test_of_those_that_decide_as_well_the_one_with_the_fewest_operations_is_kept() -> None:
    recipe = replace(RECIPE, activity=0.5, tolerance=0.29)
    before, best = Score(90, 100, 1.0, 9, 90), Score(80, 100, 1.0, 5, 50)
    for right, operations, kept in (
        (61, 49, True),  # 90 - 61 are just 29 of 100
        (60, 40, False),
        (95, 51, False),
        (81, 50, True),
        (80, 50, False),
    ):
        found = Score(right, 100, 1.0, 5, operations)
        assert recipe.prefers(found, best, before) == kept
        assert RECIPE.prefers(found, best, before) == (right > 80)


def test_a_teacher_says_how_likely_classes_are() -> None:
    teacher, data = fine_tune(network(), split(network()), RECIPE).network, windows()
    found = training.opinions(teacher, data)
    counts = run(teacher, data.x).scores
    by_hand = np.exp(counts * LOGIT_PER_RATE / 12)
    np.testing.assert_allclose(found, by_hand / by_hand.sum(axis=1, keepdims=True))
    assert (found.argmax(1).numpy() == run(teacher, data.x).decisions).all()


@pytest.mark.parametrize("numbers", ["float32", "int8"])
def test_what_a_teacher_knows_can_be_learnt_without_labels(numbers: str) -> None:
    teacher = fine_tune(network(), split(network()), RECIPE).network
    before = network() if numbers == "float32" else int8(network())
    data = split(before)
    assert data.train.y is not None
    wrong = replace(data, train=replace(data.train, y=(data.train.y + 1) % 3))
    assert fine_tune(before, wrong, RECIPE).after.accuracy < 0.8
    taught = fine_tune(before, wrong, replace(RECIPE, distill=1.0), teacher=teacher)
    assert taught.after.accuracy > 0.85


def test_half_a_teacher_is_half_of_the_loss() -> None:
    teacher, data = fine_tune(network(), split(network()), RECIPE).network, split(network())
    assert data.train.y is not None

    def loss(distill: float) -> float:
        recipe = replace(RECIPE, distill=distill)
        run_of = training._Training(network(), data, recipe, None, None, teacher)
        activity = run_of.module(torch.from_numpy(data.train.x), ("spikes",))
        return run_of._loss(activity, torch.from_numpy(data.train.y), run_of.taught).item()

    assert loss(0.5) == pytest.approx((loss(0) + loss(1)) / 2)
    assert loss(0) != pytest.approx(loss(1))


def test_the_same_call_gives_the_same_network() -> None:
    before = int8(network())
    digests = [
        network_digest(fine_tune(before, split(before), recipe).network)
        for recipe in (RECIPE, RECIPE, replace(RECIPE, seed=1))
    ]
    assert digests[0] == digests[1] != digests[2]
    other = replace(split(before), seed=1)
    assert network_digest(fine_tune(before, other, RECIPE).network) != digests[0]


def test_it_computes_in_one_thread_and_leaves_torch_alone() -> None:
    threads, seen = torch.get_num_threads(), set()
    torch.set_num_threads(2)
    state = torch.get_rng_state()
    try:
        fine_tune(
            network(),
            split(network()),
            replace(RECIPE, epochs=1),
            lambda *_: seen.add(torch.get_num_threads()),
        )
        assert torch.get_num_threads() == 2
        assert torch.equal(torch.get_rng_state(), state)
    finally:
        torch.set_num_threads(threads)
    assert seen == {1}


def test_progress_counts_batches() -> None:
    calls: list[tuple[int, int]] = []
    data = split(network())
    fine_tune(network(), data, replace(RECIPE, epochs=2), lambda *call: calls.append(call))
    batches = -(-len(data.train.x) // RECIPE.batch)
    assert calls == [(k + 1, 2 * batches) for k in range(2 * batches)]


def test_proofs_hold_in_every_epoch() -> None:
    before = narrow(8, "subtract", scalar=False)
    random = np.random.default_rng(0)
    x = f32(random.normal(size=(40, 10, 2)))
    data = Windows(x, np.arange(40) % 3)
    found = fine_tune(before, split(before, data), replace(RECIPE, learning_rate=0.3))
    assert found.epoch > 0
    verify(found.network)
    assert all(bounds.narrow(found.network, p) for p in found.network.populations)


def test_what_diverges_ends_early() -> None:
    before = Network(
        "huge",
        Input("x", 3),
        (Population("out", (3,), li(1.0)),),
        (Projection("x", "out", f32(np.eye(3))),),
        Readout("out", "mean_membrane"),
    )
    data = windows()
    calls: list[Any] = []
    huge = replace(data, x=data.x * f32(1e38))
    with np.errstate(over="ignore", invalid="ignore"):
        found = fine_tune(before, split(before, huge), RECIPE, lambda *call: calls.append(call))
    assert found.diverged and found.network is before and not calls


def test_nothing_to_train_is_an_error() -> None:
    before = Network(
        "shared",
        Input("x", 3),
        (Population("out", (3,), li(0.5)),),
        (Projection("x", "out", f32([[1]]), blocks=3),),
        Readout("out", "mean_membrane"),
    )
    with pytest.raises(ModelError, match="network shared has only shared blocks to train"):
        fine_tune(before, split(before), RECIPE)
    assert fine_tune(before, split(before), replace(RECIPE, memory=True)).epoch >= 0


# ---- going on ----


class Killed(Exception):
    pass


def interrupted(before: Network, data: LabelledWindows, kept: Kept, after: int) -> None:
    def progress(done: int, _total: int) -> None:
        if done == after:
            raise Killed

    with pytest.raises(Killed):
        fine_tune(before, data, RECIPE, progress, kept)


@pytest.mark.parametrize("numbers", ["float32", "int8"])
@pytest.mark.parametrize("after", [3, 12, 29])
def test_an_interrupted_training_ends_as_if_it_had_not_been(
    numbers: str, after: int, tmp_path: Path
) -> None:
    before = network() if numbers == "float32" else int8(network())
    data, lines = split(before), []
    whole = fine_tune(before, data, RECIPE)
    kept = Kept(tmp_path, lines.append)
    interrupted(before, data, kept, after)
    calls: list[int] = []
    again = fine_tune(before, data, RECIPE, lambda done, _: calls.append(done), kept)
    batches = -(-len(data.train.x) // RECIPE.batch)
    done = (after - 1) // batches
    assert calls[0] == done * batches + 1, "it started anew, or skipped something"
    assert network_digest(again.network) == network_digest(whole.network)
    assert again == whole
    assert lines == ([f"going on after epoch {done} of 6"] if done else [])
    # And what was finished is not done again.
    calls.clear()
    assert fine_tune(before, data, RECIPE, lambda done, _: calls.append(done), kept) == whole
    assert calls == []


@pytest.mark.parametrize(
    "change", ["network", "recipe", "windows", "validation", "seed", "teacher"]
)
def test_what_was_kept_of_another_training_is_not_used(change: str, tmp_path: Path) -> None:
    before, recipe = network(), replace(RECIPE, epochs=2, distill=0.5)
    data, lines, teacher = split(before), [], network()
    kept = Kept(tmp_path, lines.append)
    fine_tune(before, data, recipe, None, kept, teacher)
    if change == "network":
        before = before.map_populations(lambda p: replace(p, rate=0.5))
    elif change == "recipe":
        recipe = replace(recipe, learning_rate=0.01)
    elif change == "seed":
        data = replace(data, seed=5)
    elif change == "teacher":
        teacher = int8(network())
    else:
        name = "train" if change == "windows" else "validation"
        part = getattr(data, name)
        data = replace(data, **{name: replace(part, x=part.x * f32(1.001))})
    calls: list[int] = []
    fine_tune(before, data, recipe, lambda done, _: calls.append(done), kept, teacher)
    assert calls[0] == 1 and lines == []


def test_a_damaged_file_is_said_and_not_used(tmp_path: Path) -> None:
    before = network()
    data, lines = split(before), []
    kept = Kept(tmp_path, lines.append)
    whole = fine_tune(before, data, RECIPE, None, kept)
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    assert fine_tune(before, data, RECIPE, None, kept) == whole
    assert len(lines) == 1 and "its digest is wrong" in lines[0] and path.name in lines[0]
