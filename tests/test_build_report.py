"""What CI reads of a run of builds."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from l2mu_compile.budgets import Figures
from l2mu_compile.build_report import (
    Build,
    BuildReport,
    Failure,
    load_build_report,
    summary,
)
from l2mu_compile.errors import ModelError

KEPT = Build(
    id="a/b/c",
    state="built",
    key="0" * 64,
    seconds=0.25,
    figures=Figures(flash=1000, accuracy=0.5),
)
BROKEN = KEPT.model_copy(update={"id": "a/b/d", "violations": ["flash <1", "RAM & 2"]})
FAILED = Build(
    id="a/b/e",
    state="failed",
    key=None,
    figures=Figures(),
    failure=Failure(message="no | such ]]> \x07file", exit_code=3),
)


def report(*builds: Build) -> BuildReport:
    return BuildReport(tool="t", command=[], builds=list(builds), notes=["a note"])


@pytest.mark.parametrize(
    ("builds", "code"),
    [((), 0), ((KEPT,), 0), ((KEPT, BROKEN), 5), ((BROKEN, FAILED), 3), ((FAILED,), 3)],
)
def test_exit_code(builds, code):
    assert report(*builds).exit_code() == code


def test_files_are_written_and_read(tmp_path):
    made = report(KEPT, BROKEN, FAILED)
    for path, text in made.files(tmp_path, None).items():
        path.write_text(text)
    assert load_build_report(tmp_path) == made == load_build_report(tmp_path / "build.json")


def test_junit(tmp_path):
    (junit,) = (
        text
        for path, text in report(KEPT, BROKEN, FAILED).files(tmp_path, None).items()
        if path.suffix == ".xml"
    )
    root = ElementTree.fromstring(junit)
    counts = {"tests": "3", "failures": "1", "errors": "1", "time": "0.500"}
    assert root.attrib == counts
    (suite,) = root
    assert suite.attrib == {"name": "l2mu-compile build", **counts}
    kept, broken, failed = suite
    assert [case.get("time") for case in suite] == ["0.250", "0.250", "0.000"]
    order = ["skipped", "error", "failure", "system-out", "system-err"]  # of the schema
    for case in suite:
        assert [part.tag for part in case] == sorted((p.tag for p in case), key=order.index)
    assert (kept.get("classname"), kept.get("name")) == ("a.b", "c")
    assert kept.find("failure") is None and kept.find("error") is None
    assert broken.findtext("failure") == "flash <1\nRAM & 2"
    assert failed.find("error").get("message") == "no | such ]]> ?file"


def test_summary(tmp_path):
    earlier = report(KEPT.model_copy(update={"figures": Figures(flash=800, accuracy=0.6)}))
    made = report(KEPT, BROKEN, FAILED)
    summary = next(t for p, t in made.files(tmp_path, earlier).items() if p.suffix == ".md")
    lines = summary.splitlines()
    assert "| a/b/c | built | 1,000 (+25.0 %) |" in summary
    assert "50.00 % (-10.00)" in summary
    assert lines[-4:] == [
        "- `a/b/d`: RAM & 2",
        "- `a/b/e`: no | such ]]> ?file",
        "",
        "- a note",
    ]
    tables = [line for line in lines if line.startswith("|")]
    assert len({line.count("|") for line in tables}) == 1


def test_a_summary_shows_texts_as_they_are():
    said = BROKEN.model_copy(
        update={"violations": ["<b> *x* [y](z) `a_b` \\"], "notes": ["not <run>"]}
    )
    lines = summary(report(said), None).splitlines()
    assert "- `a/b/d`: \\<b> \\*x\\* \\[y](z) \\`a_b\\` \\\\" in lines
    assert lines[-2:] == ["- `a/b/d`: not \\<run>", "- a note"]


def test_what_is_no_report(tmp_path):
    with pytest.raises(ModelError, match="cannot read"):
        load_build_report(tmp_path)
    path = tmp_path / "build.json"
    path.write_text("{")
    with pytest.raises(ModelError, match=r"build\.json: Invalid JSON"):
        load_build_report(path)
    path.write_text(report().to_json().replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(ModelError, match="format_version 2; this release reads 1"):
        load_build_report(path)
