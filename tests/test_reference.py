"""docs/commands.md and docs/api.md say what the package says now, and all of it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_cli import COMMANDS

import l2mu_compile

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    subprocess.run([sys.executable, DOCS / "reference.py", folder], check=True)
    return folder


@pytest.mark.parametrize("name", ["commands.md", "api.md"])
def test_the_page_is_current(fresh: Path, name: str) -> None:
    current = (DOCS / name).read_text() == (fresh / name).read_text()
    assert current, "run `make reference`"


def headings(page: str) -> set[str]:
    return set(re.findall(r"^## (\S+)$", page, flags=re.MULTILINE))


def test_everything_is_there(fresh: Path) -> None:
    commands, names = ((fresh / page).read_text() for page in ("commands.md", "api.md"))
    assert headings(commands) == set(COMMANDS)
    assert headings(names) == set(l2mu_compile.__all__) - {"__version__"}
    assert "| `-o`, `--output DIR` | Directory to write; appears whole or not at all. [out] |" in (
        commands
    )
    assert "(network: Network, path: StrPath) -> None" in names
