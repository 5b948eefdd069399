"""Emitted C against the interpreter: all persistent state after every step, bit for bit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from conftest import HostCompiler
from drawn_networks import float_networks, integer_networks, windows_for
from exactness import (
    assert_same_memory,
    elements,
    kernels_and_memory,
    multiplying,
    random_cases,
    storing_tiles,
    thinned,
)
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from machines import image_of
from networks import (
    chain,
    cuba,
    feed_forward,
    integer_toy,
    l2mu,
    late_reader,
    li,
    lif,
    narrow,
    planned,
    recurrent,
    samples,
)
from numpy.typing import NDArray

from l2mu_compile.interpreter import run
from l2mu_compile.lowering import lower
from l2mu_compile.network import READOUT_RULES, Network, Population, spiking
from l2mu_compile.neuron_calls import number
from l2mu_compile.neurons import LIF, CuBaLIF
from l2mu_compile.sparse import TILES
from l2mu_compile.targets.devices import EmulatedModel
from l2mu_compile.targets.emit_c import state_bytes, state_layout
from l2mu_compile.targets.host import HOST
from l2mu_compile.targets.record import Target
from l2mu_compile.targets.registry import TARGETS, get_target

PIPELINES = {"float32": False, "int8": True}
data = st.data()


def with_resets() -> list[tuple[type, str]]:
    return [(kind, reset) for kind in (LIF, CuBaLIF) for reset in kind.resets]


# ---- on this machine ---------------------------------------------------------------------------


def leaky_readout() -> Network:
    network = feed_forward(rule="max_membrane")
    hidden, out = network.populations
    return network.replace(populations=(hidden, replace(out, neuron=li())))


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize(
    "make", [feed_forward, recurrent, late_reader, chain, leaky_readout], ids=lambda f: f.__name__
)
def test_small_networks_run_as_interpreted(
    host: HostCompiler, make: Callable[[], Network], pipeline: str
) -> None:
    final = planned(make(), PIPELINES[pipeline])
    program = lower(final)
    assert_same_memory(final, program, host.model(program), samples(final, steps=30))


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_every_neuron_reset_and_readout_of_an_l2mu_runs_as_interpreted(
    host: HostCompiler, pipeline: str
) -> None:
    cases = []
    for rule in READOUT_RULES:
        for kind, reset in with_resets():
            neuron = lif(0.75, 0.5, reset) if kind is LIF else cuba(0.5, 0.75, 0.5, reset)
            name = f"{kind.kind}_{reset}_{rule}"
            network = l2mu(lambda n, neuron=neuron: neuron, rule, name)
            x = samples(network, windows=2, steps=20)
            final = planned(network, PIPELINES[pipeline], x, "host")
            cases.append((final, lower(final), x))
    models = host.models([program for _, program, _ in cases])
    for (final, program, x), model in zip(cases, models, strict=True):
        assert_same_memory(final, program, model, x)


def test_a_sample_projection_without_shift_runs_as_interpreted(host: HostCompiler) -> None:
    toy = integer_toy()
    bare = replace(toy.projections[0], shift=None)
    final = kernels_and_memory(toy.replace(projections=(bare, *toy.projections[1:])))
    program = lower(final)
    assert_same_memory(final, program, host.model(program), samples(final))


def test_not_a_number_in_float_samples_silences_the_same_neurons(host: HostCompiler) -> None:
    final = planned(recurrent())
    program = lower(final)
    x = samples(final, windows=1)
    x[0, 3, 0] = np.nan
    expected = run(final, x, record=("membranes",))
    model = host.model(program)
    assert model.run(x).tolist() == expected.decisions.tolist()
    hidden = elements(model.state(), state_layout(program)["h_membrane"])
    assert np.array_equal(np.isnan(hidden), np.isnan(expected.membranes["h"][0, -1]))
    assert np.isnan(hidden).any()


@settings(max_examples=25)
@given(data)
def test_random_float_networks_run_as_interpreted(host: HostCompiler, data: st.DataObject) -> None:
    check_random(host, data, float_networks(), quantized=False)


@settings(max_examples=25)
@given(data)
def test_random_networks_quantized_run_as_interpreted(
    host: HostCompiler, data: st.DataObject
) -> None:
    check_random(host, data, float_networks(), quantized=True)


@settings(max_examples=25)
@given(data)
def test_random_integer_networks_run_as_interpreted(
    host: HostCompiler, data: st.DataObject
) -> None:
    check_random_integers(host, data)


@pytest.mark.slow
@settings(max_examples=170)
@given(data)
def test_many_random_networks_run_as_interpreted(host: HostCompiler, data: st.DataObject) -> None:
    check_random(host, data, float_networks(), quantized=data.draw(st.booleans()))


@pytest.mark.slow
@settings(max_examples=170)
@given(data)
def test_many_random_integer_networks_run_as_interpreted(
    host: HostCompiler, data: st.DataObject
) -> None:
    check_random_integers(host, data)


def check_random(
    host: HostCompiler, data: st.DataObject, networks: st.SearchStrategy, quantized: bool
) -> None:
    network = data.draw(networks)
    x = data.draw(windows_for(network))
    final = planned(network, quantized, x if data.draw(st.booleans()) else None, "host")
    program = lower(final)
    assert_same_memory(final, program, host.model(program), x)


def check_random_integers(host: HostCompiler, data: st.DataObject) -> None:
    network = data.draw(integer_networks())
    x = data.draw(windows_for(network, finite=False))
    final = kernels_and_memory(network, "host")
    program = lower(final)
    assert_same_memory(final, program, host.model(program), x)


@pytest.mark.parametrize(("kind", "reset"), with_resets())
def test_narrow_populations_run_as_interpreted(host: HostCompiler, kind: type, reset: str) -> None:
    cases = narrow_cases(kind, reset, "host")
    models = host.models([lower(final) for final, _ in cases])
    totals: Counter[str] = Counter()
    for (final, x), model in zip(cases, models, strict=True):
        assert_same_memory(final, lower(final), model, x)
        totals.update(run(final, x).spike_totals)
    assert min(totals.values()) > 100, totals


def narrow_cases(kind: type, reset: str, target: str) -> list[tuple[Network, NDArray]]:
    """Of several sizes, with one parameter for all neurons and one for each."""
    cases = []
    for size, scalar in product((1, 7, 8, 13, 17, 31, 45), (True, False)):
        name = f"narrow_{size}_{'one' if scalar else 'each'}"
        network = kernels_and_memory(narrow(size, reset, scalar, name, kind), target)
        cases.append((network, samples(network, windows=2, steps=15) * 8))
    return cases


def multiplying_cases(target: Target) -> list[tuple[Network, NDArray]]:
    """Of several sizes; without such kernels in ``target`` the test is skipped."""
    cases = []
    for size in (1, 8, 13, 37, 70):
        final = multiplying(narrow(size, "subtract", True, f"multiplied_{size}"), target)
        cases.append((final, samples(final, windows=2, steps=15) * 8))
    if not any("_flags" in b.name for b in cases[0][0].buffers):
        pytest.skip(f"{target.name} has no kernels that multiply")
    return cases


def test_networks_that_multiply_run_as_interpreted(host: HostCompiler) -> None:
    cases = multiplying_cases(HOST)
    models = host.models([lower(final) for final, _ in cases])
    for (final, x), model in zip(cases, models, strict=True):
        assert_same_memory(final, lower(final), model, x)


def sparse_cases(data: st.DataObject, count: int, target: Target) -> list[tuple[Network, NDArray]]:
    """Networks of which some projections are sparse, in tiles of one or several sizes."""
    cases = []
    for i in range(count):
        drawn = data.draw(integer_networks(name=f"sparse_{i}"))
        rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
        size = data.draw(st.sampled_from((9, 37, 130)))
        large = narrow(size, "subtract", scalar=False, name=f"sparse_large_{i}")
        for network in (drawn, large):
            tiles = data.draw(st.permutations(TILES))
            final = storing_tiles(thinned(network, rng), target, *tiles)
            cases.append((final, data.draw(windows_for(final))))
    return cases


def assert_all_sizes(cases: list[tuple[Network, NDArray]]) -> None:
    """The larger networks have three dense projections of spikes each."""
    assert {p.tile for final, _ in cases for p in final.projections} == {None, *TILES}


@settings(max_examples=10)
@given(data)
def test_sparse_networks_run_as_interpreted(host: HostCompiler, data: st.DataObject) -> None:
    cases = sparse_cases(data, 3, HOST)
    assert_all_sizes(cases)
    models = host.models([lower(final) for final, _ in cases])
    for (final, x), model in zip(cases, models, strict=True):
        assert_same_memory(final, lower(final), model, x)


NARROW_KINDS = {
    (kind.kind, reset, *scalars)
    for kind, reset in with_resets()
    for scalars in product((True, False), repeat=2)
}


class AllFound(Exception):
    """No more examples are needed."""


@pytest.mark.parametrize("quantized", [False, True])
def test_random_networks_are_narrow_and_not(quantized: bool) -> None:
    """Drawn as integers, or quantized: both have int16 populations, and int32 ones like them."""
    wanted, found = set(product(("i16", "i32"), NARROW_KINDS)), set()

    @settings(max_examples=4000, phases=[Phase.generate])
    @given(float_networks() if quantized else integer_networks())
    def look(network: Network) -> None:
        network = planned(network, quantized=True) if quantized else network
        for p in network.populations:
            if spiking(p):
                found.add((number(network, p), narrow_kind(p)))
        if found >= wanted:
            raise AllFound

    with pytest.raises(AllFound):
        look()


def narrow_kind(population: Population) -> tuple[str, str, bool, bool]:
    """Its neuron and reset, and whether decays and thresholds are one for all."""
    neuron = population.neuron
    return neuron.kind, neuron.reset, neuron.beta.ndim == 0, neuron.threshold.ndim == 0


# ---- on every emulated processor ---------------------------------------------------------------

EMULATED = [name for name, target in TARGETS.items() if target.emulator is not None]
A_FEW = ["cortex-m4", "cortex-a7", "cortex-a53"]  # of different instruction sets


def check_emulated(cases: list[tuple[Network, NDArray]], name: str, folder: Path) -> None:
    programs, target = [lower(final) for final, _ in cases], get_target(name)
    image = image_of(programs, target, folder)
    for (final, x), program in zip(cases, programs, strict=True):
        model = EmulatedModel(target, image, program.name, program.inputs, state_bytes(program))
        assert_same_memory(final, program, model, x)


@pytest.mark.parametrize("name", EMULATED)
def test_an_l2mu_runs_on_every_emulated_processor_as_interpreted(tmp_path: Path, name: str) -> None:
    cases = []
    for pipeline, quantized in PIPELINES.items():
        network = l2mu(name=f"cell_{pipeline}")
        x = samples(network, windows=2, steps=20)
        cases.append((planned(network, quantized, x, name), x))
    check_emulated(cases, name, tmp_path)


@pytest.mark.parametrize("name", A_FEW)
@pytest.mark.parametrize(("kind", "reset"), with_resets())
def test_narrow_populations_run_on_emulated_processors_as_interpreted(
    tmp_path: Path, kind: type, reset: str, name: str
) -> None:
    cases = narrow_cases(kind, reset, name)
    assert {number(network, p) for network, _ in cases for p in network.populations} == {"i16"}
    check_emulated(cases, name, tmp_path)


def test_networks_that_multiply_run_on_an_emulated_processor_as_interpreted(
    tmp_path: Path,
) -> None:
    check_emulated(multiplying_cases(get_target("cortex-a76")), "cortex-a76", tmp_path)


@pytest.mark.parametrize("name", ["cortex-m0plus", "cortex-m4", "cortex-a53"])
@settings(max_examples=4)
@given(data)
def test_sparse_networks_run_on_emulated_processors_as_interpreted(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    cases = sparse_cases(data, 3, get_target(name))
    assert_all_sizes(cases)
    check_emulated(cases, name, tmp_path_factory.mktemp(name))


@pytest.mark.parametrize("name", A_FEW)
@settings(max_examples=3)  # the first is the simplest there is
@given(data)
def test_random_networks_run_on_emulated_processors_as_interpreted(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    check_emulated(random_cases(data, 9, name), name, tmp_path_factory.mktemp(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", EMULATED)
@settings(max_examples=3)
@given(data)
def test_many_random_networks_run_on_every_emulated_processor_as_interpreted(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    count = 20 if name in (*A_FEW, "cortex-m0plus") else 8
    check_emulated(random_cases(data, count, name), name, tmp_path_factory.mktemp(name))
