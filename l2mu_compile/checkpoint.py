"""Load a trained L2MU from a file, whatever layout it was saved in.

Three layouts are read, from torch archives or ``.safetensors``, under any prefix, alone or inside
a dictionary with other things:

- *raw*: a ``state_dict`` with parameters ``e_x`` … ``W_m`` and buffers ``A``, ``B``; a JSON or YAML
  file of hyper-parameters supplies what it lacks (``beta_spk_u`` … );
- *Lightning*: ``{"state_dict": …, "hyper_parameters": {…, "params": {…}}}`` whose weights are those
  of bias-free linears, ``e_x.weight`` …;
- the package's own, written by `save_checkpoint`.

What the state_dict holds wins over hyper-parameters; sizes are read from the tensors alone.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from l2mu_compile.checkpoint_config import (
    BIASES,
    DYNAMICS,
    RESET,
    assumptions,
    infer_config,
    neuron_paths,
)
from l2mu_compile.errors import ModelError
from l2mu_compile.hyperparameters import (
    HyperParameters,
    as_number,
    class_labels,
    flatten,
    params_beside,
    read_params,
)
from l2mu_compile.l2mu import L2MU, L2MUConfig, discretize
from l2mu_compile.output import write_whole, writing
from l2mu_compile.tensor_files import TensorFile, Tensors, read_tensor_file, shown
from l2mu_compile.versions import require_version

FORMAT, VERSION = "l2mu-compile", 1

_GRADED = "graded_spikes_factor"
_LINEARS = ("e_x", "e_h", "e_m", "W_x", "W_h", "W_m", "A", "B")
_THETA = ("theta_inv", "_base_A", "_base_B")
_LINEAR_BIASES = {"e_x.bias": "bias_x", "e_h.bias": "bias_h", "e_m.bias": "bias_m"}
_STATES = re.compile(r"(.*\.)?spk_\w+(\.\d+)?\.(mem|syn)")


@dataclass(frozen=True)
class Checkpoint:
    """A loaded model in evaluation mode, the layout it was read from and its file's SHA-256.

    ``labels`` are the names of the classes, if they are known. ``notes`` are
    lines the user should see: what was ignored, and what contradicts the tensors.
    """

    model: L2MU
    layout: str
    digest: str
    labels: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


def save_checkpoint(model: L2MU, path: Path | str, labels: Sequence[str] | None = None) -> None:
    """Write the package's own layout: plain values and tensors, loadable with ``weights_only``.

    ``labels`` are the names of the classes. An earlier file stays until the new one is whole.
    Raises `UsageError` if it cannot be written.
    """
    content = {
        "format": FORMAT,
        "version": VERSION,
        "config": model.config.to_dict() | ({"class_names": list(labels)} if labels else {}),
        "state_dict": model.state_dict(),
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with writing(path):
        write_whole(Path(path), buffer.getvalue())


def load_checkpoint(path: Path | str, params: Path | str | None = None) -> Checkpoint:
    """Load a checkpoint of any layout; ``params`` is its file of hyper-parameters, if it needs one.

    Raises `ModelError`, one line saying which file and what in it: unreadable or truncated files,
    pickles that need code, missing, extra or mis-shaped keys, NaN or infinite numbers.
    """
    path = Path(path)
    try:
        layout, tensors, hyper = _unwrap(read_tensor_file(path))
        hyper = _with_params(layout, hyper, path, params)
        tensors, outside = _canonical(tensors, layout)
        tensors, theta = _with_memory(tensors, hyper)
        config = infer_config(tensors, hyper, theta)
        model = _build(config, tensors)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    notes = (*_ignored(outside), *assumptions(config, hyper))
    return Checkpoint(model.eval(), layout, digest, class_labels(hyper), notes)


def _unwrap(file: TensorFile) -> tuple[str, Tensors, HyperParameters]:
    """(layout, state_dict, hyper-parameters) of a file's content."""
    content = file.content
    if not isinstance(content, dict):
        raise ModelError(f"holds a {type(content).__name__}, not a state_dict")
    kind, version = dict.get(content, "format"), dict.get(content, "version")
    own = isinstance(kind, str) and kind == FORMAT
    if own:
        require_version(version, VERSION, "version")
    found = file.state_dict(_holds_l2mu)
    if found is None:
        raise _no_l2mu(dict.get(content, "state_dict", content))
    tensors = file.tensors(found)
    if found is content:
        return "raw", tensors, {}
    if own:
        return FORMAT, tensors, flatten(dict.get(content, "config"))
    stated = dict.get(content, "hyper_parameters")
    if isinstance(stated, dict) or "pytorch-lightning_version" in content:
        return "lightning", tensors, flatten(stated)
    return "raw", tensors, flatten(content, without=found)


