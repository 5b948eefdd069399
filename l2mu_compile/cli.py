"""The command line: ``l2mu-compile inspect | compile | verify | view | tune | ...``.

How it ends, and with which exit codes, is in `l2mu_compile.exits`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from rich.markup import escape

from l2mu_compile import (
    __version__,
    build_command,
    export_command,
    list_commands,
    search_command,
    tune_command,
    verify_build_command,
    view_command,
)
from l2mu_compile.display import (
    bars,
    err,
    network_json,
    out,
    show_network,
    show_note,
    show_report,
)
from l2mu_compile.errors import UsageError
from l2mu_compile.exits import EXIT_CODES, exit_code
from l2mu_compile.model_options import ModelOptions, TorchOptions, with_model
from l2mu_compile.options import (
    AsJson,
    Backend,
    BackendName,
    BoardName,
    Calibration,
    Emulator,
    Features,
    FloatAbi,
    HopSteps,
    JavaPackage,
    NoVerifyPasses,
    Numbers,
    OutputDirectory,
    Packages,
    PassList,
    Plugins,
    PrintAfter,
    Processor,
    Quantize,
    Source,
    TargetName,
    Verbose,
    WindowSteps,
    command_line,
    printer,
)
from l2mu_compile.paths import printable

# ruff: noqa: UP045 (typer reads annotations at run time, on Python 3.10 too)

app = typer.Typer(
    name="l2mu-compile",
    help="Compile trained spiking Legendre Memory Units to small, verified C for ARM devices.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def _version(value: bool) -> None:
    if value:
        out.print(f"l2mu-compile {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", metavar="", callback=_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Compile trained spiking Legendre Memory Units to small, verified C for ARM devices."""


