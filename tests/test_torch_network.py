"""Networks as torch modules: the interpreter's numbers, the same network back, trained ones too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_networks import float_networks, integer_networks, windows_for
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import (
    cuba,
    f32,
    feed_forward,
    i8,
    integer_toy,
    l2mu,
    li,
    lif,
    planned,
    samples,
    undecided,
)
from numpy.typing import NDArray

from l2mu_compile.errors import ModelError
from l2mu_compile.frontend import load_model
from l2mu_compile.interpreter import run
from l2mu_compile.network import READOUT_RULES, Input, Network, Population, Readout
from l2mu_compile.passbase import Context
from l2mu_compile.pipeline import parse_pipeline, run_passes
from l2mu_compile.projection import Projection
from l2mu_compile.surrogate import SLOPE
from l2mu_compile.text import network_digest, to_text
from l2mu_compile.torch_network import NetworkModule
from l2mu_compile.torch_run import Activity
from l2mu_compile.validation import MARGIN, magnitudes
from l2mu_compile.verify import verify
from l2mu_compile.windows import load_windows

EXAMPLE = Path(__file__).parent.parent / "examples/har_smartwatch"
RECORD = ("spikes", "membranes")


FLOATS, INTEGERS = float_networks().map(undecided), integer_networks().map(undecided)


def activity(module: NetworkModule, x: NDArray) -> Activity:
    with torch.no_grad():
        return module(torch.from_numpy(x), RECORD)


def quantized(network: Network) -> Network:
    names = "fold-input,remove-dead,fold-threshold,quantize"
    return run_passes(network, parse_pipeline(names), Context())


def trained(network: Network, memory: bool = False, rate: float = 0.2) -> NetworkModule:
    """A module whose trained parameters have all made a few steps in random directions."""
    module = NetworkModule(network, memory)
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(module.trained(), lr=rate)
    for _ in range(3):
        for parameter in module.trained():
            parameter.grad = torch.randn(parameter.shape, generator=generator).to(parameter)
        optimizer.step()
        module.keep_allowed()
    return module


# ---- the interpreter's numbers ----


def assert_same(network: Network, module: NetworkModule, x: NDArray) -> None:
    """Spikes, membranes and scores are the interpreter's, every one of them."""
    found, expected = activity(module, x), run(network, x, RECORD)
    for population in network.populations:
        name = population.name
        assert np.array_equal(found.membranes[name].numpy(), expected.membranes[name]), name
        assert np.array_equal(found.spikes[name].numpy(), expected.spikes[name]), name
    assert np.array_equal(found.scores.numpy(), expected.scores)


def assert_close(network: Network, module: NetworkModule, x: NDArray) -> None:
    """Up to each window's first spike that differs, membranes agree to within rounding; and they
    are that close to the threshold where it does."""
    found, expected = activity(module, x), run(network, x, RECORD)
    order = network.order()
    differs = np.stack(
        [(found.spikes[p.name].numpy() != expected.spikes[p.name]).any(-1) for p in order], -1
    ).reshape(len(x), -1)
    end = np.where(differs.any(1), differs.argmax(1), differs.shape[1])
    for turn, p in enumerate(order):
        ours, theirs = found.membranes[p.name].numpy(), expected.membranes[p.name]
        margin = MARGIN * magnitudes(network, p, x, expected)
        before = np.arange(x.shape[1]) * len(order) + turn <= end[:, None]
        assert (np.abs(ours - theirs) <= margin)[before].all(), p.name
    same = end == differs.shape[1]
    scale = max(1.0, float(np.abs(expected.scores).max()))
    assert np.abs(found.scores.numpy() - expected.scores)[same].max(initial=0) <= MARGIN * scale


@settings(max_examples=80)
@given(INTEGERS, st.data())
def test_integer_networks_run_as_in_the_interpreter(network: Network, data: Any) -> None:
    assert_same(network, NetworkModule(network), data.draw(windows_for(network, finite=False)))


@settings(max_examples=40)
@given(FLOATS, st.data())
def test_float_networks_run_as_in_the_interpreter(network: Network, data: Any) -> None:
    x = data.draw(windows_for(network))
    seen = network.replace(input=replace(network.input, scale=None, offset=None))
    assert_close(seen, NetworkModule(seen), x)


def test_a_sensor_is_scaled() -> None:
    network = l2mu(sensors=(0.5, 0.25))
    bare = network.replace(input=replace(network.input, scale=None, offset=None))
    x = samples(network)
    found = activity(NetworkModule(network), x)
    assert torch.equal(found.scores, activity(NetworkModule(bare), x * f32(0.5) + f32(0.25)).scores)
    assert found.scores.any()


@pytest.mark.parametrize("rule", READOUT_RULES)
@pytest.mark.parametrize("neuron", [lif(), cuba(reset="clamp"), cuba(reset="zero")])
def test_readouts_of_an_l2mu(rule: str, neuron: Any) -> None:
    network = quantized(l2mu(lambda n: neuron, rule))
    x = samples(network, 8, 40)
    assert run(network, x).spike_totals["out"] > 0
    assert_same(network, NetworkModule(network), x)


