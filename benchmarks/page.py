"""Pages with places for what benchmarks write: between ``<!-- NAME -->`` and ``<!-- /NAME -->``."""

from __future__ import annotations

import re

from l2mu_compile.errors import UsageError


def with_text(page: str, name: str, text: str) -> str:
    """``page`` with ``text`` in the place called ``name``; UsageError if it has no such place."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    place = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if len(place.findall(page)) != 1:
        raise UsageError(f"the page has no place between {begin} and {end}, or several")
    return place.sub(lambda _: f"{begin}\n{text}\n{end}", page)


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ("---",) * len(head), *rows))
