"""An L2MU's configuration, inferred from its tensors and the hyper-parameters beside them.

Sizes are those of the tensors. A neuron's dynamics are its tensors (``spk_u.beta``) or, where the
state_dict has none, hyper-parameters (``beta_spk_u``): the published single encoder keeps its
neurons in a plain list, which no state_dict sees.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from l2mu_compile.errors import ModelError
from l2mu_compile.hyperparameters import HyperParameters, as_number
from l2mu_compile.l2mu import IMU_CHANNELS, RESETS, L2MUConfig, NeuronParameters, channel_names
from l2mu_compile.tensor_files import Tensors, shown

DYNAMICS = ("beta", "threshold", "alpha")
RESET = "reset_mechanism_val"
BIASES = ("bias_x", "bias_h", "bias_m")

_SINGLE, _STACKED = "input_encoder.pop_encoder_list", "input_encoder.hidden_encoder_list"


def infer_config(tensors: Tensors, hyper: HyperParameters, theta: float) -> L2MUConfig:
    """The configuration of the L2MU whose tensors these are, under raw names.

    Raises `ModelError` for missing or mis-shaped tensors and for dynamics that are stated nowhere.
    """
    memory_size, encoded = _matrix(tensors, "e_x")
    _, hidden_size = _matrix(tensors, "e_h")
    order, columns = _matrix(tensors, "A")
    if order != columns:
        raise ModelError(f"key 'A' has shape {[order, columns]}; expected a square matrix")
    classes, _ = _matrix(tensors, "output_transformation.weight")
    encoder, inputs, sizes = _encoder(tensors, encoded)
    shape = L2MUConfig(
        inputs=inputs,
        classes=classes,
        hidden_size=hidden_size,
        memory_size=memory_size,
        order=order,
        theta=theta,
        encoder=encoder,
        bias=any(name in tensors for name in BIASES),
        **sizes,
    )
    shape = replace(shape, neuron=_neuron_type(shape, tensors, hyper))
    neurons = {
        population: _neuron(shape, population, path, tensors, hyper)
        for population, path in neuron_paths(shape).items()
    }
    return replace(shape, neurons=neurons, reset=_reset(neurons, hyper))


def neuron_paths(config: L2MUConfig) -> dict[str, str]:
    """Where each population's neuron lies in the state_dict, by its hyper-parameter name."""
    paths = {name: f"spk_{name}" for name in ("u", "m", "h", "output")}
    if config.encoder == "plain":
        return paths
    stem = "spk_pop_encoder_list" if config.encoder == "single" else "spk_hidden_encoder_list"
    for index, channel in enumerate(channel_names(config.inputs)):
        paths[channel] = f"input_encoder.{stem}.{index}"
    if config.encoder == "stacked":
        paths |= {name: f"input_encoder.spk_{name}" for name in ("encoder", "decoder")}
    return paths


def assumptions(config: L2MUConfig, hyper: HyperParameters) -> list[str]:
    """Lines on what was assumed: where hyper-parameters say otherwise, and where nothing does."""
    notes = []
    for name, size in _stated_sizes(config).items():
        if name in hyper and as_number(hyper[name]) != size:
            notes.append(f"{name} is {size}, as the tensors say, not {shown(hyper[name])}")
    silent = [name for name, neuron in config.neurons.items() if neuron.reset is None]
    if silent and config.reset != "subtract" and "reset_mechanism" not in hyper:
        notes.append(
            f"reset of {', '.join(silent)} taken to be that of all other neurons, {config.reset!r} "
            "(hyper-parameter reset_mechanism)"
        )
    return notes


def _stated_sizes(config: L2MUConfig) -> dict[str, int]:
    sizes = {
        "num_inputs": config.inputs,
        "num_outputs": config.classes,
        "hidden_size": config.hidden_size,
        "memory_size": config.memory_size,
        "order": config.order,
    }
    if config.encoder != "plain":
        sizes["pop_size"] = config.pop_size
    if config.encoder == "stacked":
        sizes["encoding_size"] = config.encoding_size
        sizes["output_transformer_size"] = config.output_transformer_size
    return sizes


def _encoder(tensors: Tensors, encoded: int) -> tuple[str, int, dict[str, Any]]:
    """(encoder, input channels, sizes of its layers)."""
    encoder, inputs = "plain", encoded
    sizes: dict[str, Any] = {}
    for name, stem in (("single", _SINGLE), ("stacked", _STACKED)):
        if f"{stem}.0.weight" in tensors:
            channels = (key for key in tensors if key.startswith(f"{stem}."))
            encoder, inputs = name, len({key[len(stem) + 1 :].split(".")[0] for key in channels})
            sizes["pop_size"] = _matrix(tensors, f"{stem}.0.weight")[0]
    if encoder == "stacked":
        sizes["encoding_size"] = _matrix(tensors, "input_encoder.encoder.weight")[0]
        sizes["output_transformer_size"] = _matrix(tensors, "input_encoder.decoder.weight")[0]
    return encoder, inputs, sizes


