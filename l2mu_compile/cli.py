"""The command line: ``l2mu-compile inspect | compile | verify | opt | passes | targets``.

Exit codes: 0 ok, 1 internal error, 2 usage, 3 unsupported or invalid model, 4 verification
mismatch, 5 budget exceeded, 6 toolchain missing.
"""

from __future__ import annotations

import json
import math
import os
import sys
import traceback
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from rich.markup import escape

from l2mu_compile import __version__
from l2mu_compile.display import (
    bars,
    err,
    out,
    show_entries,
    show_network,
    show_note,
    show_report,
    show_rows,
)
from l2mu_compile.errors import L2MUError, UsageError

EXIT_CODES = """Exit codes: 0 ok, 1 internal error, 2 usage, 3 unsupported or invalid model,
4 verification mismatch, 5 budget exceeded, 6 toolchain missing."""

INTERRUPTED = 130
CommandLineError: Any = typer.BadParameter.__base__  # click's UsageError, wherever typer keeps it

app = typer.Typer(
    name="l2mu-compile",
    help="Compile trained spiking Legendre Memory Units to small, verified C for ARM devices.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


class Numbers(str, Enum):
    """What the compiled code computes with."""

    int8 = "int8"
    none = "none"


class Emulator(str, Enum):
    """What runs code for another processor."""

    unicorn = "unicorn"
    qemu = "qemu"


Source = Annotated[
    Optional[Path],  # noqa: UP045 (typer reads annotations at run time, on Python 3.10 too)
    typer.Argument(metavar="CKPT", help="Checkpoint (.pt .ckpt .safetensors) or network (.txt)."),
]
Params = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(
        metavar="FILE", help="JSON or YAML file of hyper-parameters, for checkpoints without."
    ),
]
ModuleSpec = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--module", metavar="PKG:NAME", help="Any torch module instead: package.module:factory."
    ),
]
Inputs = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(metavar="N", min=1, help="Channels of a --module; found by trial if not given."),
]
ReadoutRule = Annotated[
    Optional[str],  # noqa: UP045
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


@app.command(epilog="Example: l2mu-compile inspect har.ckpt")
def inspect(
    ckpt: Source = None,
    params: Params = None,
    module: ModuleSpec = None,
    inputs: Inputs = None,
    readout: ReadoutRule = None,
    as_json: AsJson = False,
) -> None:
    """Show a model's populations, projections, parameters and bytes."""
    from l2mu_compile.frontend import load_model

    with bars(as_json) as progress:
        progress.say("loading")
        model = load_model(ckpt, params, module, inputs, readout)
    if as_json:
        _print_json({**_network_json(model.network), "notes": model.notes})
        return
    show_network(model.network)
    for note in model.notes:
        show_note(note)


@app.command(
    epilog="Example: l2mu-compile compile har.ckpt --target cortex-m4 --quantize int8 "
    "--calibrate calibration.npz -o out/har"
)
def compile(
    ckpt: Source = None,
    target: Annotated[
        str, typer.Option(metavar="NAME", help="One of those `l2mu-compile targets` lists.")
    ] = "host",
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Directory to write; appears whole or not at all."
        ),
    ] = Path("out"),
    params: Params = None,
    module: ModuleSpec = None,
    inputs: Inputs = None,
    readout: ReadoutRule = None,
    artifact: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(metavar="NAME", help="A package to make as well; may be given several times."),
    ] = None,
    quantize: Annotated[
        Numbers, typer.Option(metavar="int8|none", help="int8, or none for float32.")
    ] = Numbers.none,
    calibrate: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            metavar="FILE", help="Windows to measure ranges and rates on: .npz with x [N, T, I]."
        ),
    ] = None,
    passes: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="LIST", help="Passes instead of the default ones: a,b{option=1}."),
    ] = None,
    name: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="NAME",
            help="Prefix of everything generated; the checkpoint's name if not given.",
        ),
    ] = None,
    input_scale: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="NUMBERS", help="Samples are raw counts: the model sees scale * count + offset."
        ),
    ] = None,
    input_offset: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="NUMBERS", help="One number, or one for each channel, separated by commas."
        ),
    ] = None,
    print_after: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="PASS|all", help="Print the network after a pass (on stderr)."),
    ] = None,
    no_verify_passes: Annotated[
        bool,
        typer.Option("--no-verify-passes", metavar="", help="Skip the rule checks between passes."),
    ] = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Compile a model: sources, binaries, the network's text and a report, all in one directory."""
    from l2mu_compile.compiler import Job, compile_model
    from l2mu_compile.frontend import load_model
    from l2mu_compile.output import check_output
    from l2mu_compile.pipeline import default_pipeline, parse_pipeline
    from l2mu_compile.targets.registry import get_target
    from l2mu_compile.targets.toolchain import CommandLog
    from l2mu_compile.windows import load_windows

    record = get_target(target)
    check_output(output)
    windows = load_windows(calibrate) if calibrate else None
    pipeline = (
        parse_pipeline(passes)
        if passes is not None
        else default_pipeline(quantize is Numbers.int8, windows is not None)
    )
    with bars(as_json) as progress:
        progress.say("loading")
        if inputs is None and windows is not None:
            inputs = windows.x.shape[2]
        model = load_model(ckpt, params, module, inputs, readout, name)
        model = model.with_input(_numbers("scale", input_scale), _numbers("offset", input_offset))
        job = Job(
            target=record,
            passes=pipeline,
            windows=windows,
            artifacts=tuple(artifact or ()),
            command=_command(),
            observer=_printer(print_after, pipeline),
            check_passes=not no_verify_passes,
            log=CommandLog(_say if verbose else None),
            progress_of=progress.phase,
        )
        progress.say(f"compiling for {record.name}")
        report = compile_model(model, job, output)
    if as_json:
        print(report.to_json(), end="")
    else:
        show_report(report, str(output))


