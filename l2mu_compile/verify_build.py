"""Make a directory again from what its provenance says, and compare, byte by byte."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from l2mu_compile.build_report import BUILD_FILE, load_build_report
from l2mu_compile.compiled import REPORT_FILE, require_untouched
from l2mu_compile.errors import ModelError
from l2mu_compile.making import make
from l2mu_compile.output import file_digest, files_below
from l2mu_compile.plugins import load_plugin
from l2mu_compile.provenance import InputFile, Provenance, load_provenance, provenance
from l2mu_compile.recipe import Recipe
from l2mu_compile.report import load_report

MAX_CANDIDATES = 100_000  # files looked at below a directory of inputs


@dataclass(frozen=True)
class Remade:
    """What came of making ``folder`` again: files that differ, and tools that are not the same."""

    folder: Path
    files: int
    different: tuple[str, ...]
    tools: tuple[str, ...]


def directories_of(folder: Path) -> tuple[Path, ...]:
    """``folder``, or where it holds a ``build.json`` the directories of the builds in there."""
    if (folder / BUILD_FILE).is_file():
        builds = load_build_report(folder).builds
        return tuple(folder / build.id for build in builds if build.made)
    return (folder,)


def remake(folder: Path, inputs: Path) -> Remade:
    """Make ``folder`` again from files below the directory ``inputs``, found by name and content.

    Raises `ModelError` if ``folder`` has changed since it was made, has no provenance, or an input
    is not found; and whatever making it raises.
    """
    require_untouched(folder, load_report(folder / REPORT_FILE))
    origin = load_provenance(folder)
    recipe = _with_places(origin, inputs)
    for plugin in recipe.plugins:
        load_plugin(plugin)
    now = provenance(recipe, Path(), tuple(origin.command))
    with tempfile.TemporaryDirectory(prefix="l2mu-compile-") as scratch:
        again = Path(scratch, folder.absolute().name)
        make(recipe, Path(), now, again)
        before, after = _digests(folder), _digests(again)
    names = sorted({*before, *after})
    different = tuple(name for name in names if before.get(name) != after.get(name))
    return Remade(folder, len(before), different, tuple(_other_tools(origin, now)))


def _digests(folder: Path) -> dict[str, str]:
    """Of all files but the report, into which every `verify` writes."""
    return {name: digest for name, _, digest in files_below(folder) if name != REPORT_FILE}


def _other_tools(origin: Provenance, now: Provenance) -> Iterator[str]:
    """What is another version here than it was there."""
    before = {origin.tool: origin.package, "Python": origin.python, **origin.versions}
    here = {now.tool: now.package, "Python": now.python, **now.versions}
    for name in sorted({*before, *here}):
        if before.get(name) != here.get(name):
            yield f"{name}: was {_short(before.get(name))}, here {_short(here.get(name))}"


def _short(version: str | None) -> str:
    if version is None:
        return "not there"
    return f"{version[:12]}…" if len(version) == len("0" * 64) else version


def _with_places(origin: Provenance, inputs: Path) -> Recipe:
    """The recipe with places of its files."""
    candidates = _files_named({entry.name for entry in origin.inputs}, inputs)
    found = {(e.what, e.name): _place(e, candidates.get(e.name, []), inputs) for e in origin.inputs}
    recipe = origin.recipe
    places = {key: found[key, value.name] for key, value in recipe.model if isinstance(value, Path)}
    plugins = tuple(found["plugin", path.name] for path in recipe.plugins)
    model = recipe.model.model_copy(update=places)
    return recipe.model_copy(update={"model": model, "plugins": plugins})


def _files_named(names: set[str], folder: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for count, path in enumerate(folder.rglob("*")):
        if count >= MAX_CANDIDATES:
            raise ModelError(f"{folder}: holds more than {MAX_CANDIDATES} files; name a nearer one")
        if path.name in names and path.is_file():
            found.setdefault(path.name, []).append(path)
    return found


def _place(entry: InputFile, candidates: list[Path], inputs: Path) -> Path:
    for path in candidates:
        if file_digest(path) == entry.sha256:
            return path
    others = f"; {candidates[0]} is another" if candidates else ""
    raise ModelError(
        f"{entry.what} {entry.name} with SHA-256 {entry.sha256[:12]}… is not below {inputs}{others}"
    )