@app.command(
    epilog="Example: l2mu-compile inspect har.ckpt\n\n"
    "Example: l2mu-compile inspect braille.nir --nir producer=snntorch,reset=zero"
)
@with_model
def inspect(
    ckpt: Source = None,
    *,
    model: ModelOptions,
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Show a model's populations, projections, parameters and bytes."""
    from l2mu_compile.making import model_of

    with bars(as_json) as progress:
        progress.say("loading")
        loaded = model_of(model.table(ckpt), Path())
    if as_json:
        _print_json({**network_json(loaded.network), "notes": loaded.notes})
        return
    show_network(loaded.network)
    for note in loaded.notes:
        show_note(note)


@app.command(
    epilog="Example: l2mu-compile compile har.ckpt --target cortex-m4 --quantize int8 "
    "--calibrate calibration.npz -o out/har\n\n"
    "Example: l2mu-compile compile --module my_package.models:make_network -o out/mine\n\n"
    "Example: l2mu-compile compile braille.nir --nir producer=snntorch,reset=zero -o out/nir\n\n"
    "Example: l2mu-compile compile har.ckpt --backend tvm --target cortex-a53 -o out/tvm"
)
@with_model
def compile(
    ckpt: Source = None,
    target: TargetName = None,
    board: BoardName = None,
    backend: BackendName = Backend.c,
    output: OutputDirectory = Path("out"),
    *,
    model: ModelOptions,
    artifact: Packages = None,
    mcpu: Processor = None,
    mattr: Features = None,
    float_abi: FloatAbi = None,
    java_package: JavaPackage = None,
    quantize: Quantize = Numbers.none,
    calibrate: Calibration = None,
    passes: PassList = None,
    window: WindowSteps = None,
    hop: HopSteps = None,
    plugin: Plugins = None,
    print_after: PrintAfter = None,
    no_verify_passes: NoVerifyPasses = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Compile a model: sources, binaries, the network's text and a report, all in one directory."""
    from l2mu_compile.compiler import compile_model
    from l2mu_compile.making import passes_of, ready
    from l2mu_compile.output import check_output
    from l2mu_compile.provenance import provenance
    from l2mu_compile.recipe import PipelineTable, Recipe, TargetTable
    from l2mu_compile.targets.commands import CommandLog

    if passes is not None and quantize is Numbers.int8:
        raise UsageError("--quantize int8 and --passes: name quantize among the passes instead")
    recipe = Recipe(
        model=model.table(ckpt, window=window, hop=hop, calibrate=calibrate),
        target=TargetTable(
            target=target,
            board=board,
            backend=backend.value,
            artifacts=tuple(artifact or ()),
            mcpu=mcpu,
            mattr=mattr,
            float_abi=float_abi,
            java_package=java_package,
        ),
        pipeline=PipelineTable(quantize=quantize.value, passes=passes),
        plugins=tuple(plugin or ()),
    )
    check_output(output)
    observer = printer(print_after, passes_of(recipe.pipeline, calibrate is not None))
    with bars(as_json) as progress:
        progress.say("loading")
        made = ready(recipe, Path(), command_line())
        job = replace(
            made.job,
            provenance=provenance(recipe, Path(), made.job.command),
            observer=observer,
            check_passes=not no_verify_passes,
            log=CommandLog(_say if verbose else None),
            progress_of=progress.phase,
        )
        report = compile_model(made.model, job, output)
    _print_report(report, output, as_json)


@app.command(
    epilog="Example: l2mu-compile verify out/har --data heldout.npz\n\n"
    "Example: l2mu-compile verify out/har --data heldout.npz --checkpoint har.ckpt"
)
@with_model
def verify(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="What `compile` wrote.")],
    data: Annotated[
        Path,
        typer.Option(metavar="FILE", help="Windows: .npz with x [N, T, I] and, if known, y [N]."),
    ],
    checkpoint: Annotated[
        Optional[Path],
        typer.Option(
            metavar="FILE", help="Compare decisions with this PyTorch model, not the float network."
        ),
    ] = None,
    *,
    model: TorchOptions,
    windows: Annotated[
        Optional[int],
        typer.Option(metavar="N", min=1, help="Use only this many windows, evenly spread."),
    ] = None,
    emulator: Annotated[
        Optional[Emulator],
        typer.Option(
            metavar="unicorn|qemu", help="What runs the code; unicorn, if it can, if not given."
        ),
    ] = None,
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Run compiled code on windows, against the interpreter bit for bit and the float model."""
    from l2mu_compile.compiled import verify_output
    from l2mu_compile.frontend import load_model_for
    from l2mu_compile.windows import load_windows

    said = asdict(model)
    given = checkpoint is not None or model.module is not None
    for option, value in said.items():
        if value is not None and not given:
            raise UsageError(f"--{option}: is about a model; give --checkpoint or --module too")
    chosen = load_windows(data).first(windows)
    with bars(as_json) as progress:
        progress.say("loading")
        reference = load_model_for(chosen, checkpoint, **said) if given else None
        name = emulator.value if emulator else None
        report = verify_output(directory, chosen, reference, progress.phase, name)
    _print_report(report, directory, as_json)


app.command(epilog=build_command.EPILOG)(build_command.build)
app.command(epilog=verify_build_command.EPILOG)(verify_build_command.verify_build)
app.command(epilog=tune_command.EPILOG)(tune_command.tune)
app.command(epilog=search_command.EPILOG)(search_command.search)
app.command(epilog=export_command.EPILOG)(export_command.export)
app.command(epilog=view_command.EPILOG)(view_command.view)


@app.command(epilog='Example: l2mu-compile opt network.txt -p "remove-dead,fold-threshold"')
def opt(
    network: Annotated[
        Path, typer.Argument(metavar="NETWORK", help="A network's text form (.txt).")
    ],
    passes: Annotated[
        str,
        typer.Option("--passes", "-p", metavar="LIST", help="Passes to apply: a,b{option=1}."),
    ],
    output: Annotated[
        Optional[Path],
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Text to write (.txt), weights beside it; printed if not given.",
        ),
    ] = None,
    target: Annotated[
        Optional[str],
        typer.Option(metavar="NAME", help="For passes that choose by target."),
    ] = None,
    calibrate: Annotated[
        Optional[Path],
        typer.Option(metavar="FILE", help="Windows for passes that measure."),
    ] = None,
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Apply passes to a network's text form: text in, text out."""
    from l2mu_compile.frontend import read_network
    from l2mu_compile.passbase import Context
    from l2mu_compile.pipeline import parse_pipeline, run_passes
    from l2mu_compile.targets.registry import get_target
    from l2mu_compile.text import file_text
    from l2mu_compile.windows import load_windows

    record = get_target(target) if target else None
    if output is not None and output.suffix != ".txt":
        raise UsageError(f"--output {output}: a network's text ends in .txt")
    pipeline = parse_pipeline(passes)
    windows = load_windows(calibrate) if calibrate else None
    source = read_network(network)
    if windows is not None:
        windows.require_fit(source)
    notes: list[str] = []
    with bars(as_json) as progress:
        context = Context(
            target=record,
            samples=None if windows is None else windows.x,
            samples_from="" if windows is None else windows.source,
            note=notes.append,
            progress=progress.phase("calibrating"),
        )
        result = run_passes(source, pipeline, context)
    for note in notes:
        show_note(note)
    if output is not None:
        _save(result, output)
    if as_json:
        _print_json(network_json(result))
    elif output is None:
        print(file_text(result), end="")


app.command(epilog="Example: l2mu-compile passes --json")(list_commands.passes)
app.command(epilog="Example: l2mu-compile targets --json")(list_commands.targets)
app.command(epilog="Example: l2mu-compile boards --json")(list_commands.boards)


def main() -> None:
    """Entry point."""
    sys.exit(exit_code(lambda: app(standalone_mode=False, prog_name="l2mu-compile")))


def _print_report(report: Any, where: Path, as_json: bool) -> None:
    if as_json:
        print(report.to_json(), end="")
    else:
        show_report(report, printable(str(where)))


def _say(line: str) -> None:
    err.print(escape(line), soft_wrap=True)


def _save(network: Any, path: Path) -> None:
    from l2mu_compile.network_files import save_network
    from l2mu_compile.output import writing

    with writing(path):
        save_network(network, path)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))


if __name__ == "__main__":
    main()
