"""NIR's neurons as populations: what their equations become in one step of time.

One function for each kind of node. What a `Population` has no field for goes into what leads to it:
a gain into its weights, a leak potential into its bias or its threshold, a reset potential that is
not the resting one into synapses from each neuron to itself (see `Cell`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.errors import ModelError
from l2mu_compile.neurons import LI, LIF, RESETS, CuBaLIF, Neuron
from l2mu_compile.nir_file import NirNode
from l2mu_compile.nir_graph import shown
from l2mu_compile.nir_reading import Gain, Reading

# Exporters divide and readers multiply by the same numbers, in float32: this close to 1 is 1.
GAIN_TOLERANCE = 2.0**-20
# Parameters of a kind of node, but for those that may be missing.
FIELDS = {
    "LIF": ("tau", "r", "v_leak", "v_threshold", "v_reset"),
    "CubaLIF": ("tau_mem", "tau_syn", "r", "v_leak", "v_threshold", "v_reset", "w_in"),
    "IF": ("r", "v_threshold", "v_reset"),
    "LI": ("tau", "r", "v_leak"),
    "CubaLI": ("tau_mem", "tau_syn", "r", "v_leak", "w_in"),
    "I": ("r",),
    "Threshold": ("threshold",),
}
_OPTIONAL = {"v_reset": 0.0, "w_in": 1.0}
_MAY_BE_INFINITE = ("tau", "tau_mem", "tau_syn", "r", "w_in")


@dataclass(frozen=True, eq=False)
class Cell:
    """A node's neurons: ``neuron``, and per neuron (float64 ``[n]``) what its currents are
    multiplied with (``gain``), a constant current (``drive``), and what a spike adds to the
    membrane of the next step besides its reset (``echo``)."""

    neuron: Neuron
    gain: NDArray
    drive: NDArray
    echo: NDArray


def cell(node: NirNode, name: str, size: int, read: Reading) -> Cell:
    """The neurons of a node with ``size`` of them. Raises `ModelError` naming node and rule."""
    parameters = _Parameters(node, name, size, _with_reset(node, name, read))
    return _KINDS[node.kind](parameters)


def _with_reset(node: NirNode, name: str, read: Reading) -> Reading:
    """``read`` with what the node's own metadata says of its reset."""
    said = node.metadata.get("reset")
    if said is None or read.overrides:
        return read
    if not isinstance(said, str) or said not in RESETS:
        raise ModelError(f"{shown(name)}: its metadata says another reset than {', '.join(RESETS)}")
    return replace(read, reset=said)


class _Parameters:
    """A node's parameters, checked, one value per neuron."""

    def __init__(self, node: NirNode, name: str, size: int, read: Reading) -> None:
        self.node, self.name, self.size, self.read = node, name, size, read

    def refuse(self, problem: str) -> ModelError:
        return ModelError(f"{shown(self.name)} ({self.node.kind}): {problem}")

    def __getitem__(self, field: str) -> NDArray:
        found = self.node.fields.get(field, _OPTIONAL.get(field))
        if found is None or isinstance(found, str):
            raise self.refuse(f"has no {field}")
        values = np.asarray(found)
        if values.size not in (1, self.size):
            raise self.refuse(f"{field} has shape {list(values.shape)} for {self.size} neurons")
        limit = np.inf if field in _MAY_BE_INFINITE else np.finfo(np.float32).max
        if np.isnan(values).any() or (np.abs(values) > limit).any():
            raise self.refuse(f"{field} holds NaN or infinity")
        return np.broadcast_to(values.reshape(-1), self.size)

    def tau(self, field: str) -> NDArray:
        values = self[field]
        if (values <= 0).any():
            raise self.refuse(f"{field} is {values.min():g}; a time constant is above 0")
        return values

    def decay(self, field: str, rule: Callable[[NDArray, float], NDArray]) -> NDArray:
        values = self.tau(field)
        decay = rule(values, self.read.dt)
        if (decay < -GAIN_TOLERANCE).any():
            raise self.refuse(
                f"{field} is {values.min():g}, less than a step of dt={self.read.dt:g}: its decay "
                "would be negative (--nir dt=...)"
            )
        return np.maximum(decay, 0)

    def gain(self, rule: Gain, tau: str, factor: str) -> NDArray:
        """What currents are multiplied with, and exactly 1 where it is meant to be."""
        gain = rule(self[tau], self[factor], self.read.dt)
        if not np.isfinite(gain).all():
            raise self.refuse(f"{factor} is infinite where {tau} is not")
        if (np.isinf(self[tau]) & (gain == 0)).any():
            raise self.refuse(f"{tau} is infinite, so that no current would count")
        return np.where(np.abs(gain - 1) <= GAIN_TOLERANCE, 1.0, gain)

    def number(self, name: str, values: NDArray) -> NDArray:
        """float32, and a scalar where all neurons have the same."""
        with np.errstate(over="ignore"):
            rounded = np.asarray(values, dtype=np.float32)
        if not np.isfinite(rounded).all():
            raise self.refuse(f"{name} is too large for float32")
        return rounded[0] if (rounded == rounded[0]).all() else rounded

    def threshold(self, field: str, rest: NDArray) -> NDArray:
        """Thresholds above the potential that membranes are counted from."""
        values = self[field] - rest
        if not (values > 0).all():
            below = f" above v_leak={rest.max():g}" if rest.any() else ""
            raise self.refuse(
                f"{field} is {self[field].min():g}{below}; neurons that spike without input are "
                "not supported"
            )
        return self.number(field, values)


