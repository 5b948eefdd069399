"""Passes on convolutional networks: what they change, they change as in the full matrices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from network_texts import applied
from networks import f32, lif
from numpy.typing import NDArray

from l2mu_compile.convolution import Convolution
from l2mu_compile.errors import ModelError
from l2mu_compile.interpreter import run
from l2mu_compile.network import Input, Network, Population, Readout
from l2mu_compile.passbase import Context
from l2mu_compile.passes.fold_input import FoldInput
from l2mu_compile.passes.fold_threshold import FoldThreshold
from l2mu_compile.passes.prune_population import PrunePopulation
from l2mu_compile.passes.prune_synapses import PruneSynapses
from l2mu_compile.passes.quantize import Quantize
from l2mu_compile.passes.remove_dead import RemoveDead
from l2mu_compile.projection import Projection
from l2mu_compile.torch_network import NetworkModule
from l2mu_compile.verify import verify

FIRST = Convolution((2, 6, 5), (4, 6, 5), padding=(1, 1))
DEEP = Convolution((4, 6, 5), (4, 3, 2), groups=2, pool=(2, 2))


def network(spiking: bool = True) -> Network:
    rng = np.random.default_rng(3)

    def weights(*shape: int) -> NDArray:
        return f32(rng.normal(0.05, 1.2 / np.sqrt(np.prod(shape[1:])), shape))

    return Network(
        "maps",
        Input("x", 60, spiking=spiking),
        (
            Population("a", (120,), lif(0.75), f32(rng.normal(0, 0.1, 120))),
            Population("b", (24,), lif(0.5)),
            Population("c", (3,), lif(0.5)),
        ),
        (
            Projection("x", "a", weights(4, 2, 3, 3), convolution=FIRST),
            Projection("a", "b", abs(weights(4, 2, 1, 1)), convolution=DEEP),
            Projection("b", "c", weights(3, 24)),
        ),
        Readout("c"),
    )


def expanded(net: Network) -> Network:
    """The same with full matrices."""
    return net.map_projections(lambda p: Projection(p.source, p.target, p.dense(), p.delay))


def windows(spiking: bool = True) -> NDArray:
    rng = np.random.default_rng(5)
    values = rng.random((3, 10, 60)) < 0.4 if spiking else rng.normal(0, 1, (3, 10, 60))
    return f32(values)


def spikes(net: Network, samples: NDArray) -> dict[str, NDArray]:
    return run(net, samples, ("spikes",)).spikes


def same_spikes(a: Network, b: Network, samples: NDArray) -> None:
    found, wanted = spikes(a, samples), spikes(b, samples)
    assert all(np.array_equal(found[name], wanted[name]) for name in found)
    assert all(0.02 < s.mean() < 0.98 for s in wanted.values())


def test_a_scale_of_each_channel_is_folded_into_kernels() -> None:
    scale = np.repeat(f32([0.5, 2]), 30)
    net = network(spiking=False)
    net = net.replace(input=replace(net.input, scale=scale, offset=f32(0.25)))
    folded = applied(FoldInput(), net)
    assert folded.projections[0].convolution == FIRST
    full = applied(FoldInput(), expanded(net))
    assert np.array_equal(folded.projections[0].dense(), full.projections[0].weight)
    assert np.allclose(folded.populations[0].bias, full.populations[0].bias, rtol=1e-6)


def test_a_scale_that_differs_within_a_channel_is_refused() -> None:
    net = network(spiking=False)
    scale = np.linspace(1, 2, 60, dtype=np.float32)
    with pytest.raises(ModelError, match=r"a\.x: a convolution of samples whose scale differs"):
        applied(FoldInput(), net.replace(input=replace(net.input, scale=scale)))


@pytest.mark.parametrize("even", [True, False])
def test_thresholds_are_folded_where_a_channel_has_one(even: bool) -> None:
    net = applied(FoldInput(), network())
    threshold = np.repeat(f32([0.5, 1, 2, 1]), 30)
    threshold[0] = 0.5 if even else 1
    first = replace(net.populations[0], neuron=lif(0.75, threshold))
    net = net.replace(populations=(first, *net.populations[1:]))
    folded = applied(FoldThreshold(), net)
    assert (folded.populations[0].neuron.threshold.ndim == 0) == even
    same_spikes(folded, net, windows())


@pytest.mark.parametrize("spiking", [True, False], ids=["spikes", "samples"])
def test_channels_share_a_scale_and_integers_spike_alike(spiking: bool) -> None:
    net = applied(FoldInput(), network(spiking))
    samples = windows(spiking)
    context = Context(samples=samples)
    quantized = Quantize().apply(net, context)
    verify(quantized)
    for p in quantized.projections[:2]:
        assert (p.weight.dtype, p.weight.ndim) == (np.int8, 4)
        assert np.abs(p.weight.astype(int)).max() > 40
    for before, after in zip(net.populations[:2], quantized.populations[:2], strict=True):
        assert after.size == before.size
    same_spikes(quantized, expanded_integers(quantized), samples)
    found, wanted = spikes(quantized, samples), spikes(net, samples)
    assert min((found[name] == wanted[name]).mean() for name in ("a", "b")) > 0.95


def expanded_integers(net: Network) -> Network:
    return net.map_projections(
        lambda p: replace(p, weight=p.dense(), convolution=None) if p.convolution else p
    )


def test_dead_channels_leave_and_nothing_else_changes() -> None:
    net = applied(FoldInput(), network())
    weight = net.projections[1].weight.copy()
    weight[:, 1] = 0  # of each group the second source channel
    net = net.replace(
        projections=(
            net.projections[0],
            replace(net.projections[1], weight=weight),
            net.projections[2],
        )
    )
    assert applied(RemoveDead(), net) is net  # groups are as large as they were
    single = replace(DEEP, groups=1)
    full = np.zeros((4, 4, 1, 1), np.float32)
    full[:2, :2], full[2:, 2:] = weight[:2], weight[2:]
    net = net.replace(
        projections=(
            net.projections[0],
            replace(net.projections[1], weight=full, convolution=single),
            net.projections[2],
        )
    )
    left = applied(RemoveDead(), net)
    verify(left)
    assert [p.size for p in left.populations] == [60, 24, 3]
    assert left.projections[0].convolution == replace(FIRST, target=(2, 6, 5))
    assert left.projections[1].weight.shape == (4, 2, 1, 1)
    found, wanted = spikes(left, windows()), spikes(net, windows())
    assert np.array_equal(found["b"], wanted["b"])
    channels = wanted["a"].reshape(3, 10, 4, 30)
    assert np.array_equal(found["a"], channels[:, :, ::2].reshape(3, 10, 60))


def test_neurons_are_pruned_by_groups_of_channels() -> None:
    net = applied(FoldInput(), network())
    context = Context(samples=windows())
    pruned = PrunePopulation(sparsity=0.5).apply(net, context)
    verify(pruned)
    assert [p.size for p in pruned.populations] == [60, 12, 3]
    assert pruned.projections[1].convolution == Convolution((2, 6, 5), (2, 3, 2), pool=(2, 2))


def test_single_weights_of_kernels_are_not_pruned() -> None:
    net = applied(FoldInput(), network())
    pruned = PruneSynapses(sparsity=0.5).apply(net, Context(samples=windows()))
    assert all(a is b for a, b in zip(pruned.projections[:2], net.projections[:2], strict=True))
    assert np.count_nonzero(pruned.projections[2].weight) == 36


@pytest.mark.parametrize("quantized", [False, True], ids=["float32", "int8"])
def test_the_torch_module_is_the_network(quantized: bool) -> None:
    net = applied(FoldInput(), network())
    samples = windows()
    if quantized:
        net = Quantize().apply(net, Context(samples=samples))
    with torch.no_grad():
        activity = NetworkModule(net)(torch.from_numpy(samples), record=("spikes",))
    wanted = spikes(net, samples)
    for name, found in activity.spikes.items():
        assert np.array_equal(found.numpy() > 0, wanted[name]), name
