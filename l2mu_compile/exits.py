"""Every way the command line can end: one line for a person, and an exit code."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import typer
from rich.markup import escape

from l2mu_compile.display import err
from l2mu_compile.errors import L2MUError, ModelError, UsageError, reason
from l2mu_compile.paths import printable

EXIT_CODES = """Exit codes: 0 ok, 1 internal error, 2 usage, 3 unsupported or invalid model,
4 verification mismatch, 5 budget exceeded, 6 toolchain missing."""

INTERNAL_ERROR = 1
CommandLineError: Any = typer.BadParameter.__base__  # click's UsageError, wherever typer keeps it


class Stopped(BaseException):
    """A signal asks the process to end; what was begun is to be cleaned up on the way out."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def exit_code(command: Callable[[], Any]) -> int:
    """Run ``command`` and turn every failure into one line and an exit code.

    A signal's is 128 and its number, as a shell has it.
    """
    _prepare_output()
    try:
        with _stopped_by_signals(), warnings.catch_warnings():
            if not sys.warnoptions:
                warnings.simplefilter("ignore")  # of libraries, to whoever uses them from Python
            code = command() or 0
            sys.stdout.flush()
        return _interrupted(signal.SIGINT) if code == 128 + signal.SIGINT else int(code)
    except L2MUError as error:
        return _fail(str(error), error.exit_code)
    except CommandLineError as error:
        return _fail_usage(error)
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted(signal.SIGINT)
    except Stopped as stop:
        return _interrupted(stop.number)
    except BrokenPipeError:
        return _reader_left()
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # how typer and rich end then
            return _reader_left()
        return _fail(f"code of the module called sys.exit({stop.code!r})", ModelError.exit_code)
    except MemoryError:
        return _fail("out of memory: the model or its data is too large", ModelError.exit_code)
    except OSError as error:
        return _fail_file(error)
    except Exception as error:
        return _fail_internally(error)


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP raise `Stopped`, once; where they are ignored they stay so (nohup)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {n: signal.getsignal(n) for n in numbers}
    heard = [n for n in numbers if before[n] is signal.SIG_DFL]

    def stop(number: int, _frame: Any) -> None:
        for each in heard:
            signal.signal(each, signal.SIG_IGN)
        raise Stopped(number)

    try:
        for number in heard:
            signal.signal(number, stop)
        yield
    finally:
        for number in heard:
            signal.signal(number, signal.SIG_DFL)


def _interrupted(number: int) -> int:
    what = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
    return _fail(what, 128 + number)


def _reader_left() -> int:
    """Whoever reads our output wants no more of it: no error, and nobody to tell."""
    _discard_output()
    return 128 + signal.SIGPIPE


def _fail(text: str, code: int) -> int:
    """Say what went wrong in one line, whatever a file's names and messages hold."""
    text = printable(" ".join(text.split()))
    with suppress(OSError):  # where even that cannot be said, the code says it
        if "--json" in sys.argv:
            print(json.dumps({"error": {"message": text, "exit_code": code}}), flush=True)
        else:
            err.print(f"[red]error:[/] {escape(text)}", soft_wrap=True)
    return code


def _fail_usage(error: Any) -> int:
    """An argument that the command line itself refuses; without any, the help was shown."""
    text = error.format_message()
    if not text:
        return UsageError.exit_code
    command = error.ctx.command_path if error.ctx else "l2mu-compile"
    return _fail(f"{text.rstrip('.')} (see {command} --help)", UsageError.exit_code)


def _fail_file(error: OSError) -> int:
    """A file that nobody nearer to it has named: mostly standard output."""
    _trace()
    place = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
    code = _fail(place + reason(error), UsageError.exit_code)
    _discard_output()
    return code


def _fail_internally(error: Exception) -> int:
    _trace()
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(where.filename).name}:{where.lineno}"
    text = f"internal error at {place}: {type(error).__name__}: {error} (L2MU_DEBUG=1 for more)"
    return _fail(text, INTERNAL_ERROR)


def _trace() -> None:
    if os.environ.get("L2MU_DEBUG"):
        traceback.print_exc()


def _prepare_output() -> None:
    """Make standard output bear every character, and being closed."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, io.StringIO())
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _discard_output() -> None:
    """What is still to be written cannot be; without this, Python would try again and complain."""
    with suppress(OSError, ValueError):  # a standard output without a file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
