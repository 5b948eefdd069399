"""Instrument: one custom op stands for one neuron update.

While a module is traced, the ``forward`` of its snnTorch neurons keeps snnTorch's bookkeeping of
hidden and passed states but computes, instead of the neuron's arithmetic, one op::

    l2mu::lif(current, membrane, name)                 -> (spikes, membrane)
    l2mu::cuba_lif(current, synaptic, membrane, name)  -> (spikes, synaptic, membrane)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import snntorch
import torch
from torch import Tensor

from l2mu_compile.errors import ModelError

_LIBRARY = torch.library.Library("l2mu", "DEF")
_LIBRARY.define("lif(Tensor current, Tensor membrane, str name) -> (Tensor, Tensor)")
_LIBRARY.define(
    "cuba_lif(Tensor current, Tensor synaptic, Tensor membrane, str name)"
    " -> (Tensor, Tensor, Tensor)"
)


def _shapes(current: Tensor, *state: Any) -> tuple[Tensor, ...]:
    """What an update returns, without numbers; ``state`` ends with the name of the neuron."""
    return tuple(torch.empty_like(current) for _ in state)


_LIBRARY.impl("lif", _shapes, "Meta")
_LIBRARY.impl("cuba_lif", _shapes, "Meta")


class Meter:
    """Stands in for the neurons' ``forward``: counts updates and notes the shape of the current.

    An update is an op of this library while ``recording``, else zeros. Only attributes of the
    neurons are set; whoever makes a meter puts them back.
    """

    def __init__(self, neurons: dict[str, Any]) -> None:
        self.calls: Counter[str] = Counter()
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.batch = 0
        self.recording = False
        for path, neuron in neurons.items():
            leaky = isinstance(neuron, snntorch.Leaky)
            forward = _leaky_forward if leaky else _synaptic_forward
            neuron.__dict__["_unit_spikes"] = bool((neuron.graded_spikes_factor == 1).all())
            neuron.__dict__["forward"] = forward(neuron, path, self)
            for state in ("mem",) if leaky else ("syn", "mem"):
                neuron._buffers[state] = torch.zeros(0, device=neuron._buffers[state].device)

    def start(self, batch: int, recording: bool = False) -> None:
        """Forget earlier counts; updates from now on see ``batch`` windows."""
        self.calls, self.shapes = Counter(), {}
        self.batch, self.recording = batch, recording

    def update(self, path: str, current: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """One neuron update: spikes and new state."""
        self.calls[path] += 1
        if current.ndim < 2 or current.shape[0] != self.batch:
            raise ModelError(
                f"{path} receives a current of shape {list(current.shape)} for a batch of "
                f"{self.batch}; one step's current must be [batch, neurons], and forward must loop "
                "over the steps"
            )
        shape = tuple(map(int, current.shape[1:]))
        if self.shapes.setdefault(path, shape) != shape:
            raise ModelError(f"{path} receives currents of different shapes")
        if not self.recording:
            return (torch.zeros_like(current),) * (1 + len(state))
        op = torch.ops.l2mu.lif if len(state) == 1 else torch.ops.l2mu.cuba_lif
        return op(current, *state, path)


def _leaky_forward(neuron: Any, path: str, meter: Meter) -> Callable[..., Any]:
    def forward(input_: Tensor, mem: Tensor | None = None) -> Any:
        _take_state(neuron, input_, mem=mem)
        spikes, neuron.mem = meter.update(path, input_, neuron.mem)
        return _result(neuron, spikes, neuron.mem)

    return forward


def _synaptic_forward(neuron: Any, path: str, meter: Meter) -> Callable[..., Any]:
    def forward(input_: Tensor, syn: Tensor | None = None, mem: Tensor | None = None) -> Any:
        _take_state(neuron, input_, syn=syn, mem=mem)
        spikes, neuron.syn, neuron.mem = meter.update(path, input_, neuron.syn, neuron.mem)
        return _result(neuron, spikes, neuron.syn, neuron.mem)

    return forward


def _take_state(neuron: Any, current: Tensor, **states: Tensor | None) -> None:
    """snnTorch's rules: a state that is passed replaces the hidden one; a misshapen one is zero."""
    for name, state in states.items():
        if state is not None:
            if neuron.init_hidden:
                raise TypeError(f"`{name}` should not be passed while `init_hidden=True`")
            setattr(neuron, name, state)
        if getattr(neuron, name).shape != current.shape:
            zeros = torch.zeros(current.shape, dtype=current.dtype, device=current.device)
            setattr(neuron, name, zeros)


def _result(neuron: Any, spikes: Tensor, *state: Tensor) -> Any:
    if not neuron._unit_spikes:
        spikes = spikes * neuron.graded_spikes_factor
    return spikes if neuron.init_hidden and not neuron.output else (spikes, *state)


def uneven_updates(calls: Mapping[str, int], steps: int) -> ModelError:
    """The error of a window in which some neuron was not updated once per step."""
    path, count = next((p, n) for p, n in calls.items() if n != steps)
    return ModelError(
        f"{path} is updated {count} times in a window of {steps} steps; "
        "every neuron must be updated exactly once per step"
    )
