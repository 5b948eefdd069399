"""Networks in files: the text form, and beside it the arrays it names."""

from __future__ import annotations

from pathlib import Path

from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from l2mu_compile.errors import ModelError, reason
from l2mu_compile.network import Network
from l2mu_compile.output import write_together
from l2mu_compile.paths import StrPath, file_bytes
from l2mu_compile.text import MAX_TEXT_BYTES, file_text, parse, tensor_bytes

MAX_TENSOR_BYTES = 1 << 30
NUMPY_KINDS = "biuf"  # of types; packages such as ml_dtypes bring more


def save_network(network: Network, path: StrPath) -> None:
    """Write ``path`` and its sidecar ``path`` with suffix ``.safetensors``, both or none."""
    path = Path(path)
    sidecar = path.with_suffix(".safetensors")
    write_together({sidecar: tensor_bytes(network), path: file_text(network)})


def load_network(path: StrPath) -> Network:
    """Read what `save_network` wrote. Raises `ModelError` if either file is unreadable."""
    path = Path(path)
    text = _read_text(path)
    return parse(text, _read_tensors(path.with_suffix(".safetensors")))


def _read_text(path: Path) -> str:
    try:
        if file_bytes(path) > MAX_TEXT_BYTES:
            raise ModelError(f"{path}: larger than {MAX_TEXT_BYTES} bytes, not a network text")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: cannot read network text: {reason(error)}") from None


def _read_tensors(path: Path) -> dict[str, NDArray]:
    """The arrays of a sidecar; none where there is no such file."""
    try:
        if not path.exists():
            return {}
        if file_bytes(path) > MAX_TENSOR_BYTES:
            raise ModelError(f"{path}: larger than {MAX_TENSOR_BYTES} bytes")
        tensors = load_file(path)
        for tensor in tensors.values():
            if tensor.dtype.kind not in NUMPY_KINDS:
                raise TypeError(f"numpy itself has no {tensor.dtype}")
    except (OSError, SafetensorError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: cannot read weights: {reason(error)}") from None
    return tensors
