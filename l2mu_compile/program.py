"""The Program: one time step as an ordered list of kernel calls on the planned arrays.

`l2mu_compile.lowering` makes it of a planned Network, emitters print it, reports count it.
"""

from __future__ import annotations

from dataclasses import dataclass

from numpy.typing import NDArray

from l2mu_compile.network import Buffer
from l2mu_compile.saved import Member
from l2mu_compile.stream import Stream

Field = tuple[str, str | int | None]

# The generated API: functions there always are, those of streams, and types. No constant may take
# their names.
API_FUNCTIONS = (
    "init",
    "reset",
    "step",
    "step_raw",
    "classify",
    "scores",
    "run",
    "run_raw",
    "class_name",
    "version",
    "digest",
    "save",
    "restore",
)
STREAM_FUNCTIONS = (
    "stream_init",
    "stream_reset",
    "push",
    "push_raw",
    "decision",
    "stream_scores",
)
EARLY_FUNCTION = "decided"  # of networks that decide early
API_TYPES = ("state_t", "stream_t")


@dataclass(frozen=True)
class Data:
    """A constant array, flat, in the order its kernel reads it."""

    name: str
    ctype: str
    values: NDArray


@dataclass(frozen=True)
class Record:
    """A constant C struct: field by field a number, the name of a `Data`, or None for NULL."""

    name: str
    ctype: str
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Place:
    """Argument: a planned buffer, or one of the variables that the driver's functions have.

    Those are ``state``, ``sample``, ``counts``, ``bytes`` and ``size``, which a function is given,
    and ``converted``, the sample in the numbers the network computes with.
    """

    name: str


@dataclass(frozen=True)
class Constant:
    """Argument: a `Data` array (``address`` False) or a `Record` by address."""

    name: str
    address: bool = False


Argument = Place | Constant | int | float

LAYOUT = Constant("layout", address=True)  # the driver's own table of what is saved


@dataclass(frozen=True)
class Call:
    """One kernel call. ``kernel`` is the C function's name, ``owner`` what it works for."""

    kernel: str
    arguments: tuple[Argument, ...]
    owner: str


@dataclass(frozen=True)
class Program:
    """One time step of one network, ready to print.

    ``buffers`` are the arena; ``reset`` runs before a window on an arena of zeros, ``step`` once
    for each sample, ``classify`` after the last; ``decided`` tells whether more steps are needed
    (None where they always are). ``step`` reads a sample as ``sample_count`` of
    ``sample_ctype``; ``from_floats`` makes one of a float sample (None where it is one),
    ``from_counts`` of raw counts. ``save`` and ``restore`` read the table of ``members``. ``rule``
    is the readout's, ``labels`` name the classes, ``digest`` is the network's, ``stream`` None
    where the length of a window is not known.
    """

    name: str
    inputs: int
    labels: tuple[str, ...]
    digest: str
    stream: Stream | None
    rule: str
    buffers: tuple[Buffer, ...]
    data: tuple[Data, ...]
    records: tuple[Record, ...]
    members: tuple[Member, ...]
    sample_ctype: str
    sample_count: int
    from_floats: Call | None
    from_counts: Call
    reset: tuple[Call, ...]
    step: tuple[Call, ...]
    classify: Call
    decided: Call | None
    save: Call
    restore: Call

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.labels)

    @property
    def functions(self) -> tuple[str, ...]:
        """The C functions of the generated API."""
        words = API_FUNCTIONS + (STREAM_FUNCTIONS if self.stream else ())
        words += (EARLY_FUNCTION,) if self.decided else ()
        return tuple(f"{self.name}_{word}" for word in words)

    @property
    def calls(self) -> tuple[Call, ...]:
        """All kernel calls."""
        conversions = (self.from_counts, *([self.from_floats] if self.from_floats else []))
        decisions = (self.classify, *([self.decided] if self.decided else []))
        return (*self.reset, *conversions, *self.step, *decisions, self.save, self.restore)

    @property
    def kernels(self) -> tuple[str, ...]:
        """Names of all kernels called, sorted."""
        return tuple(sorted({call.kernel for call in self.calls}))

    @property
    def data_bytes(self) -> int:
        """Bytes of all constant arrays."""
        return sum(d.values.nbytes for d in self.data)

    def __str__(self) -> str:
        head = f"program {self.name} inputs={self.inputs} classes={self.classes}"
        if self.stream:
            head += f" window={self.stream.window} hop={self.stream.hop} lanes={self.stream.lanes}"
        lines = [head]
        lines += [
            f"  {b.lifetime:7} {b.ctype}[{b.count}] {b.name} @{b.offset}" for b in self.buffers
        ]
        lines += [f"  const   {d.ctype}[{d.values.size}] {d.name}" for d in self.data]
        lines += [f"  reset   {_call_text(call)}" for call in self.reset]
        lines += [f"  sample  {_call_text(self.from_floats)}"] if self.from_floats else []
        lines.append(f"  counts  {_call_text(self.from_counts)}")
        lines += [f"  step    {_call_text(call)}" for call in self.step]
        lines.append(f"  decide  {_call_text(self.classify)}")
        lines += [f"  early   {_call_text(self.decided)}"] if self.decided else []
        lines += [f"  saved   {member}" for member in self.members]
        return "\n".join(lines) + "\n"


def _call_text(call: Call) -> str:
    shown = ", ".join(str(getattr(a, "name", a)) for a in call.arguments)
    return f"{call.kernel}({shown})"
