"""The tools of a build, run and logged; what goes wrong with one is a ToolchainError."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from subprocess import TimeoutExpired

from l2mu_compile import processes
from l2mu_compile.errors import ToolchainError
from l2mu_compile.targets.zig import compiler_environment

_ERROR_LINES = 8


class CommandFailed(ToolchainError):
    """A tool ended with an error; ``output`` is all that it wrote."""

    def __init__(self, command: Sequence[str], code: int, output: str) -> None:
        lines = output.splitlines() or ["(no output)"]
        first = next((i for i, line in enumerate(lines) if "error" in line), 0)
        shown = "\n  ".join(lines[first : first + _ERROR_LINES])
        ending = f"ended with code {code}" if code > 0 else f"was ended by signal {-code}"
        super().__init__(f"compiler {ending}\n  {shown}\n  command: {shlex.join(command)}")
        self.output = output


@dataclass
class CommandLog:
    """The commands of a build, in the order they were started.

    ``verbose``, if given, receives each command line as text, then whatever the tool wrote.
    """

    verbose: Callable[[str], None] | None = None
    commands: list[tuple[str, ...]] = field(default_factory=list)

    def started(self, command: Sequence[str]) -> None:
        """Record a command about to run."""
        self.commands.append(tuple(command))
        self.say(shlex.join(command))

    def say(self, text: str) -> None:
        """Pass text on to ``verbose``."""
        if self.verbose is not None and text:
            self.verbose(text)


def run_command(command: Sequence[str], log: CommandLog) -> str:
    """Run a tool; what it said. Raises ToolchainError, with that, if it is missing or fails."""
    (output,) = run_commands([command], log)
    return output


def run_commands(commands: Sequence[Sequence[str]], log: CommandLog) -> list[str]:
    """Run tools, as many at a time as there are cores; what each said. Raises ToolchainError for
    the first, in this order, that is missing or fails."""
    outputs = []
    try:
        for done in processes.run_all(
            _logged(commands, log), at_once=os.cpu_count() or 1, environment=compiler_environment()
        ):
            output = (done.stderr + done.stdout).strip()
            outputs.append(output)
            log.say(output)
            if done.returncode != 0:
                raise CommandFailed(done.args, done.returncode, output)
    except OSError as error:
        raise ToolchainError(f"cannot run {commands[0][0]}: {error.strerror}") from error
    except TimeoutExpired as expired:
        raise ToolchainError(
            f"the compiler did not end in {expired.timeout:.0f} seconds\n"
            f"  command: {shlex.join(expired.cmd)}"
        ) from None
    return outputs


def _logged(commands: Sequence[Sequence[str]], log: CommandLog) -> Iterator[Sequence[str]]:
    for command in commands:
        log.started(command)
        yield command
