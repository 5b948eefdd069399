"""The worst case: no step takes more instructions than one in which every neuron spikes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from exactness import kernels_and_memory, product_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from networks import i8, integer_networks, l2mu, planned, samples, windows_for

from l2mu_compile.network import Input, Network, Population, Projection, Readout
from l2mu_compile.neurons import LIF
from l2mu_compile.program import lower
from l2mu_compile.targets.build import build, open_device
from l2mu_compile.targets.registry import get_target
from l2mu_compile.targets.step_costs import instructions_if_all_spike

EMULATED = ("cortex-m0plus", "cortex-m4", "cortex-a7", "cortex-a53")


def counted(network: Network, target: str, x: np.ndarray, folder: Path) -> tuple[int | None, int]:
    """The worst case of ``network``, and the most instructions that a step of ``x`` takes."""
    product = product_of(network, get_target(target), x[0], folder)
    costs = build(product)
    device = open_device(product.program, product.target, product.image)
    return costs.all_spike, max(max(trace.instructions) for trace in device.trace(x))


def always_spiking(size: int = 37) -> Network:
    """Every sample makes every neuron spike, in every step."""
    neuron = LIF(np.int32(0), np.int32(1), "none")
    names = ("a", "b")
    weight = np.full((size, size), 1)
    return Network(
        "all",
        Input("x", 2, fraction=0),
        tuple(Population(name, (size,), neuron, membrane_bits=14) for name in names),
        (
            Projection("x", "a", i8(np.full((size, 2), 1))),
            Projection("a", "b", i8(weight)),
            Projection("b", "a", i8(weight), delay=1),
        ),
        Readout("b"),
        stage="quantized",
    )


@pytest.mark.parametrize("target", EMULATED)
def test_it_is_what_a_step_with_all_spikes_takes(tmp_path: Path, target: str) -> None:
    x = np.full((1, 3, 2), 100, np.float32)
    worst, most = counted(kernels_and_memory(always_spiking(), target), target, x, tmp_path)
    assert worst is not None
    # Membranes that saturate take another branch on processors without instructions for it.
    assert most <= worst <= 1.01 * most


@pytest.mark.parametrize("target", EMULATED)
@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_step_takes_more(tmp_path: Path, target: str, data: st.DataObject) -> None:
    network = kernels_and_memory(data.draw(integer_networks()), target)
    x = data.draw(windows_for(network))
    worst, most = counted(network, target, x, tmp_path)
    assert worst is not None
    assert most <= worst


def test_an_l2mu_is_far_below_it(tmp_path: Path) -> None:
    x = samples(l2mu())
    network = planned(l2mu(), True, x, "cortex-m4")
    worst, most = counted(network, "cortex-m4", x, tmp_path)
    assert worst is not None
    assert most < worst


def test_nothing_counts_floats_and_helium(tmp_path: Path) -> None:
    x = samples(l2mu())
    image = Path("not opened")
    for quantized, name in ((False, "cortex-m4"), (True, "cortex-m55")):
        program = lower(planned(l2mu(), quantized, x, name))
        assert instructions_if_all_spike(program, get_target(name), image) is None
        target = replace(get_target(name), emulator=None)
        assert instructions_if_all_spike(program, target, image) is None


@pytest.mark.parametrize("target", EMULATED)
@pytest.mark.parametrize("quantized", [False, True])
def test_the_calls_of_a_step_make_it_up(tmp_path: Path, target: str, quantized: bool) -> None:
    x = samples(l2mu(), windows=1)
    product = product_of(planned(l2mu(), quantized, x, target), get_target(target), x[0], tmp_path)
    calls = build(product).calls
    assert calls is not None
    assert len(calls) == len(product.program.step)
    assert min(calls) > 0
    (trace,) = open_device(product.program, product.target, product.image).trace(x)
    whole = np.mean(trace.instructions)
    # Before the first call, the sample is converted.
    assert 0.5 * whole < sum(calls) < whole
