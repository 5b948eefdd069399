"""Plug-ins: passes, targets and importers that come from elsewhere than this package.

An installed package offers each as an entry point of the group ``l2mu_compile.passes``,
``l2mu_compile.targets`` or ``l2mu_compile.importers``. A Python file, given with ``--plugin``,
names what it brings in a list ``PLUGIN``::

    PLUGIN = [MergeEqual, RISCV32IMC]

What breaks a rule is refused by name, when it is loaded.
"""

from __future__ import annotations

import hashlib
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar, get_type_hints

from l2mu_compile.errors import UsageError, reason
from l2mu_compile.importers import OWN_SUFFIXES, Importer
from l2mu_compile.passbase import Pass
from l2mu_compile.paths import StrPath, file_bytes
from l2mu_compile.targets.record import Target

LIST = "PLUGIN"

T = TypeVar("T")

_SPELLING = re.compile(r"[A-Za-z0-9_-]+")
_SUFFIX = re.compile(r"\.[a-z0-9_.-]+")


@dataclass(frozen=True)
class Kind(Generic[T]):
    """A kind of thing that plug-ins bring.

    ``own`` are those of this package, by name; ``problem`` returns the rule that a value breaks, or
    None.
    """

    what: str
    group: str
    own: Callable[[], Mapping[str, T]]
    matches: Callable[[Any], bool]
    problem: Callable[[Any], str | None]


@dataclass(frozen=True)
class _File:
    """A plug-in file that was loaded: what it brings."""

    path: Path
    digest: str
    brought: tuple[tuple[Kind[Any], Any], ...]


_files: dict[Path, _File] = {}


def load_plugin(path: StrPath) -> None:
    """Run the Python file ``path`` and add what its `PLUGIN` lists to what is known from now on.

    A file that was loaded already is not run again. Raises `UsageError`, naming the file and what
    is wrong: it cannot be read or run, lists nothing, or brings what breaks a rule.
    """
    path = Path(path)
    try:
        file_bytes(path)
        place, content = path.resolve(), path.read_bytes()
    except (OSError, ValueError) as error:
        raise UsageError(f"plug-in {path}: cannot be read: {reason(error)}") from None
    if place in _files:
        return
    digest = hashlib.sha256(content).hexdigest()
    module = _run(path, digest)
    listed = getattr(module, LIST, None)
    if not isinstance(listed, (list, tuple)) or not listed:
        raise UsageError(
            f"plug-in {path}: has no {LIST} = [...] of the passes, targets and importers it brings"
        )
    brought = tuple((_kind_of(value, path), value) for value in listed)
    for kind, value in brought:
        _require_sound(kind, value, str(path))
    _files[place] = _File(path, digest, brought)
    try:
        for kind in KINDS:
            known(kind)
    except UsageError:
        del _files[place]
        raise


def loaded_files() -> tuple[Path, ...]:
    """Plug-in files loaded so far, for another process to load them."""
    return tuple(_files)


def fingerprint() -> str:
    """Digests of the plug-in files loaded so far: what was computed with others is not theirs."""
    return ",".join(file.digest for file in _files.values())


def known(kind: Kind[T]) -> dict[str, T]:
    """All values of ``kind`` by name: the package's own, and those that plug-ins bring.

    Raises `UsageError` naming a plug-in that cannot be loaded, breaks a rule or takes a name.
    """
    found: dict[str, Any] = dict(kind.own())
    for origin, value in (*_installed(kind), *_from_files(kind)):
        if value.name in found:
            raise UsageError(f"plug-in {origin}: the name {value.name!r} is taken")
        found[value.name] = value
    return found


def importer_for(path: Path) -> Importer | None:
    """What reads files that end as ``path`` does; `UsageError` as of `known`, and where two do."""
    suffix = path.suffix.lower()
    found = [importer for importer in known(IMPORTERS).values() if suffix in importer.suffixes]
    if len(found) > 1:
        names = " and ".join(importer.name for importer in found)
        raise UsageError(f"{path}: read by more than one importer: {names}")
    return found[0] if found else None


def _installed(kind: Kind[T]) -> Iterator[tuple[str, Any]]:
    for point in entry_points(group=kind.group):
        try:
            value = point.load()
        except (Exception, SystemExit) as error:
            raise UsageError(
                f"plug-in {point.value}: cannot be loaded: {type(error).__name__}: {error}"
            ) from error
        if not kind.matches(value):
            raise UsageError(f"plug-in {point.value}: is no {kind.what}")
        _require_sound(kind, value, point.value)
        yield point.value, value


def _from_files(kind: Kind[T]) -> Iterator[tuple[str, Any]]:
    for file in _files.values():
        for its_kind, value in file.brought:
            if its_kind is kind:
                yield str(file.path), value


