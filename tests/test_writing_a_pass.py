"""docs/writing_a_pass.md: its code is that of examples/custom_pass, and all its commands run."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import ok
from tutorials import begin, blocks

from l2mu_compile import plugins

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples/custom_pass"
PAGE = (ROOT / "docs/writing_a_pass.md").read_text(encoding="utf-8")


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory with the example's files, a model and windows."""
    begin(EXAMPLE, "*.py", tmp_path, monkeypatch)


def test_the_code_is_that_of_the_example() -> None:
    files = [path.read_text(encoding="utf-8") for path in EXAMPLE.glob("*.py")]
    assert sorted(blocks(PAGE, "python")) == sorted(files)


def test_the_commands_run(example: None) -> None:
    lines = [line for block in blocks(PAGE, "console") for line in block.splitlines()]
    assert len(lines) == 4
    for line in lines:
        prompt, tool, *arguments = shlex.split(line)
        assert prompt == "$"
        if tool == "l2mu-compile":
            ok(*arguments)
        else:
            assert tool == "python"
            command = [sys.executable, *arguments, "-p", "no:cacheprovider"]
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout
            assert "2 passed" in done.stdout
    for folder, name in (("merged", "merge-equal"), ("sorted", "reorder-by-rate")):
        report = json.loads(Path(f"out/{folder}/report.json").read_text())
        assert any(item.startswith(name) for item in report["passes"])
        assert report["verify"]["bit_exact"]
    texts = [Path(f"out/{folder}/network.txt").read_text() for folder in ("merged", "sorted")]
    assert texts[0] != texts[1]


def test_the_spelling_of_entry_points_is_that_of_the_package() -> None:
    for kind in plugins.KINDS:
        assert f"`{kind.group}`" in PAGE or f'"{kind.group}"' in PAGE
