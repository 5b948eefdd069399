"""Work in parts: the same results whatever the number of cores, and no process outlives its job."""

from __future__ import annotations

import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from l2mu_compile import workers
from l2mu_compile.errors import MismatchError, ModelError
from l2mu_compile.toml_lines import TomlError
from l2mu_compile.workers import DiedError, alone, in_parts

MEMORY = 256 << 20


@pytest.fixture(params=[1, 2, 5])
def cores(request, monkeypatch) -> int:
    monkeypatch.setattr(workers, "cores", lambda: request.param)
    return request.param


@pytest.fixture
def two(monkeypatch) -> None:
    monkeypatch.setattr(workers, "cores", lambda: 2)


@pytest.fixture
def others() -> set[str]:
    """Processes that were here before the test: those of libraries, such as torch's compilers."""
    return children()


def children() -> set[str]:
    return set(Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split())


def squares(part: range) -> Iterator[tuple[int, int]]:
    for number in part:
        yield number**2, os.getpid()


def test_results_and_their_order(cores, others):
    parts = [range(start, start + 3) for start in range(0, 21, 3)]
    found: list[list[int]] = [[] for _ in parts]
    processes = set()
    for index, (square, process) in in_parts(squares, parts):
        found[index].append(square)
        processes.add(process)
    assert found == [[n**2 for n in part] for part in parts]
    assert processes == {os.getpid()} if cores == 1 else len(processes) == len(parts)
    assert children() <= others


@pytest.mark.parametrize("parts", [[], [range(2)]])
def test_one_part_needs_no_process(two, parts):
    assert all(process == os.getpid() for _, (_, process) in in_parts(squares, parts))


def test_what_is_large_arrives(two):
    def work(part: int) -> Iterator[np.ndarray]:
        yield np.full(1 << 20, part)

    found = dict(in_parts(work, [3, 4, 5]))
    assert [int(found[i].sum()) >> 20 for i in range(3)] == [3, 4, 5]


def test_errors_are_raised_here(cores, others):
    def work(part: int) -> Iterator[int]:
        yield part
        if part == 2:
            raise ModelError("part 2 is wrong")

    with pytest.raises(ModelError, match="part 2 is wrong"):
        list(in_parts(work, [0, 1, 2, 3, 4]))
    assert children() <= others


def test_an_error_that_cannot_travel_is_told(two):
    class Local(Exception):
        pass

    def work(part: int) -> Iterator[int]:
        raise Local("here")
        yield part

    with pytest.raises(RuntimeError, match="Local: here"):
        list(in_parts(work, [0, 1]))


def test_an_error_that_cannot_be_read_again_is_told(two):
    def work(part: int) -> Iterator[int]:
        raise TomlError("no table", 3)
        yield part

    with pytest.raises(RuntimeError, match="TomlError: no table"):
        list(in_parts(work, [0, 1]))


@pytest.mark.parametrize(
    ("end", "text"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), "SIGSEGV"),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), "SIGTERM"),
        (lambda: os._exit(3), "exit code 3"),
        (sys.exit, "exit code 1"),
    ],
)
def test_a_process_that_dies_is_a_mismatch(two, others, end, text):
    def work(part: int) -> Iterator[int]:
        yield part
        end()

    with pytest.raises(MismatchError, match=rf"died \({text}\)"):
        list(in_parts(work, [0, 1]))
    assert children() <= others


def test_stopping_early_ends_the_processes(two, others):
    def work(part: int) -> Iterator[int]:
        yield part
        time.sleep(600)

    with closing(in_parts(work, [0, 1, 2])) as results:
        next(results)
        assert len(children() - others) == 2
    assert children() <= others


def test_processes_end_with_a_killed_parent(tmp_path):
    script = f"""
import os, time
from pathlib import Path
from l2mu_compile import workers

workers.cores = lambda: 2

def work(part):
    Path({str(tmp_path)!r}, str(os.getpid())).touch()
    while True:
        time.sleep(0.01)
        yield part

for _ in workers.in_parts(work, [0, 1]):
    pass
"""
    with subprocess.Popen([sys.executable, "-c", script]) as process:
        deadline = time.monotonic() + 60
        while len(list(tmp_path.iterdir())) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.kill()
    left = [Path("/proc") / path.name for path in tmp_path.iterdir()]
    while any(path.exists() for path in left):
        assert time.monotonic() < deadline, "still running"
        time.sleep(0.01)


