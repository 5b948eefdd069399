"""The command ``l2mu-compile export``: a model as a file that other tools read."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from l2mu_compile.display import bars, show_note
from l2mu_compile.errors import UsageError
from l2mu_compile.model_options import ModelOptions, with_model
from l2mu_compile.options import (
    AsJson,
    Plugins,
    Source,
)
from l2mu_compile.paths import printable

if TYPE_CHECKING:
    from l2mu_compile.network import Network

# ruff: noqa: UP045 (typer reads annotations at run time, on Python 3.10 too)

EPILOG = (
    "Example: l2mu-compile export har.ckpt -o har.nir\n\n"
    "Example: l2mu-compile export out/har/network.txt -o har.onnx --graph window"
)


class Format(str, Enum):
    """What a model can be written as."""

    nir = "nir"
    onnx = "onnx"


class Graph(str, Enum):
    """What an ONNX graph computes."""

    step = "step"
    window = "window"


@with_model
def export(
    ckpt: Source = None,
    output: Annotated[
        Optional[Path],
        typer.Option("--output", "-o", metavar="FILE", help="File to write: .nir or .onnx."),
    ] = None,
    format: Annotated[
        Optional[Format],
        typer.Option(
            "--format", metavar="nir|onnx", help="What to write, if FILE ends in another way."
        ),
    ] = None,
    dt: Annotated[
        Optional[float],
        typer.Option(
            "--dt", metavar="SECONDS", help="A step of time, in a NIR graph; 0.0001 if not given."
        ),
    ] = None,
    graph: Annotated[
        Optional[Graph],
        typer.Option(
            "--graph",
            metavar="step|window",
            help="What an ONNX graph computes: a step, states in and out, or a window's decision.",
        ),
    ] = None,
    *,
    model: ModelOptions,
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Write a model as a NIR or ONNX graph, with which other tools go on."""
    from l2mu_compile.making import model_of
    from l2mu_compile.output import writing

    if output is None:
        raise UsageError("say where to: --output FILE")
    write = _writer(output, format, dt, graph)
    with bars(as_json) as progress:
        progress.say("loading")
        loaded = model_of(model.table(ckpt), Path())
        with writing(output):
            write(loaded.network)
    if as_json:
        print(json.dumps({"file": printable(str(output)), "notes": loaded.notes}, indent=2))
        return
    for note in loaded.notes:
        show_note(note)


def _writer(
    output: Path, format: Format | None, dt: float | None, graph: Graph | None
) -> Callable[[Network], None]:
    """What writes a network to ``output`` in the format that is asked for."""
    from l2mu_compile.nir_export import DT, write_nir
    from l2mu_compile.onnx_export import write_onnx

    suffix = output.suffix.lower().removeprefix(".")
    if format is None and suffix not in {f.value for f in Format}:
        raise UsageError(
            f"--output {output}: ends in .nir or .onnx, or say what to write with --format"
        )
    if (format or Format(suffix)) is Format.onnx:
        if dt is not None:
            raise UsageError("--dt is for NIR graphs; an ONNX graph has steps, which take no time")
        return lambda network: write_onnx(network, output, (graph or Graph.step).value)
    if graph is not None:
        raise UsageError("--graph is for ONNX; a NIR graph is always that of a step")
    if dt is not None and not 0 < dt < float("inf"):
        raise UsageError(f"--dt {dt:g}: a time above 0")
    return lambda network: write_nir(network, output, DT if dt is None else dt)
