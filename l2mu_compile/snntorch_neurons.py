"""snnTorch's neuron modules: which are supported, and the dynamics their parameters state.

Whatever changes what a neuron computes and has no counterpart in `l2mu_compile.neurons` is refused
here, by the path of the module and the option to change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import snntorch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from l2mu_compile.errors import ModelError
from l2mu_compile.neurons import LIF, CuBaLIF, Neuron


@dataclass(frozen=True, eq=False)
class NeuronRecord:
    """One snnTorch neuron module of the traced model.

    ``path`` is its place in the module, ``shape`` the shape of its current without the batch axis,
    ``neuron`` its dynamics with float32 parameters, scalar or one per neuron (flattened).
    """

    path: str
    shape: tuple[int, ...]
    neuron: Neuron


def neuron_modules(module: nn.Module) -> dict[str, nn.Module]:
    """Paths and modules of all snnTorch neurons; refuses those that are not supported."""
    found = {}
    for path, child in module.named_modules():
        snn = any(c.__module__.startswith("snntorch._neurons") for c in type(child).__mro__)
        if snn and not type(child).__name__.startswith("RecurrentOneToOne"):
            _check_supported(path or "the module", child)
            found[path] = child
    if not found:
        raise ModelError(
            f"{type(module).__name__} has no snnTorch neurons; "
            "its spiking layers must be snntorch.Leaky or snntorch.Synaptic"
        )
    return found


def _check_supported(path: str, neuron: Any) -> None:
    kind = type(neuron)
    base = next((b for b in (snntorch.Leaky, snntorch.Synaptic) if isinstance(neuron, b)), None)
    methods = ("forward", "fire", "mem_reset", "reset_mem", "_base_state_function")
    if base is None or any(getattr(kind, name) is not getattr(base, name) for name in methods):
        raise ModelError(
            f"{path} is a {kind.__name__}, which is not supported; use Leaky or Synaptic"
        )
    replaced = [name for name in vars(neuron) if callable(getattr(base, name, None))]
    rule = getattr(neuron, "state_function", None)
    own = getattr(base, getattr(rule, "__name__", ""), None)
    if replaced or getattr(rule, "__func__", None) is not own:
        what = replaced[0] if replaced else "state_function"
        raise ModelError(f"{path}.{what} is not snnTorch's own, which is not supported")
    for option, refused in (("inhibition", True), ("state_quant", True), ("reset_delay", False)):
        value = getattr(neuron, option, not refused)
        if bool(value) is refused:
            shown = value if isinstance(value, bool) else "..."
            raise ModelError(f"{path} uses {option}={shown}, which is not supported; train without")
    probe = torch.tensor([[-1e3, -1.0, -1e-3, 0.0, 1e-3, 1.0, 1e3]])
    with torch.no_grad():
        spikes = neuron.spike_grad(probe)
    if not torch.equal(spikes.float(), (probe > 0).float()):
        raise ModelError(f"{path} has a spike_grad whose forward is not a step at zero")


def _reset_rule(path: str, neuron: Any) -> str:
    """The reset its forward really follows: the state function is fixed when a neuron is built."""
    rules = {"_base_sub": "subtract", "_base_zero": "zero", "_base_int": "none"}
    name = getattr(neuron.state_function, "__name__", "")
    if name not in rules:
        raise ModelError(f"{path} has a state function of its own ({name}), which is not supported")
    if isinstance(neuron, snntorch.Synaptic) and rules[name] == "zero":
        return "clamp"
    return rules[name]


def neuron_record(path: str, module: Any, shape: tuple[int, ...]) -> NeuronRecord:
    cuba = isinstance(module, snntorch.Synaptic)
    names = ("alpha", "beta", "threshold") if cuba else ("beta", "threshold")
    values = {name: _parameter(path, name, getattr(module, name), shape) for name in names}
    factor = module.graded_spikes_factor
    if factor.numel() != 1 or not bool(torch.isfinite(factor).all() and factor.all()):
        raise ModelError(f"{path}.graded_spikes_factor must be one finite number, not zero")
    kind = CuBaLIF if cuba else LIF
    return NeuronRecord(path, shape, kind(**values, reset=_reset_rule(path, module)))


def _parameter(path: str, name: str, tensor: Tensor, shape: tuple[int, ...]) -> NDArray:
    """A neuron parameter as a float32 scalar, or one value per neuron of ``shape`` flattened."""
    array = tensor.detach().cpu().to(torch.float32).numpy()
    if not np.isfinite(array).all():
        raise ModelError(f"{path}.{name} holds values that are not finite")
    if name == "threshold":
        if (array <= 0).any():
            raise ModelError(
                f"{path}.threshold must be positive, not {array.min():g}: "
                "such a neuron spikes without input, which is not supported"
            )
    elif (array < 0).any() or (array > 1).any():
        worst = array.min() if (array < 0).any() else array.max()
        raise ModelError(
            f"{path}.{name} must be between 0 and 1, not {worst:g}; snnTorch clamps it in every "
            f"step: clamp what is stored, {path}.{name}.data.clamp_(0, 1)"
        )
    if array.size == 1:
        return array.reshape(())
    trimmed = array[0] if array.ndim == len(shape) + 1 and array.shape[0] == 1 else array
    try:
        return np.broadcast_to(trimmed, shape).reshape(-1)
    except ValueError:
        raise ModelError(
            f"{path}.{name} has shape {list(array.shape)}, but its current has "
            f"{list(shape)} neurons; give one value or one per neuron"
        ) from None