def _matrix(tensors: Tensors, name: str) -> tuple[int, int]:
    if name not in tensors:
        hint = "; if A and B are no buffers of the model, add them before saving"
        raise ModelError(f"missing key {name!r}{hint if name == 'A' else ''}")
    shape = tuple(tensors[name].shape)
    if len(shape) != 2 or 0 in shape:
        raise ModelError(f"key {name!r} has shape {list(shape)}; expected a matrix")
    return shape


def _neuron_type(config: L2MUConfig, tensors: Tensors, hyper: HyperParameters) -> str:
    if any(f"{path}.alpha" in tensors for path in neuron_paths(config).values()):
        return "synaptic"
    stated = "alpha_spk_u" in hyper and str(hyper.get("neuron_type")).lower() != "leaky"
    return "synaptic" if stated and "spk_u.beta" not in tensors else "leaky"


def _neuron(
    config: L2MUConfig, population: str, path: str, tensors: Tensors, hyper: HyperParameters
) -> NeuronParameters:
    names = DYNAMICS if config.neuron == "synaptic" else DYNAMICS[:2]
    shape = _population_shape(config, population)
    values: dict[str, Any] = {}
    for name in names:
        key, spelled = f"{path}.{name}", _spelled(name, population, hyper)
        if key in tensors:
            values[name] = _per_neuron(tensors[key], shape).tolist()
        elif spelled in hyper:
            values[name] = _stated(spelled, name, hyper[spelled], shape).tolist()
        else:
            raise ModelError(
                f"missing key {key!r}, and no hyper-parameter {spelled!r} (give it with --params)"
            )
    return NeuronParameters(**values, reset=_stored_reset(tensors, f"{path}.{RESET}"))


def _spelled(name: str, population: str, hyper: HyperParameters) -> str:
    """A neuron's hyper-parameter; encoders of fewer channels use the first names of an IMU's."""
    spelled = f"{name}_spk_{population}"
    if spelled not in hyper and population.isdigit() and int(population) < len(IMU_CHANNELS):
        return f"{name}_spk_{IMU_CHANNELS[int(population)]}"
    return spelled


def _population_shape(config: L2MUConfig, population: str) -> tuple[int, ...]:
    """The shape of a population's current in the published code, without the batch axis."""
    sizes = {
        "u": (config.memory_size,),
        "m": (config.memory_size, config.order),
        "h": (config.hidden_size,),
        "output": (config.classes,),
        "encoder": (config.encoding_size,),
        "decoder": (config.output_transformer_size,),
    }
    return sizes.get(population, (config.pop_size,))


def _per_neuron(value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """One value, or one for each neuron in order; what fits neither comes back as it is."""
    if value.numel() == 1:
        return value.reshape(())
    while value.ndim > len(shape) and len(value) == 1:
        value = value[0]
    if value.shape == (math.prod(shape),):
        return value
    try:
        return value.broadcast_to(shape).reshape(-1)
    except RuntimeError:
        return value


def _stated(spelled: str, name: str, value: Any, shape: tuple[int, ...]) -> Tensor:
    """A hyper-parameter of a neuron: one number, or a list with one for each neuron."""
    size, number = math.prod(shape), as_number(value)
    try:
        found = _per_neuron(torch.tensor(number, dtype=torch.float32), shape)
    except (TypeError, ValueError, RuntimeError):
        found = torch.tensor([])
    one = found.ndim == 0 and (size == 1 or not isinstance(number, list))
    if not (one or found.shape == (size,)) or not torch.isfinite(found).all():
        raise ModelError(
            f"hyper-parameter {spelled!r} is {shown(value)}; "
            f"expected a finite number, or {size} of them (one per neuron)"
        )
    if name == "threshold" and not (found > 0).all():
        raise ModelError(f"hyper-parameter {spelled!r} is {shown(value)}; must be positive")
    if name != "threshold" and not ((found >= 0) & (found <= 1)).all():
        raise ModelError(
            f"hyper-parameter {spelled!r} is {shown(value)}; must be between 0 and 1, "
            "where snnTorch clamps it when it runs: write the nearer of the two"
        )
    return found


def _stored_reset(tensors: Tensors, key: str) -> str | None:
    if key not in tensors:
        return None
    stored = tensors[key]
    code = stored.item() if stored.numel() == 1 else -1
    if code not in range(len(RESETS)):
        raise ModelError(f"key {key!r} is {code}; expected 0, 1 or 2")
    return RESETS[int(code)]


def _reset(neurons: dict[str, NeuronParameters], hyper: HyperParameters) -> str:
    """The rule of neurons whose own is stated nowhere: published code has one rule for all."""
    stated = {neuron.reset for neuron in neurons.values()}
    if None not in stated:
        return "subtract"
    if "reset_mechanism" in hyper:
        reset = hyper["reset_mechanism"]
        if reset not in RESETS:
            raise ModelError(
                f"hyper-parameter 'reset_mechanism' is {shown(reset)}; "
                f"expected one of {', '.join(RESETS)}"
            )
        return reset
    known = stated - {None} or {"subtract"}
    if len(known) > 1:
        silent = ", ".join(name for name, neuron in neurons.items() if neuron.reset is None)
        raise ModelError(
            f"nothing says how {silent} reset, and the other neurons differ; "
            "give hyper-parameter 'reset_mechanism'"
        )
    return str(*known)
