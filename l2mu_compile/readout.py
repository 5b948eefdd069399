"""Read out: which neuron's output the module returns, and how a class is decided from it.

The output must be the spikes of one population (times a positive constant), per step or summed over
time, or its membranes, per step, averaged or of the last step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.fx import Node

from l2mu_compile.affine import Claim, culprit, require_affine
from l2mu_compile.dataflow import INPUT, Dataflow, Read, Source, located
from l2mu_compile.errors import ModelError
from l2mu_compile.network import READOUT_RULES


class Shown(NamedTuple):
    """What a module returns of neuron ``path``: its ``kind`` of values, "spikes" or "membrane".

    ``steps`` says which: "every" step's, their "sum" over time, or the "last". ``place`` is where:
    (True, k) in the k-th list of one tensor per step, (False, k) in the k-th tensor.
    """

    path: str
    kind: str
    steps: str
    place: tuple[bool, int]


_RULES = {
    ("spikes", "every"): "spike_count",
    ("spikes", "sum"): "spike_count",
    ("membrane", "last"): "last_membrane",
    ("membrane", "sum"): "mean_membrane",
    ("membrane", "every"): None,
}


def read_out(graph: Dataflow, readout: str | None) -> tuple[Shown, str]:
    """What the module returns, and the rule to decide by: ``readout`` if not None.

    Raises `ModelError` if that is no neuron's output, or a membrane and no rule is given.
    """
    reads = _reads(graph)
    matched = (_matched(graph, place, reads[place]) for place in reads)
    found = sorted((m for m in matched if m), key=lambda m: m.kind != "spikes")
    if not found:
        raise ModelError(_unreadable(graph))
    shown = found[0]
    claims = [Claim(f"what {graph.trace.module} returns", read) for read in reads[shown.place]]
    require_affine(graph, claims)
    rule = readout or _RULES[shown.kind, shown.steps]
    if rule is None:
        raise ModelError(
            f"{graph.trace.module} returns the membrane of {shown.path}, not spikes; say how to "
            f"decide with readout=, one of {', '.join(READOUT_RULES)}"
        )
    return shown, rule


def outputs(tree: Any, steps: int) -> dict[tuple[bool, int], list[Any]]:
    """The tensors (or nodes) in what a module returns, by place (see `Shown`).

    Lists that hold one ``[batch, neurons]`` for each step come before single tensors.
    """
    single = [part for part in _parts(tree) if isinstance(part, (Tensor, Node))]
    listed = [_entries(part) for part in _parts(tree) if _is_listed(_entries(part), steps)]
    return {
        **{(True, k): entries for k, entries in enumerate(listed)},
        **{(False, k): [part] for k, part in enumerate(single)},
    }


def shows(tensors: Sequence[Tensor], rows: Tensor, steps: str, tolerance: float = 1e-6) -> bool:
    """True if an output shows a neuron's values ``rows`` ``[T, B, neurons]`` (see `Shown`).

    A positive constant is free; ``tolerance`` is relative to the largest sum of what is added up.
    """
    output = torch.stack(list(tensors)) if len(tensors) > 1 else tensors[0]
    values, sizes = _summary(rows, steps), _summary(rows.abs(), steps)
    layouts = _layouts(output, rows.shape[0], rows.shape[1])
    return any(_proportional(layout, values, tolerance * sizes.max()) for layout in layouts)


def _summary(rows: Tensor, steps: str) -> Tensor:
    return {"every": rows, "sum": rows.sum(0), "last": rows[-1]}[steps]


def _reads(graph: Dataflow) -> dict[tuple[bool, int], list[Read]]:
    end = graph.nodes[-1]
    found = outputs(end.args[0], graph.trace.steps)
    return {place: [Read(node, end) for node in nodes] for place, nodes in found.items()}


def _parts(tree: Any) -> Iterator[Any]:
    yield tree
    for entry in _entries(tree):
        yield from _parts(entry)


def _entries(tree: Any) -> list[Any]:
    if isinstance(tree, dict):
        return list(tree.values())
    return list(tree) if isinstance(tree, (list, tuple)) else []


def _is_listed(entries: Sequence[Any], steps: int) -> bool:
    if len(entries) != steps or not all(isinstance(e, (Tensor, Node)) for e in entries):
        return False
    shapes = {tuple(e.meta["val"].shape if isinstance(e, Node) else e.shape) for e in entries}
    return len(shapes) == 1 and len(next(iter(shapes))) == 2


def _matched(graph: Dataflow, place: tuple[bool, int], reads: Sequence[Read]) -> Shown | None:
    """What an output shows of some neuron, if it does."""
    leaves = list(dict.fromkeys(leaf for read in reads for leaf in graph.leaves(read)))
    every = {
        (leaf.kind, leaf.path): [
            Source(leaf.kind, leaf.path, step) for step in range(graph.trace.steps)
        ]
        for leaf in leaves
        if leaf.path != INPUT
    }
    values = graph.random([*leaves, *(s for sources in every.values() for s in sources)], 7)
    found = [graph.run(read, values) for read in reads]
    if not all(isinstance(f, Tensor) and f.is_floating_point() for f in found):
        return None
    for (kind, path), sources in sorted(every.items(), key=lambda item: item[0][0] != "spikes"):
        rows = torch.stack([values[source].flatten(1) for source in sources])
        for known, steps in _RULES:
            if kind == known and shows(found, rows, steps):
                return Shown(path, kind, steps, place)
    return None


def _layouts(output: Tensor, steps: int, batch: int) -> Iterator[Tensor]:
    """What ``output`` may be as ``[T, B, neurons]`` or ``[B, neurons]``, from its shape."""
    if output.ndim >= 3 and tuple(output.shape[:2]) == (steps, batch):
        yield output.flatten(2)
    if output.ndim >= 3 and tuple(output.shape[:2]) == (batch, steps):
        yield output.transpose(0, 1).flatten(2)
    if output.ndim == 2 and output.shape[0] == batch:
        yield output
        if steps == 1:
            yield output[None]


def _proportional(output: Tensor, values: Tensor, bound: Tensor) -> bool:
    """True if ``output`` is ``values``, each to within ``bound``, times one positive constant."""
    if output.shape != values.shape:
        return False
    if not values.any():
        return not bool(output.any())
    largest = values.abs().argmax()
    factor = output.flatten()[largest] / values.flatten()[largest]
    return bool(factor > 0) and bool(((output / factor - values).abs() <= bound).all())


def _unreadable(graph: Dataflow) -> str:
    module, reads = graph.trace.module, [read for r in _reads(graph).values() for read in r]
    shapes = ", ".join(str(list(r.node.meta["val"].shape)) for r in reads) or "no tensor"
    leaves = {source.path for read in reads for source in graph.leaves(read)} - {INPUT}
    made = f", made of what {' and '.join(sorted(leaves))} put out" if leaves else ""
    nodes = sorted({n for read in reads for n in graph.slice(read)}, key=graph.position)
    found = culprit(graph, nodes)
    lines = [located(r.node) for r in reads if r.node.op == "call_function"]
    reason = found[1] if found else lines[0] if lines else "a constant"
    return (
        f"{module} returns {shapes}{made}: {reason}; it must return the spikes of one neuron "
        "layer, unpermuted: [T, B, C], [B, T, C] or their sum over time"
    )
