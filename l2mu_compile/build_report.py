"""What a run of builds made: ``build.json``, for CI ``junit.xml`` and ``summary.md``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

from pydantic import Field

from l2mu_compile.budgets import FIGURES, Figures
from l2mu_compile.errors import BudgetError
from l2mu_compile.paths import StrPath, printable
from l2mu_compile.report import Artifact, Strict, load_report_file

RUN_FILES = BUILD_FILE, JUNIT_FILE, SUMMARY_FILE = "build.json", "junit.xml", "summary.md"

_MARKUP = re.compile(r"[\\`*\[<]")

State = Literal["built", "from cache", "unchanged", "failed"]


class Failure(Strict):
    """Why a build was not made."""

    message: str
    exit_code: int


class Build(Strict):
    """One build."""

    id: str = Field(description="model/target/pipeline, and its directory below build.json's")
    state: State = Field(description="what was done: 'unchanged' was there already")
    key: str | None = Field(description="digest of all it depends on; None where that has no end")
    seconds: float = Field(0, description="that making it took; 0 of what was kept")
    figures: Figures
    violations: list[str] = Field([], description="of its budget")
    failure: Failure | None = None
    notes: list[str] = Field([], description="for the user")
    artifacts: list[Artifact] = Field([], description="its files, as its report.json lists them")

    @property
    def made(self) -> bool:
        """Whether there is something to use."""
        return self.failure is None


class BuildReport(Strict):
    """``build.json``."""

    format_version: Literal[1] = 1
    tool: str
    command: list[str]
    builds: list[Build]
    notes: list[str] = Field([], description="for the user")

    def exit_code(self) -> int:
        """That of the first build that could not be made; else of a budget that is broken, or 0."""
        for build in self.builds:
            if build.failure:
                return build.failure.exit_code
        return BudgetError.exit_code if any(b.violations for b in self.builds) else 0

    def to_json(self) -> str:
        """The file's text."""
        return self.model_dump_json(indent=2) + "\n"

    def files(
        self, folder: Path, baseline: BuildReport | None, present: Sequence[Build] | None = None
    ) -> dict[Path, str]:
        """All files of a run, by where they go. ``build.json`` has the builds ``present`` in the
        directory, if these are others than the run's."""
        whole = self if present is None else self.model_copy(update={"builds": list(present)})
        return {
            folder / JUNIT_FILE: junit(self),
            folder / SUMMARY_FILE: summary(self, baseline),
            folder / BUILD_FILE: whole.to_json(),
        }


def load_build_report(path: StrPath) -> BuildReport:
    """Read a ``build.json``, or the one in a directory. `ModelError` naming what is wrong."""
    path = Path(path)
    path = path / BUILD_FILE if path.is_dir() else path
    return load_report_file(path, BuildReport)


def figures_of(report: BuildReport | None) -> dict[str, Figures]:
    """Figures of all builds by id; none without a report."""
    return {} if report is None else {build.id: build.figures for build in report.builds}


def junit(report: BuildReport) -> str:
    """A JUnit file: a test case for every build, failed by its budget, in error if not made."""
    broken = sum(bool(build.violations) for build in report.builds)
    failed = sum(not build.made for build in report.builds)
    counts = {"tests": str(len(report.builds)), "failures": str(broken), "errors": str(failed)}
    counts["time"] = f"{sum(build.seconds for build in report.builds):.3f}"
    root = ElementTree.Element("testsuites", counts)
    suite = ElementTree.SubElement(root, "testsuite", {"name": "l2mu-compile build", **counts})
    for build in report.builds:
        group, _, name = build.id.rpartition("/")
        named = {"classname": group.replace("/", "."), "name": name}
        case = ElementTree.SubElement(suite, "testcase", {**named, "time": f"{build.seconds:.3f}"})
        if build.failure:
            _problem(case, "error", [build.failure.message])
        if build.violations:
            _problem(case, "failure", build.violations)
        ElementTree.SubElement(case, "system-out").text = "\n".join(
            [build.state, *map(printable, build.notes)]
        )
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _problem(case: ElementTree.Element, kind: str, lines: list[str]) -> None:
    shown = [printable(line) for line in lines]
    ElementTree.SubElement(case, kind, {"message": shown[0]}).text = "\n".join(shown)


def summary(report: BuildReport, baseline: BuildReport | None) -> str:
    """Markdown for a pull request: a table, with changes since ``baseline``, and what is wrong."""
    before = figures_of(baseline)
    titles = [figure.name for figure in FIGURES.values()]
    lines = [
        "# Builds",
        "",
        _row(["build", "", *titles, "budget"]),
        _row(["---", "---", *["---:"] * len(titles), "---"]),
        *(_row(cells(build, before)) for build in report.builds),
    ]
    problems = [f"- `{b.id}`: {_plain(text)}" for b in report.builds for text in _problems(b)]
    notes = [f"- `{b.id}`: {_plain(note)}" for b in report.builds for note in b.notes]
    notes += [f"- {_plain(note)}" for note in report.notes]
    paragraphs = [lines, *(part for part in (problems, notes) if part)]
    return "\n\n".join("\n".join(part) for part in paragraphs) + "\n"


def _problems(build: Build) -> list[str]:
    return [build.failure.message] if build.failure else build.violations


def cells(build: Build, before: Mapping[str, Figures]) -> list[str]:
    """What a table says of a build: its name, state, figures with changes, and verdict."""
    earlier = before.get(build.id)
    shown = [
        figure.with_change(
            getattr(build.figures, figure.field),
            None if earlier is None else getattr(earlier, figure.field),
        )
        for figure in FIGURES.values()
    ]
    return [build.id, build.state, *shown, verdict(build)]


def verdict(build: Build) -> str:
    """How a build did, in a word or two."""
    if build.failure:
        return "error"
    broken = len(build.violations)
    return f"{broken} broken" if broken else "kept"


def _plain(text: str) -> str:
    """``text`` as Markdown that shows it as it is."""
    return _MARKUP.sub(r"\\\g<0>", printable(text))


def _row(texts: list[str]) -> str:
    return f"| {' | '.join(text.replace('|', chr(92) + '|') for text in texts)} |"
