"""Convolutions: what torch computes, from sparse maps to full matrices, and their text."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from drawn_networks import convolutions
from hypothesis import given
from hypothesis import strategies as st
from networks import lif
from numpy.typing import NDArray

from l2mu_compile.bounds import largest_sum
from l2mu_compile.convolution import Convolution
from l2mu_compile.errors import ModelError
from l2mu_compile.interpreter import run
from l2mu_compile.network import Input, Network, Population, Readout
from l2mu_compile.projection import Projection
from l2mu_compile.text import parse, to_text
from l2mu_compile.verify import verify


def by_torch(made: Convolution, kernel: NDArray, values: NDArray) -> NDArray:
    """``[B, targets]``, in float64: these integers are exact."""
    maps = torch.from_numpy(values.reshape(-1, *made.source).astype(np.float64))
    pool = made.pool
    pooled = F.avg_pool2d(maps, pool, divisor_override=1)
    found = F.conv2d(
        pooled,
        torch.from_numpy(kernel.astype(np.float64)),
        stride=made.stride,
        padding=made.padding,
        dilation=made.dilation,
        groups=made.groups,
    )
    assert found.shape[1:] == made.target
    return found.flatten(1).numpy()


@given(convolutions(), st.integers(0, 99))
def test_is_what_torch_computes(given: tuple[Convolution, NDArray], seed: int) -> None:
    made, kernel = given
    values = np.random.default_rng(seed).integers(-9, 10, (3, made.shape[1]))
    expected = by_torch(made, kernel, values)
    assert made.problem(kernel.shape) is None
    assert np.array_equal(made.applied(kernel, values), expected)
    assert np.array_equal(values @ made.dense(kernel).T, expected)
    total = np.zeros((3, made.shape[0]))
    made.add_samples(total, kernel.astype(np.float64), values)
    assert np.array_equal(total, expected)


@given(convolutions())
def test_sums_are_those_of_the_full_matrix(given: tuple[Convolution, NDArray]) -> None:
    made, kernel = given
    full = made.dense(kernel)
    assert np.array_equal(made.targets_of(kernel), full.sum(axis=1))
    assert np.array_equal(made.sources_of(kernel), full.sum(axis=0))
    assert np.array_equal(made.targets_of(abs(kernel)), abs(full).sum(axis=1))


@given(convolutions(), st.integers(0, 99))
def test_spikes_are_added_source_after_source(
    given: tuple[Convolution, NDArray], seed: int
) -> None:
    made, kernel = given
    rng = np.random.default_rng(seed)
    kernel = rng.normal(0, 1, kernel.shape).astype(np.float32)
    spikes = rng.random((4, made.shape[1])) < 0.4
    start = rng.normal(0, 1, (4, made.shape[0])).astype(np.float32)
    full, expected = made.dense(kernel), start.copy()
    joined = made.dense(np.ones(kernel.shape, bool))
    for window in range(4):
        for source in np.flatnonzero(spikes[window]):
            reached = joined[:, source]
            expected[window, reached] += full[reached, source]
    made.add_spikes(start, kernel, spikes)
    assert np.array_equal(start.view(np.int32), expected.view(np.int32))


def network(made: Convolution, kernel: NDArray) -> Network:
    """Samples through a convolution to LIFs, and these through a dense projection to three."""
    targets, sources = made.shape
    weight = np.random.default_rng(0).normal(0, 1, (3, targets)).astype(np.float32)
    return Network(
        "slide",
        Input("x", sources, spiking=True),
        (Population("a", (targets,), lif(0.8)), Population("b", (3,), lif(0.9))),
        (
            Projection("x", "a", kernel.astype(np.float32) / 8, convolution=made),
            Projection("a", "b", weight),
        ),
        Readout("b"),
    )


def expanded(net: Network) -> Network:
    """The same with full matrices."""
    return net.map_projections(lambda p: Projection(p.source, p.target, p.dense(), p.delay))


@given(convolutions(), st.booleans())
def test_runs_as_its_full_matrix(given: tuple[Convolution, NDArray], spiking: bool) -> None:
    made, kernel = given
    net = network(made, kernel)
    net = net.replace(input=replace(net.input, spiking=spiking))
    verify(net)
    rng = np.random.default_rng(1)
    samples = rng.integers(0, 2, (2, 5, made.shape[1])).astype(np.float32)
    found, full = (run(n, samples, ("spikes", "membranes")) for n in (net, expanded(net)))
    assert found.operations == full.operations
    for name in ("a", "b"):
        assert np.array_equal(found.spikes[name], full.spikes[name])
        assert np.array_equal(found.membranes[name], full.membranes[name])


@given(convolutions())
def test_counts_are_those_of_the_full_matrix(given: tuple[Convolution, NDArray]) -> None:
    net = network(*given)
    own, full = net.projections[0], expanded(net).projections[0]
    assert own.shape == full.shape
    assert np.array_equal(own.fan_outs, full.fan_outs)
    assert own.stored_bytes == own.weight.nbytes
    rows = np.arange(own.shape[0], dtype=np.float32)
    channels = own.grouped(rows).mean(axis=0)
    assert np.array_equal(own.ungrouped(channels), np.repeat(channels, given[0].positions))


@given(convolutions())
def test_text_reads_back(given: tuple[Convolution, NDArray]) -> None:
    net = network(*given)
    net = net.map_projections(lambda p: replace(p, kernel="some"))
    assert parse(to_text(net), net.tensors()) == net


SMALL = Convolution((2, 4, 5), (3, 4, 5), padding=(1, 1))


def test_text_says_what_is_not_as_by_default() -> None:
    line = to_text(network(SMALL, np.ones((3, 2, 3, 3)))).splitlines()[4].strip()
    assert line.startswith("projection x -> a : conv[3,2,3,3] @a.x#")
    assert line.endswith(" from=2,4,5 to=3,4,5 padding=1,1")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("from=2,4,5", "from=2,4", "from=2,4: expected 3 whole numbers"),
        (" from=2,4,5", "", "no from"),
        ("padding=1,1", "padding=1,-1", "padding=1,-1: expected 2 whole numbers"),
        ("padding=1,1", "spin=1,1", "unexpected 'spin=1,1'"),
    ],
)
def test_wrong_text_is_refused(old: str, new: str, says: str) -> None:
    net = network(SMALL, np.ones((3, 2, 3, 3)))
    with pytest.raises(ModelError, match=says):
        parse(to_text(net).replace(old, new), net.tensors())


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"stride": (0, 1)}, r"stride \[0, 1\] is outside"),
        ({"pool": (5, 1)}, r"pools \[5, 1\] of a map"),
        ({"groups": 2}, "are no 2 groups"),
        ({"source": (1, 8, 5)}, "kernels are for 2 channels to 3, not 1 to 3"),
        ({"source": (2, 5, 5)}, "map 50 to 60 neurons"),
        ({"target": (3, 0, 5)}, "nothing to convolve"),
    ],
)
def test_what_makes_no_sense_is_refused(changed: dict[str, Any], says: str) -> None:
    net = network(SMALL, np.ones((3, 2, 3, 3)))
    first = replace(net.projections[0], convolution=replace(SMALL, **changed))
    with pytest.raises(ModelError, match=f"a.x: .*{says}"):
        verify(net.replace(projections=(first, net.projections[1])))


def test_kernels_have_four_axes() -> None:
    net = network(SMALL, np.ones((3, 2, 3, 3)))
    first = replace(net.projections[0], weight=np.ones((3, 18), np.float32))
    with pytest.raises(ModelError, match=r"weights have shape \[3, 18\], not \[out, in"):
        verify(net.replace(projections=(first, net.projections[1])))


def test_sums_of_integers_are_bounded_alike() -> None:
    net = network(SMALL, np.arange(-27, 27).reshape(3, 2, 3, 3))
    net = net.map_projections(lambda p: replace(p, weight=(p.weight * 8).astype(np.int8)))
    whole = net.populations[0]
    whole = replace(whole, membrane_bits=16)
    assert largest_sum(net, whole) == largest_sum(expanded(net), whole)
