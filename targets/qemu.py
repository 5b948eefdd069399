"""Run built images under QEMU: firmware on an emulated board, a static executable as its process.

An image gets a file of windows, prints its decisions and writes its state after every step to
another file. All happens in a directory of its own, without network, and within a time limit.
"""

from __future__ import annotations

import errno
import os
import shutil
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from subprocess import TimeoutExpired

import numpy as np
from numpy.typing import NDArray

from l2mu_compile import processes
from l2mu_compile.errors import NoEmulatorError, UsageError
from l2mu_compile.targets.devices import Device, Trace
from l2mu_compile.targets.emulated_machine import EmulationError
from l2mu_compile.targets.folders import temporary_directory
from l2mu_compile.targets.record import Qemu, Target
from l2mu_compile.targets.semihosting import decisions

BATCH_BYTES = 64 << 20  # of states
DEBIAN_PACKAGES = {"qemu-system-arm": "qemu-system-arm"}

WINDOWS_FILE, STATES_FILE, TICKS_FILE = "windows", "states", "ticks"
_TICKS_BYTES = 4

# No screen, no network; what the program prints goes to standard output, and nothing else does.
_BOARD_OPTIONS = (
    *("-display", "none", "-monitor", "none", "-serial", "none", "-nic", "none", "-no-reboot"),
    *("-chardev", "stdio,id=program"),
)
_SEMIHOSTING = "enable=on,target=native,chardev=program"

# With -icount every instruction takes 2**SHIFT nanoseconds of the board's time: more than two ticks
# of its clock. So a difference of two readings, wrong by less than a tick, tells the number.
ICOUNT_SHIFT = 7
_SECOND = 1_000_000_000