@pytest.mark.parametrize("numbers", ["float32", "int8"])
def test_the_example(numbers: str) -> None:
    windows = load_windows(EXAMPLE / "calibration.npz").first(16)
    network = load_model(EXAMPLE / "har.ckpt").network
    if numbers == "int8":
        network = quantized(network)
        assert_same(network, NetworkModule(network), windows.x)
    else:
        assert_close(network, NetworkModule(network), windows.x)


def test_samples_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ModelError, match=r"network toy reads \[windows, steps, 2\]"):
        NetworkModule(feed_forward())(torch.zeros(1, 4, 3))


# ---- and back ----


@settings(max_examples=60)
@given(st.one_of(FLOATS, INTEGERS))
def test_an_untrained_network_comes_back(network: Network) -> None:
    module = NetworkModule(network, memory=True)
    for parameter in module.trained():
        parameter.grad = torch.zeros_like(parameter)
    torch.optim.Adam(module.trained(), lr=1.0).step()
    module.keep_allowed()
    assert module.network() == network
    assert to_text(module.network()) == to_text(network)
    assert network_digest(module.network()) == network_digest(network)


@settings(max_examples=60)
@given(INTEGERS, st.data())
def test_trained_integer_networks_run_as_in_the_interpreter(network: Network, data: Any) -> None:
    module = trained(network, memory=True)
    changed = module.network()
    assert_same_structure(network, changed)
    assert_same(changed, module, data.draw(windows_for(network)))


@settings(max_examples=40)
@given(FLOATS, st.data())
def test_trained_float_networks_run_as_in_the_interpreter(network: Network, data: Any) -> None:
    network = network.replace(input=replace(network.input, scale=None, offset=None))
    module = trained(network, memory=True)
    changed = module.network()
    assert_same_structure(network, changed)
    verify(changed)
    again = NetworkModule(changed, memory=True)
    x = data.draw(windows_for(network))
    assert torch.equal(activity(again, x).scores, activity(module, x).scores)


def assert_same_structure(before: Network, after: Network) -> None:
    for a, b in zip(before.projections, after.projections, strict=True):
        assert a == replace(b, weight=a.weight)
        assert (a.weight.dtype, a.weight.shape) == (b.weight.dtype, b.weight.shape)
        assert not b.weight[a.weight == 0].any()
    for p, q in zip(before.populations, after.populations, strict=True):
        assert (p.shape, p.membrane_bits, p.neuron.reset) == (
            q.shape,
            q.membrane_bits,
            q.neuron.reset,
        )
        for name in p.neuron.decays:
            assert np.array_equal(getattr(p.neuron, name), getattr(q.neuron, name))
        assert p.neuron.threshold.shape == q.neuron.threshold.shape
        assert (p.bias is None) == (q.bias is None)
        assert (q.neuron.threshold > 0).all()


def test_what_is_trained() -> None:
    network = l2mu()
    changed = trained(network).network()
    same = {p.name for p, q in zip(network.projections, changed.projections, strict=True) if p == q}
    assert same == {"m.u", "m.m.last"}
    changed = trained(network, memory=True).network()
    assert not any(p == q for p, q in zip(network.projections, changed.projections, strict=True))
    for before, after in zip(network.populations, changed.populations, strict=True):
        assert before.neuron.threshold != after.neuron.threshold
        if before.bias is not None:
            assert after.bias is not None and (before.bias != after.bias).all()


def test_rates_measured_before_training_are_dropped() -> None:
    network = feed_forward().map_populations(lambda p: replace(p, rate=0.5, low=0.0, high=1.0))
    assert NetworkModule(network).network() is network
    found = trained(network).network()
    assert {(p.rate, p.low, p.high) for p in found.populations} == {(None, None, None)}


@pytest.mark.parametrize(
    ("weights", "low", "high"),
    [([[5, -7, 0]], -7, 7), ([[100, 1, -1]], -127, 127), ([[-128, 3, 1]], -128, 127)],
)
def test_integer_weights_keep_their_bits(weights: Any, low: int, high: int) -> None:
    assert_trained_until(Projection("x", "h", i8(weights), shift=np.int32(2)), low, high)


@pytest.mark.parametrize(("quantum", "low", "high"), [(1, -8, 7), (16, -128, 112), (17, -119, 119)])
def test_multiples_of_a_quantum_keep_theirs(quantum: int, low: int, high: int) -> None:
    weights = i8(np.array([[-1, 2, 0]]) * quantum)
    assert_trained_until(Projection("x", "h", weights, quantum=np.int32(quantum)), low, high)


