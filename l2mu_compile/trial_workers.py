"""Processes that run trials: each computes in one thread, and none outlives its search."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType

from l2mu_compile.errors import L2MUError
from l2mu_compile.plugins import load_plugin, loaded_files
from l2mu_compile.processes import signals_held
from l2mu_compile.trial import Evaluator, Outcome


class Workers:
    """``count`` trials at a time: in this process if one, else each in a process of its own.

    To be used in a ``with`` block, at whose end the processes are killed.
    """

    def __init__(self, evaluator: Evaluator, count: int) -> None:
        self._evaluator, self._count = evaluator, count
        self._here: list[tuple[int, str]] = []
        self._idle: list[Connection] = []
        self._busy: dict[Connection, int] = {}
        self._processes: list[BaseProcess] = []

    @property
    def busy(self) -> int:
        """How many trials are being run."""
        return len(self._busy) + len(self._here)

    @property
    def idle(self) -> int:
        """How many more could be."""
        return self._count - self.busy

    def start(self, number: int, pipeline: str) -> None:
        """Begin a trial; its number comes back with its outcome."""
        if self._count == 1:
            self._here.append((number, pipeline))
            return
        pipe = self._idle.pop() if self._idle else self._new()
        pipe.send(pipeline)
        self._busy[pipe] = number

    def next(self) -> tuple[int, Outcome]:
        """Wait for a trial to end. Raises what it raised, `L2MUError` if its process died."""
        if self._here:
            number, pipeline = self._here.pop()
            return number, self._evaluator(pipeline)
        pipe = wait(list(self._busy))[0]
        assert isinstance(pipe, Connection)
        number = self._busy.pop(pipe)
        try:
            outcome = pipe.recv()
        except (EOFError, OSError):
            raise L2MUError(f"the process that ran trial {number} died; out of memory?") from None
        self._idle.append(pipe)
        if isinstance(outcome, Exception):
            raise outcome
        return number, outcome

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.join()
        for pipe in (*self._idle, *self._busy):
            pipe.close()

    def _new(self) -> Connection:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_serve, args=(theirs, loaded_files(), self._evaluator), daemon=True
        )
        with signals_held():
            process.start()
            self._processes.append(process)
        theirs.close()
        return ours


def _serve(pipe: Connection, files: Sequence[Path], evaluator: Evaluator) -> None:
    """What a process does: trials, one after the other, until nobody asks for more."""
    import torch

    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the search hears it too, and ends us
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    for file in files:
        load_plugin(file)
    with suppress(EOFError, OSError):
        while True:
            pipeline = pipe.recv()
            try:
                pipe.send(evaluator(pipeline))
            except Exception as error:
                pipe.send(error)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
