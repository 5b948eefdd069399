"""Importers: what reads a network from files of a kind that this package does not know itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from l2mu_compile.errors import ModelError
from l2mu_compile.network import Network
from l2mu_compile.verify import verify

# What `l2mu_compile.frontend.load_model` reads by itself.
OWN_SUFFIXES = (".pt", ".pth", ".ckpt", ".safetensors", ".txt", ".nir", ".onnx")


@dataclass(frozen=True)
class Importer:
    """Reads files whose names end in one of ``suffixes`` (lower case, with their point: ``.csv``).

    ``read(path)`` returns the network, of stage ``traced``, and raises `ModelError` for a file that
    it does not understand. ``name`` says in reports what a model came from.
    """

    name: str
    suffixes: tuple[str, ...]
    read: Callable[[Path], Network]


def import_network(importer: Importer, path: Path) -> Network:
    """The network in the file ``path``, verified.

    Raises `ModelError`, naming the file and the importer, for whatever goes wrong.
    """
    where = f"{path}: importer {importer.name}"
    try:
        network = importer.read(path)
        if not isinstance(network, Network):
            raise ModelError(f"returned a {type(network).__name__}, not a Network")
        if network.stage != "traced":
            raise ModelError(f"returned a {network.stage} network; importers return traced ones")
        verify(network)
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from error
    except (Exception, SystemExit) as error:
        raise ModelError(f"{where}: {type(error).__name__}: {error}") from error
    return network
