"""prune-synapses: which weights become zero, what stays, and training between the rounds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_networks import float_networks, integer_networks, windows_for
from hypothesis import given, settings
from hypothesis import strategies as st
from network_texts import applied, assert_becomes, read
from networks import f32, integer_toy, l2mu, planned, samples
from toy_training import int8, network, split

from l2mu_compile import bounds
from l2mu_compile.errors import ModelError, UsageError
from l2mu_compile.interpreter import run
from l2mu_compile.kept import Kept
from l2mu_compile.network import Network
from l2mu_compile.passbase import Context
from l2mu_compile.passes.fine_tune import FineTune
from l2mu_compile.passes.prune_synapses import PruneSynapses
from l2mu_compile.passes.remove_dead import RemoveDead
from l2mu_compile.pipeline import parse_pipeline
from l2mu_compile.synapses import prunable
from l2mu_compile.text import network_digest

TRAINED = PruneSynapses(
    sparsity=0.5, rounds=2, epochs=2, learning_rate=0.03, batch=16, within="projection"
)

BEFORE = """
    network n stage=traced window=none
      input      x : f32[1]
      population h : lif[4] beta=0.5 threshold=@h.threshold reset=subtract
      population out : lif[2] beta=0.5 threshold=1.0 reset=subtract
      projection x -> h : dense[4,1] @h.x
      projection h -> out : dense[2,4] @out.h
      readout    out : spike_count
    h.threshold = [1.0, 1.0, 2.0, 4.0]
    h.x = [[1.0], [2.0], [3.0], [4.0]]
    out.h = [[0.25, -0.75, 0.5, 2.0], [1.0, 0.0, -0.125, 3.0]]
"""


def weights(found: Network) -> dict[str, list[list[float]]]:
    return {p.name: p.weight.tolist() for p in found.projections}


def pruned(found: Network, **options: object) -> dict[str, list[list[float]]]:
    return weights(applied(PruneSynapses(**options), found))  # type: ignore[arg-type]


def test_the_smallest_weights_become_zero() -> None:
    """Half of 12 synapses, one of which was zero. Every neuron keeps its largest."""
    assert_becomes(
        PruneSynapses(sparsity=0.5),
        BEFORE,
        """
network n stage=traced window=none
  input      x : f32[1]
  population h : lif[4] beta=0.5 threshold=@h.threshold reset=subtract
  population out : lif[2] beta=0.5 threshold=1.0 reset=subtract
  projection x -> h : dense[4,1] @h.x
  projection h -> out : dense[2,4] @out.h
  readout    out : spike_count
