"""Tools run as processes that end with this one: none outlives the call, whatever ends that."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

TIMEOUT_SECONDS = 900  # far above what any tool needs, so that one that hangs is noticed

Finished = subprocess.CompletedProcess[str]


def run(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Finished:
    """Run one command to its end, with nothing to read; see `run_all`."""
    return next(run_all([command], at_once=1, environment=environment, folder=folder))


def run_all(
    commands: Iterable[Sequence[str]],
    *,
    at_once: int,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Iterator[Finished]:
    """Run commands, ``at_once`` at a time; their codes, output and errors, in order.

    A command is taken from ``commands`` when it starts. Raises OSError for one that cannot be
    started and `subprocess.TimeoutExpired` for one that takes longer than TIMEOUT_SECONDS.
    """
    waiting = iter(commands)
    running: deque[subprocess.Popen[str]] = deque()
    try:
        while True:
            for command in waiting:
                with signals_held():
                    running.append(_start(command, environment, folder))
                if len(running) >= at_once:
                    break
            if not running:
                return
            process = running[0]
            out, err = process.communicate(timeout=TIMEOUT_SECONDS)
            running.popleft()
            yield Finished(process.args, process.returncode, out, err)
    finally:
        for process in running:
            _end(process)


@contextmanager
def signals_held() -> Iterator[None]:
    """Signals by which a user ends this process wait until the block has ended.

    Nothing in the block is then cut off by the exception that such a signal raises.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python runs handlers in the main thread alone
        return
    held: list[int] = []

    def hold(number: int, _frame: FrameType | None) -> None:
        held.append(number)

    numbers = [getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)]
    handlers = {number: signal.getsignal(number) for number in numbers}
    before = {number: handler for number, handler in handlers.items() if callable(handler)}
    try:
        for number in before:
            signal.signal(number, hold)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in held:
            signal.raise_signal(number)


def _start(
    command: Sequence[str], environment: Mapping[str, str] | None, folder: Path | None
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )


def _end(process: subprocess.Popen[str]) -> None:
    """Kill a process and all that it started, and wait until the last of them is gone."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()  # its output ends when nobody holds it any more
