"""What packages share: the C files, the notes that go with them, and reproducible archives.

A package's files are a dictionary from path to content until all of them are known; then they are
written as a directory or as a zip archive. What they say comes from the program, whose name is a C
identifier, from the target's record and from the report's numbers. Whatever else a user wrote (the
name of a checkpoint, a command) only stands in comment lines and in ``report.json``.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from pathlib import Path
from typing import Any

from l2mu_compile import __version__
from l2mu_compile.output import files_below
from l2mu_compile.report import Artifact, Report
from l2mu_compile.targets.emit_c import render
from l2mu_compile.targets.kernel_sets import are_portable
from l2mu_compile.targets.product import Product, model_names

Files = dict[str, str | bytes]

# The oldest date a zip archive can hold: packages have no date of their own.
DATE = (1980, 1, 1)
URL = "https://arxiv.org/abs/2407.04076"  # of the model's paper, for a person to visit
AUTHOR = "l2mu-compile"
LICENSE_ID = "Apache-2.0"
README, LICENSE, REPORT = "README.md", "LICENSE", "report.json"


def release_version(version: str = __version__) -> str:
    """The version of a package, ``major.minor.patch``: the compiler's, which decides the API.

    ``release_version("0.2.0.dev3")`` is ``"0.2.0"``. ValueError without three numbers.
    """
    match = re.match(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?!\d)", version)
    if match is None:
        raise ValueError(f"version {version} has no major.minor.patch")
    return match[0]


def view(product: Product) -> dict[str, Any]:
    """What every package's templates may use."""
    sources = sorted(path.name for path in product.sources.glob("*.c"))
    return {
        **model_names(product),
        "version": release_version(),
        "license": LICENSE_ID,
        "author": AUTHOR,
        "url": URL,
        "summary": summary(product),
        "target": product.target.name,
        "sources": sources,
        "portable": are_portable(sources),
        "classes": product.program.classes,
        "report": checked_report(product),
    }


def summary(product: Product) -> str:
    """One sentence that says what is in a package."""
    program, numbers = product.program, checked_report(product).numbers
    return (
        f"Spiking network with {program.inputs} inputs and {program.classes} classes, {numbers}, "
        f"compiled for {product.target.name}."
    )


def processors(product: Product) -> str:
    """One sentence that says where a package's sources can be compiled."""
    if view(product)["portable"]:
        return "Any processor with a C99 compiler will do."
    return (
        f"Its kernels are for processors like the {product.target.name} and compile for no others; "
        "for those, compile the network with another `--target`, or with portable kernels "
        "(`--target cortex-m4 --mattr=-dsp`)."
    )


def checked_report(product: Product) -> Report:
    """The report of a finished build, which says whether the code was run; ValueError before."""
    if product.report is None:
        raise ValueError("a package is made of a finished build")
    return product.report


def c_files(product: Product, public: str, private: str) -> Files:
    """The C sources: the API's header in folder ``public``, all else in ``private``."""
    header = f"{product.name}.h"
    return {
        f"{public if path.name == header else private}/{path.name}": path.read_text("utf-8")
        for path in sorted(product.sources.iterdir())
        if path.suffix in (".c", ".h")
    }


def with_notes(product: Product, files: Files, kind: str, use: str) -> Files:
    """``files`` with a README, a licence note and a report that lists them.

    ``kind`` says what the package is, ``use`` (Markdown) how to add it to a build.
    """
    notes = _notes(product, kind, use)
    artifacts = [_artifact(name, content) for name, content in sorted({**files, **notes}.items())]
    return {**files, **notes, REPORT: _report(product, artifacts)}


def write_notes(product: Product, folder: Path, kind: str, use: str) -> None:
    """As `with_notes`, for a folder of binaries that is already written."""
    write_tree(folder, _notes(product, kind, use))
    artifacts = [Artifact(path=n, bytes=b, sha256=d) for n, b, d in files_below(folder)]
    write_tree(folder, {REPORT: _report(product, artifacts)})


def documents(
    product: Product,
    readme: str,
    values: dict[str, Any],
    report: Report,
    *,
    c_library: bool = False,
) -> Files:
    """A README of the package's own (a template and its values), a licence note and ``report``.

    ``c_library`` says that the toolchain's C library is in the package, whose licence goes along.
    """
    return {
        README: render(readme, {**values, "report": report}),
        LICENSE: _license(product, c_library),
        REPORT: report.to_json(),
    }


def write_tree(folder: Path, files: Files) -> None:
    """Write files below ``folder``."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_bytes(content))


def write_zip(path: Path, files: Files, root: str = "") -> None:
    """Write files, below a folder ``root``, as an archive that depends on nothing else.

    Files are sorted, stored (compressors differ between machines), dated alike and owned by nobody.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in sorted(files.items()):
            entry = zipfile.ZipInfo(f"{root}/{name}" if root else name, (*DATE, 0, 0, 0))
            entry.create_system = 3  # Unix, which the mode below belongs to
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, _bytes(content))


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


def _notes(product: Product, kind: str, use: str) -> Files:
    values = {**view(product), "kind": kind, "use": use}
    readme = render(f"shared/{README}.jinja", values)
    return {README: readme, LICENSE: _license(product, c_library=False)}


def _license(product: Product, c_library: bool) -> str:
    return render(f"shared/{LICENSE}.jinja", {**view(product), "c_library": c_library})


def _artifact(name: str, content: str | bytes) -> Artifact:
    data = _bytes(content)
    return Artifact(path=name, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def _report(product: Product, artifacts: list[Artifact]) -> str:
    return checked_report(product).model_copy(update={"artifacts": artifacts}).to_json()
