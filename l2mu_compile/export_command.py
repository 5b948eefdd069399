"""The command ``l2mu-compile export``: a model as a file that other tools read."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import Annotated, Optional

import typer

from l2mu_compile.display import bars, show_note
from l2mu_compile.errors import UsageError, reason
from l2mu_compile.options import (
    AsJson,
    Inputs,
    ModelName,
    ModuleSpec,
    Nir,
    Params,
    ReadoutRule,
    Source,
)
from l2mu_compile.paths import printable

# ruff: noqa: UP045 (typer reads annotations at run time, on Python 3.10 too)

EPILOG = "Example: l2mu-compile export har.ckpt -o har.nir"


class Format(str, Enum):
    """What a model can be written as."""

    nir = "nir"


def export(
    ckpt: Source = None,
    output: Annotated[
        Optional[Path],
        typer.Option("--output", "-o", metavar="FILE", help="File to write: .nir."),
    ] = None,
    format: Annotated[
        Optional[Format],
        typer.Option("--format", metavar="nir", help="What to write, if FILE ends in another way."),
    ] = None,
    dt: Annotated[
        float, typer.Option("--dt", metavar="SECONDS", help="A step of time, in a NIR graph.")
    ] = 1e-4,
    params: Params = None,
    module: ModuleSpec = None,
    inputs: Inputs = None,
    readout: ReadoutRule = None,
    nir: Nir = None,
    name: ModelName = None,
    as_json: AsJson = False,
) -> None:
    """Write a model as a NIR graph, with which other tools for spiking networks go on."""
    from l2mu_compile.frontend import load_model
    from l2mu_compile.nir_export import write_nir

    if output is None:
        raise UsageError("say where to: --output FILE")
    if format is None and output.suffix.lower() not in {f".{f.value}" for f in Format}:
        raise UsageError(f"--output {output}: ends in .nir, or say what to write with --format")
    if not 0 < dt < float("inf"):
        raise UsageError(f"--dt {dt:g}: a time above 0")
    with bars(as_json) as progress:
        progress.say("loading")
        model = load_model(ckpt, params, module, inputs, readout, name, nir)
        try:
            write_nir(model.network, output, dt)
        except OSError as error:
            raise UsageError(f"{output}: cannot be written: {reason(error)}") from None
    if as_json:
        print(json.dumps({"file": printable(str(output)), "notes": model.notes}, indent=2))
        return
    for note in model.notes:
        show_note(note)
