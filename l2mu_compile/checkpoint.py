"""Load a trained L2MU from a file, without running any code that the file may hold.

Three layouts are read, from ``.pt``/``.pth``/``.ckpt`` or ``.safetensors``, under any prefix:

- *raw*: a ``state_dict`` with parameters ``e_x`` … ``W_m`` and buffers ``A``, ``B``; a JSON or YAML
  file of hyper-parameters supplies what it lacks (``beta_spk_u`` … );
- *Lightning*: ``{"state_dict": …, "hyper_parameters": {…, "params": {…}}}`` whose weights are those
  of bias-free linears, ``e_x.weight`` …;
- the package's own, written by `save_checkpoint`.

What the state_dict holds wins over the file; sizes are read from the tensors alone.
"""

from __future__ import annotations

import hashlib
import json
import math
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import yaml
from safetensors import SafetensorError, safe_open
from torch import Tensor

from l2mu_compile.errors import ModelError
from l2mu_compile.l2mu import (
    IMU_CHANNELS,
    L2MU,
    L2MUConfig,
    NeuronParameters,
    channel_names,
    discretize,
    legendre_delay,
)

FORMAT, VERSION = "l2mu-compile", 1
MAX_FILE_BYTES = 1 << 30
MAX_PARAMS_BYTES = 1 << 20
MAX_PARAMS_DEPTH = 4
SLACK_BYTES = 1 << 16

Tensors = dict[str, Tensor]

_NEURON_KEYS = ("beta", "threshold", "alpha", "graded_spikes_factor", "reset_mechanism_val")
_RESETS = ("subtract", "zero", "none")
_LINEARS = ("e_x", "e_h", "e_m", "W_x", "W_h", "W_m", "A", "B")
_THETA = ("theta_inv", "_base_A", "_base_B")
_BIASES = {"e_x.bias": "bias_x", "e_h.bias": "bias_h", "e_m.bias": "bias_m"}
_SINGLE, _STACKED = "input_encoder.pop_encoder_list", "input_encoder.hidden_encoder_list"


@dataclass(frozen=True)
class Checkpoint:
    """A loaded model in evaluation mode, the layout it was read from, its file's SHA-256 and the
    names of the classes, if the file has them."""

    model: L2MU
    layout: str
    digest: str
    labels: tuple[str, ...] | None = None


def save_checkpoint(model: L2MU, path: Path, labels: Sequence[str] | None = None) -> None:
    """Write the package's own layout: plain values and tensors, loadable with ``weights_only``.

    ``labels`` are the names of the classes.
    """
    content = {
        "format": FORMAT,
        "version": VERSION,
        "config": model.config.to_dict() | ({"class_names": list(labels)} if labels else {}),
        "state_dict": model.state_dict(),
    }
    torch.save(content, path)


def load_checkpoint(path: Path, params: Path | None = None) -> Checkpoint:
    """Load a checkpoint of any layout; ``params`` is its file of hyper-parameters, if it needs one.

    Raises `ModelError`, one line saying which file and what in it: unreadable or truncated files,
    pickles that need code, missing, extra or mis-shaped keys, NaN or infinite numbers.
    """
    try:
        content, metadata = _read(path)
        layout, tensors, hyper = _unwrap(content, metadata)
        if params is not None:
            hyper = {**hyper, **read_params(params)}
        elif (beside := _params_beside(path)) is not None and layout == "raw":
            hyper = {**hyper, **read_params(beside)}
        model = _build(_canonical(tensors), hyper)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Checkpoint(model.eval(), layout, digest, _labels(hyper))


def read_state_dict(path: Path) -> Tensors:
    """A file's tensors by name, any layout, nothing renamed; `ModelError` as `load_checkpoint`."""
    try:
        content, metadata = _read(path)
        return _unwrap(content, metadata)[1]
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


def read_params(path: Path) -> dict[str, Any]:
    """A flat mapping of hyper-parameters from JSON or YAML; `ModelError` if it is not one."""
    try:
        if path.stat().st_size > MAX_PARAMS_BYTES:
            raise ModelError(f"{path}: larger than {MAX_PARAMS_BYTES} bytes")
        text = path.read_text(encoding="utf-8")
        values = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{path}: cannot read hyper-parameters: {reason}") from None
    if not isinstance(values, Mapping):
        raise ModelError(f"{path}: hyper-parameters must be names and values")
    return _flatten(values)


