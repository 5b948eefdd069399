"""Sources to binaries, and what runs and measures them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from l2mu_compile.errors import NoEmulatorError, UsageError
from l2mu_compile.program import Program
from l2mu_compile.targets.devices import Device, EmulatedModel, HostModel
from l2mu_compile.targets.elf import Footprint, footprint
from l2mu_compile.targets.emit_c import emit_c, state_bytes
from l2mu_compile.targets.firmware import make_firmware
from l2mu_compile.targets.host import HOST
from l2mu_compile.targets.product import Product, executable_path, image_path
from l2mu_compile.targets.qemu import QemuExecutable, QemuFirmware
from l2mu_compile.targets.record import Target
from l2mu_compile.targets.toolchain import compile_objects, shared_library, static_library

EMULATORS = ("unicorn", "qemu")


def write_sources(program: Program, stamp: Sequence[str], folder: Path) -> list[Path]:
    """Write all C sources to ``folder``; returns the C files, sorted."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in emit_c(program, stamp).items():
        (folder / name).write_text(text, encoding="utf-8")
    return sorted(folder.glob("*.c"))


def build(product: Product) -> None:
    """Write ``src/``, ``lib/`` and, for a microcontroller, ``firmware/``.

    Raises `ToolchainError` if a tool is missing or fails.
    """
    target, log = product.target, product.log
    sources = write_sources(product.program, product.stamp, product.sources)
    objects = compile_objects(target, sources, [product.sources], product.scratch / "lib", log)
    static_library(target, objects, product.library, log)
    if target.shared:
        shared_library(target, objects, product.image, log, exports=product.api())
    if "firmware" in target.artifacts:
        make_firmware(product, objects)


def open_device(
    program: Program, target: Target, output: Path, emulator: str | None = None
) -> Device:
    """The built model, ready to run: as a library on this host, or else on the target's emulator.

    ``emulator``, one of EMULATORS, asks for that one. Raises `UsageError` if it is none for this
    target, `NoEmulatorError` if nothing on this machine runs the code.
    """
    image, size = image_path(program, target, output), state_bytes(program)
    if target.emulator is not None and emulator in (None, "unicorn"):
        return EmulatedModel(target, image, program.name, program.inputs, size)
    if emulator == "unicorn":
        raise UsageError(f"unicorn does not run code for {target.name}; leave out --emulator")
    if target.arch == HOST.arch and target.shared and emulator is None:
        return HostModel(image, program.name, program.inputs, size)
    if target.qemu is not None and "firmware" in target.artifacts:
        counts = target.emulator is None  # unicorn's counts are the ones to report
        return QemuFirmware(target, image, size, count_instructions=counts)
    if target.qemu is not None and "executable" in target.artifacts:
        return QemuExecutable(target, executable_path(program, output), size)
    if emulator is not None:
        raise UsageError(f"QEMU does not run code for {target.name}; leave out --emulator")
    raise NoEmulatorError(f"nothing here runs code for {target.name}")


def measured_footprint(program: Program, target: Target, output: Path) -> Footprint:
    """Flash and RAM of the model with one state: those of its library, or of its firmware without
    what that needs besides the model."""
    whole = footprint(image_path(program, target, output))
    flash = whole.flash - whole.sections.get(".host", 0)
    ram = whole.ram - whole.sections.get(".host_bss", 0)
    return replace(whole, flash=flash, ram=ram + state_bytes(program))