def assert_trained_until(projection: Projection, low: int, high: int) -> None:
    network = integer_toy()
    population = Population("h", (1,), network.population("h").neuron, membrane_bits=16)
    spiking = projection.quantum is not None
    network = network.replace(
        input=Input("x", 3, fraction=0 if spiking else 4, spiking=spiking),
        populations=(population,),
        projections=(projection,),
        readout=Readout("h"),
    )
    for sign in (1, -1):
        module = NetworkModule(network)
        for parameter in module.trained():
            parameter.grad = torch.full_like(parameter, sign)
        for _ in range(5):
            torch.optim.Adam(module.trained(), lr=50.0).step()
            module.keep_allowed()
        found = module.network()
        verify(found)
        wanted = np.where(projection.weight == 0, 0, low if sign > 0 else high)
        assert np.array_equal(found.projections[0].weight, wanted)
        assert found.population("h").neuron.threshold >= 1


def test_training_is_alike_before_and_after_folding_and_quantizing() -> None:
    # Weights as fine as 1/8 in a range of ±1.5 survive int8, and so does the gradient's direction.
    network = run_passes(l2mu(), parse_pipeline("fold-input"), Context())
    x = torch.from_numpy(samples(network, 16, 20))

    def gradients(network: Network) -> dict[str, NDArray]:
        module = NetworkModule(network)
        module(x).scores[:, 0].double().sum().backward()
        return {
            p.name: weight.change.grad.double().numpy().ravel()
            for p, weight in zip(network.projections, module.weights, strict=True)
            if weight.change.grad is not None
        }

    plain = gradients(network)
    passes = ("fold-threshold", "quantize{narrow=false}")
    for passes_so_far in (passes[:1], passes):
        other = gradients(run_passes(network, parse_pipeline(",".join(passes_so_far)), Context()))
        assert plain.keys() == other.keys()
        for name, gradient in plain.items():
            size = np.linalg.norm(gradient) * np.linalg.norm(other[name])
            assert gradient.any()
            assert gradient @ other[name] / size > 0.9, (name, passes_so_far)


def test_gradients_by_hand() -> None:
    # One neuron, two steps: v1 = w x1, v2 = beta w x1 + w x2 - threshold (it spiked), in float32.
    network = Network(
        "one",
        Input("x", 1),
        (Population("h", (1,), lif(0.5, 1.0)),),
        (Projection("x", "h", f32([[1.5]])),),
        Readout("h"),
    )
    module = NetworkModule(network)
    found = module(torch.tensor([[[1.0], [0.5]]]), RECORD)
    assert found.membranes["h"].flatten().tolist() == [1.5, 0.5]
    assert found.scores.tolist() == [[1.0]]
    found.scores.sum().backward()
    first, second = ((1 + SLOPE * abs(v - 1)) ** -2 for v in (1.5, 0.5))
    by_weight = first * 1.0 + second * (0.5 * 1.0 + 0.5)
    by_threshold = -first * 1.5 + second * (-0.5 - 1.0)
    weight = module.weights[0].change.grad
    threshold = module.neurons[0].threshold.change.grad
    assert weight is not None and weight.item() == pytest.approx(by_weight)
    assert threshold is not None and threshold.item() == pytest.approx(by_threshold)


def test_local_gradients_end_at_a_neurons_own_synapses() -> None:
    network = feed_forward()
    x = torch.from_numpy(samples(network))

    def gradients(module: NetworkModule) -> dict[str, bool]:
        return {n: p.grad is not None and bool(p.grad.any()) for n, p in module.named_parameters()}

    whole, local = NetworkModule(network), NetworkModule(network)
    whole(x, ("spikes",)).spikes["out"].sum().backward()
    spikes = local(x, ("spikes",)).spikes["out"]
    with local.local_gradients():
        spikes.sum().backward(retain_graph=True)
    assert gradients(whole) == dict.fromkeys(gradients(whole), True)
    assert {n for n, found in gradients(local).items() if found} == {
        *("weights.1.change", "neurons.1.threshold.change")
    }
    for name in ("weights.1.change", "neurons.1.threshold.change"):
        a, b = (dict(m.named_parameters())[name].grad for m in (whole, local))
        assert a is not None and b is not None and torch.equal(a, b)
    local.zero_grad()
    spikes.sum().backward()
    assert gradients(local) == gradients(whole)


def test_other_networks_are_adopted() -> None:
    network = quantized(l2mu())
    module = trained(network)
    other = trained(network, rate=0.05).network()
    assert module.network() != other
    module.adopt(other)
    assert module.network() == other
    x = samples(network)
    assert_same(other, module, x)


def test_a_planned_network_is_refused() -> None:
    with pytest.raises(ModelError, match="network toy is planned: train it before select-kernels"):
        NetworkModule(planned(feed_forward()))


def test_a_network_that_decides_early_is_refused() -> None:
    network = feed_forward()
    early = network.replace(readout=replace(network.readout, margins=(3, 4)))
    with pytest.raises(ModelError, match="network toy decides early, by margins"):
        NetworkModule(early)


def test_an_integrator_without_weights_from_spikes() -> None:
    network = Network(
        "li",
        Input("x", 2),
        (Population("out", (2,), li(), f32([0.5, -0.5])),),
        (Projection("x", "out", f32(np.eye(2))),),
        Readout("out", "last_membrane"),
    )
    assert_close(network, NetworkModule(network), samples(network))
    assert trained(network).network() != network
