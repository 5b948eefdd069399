"""detect-spikes: inputs of zeros and ones become inputs of spikes, and mean the same."""

from __future__ import annotations

import numpy as np
import pytest
from network_texts import applied, assert_becomes
from networks import f32, feed_forward, lif

from l2mu_compile.errors import UsageError
from l2mu_compile.interpreter import run
from l2mu_compile.network import Input
from l2mu_compile.passbase import Context
from l2mu_compile.passes.detect_spikes import DetectSpikes

ZEROS_AND_ONES = f32(np.random.default_rng(3).random((4, 9, 2)) < 0.4)


def test_an_input_of_zeros_and_ones_is_one_of_spikes() -> None:
    body = """
          population p : lif[1] beta=0.5 threshold=1.0 reset=subtract
          projection x -> p : dense[1,1] @p.x
          readout    p : spike_count
        p.x = [[2.0]]
    """
    notes: list[str] = []
    context = Context(samples=f32([[[1], [0]]]), samples_from="windows.npz", note=notes.append)
    assert_becomes(
        DetectSpikes(),
        f"""
        network n stage=folded window=none
          input      x : f32[1]{body}""",
        f"""
        network n stage=folded window=none
          input      x : spikes[1]{body}""",
        context,
    )
    assert notes == ["detect-spikes: all of windows.npz are 0 or 1; samples above 1/2 are spikes"]


def test_zeros_and_ones_mean_what_they_meant() -> None:
    network = feed_forward(lif(0.7, 0.9))
    after = applied(DetectSpikes(), network, Context(samples=ZEROS_AND_ONES))
    assert after.input.spiking
    before, now = (run(n, ZEROS_AND_ONES, ("membranes",)) for n in (network, after))
    for name, membranes in before.membranes.items():
        assert now.membranes[name].tobytes() == membranes.tobytes()
    assert now.operations > before.operations, "samples that are spikes add weights"


@pytest.mark.parametrize(
    ("samples", "entry"),
    [
        (f32([[[1, 0.5]]]), Input("x", 2)),
        (f32([[[1, -1]]]), Input("x", 2)),
        (f32([[[1, np.nan]]]), Input("x", 2)),
        (f32([[[0, 0]]]), Input("x", 2)),
        (f32([[[1, 0]]]), Input("x", 2, unit=f32(0.5))),
    ],
)
def test_other_inputs_stay_as_they_are(samples: np.ndarray, entry: Input) -> None:
    network = feed_forward().replace(input=entry)
    assert DetectSpikes().apply(network, Context(samples=samples)) is network


def test_nothing_to_look_at() -> None:
    with pytest.raises(UsageError, match="detect-spikes needs windows"):
        DetectSpikes().apply(feed_forward(), Context())
