"""The command ``l2mu-compile verify-build``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from l2mu_compile.display import bars, err, out
from l2mu_compile.errors import MismatchError
from l2mu_compile.options import AsJson
from l2mu_compile.paths import printable

if TYPE_CHECKING:
    from l2mu_compile.verify_build import Remade

EPILOG = (
    "Example: l2mu-compile verify-build out/har\n\n"
    "Example: l2mu-compile verify-build build --inputs checkpoints"
)


def verify_build(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="What `compile` or `build` wrote.")
    ],
    inputs: Annotated[
        Path,
        typer.Option(metavar="DIR", help="The files it was made from lie below; here by default."),
    ] = Path(),
    as_json: AsJson = False,
) -> None:
    """Make a directory again from its provenance: every byte must be the same."""
    from l2mu_compile.verify_build import directories_of, remake

    made: list[Remade] = []
    with bars(as_json) as progress:
        for folder in directories_of(directory):
            progress.say(f"making {printable(str(folder))} again")
            made.append(remake(folder, inputs, untrusted=directory))
    if as_json:
        print(json.dumps({"directories": [_json(found) for found in made]}, indent=2))
    else:
        for found in made:
            _show(found)
    wrong = [found for found in made if found.different or found.figures]
    if wrong and not as_json:
        first = (*wrong[0].different, "report.json")[0]
        raise MismatchError(f"{wrong[0].folder}: {first} is not the same")
    raise typer.Exit(MismatchError.exit_code if wrong else 0)


def _json(found: Remade) -> dict[str, object]:
    return {
        "path": str(found.folder),
        "files": found.files,
        "different": list(found.different),
        "figures": list(found.figures),
        "tools": list(found.tools),
    }


def _show(found: Remade) -> None:
    where = escape(printable(str(found.folder)))
    same = found.files - len(found.different)
    out.print(f"{where}: {same} of {found.files} files the same", soft_wrap=True)
    for name in found.different:
        err.print(f"[red]{where}:[/] {escape(printable(name))} differs", soft_wrap=True)
    for text in found.figures:
        err.print(f"[red]{where}:[/] report.json: {escape(printable(text))}", soft_wrap=True)
    for tool in found.tools:
        err.print(f"{where}: {escape(printable(tool))}", soft_wrap=True)