def _labels(hyper: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Names of classes, where a hyper-parameter that is called so lists them."""
    for name in ("class_names", "classes", "labels"):
        found = hyper.get(name)
        if isinstance(found, (list, tuple)) and all(isinstance(label, str) for label in found):
            return tuple(found)
    return None


def _params_beside(path: Path) -> Path | None:
    candidates = (path.with_suffix(suffix) for suffix in (".json", ".yaml", ".yml"))
    return next((c for c in candidates if c.is_file()), None)


def _read(path: Path) -> tuple[Any, Mapping[str, str]]:
    """The file's content and its text metadata (safetensors only)."""
    if not path.is_file():
        raise ModelError("no such file")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ModelError(f"larger than {MAX_FILE_BYTES} bytes")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    _check_archive(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True), {}
    except pickle.UnpicklingError as error:
        needed = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it needs {needed[1]}" if needed else "it is no checkpoint of tensors and values"
        raise ModelError(f"cannot be loaded without running code: {reason}") from None
    except Exception as error:
        reason = next(iter(str(error).split(". ")[0].splitlines()), "")
        reason = reason if " " in reason else "it is no file of tensors"
        raise ModelError(f"not a readable torch checkpoint: {reason}") from None


def _read_safetensors(path: Path) -> tuple[Any, Mapping[str, str]]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"not a readable safetensors file: {error}") from None


def _check_archive(path: Path) -> None:
    """Refuse an archive that would unpack to more than a checkpoint may hold."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError) as error:
        raise ModelError(f"truncated or damaged archive: {error}") from None
    if size > MAX_FILE_BYTES:
        raise ModelError(f"unpacks to {size} bytes; at most {MAX_FILE_BYTES}")


def _unwrap(content: Any, metadata: Mapping[str, str]) -> tuple[str, Tensors, dict[str, Any]]:
    """(layout, state_dict, hyper-parameters) of a file's content."""
    if not isinstance(content, Mapping):
        raise ModelError(f"holds a {type(content).__name__}, not a state_dict")
    hyper: dict[str, Any] = _flatten(metadata)
    layout = "raw"
    if isinstance(content.get("state_dict"), Mapping):
        if content.get("format") == FORMAT:
            layout = FORMAT
            if content.get("version") != VERSION:
                raise ModelError(f"format version {content.get('version')}; this reads {VERSION}")
            hyper |= _flatten(content.get("config", {}))
        elif isinstance(content.get("hyper_parameters"), Mapping):
            layout = "lightning"
            hyper |= _flatten(content["hyper_parameters"])
        content = content["state_dict"]
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ModelError(f"key {name!r} is not a tensor")
        if value.is_sparse or value.is_quantized or value.is_meta or value.is_complex():
            raise ModelError(f"key {name!r} is not a plain tensor")
        if value.nbytes > value.untyped_storage().nbytes() + SLACK_BYTES:
            raise ModelError(
                f"key {name!r} has shape {list(value.shape)}, more than the file holds"
            )
    if sum(value.nbytes for value in content.values()) > MAX_FILE_BYTES:
        raise ModelError(f"its tensors are larger than {MAX_FILE_BYTES} bytes")
    return layout, dict(content), hyper


def _flatten(values: Any, depth: int = 0) -> dict[str, Any]:
    """``params`` and similar nested mappings merged into one level."""
    if depth > MAX_PARAMS_DEPTH:
        raise ModelError(f"hyper-parameters are nested more than {MAX_PARAMS_DEPTH} levels deep")
    flat: dict[str, Any] = {}
    for name, value in values.items() if isinstance(values, Mapping) else ():
        if isinstance(value, Mapping):
            flat |= _flatten(value, depth + 1)
        else:
            flat[str(name)] = value
    return flat


def _canonical(tensors: Tensors) -> Tensors:
    """The same tensors under raw names: prefix gone, ``e_x.weight`` as ``e_x``, states dropped.

    Where A is a linear's weight (Lightning), the published cell uses it as stored, whatever θ is.
    """
    prefixes = sorted({prefix for prefix in map(_prefix, tensors) if prefix is not None})
    if not prefixes:
        some = ", ".join(list(tensors)[:3]) or "none"
        raise ModelError(f"no key 'e_x' or 'e_x.weight': not an L2MU (keys: {some})")
    if len(prefixes) > 1:
        raise ModelError(f"more than one L2MU: {', '.join(f'{p}e_x' for p in prefixes)}")
    prefix = prefixes[0]
    as_linears = f"{prefix}A.weight" in tensors
    found: Tensors = {}
    for name, value in tensors.items():
        if not name.startswith(prefix):
            raise ModelError(f"unexpected key {name!r}: not part of the L2MU at {prefix!r}")
        short = name[len(prefix) :]
        stem = short.removesuffix(".weight")
        short = stem if stem in _LINEARS else _BIASES.get(short, short)
        if short.rsplit(".", 1)[-1] in ("mem", "syn") or (as_linears and short in _THETA):
            continue
        if short in found:
            raise ModelError(f"key {name!r} appears twice")
        found[short] = _finite(name, value)
    return found


