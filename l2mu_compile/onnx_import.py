"""ONNX models as Networks.

A model that this tool wrote comes back as the network it was written from, integers and all; what
its metadata say is taken only if writing that network again gives the same graph. Any other becomes
a torch module of the neurons that are found in it (`l2mu_compile.onnx_module`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from l2mu_compile.errors import ModelError
from l2mu_compile.network import Network
from l2mu_compile.onnx_export import GRAPHS, KEY, to_onnx
from l2mu_compile.onnx_file import read_onnx
from l2mu_compile.onnx_graph import read_graph
from l2mu_compile.onnx_module import OnnxModel, check_same
from l2mu_compile.onnx_own import TEXT, own_network
from l2mu_compile.source_lines import first_line


def import_onnx(path: Path) -> Network | OnnxModel:
    """The network that an ``.onnx`` file was written from, or a module that computes the same.

    Raises `ModelError` naming the file for whatever is damaged, changed or not supported.
    """
    try:
        model = read_onnx(path)
        network = own_network(model)
        if network is None:
            return _module(model)
        _require_same_graph(network, model)
        return network
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


def _module(model: Any) -> OnnxModel:
    """The module of a graph; what shapes torch cannot put together is the graph's own fault."""
    try:
        graph = read_graph(model)
        check_same(OnnxModel(graph))
        return OnnxModel(graph)
    except (RuntimeError, ValueError, TypeError, LookupError, ArithmeticError) as failure:
        raise ModelError(f"has no neurons that are understood: {first_line(failure)}") from None


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
