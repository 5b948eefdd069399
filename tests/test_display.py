"""What a person sees: the report's lines, notes and progress."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from test_report import FULL

from l2mu_compile.display import Bars, bars, show_report
from l2mu_compile.report import Report

pytestmark = pytest.mark.usefixtures("terminal")


def shown(where: str = "out", verify: dict | None = None, **changes) -> tuple[list[str], str]:
    """Lines on standard output, and standard error, for a report."""
    check = FULL["verify"] | {"bit_exact": True, "first_difference": None} | (verify or {})
    report = Report.model_validate(FULL | {"verify": check} | changes)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        show_report(report, where)
    return [line.rstrip() for line in out.getvalue().splitlines()], err.getvalue()


def test_a_library_has_neither_flash_nor_ram():
    lines, _ = shown()
    assert "library       10 bytes of code and constants, 5 of them weights" in lines
    assert "state         4 bytes" in lines
    assert not any(line.startswith(("flash", "RAM")) for line in lines)
    lines, _ = shown(stack_bytes=99)
    assert "state         4 bytes, stack 99 bytes" in lines


def test_firmware_has_flash_and_ram():
    lines, _ = shown(firmware_decision=0, stack_bytes=99)
    assert "flash         10 bytes, 5 of them weights" in lines
    assert "RAM           20 bytes, 4 of them state, stack 99 bytes" in lines
    assert not any(line.startswith(("library", "state")) for line in lines)


def test_what_is_predicted_is_shown_where_it_is_known():
    lines, _ = shown(predicted_instructions_per_step=1234.6)
    assert "predicted     1235 per step, by kernels and spike rates" in lines
    lines, _ = shown()
    assert not any(line.startswith("predicted") for line in lines)


@pytest.mark.parametrize(
    ("origin", "words"),
    [
        ("random", "on random windows"),
        ("calibration", "on calibration data"),
        ("given", "on the data given"),
    ],
)
def test_agreement_and_accuracy_say_on_what(origin, words):
    check = {"windows_from": origin, "accuracy_float": 0.5, "accuracy_compiled": 0.25}
    lines, _ = shown(verify=check)
    assert f"agreement     100.00 % of decisions as the network as given, {words}" in lines
    assert f"accuracy      25.00 %, as given 50.00 %, {words}" in lines
    assert "verified      bit-exact: 1 window x 2 steps" in lines


def test_other_decisions_of_float32_are_noted():
    differs = {"decisions_unlike_float": 3, "windows": 506, "float_model": "pytorch"}
    _, err = shown(verify=differs)
    assert err == "note: decisions differ from the PyTorch model on 3 of 506 windows\n"
    assert shown(verify=differs, numbers="int8")[1] == ""
    assert shown()[1] == ""


def test_a_difference_is_not_hidden():
    lines, _ = shown(verify={"bit_exact": False})
    assert "verified      NOT bit-exact: 1 window x 2 steps" in lines


def test_names_and_notes_are_no_markup():
    lines, err = shown(where="[red]out[/]", notes=["[bold]a note[/]" + "x" * 90])
    assert lines[0] == "[red]out[/]"
    assert err == "note: [bold]a note[/]" + "x" * 90 + "\n"


def test_progress_is_silent_where_nobody_looks(capsys):
    with bars(quiet=False) as progress:
        progress.say("loading")
        assert progress.phase("checking") is None
    with bars(quiet=True) as progress:
        assert progress.phase("checking") is None
    assert Bars(None).phase("x") is None
    assert capsys.readouterr() == ("", "")


def on_a_terminal(code: str, cwd: Path) -> str:
    """What ``code`` writes to a terminal that is its standard error."""
    parent, child = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stderr=child,
        cwd=cwd,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "80"},
    ) as process:
        os.close(child)
        parts = []
        with contextlib.suppress(OSError):  # Linux says so when the other end is closed
            while part := os.read(parent, 1 << 16):
                parts.append(part)
        os.close(parent)
    assert process.returncode == 0
    return b"".join(parts).decode()


def test_progress_on_a_terminal(tmp_path):
    code = """
import time
from l2mu_compile.display import bars

with bars(quiet=False) as progress:
    progress.say("loading")
    time.sleep(0.3)
    move = progress.phase("checking")
    busy = progress.phase("building")
    for done in range(3):
        move(done + 1, 3)
        time.sleep(0.3)
    busy(0, 0)
    time.sleep(0.3)
"""
    text = on_a_terminal(code, tmp_path)
    frames = text.split("\r")
    assert any("loading" in frame for frame in frames)
    assert any("checking" in frame and "2/3" in frame for frame in frames)
    last = next(frame for frame in reversed(frames) if "building" in frame)
    assert "/" not in last
    assert not any("loading" in frame and "checking" in frame for frame in frames)
    assert text.rstrip("\r").endswith("\x1b[2K"), "the line is gone at the end"
