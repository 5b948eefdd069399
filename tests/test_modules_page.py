"""The example of docs/modules.md is compiled by the command that stands below it."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import ok

from l2mu_compile.compiled import load_host_model
from l2mu_compile.report import load_report

PAGE = (Path(__file__).parent.parent / "docs/modules.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    """The page's one code block in ``language``."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return found


@pytest.fixture
def gestures(tmp_path, monkeypatch):
    (tmp_path / "gestures.py").write_text(block("python"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield
    sys.modules.pop("gestures", None)


def test_the_example_compiles_and_decides_as_torch_does(gestures):
    prompt, tool, *arguments = shlex.split(block("console"))
    assert (prompt, tool) == ("$", "l2mu-compile")
    ok(*arguments)
    folder = Path(arguments[-1])
    check = load_report(folder / "report.json").verify
    assert check is not None and check.bit_exact and check.float_model == "pytorch"

    windows = np.random.default_rng(0).normal(size=(60, 80, 6)).astype(np.float32)
    with torch.no_grad():
        spikes = sys.modules["gestures"].make_network()(torch.from_numpy(windows).transpose(0, 1))
    wanted = spikes.sum(0).argmax(1).numpy()
    assert len(set(wanted.tolist())) > 1
    assert (load_host_model(folder).run(windows) == wanted).mean() > 0.95


def test_the_page_fits_a_screen_or_so():
    assert len(PAGE.splitlines()) <= 70
