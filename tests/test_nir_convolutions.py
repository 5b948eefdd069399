"""Convolutions and pools of NIR graphs: spike for spike what torch's own say, step by step."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import drawn_networks
import networks
import nir
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nir_graphs import Simulation, changed, events, f32, written
from numpy.typing import NDArray

from l2mu_compile.convolution import Convolution
from l2mu_compile.errors import ModelError
from l2mu_compile.interpreter import run
from l2mu_compile.network import Input, Network, Population, Readout
from l2mu_compile.nir_export import to_nir, write_nir
from l2mu_compile.nir_import import import_nir
from l2mu_compile.projection import Projection
from l2mu_compile.text import to_text

Nodes = dict[str, Any]


def sixteenths(rng: np.random.Generator, shape: Any) -> NDArray:
    """Weights whose sums are exact in float32."""
    return f32(rng.integers(-16, 19, shape) / 16)


def conv(seed: int, shape: Any, bias: bool = False, **said: Any) -> nir.Conv2d:
    rng = np.random.default_rng(seed)
    options = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, "input_shape": None}
    options |= said
    constant = sixteenths(rng, shape[0]) if bias else f32(np.zeros(shape[0]))
    kind = nir.Conv2d if len(shape) == 4 else nir.Conv1d
    return kind(weight=sixteenths(rng, shape), bias=constant, **options)


def pool(kind: Any, window: Any = (2, 2), stride: Any = None, padding: Any = (0, 0)) -> Any:
    return kind(np.array(window), np.array(stride or window), np.array(padding))


def fires(*shape: int, threshold: float = 1.0) -> nir.IF:
    """Neurons that spike seldom enough, ``shape`` of them."""
    ones = np.ones(shape, np.float32)
    return nir.IF(r=ones, v_threshold=threshold * ones, v_reset=0 * ones)


def chain(first: Any, *others: Any) -> tuple[Nodes, list[tuple[str, str]]]:
    """Nodes one after the other, between an Input and an Output: ``n1``, ``n2`` …"""
    nodes = {"input": first, **{f"n{i}": node for i, node in enumerate(others, 1)}}
    nodes["output"] = nir.Output(np.array(others[-1].v_threshold.shape))
    return nodes, list(pairwise(nodes))


def saved(tmp_path: Path, nodes: Nodes, edges: list[tuple[str, str]]) -> Path:
    """A file in which convolutions without an ``input_shape`` have none."""
    bare = [n for n, node in nodes.items() if getattr(node, "input_shape", ()) is None]
    for name in bare:
        nodes[name].input_shape = 0
    path = written(tmp_path / "a.nir", nodes, edges)

    def strip(file: Any) -> None:
        for name in bare:
            del file[f"node/nodes/{name}/input_shape"]

    return changed(path, strip)


def agrees(tmp_path: Path, nodes: Nodes, edges: list[tuple[str, str]], steps: int = 12) -> Network:
    """A file of the graph is read as a network that spikes as the graph does."""
    network = import_nir(saved(tmp_path, nodes, edges)).network
    samples = events(steps, network.input.size)
    expected = Simulation(nodes, edges, list(nodes)).run(samples)
    found = run(network, samples[None], ("spikes",))
    for population in network.populations:
        if population.name in expected and population.name in found.spikes:
            spikes = expected[population.name].reshape(steps, -1)
            assert np.array_equal(found.spikes[population.name][0], spikes > 0), population.name
            assert 0 < spikes.mean() < 1
    return network


def flat(size: int) -> nir.Flatten:
    return nir.Flatten(np.array([size, 1, 1]), 0, -1)


def mnist(rng: np.random.Generator) -> tuple[Nodes, list[tuple[str, str]]]:
    """The layers of the NIR paper's network for N-MNIST (``paper/02_cnn``)."""
    return chain(
        nir.Input(np.array([2, 34, 34])),
        conv(1, (16, 2, 5, 5), stride=2, padding=1),
        fires(16, 16, 16, threshold=4),
        conv(2, (16, 16, 3, 3), padding=1),
        fires(16, 16, 16, threshold=5),
        pool(nir.SumPool2d),
        conv(3, (8, 16, 3, 3), padding=1),
        fires(8, 8, 8, threshold=9),
        pool(nir.SumPool2d),
        flat(128),
        nir.Linear(sixteenths(rng, (256, 128))),
        fires(256, threshold=12),
        nir.Linear(sixteenths(rng, (10, 256))),
        fires(10, threshold=12),
    )


