"""Link what was compiled: static and shared libraries, executables and firmware images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template

from l2mu_compile.errors import BudgetError, ToolchainError
from l2mu_compile.targets.commands import CommandFailed, CommandLog, run_command
from l2mu_compile.targets.folders import make_directory, temporary_directory
from l2mu_compile.targets.record import Target
from l2mu_compile.targets.toolchain import (
    RUNTIME_DIR,
    cc,
    compile_flags,
    compile_objects,
    runtime_file,
)
from l2mu_compile.targets.zig import zig_command

_OVERFLOW = re.compile(r"will not fit in region '(FLASH|RAM)': overflowed by ([0-9]+) bytes")


def static_library(
    target: Target, objects: Sequence[Path], output: Path, log: CommandLog | None = None
) -> Path:
    """Archive objects in the given order, without dates or owners; raises ToolchainError."""
    make_directory(output.parent)
    # ar adds to an archive that exists.
    output.unlink(missing_ok=True)
    run_command(
        [*zig_command(), "ar", "rcsD", str(output), *map(str, objects)], log or CommandLog()
    )
    return output


def shared_library(
    target: Target,
    objects: Sequence[Path],
    output: Path,
    log: CommandLog | None = None,
    *,
    exports: Sequence[str] = ("*",),
    strip: bool = True,
    complete: bool = True,
) -> Path:
    """Link a shared library that needs no other, not even a C library; raises ToolchainError.

    It shows the symbols in ``exports`` and no others; unless ``strip``, a debugger sees all. One
    that is not ``complete`` may lack symbols, which whatever loads it has.
    """
    if not target.shared:
        raise ToolchainError(f"target '{target.name}' has no shared libraries")
    make_directory(output.parent)
    log = log or CommandLog()
    with temporary_directory() as directory:
        runtime = compile_objects(target, [RUNTIME_DIR / "memory.c"], [], directory, log)
        command = [
            *_linker(target),
            # compiler-rt has what the processor lacks, such as division; its debug information
            # holds absolute paths.
            *("-shared", "-nostdlib", "-rtlib=compiler-rt"),
            *(["-Wl,--strip-all"] if strip else []),
            f"-Wl,-soname,{output.name}",
            *("-Wl,--gc-sections", "-Wl,-Bsymbolic"),
            *(["-Wl,-z,defs"] if complete else ["-Wl,-z,undefs"]),
            f"-Wl,--version-script={_version_script(exports, directory)}",
            *target.ldflags,
            *map(str, [*objects, *runtime]),
            *("-o", str(output)),
        ]
        run_command(command, log)
    return output


def static_executable(
    target: Target,
    sources: Sequence[Path],
    libraries: Sequence[Path],
    output: Path,
    include_dirs: Sequence[Path],
    log: CommandLog | None = None,
) -> Path:
    """Compile a hosted program and link it with static libraries and the C library, stripped.

    All but the libraries is for any processor of the architecture, so that targets share one build
    of the C library. Raises ToolchainError.
    """
    _require(target, "executable")
    make_directory(output.parent)
    command = [
        *(*zig_command(), "cc", "-target", target.link_triple or target.triple),
        *compile_flags(target, [*(source.parent for source in sources), *include_dirs]),
        *("-static", "-s", "-Wl,--gc-sections"),
        *(f"-I{directory.resolve()}" for directory in include_dirs),
        *map(str, [*sources, *libraries]),
        *("-o", str(output)),
    ]
    run_command(command, log or CommandLog())
    return output


def link_firmware(
    target: Target,
    objects: Sequence[Path],
    output: Path,
    linker_script: Path | None = None,
    log: CommandLog | None = None,
    *,
    keep: Sequence[str] = (),
) -> Path:
    """Link objects that define ``main`` with the target's start-up code to an ELF image.

    Without ``linker_script`` the target's own is written beside the output, with suffix ``.ld``.
    What ``main`` does not reach is left out, but for the functions and variables in ``keep``.
    Raises ToolchainError, and BudgetError where the image does not fit the target's memory.
    """
    _require(target, "firmware")
    make_directory(output.parent)
    if linker_script is None:
        linker_script = write_linker_script(target, output.with_suffix(".ld"))
    runtime = [runtime_file(name) for name in (*target.startup, "memory.c")]
    command = [
        *cc(target),
        *compile_flags(target, [path.parent for path in runtime]),
        *("-Wl,--gc-sections", "-Wl,-z,max-page-size=4096"),
        *("-Wl,-e,Reset_Handler", "-T", str(linker_script)),
        *(f"-Wl,-u,{name}" for name in keep),
        *map(str, objects),
        *map(str, runtime),
        *("-o", str(output)),
    ]
    try:
        run_command(command, log or CommandLog())
    except CommandFailed as error:
        _refuse_overflow(target, error.output)
        raise
    return output


def write_linker_script(target: Target, path: Path) -> Path:
    """Fill in the target's linker script template with its memory; raises ToolchainError."""
    if target.linker_script is None or target.memory is None:
        raise ToolchainError(f"target '{target.name}' has no linker script")
    template = runtime_file(target.linker_script).read_text(encoding="utf-8")
    text = _linker_script(template).render(
        description=target.description,
        flash=target.memory.flash,
        ram=target.memory.ram,
        reset_vectors=target.memory.reset_vectors,
        stack_bytes=target.memory.stack_bytes,
    )
    path.write_text(text, encoding="utf-8")
    return path


@cache
def _linker_script(text: str) -> Template:
    return Environment(undefined=StrictUndefined, keep_trailing_newline=True).from_string(text)


def _version_script(exports: Sequence[str], directory: Path) -> Path:
    path = directory / "exports.map"
    names = " ".join(f"{name};" for name in exports)
    path.write_text(f"{{ global: {names} local: *; }};\n", encoding="ascii")
    return path


def _linker(target: Target) -> list[str]:
    if target.link_triple is None:
        return cc(target)
    return [*zig_command(), "cc", "-target", target.link_triple]


def _require(target: Target, artifact: str) -> None:
    if artifact not in target.artifacts:
        kinds = ", ".join(target.artifacts)
        raise ToolchainError(f"target '{target.name}' builds no {artifact} (it builds {kinds})")


def _refuse_overflow(target: Target, output: str) -> None:
    """Raise BudgetError if the linker says that a region of the target's memory is too small."""
    excess: dict[str, int] = {}
    for region, count in _OVERFLOW.findall(output):
        excess[region] = max(excess.get(region, 0), int(count))
    if not excess or target.memory is None:
        return
    region, count = max(excess.items(), key=lambda item: item[1])
    size = (target.memory.flash if region == "FLASH" else target.memory.ram).size
    name = region if region == "RAM" else region.lower()
    raise BudgetError(
        f"the firmware needs {count} bytes more than the {size} bytes of {name} of {target.name}; "
        "make the network smaller"
    )
