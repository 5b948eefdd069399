"""Outputs that cannot be written and tools that do not work, through the command line."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
import torch
from refusals import refused, state

from l2mu_compile.targets import zig

pytestmark = pytest.mark.usefixtures("workplace")


def test_output_with_foreign_files(compiled):
    Path("home").mkdir()
    Path("home/letter").write_text("dear")
    arguments = ("compile", compiled / "net.pt", "-o", "home")
    refused(2, "home: holds files this tool did not write", arguments=arguments)
    assert Path("home/letter").read_text() == "dear"


def test_output_that_is_a_file(compiled):
    Path("file").write_text("text")
    for place, text in (
        ("file", "is not a directory"),
        ("file/out", "cannot be written"),
        ("/proc/nothing/out", "cannot be written"),
        (".", "give -o the name of a directory"),
        ("..", "give -o the name of a directory"),
    ):
        refused(2, text, arguments=("compile", compiled / "net.pt", "-o", place))
    assert Path("file").read_text() == "text"


def test_output_that_is_a_link(compiled):
    Path("real").mkdir()
    Path("link").symlink_to("real")
    refused(2, "is not a directory", arguments=("compile", compiled / "net.pt", "-o", "link"))


def test_failure_keeps_the_earlier_output(compiled):
    shutil.copytree(compiled / "out", "out")
    torch.save(state() | {"e_z": torch.ones(2)}, "net.pt")
    before = {p: p.read_bytes() for p in Path("out").rglob("*") if p.is_file()}
    refused(3, "e_z", arguments=("compile", "net.pt", "-o", "out"))
    assert {p: p.read_bytes() for p in Path("out").rglob("*") if p.is_file()} == before


def test_internal_errors_are_one_line_too(compiled, monkeypatch):
    def broken(*_):
        raise KeyError("a\nb")

    monkeypatch.setattr("l2mu_compile.compiler.lower", broken)
    arguments = ("compile", compiled / "net.pt", "-o", "out")
    refused(1, "internal error at ", "KeyError", "L2MU_DEBUG=1", arguments=arguments)


def test_interruption(compiled, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("l2mu_compile.compiler.build", interrupted)
    arguments = ("compile", compiled / "net.pt", "-o", "out")
    refused(130, "interrupted", arguments=arguments)


# ---- toolchain ----


def test_missing_compiler(compiled, monkeypatch):
    monkeypatch.setattr(zig, "find_spec", lambda name: None)
    zig.zig_command.cache_clear()
    try:
        arguments = ("compile", compiled / "net.pt", "-o", "out")
        refused(6, "no C compiler: install zig", arguments=arguments)
    finally:
        zig.zig_command.cache_clear()


def test_failing_compiler(compiled, monkeypatch):
    broken = (sys.executable, "-c", "print('main.c:1: error: no\\n  memory'); raise SystemExit(1)")
    monkeypatch.setattr("l2mu_compile.targets.toolchain.zig_command", lambda: broken)
    arguments = ("compile", compiled / "net.pt", "-o", "out")
    refused(6, "compiler ended with code 1", "error: no memory", arguments=arguments)