def test_layers_of_the_paper(tmp_path: Path) -> None:
    nodes, edges = mnist(np.random.default_rng(0))
    network = agrees(tmp_path, nodes, edges)
    shapes = [(p.weight.shape, p.convolution) for p in network.projections]
    assert shapes == [
        ((16, 2, 5, 5), Convolution((2, 34, 34), (16, 16, 16), stride=(2, 2), padding=(1, 1))),
        ((16, 16, 3, 3), Convolution((16, 16, 16), (16, 16, 16), padding=(1, 1))),
        ((8, 16, 3, 3), Convolution((16, 16, 16), (8, 8, 8), padding=(1, 1), pool=(2, 2))),
        ((256, 8, 4, 4), Convolution((8, 8, 8), (256, 1, 1), pool=(2, 2))),
        ((10, 256), None),
    ]


SMALL = nir.Input(np.array([2, 7, 9]))


@pytest.mark.parametrize("kind", [nir.SumPool2d, nir.AvgPool2d])
@pytest.mark.parametrize(
    ("window", "size"),
    [
        (((2, 2),), (3, 4)),
        (((2, 1),), (3, 9)),
        (((4, 2), (1, 2)), (4, 4)),
        (((2, 4), (2, 3), (1, 1)), (4, 3)),
    ],
)
def test_pools_alone_and_before_convolutions(
    tmp_path: Path, kind: Any, window: Any, size: tuple[int, int]
) -> None:
    nodes, edges = chain(
        SMALL,
        pool(kind, *window),
        fires(2, *size, threshold=0.6),
        conv(1, (3, 2, 2, 2)),
        fires(3, size[0] - 1, size[1] - 1),
    )
    agrees(tmp_path, nodes, edges)
    del nodes["n2"]
    network = agrees(tmp_path, nodes, list(pairwise(nodes)))
    assert (network.projections[0].convolution is not None) == (len(window) == 1)


