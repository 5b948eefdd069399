"""Sources to binaries, and what runs and measures them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from l2mu_compile.errors import BudgetError, NoEmulatorError, UsageError
from l2mu_compile.program import Program
from l2mu_compile.targets.commands import CommandLog
from l2mu_compile.targets.costs import Costs, linked_bytes, measured_costs, user_main
from l2mu_compile.targets.devices import Device, EmulatedModel, HostModel
from l2mu_compile.targets.emit_c import emit_c, state_bytes
from l2mu_compile.targets.firmware import link_checked, make_firmware
from l2mu_compile.targets.host import HOST
from l2mu_compile.targets.linking import link_firmware, shared_library, static_library
from l2mu_compile.targets.product import Product
from l2mu_compile.targets.qemu import QemuExecutable, QemuFirmware
from l2mu_compile.targets.record import Target
from l2mu_compile.targets.toolchain import compile_objects
from l2mu_compile.targets.worst_case import where_all_spike, window_where_all_spike

EMULATORS = ("unicorn", "qemu")


def write_sources(program: Program, stamp: Sequence[str], folder: Path) -> list[Path]:
    """Write all C sources to ``folder``; returns the C files, sorted."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in emit_c(program, stamp).items():
        (folder / name).write_text(text, encoding="utf-8")
    return sorted(folder.glob("*.c"))


def build(product: Product) -> Costs:
    """Write ``src/``, ``lib/`` and, for a microcontroller, ``firmware/``; what they cost.

    Raises `ToolchainError` if a tool is missing or fails.
    """
    target, log = product.target, product.log
    sources = write_sources(product.program, product.stamp, product.sources)
    objects = compile_objects(target, sources, [product.sources], product.scratch / "lib", log)
    static_library(target, objects, product.library, log)
    around: list[Path] = []
    if target.shared:
        shared_library(target, objects, product.image, log, exports=product.api())
    if "firmware" in target.artifacts:
        around = make_firmware(product, objects)
    costs = measured_costs(product, objects)
    return replace(costs, all_spike=instructions_if_all_spike(product, [*around, *objects]))


def flash_and_ram(program: Program, target: Target, folder: Path) -> tuple[int, int]:
    """Bytes of what a user of ``program`` links, as in `Costs`, built in ``folder`` and not run."""
    log, sources = CommandLog(), folder / "src"
    objects = compile_objects(
        target, write_sources(program, (), sources), [sources], folder / "lib", log
    )
    if target.shared:
        image = folder / f"lib{program.name}{target.shared_suffix}"
        shared_library(target, objects, image, log, exports=program.functions)
    else:
        image = folder / "user"
        main = user_main(program, target, sources, folder, log)
        link_firmware(target, [*main, *objects], image, log=log)
    return linked_bytes(program, target, image)


def instructions_if_all_spike(product: Product, objects: Sequence[Path]) -> int | None:
    """Instructions of a step with a float sample in which every channel and every neuron spikes,
    and every one just has; None for float networks and where nothing here counts.

    ``objects`` are those of the image that is run; the driver's is made anew (`worst_case`). None
    as well where memory is so full that the few more constants of that find no room.
    """
    target, folder = product.target, product.scratch / "worst"
    if not (product.network.quantized and target.counts_instructions):
        return None
    program = where_all_spike(product.network)
    others = [path for path in objects if path.stem != product.name]
    there = {path.stem for path in others}
    sources = [
        source
        for source in write_sources(program, product.stamp, folder)
        if source.stem not in there
    ]
    linked = compile_objects(target, sources, [folder], folder, product.log) + others
    image = folder / "image"
    try:
        if target.shared:
            shared_library(target, linked, image, product.log, exports=program.functions)
        else:
            link_checked(product, linked, image)
        device = open_device(program, target, image)
    except (BudgetError, NoEmulatorError):
        return None
    (trace,) = device.trace(window_where_all_spike(program))
    return max(trace.instructions, default=None)


def runs_here(target: Target) -> bool:
    """Whether something on this machine runs the target's code."""
    return target.emulator is not None or is_native(target)


def open_device(
    program: Program, target: Target, image: Path, emulator: str | None = None
) -> Device:
    """A built image, ready to run: as a library on this host, or else on the target's emulator.

    ``emulator``, one of EMULATORS, asks for that one. Raises `UsageError` if it is none for this
    target, `NoEmulatorError` if nothing on this machine runs the code.
    """
    size = state_bytes(program)
    if target.emulator is not None and emulator in (None, "unicorn"):
        return EmulatedModel(target, image, program.name, program.inputs, size)
    if emulator == "unicorn":
        raise UsageError(f"unicorn does not run code for {target.name}; leave out --emulator")
    if is_native(target) and emulator is None:
        return HostModel(image, program.name, program.inputs, size)
    if target.qemu is not None and "firmware" in target.artifacts:
        counts = target.emulator is None  # unicorn's counts are the ones to report
        return QemuFirmware(target, image, size, count_instructions=counts)
    if target.qemu is not None and "executable" in target.artifacts:
        return QemuExecutable(target, image, size)
    if emulator is not None:
        raise UsageError(f"QEMU does not run code for {target.name}; leave out --emulator")
    raise NoEmulatorError(f"nothing here runs code for {target.name}")


def is_native(target: Target) -> bool:
    """Whether this machine itself runs the target's code."""
    same_files = target.shared and target.shared_suffix == HOST.shared_suffix
    return target.arch == HOST.arch and same_files
