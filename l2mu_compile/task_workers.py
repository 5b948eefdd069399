"""Processes that take tasks: each computes in one thread, and none outlives who gave them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType, TracebackType
from typing import Generic, TypeVar

from l2mu_compile.errors import L2MUError
from l2mu_compile.plugins import load_plugin, loaded_files
from l2mu_compile.processes import signals_held

PATIENCE_SECONDS = 5.0

Task = TypeVar("Task")
Result = TypeVar("Result")


class TaskDiedError(L2MUError):
    """The process that did the task ``number`` ended in the middle of it."""

    def __init__(self, number: int) -> None:
        super().__init__(f"the process of task {number} died; out of memory?")
        self.number = number


class Workers(Generic[Task, Result]):
    """``count`` tasks at a time: in this process if one, else each in a process of its own.

    ``work`` does a task; it, tasks and results can be pickled. To be used in a ``with`` block, at
    whose end no process is left: one in the middle of a task has PATIENCE_SECONDS to clean up.
    """

    def __init__(self, work: Callable[[Task], Result], count: int) -> None:
        self._work, self._count = work, count
        self._here: list[tuple[int, Task]] = []
        self._idle: list[Connection] = []
        self._busy: dict[Connection, int] = {}
        self._processes: dict[Connection, BaseProcess] = {}

    @property
    def busy(self) -> int:
        """How many tasks are being done."""
        return len(self._busy) + len(self._here)

    @property
    def idle(self) -> int:
        """How many more could be."""
        return self._count - self.busy

    def start(self, number: int, task: Task) -> None:
        """Begin a task; its number comes back with its result."""
        if self._count == 1:
            self._here.append((number, task))
            return
        pipe = self._idle.pop() if self._idle else self._new()
        with suppress(OSError):  # its process has died, as `next` will find
            pipe.send(task)
        self._busy[pipe] = number

    def next(self) -> tuple[int, Result]:
        """Wait for a task to end. Raises what it raised, `TaskDiedError` if its process died."""
        if self._here:
            number, task = self._here.pop()
            return number, self._work(task)
        pipe = wait(list(self._busy))[0]
        assert isinstance(pipe, Connection)
        number = self._busy.pop(pipe)
        try:
            result = pipe.recv()
        except (EOFError, OSError):
            raise TaskDiedError(number) from None
        self._idle.append(pipe)
        if isinstance(result, Exception):
            raise result
        return number, result

    def __enter__(self) -> Workers[Task, Result]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for pipe in self._busy:
            self._processes[pipe].terminate()
        end = time.monotonic() + PATIENCE_SECONDS
        for pipe in self._busy:
            self._processes[pipe].join(max(0.0, end - time.monotonic()))
        for pipe, process in self._processes.items():
            process.kill()
            process.join()
            pipe.close()

    def _new(self) -> Connection:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_serve, args=(theirs, loaded_files(), self._work), daemon=True
        )
        with signals_held():
            process.start()
            self._processes[ours] = process
        theirs.close()
        return ours


def _serve(pipe: Connection, files: Sequence[Path], work: Callable[[Task], Result]) -> None:
    """What a process does: tasks, one after the other, until nobody asks for more."""
    import torch

    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # who asks hears it too, and ends us
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    for file in files:
        load_plugin(file)
    with suppress(EOFError, OSError):
        while True:
            task = pipe.recv()
            try:
                pipe.send(work(task))
            except Exception as error:
                pipe.send(error)


def _stop(number: int, _frame: FrameType | None) -> None:
    """End, but clean up what was begun."""
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(PATIENCE_SECONDS)
        os._exit(1)
