"""What is shown of a window: any network's, beside any other's of the same channels and classes."""

from __future__ import annotations

from dataclasses import replace

import drawn_networks
import networks
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pages import Page

from l2mu_compile.activity import Activity, seen_by, watch
from l2mu_compile.errors import UsageError
from l2mu_compile.frontend import seen
from l2mu_compile.interpreter import run
from l2mu_compile.network import Network
from l2mu_compile.passbase import Context
from l2mu_compile.pipeline import parse_pipeline, run_passes
from l2mu_compile.report import Source
from l2mu_compile.subject import Subject
from l2mu_compile.view import view
from l2mu_compile.windows import Windows

SOURCE = Source(kind="network", name="net.txt")
CUT = "fold-input,remove-dead,fold-threshold,shorten-window{steps=5},quantize{input_range=4}"


def windows_of(network: Network, steps: int = 12) -> Windows:
    return Windows(networks.samples(network, windows=3, steps=steps), source="some/place/data.npz")


@settings(max_examples=15)
@given(st.data())
def test_any_network_makes_a_page(data: st.DataObject) -> None:
    kind = data.draw(
        st.sampled_from([drawn_networks.float_networks, drawn_networks.integer_networks])
    )
    network = data.draw(kind())
    x = data.draw(drawn_networks.windows_for(network))
    windows = Windows(x.astype(np.float32))
    page = Page(view(Subject(network, SOURCE, original=network, original_name="itself"), windows))
    assert len(page.all("img", "raster")) == 2 * len(network.populations)
    assert " 0 spikes lost, 0 new" in page.text and "drift 0.000" in page.text
    assert "nan%" not in page.text


def test_scores_and_rates_are_the_interpreters() -> None:
    network = networks.l2mu()
    windows = windows_of(network)
    found = watch(network, None, windows, 1)
    wanted = run(network, windows.x[1:2])
    assert [score.scores[0] for score in found.scores] == wanted.scores[0].tolist()
    assert [score.decided[0] for score in found.scores].index(True) == wanted.decisions[0]
    assert found.rates == {p.name: wanted.rate(p) for p in network.populations}
    assert (found.source, found.steps, found.windows) == ("data.npz", 12, 3)
    with pytest.raises(UsageError, match=r"--window 3: some/place/data\.npz has 3 windows"):
        watch(network, None, windows, 3)


def spikes_apart(found: Activity) -> int:
    pairs = [raster for p in found.populations for raster in (p.shown, p.original)]
    return sum(r.alone for r in pairs if r is not None and r.alone is not None)


def test_an_original_without_a_sensor_reads_the_models_units() -> None:
    """Raw samples mean the same to both, however far the scale is folded."""
    plain = networks.l2mu(sensors=None)
    entry = replace(plain.input, scale=networks.f32(0.5), offset=networks.f32(0.25))
    sensor = plain.replace(input=entry)
    folded = run_passes(sensor, parse_pipeline("fold-input"), Context())
    windows = windows_of(sensor)
    for network in (sensor, folded):
        in_units = seen_by(plain, network, windows.x)
        np.testing.assert_allclose(in_units, seen(windows.x, entry), rtol=1e-6)
        assert spikes_apart(watch(network, plain, windows, 0)) == 0
        assert seen_by(sensor, network, windows.x) is windows.x
    raw_to_both = watch(sensor, plain.replace(input=replace(entry, scale=None)), windows, 0)
    assert spikes_apart(raw_to_both) > 0


def test_a_shorter_window_is_compared_as_far_as_it_goes() -> None:
    network = networks.l2mu(sensors=None).replace(window=12)
    short = run_passes(network, parse_pipeline(CUT), Context())
    found = watch(short, network, windows_of(network), 0)
    assert found.steps == 5
    assert {p.shown.steps for p in found.populations} == {5}
    assert {p.original.steps for p in found.populations if p.original} == {5}
