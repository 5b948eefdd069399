"""Read out: which neuron's output the module returns, and how a class is decided from it.

The output must be the spikes of one population (times a positive constant), per step or summed over
time, or its membranes, per step, averaged or of the last step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from l2mu_compile.dataflow import INPUT, Dataflow, Read, Source, doubled, located
from l2mu_compile.errors import ModelError
from l2mu_compile.network import READOUT_RULES
from l2mu_compile.trace import Trace


def read_out(graph: Dataflow, readout: str | None) -> tuple[str, str]:
    """The neuron the module's output is read from, and the rule: ``readout`` if not None.

    Raises `ModelError` if the output is no neuron's, or a membrane and no rule is given.
    """
    results = [_matched(graph, reads) for reads in _results(graph)]
    spikes = [r for r in results if r and r[1] == "spike_count"]
    if spikes:
        return spikes[0][0], readout or "spike_count"
    found = next((r for r in results if r), None)
    if found is None:
        raise ModelError(_unreadable(graph))
    path, rule = found
    if readout is None and rule == "":
        raise ModelError(
            f"{graph.trace.module} returns the membrane of {path}, not spikes; say how to decide "
            f"with readout=, one of {', '.join(READOUT_RULES)}"
        )
    return path, readout or rule


def _results(graph: Dataflow) -> list[list[Read]]:
    """The module's outputs in order; a list of one tensor per step counts as one output."""
    output = graph.nodes[-1]
    sequences = _sequences(output.args[0], graph.trace.steps)
    return [[Read(node, output) for node in nodes] for nodes in sequences]


def _sequences(tree: Any, steps: int) -> list[list[Node]]:
    if isinstance(tree, Node):
        return [[tree]]
    entries = list(tree.values()) if isinstance(tree, dict) else tree
    if not isinstance(entries, (list, tuple)):
        return []
    if len(entries) == steps and all(isinstance(e, Node) for e in entries):
        shapes = {tuple(e.meta["val"].shape) for e in entries}
        if len(shapes) == 1 and len(next(iter(shapes))) == 2:
            return [list(entries)]
    return [sequence for entry in entries for sequence in _sequences(entry, steps)]


def _matched(graph: Dataflow, reads: Sequence[Read]) -> tuple[str, str] | None:
    """(neuron, rule) if this output is a neuron's spikes or membranes; "" for bare membranes."""
    leaves = list(dict.fromkeys(leaf for read in reads for leaf in graph.leaves(read)))
    values = graph.random(leaves, 7)
    found = [doubled(graph.run(read, values)) for read in reads]
    if not all(isinstance(f, Tensor) and f.is_floating_point() for f in found):
        return None
    output = _time_major(torch.stack(found) if len(found) > 1 else found[0], graph.trace)
    if output is None:
        return None
    for kind in ("spikes", "membrane"):
        for path in dict.fromkeys(s.path for s in leaves if s.kind == kind):
            steps = range(graph.trace.steps)
            shown = [values.get(Source(kind, path, k)) for k in steps]
            rows = [None if s is None else s.reshape(s.shape[0], -1) for s in shown]
            rule = _compare(output, rows, kind)
            if rule is not None:
                return path, rule
    return None


def _time_major(output: Tensor, trace: Trace) -> Tensor | None:
    """``[T, B, C]`` from either layout; ``[B, C]`` as it is; None for other shapes."""
    if output.ndim >= 3 and tuple(output.shape[:2]) == (trace.batch, trace.steps):
        output = output.transpose(0, 1)
    if output.ndim >= 3 and tuple(output.shape[:2]) == (trace.steps, trace.batch):
        return output.flatten(2)
    return output if output.ndim == 2 and output.shape[0] == trace.batch else None


def _compare(output: Tensor, rows: Sequence[Tensor | None], kind: str) -> str | None:
    """The rule by which ``output`` shows a neuron's values ``rows`` (one per step), if it does."""
    if output.ndim == 2:
        last = rows[-1]
        if kind == "membrane" and last is not None and _proportional(output, last):
            return "last_membrane"
        kept = [r for r in rows if r is not None]
        if len(kept) == len(rows) and _proportional(output, torch.stack(kept).sum(0)):
            return "spike_count" if kind == "spikes" else "mean_membrane"
        return None
    kept = [r for r in rows if r is not None]
    if len(kept) < len(rows) or not _proportional(output, torch.stack(kept)):
        return None
    return "spike_count" if kind == "spikes" else ""


def _proportional(output: Tensor, values: Tensor) -> bool:
    """True if ``output`` is ``values`` times one positive constant."""
    if output.shape != values.shape:
        return False
    factor = output.flatten()[0] / values.flatten()[0]
    return bool(factor > 0) and torch.allclose(output, factor * values, rtol=1e-6, atol=1e-9)


def _unreadable(graph: Dataflow) -> str:
    module, results = graph.trace.module, _results(graph)
    shapes = ", ".join(str(list(r[0].node.meta["val"].shape)) for r in results) or "no tensor"
    leaves = {s.path for reads in results for r in reads for s in graph.leaves(r)} - {INPUT}
    made = f", made of what {' and '.join(sorted(leaves))} put out" if leaves else ""
    lines = [located(r[0].node) for r in results if r[0].node.op == "call_function"]
    return (
        f"{module} returns {shapes}{made}: {lines[0] if lines else 'a constant'}; it must return "
        "the spikes of one neuron layer, unpermuted: [T, B, C], [B, T, C] or their sum over time"
    )
