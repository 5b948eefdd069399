"""``l2mu.toml``: which models are built for which targets, by which passes, within what budget.

Every path in the file is relative to the directory that it lies in. What is wrong with it is a
`UsageError` that names file, line and key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product, takewhile
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from l2mu_compile.budgets import Budget
from l2mu_compile.build_report import RUN_FILES
from l2mu_compile.errors import UsageError, reason
from l2mu_compile.paths import StrPath, file_bytes, printable
from l2mu_compile.recipe import File, ModelTable, Names, PipelineTable, Recipe, Table, TargetTable
from l2mu_compile.toml_lines import TomlError, line_of, read_toml

CONFIG_FILE, PYPROJECT, TABLE = "l2mu.toml", "pyproject.toml", ("tool", "l2mu-compile")
MAX_FILE_BYTES = 1 << 18
MAX_BUILDS = 10_000
MAX_SHOWN = 200  # letters of a key

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_DEVICES = {"con", "prn", "aux", "nul", *(f"{d}{n}" for d in ("com", "lpt") for n in range(10))}


class BuildTable(Table):
    """Builds of all the models for all the targets by all the pipelines that it names."""

    models: Names | None = None
    targets: Names | None = None
    pipelines: Names | None = None
    budget: Budget = Budget()


class Config(Table):
    """The whole file."""

    output: File = Path("build")
    cache: File = Path(".l2mu-cache")
    cache_days: int = Field(
        30, ge=0, le=36_500, description="builds that no run uses for so long go; none if 0"
    )
    jobs: int = Field(0, ge=0, le=256, description="builds at a time; as many as cores if 0")
    plugins: tuple[File, ...] = ()
    baseline: File | None = Field(None, description="an earlier build.json, to compare with")
    budget: Budget = Budget()
    model: dict[str, ModelTable] = Field(min_length=1)
    target: dict[str, TargetTable] = Field(min_length=1)
    pipeline: dict[str, PipelineTable] = Field({"default": PipelineTable()}, min_length=1)
    build: tuple[BuildTable, ...] = Field((BuildTable(),), min_length=1)


@dataclass(frozen=True)
class Planned:
    """One build: a model for a target by a pipeline. ``id`` is the path of its output as well."""

    id: str
    recipe: Recipe
    budget: Budget


@dataclass(frozen=True)
class BuildFile:
    """A file of builds, read: ``config`` has paths as they are written, `place` resolves them.

    ``error(key, what)`` is a `UsageError` that names file, line and key.
    """

    path: Path
    config: Config
    builds: tuple[Planned, ...]
    error: Callable[[Sequence[str | int], str], UsageError]

    def place(self, path: Path) -> Path:
        """Where a path of the file leads."""
        return self.path.parent / path

    def chosen(self, patterns: Sequence[str]) -> tuple[Planned, ...]:
        """Builds whose id, or a whole part of it, is one of ``patterns``; all without any."""
        if not patterns:
            return self.builds
        for pattern in patterns:
            if not any(_means(pattern, build) for build in self.builds):
                known = ", ".join(build.id for build in self.builds)
                raise UsageError(f"{pattern}: no build of {self.path} (known: {known})")
        return tuple(b for b in self.builds if any(_means(p, b) for p in patterns))


def _means(pattern: str, build: Planned) -> bool:
    parts, wanted = build.id.split("/"), pattern.strip("/").split("/")
    return any(parts[k : k + len(wanted)] == wanted for k in range(len(parts)))


def find_config(folder: Path) -> Path:
    """The file of builds in ``folder``. Raises `UsageError` if there is none."""
    if (folder / CONFIG_FILE).is_file():
        return folder / CONFIG_FILE
    if (folder / PYPROJECT).is_file():
        return folder / PYPROJECT
    raise UsageError(f"no {CONFIG_FILE} here, and no {PYPROJECT}; name one with --config")


def load_config(path: StrPath, changes: Mapping[str, Any] | None = None) -> BuildFile:
    """Read a file of builds; ``changes`` are values, by dotted keys, that win over the file's.

    A ``pyproject.toml`` has everything in its table ``[tool.l2mu-compile]``. Raises `UsageError`
    naming file, line and key.
    """
    path = Path(path)
    text = _text(path)
    try:
        tables = read_toml(text)
    except TomlError as error:
        raise UsageError(f"{path}{_at(error.line)}: {error}") from None
    prefix = TABLE if path.name == PYPROJECT else ()
    for key in prefix:
        tables = tables.get(key, {}) if isinstance(tables, dict) else {}
    if prefix and not tables:
        raise UsageError(f"{path}: has no table [{'.'.join(prefix)}]")
    for key, value in (changes or {}).items():
        _change(tables, key, value)
    where = _Where(path, text, prefix)
    try:
        config = Config.model_validate(tables)
    except ValidationError as error:
        raise where.problem(error) from None
    _check_tables(config, where)
    return BuildFile(path, config, tuple(_planned(config, where)), where.error)


def _text(path: Path) -> str:
    try:
        if file_bytes(path) > MAX_FILE_BYTES:
            raise UsageError(f"{path}: larger than {MAX_FILE_BYTES} bytes")
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read: {reason(error)}") from None


def _change(tables: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        tables = tables.setdefault(parent, {})
        if not isinstance(tables, dict):
            raise UsageError(f"--set {key}: {parent} is no table")
    tables[last] = value


@dataclass(frozen=True)
class _Where:
    """Names places of a file in messages."""

    path: Path
    text: str
    prefix: tuple[str, ...]

    def error(self, key: Sequence[str | int], what: str) -> UsageError:
        """``l2mu.toml, line 12: target.watch.board: what``."""
        line = line_of(self.text, (*self.prefix, *key))
        shown = printable(".".join(map(str, key)))[:MAX_SHOWN]
        return UsageError(f"{self.path}{_at(line)}: {shown + ': ' if shown else ''}{what}")

    def problem(self, error: ValidationError) -> UsageError:
        """The first thing that pydantic found wrong."""
        first = error.errors()[0]
        place = tuple(takewhile(lambda part: not _is_type(part), first["loc"]))
        if first["type"] == "extra_forbidden":
            return self.error(place, f"unknown key{self._known(place[:-1])}")
        return self.error(place, first["msg"].removeprefix("Value error, "))

    def _known(self, table: Sequence[str | int]) -> str:
        kind: Any = Config
        for part in table:
            if isinstance(part, str) and part in kind.model_fields:
                kind = _TABLES.get(part, kind)
        return f" (known: {', '.join(kind.model_fields)})"


def _is_type(part: str | int) -> bool:
    """Whether a part of a place is pydantic's name of a type, and no key."""
    return isinstance(part, str) and "[" in part