def test_with_torch_and_its_threads_in_the_parent(two):
    """As it is after tracing: torch has computed on all its threads, others hold locks."""
    torch.set_num_threads(4)
    x = torch.ones(600, 600)
    busy = threading.Event()

    def keep_busy() -> None:
        while not busy.is_set():
            x @ x

    threads = [threading.Thread(target=keep_busy) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            work = [range(start, start + 2) for start in range(4)]
            found = {i: r for i, (r, _) in in_parts(squares, work)}
            assert found == {0: 1, 1: 4, 2: 9, 3: 16}
    finally:
        busy.set()
        for thread in threads:
            thread.join()


def test_in_a_thread_and_in_a_script_without_a_guard(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        """
import threading
from l2mu_compile import workers

workers.cores = lambda: 2
print("started")
found = []
thread = threading.Thread(
    target=lambda: found.extend(workers.in_parts(lambda part: iter([part * 2]), [1, 2, 3]))
)
thread.start()
thread.join()
print(sorted(found))
"""
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("started\n[(0, 2), (1, 4), (2, 6)]\n", "")


# ---- alone ---------------------------------------------------------------------------------------


def test_alone_returns_what_the_work_returns(others):
    values = np.arange(1 << 18)
    found, process = alone(lambda: (values * 2, os.getpid()), 30, MEMORY)
    assert np.array_equal(found, values * 2)
    assert process != os.getpid()
    assert children() <= others


@pytest.mark.parametrize(
    ("error", "raised", "text"),
    [
        (ModelError("damaged"), ModelError, "^damaged$"),
        (KeyError("x"), KeyError, "x"),
        (EOFError("short"), EOFError, "short"),
        (FileNotFoundError(2, "none"), FileNotFoundError, "none"),
        (TomlError("no table", 3), RuntimeError, "TomlError: no table"),
    ],
)
def test_alone_raises_what_the_work_raises(others, error, raised, text):
    def work() -> None:
        raise error

    with pytest.raises(raised, match=text):
        alone(work, 30, MEMORY)
    assert children() <= others


def test_alone_refuses_a_result_that_cannot_travel(others):
    with pytest.raises((AttributeError, pickle.PicklingError), match=r"(?i)pickle"):
        alone(lambda: lambda: 1, 30, MEMORY)
    assert children() <= others


@pytest.mark.parametrize(
    "end",
    [
        lambda: os.kill(os.getpid(), signal.SIGSEGV),
        lambda: os.kill(os.getpid(), signal.SIGKILL),
        lambda: os.kill(os.getpid(), signal.SIGTERM),
        lambda: os._exit(0),
        sys.exit,
    ],
)
def test_work_that_dies_alone(others, end):
    with pytest.raises(DiedError, match="the process that did this died"):
        alone(end, 30, MEMORY)
    assert children() <= others


def test_alone_ends_a_loop_by_its_processor_time(others):
    def work() -> None:
        while True:
            pass

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with pytest.raises(DiedError):
        alone(work, 1, MEMORY)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert 0.9 < spent < 2
    assert children() <= others


def test_alone_ends_what_waits_for_ever(others, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "PATIENCE", 1)
    os.mkfifo(tmp_path / "pipe")
    begin = time.monotonic()
    with pytest.raises(DiedError):
        alone((tmp_path / "pipe").read_bytes, 1, MEMORY)
    assert time.monotonic() - begin >= 1
    assert children() <= others


def test_a_timer_of_the_parent_does_not_end_the_work():
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    try:
        assert alone(lambda: time.sleep(0.5) or 7, 30, MEMORY) == 7
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_alone_has_so_much_memory(others):
    alone(lambda: np.ones(MEMORY // 16).sum(), 30, MEMORY)
    with pytest.raises(MemoryError):
        alone(lambda: np.ones(MEMORY // 4).sum(), 30, MEMORY)
    assert children() <= others
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY


def test_alone_leaves_no_process_where_it_is_interrupted(others):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(KeyboardInterrupt):
            alone(lambda: time.sleep(600), 30, MEMORY)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert children() <= others


def test_alone_ends_with_a_killed_parent(tmp_path):
    script = f"""
import os, time
from pathlib import Path
from l2mu_compile.workers import alone

def work():
    Path({str(tmp_path)!r}, str(os.getpid())).touch()
    while True:
        pass

alone(work, 3, 1 << 28)
"""
    with subprocess.Popen([sys.executable, "-c", script]) as process:
        deadline = time.monotonic() + 120
        while not (found := list(tmp_path.iterdir())):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.kill()
    while (Path("/proc") / found[0].name).exists():
        assert time.monotonic() < deadline, "still running"
        time.sleep(0.01)
