"""Emitted C against the interpreter: all persistent state after every step, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import HostCompiler
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import (
    chain,
    cuba,
    feed_forward,
    float_networks,
    integer_networks,
    integer_toy,
    l2mu,
    late_reader,
    li,
    lif,
    planned,
    recurrent,
    samples,
    windows_for,
)
from numpy.typing import NDArray

from l2mu_compile.interpreter import Run, run
from l2mu_compile.network import READOUT_RULES, Buffer, Network
from l2mu_compile.neurons import LIF, CuBaLIF
from l2mu_compile.passbase import Context
from l2mu_compile.pipeline import parse_pipeline, run_passes
from l2mu_compile.program import Program, lower
from l2mu_compile.targets.build import write_sources
from l2mu_compile.targets.devices import Device, EmulatedModel
from l2mu_compile.targets.emit_c import state_bytes, state_layout
from l2mu_compile.targets.registry import get_target
from l2mu_compile.targets.toolchain import compile_objects, link_firmware

NUMPY_TYPES = {"float": "<f4", "int32_t": "<i4", "int64_t": "<i8", "uint16_t": "<u2"}
PIPELINES = {"float32": False, "int8": True}
data = st.data()


# ---- what memory must hold ---------------------------------------------------------------------


def assert_same_memory(network: Network, program: Program, device: Device, x: NDArray) -> None:
    """Run windows ``x`` on ``device``; every state array equals the interpreter's at every step."""
    expected = run(network, x, record=("membranes", "spikes"))
    layout = state_layout(program)
    for window in range(len(x)):
        scores = expected_scores(network, expected, window)
        device.reset()
        for step, sample in enumerate(x[window]):
            device.step(sample)
            memory = device.state()
            for buffer in layout.values():
                got = elements(memory, buffer)
                wanted = scores[step] if buffer.name == "score" else None
                if wanted is None:
                    wanted = expected_state(buffer, expected, window, step)
                where = f"{buffer.name}, window {window}, step {step}"
                if buffer.name.endswith("_spikes"):
                    got = got[: 1 + got[0]]
                assert got.tobytes() == wanted.astype(got.dtype).tobytes(), (where, got, wanted)
        assert device.classify() == expected.decisions[window]


def elements(memory: bytes, buffer: Buffer) -> NDArray:
    return np.frombuffer(memory, NUMPY_TYPES[buffer.ctype], buffer.count, buffer.offset)


def expected_state(buffer: Buffer, expected: Run, window: int, step: int) -> NDArray:
    population, _, quantity = buffer.name.rpartition("_")
    if quantity == "spikes":
        fired = np.flatnonzero(expected.spikes[population][window, step])
        return np.array([len(fired), *fired])
    arrays = {"membrane": expected.membranes, "synapse": expected.synapses}[quantity]
    return arrays[population][window, step]


def expected_scores(network: Network, expected: Run, window: int) -> NDArray:
    """Scores ``[T, classes]`` after every step of one window."""
    name, rule = network.readout.population, network.readout.rule
    membranes = expected.membranes[name][window]
    if rule == "spike_count":
        return np.cumsum(expected.spikes[name][window], axis=0)
    if rule == "last_membrane":
        return membranes
    if rule == "max_membrane":
        return np.maximum.accumulate(membranes, axis=0)
    dtype = np.int64 if network.quantized else np.float32
    return np.cumsum(membranes, axis=0, dtype=dtype)


def kernels_and_memory(network: Network) -> Network:
    context = Context(target=get_target("host"))
    return run_passes(network, parse_pipeline("select-kernels,plan-memory"), context)


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
            final = planned(network, PIPELINES[pipeline], x)
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
@settings(max_examples=400)
@given(data)
def test_many_random_networks_run_as_interpreted(host: HostCompiler, data: st.DataObject) -> None:
    check_random(host, data, float_networks(), quantized=data.draw(st.booleans()))


@pytest.mark.slow
@settings(max_examples=400)
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
    final = planned(network, quantized, x if data.draw(st.booleans()) else None)
    program = lower(final)
    assert_same_memory(final, program, host.model(program), x)


def check_random_integers(host: HostCompiler, data: st.DataObject) -> None:
    network = data.draw(integer_networks())
    x = data.draw(windows_for(network, finite=False))
    final = kernels_and_memory(network)
    program = lower(final)
    assert_same_memory(final, program, host.model(program), x)


# ---- on an emulated Cortex-M4 ------------------------------------------------------------------


def emulated(programs: Sequence[Program], folder: Path) -> list[EmulatedModel]:
    """Programs of different names in one firmware image, each callable by name."""
    target = get_target("cortex-m4")
    sources: dict[str, Path] = {}
    for program in programs:
        sources |= {path.name: path for path in write_sources(program, ["test"], folder)}
    main = folder / "main.c"
    main.write_text("int main(void)\n{\n    return 0;\n}\n")
    objects = compile_objects(target, [*sources.values(), main], [folder], folder / "objects")
    keep = [function for p in programs for function in p.functions]
    image = link_firmware(target, objects, folder / "image.elf", keep=keep)
    return [EmulatedModel(target, image, p.name, p.inputs, state_bytes(p)) for p in programs]


def check_emulated(cases: list[tuple[Network, NDArray]], folder: Path) -> None:
    programs = [lower(final) for final, _ in cases]
    models = emulated(programs, folder)
    for (final, x), program, model in zip(cases, programs, models, strict=True):
        assert_same_memory(final, program, model, x)


def random_cases(data: st.DataObject, count: int) -> list[tuple[Network, NDArray]]:
    cases = []
    for i in range(count):
        if i % 3 == 2:
            network = data.draw(integer_networks(name=f"net{i}"))
            x = data.draw(windows_for(network, steps=5, finite=False))
            cases.append((kernels_and_memory(network), x))
        else:
            network = data.draw(float_networks(name=f"net{i}"))
            x = data.draw(windows_for(network, steps=5))
            cases.append((planned(network, i % 3 == 1, x), x))
    return cases


def test_an_l2mu_runs_on_a_cortex_m4_as_interpreted(tmp_path: Path) -> None:
    cases = []
    for pipeline, quantized in PIPELINES.items():
        network = l2mu(name=f"cell_{pipeline}")
        x = samples(network, windows=2, steps=20)
        cases.append((planned(network, quantized, x), x))
    check_emulated(cases, tmp_path)


@settings(max_examples=3)  # the first is the simplest there is
@given(data)
def test_random_networks_run_on_a_cortex_m4_as_interpreted(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    check_emulated(random_cases(data, 9), tmp_path_factory.mktemp("m4"))


@pytest.mark.slow
@settings(max_examples=10)
@given(data)
def test_many_random_networks_run_on_a_cortex_m4_as_interpreted(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    check_emulated(random_cases(data, 30), tmp_path_factory.mktemp("m4"))
