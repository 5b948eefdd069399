"""The README's table of targets: complete, and what the compiler gives now."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from l2mu_compile.errors import UsageError
from l2mu_compile.targets.registry import TARGETS, get_target
from l2mu_compile.windows import Windows

ROOT = Path(__file__).parents[2]


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "benchmark_targets", ROOT / "benchmarks/targets.py"
    )
    assert spec is not None and spec.loader is not None
    sys.path.append(str(ROOT / "benchmarks"))  # as for a script, but after the tests' own modules
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


bench = load_script()
BEGIN, END = f"<!-- {bench.PLACE} -->", f"<!-- /{bench.PLACE} -->"
WINDOWS = Windows(np.zeros((8, 100, 6), np.float32))
M4 = bench.Build("cortex-m4", "int8", "mps2-an386", True, 1000, 200, "unicorn", True, 54.6)
A76 = bench.Build("cortex-a76", "int8", "qemu-aarch64", True, 9, 8, "unicorn", True, 7.4)


def rows(page: str) -> list[list[str]]:
    """Cells of the table's rows, below its head."""
    text = page.split(BEGIN)[1].split(END)[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def published() -> list[list[str]]:
    return rows(bench.PAGE.read_text(encoding="utf-8"))


def test_every_target_has_one_row_and_every_cell_is_filled() -> None:
    assert [cells[0] for cells in published()] == [f"`{name}`" for name in TARGETS]
    for cells in published():
        assert len(cells) == len(bench.HEAD)
        assert all(cells)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cortex-m4", "cortex-m33"])
def test_published_figures_are_those_of_today(tmp_path: Path, name: str) -> None:
    (cells,) = (cells for cells in published() if cells[0] == f"`{name}`")
    figures = dict(zip(bench.HEAD, cells, strict=True))
    build = bench.measure(bench.load_example(), get_target(name), "int8", tmp_path / "out")
    assert (build.bit_exact, build.run_by) == (True, figures["run by"])
    assert figures["int8"] == "exact"
    for column, number in (
        ("instructions per step", round(build.instructions_per_step)),
        ("flash", build.flash_bytes),
        ("RAM", build.ram_bytes),
    ):
        assert figures[column].split(" / ")[0] == str(number)


def test_a_table_has_a_row_for_each_target() -> None:
    builds = [M4, replace(M4, numbers="float32", flash_bytes=3000, instructions_per_step=99.5), A76]
    text = bench.as_text([*builds, replace(A76, numbers="float32")], WINDOWS)
    assert "on 8 of its\nheld-out windows of 100 steps" in text
    assert rows(BEGIN + text + END) == [
        "`cortex-m4`|yes|unicorn|exact|exact|1000 / 3000|200 / 200|55 / 100|mps2-an386".split("|"),
        "`cortex-a76`|yes|unicorn|exact|exact|9 / 9|8 / 8|7 / 7|qemu-aarch64".split("|"),
    ]


@pytest.mark.parametrize(
    ("change", "cells"),
    [
        ({"bit_exact": False}, {"int8": "**differs**", "float32": "exact"}),
        ({"whole_image_exact": False}, {"whole image in QEMU": "b: **differs** / b"}),
        ({"whole_image_exact": None}, {"whole image in QEMU": "b: not run / b"}),
        (
            {"run_by": None, "bit_exact": None},
            {"run by": "**nothing** / unicorn", "int8": "not run"},
        ),
        ({"instructions_per_step": None}, {"instructions per step": "– / 55"}),
        ({"flash_bytes": None}, {"built": "no / yes", "flash": "– / 1000"}),
    ],
)
def test_gaps_and_faults_are_shown(change: dict, cells: dict) -> None:
    good = replace(M4, whole_image="b")
    bad = replace(good, trouble="no such luck", **change)
    text = bench.as_text([bad, replace(good, numbers="float32")], WINDOWS)
    (row,) = rows(BEGIN + text + END)
    assert dict(zip(bench.HEAD, row, strict=True)).items() >= cells.items()
    assert "\n- `cortex-m4`: no such luck\n" in text


def test_without_qemu_what_it_alone_runs_is_said_not_to_have_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    example = bench.load_example(1)
    build = bench.measure(example, get_target("cortex-m55"), "int8", tmp_path / "out")
    assert build.flash_bytes > 0
    assert build.bit_exact is build.run_by is build.instructions_per_step is None
    assert "qemu-system-arm is not installed" in build.trouble


def test_whole_images_have_a_machine() -> None:
    machines = {name: bench.whole_image(target) for name, target in TARGETS.items()}
    assert machines["host"] is machines["android-arm64-v8a"] is None
    assert machines["cortex-m33"] == "mps2-an505"
    assert machines["cortex-a7"] == "qemu-arm"


def test_a_table_goes_between_the_markers_and_nowhere_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"a\n{BEGIN}\nold\n{END}\nb\n")
    bench.Place.of(page, bench.PLACE).write(r"\1 new", tmp_path / "figures.json", {"new": 1})
    assert page.read_text() == f"a\n{BEGIN}\n\\1 new\n{END}\nb\n"
    assert json.loads((tmp_path / "figures.json").read_text()) == {"new": 1}
    for wrong in ("a", page.read_text() * 2):
        page.write_text(wrong)
        with pytest.raises(UsageError, match="no place between"):
            bench.Place.of(page, bench.PLACE)