def _lif(p: _Parameters) -> Cell:
    beta = p.decay("tau", p.read.producer.decay)
    gain = p.gain(p.read.producer.lif_gain, "tau", "r")
    return _resetting(p, beta, gain, p["v_leak"])


def _if(p: _Parameters) -> Cell:
    return _resetting(p, np.ones(p.size), p["r"].copy(), np.zeros(p.size))


def _resetting(p: _Parameters, beta: NDArray, gain: NDArray, leak: NDArray) -> Cell:
    """A LIF whose membranes are counted from where they start."""
    rest = leak if p.read.start == "leak" else np.zeros(p.size)
    reset = "zero" if p.read.reset == "clamp" else p.read.reset
    neuron = LIF(p.number("tau", beta), p.threshold("v_threshold", rest), reset)
    # What is subtracted is the threshold as it stands, not from where membranes are counted.
    echoes = {
        "zero": beta * (p["v_reset"] - rest),
        "subtract": -rest,
        "subtract_first": -beta * rest,
    }
    echo = echoes.get(reset, np.zeros(p.size))
    return Cell(neuron, gain, (1 - beta) * (leak - rest), echo)


def _cuba_lif(p: _Parameters) -> Cell:
    producer = p.read.producer
    leak, back = p["v_leak"], p["v_reset"]
    rest = leak if p.read.start == "leak" else np.zeros(p.size)
    if (leak != rest).any():
        raise p.refuse(
            f"v_leak is {leak[np.argmax(np.abs(leak))]:g}: membranes that drift from 0 by "
            "themselves are not supported where there is a synaptic current; they may start at "
            "v_leak (--nir start=leak)"
        )
    if p.read.reset in ("subtract", "subtract_first") and rest.any():
        raise p.refuse(
            "v_leak is not 0: membranes that start there cannot be reset by subtraction where "
            "there is a synaptic current"
        )
    if p.read.reset in ("zero", "clamp") and (back != rest).any():
        raise p.refuse(
            f"v_reset is {back[np.argmax(np.abs(back - rest))]:g}, not the potential that "
            "membranes start at, which is not supported where there is a synaptic current"
        )
    neuron = CuBaLIF(
        p.number("tau_syn", p.decay("tau_syn", producer.decay)),
        p.number("tau_mem", p.decay("tau_mem", producer.decay)),
        p.threshold("v_threshold", rest),
        p.read.reset,
    )
    gain = p.gain(producer.membrane_gain, "tau_mem", "r")
    gain = gain * p.gain(producer.synapse_gain, "tau_syn", "w_in")
    return Cell(neuron, gain, np.zeros(p.size), np.zeros(p.size))


def _li(p: _Parameters) -> Cell:
    beta = p.decay("tau", p.read.producer.decay)
    gain = p.gain(p.read.producer.li_gain, "tau", "r")
    return _integrating(p, beta, gain, p["v_leak"])


def _i(p: _Parameters) -> Cell:
    return _integrating(p, np.ones(p.size), p["r"].copy(), np.zeros(p.size))


def _cuba_li(p: _Parameters) -> Cell:
    """A current that is gone after a step is no state, so that a leaky integrator is left."""
    producer = p.read.producer
    if p.decay("tau_syn", producer.decay).any():
        raise p.refuse("a leaky integrator with a synaptic current of its own is not supported")
    gain = p.gain(producer.membrane_gain, "tau_mem", "r")
    gain = gain * p.gain(producer.synapse_gain, "tau_syn", "w_in")
    return _integrating(p, p.decay("tau_mem", producer.decay), gain, p["v_leak"])


def _integrating(p: _Parameters, beta: NDArray, gain: NDArray, leak: NDArray) -> Cell:
    if p.read.start == "leak" and leak.any():
        raise p.refuse("v_leak is not 0: membranes that are read out start at 0 (--nir start=zero)")
    return Cell(LI(p.number("tau", beta)), gain, (1 - beta) * leak, np.zeros(p.size))


def _threshold(p: _Parameters) -> Cell:
    """No state: a neuron that forgets its membrane in a step and is not reset."""
    nothing = np.zeros(p.size)
    neuron = LIF(np.array(0, np.float32), p.threshold("threshold", nothing), "none")
    return Cell(neuron, np.ones(p.size), nothing, nothing)


_KINDS = {
    "LIF": _lif,
    "CubaLIF": _cuba_lif,
    "IF": _if,
    "LI": _li,
    "CubaLI": _cuba_li,
    "I": _i,
    "Threshold": _threshold,
}