def _run(path: Path, digest: str) -> ModuleType:
    """The file as a module, whose name no other file's has."""
    name = f"l2mu_plugin_{re.sub(r'[^A-Za-z0-9]', '_', path.stem)}_{digest[:8]}"
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"plug-in {path}: is no Python file (.py)")
    module = module_from_spec(spec)
    sys.modules[name] = module  # as dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        line = _line_of(error, path)
        raise UsageError(
            f"plug-in {path}{line}: cannot be loaded: {type(error).__name__}: {error}"
        ) from error
    return module


def _line_of(error: BaseException, path: Path) -> str:
    """Where in the file it went wrong, as ``, line 3``."""
    if isinstance(error, SyntaxError):
        return ""  # whose text says it
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path.absolute())]
    return f", line {lines[-1]}" if lines else ""


def _kind_of(value: object, path: Path) -> Kind[Any]:
    for kind in KINDS:
        if kind.matches(value):
            return kind
    raise UsageError(
        f"plug-in {path}: {LIST} holds {_called(value)}, which is no Pass, Target or Importer"
    )


def _require_sound(kind: Kind[Any], value: Any, origin: str) -> None:
    problem = kind.problem(value)
    if problem:
        raise UsageError(f"plug-in {origin}: {kind.what} {_called(value)}: {problem}")


def _called(value: Any) -> str:
    name = getattr(value, "__name__", None) or getattr(value, "name", None)
    return repr(name) if isinstance(name, str) and name else f"a {type(value).__name__}"


def _own_passes() -> Mapping[str, type[Pass]]:
    from l2mu_compile.passes import PASSES

    return PASSES


def _own_targets() -> Mapping[str, Target]:
    from l2mu_compile.targets.registry import TARGETS

    return TARGETS


def _pass_problem(kind: type[Pass]) -> str | None:
    if not (isinstance(kind.name, str) and _SPELLING.fullmatch(kind.name)):
        return f"its name {kind.name!r} is not letters, digits, - and _"
    if "__dataclass_params__" not in vars(kind):
        return "is not a dataclass: write @dataclass(frozen=True) above it"
    without = [f.name for f in fields(kind) if f.default is f.default_factory is MISSING]
    if without:
        return f"its option {without[0]} has no default value"
    if not kind.__doc__ or kind.__doc__.startswith(f"{kind.__name__}("):
        return "has no docstring that states its contract"
    if kind.apply is Pass.apply:
        return "has no apply(self, network, context)"
    try:
        get_type_hints(kind)
    except Exception as error:
        return f"the types of its options cannot be read: {error}"
    return None


def _target_problem(target: Target) -> str | None:
    from l2mu_compile.targets.kernel_sets import NEEDED_MACROS
    from l2mu_compile.targets.toolchain import runtime_file

    for name in (*target.kernel_sets, *target.optional_sets):
        if name not in NEEDED_MACROS:
            return f"unknown kernel set {name!r}; known: {', '.join(NEEDED_MACROS)}"
    scripts = () if target.linker_script is None else (target.linker_script,)
    for name in (*target.startup, *target.program, *scripts):
        if not runtime_file(name).is_file():
            return f"no file {runtime_file(name)}"
    return None


def _importer_problem(importer: Importer) -> str | None:
    if not (isinstance(importer.name, str) and _SPELLING.fullmatch(importer.name)):
        return "its name is not letters, digits, - and _"
    if not callable(importer.read):
        return "its read is not a function"
    if not isinstance(importer.suffixes, tuple) or not importer.suffixes:
        return "its suffixes are not a tuple of file endings"
    for suffix in importer.suffixes:
        if not (isinstance(suffix, str) and _SUFFIX.fullmatch(suffix)):
            return f"suffix {suffix!r} is not a point and lower-case letters, as .csv is"
        if suffix in OWN_SUFFIXES:
            return f"suffix {suffix!r} is one that l2mu-compile reads itself"
    return None


PASSES: Kind[type[Pass]] = Kind(
    "pass",
    "l2mu_compile.passes",
    _own_passes,
    lambda value: isinstance(value, type) and issubclass(value, Pass) and value is not Pass,
    _pass_problem,
)
TARGETS: Kind[Target] = Kind(
    "target",
    "l2mu_compile.targets",
    _own_targets,
    lambda value: isinstance(value, Target),
    _target_problem,
)
IMPORTERS: Kind[Importer] = Kind(
    "importer",
    "l2mu_compile.importers",
    dict,
    lambda value: isinstance(value, Importer),
    _importer_problem,
)
KINDS: tuple[Kind[Any], ...] = (PASSES, TARGETS, IMPORTERS)