def _prefix(name: str) -> str | None:
    for leaf in ("e_x", "e_x.weight"):
        if name == leaf or name.endswith("." + leaf):
            return name[: -len(leaf)]
    return None


def _finite(name: str, value: Tensor) -> Tensor:
    if not value.is_floating_point():
        return value
    value = value.detach().to(torch.float32)
    if not torch.isfinite(value).all():
        raise ModelError(f"key {name!r} holds NaN or infinity")
    return value


def _build(tensors: Tensors, hyper: Mapping[str, Any]) -> L2MU:
    tensors = _with_memory(tensors, hyper)
    config = _config(tensors, hyper)
    _refuse_growth(config, tensors)
    model = L2MU(config)
    paths = _neuron_paths(config).values()
    optional = {f"{path}.{name}" for path in paths for name in _NEURON_KEYS}
    _check_keys(tensors, model.state_dict(), optional)
    model.load_state_dict(tensors, strict=False)
    return model


def _refuse_growth(config: L2MUConfig, tensors: Tensors) -> None:
    """Two thin tensors can imply an enormous third: refuse before memory is taken for it."""
    held = sum(value.numel() for value in tensors.values())
    rows = config.memory_size + config.hidden_size
    columns = config.encoded_size + config.hidden_size + config.memory_size * config.order
    encoded = config.inputs * config.pop_size + config.output_transformer_size
    implied = rows * columns + config.encoding_size * encoded
    if implied > 2 * held + 2**20:
        raise ModelError(
            f"keys do not fit together: their shapes imply {implied} weights, "
            f"the file holds {held} numbers"
        )


def _check_keys(tensors: Tensors, expected: Tensors, optional: set[str]) -> None:
    """``optional`` keys may be missing: the configuration already holds their values."""
    missing = [name for name in expected if name not in tensors and name not in optional]
    if missing:
        raise ModelError(f"missing key {missing[0]!r}" + _more(missing))
    extra = [name for name in tensors if name not in expected]
    if extra:
        raise ModelError(f"unexpected key {extra[0]!r}" + _more(extra))
    for name, value in tensors.items():
        if value.shape != expected[name].shape:
            raise ModelError(
                f"key {name!r} has shape {list(value.shape)}; expected {list(expected[name].shape)}"
            )


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _config(tensors: Tensors, hyper: Mapping[str, Any]) -> L2MUConfig:
    """Sizes from the tensors' shapes, dynamics from the tensors or the hyper-parameters."""
    memory_size, encoded = _matrix(tensors, "e_x")
    _, hidden_size = _matrix(tensors, "e_h")
    order, columns = _matrix(tensors, "A")
    if order != columns:
        raise ModelError(f"key 'A' has shape {[order, columns]}; expected a square matrix")
    classes, _ = _matrix(tensors, "output_transformation.weight")
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
    shape = L2MUConfig(
        inputs=inputs,
        classes=classes,
        hidden_size=hidden_size,
        memory_size=memory_size,
        order=order,
        theta=1.0,
        encoder=encoder,
        bias="bias_x" in tensors,
        **sizes,
    )
    paths = _neuron_paths(shape)
    in_state = any(f"{path}.alpha" in tensors for path in paths.values())
    in_file = "spk_u.beta" not in tensors and "alpha_spk_u" in hyper
    neuron = "synaptic" if in_state or in_file else "leaky"
    neurons = {
        population: _neuron(population, path, neuron, tensors, hyper)
        for population, path in paths.items()
    }
    return L2MUConfig(**{**vars(shape), "neuron": neuron, "neurons": neurons})


def _neuron_paths(config: L2MUConfig) -> dict[str, str]:
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


