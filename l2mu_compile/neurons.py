"""Neuron models: the dynamics a population may have, as immutable records of their parameters.

Notation of every docstring here: ``v`` membrane, ``syn`` synaptic current, ``I`` summed input
current of this step, ``r`` reset flag (1 where last step's membrane was above threshold, that is
where the neuron spiked last step), ``s`` this step's spike. All quantities are per neuron and
per time step; membranes, currents and thresholds share one arbitrary unit.

Parameters are float32 in a float network. In a quantized one ``beta`` and ``alpha`` are int32 in
Q15 (32768 stands for 1.0) and ``threshold`` is int32. Each is a scalar (0-d array) or holds one
value per neuron (1-d array).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from l2mu_compile.values import Value, frozen_array

RESETS = ("subtract", "subtract_first", "zero", "clamp", "none")


@dataclass(frozen=True, eq=False)
class LIF(Value):
    """Leaky integrate-and-fire neuron, snnTorch's ``Leaky`` with its delayed reset.

    ::

        v = beta * v - threshold * r + I        reset = subtract
        v = beta * (v - threshold * r) + I      reset = subtract_first
        v = beta * v * (1 - r) + I              reset = zero
        v = beta * v + I                        reset = none
        s = 1 where v > threshold, else 0

    Source: snnTorch 1.0, ``Leaky._base_sub``, ``_base_zero``, ``_base_int``; Fra et al. 2024,
    arXiv 2407.04076. An integrate-and-fire neuron is a LIF with ``beta = 1``. ``subtract_first`` is
    the reset within the step of a spike that NIR, Norse, Sinabs and Rockpool know.
    """

    kind: ClassVar[str] = "lif"
    resets: ClassVar[tuple[str, ...]] = ("subtract", "subtract_first", "zero", "none")
    decays: ClassVar[tuple[str, ...]] = ("beta",)

    beta: NDArray
    threshold: NDArray
    reset: str = "subtract"

    def __post_init__(self) -> None:
        freeze(self, *parameter_names(self))


@dataclass(frozen=True, eq=False)
class CuBaLIF(Value):
    """Current-based leaky integrate-and-fire neuron, snnTorch's ``Synaptic``.

    ::

        syn = alpha * syn + I
        v = beta * v - threshold * r + syn      reset = subtract
        v = beta * (v - threshold * r) + syn    reset = subtract_first
        v = beta * v * (1 - r) + syn            reset = zero
        v = (beta * v + syn) * (1 - r)          reset = clamp
        v = beta * v + syn                      reset = none
        s = 1 where v > threshold, else 0

    snnTorch's ``Synaptic(reset_mechanism="zero")`` is ``clamp`` here: its ``_base_zero`` holds the
    membrane at zero for the whole step after a spike, input included. ``zero`` is the rule that
    ``Leaky`` follows.

    Source: snnTorch 1.0, ``Synaptic._base_sub``, ``_base_zero``, ``_base_int``.
    """

    kind: ClassVar[str] = "cuba_lif"
    resets: ClassVar[tuple[str, ...]] = RESETS
    decays: ClassVar[tuple[str, ...]] = ("alpha", "beta")

    alpha: NDArray
    beta: NDArray
    threshold: NDArray
    reset: str = "subtract"

    def __post_init__(self) -> None:
        freeze(self, *parameter_names(self))


@dataclass(frozen=True, eq=False)
class LI(Value):
    """Leaky integrator, read by its membrane: ``v = beta * v + I``; it never spikes."""

    kind: ClassVar[str] = "li"
    resets: ClassVar[tuple[str, ...]] = ("none",)
    decays: ClassVar[tuple[str, ...]] = ("beta",)
    threshold: ClassVar[NDArray] = frozen_array(np.array(np.inf, dtype=np.float32))

    beta: NDArray
    reset: str = "none"

    def __post_init__(self) -> None:
        freeze(self, *parameter_names(self))


Neuron = LIF | CuBaLIF | LI

NEURONS: dict[str, type] = {neuron.kind: neuron for neuron in (LIF, CuBaLIF, LI)}


def parameter_names(neuron: type | Neuron) -> tuple[str, ...]:
    """Names of a neuron's numeric parameters, in the order its text form prints them."""
    return tuple(f.name for f in fields(neuron) if f.name != "reset")


def spikes_of(neuron: Neuron, membrane: NDArray) -> NDArray:
    """Boolean spikes of ``membrane`` (neurons on its last axis)."""
    return membrane > neuron.threshold


def freeze(value: Value, *names: str) -> None:
    """Make these fields of a frozen dataclass, but for those that are None, parameter arrays."""
    for name in names:
        if getattr(value, name) is not None:
            object.__setattr__(value, name, parameter_array(getattr(value, name)))


def parameter_array(value: ArrayLike) -> NDArray:
    """A read-only 0-d or 1-d array: float32 for floating values, int32 for integers."""
    array = np.asarray(value)
    dtype = np.int32 if np.issubdtype(array.dtype, np.integer) else np.float32
    return frozen_array(array.astype(dtype))
