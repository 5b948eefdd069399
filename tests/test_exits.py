"""How the command line ends: by signals, and where what it says goes nowhere or is hard to say."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from command_line import ok, run
from refusals import WINDOWS, contents, refused, spawn

pytestmark = pytest.mark.usefixtures("workplace")

CLI = [sys.executable, "-m", "l2mu_compile.cli"]


def names() -> list[str]:
    return [path.name for path in Path().iterdir()]


def hidden() -> list[Path]:
    return list(Path().glob(".*"))


@pytest.fixture
def compiling(compiled):
    """Starts to compile into ``out``, where something is already; returns at the first C file."""
    shutil.copytree(compiled / "out", "out")
    started = []

    def start(*prefix: str) -> subprocess.Popen[str]:
        command = [*prefix, *CLI, "compile", str(compiled / "out/float/network.txt"), "-o", "out"]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        deadline = time.monotonic() + 60
        while not any(folder.glob("new/src/*.c") for folder in hidden()):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.002)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGTERM, 143, "error: ended by SIGTERM\n"),
        (signal.SIGHUP, 129, "error: ended by SIGHUP\n"),
        (signal.SIGINT, 130, "error: interrupted\n"),
    ],
)
def test_signals_end_a_compile_cleanly(compiled, compiling, number, code, said):
    process = compiling()
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (code, "", said)
    assert names() == ["out"]
    assert contents(Path("out")) == contents(compiled / "out")


def test_nohup_is_respected(compiling):
    process = compiling("nohup")
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert names() == ["out"]


def test_next_run_removes_what_a_killed_one_left(compiled, compiling):
    process = compiling()
    process.kill()
    process.wait()
    assert len(hidden()) == 1
    assert contents(Path("out")) == contents(compiled / "out")
    ok("compile", compiled / "out/float/network.txt", "-o", "out")
    assert names() == ["out"]


def test_a_running_compile_is_left_alone(compiled, compiling):
    process = compiling()
    ok("compile", compiled / "out/float/network.txt", "-o", "out")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert names() == ["out"]


def test_signals_end_a_verify_and_its_workers(compiled):
    """Windows enough for a while, on all cores."""
    with np.load(compiled / WINDOWS) as stored:
        np.savez("many.npz", x=np.tile(stored["x"], (400, 40, 1)))
    command = [*CLI, "verify", str(compiled / "out"), "--data", "many.npz"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + 60
    workers: list[str] = []
    while not workers and len(os.sched_getaffinity(0)) > 1:
        assert time.monotonic() < deadline
        workers = children.read_text().split()
    process.terminate()
    assert process.communicate(timeout=60)[1] == "error: ended by SIGTERM\n"
    assert process.returncode == 143
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)


def test_interruption(compiled, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("l2mu_compile.compiler.require_exact", interrupted)
    refused(130, "interrupted", arguments=("compile", compiled / "net.pt", "-o", "out"))


def test_internal_errors_are_one_line_too(compiled, monkeypatch):
    def broken(*_):
        raise KeyError("a\nb")

    monkeypatch.setattr("l2mu_compile.compiler.lower", broken)
    arguments = ("compile", compiled / "net.pt", "-o", "out")
    refused(1, "internal error at ", "KeyError", "L2MU_DEBUG=1", arguments=arguments)


def test_traceback_on_request(compiled, monkeypatch):
    monkeypatch.setenv("L2MU_DEBUG", "1")
    monkeypatch.setattr("l2mu_compile.compiler.lower", lambda *_: 1 / 0)
    result = run("compile", compiled / "net.pt", "-o", "out")
    assert result.code == 1
    assert "Traceback" in result.err


def test_out_of_memory(compiled, monkeypatch):
    def large(*_):
        raise MemoryError

    monkeypatch.setattr("l2mu_compile.compiler.lower", large)
    arguments = ("compile", compiled / "net.pt", "-o", "out")
    refused(3, "out of memory", arguments=arguments)


# ---- standard output and standard error ----


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    line = line.replace("CLI", " ".join(CLI))
    return subprocess.run(
        ["bash", "-c", line],
        capture_output=True,
        text=True,
        errors="replace",
        env=os.environ | environment,
    )


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", ["passes", "targets --json"])
def test_full_standard_output(command, unbuffered):
    done = shell(f"CLI {command} > /dev/full", PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 2
    assert done.stderr == ("" if "json" in command else "error: No space left on device\n")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", ["passes", "targets --json", "compile --help"])
def test_reader_that_leaves(command, unbuffered):
    done = shell(f"CLI {command} | true; exit ${{PIPESTATUS[0]}}", PYTHONUNBUFFERED=unbuffered)
    assert (done.returncode, done.stderr) == (141, "")


def test_closed_outputs(compiled):
    done = shell(f"CLI inspect {compiled}/net.pt >&-")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = shell(f"CLI inspect {compiled}/net.pt 2>&-")
    assert done.returncode == 0
    assert done.stdout.startswith("net (traced)")
    for place in ("2>&-", "2>/dev/full"):
        assert shell(f"CLI inspect none.pt {place}").returncode == 3


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_encodings(compiled, encoding):
    arguments = ("compile", compiled / "net.pt", "--quantize", "int8", "-o", "ü\u2028→")
    result = spawn(*arguments, PYTHONIOENCODING=encoding)
    assert result.code == 0, result.err
    assert result.out.split("\n")[0] == {"ascii": r"\xfc?\u2192", "utf-8": "ü?→"}.get(
        encoding, "\ufffd?\\u2192"
    )


def test_warnings_of_libraries_are_not_shown():
    Path("warns.py").write_text(
        "import warnings, torch\nwarnings.warn('beware')\ndef make(): return torch.nn.ReLU()\n"
    )
    result = spawn("inspect", "--module", "warns:make")
    assert result.code == 3
    assert result.err.startswith("error: ")
    assert "beware" in spawn("inspect", "--module", "warns:make", PYTHONWARNINGS="default").err
