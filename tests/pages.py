"""Pages of HTML, read back."""

from __future__ import annotations

import base64
import struct
import zlib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

VOID = {"meta", "img", "br", "link", "input"}
BOXES = {"path", "circle", "rect"}


class Page(HTMLParser):
    """The elements of a page, in order, as (tag, attributes), and its text; all tags must match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.text += data
        if {"td", "th"} & set(self.open) and "small" not in self.open:
            self.tables[-1][-1][-1] += data.strip()

    def all(self, tag: str, kind: str | None = None) -> list[dict[str, str]]:
        """The attributes of all elements of ``tag``, or of those of the class ``kind``."""
        found = [attributes for name, attributes in self.elements if name == tag]
        return [a for a in found if kind is None or kind in a.get("class", "").split()]

    def table(self, first: str) -> list[dict[str, str]]:
        """The rows of the table whose first column is ``first``, by the names of columns."""
        header, *rows = next(t for t in self.tables if t[0][0] == first)
        return [dict(zip(header, row, strict=True)) for row in rows]


def pixels(source: str) -> NDArray:
    """What a two-bit PNG with a palette holds, ``[rows, columns]``, from its ``data:`` address."""
    data = base64.b64decode(source.removeprefix("data:image/png;base64,"), validate=True)
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        assert struct.unpack(">I", data[at + 8 + size :][:4]) == (zlib.crc32(kind + body),)
        chunks[kind], at = body, at + 12 + size
    columns, rows, bits, colours = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert (bits, colours) == (2, 3)
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(rows, -1)
    assert not lines[:, 0].any()
    spread = (lines[:, 1:, None] >> np.array([6, 4, 2, 0], np.uint8)) & 3
    return spread.reshape(rows, -1)[:, :columns]


def read_page(path: str | Path) -> Page:
    """The page in a file."""
    return Page(Path(path).read_text(encoding="utf-8"))
