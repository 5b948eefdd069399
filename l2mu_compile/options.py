"""Options that several commands have, and how the values of options are read."""

from __future__ import annotations

import math
import os
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from l2mu_compile.errors import UsageError
from l2mu_compile.paths import printable

# ruff: noqa: UP045 (typer reads annotations at run time, on Python 3.10 too)


class Numbers(str, Enum):
    """What the compiled code computes with."""

    int8 = "int8"
    none = "none"


class Emulator(str, Enum):
    """What runs code for another processor."""

    unicorn = "unicorn"
    qemu = "qemu"


Source = Annotated[
    Optional[Path],
    typer.Argument(metavar="CKPT", help="Checkpoint (.pt .ckpt .safetensors) or network (.txt)."),
]
Params = Annotated[
    Optional[Path],
    typer.Option(
        metavar="FILE", help="JSON or YAML file of hyper-parameters, for checkpoints without."
    ),
]
ModuleSpec = Annotated[
    Optional[str],
    typer.Option(
        "--module", metavar="PKG:NAME", help="Any torch module instead: package.module:factory."
    ),
]
Inputs = Annotated[
    Optional[int],
    typer.Option(
        metavar="N",
        min=1,
        help="Channels of a --module; else those of the windows, or found by trial.",
    ),
]
ReadoutRule = Annotated[
    Optional[str],
    typer.Option(
        "--readout",
        metavar="RULE",
        help="For modules that return membranes: last_membrane, max_membrane or mean_membrane.",
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", metavar="", help="Print JSON for machines, errors too.")
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", metavar="", help="Show every command that is run.")
]


def numbers(name: str, text: str | None) -> list[float] | None:
    """The value of ``--input-scale`` or ``--input-offset``: ``1`` or ``1,2,3``."""
    if text is None:
        return None
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = [math.nan]
    if not all(map(math.isfinite, found)):
        raise UsageError(f"--input-{name} {text}: write numbers separated by commas")
    return found


def printer(wanted: str | None, pipeline: Any) -> Any:
    """An observer that prints networks after the pass ``wanted`` (``--print-after``)."""
    if wanted is None:
        return None
    names = [p.name for p in pipeline]
    if wanted != "all" and wanted not in names:
        raise UsageError(f"--print-after {wanted}: not among the passes {', '.join(names)}")
    from l2mu_compile.text import to_text

    def show(item: Any, _before: Any, after: Any) -> None:
        if wanted in ("all", item.name):
            print(f"# after {item}\n{to_text(after)}", file=sys.stderr)

    return show


def command_line() -> tuple[str, ...]:
    """This command as typed, with paths cut to names so that outputs do not depend on places."""
    return ("l2mu-compile", *(printable(_placeless(argument)) for argument in sys.argv[1:]))


def _placeless(argument: str) -> str:
    option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", "")
    if equals:
        return f"{option}={_placeless(value)}"
    return Path(argument).name if os.sep in argument else argument
