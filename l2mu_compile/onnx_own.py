"""ONNX models that this tool wrote, as the very networks they were written from.

Their metadata hold the network's text form; its arrays are the graph's own constants, but for the
few that no graph has, as `Projection.quantum`. Nothing of it is trusted: `l2mu_compile.onnx_import`
takes a network only if writing it again gives the same graph, constant for constant and node for
node.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from l2mu_compile.errors import ModelError
from l2mu_compile.network import Network
from l2mu_compile.onnx_file import array_of
from l2mu_compile.text import MAX_TEXT_BYTES, file_text, parse
from l2mu_compile.text_values import digest

TEXT, ARRAYS = "l2mu.text", "l2mu.arrays"
_NAMED = re.compile(r"@(\S+?)#([0-9a-f]{12})\b")


def said_of(network: Network, graph: Any) -> dict[str, str]:
    """Metadata from which, and from ``graph``, `own_network` makes ``network`` again."""
    held = _by_digest(graph)
    left = {name: a for name, a in network.tensors().items() if digest(a) not in held}
    said = {TEXT: file_text(network)}
    return said | ({ARRAYS: base64.b64encode(save(left)).decode()} if left else {})


def own_network(model: Any) -> Network | None:
    """The network that ``model`` says it was written from, None if it says nothing of that.

    Raises `ModelError` for metadata that make no sense.
    """
    said = {entry.key: entry.value for entry in model.metadata_props}
    text = said.get(TEXT)
    if text is None:
        return None
    if not isinstance(text, str):  # protobuf has bytes for what is not UTF-8
        raise ModelError(f"metadata {TEXT}: is no text")
    if len(text) > MAX_TEXT_BYTES:
        raise ModelError(f"metadata {TEXT}: larger than {MAX_TEXT_BYTES} bytes")
    held = _by_digest(model.graph)
    arrays = {name: held[number] for name, number in _NAMED.findall(text) if number in held}
    try:
        if ARRAYS in said:
            arrays = load(base64.b64decode(said[ARRAYS], validate=True)) | arrays
        return parse(text, arrays)
    except (binascii.Error, SafetensorError, ValueError, TypeError) as error:
        raise ModelError(f"metadata {ARRAYS}: {error}") from None
    except ModelError as error:
        raise ModelError(f"metadata {TEXT}: {error}") from None


def _by_digest(graph: Any) -> dict[str, NDArray]:
    """Everything that an array of a network may have become in ``graph``, and itself."""
    arrays = (array_of(t, t.name) for t in _constants(graph))
    return {digest(form): form for array in arrays for form in _forms(array)}


def _constants(graph: Any) -> Iterator[Any]:
    """A graph's constants, and those of the body of its `Scan`."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Scan" and attribute.name == "body":
                yield from attribute.g.initializer


def _forms(array: NDArray) -> Iterator[NDArray]:
    """Weights are written the other way round, shifts as divisors, some integers wider."""
    forms = [array]
    if array.ndim >= 2:
        forms.append(np.swapaxes(array, -1, -2))
    if array.dtype == np.int32 and array.ndim == 1 and (array > 0).all():
        forms.append(np.log2(array))
    for form in forms:
        yield np.ascontiguousarray(form)
        if form.dtype != np.float32:
            yield from (_cast(form, kind) for kind in (np.int32, np.int8))


def _cast(form: NDArray, kind: type) -> NDArray:
    with np.errstate(invalid="ignore"):  # what does not fit is no array of a network
        return form.astype(kind, order="C")