def _with_params(
    layout: str, hyper: HyperParameters, path: Path, params: Path | str | None
) -> HyperParameters:
    """``hyper`` completed by the given file, or for files without their own by the one beside."""
    if params is None and (layout == "raw" or not hyper):
        params = params_beside(path)
    return hyper if params is None else {**hyper, **read_params(Path(params))}


def _holds_l2mu(values: dict[Any, Any]) -> bool:
    return any(isinstance(name, str) and _prefix(name) is not None for name in dict.keys(values))


def _prefix(name: str) -> str | None:
    for leaf in ("e_x", "e_x.weight"):
        if name == leaf or name.endswith("." + leaf):
            return name[: -len(leaf)]
    return None


def _no_l2mu(values: Any) -> ModelError:
    names = list(values) if isinstance(values, dict) else []
    some = ", ".join(map(shown, names[:3])) or "none"
    return ModelError(f"no key 'e_x' or 'e_x.weight': not an L2MU (keys: {some})")


def _canonical(tensors: Tensors, layout: str) -> tuple[Tensors, list[str]]:
    """The same tensors under raw names: prefix gone, ``e_x.weight`` as ``e_x``, states dropped;
    and the names of those that are none of the model's.

    Where A is a linear's weight (Lightning), the published cell uses it as stored, whatever θ is.
    """
    prefixes = sorted({prefix for prefix in map(_prefix, tensors) if prefix is not None})
    if len(prefixes) > 1:
        raise ModelError(f"more than one L2MU: {', '.join(f'{p}e_x' for p in prefixes)}")
    prefix = prefixes[0]
    model = _model_prefix(prefix) if layout == "lightning" else ""
    as_linears = f"{prefix}A.weight" in tensors
    found: Tensors = {}
    outside = []
    for name, value in tensors.items():
        if not name.startswith(model):
            outside.append(name)
            continue
        if not name.startswith(prefix):
            raise ModelError(
                f"unexpected key {shown(name)}: not part of the L2MU at {prefix!r}; "
                "remove it before saving if it is no layer of the model"
            )
        short = name[len(prefix) :]
        stem = short.removesuffix(".weight")
        short = stem if stem in _LINEARS else _LINEAR_BIASES.get(short, short)
        if _STATES.fullmatch(short) or (as_linears and short in _THETA):
            continue
        if short in found:
            raise ModelError(f"key {shown(name)} appears twice")
        found[short] = _finite(name, value)
    return found, outside


def _model_prefix(prefix: str) -> str:
    """Where in a LightningModule the whole model lies, beside its loss and metrics.

    An L2MU right inside, by a name of its own, may be one layer of several: nothing is beside it.
    """
    first, _, rest = prefix.partition(".")
    return f"{first}." if rest or first in ("model", "net", "network") else ""


def _finite(name: str, value: Tensor) -> Tensor:
    if not value.is_floating_point():
        return value
    value = value.to(torch.float32)
    if not torch.isfinite(value).all():
        raise ModelError(f"key {shown(name)} holds NaN or infinity")
    return value


