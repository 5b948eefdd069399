"""Convolutions and pools of NIR graphs: spike for spike what torch's own say, step by step."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
from nir_graphs import Simulation, changed, events, f32, written
from numpy.typing import NDArray

from l2mu_compile.convolution import Convolution
from l2mu_compile.errors import ModelError
from l2mu_compile.interpreter import run
from l2mu_compile.network import Network
from l2mu_compile.nir_import import import_nir

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
