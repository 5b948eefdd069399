"""The benchmark networks in ExecuTorch, its XNNPACK backend where it can: a run for each step."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peers import Classify, fused

from l2mu_compile.network import Network


def with_executorch(network: Network) -> Classify:
    """Exported, partitioned and lowered ahead of time, executed by ExecuTorch's runtime."""
    import torch

    with _quiet():
        method, kept = _method(network)
    order = [p.name for p in network.order()]
    out, count = order.index(network.readout.population), len(order)
    zeros = [torch.zeros(p.size) for p in network.order()]

    def classify(window: NDArray) -> NDArray:
        states = [*zeros, *zeros]
        counts = torch.zeros(network.classes)
        for sample in torch.from_numpy(window):
            states = [s.clone() for s in method.execute([sample, *states])]  # its own memory
            counts += states[count + out]
        assert kept, "the method reads these"
        return counts.numpy().astype(np.int64)

    return classify


def _method(network: Network) -> tuple[Any, Any]:
    """The step, and what must live as long as it."""
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower
    from executorch.runtime import Runtime

    def zeros() -> tuple[torch.Tensor, ...]:  # a tensor in two places would be one input
        return tuple(torch.zeros(p.size) for p in network.order())

    example = (torch.zeros(network.input.size), zeros(), zeros())
    exported = torch.export.export(_step(network), example)
    lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
    content = lowered.to_executorch().buffer
    program = Runtime.get().load_program(content)
    return program.load_method("forward"), (program, content)


def _step(network: Network) -> Any:
    """A module of one step: a sample, all membranes, all spikes; the new ones, in order."""
    import torch

    populations, entry = fused(network), network.input.name
    linear = torch.nn.functional.linear

    def parameters(weights: dict[str, NDArray]) -> torch.nn.ParameterList:
        return torch.nn.ParameterList([torch.from_numpy(w.copy()) for w in weights.values()])

    dense = {p.name: p.weight for p in populations if p.sources}
    blocks = {q.name: q.weight for p in populations for q in p.blocks}

    class Step(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dense, self.blocks = parameters(dense), parameters(blocks)

        def forward(
            self, sample: torch.Tensor, v: tuple[torch.Tensor, ...], s: tuple[torch.Tensor, ...]
        ) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
            weight = dict(zip(dense, self.dense, strict=True))
            block = dict(zip(blocks, self.blocks, strict=True))
            late = {p.name: spikes for p, spikes in zip(populations, s, strict=True)}
            now, membranes = {entry: sample}, []
            for p, membrane in zip(populations, v, strict=True):
                new = p.beta * membrane - p.threshold * late[p.name]
                if p.sources:
                    parts = [(late if delayed else now)[name] for name, delayed in p.sources]
                    new = new + linear(torch.cat(parts).view(1, -1), weight[p.name]).view(-1)
                for q in p.blocks:
                    cells = (late if q.delay else now)[q.source].view(q.blocks, -1)
                    new = new + linear(cells, block[q.name]).view(-1)
                membranes.append(new)
                now[p.name] = (new > p.threshold).float()
            return tuple(membranes), tuple(now[p.name] for p in populations)

    return Step()


@contextmanager
def _quiet() -> Iterator[None]:
    """ExecuTorch's libraries warn of each other and of this machine."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
