"""Trials in this process and in others."""

from __future__ import annotations

import multiprocessing
import os
import random
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from toy_training import network, split

from l2mu_compile import processes
from l2mu_compile.errors import L2MUError, UsageError
from l2mu_compile.output import whole_directory
from l2mu_compile.targets.registry import get_target
from l2mu_compile.task_workers import Workers
from l2mu_compile.trial import Evaluator, Problem

PIPELINES = ("quantize", "prune-population{sparsity=0.99}", "fold-input")
UNKNOWN = "prune-population{population=nobody}"


def evaluator() -> Evaluator:
    return Evaluator(network(), split(network()), get_target("cortex-m4"), "cortex-m4")


def test_here() -> None:
    with Workers(evaluator(), 1) as workers:
        assert (workers.busy, workers.idle) == (0, 1)
        workers.start(7, PIPELINES[1])
        assert (workers.busy, workers.idle) == (1, 0)
        number, outcome = workers.next()
        assert number == 7 and isinstance(outcome, Problem)
        workers.start(8, UNKNOWN)
        with pytest.raises(UsageError, match="cannot prune 'nobody'"):
            workers.next()


@pytest.mark.slow
def test_in_processes() -> None:
    measure = evaluator()
    with Workers(measure, 2) as workers:
        workers.start(0, PIPELINES[0])
        workers.start(1, PIPELINES[1])
        found = dict([workers.next()])
        workers.start(2, PIPELINES[2])
        assert (workers.busy, workers.idle) == (2, 0)
        found |= dict([workers.next(), workers.next()])
        assert found == {i: measure(pipeline) for i, pipeline in enumerate(PIPELINES)}
        workers.start(3, UNKNOWN)
        with pytest.raises(UsageError, match="cannot prune 'nobody'"):
            workers.next()
        workers.start(4, PIPELINES[0])
        assert len(multiprocessing.active_children()) == 2
        for process in multiprocessing.active_children():
            process.kill()
        with pytest.raises(L2MUError, match="the process of task 4 died"):
            workers.next()
    assert not multiprocessing.active_children()


def sleep(place: tuple[Path, str]) -> None:
    """Take long, in a process of another session, while an output is half there."""
    path, seconds = place
    with whole_directory(path):
        processes.run(["sleep", seconds])


BROKEN_OFF = """
from test_task_workers import *
with Workers(sleep, 2) as workers:
    for number in range(2):
        workers.start(number, (Path(f"out{{number}}"), "{seconds}"))
    while len(asleep("{seconds}")) < 2:
        time.sleep(0.05)
    {ending}
"""


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["raise KeyboardInterrupt", "os.kill(os.getpid(), 9)"])
def test_what_is_broken_off_leaves_nothing(tmp_path: Path, ending: str) -> None:
    """Neither files nor processes, when whoever asked for it is interrupted or killed."""
    seconds = f"6{random.random():.9f}"
    done = subprocess.run(
        [sys.executable, "-c", BROKEN_OFF.format(seconds=seconds, ending=ending)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert done.returncode != 0
    assert ("KeyboardInterrupt" in done.stderr) == ("KeyboardInterrupt" in ending), done.stderr
    end = time.monotonic() + 30
    while (left := [*tmp_path.iterdir(), *asleep(seconds)]) and time.monotonic() < end:
        time.sleep(0.1)
    assert left == []


def asleep(seconds: str) -> list[Path]:
    """Processes that sleep for ``seconds``, and for nothing else."""
    wanted = f"sleep\0{seconds}\0".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found += [path] if path.read_bytes() == wanted else []
    return found
