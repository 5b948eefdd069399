"""Work in parts on all cores: one forked process for each part, as many at a time as cores.

A fork is what lets a part be any closure and its process be ready at once; it needs no importable
``__main__``. Other threads do not exist in the child, so a lock that one of them held stays locked
there for ever: a part may compute with NumPy and with what it opens itself, but must not print, log
or call torch. Where forking a process with threads is not safe (anywhere but Linux) all is done
here, one part after the other.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import TypeVar

from l2mu_compile.errors import MismatchError
from l2mu_compile.processes import signals_held

Part = TypeVar("Part")
Result = TypeVar("Result")

PATIENCE = 30  # a machine may be busy with much else


@dataclass(frozen=True)
class _Failure:
    """What a part raised."""

    error: Exception


@dataclass(frozen=True)
class _Worker:
    """A running process: the index of its part, and its id."""

    part: int
    pid: int


def cores() -> int:
    """How many parts run at a time."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1


def in_parts(
    work: Callable[[Part], Iterator[Result]], parts: Sequence[Part]
) -> Generator[tuple[int, Result], None, None]:
    """Results of ``work(part)`` for every part, each with its part's index, as they come.

    Results of one part keep their order, and must be picklable. An exception in a part is raised
    here; `MismatchError` if its process dies. Whatever ends this early ends the processes too.
    """
    limit = min(cores(), len(parts))
    if limit <= 1:
        for index, part in enumerate(parts):
            for result in work(part):
                yield index, result
        return
    running: dict[Connection, _Worker] = {}
    started = 0
    try:
        while started < len(parts) or running:
            while started < len(parts) and len(running) < limit:
                _start(work, parts[started], started, running)
                started += 1
            for pipe in wait(list(running)):
                assert isinstance(pipe, Connection)
                try:
                    result = pipe.recv()
                except (EOFError, OSError):
                    _finish(pipe, running)
                    continue
                if isinstance(result, _Failure):
                    raise result.error
                yield running[pipe].part, result
    finally:
        _end(running)


class DiedError(RuntimeError):
    """A process ended in the middle of its work."""


def alone(work: Callable[[], Result], seconds: int, memory: int) -> Result:
    """``work()``, done in a process of its own, which may crash or go on for ever: that raises
    `DiedError`.

    It has ``seconds`` of processor time, ``PATIENCE`` times as long by the clock, and may take
    ``memory`` bytes more than this process has. What it raises is raised here, and its result must
    be picklable.
    """
    if sys.platform != "linux":
        return work()

    def limited(_: None) -> Iterator[Result]:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds * PATIENCE)
        most = pages * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        yield work()

    running: dict[Connection, _Worker] = {}
    try:
        _start(limited, None, 0, running)
        (pipe,) = running
        try:
            result = pipe.recv()
        except (EOFError, OSError):
            raise DiedError("the process that did this died") from None
    finally:
        _end(running)
    if isinstance(result, _Failure):
        raise result.error
    found: Result = result
    return found


def _start(
    work: Callable[[Part], Iterator[Result]],
    part: Part,
    index: int,
    running: dict[Connection, _Worker],
) -> None:
    receive, send = Pipe(duplex=False)
    with signals_held(), warnings.catch_warnings():
        # Python warns of forks while there are threads; the module's docstring says why we may.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
        if pid == 0:
            # Pipes of others, left open, would hide from them that the parent is gone.
            _work_and_exit(work, part, send, [receive, *running])
        running[receive] = _Worker(index, pid)
    send.close()


def _work_and_exit(
    work: Callable[[Part], Iterator[Result]],
    part: Part,
    send: Connection,
    others: Sequence[Connection],
) -> None:
    """What the child does; it never returns, whatever happens."""
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it too, and ends us
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        for pipe in others:
            pipe.close()
        for result in work(part):
            send.send(result)
        status = 0
    except BrokenPipeError:
        pass  # the parent is gone
    except Exception as error:
        _send_failure(send, error)
    finally:
        os._exit(status)


def _send_failure(send: Connection, error: Exception) -> None:
    try:
        # Not every error that can be pickled can be read again.
        send.send(pickle.loads(pickle.dumps(_Failure(error))))
    except Exception:
        send.send(_Failure(RuntimeError(f"{type(error).__name__}: {error}")))


def _end(running: dict[Connection, _Worker]) -> None:
    """Kill processes, and wait until they are gone."""
    for worker in running.values():
        os.kill(worker.pid, signal.SIGKILL)
    for pipe in list(running):
        os.waitpid(running.pop(pipe).pid, 0)
        pipe.close()


def _finish(pipe: Connection, running: dict[Connection, _Worker]) -> None:
    worker = running.pop(pipe)
    pipe.close()
    status = os.waitstatus_to_exitcode(os.waitpid(worker.pid, 0)[1])
    if status:
        how = signal.Signals(-status).name if status < 0 else f"exit code {status}"
        raise MismatchError(f"the process that ran the compiled code died ({how})")