@pytest.mark.parametrize(
    ("said", "size"),
    [
        ({"padding": "same"}, (7, 9)),
        ({"padding": "valid"}, (6, 7)),
        ({"padding": (2, 1), "stride": (2, 3)}, (5, 3)),
        ({"dilation": (2, 1), "groups": 2}, (5, 7)),
    ],
)
def test_how_kernels_slide(tmp_path: Path, said: dict[str, Any], size: tuple[int, int]) -> None:
    kernel = (4, 2 // said.get("groups", 1), 2, 3)
    nodes, edges = chain(SMALL, conv(5, kernel, bias=True, **said), fires(4, *size, threshold=2))
    network = agrees(tmp_path, nodes, edges)
    assert network.projections[0].weight.shape == kernel
    assert network.populations[0].bias is not None


def test_a_map_may_be_the_convolutions_own(tmp_path: Path) -> None:
    first = conv(5, (4, 2, 2, 3), input_shape=(7, 9))
    nodes, edges = chain(nir.Input(np.array([126])), first, fires(4, 6, 7, threshold=2))
    path = saved(tmp_path, nodes, edges)
    assert import_nir(path).network.projections[0].convolution == Convolution((2, 7, 9), (4, 6, 7))


def test_axes_of_a_batch_do_not_matter(tmp_path: Path) -> None:
    nodes, edges = chain(nir.Input(np.array([1, 2, 7, 9])), conv(5, (4, 2, 2, 3)), fires(4, 6, 7))
    network = import_nir(saved(tmp_path, nodes, edges)).network
    assert network.projections[0].convolution == Convolution((2, 7, 9), (4, 6, 7))


def test_convolutions_of_one_dimension(tmp_path: Path) -> None:
    nodes, edges = chain(
        nir.Input(np.array([2, 20])),
        conv(5, (4, 2, 5), stride=2, padding=2),
        fires(4, 10, threshold=2),
        conv(6, (3, 4, 3)),
        fires(3, 8, threshold=2),
    )
    network = agrees(tmp_path, nodes, edges)
    first, second = (p.convolution for p in network.projections)
    assert first == Convolution((2, 1, 20), (4, 1, 10), stride=(1, 2), padding=(0, 2))
    assert second == Convolution((4, 1, 10), (3, 1, 8))


def test_two_convolutions_in_a_row_are_a_matrix(tmp_path: Path) -> None:
    nodes, edges = chain(
        SMALL,
        conv(1, (3, 2, 2, 2), bias=True, padding=1),
        conv(2, (2, 3, 3, 3), padding=1),
        fires(2, 8, 10, threshold=2),
    )
    network = agrees(tmp_path, nodes, edges)
    assert network.projections[0].weight.shape == (160, 126)


def test_pools_of_pools_are_one(tmp_path: Path) -> None:
    nodes, edges = chain(
        nir.Input(np.array([2, 19, 13])),
        *(pool(nir.SumPool2d), pool(nir.AvgPool2d, (4, 2)), conv(1, (3, 2, 2, 2))),
        fires(3, 1, 2, threshold=2),
    )
    network = agrees(tmp_path, nodes, edges)
    assert network.projections[0].convolution == Convolution((2, 19, 13), (3, 1, 2), pool=(8, 4))


@pytest.mark.parametrize("even", [True, False])
def test_scales_belong_to_kernels_where_channels_have_one(tmp_path: Path, even: bool) -> None:
    before, after = np.ones((2, 7, 9)), np.ones((4, 6, 7))
    before[1], after[2] = 0.5, 2
    before[0, 0, 0] = 1 if even else 0.25
    nodes, edges = chain(
        SMALL,
        *(nir.Scale(f32(before)), conv(5, (4, 2, 2, 3)), nir.Scale(f32(after))),
        fires(4, 6, 7, threshold=2),
    )
    network = agrees(tmp_path, nodes, edges)
    assert (network.projections[0].convolution is not None) == even


def test_branches_of_one_form_are_added(tmp_path: Path) -> None:
    nodes = {
        **{"input": SMALL, "a": conv(1, (4, 2, 2, 3)), "b": conv(2, (4, 2, 2, 3))},
        **{"f": fires(4, 6, 7, threshold=2), "output": nir.Output(np.array([4, 6, 7]))},
    }
    edges = [("input", "a"), ("input", "b"), ("a", "f"), ("b", "f"), ("f", "output")]
    network = agrees(tmp_path, nodes, edges)
    assert network.projections[0].weight.shape == (4, 2, 2, 3)


def wrong(**said: Any) -> Nodes:
    nodes, _ = chain(
        SMALL, conv(5, (4, 2, 2, 3)), fires(4, 6, 7), pool(nir.SumPool2d), fires(4, 3, 3)
    )
    for field, value in said.items():
        owner, _, field = field.partition("_")
        setattr(nodes[owner], field, value)
    return nodes


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"n1_stride": (0, 1)}, "n1 (Conv2d): stride is not whole, below 1"),
        ({"n1_padding": (1.5, 1)}, "n1 (Conv2d): padding is not whole"),
        ({"n1_groups": 3}, "n1 (Conv2d): 2 and 4 channels are no 3 groups"),
        ({"n1_weight": f32(np.ones((4, 3, 2, 3)))}, "n1 (Conv2d): kernels are for 3 channels"),
        ({"n1_weight": f32(np.ones((4, 2, 8, 3)))}, "n1 (Conv2d): nothing to convolve"),
        ({"n1_weight": f32(np.ones((4, 2)))}, "n1 (Conv2d): weight has shape [4, 2], not 4 axes"),
        ({"n1_weight": f32(np.full((4, 2, 2, 3), np.nan))}, "n1 (Conv2d): weight holds NaN"),
        ({"n1_bias": f32([1, 2])}, "n1 (Conv2d): bias has 2 values for 4"),
        ({"n3_kernel_size": np.array([9, 9])}, "n3 (SumPool2d): "),
        ({"n3_stride": np.array([1, 2, 3])}, "n3 (SumPool2d): stride has 3 numbers"),
        ({"n1_padding": "same", "n1_stride": (2, 2)}, "n1 (Conv2d): padding 'same' with strides"),
        ({"input_input_type": {"input": np.array([126])}}, "n1 (Conv2d): nothing tells the height"),
        ({"input_input_type": {"input": np.array([2, 9, 7])}}, "n1 puts out "),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, said: dict[str, Any], says: str) -> None:
    nodes = wrong(**said)
    path = saved(tmp_path, nodes, list(pairwise(nodes)))
    with pytest.raises(ModelError) as error:
        import_nir(path)
    assert says in str(error.value)


