"""Files of tensors, read without running any code they may hold or taking memory they only claim.

A ``.pt``/``.pth``/``.ckpt`` file is a zip archive with one pickle and the tensors' bytes. Before
torch's own restricted unpickler sees the pickle, its operations are scanned: it may name nothing
but what plain tensors and values need, and be neither larger nor deeper than reading bears.
"""

from __future__ import annotations

import pickle
import pickletools
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from reprlib import Repr
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from l2mu_compile.errors import ModelError

MAX_FILE_BYTES = 1 << 30
MAX_PICKLE_BYTES = 1 << 20
MAX_TUPLES = 20_000
SLACK_BYTES = 1 << 16

Tensors = dict[str, Tensor]

_ZIP_START = b"PK\x03\x04"
_GLOBALS = {
    "__builtin__ set",
    "collections Counter",
    "collections OrderedDict",
    "torch Size",
    "torch Tensor",
    "torch device",
    "torch._tensor _rebuild_from_type_v2",
    "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_parameter_with_state",
    "torch._utils _rebuild_sparse_tensor",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_tensor_v3",
    "torch.nn.parameter Parameter",
    "torch.serialization _get_layout",
    "torch.storage UntypedStorage",
    "_codecs encode",
}

_LEVELS = 3

_repr = Repr()
_repr.maxstring = _repr.maxother = 120


def shown(value: Any) -> str:
    """A value from a file as one short line of plain text."""
    return _repr.repr(value)


@dataclass(frozen=True)
class TensorFile:
    """What a file holds, and how many bytes all its tensors can have.

    ``content`` is as torch unpickled it; that of a ``.safetensors`` file is
    ``{"state_dict": …, "metadata": …}``.
    """

    content: Any
    size: int

    def state_dict(self, wanted: Callable[[dict[Any, Any]], bool]) -> dict[Any, Any] | None:
        """The one dictionary for which ``wanted``, itself or at most two levels inside others.

        The outermost level that has one decides; `ModelError` if it has several.
        """
        level: list[tuple[str, Any]] = [("", self.content)]
        for _ in range(_LEVELS):
            level = [(name, value) for name, value in level if isinstance(value, dict)]
            found = [(name, value) for name, value in level if wanted(value)]
            if len(found) > 1:
                names = ", ".join(shown(name) for name, _ in found)
                raise ModelError(f"more than one state_dict to choose from: {names}; save one")
            if found:
                return found[0][1]
            level = _inside(level)
        return None

    def tensors(self, state_dict: dict[Any, Any]) -> Tensors:
        """A dictionary's tensors by name; refuses what is not one, or larger than the file."""
        tensors: Tensors = {}
        for name, value in dict.items(state_dict):
            if not isinstance(name, str) or not isinstance(value, Tensor):
                raise ModelError(f"key {shown(name)} is not a tensor")
            plain = _plain(value)
            if plain is None:
                raise ModelError(f"key {shown(name)} is not a plain tensor")
            if plain.nbytes > plain.untyped_storage().nbytes() + SLACK_BYTES:
                shape = list(plain.shape)
                raise ModelError(f"key {shown(name)} has shape {shape}, more than the file holds")
            tensors[name] = plain
        claimed = sum(tensor.nbytes for tensor in tensors.values())
        if claimed > 2 * self.size + SLACK_BYTES:
            raise ModelError(f"its tensors have {claimed} bytes, the file only {self.size}")
        return tensors


def read_tensor_file(path: Path) -> TensorFile:
    """Read a torch archive or a ``.safetensors`` file. Raises `ModelError` (without the path)."""
    if not path.is_file():
        raise ModelError("no such file")
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise ModelError(f"larger than {MAX_FILE_BYTES} bytes")
        read = _read_safetensors if path.suffix.lower() == ".safetensors" else _read_torch
        return TensorFile(read(path), size)
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror or error}") from None


def read_state_dict(path: Path) -> Tensors:
    """The tensors of a file that holds one state_dict, nothing renamed. Raises `ModelError`."""
    try:
        file = read_tensor_file(path)
        if not isinstance(file.content, dict):
            raise ModelError(f"holds a {type(file.content).__name__}, not a state_dict")
        return file.tensors(file.state_dict(_holds_only_tensors) or file.content)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


