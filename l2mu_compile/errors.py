"""The tool's own errors: each carries the process exit code it ends with."""

from __future__ import annotations


class L2MUError(Exception):
    """Base of every error this package raises on purpose; its text is one line for a person."""

    exit_code = 1


class UsageError(L2MUError):
    """An option, a pass name or a combination of arguments that makes no sense."""

    exit_code = 2


class ModelError(L2MUError):
    """A checkpoint, module, network text or data file that is invalid or not supported."""

    exit_code = 3


class PassError(ModelError):
    """A pass broke a rule that passes must keep, or did not do as it claims."""


class MismatchError(L2MUError):
    """Emitted code, or a reference model, disagrees with the interpreter."""

    exit_code = 4


class BudgetError(L2MUError):
    """The result is larger or slower than what was allowed."""

    exit_code = 5


class ToolchainError(L2MUError):
    """A compiler or emulator is missing or failed."""

    exit_code = 6


class NoEmulatorError(ToolchainError):
    """Nothing on this machine runs the target's code."""


def reason(error: Exception) -> str:
    """Why, in a few words: what the system says of an `OSError`, else the error's own text."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