def _neuron(
    population: str, path: str, neuron: str, tensors: Tensors, hyper: Mapping[str, Any]
) -> NeuronParameters:
    names = ["beta", "threshold"] + (["alpha"] if neuron == "synaptic" else [])
    values: dict[str, Any] = {}
    for name in names:
        key, spelled = f"{path}.{name}", _spelled(name, population, hyper)
        if key in tensors:
            values[name] = tensors[key].tolist()
        elif spelled in hyper:
            values[name] = _number(hyper, spelled)
        else:
            raise ModelError(
                f"missing key {key!r}, and no hyper-parameter {spelled!r} (give it with --params)"
            )
    reset = tensors.get(f"{path}.reset_mechanism_val")
    if reset is not None:
        index = int(reset.reshape(-1)[0]) if reset.numel() else -1
        if not 0 <= index < len(_RESETS):
            raise ModelError(f"key '{path}.reset_mechanism_val' is {index}; expected 0, 1 or 2")
        values["reset"] = _RESETS[index]
    return NeuronParameters(**values)


def _spelled(name: str, population: str, hyper: Mapping[str, Any]) -> str:
    """A neuron's hyper-parameter; encoders of fewer channels use the first names of an IMU's."""
    spelled = f"{name}_spk_{population}"
    if spelled not in hyper and population.isdigit() and int(population) < len(IMU_CHANNELS):
        return f"{name}_spk_{IMU_CHANNELS[int(population)]}"
    return spelled


def _with_memory(tensors: Tensors, hyper: Mapping[str, Any]) -> Tensors:
    """A and B, recomputed where θ was trained or only hyper-parameters define them."""
    tensors = dict(tensors)
    theta_inv = tensors.pop("theta_inv", None)
    base_a, base_b = (tensors.pop(name, None) for name in ("_base_A", "_base_B"))
    method = str(hyper.get("discretizer", "zoh"))
    if method not in ("zoh", "euler"):
        raise ModelError(f"hyper-parameter 'discretizer' is {method!r}; expected zoh or euler")
    if theta_inv is not None and base_a is not None and base_b is not None:
        if theta_inv.numel() != 1:
            raise ModelError(f"key 'theta_inv' has shape {list(theta_inv.shape)}; expected []")
        tensors["A"], tensors["B"] = _rescaled(base_a, base_b, theta_inv.reshape(()), method)
    elif method == "euler" and not {"A", "B"} & set(tensors) and {"order", "theta"} <= set(hyper):
        order = int(_number(hyper, "order"))
        if order * _matrix(tensors, "e_x")[0] != _matrix(tensors, "e_m")[1]:
            raise ModelError(f"hyper-parameter 'order' is {order}; e_m does not fit it")
        a, b = (torch.from_numpy(m) / _number(hyper, "theta") for m in legendre_delay(order))
        a, b = discretize(a, b, method)
        tensors["A"], tensors["B"] = a.to(torch.float32), b.to(torch.float32)
    return tensors


def _rescaled(base_a: Tensor, base_b: Tensor, scale: Tensor, method: str) -> tuple[Tensor, Tensor]:
    """A and B for a trained 1/θ.

    The published code keeps transposed base matrices (``_base_B`` is ``[1, order]``) and uses the
    exponential of ``[[A, 0], [B, 0]] / θ`` without transposing A back; so does this. The package's
    own keeps them upright (``[order, 1]``).
    """
    order = base_a.shape[0]
    if base_a.shape != (order, order) or base_b.shape not in ((1, order), (order, 1)):
        shapes = f"{list(base_a.shape)} and {list(base_b.shape)}"
        raise ModelError(f"keys '_base_A' and '_base_B' have shapes {shapes}")
    if base_b.shape == (order, 1) or method == "euler":
        return discretize(base_a * scale, base_b.reshape(order, 1) * scale, method)
    block = F.pad(torch.cat([base_a * scale, base_b * scale], dim=0), (0, 1, 0, 0))
    exponential = torch.matrix_exp(block)
    return exponential[:order, :order], exponential[order:, :order].reshape(order, 1)


def _matrix(tensors: Tensors, name: str) -> tuple[int, int]:
    if name not in tensors:
        raise ModelError(f"missing key {name!r}")
    shape = tuple(tensors[name].shape)
    if len(shape) != 2 or 0 in shape:
        raise ModelError(f"key {name!r} has shape {list(shape)}; expected a matrix")
    return shape


def _number(hyper: Mapping[str, Any], name: str) -> float:
    value = hyper[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ModelError(f"hyper-parameter {name!r} is {value!r}; expected a finite number")
    return float(value)
