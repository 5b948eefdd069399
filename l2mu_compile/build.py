"""Builds of a file of builds: made in parallel, kept by content, judged by their budgets."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from l2mu_compile.budgets import Figures, unjudged, violations
from l2mu_compile.build_cache import LOCK, entry_of, is_whole, locked, mark_used, remove_unused
from l2mu_compile.build_config import BuildFile, Planned
from l2mu_compile.build_report import (
    BUILD_FILE,
    Build,
    BuildReport,
    Failure,
    State,
    figures_of,
    load_build_report,
)
from l2mu_compile.compiled import REPORT_FILE
from l2mu_compile.errors import L2MUError, ModelError, UsageError
from l2mu_compile.making import make, passes_of, target_of
from l2mu_compile.output import file_digest, whole_directory, write_together, writing
from l2mu_compile.paths import printable
from l2mu_compile.provenance import Provenance, provenance
from l2mu_compile.report import Report, load_report
from l2mu_compile.targets.emit_c import TOOL
from l2mu_compile.task_workers import TaskDiedError, Workers
from l2mu_compile.workers import cores

OnBuild = Callable[[Build], None]
Found = TypeVar("Found")


@dataclass(frozen=True)
class Builder:
    """Makes one build after the other; a process of its own may do so too.

    ``root`` is the directory that paths of the file are relative to; ``rebuild`` takes nothing from
    the cache.
    """

    root: Path
    output: Path
    cache: Path
    rebuild: bool = False

    def __call__(self, planned: Planned) -> Build:
        """Make a build; what goes wrong with it is in what is returned."""
        started = time.monotonic()
        build = _attempted(self._made, planned)
        return build.model_copy(update={"seconds": round(time.monotonic() - started, 3)})

    def kept(self, planned: Planned) -> Build | None:
        """A build that the cache has, put in its place; None if it has to be made."""
        return _attempted(self._found, planned)

    def _found(self, planned: Planned) -> Build | None:
        if planned.recipe.model.module or self.rebuild:
            return None
        key = self._provenance(planned).digest
        with entry_of(self.cache, key) as entry:
            return self._placed(planned, key, "from cache") if is_whole(entry) else None

    def _made(self, planned: Planned) -> Build:
        origin = self._provenance(planned)
        if planned.recipe.model.module:  # of which nobody knows what files it consists of
            place = self.output / planned.id
            with whole_directory(place) as fresh:
                self._compile(planned, origin, fresh)
            return _described(planned, "built", None, load_report(place / REPORT_FILE))
        key = origin.digest
        with entry_of(self.cache, key) as entry:
            if not self.rebuild and is_whole(entry):  # another process has just made it
                return self._placed(planned, key, "from cache")
            with whole_directory(entry) as fresh:
                self._compile(planned, origin, fresh)
            return self._placed(planned, key, "built")

    def _placed(self, planned: Planned, key: str, state: State) -> Build:
        """Copy a build from the cache to its place, unless it is there."""
        entry, place = self.cache / key, self.output / planned.id
        mark_used(entry)
        report = load_report(entry / REPORT_FILE)
        if is_whole(place) and _same_report(place, entry):
            return _described(planned, state if state == "built" else "unchanged", key, report)
        with whole_directory(place) as fresh:
            shutil.copytree(entry, fresh, dirs_exist_ok=True)
        return _described(planned, state, key, report)

    def _provenance(self, planned: Planned) -> Provenance:
        return provenance(planned.recipe, self.root, ("l2mu-compile", "build", planned.id))

    def _compile(self, planned: Planned, origin: Provenance, fresh: Path) -> None:
        """Compile and verify beside the directory ``fresh``, then move everything into it."""
        made = fresh.with_name("made")
        make(planned.recipe, self.root, origin, made)
        for path in made.iterdir():
            path.replace(fresh / path.name)


def _attempted(work: Callable[[Planned], Found], planned: Planned) -> Found | Build:
    """``work(planned)``, or a build that failed by what it raised."""
    try:
        return work(planned)
    except L2MUError as error:
        return _failed(planned, error)
    except OSError as error:
        return _failed(planned, UsageError(str(error)))
    except MemoryError:
        return _failed(planned, ModelError("out of memory: the model or its data is too large"))
    except Exception as error:
        return _failed(planned, L2MUError(f"internal error: {type(error).__name__}: {error}"))


def check_names(file: BuildFile) -> None:
    """Raise `UsageError`, naming file, line and key, for a device or a pass that is not known."""
    for name, table in file.config.target.items():
        try:
            target_of(table)
        except UsageError as error:
            raise file.error(("target", name), str(error)) from None
    for name, pipeline in file.config.pipeline.items():
        try:
            passes_of(pipeline, calibrated=True)
        except UsageError as error:
            raise file.error(("pipeline", name), str(error)) from None


def run_builds(
    file: BuildFile,
    builds: Sequence[Planned],
    baseline: BuildReport | None = None,
    rebuild: bool = False,
    command: tuple[str, ...] = (),
    on_build: OnBuild = lambda _: None,
) -> BuildReport:
    """Make ``builds`` of ``file``, some at a time, and hold each to its budget.

    ``on_build`` is told of every build as it ends. What goes wrong with one is said in the result
    and keeps no other from being made. Raises `UsageError` where another run builds into the same
    directory, or nothing can be written there.
    """
    config = file.config
    output, cache_folder = file.place(config.output), file.place(config.cache)
    builder = Builder(file.path.parent, output, cache_folder, rebuild)
    earlier = figures_of(baseline)
    _require_directories(output, cache_folder)
    with locked(output / LOCK, wait=False), writing(cache_folder):
        others, damage = _left_in(output, file, builds)
        cache_folder.mkdir(parents=True, exist_ok=True)
        made: dict[int, Build] = {}
        for number, build in _in_parallel(builder, builds, config.jobs or cores()):
            budget = builds[number].budget
            broken = violations(budget, build.figures, earlier.get(build.id)) if build.made else ()
            made[number] = build.model_copy(update={"violations": list(broken)})
            on_build(made[number])
        report = BuildReport(
            tool=TOOL,
            command=list(command),
            builds=[made[number] for number in range(len(builds))],
            notes=damage
            + _notes(builds, earlier, baseline)
            + _aged(cache_folder, config.cache_days),
        )
        place = {planned.id: number for number, planned in enumerate(file.builds)}
        present = sorted([*report.builds, *others], key=lambda build: place[build.id])
        write_together(report.files(output, baseline, present))
    return report


def _require_directories(*folders: Path) -> None:
    for folder in folders:
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder}: is no directory")


def _left_in(
    output: Path, file: BuildFile, builds: Sequence[Planned]
) -> tuple[list[Build], list[str]]:
    """Builds of ``file`` besides ``builds`` that an earlier run left, as it described them; and
    what to say of a description that cannot be read."""
    others = {planned.id for planned in file.builds} - {planned.id for planned in builds}
    if not others or not (output / BUILD_FILE).exists():
        return [], []
    try:
        found = {build.id: build for build in load_build_report(output).builds}
    except ModelError as error:
        return [], [f"{printable(str(error))}; only builds that were asked for are in the new one"]
    left = [found[name] for name in found if name in others and (output / name).is_dir()]
    return left, []


def _in_parallel(
    builder: Builder, builds: Sequence[Planned], count: int
) -> Iterator[tuple[int, Build]]:
    waiting: list[tuple[int, Planned]] = []
    for number, planned in enumerate(builds):
        if (found := builder.kept(planned)) is not None:
            yield number, found
        else:
            waiting.insert(0, (number, planned))
    with Workers(builder, min(count, len(waiting))) as workers:
        while waiting or workers.busy:
            while waiting and workers.idle:
                workers.start(*waiting.pop())
            try:
                yield workers.next()
            except TaskDiedError as error:
                died = L2MUError("its process died, perhaps out of memory; fewer --jobs take less")
                yield error.number, _failed(builds[error.number], died)


def _notes(
    builds: Sequence[Planned], earlier: Mapping[str, Figures], baseline: BuildReport | None
) -> list[str]:
    compared = [build.id for build in builds if build.budget.compares]
    if baseline is None:
        return ["changes are not judged: there is no baseline"] if compared else []
    new = [
        f"{build.id} ({', '.join(figures)})" if build.id in earlier else build.id
        for build in builds
        if (figures := unjudged(build.budget, earlier.get(build.id)))
    ]
    return [f"not in the baseline: {', '.join(new)}"] if new else []


def _aged(cache: Path, days: int) -> list[str]:
    """Remove from the cache what is not used any more; what to say of it."""
    removed = 0
    if days:
        with suppress(OSError):  # nothing that was built depends on it
            removed = remove_unused(cache, days)
    what = "1 build that no run had" if removed == 1 else f"{removed} builds that no run had"
    return [f"removed from the cache: {what} used for {days} days"] if removed else []


def _described(planned: Planned, state: State, key: str | None, report: Report) -> Build:
    check, bounds = report.verify, report.stack_bounds
    return Build(
        id=planned.id,
        state=state,
        key=key,
        figures=Figures(
            flash=report.flash_bytes,
            ram=report.ram_bytes,
            stack=max(bounds.values()) if bounds else report.stack_bytes,
            instructions_per_step=report.instructions_per_step_mean,
            worst_case_instructions=report.instructions_if_all_spike,
            accuracy=check.accuracy_compiled if check else None,
            agreement=check.decision_agreement_with_float if check else None,
        ),
        notes=report.notes,
        artifacts=report.artifacts,
    )


def _failed(planned: Planned, error: L2MUError) -> Build:
    failure = Failure(message=printable(str(error)), exit_code=error.exit_code)
    return Build(id=planned.id, state="failed", key=None, figures=Figures(), failure=failure)


def _same_report(a: Path, b: Path) -> bool:
    return file_digest(a / REPORT_FILE) == file_digest(b / REPORT_FILE)
