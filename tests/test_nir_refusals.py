"""NIR graphs that are refused, by the name of the node and the rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
from nir_graphs import (
    DT,
    FLAT,
    braille,
    cuba,
    f32,
    li,
    lif,
    spread,
    written,
)
from nir_imports import read

from l2mu_compile.errors import ModelError


def without(*names: str) -> Any:
    return lambda nodes, edges: (nodes, [e for e in edges if not set(e) & set(names)])


def replaced(**fresh: Any) -> Any:
    return lambda nodes, edges: (nodes | fresh, edges)


def joined(*more: tuple[str, str], **fresh: Any) -> Any:
    return lambda nodes, edges: (nodes | fresh, [*edges, *more])


def between(name: str, source: str, target: str, node: Any) -> Any:
    def change(nodes: dict[str, Any], edges: list[tuple[str, str]]) -> Any:
        rest = [e for e in edges if e != (source, target)]
        return nodes | {name: node}, [*rest, (source, name), (name, target)]

    return change


REFUSED = {
    "zero tau": (replaced(lif2=lif(4, tau=[1, 1, 0, 1])), "lif2 (LIF): tau is 0; a time constant"),
    "negative tau": (
        replaced(lif2=cuba(4, tau_syn=[1, -1, 1, 1])),
        "lif2 (CubaLIF): tau_syn is -1; a time constant is above 0",
    ),
    "small tau": (
        replaced(lif2=lif(4, tau=[1, 5e-5, 1, 1])),
        "lif2 (LIF): tau is 5e-05, less than a step of dt=0.0001: its decay would be negative",
    ),
    "endless tau": (
        replaced(lif2=lif(4, tau=np.inf, r=1)),
        "lif2 (LIF): tau is infinite, so that no current would count",
    ),
    "nan": (
        replaced(lif2=lif(4, threshold=[1, np.nan, 1, 1])),
        "lif2 (LIF): v_threshold holds NaN",
    ),
    "nan weight": (
        replaced(fc2=nir.Linear(f32(np.full((4, 9), np.nan)))),
        "fc2 (Linear): weight holds NaN",
    ),
    "nan bias": (
        replaced(fc2=nir.Affine(f32(np.ones((4, 9))), f32([1, np.nan, 1, 1]))),
        "fc2 (Affine): bias holds NaN",
    ),
    "threshold": (replaced(lif2=lif(4, threshold=0)), "lif2 (LIF): v_threshold is 0; neurons that"),
    "few parameters": (
        replaced(
            lif2=nir.IF(spread(1, 4), spread(1, 4), spread(0, 4)), fc2=nir.Linear(np.ones((5, 9)))
        ),
        "fc2 puts out 5 values, lif2 takes 4",
    ),
    "bias": (
        replaced(fc2=nir.Affine(f32(np.ones((4, 9))), f32([1, 1, 1]))),
        "fc2 (Affine): bias has 3 values for 4",
    ),
    "vector": (replaced(fc2=nir.Scale(f32(np.ones(4)))), "lif1.lif puts out 9 values, fc2 takes 4"),
    "input shape": (
        replaced(input=nir.Input(np.array([7]))),
        "input (Input): has shape [7], but its neighbours take it for 6 values",
    ),
    "v_reset": (
        replaced(lif2=cuba(4, v_reset=[0, 0, 0.5, 0])),
        "lif2 (CubaLIF): v_reset is 0.5, not the potential that membranes start at",
    ),
    "v_leak": (
        replaced(lif2=cuba(4, v_leak=[0, -0.25, 0, 0])),
        "lif2 (CubaLIF): v_leak is -0.25: membranes that drift from 0 by themselves are not",
    ),
    "cuba li": (
        replaced(lif2=nir.CubaLI(*(spread(1, 4) for _ in range(4)))),
        "lif2 (CubaLI): a leaky integrator with a synaptic current of its own is not supported",
    ),
    "integrator heard": (
        replaced(**{"lif1.lif": li(9)}),
        "hears lif1.lif, a leaky integrator, which has no spikes; it can only be read out",
    ),
    "cycle": (
        joined(
            ("a", "b"),
            ("b", "a"),
            ("fc1", "a"),
            ("b", "lif1.lif"),
            a=nir.Scale(np.ones(9)),
            b=nir.Scale(np.ones(9)),
        ),
        "a cycle without a neuron: ",
    ),
    "long delay": (
        between("d", "lif1.lif", "fc2", nir.Delay(np.full(9, 3 * DT))),
        "d (Delay): delays by 3 steps of dt=0.0001; none or one, the same for all, is supported",
    ),
    "no delays": (
        between("d", "fc2", "lif2", nir.Delay(np.zeros(0))),
        "d (Delay): delay holds nothing",
    ),
    "mixed delays": (
        between("d", "lif1.lif", "fc2", nir.Delay(np.r_[np.full(8, DT), 0])),
        "d (Delay): delays by ",
    ),
    "late input": (
        between("d", "input", "fc1", nir.Delay(np.full(6, DT))),
        "lif1.lif: hears input 1 steps late; one step is supported, and of spikes, not",
    ),
    "late constant": (
        between("d", "fc2", "lif2", nir.Delay(np.full(4, DT))),
        "d (Delay): a delayed constant would be 0 in the first step",
    ),
    "two inputs": (joined(("i", "fc1"), i=nir.Input(np.array([6]))), "2 Input nodes ("),
    "two outputs": (
        joined(("fc2", "o"), o=nir.Output(np.array([4]))),
        "2 Output nodes (",
    ),
    "nothing arrives": (without("input"), "fc1 (Affine): nothing leads to it"),
    "no way in": (joined(("a", "lif2"), a=lif(4)), "a (LIF): nothing leads to it"),
    "no way out": (joined(("lif1.lif", "a"), a=lif(9)), "a (LIF): leads nowhere"),
    "nowhere": (joined(("fc1", "elsewhere")), "an edge names elsewhere, which is no node"),
    "into the input": (joined(("fc2", "input")), "input: an Input node with an edge to it"),
    "out of the output": (joined(("output", "fc2")), "output: an Output node with an edge from it"),
    "too large": (
        replaced(lif2=lif(4, r=3e38), fc2=nir.Linear(np.full((4, 9), 1e30))),
        "lif2: weights too large for float32",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_the_node_and_the_rule(tmp_path: Path, name: str) -> None:
    change, expected = REFUSED[name]
    path = written(tmp_path / "bad.nir", *change(braille(), list(FLAT)))
    with pytest.raises(ModelError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
