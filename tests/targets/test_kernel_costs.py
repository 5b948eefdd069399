"""The table of kernel costs, and what is predicted with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from networks import feed_forward, l2mu, planned, samples

from l2mu_compile.convolution import Convolution
from l2mu_compile.lowering import lower
from l2mu_compile.network import Input, Network, Population, Readout
from l2mu_compile.neurons import LIF
from l2mu_compile.projection import Projection
from l2mu_compile.targets import kernel_costs
from l2mu_compile.targets.host import HOST
from l2mu_compile.targets.kernel_costs import (
    ASSUMED_RATE,
    KernelCost,
    activity,
    as_measured,
    costs_for,
    in_all,
    population_sizes,
    predicted,
    projection_sizes,
    unit,
    weights_read,
)
from l2mu_compile.targets.kernel_sets import usable_sets
from l2mu_compile.targets.record import Target
from l2mu_compile.targets.refine import refined
from l2mu_compile.targets.registry import TARGETS, get_target

COUNTED = [t for t in TARGETS.values() if t.emulator or (t.qemu and t.qemu.clock_hz)]
COUNTED += [get_target("android-x86_64")]
# This machine is what was measured.
MEASURED = HOST.measured_as is not None and usable_sets(HOST) == HOST.kernel_sets


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        ("1", 1),
        ("targets", 45),
        ("spikes*targets", 90),
        ("targets/16", 2),
        ("targets%16", 13),
        ("targets+3/16", 3),
        ("targets+3%16/8", 0),
        ("targets%32%8/4", 1),
        ("targets/45?", 1),
        ("targets/46?", 0),
        ("spikes*targets+3/16?", 2),
    ],
)
def test_terms_are_products_of_sizes(term: str, expected: float) -> None:
    assert unit(term, {"targets": 45.0, "spikes": 2.0}) == expected


@pytest.mark.parametrize("term", ["targets-1", "targets/", "", "targets//2", "?"])
def test_what_is_no_term_is_refused(term: str) -> None:
    with pytest.raises(ValueError, match="is no size"):
        unit(term, {"targets": 45.0})


def test_a_cost_is_the_sum_of_its_terms() -> None:
    cost = KernelCost({"1": 10.0, "spikes*targets": 0.5}, off=0.1)
    assert cost.of({"spikes": 4.0, "targets": 20.0}) == 50


def test_activity_is_that_of_independent_neurons() -> None:
    found = activity(16, 4.0)
    assert found["spikes"] == 4
    assert found["any"] == pytest.approx(1 - 0.75**16)
    assert found["full8"] == pytest.approx(2 * (1 - 0.75**8))
    assert activity(9, 9.0) == {
        **{"spikes": 9, "any": 1},
        **{"full2": 5, "full4": 3, "full8": 2, "full16": 1, "full32": 1},
    }
    assert set(activity(9, 0.0).values()) == {0}


@pytest.mark.parametrize("target", COUNTED, ids=lambda target: target.name)
def test_every_kernel_of_a_step_has_costs(target) -> None:
    """Those of new kernels: make kernel-costs."""
    assert_known(target)


@pytest.mark.skipif(not MEASURED, reason="this machine lacks some of the measured kernel sets")
def test_every_kernel_of_a_step_on_this_machine_has_costs() -> None:
    assert_known(HOST)


def assert_known(target: Target) -> None:
    costs = costs_for(target)
    for name in lower_all(target.name):
        assert name in costs, f"{name} was not measured for {target.name}: make kernel-costs"


def lower_all(target: str) -> set[str]:
    """The kernels of the steps of some networks."""
    x = samples(l2mu())
    early = l2mu()
    early = early.replace(readout=replace(early.readout, margins=(2, 3, 4)))
    some = [(n, quantized) for n in (l2mu(), early) for quantized in (False, True)]
    networks = [planned(n, quantized, x, target) for n, quantized in some]
    programs = [lower(network) for network in networks]
    calls = [c for p in programs for c in (*p.step, *([p.from_floats] if p.from_floats else []))]
    return {call.kernel for call in calls}


def test_another_processor_has_no_costs() -> None:
    target = get_target("cortex-m4")
    assert costs_for(target)
    assert not costs_for(refined(target, mcpu="cortex-m7"))
    assert not costs_for(refined(target, float_abi="softfp", mattr="+vfp4d16sp"))
    assert not costs_for(replace(target, name="my-board"))
    assert costs_for(replace(target, kernel_sets=("ref",)))


@pytest.mark.skipif(not MEASURED, reason="this machine lacks some of the measured kernel sets")
def test_this_machine_has_the_costs_of_one_with_the_same_kernel_sets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    named = replace(HOST, cpu=str(HOST.measured_as))
    assert as_measured(HOST) == as_measured(named) == named
    assert costs_for(HOST) == costs_for(named)
    assert not costs_for(refined(HOST, mcpu="x86_64_v3"))
    monkeypatch.setattr(kernel_costs, "usable_sets", lambda _: HOST.kernel_sets[1:])
    assert not costs_for(HOST)


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        ("l2mu_accumulate_dense_i8_i16_avx512", 3 * 20),
        ("l2mu_accumulate_dense_f32", 3 * 20 * 4),
        ("l2mu_multiply_dense_i8_i16_vnni", 50 * 20),
    ],
)
def test_rows_of_weights_are_read_for_spikes_or_all(kernel: str, expected: float) -> None:
    assert weights_read(kernel, {"targets": 20, "sources": 50, "spikes": 3}) == expected


def test_sizes_are_those_of_the_network() -> None:
    network = l2mu(sensors=None)
    sizes = {p.name: projection_sizes(network, p) for p in network.projections}
    assert sizes["enc.x"] == {"targets": 6, "sources": 2, "rows": 3, "columns": 1, "blocks": 2}
    cells = sizes["m.m.last"]
    assert (cells["rows"], cells["columns"], cells["blocks"]) == (4, 4, 3)
    assert cells["spikes"] == pytest.approx(12 * ASSUMED_RATE)
    busy = network.map_populations(lambda p: replace(p, rate=0.5))
    assert projection_sizes(busy, busy.projections[1])["spikes"] == 3
    assert population_sizes(busy, busy.population("m"))["spikes"] == 6


def test_sizes_of_a_convolution_are_averages_over_its_map() -> None:
    """A row of four reads two by two; the middle ones reach two targets, the others one."""
    made = Convolution((2, 1, 4), (6, 1, 3), groups=2)
    neuron = LIF(np.float32(0.5), np.float32(1))
    populations = tuple(Population(n, (s,), neuron) for n, s in (("a", 8), ("b", 18)))
    weight = np.ones((6, 1, 1, 2), np.float32)
    projections = tuple(Projection(s, "b", weight, convolution=made) for s in ("a", "x"))
    network = Network("n", Input("x", 8), populations, projections, Readout("b"))
    sizes, sampled = (projection_sizes(network, p) for p in projections)
    assert (sizes["lines"], sizes["reads"], sizes["out"], sizes["channels"]) == (1, 1.5, 3, 1)
    assert (sampled["lines"], sampled["reads"], sampled["targets"]) == (1, 2, 18)
    assert (sizes["single"], sizes["many"]) == (0, 1)


def test_sources_with_more_tiles_are_taken_to_spike_more() -> None:
    """Three tiles and one: of four spikes three read three, one reads one."""
    weight = np.zeros((12, 2), np.int8)
    weight[[0, 4, 11], 0] = weight[5, 1] = 1
    neuron = LIF(np.int32(20_000), np.int32(100), "zero")
    populations = tuple(
        Population(n, (s,), neuron, membrane_bits=14) for n, s in (("a", 2), ("b", 12))
    )
    entry = Input("x", 2, fraction=0)
    kernel = "accumulate_sparse4_i8_i16"
    projection = Projection("a", "b", weight, kernel=kernel)
    network = Network("n", entry, populations, (projection,), Readout("b"), stage="quantized")
    sizes = projection_sizes(network, projection)
    assert sizes["tiles"] == pytest.approx((3 * 3 + 1) / 4)
    assert weights_read(f"l2mu_{kernel}", sizes) == sizes["spikes"] * sizes["tiles"] * 5
    assert "tiles" not in projection_sizes(network, replace(projection, kernel=None))


def priced(monkeypatch: pytest.MonkeyPatch, **kernels: KernelCost) -> None:
    monkeypatch.setattr(kernel_costs, "costs_for", lambda _: kernels)


def test_a_step_is_the_sum_of_its_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    network: Network = planned(feed_forward(), target="cortex-m4")
    program = lower(network)
    priced(monkeypatch, **{k: KernelCost({"1": 10.0}, 0.0) for k in program.kernels})
    found = predicted(network, program, get_target("cortex-m4"))
    owners = {call.owner for call in program.step}
    assert found == {owner: 10.0 * sum(c.owner == owner for c in program.step) for owner in owners}
    assert in_all(found) == 10.0 * len(program.step)


def test_what_is_not_known_is_not_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    network = planned(feed_forward(), target="cortex-m4")
    program = lower(network)
    known = {k: KernelCost({"1": 1.0}, 0.0) for k in program.kernels if "input" not in k}
    priced(monkeypatch, **known)
    found = predicted(network, program, get_target("cortex-m4"))
    missing = {call.owner for call in program.step if "input" in call.kernel}
    assert missing
    assert {owner for owner, value in found.items() if value is None} == missing
    assert in_all(found) is None