h.threshold = [1.0, 1.0, 2.0, 4.0]
h.x = [[1.0], [2.0], [3.0], [4.0]]
out.h = [[0.0, 0.0, 0.0, 2.0], [0.0, 0.0, 0.0, 3.0]]
""",
    )


def test_weights_count_in_thresholds() -> None:
    """9.5 in a neuron with a threshold of 32 is less than 0.5 in one with a threshold of 1."""
    text = BEFORE.replace("[1.0, 1.0, 2.0, 4.0]", "[1.0, 32.0, 1.0, 1.0]")
    text = text.replace("dense[4,1] @h.x", "dense[4,2] @h.x").replace("f32[1]", "f32[2]")
    text = text.replace("[[1.0], [2.0], [3.0], [4.0]]", "[[0.5, 9], [9.5, 90], [9, 9], [9, 9]]")
    # Less than both are 0, 1/8 and 1/4 of `out`.
    assert pruned(read(text), sparsity=4 / 16)["h.x"] == [[0.5, 9], [0, 90], [9, 9], [9, 9]]
    assert pruned(read(text), sparsity=3 / 16)["h.x"][1] == [9.5, 90]


def test_integers_count_in_thresholds_and_samples_by_their_shift() -> None:
    """Samples are stored times 16. 1 with a shift of 3 is 1 * 16 / 8 / 20 of a threshold for a
    sample of 1; 5 from a spike is 5 / 20, and 4 with a shift of 2 is 4 * 16 / 4 / 20."""
    found = pruned(integer_toy(), sparsity=3 / 12)
    assert found["h.x"] == [[4, -4], [8, 0]]
    assert found["h.h.last"] == [[0, 5], [5, 0]]
    found = pruned(integer_toy(), sparsity=4 / 12)
    assert found["h.x"] == [[4, -4], [8, 0]]
    assert found["h.h.last"] == [[0, 5], [0, 0]], "a projection keeps one"


def test_contribution_counts_how_much_sources_are_active() -> None:
    """Neuron 0 of h spikes in every step, 1 to 3 never: their weights are worth nothing."""
    text = BEFORE.replace(
        "h.x = [[1.0], [2.0], [3.0], [4.0]]", "h.x = [[9.0], [0.5], [0.5], [0.5]]"
    )
    context = Context(samples=f32(np.ones((1, 8, 1))))
    item = PruneSynapses(sparsity=0.5, criterion="contribution")
    found = weights(applied(item, read(text), context))
    assert found["out.h"] == [[0.25, 0, 0, 0], [1, 0, 0, 0]]
    silent = Context(samples=f32(np.zeros((1, 8, 1))))
    # With no activity at all, every neuron still keeps a synapse that is not zero.
    assert all(any(row) for row in weights(applied(item, read(text), silent))["out.h"])


def test_raw_samples_count_in_the_units_of_the_model() -> None:
    raw = l2mu(sensors=(0.5, 0.25)).map_projections(
        lambda p: (
            replace(p, weight=p.weight[:, :, 0].reshape(6, 1) * f32([[1, 2]]), blocks=0)
            if p.name == "enc.x"
            else p
        )
    )
    x = samples(raw)
    folded = parse_pipeline("fold-input")[0].apply(raw, Context())
    for criterion in ("magnitude", "contribution"):
        item = PruneSynapses(sparsity=0.6, criterion=criterion)  # type: ignore[arg-type]
        masks = [
            {p.name: p.weight != 0 for p in item.apply(n, Context(samples=x)).projections}
            for n in (raw, folded)
        ]
        for name, mask in masks[0].items():
            np.testing.assert_array_equal(mask, masks[1][name], name)


def test_tiles_leave_as_one() -> None:
    """Rows 0 to 1 of out.h are one tile of each source; worth is that of a synapse on average."""
    found = pruned(read(BEFORE), sparsity=0.5, tile=2)
    assert found["out.h"] == [[0, 0, 0, 2], [0, 0, 0, 3]]
    assert found["h.x"] == [[1], [2], [3], [4]]
    # A zero in a tile that stays does not count.
    assert pruned(read(BEFORE), sparsity=1 / 12, tile=2) == weights(read(BEFORE))
    # 3 targets: a tile of two and one of one.
    three = network().map_projections(
        lambda p: (
            replace(p, weight=f32([[0.01, 3, 3, 3, 3, 3]] * 2 + [[9] * 6]))
            if p.name == "out.h"
            else p
        )
    )
    assert pruned(three, sparsity=2 / 36, tile=2, within="network")["out.h"][:2] == [
        [0, 3, 3, 3, 3, 3],
        [0, 3, 3, 3, 3, 3],
    ]


def test_each_projection_loses_its_share() -> None:
    item = PruneSynapses(sparsity=0.5, within="projection")
    found = applied(item, l2mu())
    for p in prunable(found):
        assert (p.weight == 0).mean() >= 0.5 - 1 / p.weight.size


def test_memory_and_blocks_stay() -> None:
    before = l2mu()
    found = pruned(before, sparsity=0.8)
    for name in ("enc.x", "m.u", "m.m.last"):
        assert found[name] == weights(before)[name]
    assert {p.name for p in prunable(before)} == {
        *("u.enc", "u.h.last", "u.m.last", "h.enc", "h.m", "h.h.last", "out.h")
    }
    dense = before.map_projections(
        lambda p: replace(p, weight=p.dense(), blocks=0) if p.name == "m.m.last" else p
    )
    assert "m.m.last" not in {p.name for p in prunable(dense)}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_network_keeps_its_rules(data: st.DataObject) -> None:
    """The share is met to a tile, larger ones contain smaller ones, and all are still driven."""
    before = data.draw(st.one_of(float_networks(), integer_networks()))
    before = before.replace(readout=replace(before.readout, margins=None))
    x = data.draw(windows_for(before))
    share, tile = data.draw(st.floats(0, 0.95)), data.draw(st.sampled_from((1, 2, 4)))
    item = PruneSynapses(
        sparsity=share,
        tile=tile,
        criterion=data.draw(st.sampled_from(("magnitude", "contribution"))),
        within=data.draw(st.sampled_from(("network", "projection"))),
    )
    dense = prunable(before)
    try:
        if item.criterion == "magnitude":
            after = applied(item, before, Context(samples=x))
        else:
            after = item.apply(before, Context(samples=x))
    except ModelError as error:
        assert ("at most" in str(error)) == bool(dense)
        return
    run(after, x)
    for p, q in zip(before.projections, after.projections, strict=True):
        assert ((q.weight == p.weight) | (q.weight == 0)).all()
        assert p in dense or q.weight is p.weight
        gone = (p.weight != 0) & (q.weight == 0)
        for start in range(0, p.shape[0] if gone.any() else 0, tile):
            rows = slice(start, start + tile)
            assert not (gone[rows].any(axis=0) & q.weight[rows].any(axis=0)).any()
        assert p.weight.any() == q.weight.any()
    if item.within == "network" and tile == 1:
        size = sum(p.weight.size for p in dense)
        zero = sum(int((q.weight == 0).sum()) for q in prunable(after))
        assert zero == max(round(share * size), sum(int((p.weight == 0).sum()) for p in dense))
    for name in {p.target for p in dense}:
        driven = [
            sum((p.dense() != 0).any(axis=1).astype(int) for p in n.into(name)) > 0
            for n in (before, after)
        ]
        np.testing.assert_array_equal(*driven)
    for p in before.populations if before.quantized else ():
        assert bounds.narrow(after, p) >= bounds.narrow(before, p)


def test_what_is_left_of_idle_neurons_is_removed_exactly() -> None:
    """Neurons that no longer reach the readout are told, and `remove-dead` takes them out."""
    notes: list[str] = []
    found = PruneSynapses(sparsity=0.5).apply(read(BEFORE), Context(note=notes.append))
    assert notes == [
        "prune-synapses: 6 of 12 synapses are zero, 1 before; "
        "3 more neurons do nothing: remove-dead can take them out, exactly"
    ]
    smaller = RemoveDead().apply(found, Context())
    assert smaller.population("h").size == 1
    x = samples(found)
    was, now = (run(n, x, ("spikes",)).spikes["out"] for n in (found, smaller))
    np.testing.assert_array_equal(was, now)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sparsity": 0.7}, r"0.7 of the synapses of network n cannot .* at most 0.5 can"),
        ({"sparsity": 0.4, "within": "projection"}, r"synapses of h.x cannot .* at most 0 can"),
        ({"sparsity": 0.7, "tile": 4}, r"at most 0.5 can"),
    ],
)
def test_a_share_that_leaves_too_little(options: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        pruned(read(BEFORE), **options)


def test_nothing_to_prune() -> None:
    blocks = network().replace(projections=network().projections[1:2])
    with pytest.raises(ModelError, match="network toy has no dense projection"):
        PruneSynapses().apply(blocks, Context())
    assert PruneSynapses(sparsity=1 / 12).apply(found := read(BEFORE), Context()) is found


def test_refusals() -> None:
    with pytest.raises(ModelError, match="must come before plan-memory"):
        PruneSynapses().apply(planned(network()), Context())
    early = network().replace(readout=replace(network().readout, margins=(3, 3, 3)))
    with pytest.raises(ModelError, match="run prune-synapses before early-exit"):
        PruneSynapses().apply(early, Context())
    with pytest.raises(UsageError, match=r"criterion=contribution.* needs windows"):
        PruneSynapses(criterion="contribution").apply(network(), Context())
    with pytest.raises(UsageError, match="prune-synapses needs labelled windows"):
        PruneSynapses(epochs=1).apply(network(), Context())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("sparsity=1", "sparsity must be from 0 to below 1"),
        ("sparsity=nan", "sparsity must be from 0 to below 1"),
        ("tile=0", "tile must be from 1"),
        ("rounds=0", "rounds must be from 1"),
        ("windows=0", "windows must be from 1"),
        ("epochs=-1", "epochs must be from 0"),
        ("batch=0", "batch must be from 1"),
        ("rewind=true", "rewind needs epochs"),
    ],
)
def test_options_out_of_range(options: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"prune-synapses: {message}"):
        parse_pipeline(f"prune-synapses{{{options}}}")


# ---- rounds with training ----


def accuracy(found: Network) -> float:
    windows = split(network()).validation
    return float((run(found, windows.x).decisions == windows.y).mean())


def trained(found: Network, item: PruneSynapses, **context: object) -> Network:
    return item.apply(found, Context(labelled=split(network()), **context))  # type: ignore[arg-type]


@pytest.mark.parametrize("numbers", ["float32", "int8"])
@pytest.mark.parametrize("rewind", [False, True])
def test_rounds_train_what_stays(numbers: str, rewind: bool) -> None:
    notes: list[str] = []
    calls: list[tuple[int, int]] = []
    before = network() if numbers == "float32" else int8(network())
    item = replace(TRAINED, rewind=rewind)
    found = trained(before, item, note=notes.append, progress=lambda *call: calls.append(call))
    once = replace(TRAINED, rounds=1, epochs=0).apply(before, Context())
    assert accuracy(found) > accuracy(once) + 0.1
    zero = sum(int((p.weight == 0).sum()) for p in prunable(found))
    assert zero >= 18 - len(prunable(found))
    assert [note.rpartition("(")[2] for note in notes[:2]] == ["round 1 of 2)", "round 2 of 2)"]
    assert notes[2].startswith(f"prune-synapses: {zero} of 36 synapses are zero")
    total = calls[0][1]
    assert calls == [(k + 1, total) for k in range(total)]


def test_rewinding_starts_from_the_weights_before() -> None:
    """The last training is one of the original network without the synapses that left."""
    found = trained(network(), replace(TRAINED, rewind=True))
    before = network()
    masks = {p.name: p.weight != 0 for p in found.projections}
    rewound = before.map_projections(
        lambda p: p if p.blocks else replace(p, weight=np.where(masks[p.name], p.weight, f32(0)))
    )
    tuned = FineTune(epochs=2, learning_rate=0.03, batch=16).apply(
        rewound, Context(labelled=split(before))
    )
    assert network_digest(tuned) == network_digest(found)
    assert network_digest(trained(network(), TRAINED)) != network_digest(found)


class Killed(Exception):
    pass


@pytest.mark.parametrize("rewind", [False, True])
@pytest.mark.parametrize("after", [6, 11, 18])
def test_a_killed_run_goes_on_and_ends_the_same(rewind: bool, after: int, tmp_path: Path) -> None:
    def progress(done: int, _total: int) -> None:
        if done == after:
            raise Killed

    before, item = int8(network()), replace(TRAINED, rewind=rewind)
    whole = trained(before, item)
    kept = Kept(tmp_path, lambda _line: None)
    with pytest.raises(Killed):
        trained(before, item, progress=progress, kept=kept)
    calls: list[int] = []
    again = trained(before, item, progress=lambda done, _: calls.append(done), kept=kept)
    assert network_digest(again) == network_digest(whole)
    batches = 5
    assert calls[0] == (after - 1) // batches * batches + 1
