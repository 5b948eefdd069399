"""Pages with places for what benchmarks write: between ``<!-- NAME -->`` and ``<!-- /NAME -->``."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from l2mu_compile.errors import UsageError
from l2mu_compile.output import write_together

# ruff: noqa: UP045 (typer reads annotations at run time, on Python 3.10 too)

PageFile = Annotated[Path, typer.Option(help="Page with a place for the table.")]
JsonFile = Annotated[
    Optional[Path], typer.Option("--json", metavar="FILE", help="Write the figures there.")
]
NetworkNames = Annotated[
    Optional[list[str]], typer.Option(help="Only this network; may be given several times.")
]


def with_text(page: str, name: str, text: str) -> str:
    """``page`` with ``text`` in the place called ``name``; UsageError if it has no such place."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    place = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if len(place.findall(page)) != 1:
        raise UsageError(f"the page has no place between {begin} and {end}, or several")
    return place.sub(lambda _: f"{begin}\n{text}\n{end}", page)


@dataclass(frozen=True)
class Place:
    """A place of a page, which was there before what goes into it was measured."""

    page: Path
    name: str
    before: str

    @classmethod
    def of(cls, page: Path, name: str) -> Place:
        """The place called ``name`` of ``page``; `UsageError` if it has none."""
        before = page.read_text(encoding="utf-8")
        with_text(before, name, "")
        return cls(page, name, before)

    def write(self, text: str, json_file: Path | None, figures: Mapping[str, Any]) -> None:
        """Put ``text`` there, and ``figures`` into a file, if one is given: both or none."""
        contents: dict[Path, str | bytes] = {self.page: with_text(self.before, self.name, text)}
        if json_file is not None:
            contents[json_file] = json.dumps(figures, indent=2) + "\n"
        write_together(contents)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ("---",) * len(head), *rows))


def processor() -> str:
    """The name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
