"""ONNX models as Networks.

A model that this tool wrote comes back as the network it was written from, integers and all; what
its metadata say is taken only if writing that network again gives the same graph.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from l2mu_compile.errors import ModelError
from l2mu_compile.network import Network
from l2mu_compile.onnx_export import GRAPHS, KEY, to_onnx
from l2mu_compile.onnx_file import read_onnx
from l2mu_compile.onnx_own import TEXT, own_network


def import_onnx(path: Path) -> Network:
    """The network that an ``.onnx`` file was written from.

    Raises `ModelError` naming the file for whatever is damaged, changed or not supported.
    """
    try:
        model = read_onnx(path)
        network = own_network(model)
        if network is None:
            raise ModelError(f"was not written by l2mu-compile: it has no metadata {TEXT}")
        _require_same_graph(network, model)
        return network
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


def _require_same_graph(network: Network, model: Any) -> None:
    """Refuse a ``network`` that metadata name and ``model`` is not the graph of."""
    kind = next((p.value for p in model.metadata_props if p.key == f"{KEY}graph"), "")
    if kind not in GRAPHS:
        raise ModelError(f"metadata {KEY}graph: one of {', '.join(GRAPHS)}")
    again = to_onnx(network, kind)
    if again.graph != model.graph or list(again.opset_import) != list(model.opset_import):
        raise ModelError(
            f"its graph is not what metadata {TEXT} say: another program has changed it, or "
            "another version wrote it; export the network again"
        )