# ---- written -----------------------------------------------------------------------------------


def back(network: Network, path: Path) -> Network:
    """``network`` written and read; nothing is left for anybody to assume."""
    write_nir(network, path / "n.nir")
    found = import_nir(path / "n.nir")
    assert found.notes == ()
    return found.network


def kinds(network: Network) -> list[str]:
    """The kinds of nodes that projections are written as."""
    ends = {network.input.name, *(p.name for p in network.populations), "output"}
    return [type(n).__name__ for name, n in to_nir(network).nodes.items() if name not in ends]


def row(*maps: Any, seed: int = 0, **said: Any) -> Network:
    """Convolutions and their kernels, or None for a matrix, one after the other from the input."""
    rng = np.random.default_rng(seed)
    source, size = "x", maps[0][0].shape[1]
    populations, projections = [], []
    for i, joined in enumerate(maps):
        made, kernel = joined if joined is not None else (None, sixteenths(rng, (5, size)))
        size = made.shape[0] if made else 5
        populations.append(Population(f"p{i}", (size,), networks.lif(0.75)))
        projections.append(Projection(source, f"p{i}", f32(kernel), convolution=made))
        source = f"p{i}"
    entry = Input("x", maps[0][0].shape[1], **said)
    return Network("row", entry, tuple(populations), tuple(projections), Readout(source))


