"""Hyper-parameters of a training run: files of them, and the numbers and names in them.

Files are written by people and by tools, so names may lie in mappings (``params``, ``parameters``)
inside others, and numbers may be text: YAML reads ``1e-3`` as text, ``.safetensors`` holds only it.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from l2mu_compile.errors import ModelError
from l2mu_compile.paths import file_bytes
from l2mu_compile.tensor_files import shown

MAX_PARAMS_BYTES = 1 << 17
MAX_NUMBERS, MAX_DIGITS = 1 << 16, 40

HyperParameters = dict[str, Any]
Number = float | list[Any]


@dataclass(frozen=True)
class Conflict:
    """What one name stands for in two places."""

    first: Any
    second: Any

    def __repr__(self) -> str:
        return f"{shown(self.first)} in one place and {shown(self.second)} in another"


def read_params(path: Path) -> HyperParameters:
    """Hyper-parameters by name from JSON or YAML; `ModelError` if the file holds no names."""
    try:
        if file_bytes(path) > MAX_PARAMS_BYTES:
            raise ModelError(f"{path}: larger than {MAX_PARAMS_BYTES} bytes")
        text = path.read_text(encoding="utf-8-sig")
        is_json = path.suffix.lower() == ".json"
        values = json.loads(text) if is_json else yaml.load(text, Loader=_PlainLoader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{path}: cannot read hyper-parameters: {reason}") from None
    if not isinstance(values, dict):
        raise ModelError(f"{path}: hyper-parameters must be names and values")
    return flatten(values)


def params_beside(path: Path) -> Path | None:
    """A file of hyper-parameters with the same name as ``path``."""
    candidates = (path.with_suffix(suffix) for suffix in (".json", ".yaml", ".yml"))
    return next((c for c in candidates if c.is_file()), None)


def flatten(values: Any, without: Any = None) -> HyperParameters:
    """All names in a mapping and those inside it but ``without``; a `Conflict` if they disagree."""
    flat: HyperParameters = {}
    waiting, seen = [values], {id(without)}
    while waiting:
        mapping = waiting.pop()
        if not isinstance(mapping, dict) or id(mapping) in seen:
            continue
        seen.add(id(mapping))
        for name, value in dict.items(mapping):
            if isinstance(value, dict):
                waiting.append(value)
            elif isinstance(name, str):
                same = name not in flat or _same(flat[name], value)
                flat[name] = value if same else Conflict(flat[name], value)
    return flat


def as_number(value: Any) -> Number | None:
    """A finite number, a list of them or a list of such lists; None if ``value`` is neither."""
    value = value.tolist() if isinstance(value, Tensor) else value
    if not isinstance(value, (list, tuple)):
        return _as_float(value)
    if sum(len(v) if isinstance(v, (list, tuple)) else 1 for v in value) > MAX_NUMBERS:
        return None
    return _all_or_none([_row(v) for v in value])


def class_labels(hyper: HyperParameters) -> tuple[str, ...] | None:
    """Names of the classes, where a hyper-parameter that is called so lists them."""
    found = (_as_names(hyper.get(name)) for name in ("class_names", "classes", "labels"))
    return next(filter(None, found), None)


def _as_names(value: Any) -> tuple[str, ...] | None:
    if isinstance(value, (list, tuple)) and value and all(isinstance(v, str) for v in value):
        return tuple(value)
    return None


def _row(value: Any) -> Number | None:
    if not isinstance(value, (list, tuple)):
        return _as_float(value)
    return _all_or_none([_as_float(v) for v in value])


def _all_or_none(numbers: list[Any]) -> list[Any] | None:
    return None if None in numbers else numbers


def _as_float(value: Any) -> float | None:
    text = isinstance(value, str) and len(value) <= MAX_DIGITS
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    try:
        found = float(value) if text or number else math.nan
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def _same(first: Any, second: Any) -> bool:
    number = as_number(first)
    if number is not None:
        return number == as_number(second)
    names = _as_names(first)
    if names is not None:
        return names == _as_names(second)
    return type(first) is type(second) is str and first == second


class _PlainLoader(yaml.SafeLoader):
    """Without aliases, whose expansion takes memory that the file's size does not bound."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not supported; write the value again")
        return super().compose_node(parent, index)
