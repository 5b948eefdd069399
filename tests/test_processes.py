"""Processes: their results in order, so many at a time, and none left whatever ends the caller."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from l2mu_compile import processes
from l2mu_compile.processes import run, run_all, signals_held


class Interruption(Exception):
    """What the tests' signal handler raises."""


@pytest.fixture
def interruptible() -> Iterator[None]:
    def stop(_number: int, _frame: object) -> None:
        raise Interruption

    before = signal.signal(signal.SIGTERM, stop)
    yield
    signal.signal(signal.SIGTERM, before)


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_results_come_in_order_with_what_was_written():
    commands = [shell(f"sleep 0.{3 - i}; echo {i}; echo no {i} >&2; exit {i}") for i in range(3)]
    done = list(run_all(commands, at_once=2))
    assert [d.args for d in done] == commands
    assert [d.returncode for d in done] == [0, 1, 2]
    assert [d.stdout for d in done] == ["0\n", "1\n", "2\n"]
    assert [d.stderr for d in done] == ["no 0\n", "no 1\n", "no 2\n"]


@pytest.mark.parametrize("at_once", [1, 2, 3, 9])
def test_no_more_run_at_a_time_than_asked(tmp_path, at_once):
    """Each says how many run beside it; with room for it, one waits for the next to start."""
    script = f"mkdir {tmp_path}/$0; ls {tmp_path} | wc -l; sleep 0.1; rmdir {tmp_path}/$0"
    commands = [[*shell(script), f"p{i}"] for i in range(6)]
    most = max(int(d.stdout) for d in run_all(commands, at_once=at_once))
    assert most <= at_once
    assert (most == 1) == (at_once == 1)


def test_output_larger_than_a_pipe_holds_nothing_up():
    commands = [shell("head -c 1000000 /dev/zero | tr '\\0' x")] * 4
    assert [len(d.stdout) for d in run_all(commands, at_once=3)] == [1_000_000] * 4


def test_commands_are_taken_when_they_start():
    taken = []

    def commands() -> Iterator[list[str]]:
        for name in "abcd":
            taken.append(name)
            yield shell(f"echo {name}")

    results = run_all(commands(), at_once=2)
    assert next(results).stdout == "a\n"
    assert taken == ["a", "b"]
    results.close()


def test_nothing_can_be_read(tmp_path):
    assert run(["cat"]).stdout == ""
    assert run(["pwd"], folder=tmp_path).stdout.strip() == str(tmp_path.resolve())
    assert run(shell("echo $X"), environment={"X": "1", "PATH": os.environ["PATH"]}).stdout == "1\n"


def test_missing_program(tmp_path):
    with pytest.raises(FileNotFoundError):
        run([str(tmp_path / "none")])


def test_one_that_hangs_is_ended_with_all_it_started(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "TIMEOUT_SECONDS", 0.3)
    with pytest.raises(subprocess.TimeoutExpired):
        run(shell(f"(sleep 2; touch {tmp_path}/late) & sleep 60"))
    time.sleep(2.2)
    assert list(tmp_path.iterdir()) == []


def test_whatever_ends_the_caller_ends_them(tmp_path):
    """When the error arrives, nobody writes any more, grandchildren included."""
    written = [tmp_path / name for name in "ab"]
    script = "(while :; do echo x >> $0; done) & wait"
    results = run_all([shell("true"), *([*shell(script), str(w)] for w in written)], at_once=3)
    assert next(results).returncode == 0
    until(lambda: all(path.exists() for path in written))
    results.close()
    sizes = [path.stat().st_size for path in written]
    time.sleep(0.2)
    assert [path.stat().st_size for path in written] == sizes


def test_signals_wait_until_the_block_ends(interruptible):
    ended = False
    with pytest.raises(Interruption), signals_held():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        ended = True
    assert ended
    with pytest.raises(Interruption):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)


def test_ignored_signals_stay_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with signals_held():
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        os.kill(os.getpid(), signal.SIGHUP)
    signal.signal(signal.SIGHUP, before)


STORM = """
import signal, sys, time
from l2mu_compile.processes import run_all

def stop(number, frame):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(3)

signal.signal(signal.SIGTERM, stop)
print("ready", flush=True)
script = "echo $$ >> " + sys.argv[1] + "; (sleep 1; touch " + sys.argv[1] + ".late) & wait"
list(run_all([["sh", "-c", script]] * 50, at_once=50))
"""


@pytest.mark.parametrize("delay", [0.0, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08])
def test_a_signal_while_processes_start_leaves_none(tmp_path, delay):
    ids = tmp_path / "ids"
    process = subprocess.Popen([sys.executable, "-c", STORM, str(ids)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(delay)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 3
    process.stdout.close()
    left = [pid for pid in (ids.read_text().split() if ids.exists() else []) if _alive(pid)]
    assert left == []
    time.sleep(1.2)
    assert not Path(f"{ids}.late").exists()


def _alive(pid: str) -> bool:
    return Path(f"/proc/{pid}").exists()