def ones(made: Convolution, weight: float = 1, kernel: tuple[int, int] = (1, 1)) -> Any:
    return made, np.full((made.target[0], made.source[0] // made.groups, *kernel), weight)


MAPS = (2, 8, 6)
PLAIN = Convolution(MAPS, (3, 6, 4))
POOL = Convolution(MAPS, (2, 4, 3), groups=2, pool=(2, 2))
AFTER = Convolution((3, 6, 4), (2, 3, 3), padding=(1, 1), pool=(2, 2))
LINE = Convolution((2, 1, 20), (4, 1, 10), stride=(1, 2), padding=(0, 1))
SAME = Convolution(MAPS, (3, 8, 6), padding=(0, 1))
LATE = Convolution(MAPS, (3, 8, 6), padding=(0, 0))
WRITTEN = {
    "convolution": (row((PLAIN, np.ones((3, 2, 3, 3)))), ["Conv2d"]),
    "sum": (row(ones(POOL)), ["SumPool2d"]),
    "average": (row(ones(POOL, 0.25)), ["AvgPool2d"]),
    "average of thirds": (
        row(ones(replace(POOL, target=(2, 2, 3), pool=(3, 2)), np.float32(1 / 6))),
        ["AvgPool2d"],
    ),
    "weighed pool": (row(ones(POOL, 0.5)), ["SumPool2d", "Conv2d"]),
    "pool and convolution": (
        row((PLAIN, np.ones((3, 2, 3, 3))), (AFTER, np.ones((2, 3, 3, 2))), None),
        ["Conv2d", "SumPool2d", "Conv2d", "Flatten", "Linear"],
    ),
    "after a matrix": (
        row(
            (PLAIN, np.ones((3, 2, 3, 3))), None, ones(Convolution((1, 1, 5), (2, 1, 3)), 1, (1, 3))
        ),
        ["Conv2d", "Flatten", "Linear", "Conv2d"],
    ),
    "pool after a matrix": (
        row(
            (PLAIN, np.ones((3, 2, 3, 3))),
            None,
            ones(Convolution((1, 1, 5), (1, 1, 2), pool=(1, 2))),
        ),
        ["Conv2d", "Flatten", "Linear", "SumPool2d"],
    ),
    "one dimension": (
        row((LINE, np.ones((4, 2, 1, 3))), ones(Convolution((4, 1, 10), (4, 1, 10), groups=4))),
        ["Conv1d", "Conv1d"],
    ),
    "same": (row((SAME, np.ones((3, 2, 2, 3)))), ["Conv2d"]),
    "another padding behind": (row((LATE, np.ones((3, 2, 2, 3)))), ["Linear"]),
    "seen in two ways": (
        row((PLAIN, np.ones((3, 2, 3, 3))), ones(Convolution((2, 6, 6), (2, 6, 6), groups=2))),
        ["Conv2d", "Flatten", "Linear"],
    ),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_networks_come_back_as_they_were(tmp_path: Path, name: str) -> None:
    network, nodes = WRITTEN[name]
    assert kinds(network) == nodes
    found = back(network, tmp_path)
    assert found == network
    assert to_text(found) == to_text(network)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn_networks.convolutions(), st.booleans(), st.booleans())
def test_any_convolution_comes_back_as_it_was(
    tmp_path: Path, given: tuple[Convolution, NDArray], spiking: bool, biased: bool
) -> None:
    network = row(given, None, spiking=spiking)
    if biased:
        channels = np.arange(1, given[0].target[0] + 1) / 8
        bias = f32(np.repeat(channels, given[0].positions))
        network = network.map_populations(lambda p: replace(p, bias=bias) if p.name == "p0" else p)
    assert not {"Linear", "Affine"} & set(kinds(network)[:-1])
    assert back(network, tmp_path) == network


def biased(bias: NDArray, *others: Projection) -> Network:
    network = row((PLAIN, np.ones((3, 2, 3, 3))), seed=1)
    first = replace(network.populations[0], bias=bias)
    return network.replace(populations=(first,), projections=(*network.projections, *others))


UNEVEN = f32(np.arange(72) / 64)
OWN = Projection("p0", "p0", f32(np.eye(72)) / 4, delay=1)


def test_a_bias_within_channels_is_brought_by_a_matrix(tmp_path: Path) -> None:
    alone, beside = biased(UNEVEN), biased(UNEVEN, OWN)
    assert kinds(alone) == ["Affine"]
    assert kinds(beside) == ["Conv2d", "Delay", "Flatten", "Affine"]
    for network in (alone, beside):
        assert back(network, tmp_path) == network


def test_convolutions_that_read_the_step_before(tmp_path: Path) -> None:
    loop = Convolution((3, 6, 4), (3, 6, 4), padding=(1, 1), groups=3)
    late = Projection("p0", "p0", f32(np.ones((3, 1, 3, 3)) / 8), delay=1, convolution=loop)
    network = biased(np.repeat(f32([0.5, 0, -0.5]), 24), late)
    assert kinds(network) == ["Conv2d", "Delay", "Conv2d"]
    assert back(network, tmp_path) == network


def test_what_is_written_means_the_same(tmp_path: Path) -> None:
    """By torch, node by node; the nir package finds that shapes fit where kernels are square."""
    rng = np.random.default_rng(2)
    second = replace(AFTER, target=(2, 3, 2))
    first, kernel = sixteenths(rng, (3, 2, 3, 3)), sixteenths(rng, (2, 3, 3, 3))
    network = row((PLAIN, first), (second, kernel), None)
    network = network.map_populations(lambda p: replace(p, neuron=networks.lif(0.75, 1, "zero")))
    write_nir(network, tmp_path / "a.nir")
    graph = nir.read(tmp_path / "a.nir")
    order = ["x", "p0.x", "p0", "p1.p0.pool", "p1.p0", "p1", "p2.p1.flat", "p2.p1", "p2", "output"]
    assert set(order) == set(graph.nodes)
    samples = events(20, 96)
    expected = Simulation(graph.nodes, graph.edges, order).run(samples)
    found = run(network, samples[None], ("spikes",)).spikes
    for name in ("p0", "p1", "p2"):
        assert np.array_equal(found[name][0], expected[name].reshape(20, -1) > 0), name


def test_a_form_that_metadata_does_not_fit_is_left_out_of_account(tmp_path: Path) -> None:
    network, _ = WRITTEN["another padding behind"]
    graph = to_nir(network)
    for old, new in (("[3,8,6]", "[3,6,8]"), ("[3,2,2,3]", "[3,2,1,3]"), ("[3,8,6]", "[0,8,6]")):
        assert old in graph.metadata["l2mu_compile"]
        said = {"l2mu_compile": graph.metadata["l2mu_compile"].replace(old, new)}
        other = nir.NIRGraph(graph.nodes, graph.edges, graph.metadata | said)
        nir.write(tmp_path / "a.nir", other)
        found = import_nir(tmp_path / "a.nir").network.projections[0]
        assert found.convolution is None
        assert np.array_equal(found.dense(), network.projections[0].dense())
