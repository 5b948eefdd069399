"""The command line: ``l2mu-compile inspect | compile | verify | opt | passes | targets``.

Exit codes: 0 ok, 1 internal error, 2 usage, 3 unsupported or invalid model, 4 verification mismatch,
5 budget exceeded, 6 toolchain missing.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from rich.markup import escape

from l2mu_compile import __version__
from l2mu_compile.display import bars, err, out, show_network, show_report, show_rows
from l2mu_compile.errors import L2MUError, UsageError

EXIT_CODES = """Exit codes: 0 ok, 1 internal error, 2 usage, 3 unsupported or invalid model,
4 verification mismatch, 5 budget exceeded, 6 toolchain missing."""

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


Source = Annotated[
    Optional[Path],  # noqa: UP045 (typer reads annotations at run time, on Python 3.10 too)
    typer.Argument(metavar="[CKPT]", help="Checkpoint (.pt .ckpt .safetensors) or network (.txt)."),
]
Params = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="JSON or YAML file of hyper-parameters, for checkpoints that lack them."),
]
ModuleSpec = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--module", help="Any torch module instead: package.module:factory."),
]
Inputs = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(min=1, help="Channels of a --module; found by trial if not given."),
]
ReadoutRule = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--readout", help="For modules that return membranes: last_membrane, ..."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show every command that is run.")]


def _version(value: bool) -> None:
    if value:
        out.print(f"l2mu-compile {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
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
        network = load_model(ckpt, params, module, inputs, readout).network
    if as_json:
        _print_json(_network_json(network))
    else:
        show_network(network)


@app.command(
    epilog="Example: l2mu-compile compile har.ckpt --target cortex-m4 --quantize int8 "
    "--calibrate calibration.npz -o out/har"
)
def compile(
    ckpt: Source = None,
    target: Annotated[str, typer.Option(help="See `l2mu-compile targets`.")] = "host",
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to write.")] = Path(
        "out"
    ),
    params: Params = None,
    module: ModuleSpec = None,
    inputs: Inputs = None,
    readout: ReadoutRule = None,
    quantize: Annotated[Numbers, typer.Option(help="int8, or none for float32.")] = Numbers.none,
    calibrate: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Windows to measure ranges and rates on: .npz with x [N, T, I]."),
    ] = None,
    passes: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Passes instead of the default ones: a,b{option=1}."),
    ] = None,
    name: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Prefix of everything generated; the checkpoint's name if not given."),
    ] = None,
    input_scale: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Samples are raw counts: the model sees scale * count + offset."),
    ] = None,
    input_offset: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="One number, or one for each channel, separated by commas."),
    ] = None,
    print_after: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="PASS|all", help="Print the network after a pass (on stderr)."),
    ] = None,
    no_verify_passes: Annotated[
        bool, typer.Option("--no-verify-passes", help="Skip the rule checks between passes.")
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
            command=_command(),
            observer=_printer(print_after, pipeline),
            check_passes=not no_verify_passes,
            log=CommandLog((lambda line: err.print(escape(line))) if verbose else None),
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
    data: Annotated[Path, typer.Option(help="Windows: .npz with x [N, T, I] and, if known, y.")],
    checkpoint: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Compare decisions with this PyTorch model, not the float network."),
    ] = None,
    params: Params = None,
    windows: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="Use only this many windows, evenly spread."),
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
        report = verify_output(directory, chosen, decide, progress.phase("verifying"))
    if as_json:
        print(report.to_json(), end="")
    else:
        show_report(report, str(directory))


@app.command(epilog='Example: l2mu-compile opt network.txt -p "remove-dead,fold-threshold"')
def opt(
    network: Annotated[Path, typer.Argument(metavar="NETWORK", help="A network's text form.")],
    passes: Annotated[str, typer.Option("--passes", "-p", help="a,b{option=1}")],
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--output", "-o", help="Write here, weights beside it; else print the text."),
    ] = None,
    target: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="For passes that choose by target."),
    ] = None,
    calibrate: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Windows for passes that measure."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Apply passes to a network's text form: text in, text out."""
    from l2mu_compile.passbase import Context
    from l2mu_compile.pipeline import parse_pipeline, run_passes
    from l2mu_compile.targets.registry import get_target
    from l2mu_compile.text import load_network, save_network, to_text
    from l2mu_compile.windows import load_windows

    context = Context(
        target=get_target(target) if target else None,
        samples=load_windows(calibrate).x if calibrate else None,
        note=lambda note: err.print(f"note: {escape(note)}"),
    )
    result = run_passes(load_network(network), parse_pipeline(passes), context)
    if output is not None:
        save_network(result, output)
    if as_json:
        _print_json(_network_json(result))
    elif output is None:
        print(to_text(result), end="")


@app.command()
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
    show_rows(("pass", "contract"), [(str(p()), p.contract()) for p in known.values()])
    out.print(f"\ndefault, float32: {', '.join(FLOAT_PIPELINE)}")
    out.print(f"default, int8:    {', '.join(INT8_PIPELINE)}")


@app.command()
def targets(as_json: AsJson = False) -> None:
    """List the targets and what is built for each."""
    from l2mu_compile.targets.registry import TARGETS

    rows: list[dict[str, Any]] = [
        {
            "name": t.name,
            "description": t.description,
            "artifacts": list(t.artifacts),
            "kernel_sets": list(t.kernel_sets),
            "runs_on": "this machine" if t.emulator is None else "emulator",
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
        app(standalone_mode=True)
    except L2MUError as error:
        sys.exit(_fail(str(error), error.exit_code))
    except KeyboardInterrupt:
        sys.exit(_fail("interrupted", 130))
    except Exception as error:
        if os.environ.get("L2MU_DEBUG"):
            traceback.print_exc()
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        text = f"internal error at {place}: {type(error).__name__}: {error} (L2MU_DEBUG=1 for more)"
        sys.exit(_fail(text, 1))


def _fail(text: str, code: int) -> int:
    if "--json" in sys.argv:
        print(json.dumps({"error": {"message": text, "exit_code": code}}))
    else:
        err.print(f"[red]error:[/] {escape(text)}", soft_wrap=True)
    return code


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
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--input-{name} {text}: write numbers separated by commas") from None


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
    return ("l2mu-compile", *(Path(a).name if os.sep in a else a for a in sys.argv[1:]))


if __name__ == "__main__":
    main()
