"""NIR graphs to test with, made with the ``nir`` package as other tools make them, and what they
mean: forward Euler, node by node, in float64."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from numpy.typing import NDArray

DT = 1e-4
SLIDES = (nir.Conv1d, nir.Conv2d, nir.SumPool2d, nir.AvgPool2d)


def f32(values: Any) -> NDArray:
    return np.asarray(values, dtype=np.float32)


def written(
    path: Path, nodes: dict[str, Any], edges: Sequence[tuple[str, str]], **said: Any
) -> Path:
    """A ``.nir`` file; nothing about it is checked."""
    graph = nir.NIRGraph(dict(nodes), list(edges), dict(said), type_check=False)
    nir.write(path, graph)
    return path


def lif(size: int, tau: Any = 5e-4, threshold: Any = 1.0, **changed: Any) -> nir.LIF:
    """A LIF whose currents have a gain of 1."""
    full = {"tau": spread(tau, size), "v_leak": spread(0, size)}
    full |= {"v_threshold": spread(threshold, size), "v_reset": spread(0, size)}
    full["r"] = full["tau"] / f32(DT)
    return nir.LIF(**{**full, **{k: spread(v, size) for k, v in changed.items()}})


def cuba(size: int, **changed: Any) -> nir.CubaLIF:
    """A CubaLIF whose currents have a gain of 1."""
    values = {"tau_syn": 2e-4, "tau_mem": 5e-4, "v_leak": 0, "v_threshold": 1, "v_reset": 0}
    full = {k: spread(v, size) for k, v in (values | changed).items()}
    full.setdefault("r", full["tau_mem"] / f32(DT))
    full.setdefault("w_in", full["tau_syn"] / f32(DT))
    return nir.CubaLIF(**full)


def li(size: int, tau: Any = 5e-4, leak: Any = 0) -> nir.LI:
    values = spread(tau, size)
    return nir.LI(tau=values, r=values / f32(DT), v_leak=spread(leak, size))


def spread(values: Any, size: int) -> NDArray:
    return np.array(np.broadcast_to(f32(values), size))


def affine(rng: np.random.Generator, targets: int, sources: int, scale: float = 1.0) -> nir.Affine:
    weight = rng.normal(0, scale / np.sqrt(sources), (targets, sources))
    return nir.Affine(f32(weight), f32(rng.normal(0, 0.1, targets)))


def ends(inputs: Any, outputs: Any) -> tuple[nir.Input, nir.Output]:
    return nir.Input(np.atleast_1d(inputs)), nir.Output(np.atleast_1d(outputs))


def braille(
    seed: int = 0, scale: float = 1.0, cell: Any = cuba, sizes: tuple[int, int, int] = (6, 9, 4)
) -> dict[str, Any]:
    """The nodes of the recurrent network of the NIR paper (``paper/03_rnn``), smaller if nothing
    else is said."""
    rng = np.random.default_rng(seed)
    inputs, hidden, outputs = sizes
    start, end = ends(inputs, outputs)
    return {
        "input": start,
        "fc1": affine(rng, hidden, inputs, 2 * scale),
        "lif1.lif": cell(hidden),
        "lif1.w_rec": affine(rng, hidden, hidden, scale),
        "fc2": affine(rng, outputs, hidden, 2 * scale),
        "lif2": cell(outputs),
        "output": end,
    }


FLAT = (
    *(("fc1", "lif1.lif"), ("fc2", "lif2"), ("input", "fc1"), ("lif1.lif", "fc2")),
    *(("lif1.lif", "lif1.w_rec"), ("lif1.w_rec", "lif1.lif"), ("lif2", "output")),
)
# The recurrent weights first: they get last step's spikes, none at first.
ORDER = ("input", "fc1", "lif1.w_rec", "lif1.lif", "fc2", "lif2", "output")


def scnn(seed: int = 0) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """The nodes and edges that Sinabs's exporter makes of the NIR paper's network for N-MNIST
    (``paper/02_cnn/mnist_sinabs_to_nir.py``), with other weights, sums of which are exact."""
    rng = np.random.default_rng(seed)

    def weight(mean: float, spread: float, *shape: int) -> NDArray:
        return f32(np.round(rng.normal(mean, spread, shape) * 64) / 64)

    def conv(size: int, stride: int, weight: NDArray) -> nir.Conv2d:
        bias = f32(np.zeros(len(weight)))
        return nir.Conv2d((size, size), weight, (stride, stride), (1, 1), (1, 1), 1, bias)

    def pool() -> nir.SumPool2d:
        return nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))

    def fires(*shape: int) -> nir.IF:
        ones = np.ones(shape, np.float32)
        return nir.IF(r=ones, v_threshold=ones, v_reset=0 * ones)

    def matrix(weight: NDArray) -> nir.Affine:
        return nir.Affine(weight, f32(np.zeros(len(weight))))

    layers = (
        *(conv(34, 2, weight(0.05, 0.3, 16, 2, 5, 5)), fires(16, 16, 16)),
        *(conv(16, 1, weight(0.01, 0.12, 16, 16, 3, 3)), fires(16, 16, 16), pool()),
        *(conv(8, 1, weight(-0.005, 0.1, 8, 16, 3, 3)), fires(8, 8, 8), pool()),
        nir.Flatten({"input": np.array([8, 4, 4])}, 0, -1),
        *(matrix(weight(-0.01, 0.12, 256, 128)), fires(256)),
        *(matrix(weight(0.0, 0.12, 10, 256)), fires(10)),
    )
    nodes = {"input": nir.Input(np.array([2, 34, 34]))}
    nodes |= {str(i): layer for i, layer in enumerate(layers)}
    nodes["output"] = nir.Output(np.array([10]))
    return nodes, list(pairwise(nodes))


class Simulation:
    """A graph's meaning, written for clarity: every node's ``step``, in the ``order`` given; a node
    that comes later than one it leads to is heard a step late.

    ``reset`` is "zero" (to v_reset) or "subtract", in the step of the spike. ``start`` is where
    membranes start, "zero" or "leak".
    """

    def __init__(
        self,
        nodes: dict[str, Any],
        edges: Sequence[tuple[str, str]],
        order: Sequence[str],
        reset: str = "zero",
        start: str = "zero",
        dt: float = DT,
    ) -> None:
        self.nodes, self.edges, self.order = nodes, edges, order
        self.reset, self.start, self.dt = reset, start, dt

    def run(self, samples: NDArray) -> dict[str, NDArray]:
        """What every node puts out, ``[steps, n]``, for samples ``[steps, inputs]``."""
        now: dict[str, NDArray] = {}
        state: dict[str, dict[str, Any]] = {name: {} for name in self.order}
        kept: dict[str, list[NDArray]] = {name: [] for name in self.order}
        for sample in samples:
            last, now = now, {}
            for name in self.order:
                if name == self.order[0]:
                    now[name] = sample.astype(np.float64).reshape(self.shape(sample))
                    kept[name].append(now[name])
                    continue
                heard = [s for s, t in self.edges if t == name]
                arriving = sum(now.get(s, last.get(s, 0.0)) for s in heard)
                node = self.nodes[name]
                if isinstance(node, nir.Delay) and not set(heard) & now.keys():
                    now[name] = arriving + np.zeros(node.delay.shape)  # heard a step late already
                else:
                    now[name] = np.asarray(self.step(node, arriving, state[name]))
                kept[name].append(now[name])
        return {name: np.stack(rows) for name, rows in kept.items()}

    def shape(self, sample: NDArray) -> tuple[int, ...]:
        """A map, where there are any."""
        slides = any(isinstance(node, SLIDES) for node in self.nodes.values())
        return self.nodes[self.order[0]].input_type["input"] if slides else sample.shape

    def step(self, node: Any, x: Any, state: dict[str, Any]) -> Any:
        if isinstance(node, nir.Output):
            return x
        if isinstance(node, nir.Affine):
            return node.weight.astype(np.float64) @ (np.zeros(node.weight.shape[1]) + x) + node.bias
        if isinstance(node, nir.Linear):
            return node.weight.astype(np.float64) @ (np.zeros(node.weight.shape[1]) + x)
        if isinstance(node, nir.Scale):
            return node.scale * x
        if isinstance(node, nir.Flatten):
            return x.ravel()
        if isinstance(node, SLIDES):
            return slid(node, torch.from_numpy(x)).numpy()
        if isinstance(node, nir.Delay):
            before = state.get("before", np.zeros(node.delay.shape))
            state["before"] = x
            return before
        return self.neurons(node, x, state)

    def neurons(self, node: Any, x: Any, state: dict[str, Any]) -> Any:
        if isinstance(node, nir.CubaLIF):
            syn = state.get("syn", 0.0)
            x = state["syn"] = syn + self.dt / node.tau_syn * (node.w_in * x - syn)
            tau = node.tau_mem
        elif isinstance(node, nir.IF):
            return self.fire(node, state.get("v", 0.0) + node.r * x, state)
        else:
            tau = node.tau
        v = state.get("v", node.v_leak.astype(np.float64) if self.start == "leak" else 0.0)
        v = v + self.dt / tau * (node.v_leak - v + node.r * x)
        if isinstance(node, nir.LI):
            state["v"] = v
            return v
        return self.fire(node, v, state)

    def fire(self, node: Any, v: NDArray, state: dict[str, Any]) -> NDArray:
        spikes = v > node.v_threshold
        after = node.v_reset if self.reset == "zero" else v - node.v_threshold
        state["v"] = np.where(spikes, after, v)
        return spikes.astype(np.float64)


def slid(node: Any, x: torch.Tensor) -> torch.Tensor:
    """What torch's function of the same name makes of a map, ``[channels, ...]``."""

    def pair(value: Any) -> Any:
        return value if isinstance(value, (int, str)) else tuple(int(v) for v in value)

    if isinstance(node, (nir.Conv1d, nir.Conv2d)):
        convolve = F.conv1d if isinstance(node, nir.Conv1d) else F.conv2d
        weight, bias = (torch.from_numpy(np.float64(v)) for v in (node.weight, node.bias))
        sliding = (pair(v) for v in (node.stride, node.padding, node.dilation))
        return convolve(x, weight, bias, *sliding, node.groups)
    window, stride, padding = (pair(v) for v in (node.kernel_size, node.stride, node.padding))
    divisor = 1 if isinstance(node, nir.SumPool2d) else None
    return F.avg_pool2d(x[None], window, stride, padding, divisor_override=divisor)[0]


