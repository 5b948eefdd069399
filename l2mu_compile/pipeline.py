"""Pipelines: ordered lists of passes, the two default ones, and how a list is written and run.

A list is written ``a,b{option=1,other=x}``: pass names with their options.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from l2mu_compile import plugins
from l2mu_compile.errors import L2MUError, ModelError, PassError, UsageError
from l2mu_compile.network import STAGES, Network
from l2mu_compile.passbase import Context, Pass
from l2mu_compile.passes import PASSES
from l2mu_compile.paths import printable
from l2mu_compile.text import network_digest
from l2mu_compile.verify import verify

# float32: no number changes but dead neurons leave; equal to the traced network spike for spike.
FLOAT_PIPELINE = (
    "fold-input",
    "remove-dead",
    "detect-spikes",
    "calibrate",
    "select-kernels",
    "plan-memory",
)

# int8 weights, integer thresholds and membranes.
INT8_PIPELINE = (
    "fold-input",
    "remove-dead",
    "fold-threshold",
    "detect-spikes",
    "calibrate",
    "quantize",
    "select-kernels",
    "plan-memory",
)

# Tuning if no passes are named: integers, trained as they will be computed with.
TUNE_PIPELINE = ("quantize", "fine-tune")

NEED_WINDOWS = ("detect-spikes", "calibrate")

_ITEM = re.compile(r"\s*(?P<name>[A-Za-z0-9_-]+)\s*(?:\{(?P<options>[^{}]*)\})?\s*(?:,|\Z)")

Observer = Callable[[Pass, Network, Network], None]


def known_passes() -> dict[str, type[Pass]]:
    """All passes by name; `UsageError` naming a plug-in that is not sound."""
    return plugins.known(plugins.PASSES)


def default_pipeline(quantized: bool, calibrated: bool) -> tuple[Pass, ...]:
    """The default passes; those that need windows only where there are some."""
    names = INT8_PIPELINE if quantized else FLOAT_PIPELINE
    return tuple(PASSES[name]() for name in names if calibrated or name not in NEED_WINDOWS)


def with_preparation(passes: Sequence[Pass]) -> tuple[Pass, ...]:
    """``passes`` with those before the first ``quantize`` that the default pipeline has there."""
    names = [p.name for p in passes]
    if "quantize" not in names:
        return tuple(passes)
    position = names.index("quantize")
    before = INT8_PIPELINE[: INT8_PIPELINE.index("quantize")]
    missing = [PASSES[name]() for name in before if name not in names[:position]]
    return (*passes[:position], *missing, *passes[position:])


def parse_pipeline(text: str) -> tuple[Pass, ...]:
    """Read ``a,b{x=1}``. Raises `UsageError` on an unknown pass, option or value."""
    known = known_passes()
    passes, position = [], 0
    while position < len(text):
        match = _ITEM.match(text, position)
        if match is None:
            raise UsageError(f"pipeline: cannot read {text[position:]!r}; write a,b{{option=1}}")
        passes.append(_make_pass(known, match["name"], match["options"] or ""))
        position = match.end()
    return tuple(passes)


def _make_pass(known: dict[str, type[Pass]], name: str, options: str) -> Pass:
    if name not in known:
        close = get_close_matches(name, known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"
        raise UsageError(f"unknown pass {name!r}{hint}")
    kind, values = known[name], {}
    types = _option_types(kind)
    for item in filter(None, (part.strip() for part in options.split(","))):
        option, separator, value = item.partition("=")
        option = option.strip()
        if not separator or option not in types:
            offered = ", ".join(types) or "none"
            raise UsageError(f"pass {name}: unexpected {item!r}; its options: {offered}")
        try:
            values[option] = types[option].validate_python(value.strip())
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise UsageError(f"pass {name}: {option}={value.strip()}: {reason}") from None
    return kind(**values)


def _option_types(kind: type[Pass]) -> dict[str, TypeAdapter[Any]]:
    hints = get_type_hints(kind)
    return {f.name: TypeAdapter(hints[f.name]) for f in fields(kind)}


def run_passes(
    network: Network,
    passes: Sequence[Pass],
    context: Context,
    observer: Observer | None = None,
    check: bool = True,
) -> Network:
    """Apply ``passes`` in order, verifying before the first and after each.

    ``observer(pass, before, after)`` is called after each pass. A broken rule is reported with the
    pass that broke it and those that ran before. Passes that are not this package's own are checked
    in any case, for all that `applied` says.
    """
    if check:
        verify(network)
    done: list[str] = []
    for item in passes:
        own = type(item) in PASSES.values()
        try:
            after = item.apply(network, context) if own else applied(item, network, context)
            if check and own:
                verify(after)
        except ModelError as error:
            before = f" (after {', '.join(done)})" if done else ""
            place = "" if own else f" of {_file_of(item)}"
            raise ModelError(f"pass {item.name}{place}{before}: {error}") from error
        if observer:
            observer(item, network, after)
        network = after
        done.append(item.name)
    return network


def applied(item: Pass, network: Network, context: Context) -> Network:
    """What a pass makes of ``network``; `PassError` unless it does as a pass must.

    It returns a network that breaks no rule, with the channels and classes of the one it was given
    and of no earlier stage, leaves that one as it was, and raises nothing but this package's errors
    (`ModelError` or `UsageError` for a network that it cannot transform).
    """
    before = network_digest(network)
    try:
        after = item.apply(network, context)
    except L2MUError:
        raise
    except (Exception, SystemExit) as error:
        raise PassError(f"{type(error).__name__}: {error}") from error
    if not isinstance(after, Network):
        raise PassError(f"returned a {type(after).__name__}, not a Network")
    if network_digest(network) != before:
        raise PassError("changed the network that it was given; a pass returns a new one")
    try:
        verify(after)
    except ModelError as error:
        raise PassError(str(error)) from error
    for what, old, new in (
        ("channels", network.input.size, after.input.size),
        ("classes", network.classes, after.classes),
    ):
        if old != new:
            raise PassError(f"made {new} {what} of {old}; a pass keeps them")
    if STAGES.index(after.stage) < STAGES.index(network.stage):
        raise PassError(f"made a {after.stage} network of a {network.stage} one")
    return after


def _file_of(item: Pass) -> str:
    module = sys.modules.get(type(item).__module__)
    return printable(Path(getattr(module, "__file__", None) or type(item).__module__).name)
