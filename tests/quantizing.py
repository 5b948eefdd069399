"""Networks as `quantize` takes them, and the kinds of weights it makes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from l2mu_compile.network import Network
from l2mu_compile.passbase import Context
from l2mu_compile.passes.fold_input import FoldInput

KINDS: list[dict[str, Any]] = [
    {"bits": 8, "decay": "shift"},
    {"bits": 4},
    {"bits": 4, "weights": "shift"},
    {"bits": 2},
]


def folded(network: Network) -> Network:
    return FoldInput().apply(network, Context())


def calibrated(network: Network, reach: float) -> Network:
    network = folded(network)
    return network.replace(input=replace(network.input, low=-reach, high=reach))
