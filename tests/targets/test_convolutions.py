"""Convolutional networks on devices: all state after every step, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import HostCompiler
from exactness import assert_same_memory
from machines import image_of
from maps import convolutional, windows
from networks import planned

from l2mu_compile.interpreter import run
from l2mu_compile.lowering import lower
from l2mu_compile.targets.devices import EmulatedModel
from l2mu_compile.targets.emit_c import state_bytes
from l2mu_compile.targets.registry import get_target


@pytest.mark.parametrize("name", ["cortex-m0plus", "cortex-m4"])
def test_runs_as_interpreted_on_a_microcontroller(tmp_path: Path, name: str) -> None:
    target = get_target(name)
    cases = []
    for quantized, spiking in ((False, True), (True, True), (True, False)):
        made = convolutional(spiking).replace(name=f"maps_{quantized:d}{spiking:d}")
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
    final = planned(convolutional(spiking), quantized)
    samples = windows(spiking)
    spikes = run(final, samples, ("spikes",)).spikes
    assert all(0.02 < s.mean() < 0.9 for s in spikes.values())
    program = lower(final)
    assert_same_memory(final, program, host.model(program), samples)
