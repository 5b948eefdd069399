"""``provenance.json``: what a directory was made from, and with what, so that it can be made again.

Files are named by their last part and their content, never by where they lay.
"""

from __future__ import annotations

import hashlib
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, entry_points, version
from importlib.resources import files
from pathlib import Path, PurePath
from typing import Any, Literal

from pydantic import Field

from l2mu_compile.errors import ModelError, reason
from l2mu_compile.output import file_digest
from l2mu_compile.paths import StrPath, printable
from l2mu_compile.plugins import KINDS
from l2mu_compile.recipe import Recipe
from l2mu_compile.report import Strict, load_report_file
from l2mu_compile.targets.emit_c import TOOL
from l2mu_compile.targets.host import HOST
from l2mu_compile.targets.packaging.java import jdk_version
from l2mu_compile.targets.toolchain import macros

PROVENANCE_FILE = "provenance.json"
PARTS = ("l2mu_compile", "l2mu_compile.passes", "l2mu_compile.targets")
VERSIONED = (
    *(
        "apache-tvm",
        "cyclonedx-python-lib",
        "h5py",
        "jinja2",
        "nir",
        "numpy",
        "onnx",
        "safetensors",
    ),
    *("snntorch", "torch", "unicorn", "ziglang"),
)
JAVA_ARTIFACTS = {"aar", "java"}
BESIDE = (".json", ".yaml", ".yml", ".safetensors")  # of a checkpoint: parameters, weights


class InputFile(Strict):
    """A file that was read."""

    what: str = Field(description="checkpoint, params, classes, calibrate, test or plugin")
    name: str
    sha256: str


class Provenance(Strict):
    """The whole file."""

    format_version: Literal[1] = 1
    tool: str
    package: str = Field(description="SHA-256 of this package's own files")
    python: str
    versions: dict[str, str] = Field(description="of what computes, writes and compiles")
    entry_points: list[str] = Field([], description="plug-ins of installed packages")
    machine: str | None = Field(
        None, description="digest of the processor's features, where code is for this one"
    )
    command: list[str]
    recipe: Recipe = Field(description="files by name")
    inputs: list[InputFile]

    def to_json(self) -> str:
        """The file's text."""
        return self.model_dump_json(indent=2, exclude_none=True) + "\n"

    @property
    def digest(self) -> str:
        """SHA-256 of everything that what is made depends on."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def provenance(recipe: Recipe, root: Path, command: tuple[str, ...]) -> Provenance:
    """What is made by ``recipe``, whose files lie below ``root``, is made from and with.

    Weights and parameters that lie beside a checkpoint under its name belong to it. Raises
    `ModelError` naming a file that cannot be read.
    """
    inputs = [
        InputFile(what=what, name=printable(found.name), sha256=_digest(found))
        for what, path in recipe.files()
        for found in with_siblings(root / path, what)
    ]
    return Provenance(
        tool=TOOL,
        package=_package_digest(),
        python=sys.version.split()[0],
        versions=_versions(recipe),
        entry_points=_entry_points(),
        machine=_machine() if _is_for_this_machine(recipe) else None,
        command=list(command),
        recipe=_placeless(recipe),
        inputs=inputs,
    )


def load_provenance(folder: StrPath) -> Provenance:
    """Read the provenance of a directory. Raises `ModelError` naming what is wrong."""
    return load_report_file(Path(folder) / PROVENANCE_FILE, Provenance)


def with_siblings(path: Path, what: str) -> list[Path]:
    """A file, and of a checkpoint those that lie beside it and belong to it."""
    beside = map(path.with_suffix, BESIDE if what == "checkpoint" else ())
    return sorted({path, *(found for found in beside if found.is_file())})


def _digest(path: Path) -> str:
    try:
        return file_digest(path)
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read: {reason(error)}") from None


def _placeless(recipe: Recipe) -> Recipe:
    def shown(value: Any) -> Any:
        return Path(printable(value.name)) if isinstance(value, PurePath) else value

    model = recipe.model.model_copy(update={key: shown(value) for key, value in recipe.model})
    return recipe.model_copy(update={"model": model, "plugins": tuple(map(shown, recipe.plugins))})


def _is_for_this_machine(recipe: Recipe) -> bool:
    return recipe.target.board is None and recipe.target.target in (None, HOST.name)


@cache
def _machine() -> str:
    return hashlib.sha256("\n".join(sorted(macros(HOST))).encode()).hexdigest()


@cache
def _package_digest() -> str:
    digest = hashlib.sha256()
    for part in PARTS:
        folder = Path(str(files(part)))
        for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".pyc"):
            digest.update(f"{path.relative_to(folder).as_posix()} {file_digest(path)}\n".encode())
    return digest.hexdigest()


def _entry_points() -> list[str]:
    found = [point for kind in KINDS for point in entry_points(group=kind.group)]
    return sorted(f"{p.value} {p.dist.version if p.dist else ''}".strip() for p in found)


def _versions(recipe: Recipe) -> dict[str, str]:
    found = {name: here for name in VERSIONED if (here := _version(name))}
    jdk = jdk_version() if JAVA_ARTIFACTS & set(recipe.target.artifacts) else None
    return found if jdk is None else {**found, "javac": jdk}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
