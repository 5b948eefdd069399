"""Print a Program as C: a header, a short driver and its constants. Decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from l2mu_compile import __version__
from l2mu_compile.buffers import CONVERTED_SAMPLE
from l2mu_compile.errors import ModelError
from l2mu_compile.network import CTYPE_BYTES, Buffer
from l2mu_compile.program import Argument, Call, Constant, Data, Place, Program, Record
from l2mu_compile.saved import Member, saved_bytes
from l2mu_compile.targets.c_names import refuse_taken_names
from l2mu_compile.targets.c_text import array_body, number, string, string_body
from l2mu_compile.targets.kernel_table import HEADERS, KERNEL_DIR, kernel_table, sources_of

TEMPLATE_DIR = Path(__file__).parent / "templates"
SCORE_MEANINGS = {
    "spike_count": "spikes of its output neuron",
    "last_membrane": "the membrane of its output neuron after the last step",
    "max_membrane": "the largest membrane of its output neuron",
    "mean_membrane": "the sum of its output neuron's membrane over the steps",
}
SCRATCH_BYTES = CTYPE_BYTES["uint16_t"]
COUNTER_BYTES = 2 * CTYPE_BYTES["int32_t"]
TOOL = f"l2mu-compile {__version__}"


def emit_c(program: Program, stamp: Sequence[str]) -> dict[str, str]:
    """Sources by file name: ``NAME.h``, ``NAME.c``, ``NAME_weights.h`` and the kernels they call.

    ``stamp`` lines open every generated file. Raises `ModelError` on a kernel that does not exist
    or is called with the wrong number of arguments, and on a name that other C files have.
    """
    _check(program)
    view = _view(program, stamp)
    sources = {
        f"{program.name}.h": render("model.h.jinja", view),
        f"{program.name}.c": render("model.c.jinja", view),
        f"{program.name}_weights.h": render("weights.h.jinja", view),
    }
    for name in (*HEADERS, *sources_of(program.kernels)):
        sources[name] = (KERNEL_DIR / name).read_text(encoding="utf-8")
    return sources


def render(template: str, values: dict[str, Any]) -> str:
    """Fill a template of this package; an undefined name is an error."""
    return _templates().get_template(template).render(values)


def state_layout(program: Program) -> dict[str, Buffer]:
    """The state struct's persistent members by name; offsets are the struct's."""
    return {b.name: b for b in program.buffers if b.lifetime == "state"}


def state_bytes(program: Program) -> int:
    """``sizeof`` the state struct: the arena, rounded up to its widest element."""
    return _rounded_up(max(b.end for b in program.buffers), program)


def stream_bytes(program: Program) -> int:
    """``sizeof`` the stream struct, 0 for a program without: a state for each lane, the scores, two
    counters and, of an integer network, a sample."""
    if program.stream is None:
        return 0
    score = state_layout(program)["score"]
    own = score.end - score.offset + COUNTER_BYTES
    if program.from_floats:
        own += program.sample_count * CTYPE_BYTES[program.sample_ctype]
    return _rounded_up(program.stream.lanes * state_bytes(program) + own, program)


@cache
def _templates() -> Environment:
    """Which keeps what it has compiled."""
    return Environment(
        loader=FileSystemLoader(TEMPLATE_DIR), undefined=StrictUndefined, keep_trailing_newline=True
    )


def _rounded_up(size: int, program: Program) -> int:
    align = max(CTYPE_BYTES[b.ctype] for b in program.buffers)
    return -(-size // align) * align


def _check(program: Program) -> None:
    refuse_taken_names(program.name)
    for call in program.calls:
        kernel = kernel_table().get(call.kernel)
        if kernel is None:
            raise ModelError(f"{call.owner}: no C kernel {call.kernel}")
        if len(kernel.parameters) != len(call.arguments):
            raise ModelError(
                f"{call.owner}: {call.kernel} takes {len(kernel.parameters)} arguments, "
                f"not {len(call.arguments)}"
            )


def _view(program: Program, stamp: Sequence[str]) -> dict[str, Any]:
    base = max((b.end for b in state_layout(program).values()), default=0)
    scratch = {b.name: _scratch_view(b, base) for b in program.buffers if b.lifetime == "scratch"}
    end = max((b.end for b in program.buffers), default=base)
    printer = _CallPrinter(program)
    return {
        "stamp": [line.replace("*/", "* /") for line in stamp],
        "name": program.name,
        "NAME": program.name.upper(),
        "program": program,
        "state_bytes": state_bytes(program),
        "state": list(state_layout(program).values()),
        "save_bytes": saved_bytes(program.members),
        "stream": program.stream,
        "stream_bytes": stream_bytes(program),
        "score_ctype": state_layout(program)["score"].ctype,
        "score_meaning": SCORE_MEANINGS[program.rule],
        "scratch_count": (end - base) // SCRATCH_BYTES,
        "converted": scratch.pop(CONVERTED_SAMPLE, None),
        "scratch": list(scratch.values()),
        "converts": program.from_floats is not None,
        "entries": _entries(program, printer),
        "reset": [printer.call(call) for call in program.reset],
        "step": _groups(program, printer),
        "reads_sample": any(Place("sample") in call.arguments for call in program.step),
        "classify": printer.call(program.classify),
        "decided": program.decided and printer.call(program.decided),
        "class_names": string_body(program.labels),
        "version": string(TOOL),
        "members": [_member_view(m) for m in program.members],
        "save": printer.call(program.save),
        "restore": printer.call(program.restore),
        "data": [_data_view(d) for d in program.data],
        "records": [_record_view(r) for r in program.records],
    }


def _scratch_view(buffer: Buffer, base: int) -> dict[str, Any]:
    cast = "" if buffer.ctype == "uint16_t" else f"({buffer.ctype} *)"
    index = (buffer.offset - base) // SCRATCH_BYTES
    return {"name": buffer.name, "ctype": buffer.ctype, "cast": cast, "index": index}


def _entries(program: Program, printer: _CallPrinter) -> list[dict[str, Any]]:
    """What samples may be given as: how such functions' names end, their type, what one and many
    are called, and the call that makes a ``converted`` sample of one, if that is needed."""
    kinds = (
        ("", "float", "sample", "samples", program.from_floats),
        ("_raw", "int16_t", "counts", "counts", program.from_counts),
    )
    return [
        {
            "suffix": suffix,
            "ctype": ctype,
            "one": one,
            "many": many,
            "convert": call and printer.call(call),
        }
        for suffix, ctype, one, many, call in kinds
    ]


def _member_view(member: Member) -> dict[str, Any]:
    return {
        "name": member.buffer.name,
        "count": member.count,
        "bytes": CTYPE_BYTES[member.buffer.ctype],
        "kind": f"L2MU_{member.kind.upper()}",
        "low": number(member.low, "int64_t"),
        "high": number(member.high, "int64_t"),
    }


def _data_view(data: Data) -> dict[str, Any]:
    return {
        "name": data.name,
        "ctype": data.ctype,
        "count": data.values.size,
        "body": array_body(data.values, data.ctype),
        "is_aligned": data.ctype in ("int8_t", "uint8_t", "int16_t"),
    }


def _record_view(record: Record) -> dict[str, Any]:
    def text(value: str | int | None) -> str:
        if value is None:
            return "NULL"
        return value if isinstance(value, str) else number(value, "int32_t")

    fields = [(name, text(value)) for name, value in record.fields]
    return {"name": record.name, "ctype": record.ctype, "fields": fields}


def _groups(program: Program, printer: _CallPrinter) -> list[dict[str, Any]]:
    def title(call: Call) -> str:
        return call.owner.split(".")[0]

    return [
        {"title": owner, "calls": [printer.call(call) for call in calls]}
        for owner, calls in groupby(program.step, key=title)
    ]


class _CallPrinter:
    def __init__(self, program: Program) -> None:
        self.state = state_layout(program)

    def call(self, call: Call) -> str:
        types = kernel_table()[call.kernel].parameters
        arguments = [self.argument(a, t) for a, t in zip(call.arguments, types, strict=True)]
        return f"{call.kernel}({', '.join(arguments)})"

    def argument(self, argument: Argument, ctype: str) -> str:
        if isinstance(argument, Place):
            name = argument.name
            return f"state->{name}" if name in self.state else name
        if isinstance(argument, Constant):
            return f"&{argument.name}" if argument.address else argument.name
        return number(argument, ctype)
