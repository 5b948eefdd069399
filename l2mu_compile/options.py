"""Options that several commands have, and how the values of options are read."""

from __future__ import annotations

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


class Backend(str, Enum):
    """What makes binaries of the program."""

    c = "c"
    tvm = "tvm"


class Emulator(str, Enum):
    """What runs code for another processor."""

    unicorn = "unicorn"
    qemu = "qemu"


Source = Annotated[
    Optional[Path],
    typer.Argument(
        metavar="CKPT",
        help="Checkpoint (.pt .ckpt .safetensors), .nir or .onnx graph, or network (.txt).",
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", metavar="", help="Print JSON for machines, errors too.")
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", metavar="", help="Show every command that is run.")
]


def _load_plugins(files: list[Path] | None) -> list[Path] | None:
    from l2mu_compile.plugins import load_plugin

    for file in files or ():
        load_plugin(file)
    return files


Plugins = Annotated[
    Optional[list[Path]],
    typer.Option(
        "--plugin",
        metavar="FILE",
        callback=_load_plugins,
        help="Python file with passes, targets or importers; may be given several times.",
    ),
]
TargetName = Annotated[
    Optional[str],
    typer.Option(
        metavar="NAME",
        help="One of those `l2mu-compile targets` lists; the board's, else host.",
    ),
]
BoardName = Annotated[
    Optional[str],
    typer.Option(metavar="NAME", help="One of those `l2mu-compile boards` lists."),
]
BackendName = Annotated[
    Backend,
    typer.Option(
        metavar="c|tvm", help="What makes binaries: portable C, or TVM (shared libraries alone)."
    ),
]
OutputDirectory = Annotated[
    Path,
    typer.Option(
        "--output", "-o", metavar="DIR", help="Directory to write; appears whole or not at all."
    ),
]
Packages = Annotated[
    Optional[list[str]],
    typer.Option(metavar="NAME", help="A package to make as well; may be given several times."),
]
Processor = Annotated[
    Optional[str],
    typer.Option(metavar="CPU", help="Another processor than the target's: cortex-m35p."),
]
Features = Annotated[
    Optional[str],
    typer.Option(metavar="LIST", help="Processor features to add or leave out: +fp64,-dsp."),
]
FloatAbi = Annotated[
    Optional[str],
    typer.Option(metavar="ABI", help="Of a microcontroller's code: soft, softfp or hard."),
]
JavaPackage = Annotated[
    Optional[str],
    typer.Option(
        metavar="NAME", help="Package of the Java class (aar, java); l2mu.NAME if not given."
    ),
]
Quantize = Annotated[Numbers, typer.Option(metavar="int8|none", help="int8, or none for float32.")]
Calibration = Annotated[
    Optional[Path],
    typer.Option(
        metavar="FILE", help="Windows to measure ranges and rates on: .npz with x [N, T, I]."
    ),
]
TrainingData = Annotated[
    Optional[Path],
    typer.Option(
        "--data",
        metavar="FILE",
        help="Windows to train on: .npz with x [N, T, I], y [N] and, if known, group [N].",
    ),
]
ValidationData = Annotated[
    Optional[Path],
    typer.Option(
        "--validation",
        metavar="FILE",
        help="Windows to choose by; groups or a fifth of --data if not given.",
    ),
]
PassList = Annotated[
    Optional[str],
    typer.Option(metavar="LIST", help="Passes instead of the default ones: a,b{option=1}."),
]
WindowSteps = Annotated[
    Optional[int],
    typer.Option(
        metavar="N",
        help="Samples in a window of a stream; as long as calibration windows if not given.",
    ),
]
HopSteps = Annotated[
    Optional[int],
    typer.Option(
        metavar="N", help="Samples between decisions on a stream; a whole window if not given."
    ),
]
PrintAfter = Annotated[
    Optional[str],
    typer.Option(metavar="PASS|all", help="Print the network after a pass (on stderr)."),
]
NoVerifyPasses = Annotated[
    bool,
    typer.Option("--no-verify-passes", metavar="", help="Skip the rule checks between passes."),
]


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
