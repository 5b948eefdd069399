"""Make a directory again from what its provenance says, and compare, byte by byte."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from l2mu_compile.build_report import BUILD_FILE, load_build_report
from l2mu_compile.compiled import REPORT_FILE, require_untouched
from l2mu_compile.errors import ModelError, UsageError
from l2mu_compile.making import make
from l2mu_compile.output import file_digest, files_below
from l2mu_compile.paths import printable
from l2mu_compile.plugins import load_plugin
from l2mu_compile.provenance import (
    PROVENANCE_FILE,
    InputFile,
    Provenance,
    load_provenance,
    provenance,
    with_siblings,
)
from l2mu_compile.recipe import Recipe
from l2mu_compile.report import Report, load_report

MAX_CANDIDATES = 100_000  # files looked at below a directory of inputs

# What no `verify` changes in a report.
LASTING = (
    *("source", "target", "backend", "board", "cpu", "numbers", "passes", "digest", "class_names"),
    *("window", "hop", "flash_bytes", "ram_bytes", "weights_bytes", "state_bytes", "stream_bytes"),
    *("stack_bounds", "instructions_if_all_spike"),
)


@dataclass(frozen=True)
class Remade:
    """What came of making ``folder`` again: files and lasting figures of its report that differ,
    and tools that are not the same."""

    folder: Path
    files: int
    different: tuple[str, ...]
    figures: tuple[str, ...]
    tools: tuple[str, ...]


def directories_of(folder: Path) -> tuple[Path, ...]:
    """``folder``, or where it holds a ``build.json`` the directories of the builds in there."""
    if (folder / BUILD_FILE).is_file():
        builds = load_build_report(folder).builds
        return tuple(folder / build.id for build in builds if build.made)
    return (folder,)


def remake(folder: Path, inputs: Path, untrusted: Path | None = None) -> Remade:
    """Make ``folder`` again from files below the directory ``inputs``, found by name and content.

    Plug-ins and the module that its provenance names are run, but none that lies in ``untrusted``,
    by default ``folder``: whoever wrote that may have put it there. Raises `ModelError` if
    ``folder`` has changed since it was made, has no provenance, or an input is not found;
    `UsageError` if its module lies there; and whatever making it raises.
    """
    report = load_report(folder / REPORT_FILE)
    require_untouched(folder, report)
    origin = load_provenance(folder)
    untrusted = folder if untrusted is None else untrusted
    _require_module_elsewhere(origin.recipe.model.module, untrusted)
    recipe = _with_places(origin, inputs, folder / PROVENANCE_FILE, untrusted)
    for plugin in recipe.plugins:
        load_plugin(plugin)
    now = provenance(recipe, Path(), tuple(origin.command))
    with tempfile.TemporaryDirectory(prefix="l2mu-compile-") as scratch:
        again = Path(scratch, folder.absolute().name)
        fresh = make(recipe, Path(), now, again)
        before, after = _digests(folder), _digests(again)
    names = sorted({*before, *after})
    different = tuple(name for name in names if before.get(name) != after.get(name))
    figures = tuple(_other_figures(report, fresh))
    return Remade(folder, len(before), different, figures, tuple(_other_tools(origin, now)))


def _other_figures(report: Report, fresh: Report) -> Iterator[str]:
    """What a report says otherwise than a fresh one; not everything is known everywhere."""
    for name in LASTING:
        said, found = getattr(report, name), getattr(fresh, name)
        if None not in (said, found) and said != found:
            yield f"{name}: says {said}, is {found}" if isinstance(said, int) else name


def _digests(folder: Path) -> dict[str, str]:
    """Of all files but the report, into which every `verify` writes."""
    return {name: digest for name, _, digest in files_below(folder) if name != REPORT_FILE}


def _other_tools(origin: Provenance, now: Provenance) -> Iterator[str]:
    """What is another version here than it was there."""
    before, here = (
        {p.tool: p.package, "Python": p.python, "processor": p.machine, **p.versions}
        for p in (origin, now)
    )
    for name in sorted({*before, *here}):
        if before.get(name) != here.get(name):
            yield f"{name}: was {_short(before.get(name))}, here {_short(here.get(name))}"


def _short(version: str | None) -> str:
    if version is None:
        return "not there"
    return f"{version[:12]}…" if len(version) == len("0" * 64) else version


def _require_module_elsewhere(module: str | None, untrusted: Path) -> None:
    parts = (module or "").partition(":")[0].split(".")
    for count in range(1, len(parts) + 1):
        if Path(*parts[:count]).resolve().is_relative_to(untrusted.resolve()):
            raise UsageError(f"module {module}: lies in {untrusted}, from where nothing is run")


def _with_places(origin: Provenance, inputs: Path, file: Path, untrusted: Path) -> Recipe:
    """The recipe with places of its files; no plug-in is taken from ``untrusted``."""
    candidates = _files_named({entry.name for entry in origin.inputs}, inputs)
    recipe, entries = origin.recipe, iter(origin.inputs)
    places = []
    for what, path in recipe.files():
        entry = next((e for e in entries if (e.what, e.name) == (what, path.name)), None)
        if entry is None:
            raise ModelError(f"{file}: inputs: {what} {path.name} is not among them")
        found = candidates.get(entry.name, [])
        if what == "plugin":
            found = [p for p in found if not p.resolve().is_relative_to(untrusted.resolve())]
        beside = origin.inputs if what == "checkpoint" else [entry]
        places.append(_place(entry, [e for e in beside if e.what == what], found, inputs))
    keys = [key for key, value in recipe.model if isinstance(value, Path)]
    model = recipe.model.model_copy(update=dict(zip(keys, places, strict=False)))
    return recipe.model_copy(update={"model": model, "plugins": tuple(places[len(keys) :])})


def _files_named(names: set[str], folder: Path) -> dict[str, list[Path]]:
    """Files below ``folder`` by name; what is hidden in there is not looked at."""
    found: dict[str, list[Path]] = {}
    count = 0
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        count += len(files)
        if count > MAX_CANDIDATES:
            raise ModelError(f"{folder}: holds more than {MAX_CANDIDATES} files; name a nearer one")
        for path in (Path(parent, name) for name in sorted(files) if printable(name) in names):
            if path.is_file() and os.access(path, os.R_OK):
                found.setdefault(printable(path.name), []).append(path)
    return found


def _place(
    entry: InputFile, together: Sequence[InputFile], candidates: list[Path], inputs: Path
) -> Path:
    """The candidate that has the content of ``entry``, beside it the others of ``together``."""
    wanted = {(e.name, e.sha256) for e in together}
    same = [path for path in candidates if file_digest(path) == entry.sha256]
    for path in same:
        beside = with_siblings(path, entry.what)
        if {(printable(p.name), file_digest(p)) for p in beside} == wanted:
            return path
    if same:
        names = " and ".join(sorted(e.name for e in together))
        raise ModelError(f"{same[0]}: beside it is not what it was compiled with ({names})")
    others = f"; {candidates[0]} is another" if candidates else ""
    raise ModelError(
        f"{entry.what} {entry.name} with SHA-256 {entry.sha256[:12]}… is not below {inputs}{others}"
    )
