"""What packages have in common: zip files that come out the same each time, and the documents."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from l2mu_compile.report import Report
from l2mu_compile.targets.emit_c import render

Files = Iterable[tuple[str, bytes]]

LICENSE_NOTE = """\
The runtime and the kernels of this package are part of l2mu-compile, licensed under the Apache
License, Version 2.0 (SPDX: Apache-2.0; https://www.apache.org/licenses/LICENSE-2.0). The weights
belong to whoever trained the model.
"""

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip file can hold
_PLAIN_FILE = 0o100644 << 16
_UNIX = 3


def documents(template: str, values: dict[str, Any], report: Report) -> dict[str, bytes]:
    """README, licence note and report by file name; the README is ``template`` filled in."""
    texts = {
        "LICENSE": LICENSE_NOTE,
        "README.md": render(template, {**values, "report": report}),
        "report.json": report.to_json(),
    }
    return {name: text.encode() for name, text in texts.items()}


def write_zip(path: Path, files: Files) -> None:
    """Write (name, content) pairs in the given order, without times or owners."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", compresslevel=9) as archive:
        for name, content in files:
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = _PLAIN_FILE
            entry.create_system = _UNIX
            archive.writestr(entry, content)


def write_files(folder: Path, files: Files) -> None:
    """Write (name, content) pairs below ``folder``."""
    for name, content in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
