"""Sources to binaries: what a target's artifacts are made of and where they lie in the output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from numpy.typing import NDArray

from l2mu_compile.program import API_FUNCTIONS, Program
from l2mu_compile.targets.c_text import number
from l2mu_compile.targets.devices import (
    Device,
    EmulatedModel,
    HostModel,
    host_library_name,
)
from l2mu_compile.targets.elf import Footprint, footprint, symbols
from l2mu_compile.targets.emit_c import emit_c, render, state_bytes
from l2mu_compile.targets.record import Target
from l2mu_compile.targets.toolchain import (
    CommandLog,
    compile_objects,
    link_firmware,
    shared_library,
    static_library,
)


@dataclass(frozen=True)
class Window:
    """The window a firmware image classifies: float32 ``[T, inputs]``, and where it comes from."""

    samples: NDArray
    origin: str


def write_sources(program: Program, stamp: Sequence[str], folder: Path) -> list[Path]:
    """Write all C sources to ``folder``; returns the C files, sorted."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in emit_c(program, stamp).items():
        (folder / name).write_text(text, encoding="utf-8")
    return sorted(folder.glob("*.c"))


def build(
    program: Program,
    target: Target,
    window: Window,
    stamp: Sequence[str],
    output: Path,
    scratch: Path,
    log: CommandLog,
) -> None:
    """Write ``src/`` and every artifact the target's record lists below ``output``.

    Object files go to ``scratch``. Raises `ToolchainError` if a tool is missing or fails.
    """
    sources = write_sources(program, stamp, output / "src")
    objects = compile_objects(target, sources, [output / "src"], scratch / "lib", log)
    library = output / "lib" / f"lib{program.name}.a"
    if "static_library" in target.artifacts:
        static_library(target, objects, library, log)
    if "shared_library" in target.artifacts:
        shared = _shared_path(output, program.name)
        shared_library(target, objects, shared, log, exports=api_names(program))
    if "firmware" in target.artifacts:
        main = _write_firmware(program, window, stamp, output / "firmware")
        linked = compile_objects(target, [main], [output / "src"], scratch / "main", log)
        image = _firmware_path(output, program.name)
        # Inlined into one another, the API's functions would leave nothing to call by name.
        link_firmware(target, [*linked, *objects], image, log=log, keep=api_names(program))


def api_names(program: Program) -> list[str]:
    """The C functions a user of ``program`` calls."""
    return [f"{program.name}_{word}" for word in API_FUNCTIONS]


def open_device(program: Program, target: Target, output: Path) -> Device:
    """The built model, ready to run: on the target's emulator, or as a library on this host."""
    size = state_bytes(program)
    if target.emulator is not None:
        firmware = _firmware_path(output, program.name)
        return EmulatedModel(target, firmware, program.name, program.inputs, size)
    return HostModel(_shared_path(output, program.name), program.name, program.inputs, size)


def measured_footprint(program: Program, target: Target, output: Path) -> Footprint:
    """Flash and RAM of the model: its firmware's without the example window, or its library's with
    one state."""
    if "firmware" not in target.artifacts:
        size = footprint(_shared_path(output, program.name))
        return replace(size, ram=size.ram + state_bytes(program))
    path = _firmware_path(output, program.name)
    whole = footprint(path)
    window = symbols(path)[f"{program.name}_window"].size
    return replace(whole, flash=whole.flash - window)


def _shared_path(output: Path, name: str) -> Path:
    return output / "lib" / host_library_name(name)


def _firmware_path(output: Path, name: str) -> Path:
    return output / "firmware" / f"{name}.elf"


def _write_firmware(program: Program, window: Window, stamp: Sequence[str], folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    name = program.name
    view = {
        "stamp": stamp,
        "name": name,
        "NAME": name.upper(),
        "origin": window.origin,
        "steps": window.samples.shape[0],
        "inputs": program.inputs,
        "samples": [", ".join(number(v, "float") for v in row) for row in window.samples],
    }
    (folder / f"{name}_window.h").write_text(render("window.h.jinja", view), encoding="utf-8")
    main = folder / "main.c"
    main.write_text(render("firmware_main.c.jinja", view), encoding="utf-8")
    return main