_TABLES: dict[str, type[BaseModel]] = {
    "model": ModelTable,
    "target": TargetTable,
    "pipeline": PipelineTable,
    "build": BuildTable,
    "budget": Budget,
}


def _at(line: int | None) -> str:
    return "" if line is None else f", line {line}"


def _check_tables(config: Config, where: _Where) -> None:
    for kind in ("model", "target", "pipeline"):
        _check_names(kind, getattr(config, kind), where)
    for name, table in config.model.items():
        if table.checkpoint is None and table.module is None:
            raise where.error(("model", name), "has neither a checkpoint nor a module")
    for name, pipeline in config.pipeline.items():
        if pipeline.quantize == "int8" and pipeline.passes is not None:
            raise where.error(
                ("pipeline", name), "has passes too: name quantize among the passes instead"
            )


def _check_names(kind: str, names: Iterable[str], where: _Where) -> None:
    """Names are those of directories, on every system."""
    seen: dict[str, str] = {}
    for name in names:
        if not _NAME.fullmatch(name):
            raise where.error(
                (kind, name),
                "names are up to 100 letters, digits, '_', '-' and '.', and name directories",
            )
        plain = name.lower()
        if name.endswith(".") or plain.partition(".")[0] in _DEVICES:
            raise where.error((kind, name), "no directory can have that name on Windows")
        if kind == "model" and plain in RUN_FILES:
            raise where.error((kind, name), "a file beside the models' directories has that name")
        if plain in seen:
            raise where.error(
                (kind, name), f"differs from {seen[plain]} only by case, which some systems ignore"
            )
        seen[plain] = name


def _planned(config: Config, where: _Where) -> Iterator[Planned]:
    seen: set[str] = set()
    for k, table in enumerate(config.build):
        named = (
            _named(where, k, "models", table.models, config.model),
            _named(where, k, "targets", table.targets, config.target),
            _named(where, k, "pipelines", table.pipelines, config.pipeline),
        )
        for model, target, pipeline in product(*named):
            name = f"{model}/{target}/{pipeline}"
            if name in seen:
                raise where.error(("build", k), f"{name} is built by an earlier [[build]] already")
            if len(seen) >= MAX_BUILDS:
                raise where.error(("build", k), f"more than {MAX_BUILDS} builds")
            seen.add(name)
            recipe = Recipe(
                model=config.model[model],
                target=config.target[target],
                pipeline=config.pipeline[pipeline],
                plugins=config.plugins,
            )
            yield Planned(name, recipe, config.budget.with_changes(table.budget))


def _named(
    where: _Where, build: int, key: str, names: tuple[str, ...] | None, known: Mapping[str, object]
) -> Sequence[str]:
    if names is None:
        return tuple(known)
    for name in names:
        if name not in known:
            raise where.error(("build", build, key), f"no {name!r} (known: {', '.join(known)})")
    return names
