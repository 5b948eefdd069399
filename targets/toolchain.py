"""Compile C for any target with zig's clang. `l2mu_compile.targets.linking` makes libraries and
images of the objects.

The compiler comes from the ``ziglang`` package, so no system compiler is needed. Everything a
target changes is in its record. Outputs are byte for byte the same wherever they are built.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from l2mu_compile.errors import ToolchainError
from l2mu_compile.targets.commands import CommandLog, run_command, run_commands
from l2mu_compile.targets.folders import make_directory
from l2mu_compile.targets.kernel_table import KERNEL_DIR
from l2mu_compile.targets.record import Target
from l2mu_compile.targets.zig import zig_command

RUNTIME_DIR = Path(__file__).resolve().parent / "runtime"

# -fhosted: zig's default for bare metal turns even a four-byte memcpy into a call.
# -fomit-frame-pointer: zig's default spends two instructions per call on one.
COMPILE_FLAGS = (
    "-std=c99",
    "-O2",
    "-g0",
    "-fhosted",
    "-ffp-contract=off",
    "-fno-sanitize=all",
    "-fno-stack-protector",
    "-fno-unwind-tables",
    "-fno-asynchronous-unwind-tables",
    "-fomit-frame-pointer",
    "-ffunction-sections",
    "-fdata-sections",
    "-Wall",
    "-Wextra",
    "-Wdate-time",
    "-Werror",
)


def runtime_file(name: str) -> Path:
    """A file that a target's record names: in ``runtime/``, or where its whole path says."""
    return RUNTIME_DIR / name


def compile_objects(
    target: Target,
    sources: Sequence[Path],
    include_dirs: Sequence[Path],
    build_dir: Path,
    log: CommandLog | None = None,
) -> list[Path]:
    """Compile C files to ``build_dir/<stem>.o``, one zig process each, as many as there are cores.

    Raises ToolchainError if two sources have one stem, if zig is missing or if a file does not
    compile (the first of those in the given order is reported).
    """
    return _compiled(target, sources, include_dirs, build_dir, ("-c",), ".o", log)


def assembly(
    target: Target, sources: Sequence[Path], include_dirs: Sequence[Path], build_dir: Path
) -> list[Path]:
    """Like `compile_objects`, but what the assembler is given: ``build_dir/<stem>.s``."""
    options = ("-S", "-Wno-unused-command-line-argument")
    return _compiled(target, sources, include_dirs, build_dir, options, ".s")


def macros(target: Target) -> frozenset[str]:
    """Names of the macros that the compiler defines for ``target``; raises `ToolchainError`."""
    command = [*cc(target), *target.cflags, "-dM", "-E", "-x", "c", os.devnull]
    lines = run_command(command, CommandLog()).splitlines()
    defined = (line.split() for line in lines if line.startswith("#define "))
    return frozenset(words[1].partition("(")[0] for words in defined)


def cc(target: Target) -> list[str]:
    """The command that is the compiler of ``target``; raises `ToolchainError` without zig."""
    return [*zig_command(), "cc", "-target", target.triple, f"-mcpu={target.cpu}"]


def compile_flags(target: Target, directories: Iterable[Path] = ()) -> list[str]:
    """The compiler's flags for ``target``; ``directories`` are kept out of the output."""
    flags = [*COMPILE_FLAGS, *target.cflags]
    if target.shared:
        flags.append("-fPIC")
    places = dict.fromkeys(str(directory.resolve()) for directory in directories)
    return flags + [f"-ffile-prefix-map={place}=." for place in places]


def _compiled(
    target: Target,
    sources: Sequence[Path],
    include_dirs: Sequence[Path],
    build_dir: Path,
    options: Sequence[str],
    suffix: str,
    log: CommandLog | None = None,
) -> list[Path]:
    outputs = [build_dir / f"{source.stem}{suffix}" for source in sources]
    _refuse_duplicates(sources)
    make_directory(build_dir)
    commands = [
        [*_compile(target, source, include_dirs, options), "-o", str(output.resolve())]
        for source, output in zip(sources, outputs, strict=True)
    ]
    run_commands(commands, log or CommandLog())
    return outputs


def _compile(
    target: Target, source: Path, include_dirs: Sequence[Path], options: Sequence[str]
) -> list[str]:
    """A copy of a kernel is compiled as the kernel: one command for all models, which zig has the
    result of from then on."""
    if _is_kernel(source):
        source, include_dirs = KERNEL_DIR / source.name, []
    flags = compile_flags(target, [source.parent, *include_dirs])
    flags += [f"-I{directory.resolve()}" for directory in include_dirs]
    flags += ["-idirafter", str(RUNTIME_DIR)]
    return [*cc(target), *flags, *options, str(source.resolve())]


def _is_kernel(source: Path) -> bool:
    kernel = KERNEL_DIR / source.name
    try:
        return source.read_bytes() == kernel.read_bytes()
    except OSError:
        return False


def _refuse_duplicates(sources: Sequence[Path]) -> None:
    seen: dict[str, Path] = {}
    for source in sources:
        first = seen.setdefault(source.stem, source)
        if first is not source:
            raise ToolchainError(f"two sources would share one object file: {first}, {source}")