def _holds_only_tensors(values: dict[Any, Any]) -> bool:
    return len(values) > 0 and all(isinstance(v, Tensor) for v in dict.values(values))


def _inside(level: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """The values inside dictionaries, with dotted names; one that is there twice counts once."""
    found, seen = [], set()
    for name, values in level:
        for key, value in dict.items(values):
            if isinstance(key, str) and id(value) not in seen:
                seen.add(id(value))
                found.append((f"{name}.{key}" if name else key, value))
    return found


def _plain(value: Tensor) -> Tensor | None:
    """The tensor without attributes, None if it is not dense numbers in memory of its own.

    A file can hold tensors that fail whatever they are asked.
    """
    try:
        plain = Tensor.detach(value)
        dense = plain.layout is torch.strided and plain.device.type == "cpu"
        plain.untyped_storage().nbytes()
        return plain if dense and not plain.is_quantized and not plain.is_complex() else None
    except Exception:
        return None


def _read_safetensors(path: Path) -> Any:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return {"state_dict": tensors, "metadata": file.metadata() or {}}
    except Exception as error:
        raise ModelError(f"not a readable safetensors file: {_line(error)}") from None


def _read_torch(path: Path) -> Any:
    with path.open("rb") as stream:
        start = stream.read(len(_ZIP_START))
    if start[:1] == b"\x80":
        raise ModelError(
            "cannot be loaded without running code: it is a bare pickle; "
            "load it where it comes from and save it with torch.save (torch 1.6 or later)"
        )
    if start != _ZIP_START:
        raise ModelError("not a readable torch checkpoint: it is no file of tensors")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _check_archive(path)
            return torch.load(path, map_location="cpu", weights_only=True)
    except (ModelError, OSError):
        raise
    except pickle.UnpicklingError:
        raise ModelError("not a readable torch checkpoint: its pickle is damaged") from None
    except Exception as error:
        raise ModelError(f"not a readable torch checkpoint: {_line(error)}") from None


def _check_archive(path: Path) -> None:
    """Refuse archives that unpack to more than they are, and pickles that are not plain."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        size, unpacked = path.stat().st_size, sum(entry.file_size for entry in entries)
        if unpacked > size:
            raise ModelError(
                f"unpacks to {unpacked} bytes from {size}: "
                "torch.save does not compress, save it again with that"
            )
        if len({entry.filename.lower() for entry in entries}) < len(entries):
            raise ModelError("not a readable torch checkpoint: members with the same name")
        for entry in entries:
            if entry.filename.lower().endswith("data.pkl"):
                _check_pickle(archive.read(entry))


def _check_pickle(data: bytes) -> None:
    """Refuse a pickle that names what is not plain, or exhausts time or stack when it is read."""
    if len(data) > MAX_PICKLE_BYTES:
        raise ModelError(
            f"holds {len(data)} bytes besides tensors, at most {MAX_PICKLE_BYTES} are read; "
            "save the state_dict alone"
        )
    tuples, needed = 0, set()
    for operation, argument, _ in pickletools.genops(data):
        tuples += operation.name.startswith("TUPLE")
        if tuples > MAX_TUPLES:
            raise ModelError(f"holds more than {MAX_TUPLES} tuples; save the state_dict alone")
        if operation.name == "GLOBAL" and not _is_allowed(str(argument)):
            needed.add(shown(str(argument).replace(" ", ".")).strip("'"))
    if needed:
        raise ModelError(
            f"cannot be loaded without running code: it needs {', '.join(sorted(needed)[:3])}; "
            "if you trust it, load it with torch.load(..., weights_only=False) and save a "
            "state_dict and plain numbers only: float(value), str(value) for anything else"
        )


def _is_allowed(name: str) -> bool:
    module, _, attribute = name.partition(" ")
    is_storage = module == "torch" and attribute.endswith("Storage")
    is_dtype = module == "torch" and isinstance(vars(torch).get(attribute), torch.dtype)
    return name in _GLOBALS or is_storage or is_dtype


def _line(error: Exception) -> str:
    """The first sentence of an error's text, if it is one."""
    sentence = next(iter(str(error).split(". ")[0].splitlines()), "")
    return sentence if " " in sentence else "it is no file of tensors"
