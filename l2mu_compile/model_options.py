"""Options that say what a model is, for all commands that take one."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from l2mu_compile.errors import UsageError

if TYPE_CHECKING:
    from l2mu_compile.recipe import ModelTable

# ruff: noqa: UP045 (typer reads annotations at run time, on Python 3.10 too)


_option = partial(typer.Option, rich_help_panel="Model")


@dataclass(frozen=True)
class TorchOptions:
    """What a checkpoint needs to become a torch model."""

    params: Annotated[
        Optional[Path],
        _option(
            metavar="FILE", help="JSON or YAML file of hyper-parameters, for checkpoints without."
        ),
    ] = None
    module: Annotated[
        Optional[str],
        _option(metavar="PKG:NAME", help="Any torch module instead: package.module:factory."),
    ] = None
    inputs: Annotated[
        Optional[int],
        _option(
            metavar="N",
            min=1,
            help="Channels of a --module; else those of the windows, or found by trial.",
        ),
    ] = None
    readout: Annotated[
        Optional[str],
        _option(
            metavar="RULE",
            help="Where membranes decide: last_membrane, max_membrane or mean_membrane.",
        ),
    ] = None


@dataclass(frozen=True)
class ModelOptions(TorchOptions):
    """What the command line says of a model, but for where it is."""

    nir: Annotated[
        Optional[str],
        _option(
            metavar="OPTIONS",
            help="What a .nir file leaves open: producer=norse,dt=0.001,reset=zero,start=leak.",
        ),
    ] = None
    name: Annotated[
        Optional[str],
        _option(
            metavar="NAME",
            help="Prefix of everything generated; the checkpoint's name if not given.",
        ),
    ] = None
    input_scale: Annotated[
        Optional[str],
        _option(
            metavar="NUMBERS", help="Samples are raw counts: the model sees scale * count + offset."
        ),
    ] = None
    input_offset: Annotated[
        Optional[str],
        _option(
            metavar="NUMBERS", help="One number, or one for each channel, separated by commas."
        ),
    ] = None
    classes: Annotated[
        Optional[str],
        _option(
            metavar="NAMES|FILE",
            help="Names of the classes, separated by commas, or a file with one on each line.",
        ),
    ] = None

    def table(self, checkpoint: Path | None, **others: Any) -> ModelTable:
        """The same as a recipe has it; ``others`` are more keys of its table. Raises `UsageError`
        for what is no number."""
        from l2mu_compile.labels import labels_or_file
        from l2mu_compile.recipe import ModelTable

        said = {f.name: getattr(self, f.name) for f in fields(self)}
        for key, read in (
            ("classes", labels_or_file),
            ("input_scale", partial(_numbers, "--input-scale")),
            ("input_offset", partial(_numbers, "--input-offset")),
        ):
            said[key] = None if said[key] is None else read(said[key])
        return ModelTable(checkpoint=checkpoint, **said, **others)


def with_model(command: Callable[..., None]) -> Callable[..., None]:
    """``command``, which has a parameter ``model``, as one that has the options of its class."""
    signature = inspect.signature(command, eval_str=True)
    kind = signature.parameters["model"].annotation
    options = inspect.signature(kind, eval_str=True).parameters
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        parameters += options.values() if parameter.name == "model" else [parameter]

    @wraps(command)
    def with_options(**given: Any) -> None:
        said = {name: given.pop(name) for name in options}
        command(model=kind(**said), **given)

    with_options.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {p.name: p.annotation for p in parameters}
    return with_options


def _numbers(option: str, text: str) -> list[float]:
    """The value of an option: ``1`` or ``1,2,3``."""
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = [math.nan]
    if not all(map(math.isfinite, found)):
        raise UsageError(f"{option} {text}: write numbers separated by commas")
    return found