@app.command(epilog="Example: l2mu-compile verify out/har --data heldout.npz")
def verify(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="What `compile` wrote.")],
    data: Annotated[
        Path,
        typer.Option(metavar="FILE", help="Windows: .npz with x [N, T, I] and, if known, y [N]."),
    ],
    checkpoint: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            metavar="FILE", help="Compare decisions with this PyTorch model, not the float network."
        ),
    ] = None,
    params: Params = None,
    windows: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(metavar="N", min=1, help="Use only this many windows, evenly spread."),
    ] = None,
    emulator: Annotated[
        Optional[Emulator],  # noqa: UP045
        typer.Option(
            metavar="unicorn|qemu", help="What runs the code; unicorn, if it can, if not given."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run compiled code on windows, against the interpreter bit for bit and the float model."""
    from l2mu_compile.compiler import verify_output
    from l2mu_compile.frontend import load_model
    from l2mu_compile.windows import load_windows

    chosen = load_windows(data).first(windows)
    with bars(as_json) as progress:
        progress.say("loading")
        decide = load_model(checkpoint, params).decide if checkpoint else None
        name = emulator.value if emulator else None
        report = verify_output(directory, chosen, decide, progress.phase("verifying"), name)
    if as_json:
        print(report.to_json(), end="")
    else:
        show_report(report, str(directory))


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
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Text to write (.txt), weights beside it; printed if not given.",
        ),
    ] = None,
    target: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="NAME", help="For passes that choose by target."),
    ] = None,
    calibrate: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="FILE", help="Windows for passes that measure."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Apply passes to a network's text form: text in, text out."""
    from l2mu_compile.frontend import read_network
    from l2mu_compile.passbase import Context
    from l2mu_compile.pipeline import parse_pipeline, run_passes
    from l2mu_compile.targets.registry import get_target
    from l2mu_compile.text import to_text
    from l2mu_compile.windows import load_windows

    context = Context(
        target=get_target(target) if target else None,
        samples=load_windows(calibrate).x if calibrate else None,
        note=show_note,
    )
    if output is not None and output.suffix != ".txt":
        raise UsageError(f"--output {output}: a network's text ends in .txt")
    pipeline = parse_pipeline(passes)
    result = run_passes(read_network(network), pipeline, context)
    if output is not None:
        _save(result, output)
    if as_json:
        _print_json(_network_json(result))
    elif output is None:
        print(to_text(result), end="")


@app.command(epilog="Example: l2mu-compile passes --json")
def passes(as_json: AsJson = False) -> None:
    """List the passes, with their options and contracts."""
    from l2mu_compile.pipeline import FLOAT_PIPELINE, INT8_PIPELINE, known_passes

    known = known_passes()
    if as_json:
        _print_json(
            {
                "passes": [
                    {"name": n, "spelling": str(p()), "contract": p.contract()}
                    for n, p in known.items()
                ],
                "pipelines": {"float32": FLOAT_PIPELINE, "int8": INT8_PIPELINE},
            }
        )
        return
    show_entries([(str(p()), p.contract()) for p in known.values()])
    out.print("\nDefault pipelines:")
    show_entries([("float32", ", ".join(FLOAT_PIPELINE)), ("int8", ", ".join(INT8_PIPELINE))])


@app.command(epilog="Example: l2mu-compile targets --json")
def targets(as_json: AsJson = False) -> None:
    """List the targets and what is built for each."""
    from l2mu_compile.targets.registry import TARGETS

    rows: list[dict[str, Any]] = [
        {
            "name": t.name,
            "description": t.description,
            "artifacts": list(t.artifacts),
            "kernel_sets": list(t.kernel_sets),
            "runs_on": t.runs_on,
        }
        for t in TARGETS.values()
    ]
    if as_json:
        _print_json(rows)
        return
    show_rows(
        ("target", "description", "artifacts", "verified on"),
        [(r["name"], r["description"], ", ".join(r["artifacts"]), r["runs_on"]) for r in rows],
    )


def main() -> None:
    """Entry point: run, and turn every failure into one line and an exit code."""
    try:
        code = app(standalone_mode=False, prog_name="l2mu-compile")
        sys.exit(_fail("interrupted", INTERRUPTED) if code == INTERRUPTED else code)
    except L2MUError as error:
        sys.exit(_fail(str(error), error.exit_code))
    except CommandLineError as error:
        sys.exit(_fail_usage(error))
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(_fail("interrupted", INTERRUPTED))
    except Exception as error:
        if os.environ.get("L2MU_DEBUG"):
            traceback.print_exc()
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        text = f"internal error at {place}: {type(error).__name__}: {error} (L2MU_DEBUG=1 for more)"
        sys.exit(_fail(text, 1))


def _fail(text: str, code: int) -> int:
    """Say what went wrong in one line, whatever a file's names and messages hold."""
    text = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
    if "--json" in sys.argv:
        print(json.dumps({"error": {"message": text, "exit_code": code}}))
    else:
        err.print(f"[red]error:[/] {escape(text)}", soft_wrap=True)
    return code


def _fail_usage(error: Any) -> int:
    """An argument that the command line itself refuses; without any, the help was shown."""
    text = error.format_message()
    if not text:
        return UsageError.exit_code
    command = error.ctx.command_path if error.ctx else "l2mu-compile"
    return _fail(f"{text.rstrip('.')} (see {command} --help)", UsageError.exit_code)


def _say(line: str) -> None:
    err.print(escape(line), soft_wrap=True)


def _save(network: Any, path: Path) -> None:
    from l2mu_compile.text import save_network

    try:
        save_network(network, path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from None


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))


def _network_json(network: Any) -> dict[str, Any]:
    from l2mu_compile.neurons import parameter_names

    return {
        "name": network.name,
        "stage": network.stage,
        "window": network.window,
        "inputs": network.input.size,
        "classes": network.classes,
        "readout": {"population": network.readout.population, "rule": network.readout.rule},
        "parameter_bytes": network.parameter_bytes(),
        "populations": [
            {
                "name": p.name,
                "shape": list(p.shape),
                "neuron": p.neuron.kind,
                "reset": p.neuron.reset,
                "rate": p.rate,
                **{n: getattr(p.neuron, n).tolist() for n in parameter_names(p.neuron)},
            }
            for p in network.populations
        ],
        "projections": [
            {
                "source": p.source,
                "target": p.target,
                "delay": p.delay,
                "blocks": p.blocks,
                "shape": list(p.weight.shape),
                "synapses": p.synapses,
                "bytes": p.weight.nbytes,
                "kernel": p.kernel,
            }
            for p in network.projections
        ],
    }


def _numbers(name: str, text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = [math.nan]
    if not all(map(math.isfinite, numbers)):
        raise UsageError(f"--input-{name} {text}: write numbers separated by commas")
    return numbers


def _printer(wanted: str | None, pipeline: Any) -> Any:
    """An observer that prints networks after the wanted pass."""
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


def _command() -> tuple[str, ...]:
    """This command as typed, with paths cut to names so that outputs do not depend on places."""
    return ("l2mu-compile", *map(_placeless, sys.argv[1:]))


def _placeless(argument: str) -> str:
    option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", "")
    if equals:
        return f"{option}={_placeless(value)}"
    return Path(argument).name if os.sep in argument else argument


if __name__ == "__main__":
    main()
