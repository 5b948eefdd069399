"""The kernel calls that keep scores and read a decision off them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from l2mu_compile.draft import Draft
from l2mu_compile.network import Network
from l2mu_compile.program import Argument, Call, Constant, Place
from l2mu_compile.scores import LOWEST_F32

_SCORE = Place("score")
_MEMBRANE_KERNELS = {"last_membrane": "copy", "max_membrane": "maximum", "mean_membrane": "sum"}


@dataclass(frozen=True)
class ReadoutCalls:
    """``reset`` begins a window, ``score`` takes what the population read from did in a step,
    ``classify`` decides, and ``decided`` tells whether more steps are needed (None: always)."""

    reset: tuple[Call, ...]
    score: Call
    classify: Call
    decided: Call | None


def readout_calls(draft: Draft) -> ReadoutCalls:
    """The calls of the network's readout; its margins become a constant."""
    network = draft.network
    early = _early(draft)
    return ReadoutCalls(
        reset=_reset(network),
        score=_score(network, early),
        classify=_readout_call(f"argmax_{_numbers(network)}", _SCORE, network.classes),
        decided=_readout_call("decided_i32", *early) if early else None,
    )


def _early(draft: Draft) -> tuple[Argument, ...]:
    """What tells whether a window is decided: scores, and the margin of each. None: nothing."""
    readout, classes = draft.network.readout, draft.network.classes
    if readout.margins is None:
        return ()
    margins = np.array(readout.margins, dtype=np.int32)
    return _SCORE, classes, Constant(draft.store(f"{readout.population}_margin", margins))


def _reset(network: Network) -> tuple[Call, ...]:
    """Scores start at zero unless it is said here."""
    if network.readout.rule != "max_membrane":
        return ()
    lowest = -(2**31) if network.quantized else float(LOWEST_F32)
    return (_readout_call(f"fill_{_numbers(network)}", _SCORE, network.classes, lowest),)


def _score(network: Network, early: tuple[Argument, ...]) -> Call:
    readout = network.readout
    if readout.rule == "spike_count":
        spikes = Place(f"{readout.population}_spikes")
        if early:
            return _readout_call("count_undecided_i32", *early, spikes)
        return _readout_call("count_spikes", _SCORE, spikes)
    kernel = f"{_MEMBRANE_KERNELS[readout.rule]}_{_numbers(network)}"
    membrane = Place(f"{readout.population}_membrane")
    return _readout_call(kernel, _SCORE, network.classes, membrane)


def _numbers(network: Network) -> str:
    """What scores are: ``f32``, or integers of so many bits."""
    if network.readout.rule == "spike_count":
        return "i32"
    if not network.quantized:
        return "f32"
    return "i64" if network.readout.rule == "mean_membrane" else "i32"


def _readout_call(kernel: str, *arguments: Argument) -> Call:
    return Call(f"l2mu_{kernel}", arguments, "readout")