class _BatchDevice(Device):
    """A device that runs many windows in one process."""

    def __init__(self, qemu: Qemu, image: Path, state_bytes: int) -> None:
        self.emulator = qemu.program
        self._qemu = qemu
        self._program = find_program(qemu.program)
        self._image = image
        self._state_bytes = state_bytes

    def trace(self, windows: NDArray) -> Iterator[Trace]:
        """Run float32 windows ``[N, T, inputs]``, each from a fresh state."""
        size = max(1, BATCH_BYTES // (windows.shape[1] * self._state_bytes))
        for start in range(0, len(windows), size):
            yield from self._batch(windows[start : start + size].astype("<f4"))

    def _batch(self, windows: NDArray) -> Iterator[Trace]:
        count, steps, _ = windows.shape
        with temporary_directory() as folder:
            shutil.copy(self._image, folder / "image")  # a name without spaces and commas
            command = self._command(folder, windows)
            _require_space(folder, count * steps * (self._state_bytes + _TICKS_BYTES))
            output, status = self._run(command, folder)
            found = decisions(output, count, status)
            states = _read(folder / STATES_FILE, "u1", (count, steps, self._state_bytes))
            instructions = self._instructions(folder, count, steps)
        for i, decision in enumerate(found):
            yield Trace(states[i], decision, tuple(instructions[i].tolist()))

    @abstractmethod
    def _command(self, folder: Path, windows: NDArray) -> list[str]:
        """Write ``windows`` to a file in ``folder``; what runs them there."""

    def _instructions(self, folder: Path, count: int, steps: int) -> NDArray:
        """Of every step, or empty ones if they are not counted."""
        return np.empty((count, 0), dtype=np.int64)

    def _run(self, command: Sequence[str], folder: Path) -> tuple[str, int]:
        """What the program printed and its status; EmulationError if it crashes."""
        try:
            done = processes.run(command, folder=folder)
        except TimeoutExpired as expired:
            raise EmulationError(
                f"{self._qemu.program}: the program did not end in {expired.timeout:.0f} seconds"
            ) from None
        except OSError as error:
            raise NoEmulatorError(f"cannot run {command[0]}: {error.strerror}") from None
        if done.returncode < 0 or (done.returncode and not done.stdout):
            said = (done.stderr.strip().splitlines() or ["(no output)"])[-1]
            raise EmulationError(
                f"{self._qemu.program} ended with status {done.returncode}: {said}"
            )
        return done.stdout, done.returncode


class QemuFirmware(_BatchDevice):
    """A firmware image on the board that QEMU emulates for ``target``.

    With ``count_instructions``, instructions of every step are counted where the board's clock is
    known; they are those that unicorn counts.
    """

    def __init__(
        self, target: Target, image: Path, state_bytes: int, *, count_instructions: bool = False
    ) -> None:
        assert target.qemu is not None, "the target has a board in QEMU"
        super().__init__(target.qemu, image, state_bytes)
        self._count = count_instructions and target.qemu.clock_hz is not None

    def run_firmware(self) -> int:
        with temporary_directory() as folder:
            shutil.copy(self._image, folder / "image")
            output, status = self._run(self._board("image", []), folder)
        return decisions(output, 1, status)[0]

    def _command(self, folder: Path, windows: NDArray) -> list[str]:
        windows.tofile(folder / WINDOWS_FILE)
        arguments = [WINDOWS_FILE, str(windows.shape[1]), STATES_FILE]
        return self._board("image", arguments + [TICKS_FILE] * self._count)

    def _board(self, image: str, arguments: list[str]) -> list[str]:
        return board_command(self._qemu, image, arguments, count=self._count)

    def _instructions(self, folder: Path, count: int, steps: int) -> NDArray:
        if not self._count or self._qemu.clock_hz is None:
            return super()._instructions(folder, count, steps)
        ticks = _read(folder / TICKS_FILE, "<u4", (1 + count * steps,))
        if not ticks.all():  # a step was too long for the timer
            return super()._instructions(folder, count, steps)
        return instructions_after_an_empty(ticks, self._qemu.clock_hz).reshape(count, steps)


class QemuExecutable(_BatchDevice):
    """A static executable for Linux, in QEMU's emulation of a process."""

    def __init__(self, target: Target, image: Path, state_bytes: int) -> None:
        assert target.qemu is not None, "the target has an emulator in QEMU"
        if not image.is_file():
            raise UsageError(f"no {image}: compile with --artifact executable")
        super().__init__(target.qemu, image, state_bytes)

    def _command(self, folder: Path, windows: NDArray) -> list[str]:
        np.save(folder / f"{WINDOWS_FILE}.npy", windows)
        arguments = ["--states", STATES_FILE, f"{WINDOWS_FILE}.npy"]
        return [self._program, *self._qemu.options, "./image", *arguments]


def board_command(
    qemu: Qemu, image: str, arguments: Sequence[str], *, count: bool = False
) -> list[str]:
    """What runs firmware with a command line in the directory it is in; to ``count``, time passes
    by instructions. Raises `NoEmulatorError`."""
    words = "".join(f",arg={word}" for word in ["image", *arguments])
    icount = ["-icount", f"shift={ICOUNT_SHIFT}"] if count else []
    return [
        *(find_program(qemu.program), *qemu.options, *_BOARD_OPTIONS, *icount),
        *("-semihosting-config", _SEMIHOSTING + words, "-kernel", image),
    ]


def find_program(program: str) -> str:
    """The path of one of QEMU's programs; raises `NoEmulatorError` saying what to install."""
    found = shutil.which(program)
    if found is None:
        package = DEBIAN_PACKAGES.get(program, "qemu-user")
        raise NoEmulatorError(f"{program} is not installed (Debian's package: {package})")
    return found


def instructions_after_an_empty(ticks: NDArray, clock_hz: int) -> NDArray:
    """Instructions int64 of all functions but the first, which is empty: one instruction."""
    numbers = instructions_of(ticks, clock_hz)
    return numbers[1:] - numbers[0] + 1


def instructions_of(ticks: NDArray, clock_hz: int) -> NDArray:
    """Instructions int64 that took ``ticks`` of a clock when each takes 2**ICOUNT_SHIFT ns.

    Raises EmulationError if ``ticks`` are of no whole number of instructions, to one tick.
    """
    numbers = ticks.astype(np.int64) * _SECOND
    instruction = clock_hz << ICOUNT_SHIFT
    whole = (numbers + instruction // 2) // instruction
    if instruction <= 2 * _SECOND or (np.abs(numbers - whole * instruction) > _SECOND).any():
        raise EmulationError(
            f"QEMU's clock does not run at {clock_hz} Hz; instructions are unknown"
        )
    return whole


def _require_space(folder: Path, size: int) -> None:
    """Raise OSError if a program could not write ``size`` bytes: it would look as if it failed."""
    if shutil.disk_usage(folder).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _read(path: Path, dtype: str, shape: tuple[int, ...]) -> NDArray:
    """A file of exactly this many numbers."""
    expected = np.dtype(dtype).itemsize * int(np.prod(shape))
    size = path.stat().st_size if path.exists() else 0
    if size != expected:
        raise EmulationError(f"the program wrote {size} bytes of {path.name}, not {expected}")
    return np.fromfile(path, dtype=dtype).reshape(shape)