@st.composite
def graphs(draw: Any) -> tuple[dict[str, Any], list[tuple[str, str]], list[str]]:
    """Nodes, edges and an order to step them in: layers of any neurons, ways forward between any of
    them, and ways back, with a Delay or as loops of one layer. All numbers are such that eight
    steps of dt=1 are exact in float32."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sizes = draw(st.lists(st.integers(1, 4), min_size=2, max_size=4))
    names = ["input", *(f"layer.{i}" for i in range(1, len(sizes)))]
    nodes: dict[str, Any] = {"input": nir.Input(np.array([sizes[0]]))}
    edges: list[tuple[str, str]] = []
    before: list[str] = []
    row: list[str] = []

    def eighths(shape: Any) -> NDArray:
        return f32(rng.integers(-8, 12, shape) / 8)

    def path(*way: str) -> None:
        edges.extend(pairwise(way))

    for i, name in enumerate(names[1:], 1):
        sources = draw(st.sets(st.integers(0, i - 1), min_size=1))
        for j in sorted(sources | ({i - 1} if i == len(names) - 1 else set())):
            way = f"{name}<{names[j]}"
            nodes[way] = nir.Affine(eighths((sizes[i], sizes[j])), eighths(sizes[i]) / 8)
            path(names[j], way, name)
            row.append(way)
        for j in draw(st.sets(st.integers(i, len(names) - 1), max_size=2)):
            way = f"{name}<<{names[j]}"
            nodes[way] = nir.Linear(eighths((sizes[i], sizes[j])))
            if j > i or draw(st.booleans()):
                nodes[f"{way}.wait"] = nir.Delay(np.ones(sizes[j]))
                path(names[j], f"{way}.wait", way, name)
                before.append(f"{way}.wait")
            else:
                path(names[j], way, name)
            before.append(way)
        nodes[name] = _exact_neurons(draw(st.sampled_from(("lif", "cuba", "if"))), sizes[i], rng)
        row.append(name)
    used = {source for source, _ in edges}
    for name in names[1:-1]:
        if name not in used:
            path(name, f"{names[-1]}<{name}", names[-1])
            shape = sizes[-1], sizes[names.index(name)]
            nodes[f"{names[-1]}<{name}"] = nir.Linear(eighths(shape))
            row.insert(row.index(names[-1]), f"{names[-1]}<{name}")
    nodes["output"] = nir.Output(np.array([sizes[-1]]))
    path(names[-1], "output")
    shuffled = [edges[i] for i in rng.permutation(len(edges))]
    return nodes, shuffled, ["input", *before, *row, "output"]


def _exact_neurons(kind: str, size: int, rng: np.random.Generator) -> Any:
    tau, other = (f32(rng.choice([1, 2], size)) for _ in range(2))
    r, threshold = f32(rng.choice([0.5, 1, 2], size)), f32(rng.integers(2, 9, size) / 8)
    zeros = spread(0, size)
    if kind == "if":
        return nir.IF(r=r, v_threshold=threshold, v_reset=zeros)
    if kind == "lif":
        leak = f32(rng.integers(-1, 2, size) / 4)
        return nir.LIF(tau=tau, r=r, v_leak=leak, v_threshold=threshold, v_reset=zeros)
    return nir.CubaLIF(other, tau, r, zeros, threshold, zeros, w_in=tau)


def events(steps: int, inputs: int, seed: int = 3, rate: float = 0.3) -> NDArray:
    """Samples that are spikes, ``[steps, inputs]``."""
    rng = np.random.default_rng(seed)
    return f32(rng.random((steps, inputs)) < rate)


def changed(path: Path, change: Any) -> Path:
    """A file after ``change(h5py file)``."""
    with h5py.File(path, "r+") as file:
        change(file)
    return path
