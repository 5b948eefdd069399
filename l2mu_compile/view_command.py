"""The command ``l2mu-compile view``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.markup import escape

from l2mu_compile.display import bars, out, show_note
from l2mu_compile.model_options import ModelOptions, with_model
from l2mu_compile.options import (
    AsJson,
    Plugins,
)
from l2mu_compile.paths import printable

# ruff: noqa: UP045 (typer reads annotations at run time, on Python 3.10 too)

EPILOG = (
    "Example: l2mu-compile view har.ckpt -o har.html\n\n"
    "Example: l2mu-compile view out/har --data heldout.npz --window 3 -o har.html\n\n"
    "Example: l2mu-compile view out/tuned --against har.ckpt --data heldout.npz"
)


@with_model
def view(
    network: Annotated[
        Optional[Path],
        typer.Argument(
            metavar="NETWORK",
            help="Checkpoint, network text (.txt), NIR or ONNX graph, or directory of `compile`, "
            "`tune` or `search`.",
        ),
    ] = None,
    data: Annotated[
        Optional[Path],
        typer.Option(metavar="FILE", help="Windows, one of which is shown: .npz with x [N, T, I]."),
    ] = None,
    window: Annotated[
        Optional[int], typer.Option(metavar="K", min=0, help="Which one, from 0.")
    ] = None,
    against: Annotated[
        Optional[Path],
        typer.Option(
            metavar="FILE",
            help="Compare with this checkpoint, network text or directory; else with the float "
            "network that `compile` keeps.",
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Page to write (.html).")
    ] = Path("network.html"),
    *,
    model: ModelOptions,
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Draw a network, its passes and what it does on a window: one page, to open from disk."""
    from l2mu_compile.errors import UsageError
    from l2mu_compile.output import write_whole, writing
    from l2mu_compile.subject import load_subject
    from l2mu_compile.view import view as page_on
    from l2mu_compile.windows import load_windows

    if output.suffix not in (".html", ".htm"):
        raise UsageError(f"--output {output}: a page ends in .html")
    if window is not None and data is None:
        raise UsageError("--window: of which file? Give --data too")
    windows = load_windows(data) if data else None
    with bars(as_json) as progress:
        progress.say("loading")
        subject = load_subject(network, against, model.table(None), windows)
        page = page_on(subject, windows, window or 0, progress.phase("running the window"))
    with writing(output):
        write_whole(output, page)
    if as_json:
        found = {"page": printable(str(output)), "bytes": len(page.encode())}
        print(json.dumps({**found, "notes": subject.notes}, indent=2))
        return
    out.print(f"{escape(printable(str(output)))}: {len(page.encode()):,} bytes", soft_wrap=True)
    for note in subject.notes:
        show_note(note)