def _with_memory(tensors: Tensors, hyper: HyperParameters) -> tuple[Tensors, float]:
    """A and B, recomputed where θ was trained, and θ in time steps (1 where nothing says)."""
    trained = {name: tensors[name] for name in _THETA if name in tensors}
    if not trained:
        theta = as_number(hyper.get("theta"))
        return tensors, theta if isinstance(theta, float) and theta > 0 else 1.0
    missing = next((name for name in _THETA if name not in trained), None)
    if missing:
        raise ModelError(f"missing key {missing!r}: a trained theta comes with {', '.join(_THETA)}")
    inverse = trained["theta_inv"]
    if inverse.numel() != 1:
        raise ModelError(f"key 'theta_inv' has shape {list(inverse.shape)}; expected []")
    scale = inverse.reshape(())
    if not scale > 0:
        raise ModelError(f"key 'theta_inv' is {scale:g}; expected a number above 0 (1 / steps)")
    a, b = _rescaled(trained["_base_A"], trained["_base_B"], scale, hyper)
    if not (torch.isfinite(a).all() and torch.isfinite(b).all()):
        raise ModelError(f"key 'theta_inv' is {scale:g}: too large for finite A and B")
    rest = {name: value for name, value in tensors.items() if name not in _THETA}
    return {**rest, "A": a, "B": b}, 1.0 / float(scale)


def _rescaled(
    base_a: Tensor, base_b: Tensor, scale: Tensor, hyper: HyperParameters
) -> tuple[Tensor, Tensor]:
    """A and B for a trained 1/θ.

    The published code keeps transposed base matrices (``_base_B`` is ``[1, order]``) and uses the
    exponential of ``[[A, 0], [B, 0]] / θ`` without transposing A back; so does this. The package's
    own keeps them upright (``[order, 1]``).
    """
    order = base_a.shape[0] if base_a.ndim else 0
    if base_a.shape != (order, order) or base_b.shape not in ((1, order), (order, 1)):
        shapes = f"{list(base_a.shape)} and {list(base_b.shape)}"
        raise ModelError(f"keys '_base_A' and '_base_B' have shapes {shapes}")
    method = hyper.get("discretizer", "zoh")
    if method not in ("zoh", "euler"):
        raise ModelError(f"hyper-parameter 'discretizer' is {shown(method)}; expected zoh or euler")
    if base_b.shape == (order, 1) or method == "euler":
        return discretize(base_a * scale, base_b.reshape(order, 1) * scale, method)
    block = F.pad(torch.cat([base_a * scale, base_b * scale], dim=0), (0, 1, 0, 0))
    exponential = torch.matrix_exp(block)
    return exponential[:order, :order], exponential[order:, :order].reshape(order, 1)


def _build(config: L2MUConfig, tensors: Tensors) -> L2MU:
    """The module with its tensors; neurons' dynamics it already has from its configuration."""
    _refuse_growth(config, tensors)
    with torch.random.fork_rng(devices=[]):
        model = L2MU(config)
    paths = neuron_paths(config).values()
    held = {f"{path}.{name}" for path in paths for name in (*DYNAMICS, RESET)}
    graded = {f"{path}.{_GRADED}" for path in paths}
    rest = {
        name: value.reshape(()) if name in graded and value.numel() == 1 else value
        for name, value in tensors.items()
        if name not in held
    }
    if config.bias:
        rest = {**{name: torch.zeros(config.memory_size) for name in BIASES}, **rest}
    _check_keys(rest, model.state_dict(), held | graded)
    model.load_state_dict(rest, strict=False)
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
        raise ModelError(f"unexpected key {shown(extra[0])}" + _more(extra))
    for name, value in tensors.items():
        if value.shape != expected[name].shape:
            raise ModelError(
                f"key {name!r} has shape {list(value.shape)}; expected {list(expected[name].shape)}"
            )


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _ignored(outside: list[str]) -> list[str]:
    if not outside:
        return []
    some = ", ".join(map(shown, outside[:3])) + _more(outside[2:])
    return [f"ignored beside the model: {some}"]
