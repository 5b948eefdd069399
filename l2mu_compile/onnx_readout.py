"""How a decision is read, as ONNX nodes: scores that are kept from step to step."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from l2mu_compile.network import Network
from l2mu_compile.onnx_nodes import Nodes, State
from l2mu_compile.scores import LOWEST_F32

SCORES, DECIDED, NEEDED = "readout.scores", "readout.decided", "readout.needed"
LOWEST_I32 = -(2**31)


def add_readout(nodes: Nodes, network: Network) -> tuple[list[State], str]:
    """States of the readout, and the name of the state that decides at the end of a window.

    Scores are int32, but float32 where they are membranes of floats, and int64 where they are sums
    of integer membranes. Margins add two states: whether a window was decided, and in how many
    steps.
    """
    name, rule = network.readout.population, network.readout.rule
    membrane = f"{name}.membrane.next"
    if rule == "last_membrane":
        return [], f"{name}.membrane"
    scores = State(SCORES, _score_type(network), network.classes, "scores", _start(network))
    if rule == "max_membrane":
        nodes.add("Max", [SCORES, membrane], scores.after)
    elif rule == "mean_membrane":
        term = nodes.cast(membrane, scores.dtype, "readout/membrane")
        nodes.add("Add", [SCORES, term], scores.after)
    elif network.readout.margins is None:
        nodes.add("Add", [SCORES, _counted(nodes, name)], scores.after)
    else:
        return [scores, *_decide_early(nodes, network, scores)], SCORES
    return [scores], SCORES


def _score_type(network: Network) -> DTypeLike:
    if network.readout.rule == "spike_count":
        return np.int32
    if not network.quantized:
        return np.float32
    return np.int64 if network.readout.rule == "mean_membrane" else np.int32


def _start(network: Network) -> Any:
    if network.readout.rule != "max_membrane":
        return 0
    return LOWEST_I32 if network.quantized else float(LOWEST_F32)


def _counted(nodes: Nodes, name: str) -> str:
    return nodes.cast(f"{name}.spikes", np.int32, "readout/spikes")


def _decide_early(nodes: Nodes, network: Network, scores: State) -> list[State]:
    """Once a class is ahead of all others by its margin, scores stay as they are."""
    decided = State(DECIDED, np.bool_, 1, "whether a class leads by its margin")
    needed = State(NEEDED, np.int32, 1, "steps until then")
    open_still = nodes.add("Not", [DECIDED], "readout/open")
    step = nodes.cast(open_still, np.int32, "readout/step")
    nodes.add("Add", [NEEDED, step], needed.after)
    spikes = _counted(nodes, network.readout.population)
    counted = nodes.add("Mul", [spikes, step], "readout/counted")
    nodes.add("Add", [SCORES, counted], scores.after)
    margins = nodes.constant("readout/margins", network.readout.margins or (), np.int32)
    leads = _leads(nodes, scores.after, network.classes)
    ahead = nodes.add("GreaterOrEqual", [leads, margins], "readout/ahead")
    number = nodes.cast(ahead, np.int32, "readout/ahead/number")
    any_ahead = nodes.add("ReduceMax", [number], "readout/any", axes=[1])
    nodes.cast(any_ahead, np.bool_, decided.after)
    return [decided, needed]


def _leads(nodes: Nodes, scores: str, classes: int) -> str:
    """How far each class is ahead of the best other one; 0 for one alone."""
    if classes == 1:
        return nodes.add("Sub", [scores, scores], "readout/leads")
    two = nodes.constant("readout/two", [2], np.int64)
    top = nodes.add("TopK", [scores, two], "readout/top", "readout/places", axis=1)
    best, second = (_column(nodes, top, place) for place in (0, 1))
    leading = nodes.add("Equal", [scores, best], "readout/leading")
    other = nodes.add("Where", [leading, second, best], "readout/other")
    return nodes.add("Sub", [scores, other], "readout/leads")


def _column(nodes: Nodes, values: str, place: int) -> str:
    where = nodes.constant(f"readout/place/{place}", [place], np.int64)
    return nodes.add("Gather", [values, where], f"readout/top/{place}", axis=1)
