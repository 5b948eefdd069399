"""Templates of pipelines: what a search may choose from.

A template is a pipeline (`pipeline.py`) in which

    option=a..b     is a number from a to b, whole if the option's numbers are,
    option=a|b|c    is one of these,
    name{...}?      is a pass that may be left out.

A range of fractions whose end is ten times its start or more is searched by orders of magnitude.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from l2mu_compile.errors import UsageError
from l2mu_compile.network import Network
from l2mu_compile.pipeline import parse_pipeline

_ITEM = re.compile(
    r"\s*(?P<name>[A-Za-z0-9_-]+)\s*(?:\{(?P<options>[^{}]*)\})?\s*(?P<maybe>\?)?\s*(?:,|\Z)"
)
_WITHOUT = "without"
DIGITS = 4  # of a fraction that is chosen
BY_MAGNITUDE = 10


@dataclass(frozen=True)
class Range:
    """The numbers from ``low`` to ``high``; ``whole`` ones alone, or else all fractions, searched
    by orders of magnitude if ``log``. ``name`` is ``pass.option``."""

    name: str
    low: float
    high: float
    whole: bool

    @property
    def log(self) -> bool:
        return not self.whole and 0 < self.low * BY_MAGNITUDE <= self.high

    def written(self, value: float) -> str:
        """``value`` as pipelines have it, short, and within the range."""
        if self.whole:
            return str(int(value))
        return repr(min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high))


@dataclass(frozen=True)
class Choice:
    """One of ``values``."""

    name: str
    values: tuple[str, ...]


Dimension = Range | Choice
Value = float | str
Suggest = Callable[[Dimension], Value]


@dataclass(frozen=True)
class _Item:
    """A pass; ``options`` are fixed texts or dimensions, and ``presence`` whether it is there."""

    name: str
    options: dict[str, str | Dimension]
    presence: Choice | None

    def dimensions(self) -> list[Dimension]:
        own = [option for option in self.options.values() if not isinstance(option, str)]
        return own if self.presence is None else [self.presence, *own]

    def chosen(self, suggest: Suggest) -> str | None:
        if self.presence is not None and suggest(self.presence) == _WITHOUT:
            return None
        parts = [f"{name}={_written(part, suggest)}" for name, part in self.options.items()]
        return self.name + (f"{{{','.join(parts)}}}" if parts else "")


@dataclass(frozen=True)
class Template:
    """A template as ``text``, and the pipelines it stands for."""

    text: str
    items: tuple[_Item, ...]

    def chosen(self, suggest: Suggest) -> str:
        """The pipeline, as text, for what ``suggest`` says of every dimension that it needs."""
        return ",".join(filter(None, (item.chosen(suggest) for item in self.items)))

    def dimensions(self) -> list[Dimension]:
        """All that there is to choose."""
        return [d for item in self.items for d in item.dimensions()]


def least(dimension: Dimension) -> Value:
    """The start of a range, the first of a choice."""
    return dimension.low if isinstance(dimension, Range) else dimension.values[0]


def default_template(network: Network) -> str:
    """Fewer neurons, integers, training and early decisions, where ``network`` can have them."""
    items = [
        "prune-population{sparsity=0.1..0.8,criterion=readout|rate}?",
        "quantize",
        "fine-tune{epochs=1..6}?",
    ]
    if network.readout.rule == "spike_count" and network.classes > 1:
        items.append("early-exit{risk=0.005..0.05}?")
    return ",".join(items)


def parse_template(text: str) -> Template:
    """Read a template. Raises `UsageError` for what no pipeline can be, whichever is chosen, and
    for one in which nothing is left to choose."""
    items, position = [], 0
    seen: Counter[str] = Counter()
    while position < len(text):
        match = _ITEM.match(text, position)
        if match is None:
            raise UsageError(f"template: cannot read {text[position:]!r}; write a,b{{option=1..2}}")
        seen[match["name"]] += 1
        label = match["name"] + (f"#{seen[match['name']]}" if seen[match["name"]] > 1 else "")
        items.append(_item(match, label))
        position = match.end()
    template = Template("".join(text.split()), tuple(items))
    if not template.dimensions():
        raise UsageError(f"template {text!r}: nothing to choose; write option=a..b, a|b or pass?")
    return template


def _item(match: re.Match[str], label: str) -> _Item:
    name, options = match["name"], {}
    for part in filter(None, (part.strip() for part in (match["options"] or "").split(","))):
        option, separator, value = (piece.strip() for piece in part.partition("="))
        if not separator:
            raise UsageError(f"pass {name}: unexpected {part!r}; write option=value")
        options[option] = _value(name, f"{label}.{option}", option, value)
    presence = Choice(label, (_WITHOUT, "with")) if match["maybe"] else None
    item = _Item(name, options, presence)
    _check(item)
    return item


def _value(kind: str, name: str, option: str, text: str) -> str | Dimension:
    if "|" in text:
        values = tuple(part.strip() for part in text.split("|"))
        if len(set(values)) < len(values):
            raise UsageError(f"pass {kind}: {option}={text} names a value twice")
        return Choice(name, values)
    if ".." not in text:
        return text
    try:
        low, high = (float(part) for part in text.split(".."))
    except ValueError:
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UsageError(f"pass {kind}: {option}={text} is no range; write a..b, with a below b")
    (sample,) = parse_pipeline(f"{kind}{{{option}={text.partition('..')[0].strip()}}}")
    whole = isinstance(getattr(sample, option), int)
    if whole and not high.is_integer():
        raise UsageError(f"pass {kind}: {option}: {high:g} is no whole number")
    return Range(name, low, high, whole)


def _check(item: _Item) -> None:
    """Every end of every range and every choice makes a pass."""
    present = _Item(item.name, item.options, None)
    parse_pipeline(present.chosen(least) or "")
    for each in present.dimensions():
        ends = (each.low, each.high) if isinstance(each, Range) else each.values
        for value in ends:
            parse_pipeline(present.chosen(_with(each, value)) or "")


def _with(chosen: Dimension, value: Value) -> Suggest:
    """``value`` for one dimension, the least for all others."""
    return lambda dimension: value if dimension == chosen else least(dimension)


def _written(part: str | Dimension, suggest: Suggest) -> str:
    if isinstance(part, str):
        return part
    value = suggest(part)
    return part.written(float(value)) if isinstance(part, Range) else str(value)
