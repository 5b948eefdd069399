"""The worst case: no step takes more instructions than one in which every neuron spikes."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_networks import integer_networks, windows_for
from exactness import kernels_and_memory, multiplying, storing_tiles, thinned, unbuilt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from networks import i8, l2mu, narrow, planned, samples

from l2mu_compile.lowering import lower
from l2mu_compile.network import NARROW_BITS, Input, Network, Population, Readout
from l2mu_compile.neurons import LIF, CuBaLIF, Neuron
from l2mu_compile.program import Program
from l2mu_compile.projection import Projection
from l2mu_compile.sparse import TILES
from l2mu_compile.targets.build import build, open_device
from l2mu_compile.targets.elf import footprint
from l2mu_compile.targets.record import Region, Target
from l2mu_compile.targets.registry import get_target
from l2mu_compile.targets.worst_case import where_all_spike

COUNTED = (
    *("cortex-m0plus", "cortex-m4", "cortex-a7", "cortex-a53"),
    pytest.param(
        "cortex-m55",
        marks=pytest.mark.skipif(
            shutil.which("qemu-system-arm") is None, reason="qemu-system-arm is not installed"
        ),
    ),
)
NEURONS = [
    *(LIF(np.int32(30_000), np.int32(8_000), reset) for reset in ("subtract", "zero", "none")),
    *(
        CuBaLIF(np.int32(20_000), np.int32(30_000), np.int32(8_000), reset)
        for reset in ("subtract", "zero", "clamp", "none")
    ),
]


def counted(
    network: Network, target: Target, x: np.ndarray, folder: Path
) -> tuple[int | None, int]:
    """The worst case of ``network``, and the most instructions that a step of ``x`` takes."""
    product = unbuilt(network, target, x[0], folder)
    costs = build(product)
    device = open_device(product.program, target, product.image)
    return costs.all_spike, max(max(trace.instructions) for trace in device.trace(x))


def driven(neuron: Neuron, bits: int, size: int = 37) -> Network:
    """Every large sample makes every neuron spike and saturate."""
    return Network(
        "driven",
        Input("x", 1, fraction=0),
        (Population("a", (size,), neuron, membrane_bits=bits),),
        (
            Projection("x", "a", i8(np.full((size, 1), 127)), shift=np.int32(7)),
            Projection("a", "a", i8(np.eye(size)), delay=1),
        ),
        Readout("a"),
        stage="quantized",
    )


@pytest.mark.parametrize("target", COUNTED)
@pytest.mark.parametrize("neuron", NEURONS, ids=lambda n: f"{n.kind}-{n.reset}")
def test_a_step_reaches_it(tmp_path: Path, target: str, neuron: Neuron) -> None:
    """By neurons that have not spiked and have, whose membranes go beyond all limits."""
    network = kernels_and_memory(driven(neuron, bits=15), target)
    x = np.array([[[4_000.0], [32_000.0], [32_000.0]]])
    worst, most = counted(network, get_target(target), x, tmp_path)
    assert worst == most


@pytest.mark.parametrize("target", COUNTED)
@settings(
    max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_no_step_takes_more(tmp_path: Path, target: str, data: st.DataObject) -> None:
    network = kernels_and_memory(data.draw(integer_networks()), target)
    x = data.draw(windows_for(network))
    worst, most = counted(network, get_target(target), x, tmp_path)
    assert worst is not None
    assert most <= worst


@pytest.mark.parametrize("target", COUNTED)
def test_an_l2mu_is_far_below_it(tmp_path: Path, target: str) -> None:
    x = samples(l2mu())
    worst, most = counted(planned(l2mu(), True, x, target), get_target(target), x, tmp_path)
    assert worst is not None
    assert most < worst


@pytest.mark.parametrize("bits", [NARROW_BITS, 15, 28])
@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
def test_its_calls_are_those_of_the_network(bits: int, reset: str) -> None:
    """Also where membranes of as many bits as narrow ones are wide for what their sums can be."""
    network = narrow(9, reset, scalar=False).map_populations(
        lambda p: replace(p, membrane_bits=bits)
    )
    heavy = network.map_projections(
        lambda p: replace(p, shift=np.int32(0)) if network.multiplies(p) else p
    )
    for one in (network, heavy):
        made = kernels_and_memory(one, "cortex-m4")
        assert_same_calls(lower(made), where_all_spike(made))


def test_its_calls_multiply_where_the_networks_do() -> None:
    made = multiplying(narrow(9, "zero", scalar=False), get_target("cortex-m55"))
    program = lower(made)
    assert any("multiply" in call.kernel for call in program.step)
    assert_same_calls(program, where_all_spike(made))


@pytest.mark.parametrize("target", ["cortex-m0plus", "cortex-m4", "cortex-a53"])
def test_its_sparse_projections_have_the_networks_tiles(target: str) -> None:
    """Which weigh nothing, as their kernel reads it."""
    network = thinned(narrow(37, "zero", scalar=False), np.random.default_rng(1))
    made = storing_tiles(network, get_target(target), 1, 4, 8)
    program, worst = lower(made), where_all_spike(made)
    assert_same_calls(program, worst)
    found = {d.name: d.values for d in worst.data}
    stored = {d.name: d.values for d in program.data}
    records = [dict(r.fields) for r in program.records if r.ctype == "l2mu_sparse_i8_t"]
    assert len(records) == 3
    for fields in records:
        for part in ("delta", "start"):
            assert found[str(fields[part])].tolist() == stored[str(fields[part])].tolist()
        weights = found[str(fields["weights"])]
        assert set(weights.tolist()) in ({0}, {-128})
        assert stored[str(fields["weights"])].tolist() != weights.tolist()


@pytest.mark.parametrize("target", ["cortex-m0plus", "cortex-m4", "cortex-a53"])
@pytest.mark.parametrize("tile", TILES)
def test_a_step_of_sparse_projections_reaches_it(tmp_path: Path, target: str, tile: int) -> None:
    network = driven(NEURONS[0], bits=NARROW_BITS)
    made = storing_tiles(network, get_target(target), tile)
    assert made.projections[1].tile == tile
    x = np.array([[[4_000.0], [32_000.0], [32_000.0]]])
    worst, most = counted(made, get_target(target), x, tmp_path)
    assert worst == most


def assert_same_calls(program: Program, worst: Program) -> None:
    assert worst.step == program.step
    assert worst.buffers == program.buffers
    assert worst.records[: len(program.records)] == program.records
    for data, other in zip(program.data, worst.data, strict=False):
        assert (other.name, other.ctype) == (data.name, data.ctype)
        assert other.values.size == data.values.size


def test_floats_have_none_nor_what_nothing_counts(tmp_path: Path) -> None:
    x = samples(l2mu())
    for quantized, name in ((False, "cortex-m4"), (True, "android-x86_64")):
        network = planned(l2mu(), quantized, x, name)
        folder = tmp_path / name
        assert build(unbuilt(network, get_target(name), x[0], folder)).all_spike is None


def test_without_qemu_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = samples(l2mu())
    network = planned(l2mu(), True, x, "cortex-m55")
    monkeypatch.setenv("PATH", "")
    assert build(unbuilt(network, get_target("cortex-m55"), x[0], tmp_path)).all_spike is None


def test_where_memory_is_full_there_is_none(tmp_path: Path) -> None:
    """What is built is the same."""
    target, x = get_target("cortex-m4"), np.full((3, 1), 1.0, np.float32)
    part = driven(NEURONS[0], bits=15, size=1000)
    (many,), (drive, _) = part.populations, part.projections
    large = part.replace(
        populations=(many, replace(many, name="b", shape=(1,))),
        projections=(drive, Projection("a", "b", i8(np.ones((1, many.size))))),
        readout=Readout("b"),
    )
    network = kernels_and_memory(large, "cortex-m4")
    ample = unbuilt(network, target, x, tmp_path / "ample")
    costs = build(ample)
    assert target.memory is not None
    largest = footprint(ample.scratch / "whole").flash + 64  # for alignment
    full = replace(target.memory, flash=Region(target.memory.flash.origin, largest))
    again = build(unbuilt(network, replace(target, memory=full), x, tmp_path / "full"))
    assert costs.all_spike is not None
    assert again == replace(costs, all_spike=None)
