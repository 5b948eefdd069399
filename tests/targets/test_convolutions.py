"""Convolutional networks on devices: all state after every step, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import HostCompiler
from exactness import assert_same_memory
from machines import image_of
from networks import f32, lif, planned

from l2mu_compile.convolution import Convolution
from l2mu_compile.interpreter import run
from l2mu_compile.lowering import lower
from l2mu_compile.network import Input, Network, Population, Projection, Readout
from l2mu_compile.targets.devices import EmulatedModel
from l2mu_compile.targets.emit_c import state_bytes
from l2mu_compile.targets.registry import get_target

FIRST = Convolution((2, 9, 8), (4, 5, 4), (2, 2), (1, 1))
SECOND = Convolution((4, 5, 4), (6, 2, 2), padding=(1, 1), pool=(2, 2))
DEPTHWISE = Convolution((4, 5, 4), (4, 5, 4), padding=(1, 1), groups=4)
LAST = Convolution((6, 2, 2), (5, 1, 1), pool=(2, 1))


def network(spiking: bool) -> Network:
    """Convolutions with strides, pools, groups and a delay, and one as large as its map."""
    rng = np.random.default_rng(4)

    def joined(
        source: str, target: str, made: Convolution, kernel: tuple[int, int], delay: int = 0
    ) -> Projection:
        shape = made.target[0], made.source[0] // made.groups, *kernel
        weight = f32(rng.normal(0.02, 1.5 / np.sqrt(np.prod(shape[1:])), shape))
        return Projection(source, target, weight, delay, convolution=made)

    sizes = {"a": 80, "b": 24, "c": 5}
    return Network(
        "maps",
        Input("x", 144, spiking=spiking),
        tuple(
            Population(name, (size,), lif(0.75, 0.8), bias=f32(rng.normal(0, 0.05, size)))
            for name, size in sizes.items()
        ),
        (
            joined("x", "a", FIRST, (3, 3)),
            joined("a", "a", DEPTHWISE, (3, 3), delay=1),
            joined("a", "b", SECOND, (3, 3)),
            joined("b", "c", LAST, (1, 2)),
        ),
        Readout("c"),
    )


def windows(spiking: bool) -> np.ndarray:
    rng = np.random.default_rng(5)
    shape = (2, 9, 144)
    return f32(rng.random(shape) < 0.3) if spiking else f32(rng.normal(0, 1, shape))


@pytest.mark.parametrize("name", ["cortex-m0plus", "cortex-m4"])
def test_runs_as_interpreted_on_a_microcontroller(tmp_path: Path, name: str) -> None:
    target = get_target(name)
    cases = []
    for quantized, spiking in ((False, True), (True, True), (True, False)):
        made = network(spiking).replace(name=f"maps_{quantized:d}{spiking:d}")
        samples = windows(spiking)
        final = planned(made, quantized, samples, name)
        cases.append((final, lower(final), samples[:1, :4]))
    image = image_of([program for _, program, _ in cases], target, tmp_path)
    for final, program, samples in cases:
        sizes = program.inputs, state_bytes(program)
        model = EmulatedModel(target, image, program.name, *sizes)
        assert_same_memory(final.replace(window=None), program, model, samples)


@pytest.mark.parametrize("spiking", [True, False], ids=["spikes", "samples"])
@pytest.mark.parametrize("quantized", [False, True], ids=["float32", "int8"])
def test_runs_as_interpreted(host: HostCompiler, quantized: bool, spiking: bool) -> None:
    final = planned(network(spiking), quantized)
    samples = windows(spiking)
    spikes = run(final, samples, ("spikes",)).spikes
    assert all(0.02 < s.mean() < 0.9 for s in spikes.values())
    program = lower(final)
    assert_same_memory(final, program, host.model(program), samples)
