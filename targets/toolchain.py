"""Compile C for a target with zig's clang: objects, libraries and firmware images.

The compiler comes from the ``ziglang`` package, so no system compiler is needed. Everything a
target changes is in its record. Outputs are byte for byte the same wherever they are built.
"""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from subprocess import TimeoutExpired

from jinja2 import Environment, StrictUndefined, Template

from l2mu_compile import processes
from l2mu_compile.errors import BudgetError, ToolchainError, reason
from l2mu_compile.targets.kernel_table import KERNEL_DIR
from l2mu_compile.targets.record import Target
from l2mu_compile.targets.zig import zig_command, zig_environment

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

_ERROR_LINES = 8
_OVERFLOW = re.compile(r"will not fit in region '(FLASH|RAM)': overflowed by ([0-9]+) bytes")


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


def static_library(
    target: Target, objects: Sequence[Path], output: Path, log: CommandLog | None = None
) -> Path:
    """Archive objects in the given order, without dates or owners; raises ToolchainError."""
    _make_directory(output.parent)
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
    _make_directory(output.parent)
    log = log or CommandLog()
    with temporary_directory() as directory:
        versions = directory / "exports.map"
        names = " ".join(f"{name};" for name in exports)
        versions.write_text(f"{{ global: {names} local: *; }};\n", encoding="ascii")
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
            f"-Wl,--version-script={versions}",
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
    _make_directory(output.parent)
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
    _make_directory(output.parent)
    if linker_script is None:
        linker_script = write_linker_script(target, output.with_suffix(".ld"))
    runtime = [runtime_file(name) for name in (*target.startup, "memory.c")]
    command = [
        *_cc(target),
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


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """A directory that goes when the block ends; ToolchainError where files cannot be written."""
    try:
        with tempfile.TemporaryDirectory(prefix="l2mu-compile-") as name:
            yield Path(name)
    except OSError as error:
        raise ToolchainError(f"cannot write temporary files: {reason(error)}") from error


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


def macros(target: Target) -> frozenset[str]:
    """Names of the macros that the compiler defines for ``target``; raises `ToolchainError`."""
    command = [*_cc(target), *target.cflags, "-dM", "-E", "-x", "c", os.devnull]
    lines = run_command(command, CommandLog()).splitlines()
    defined = (line.split() for line in lines if line.startswith("#define "))
    return frozenset(words[1].partition("(")[0] for words in defined)


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
    _make_directory(build_dir)
    commands = [
        [*_compile(target, source, include_dirs, options), "-o", str(output.resolve())]
        for source, output in zip(sources, outputs, strict=True)
    ]
    _run_all(commands, log or CommandLog())
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
    return [*_cc(target), *flags, *options, str(source.resolve())]


def _is_kernel(source: Path) -> bool:
    kernel = KERNEL_DIR / source.name
    try:
        return source.read_bytes() == kernel.read_bytes()
    except OSError:
        return False


def _cc(target: Target) -> list[str]:
    return [*zig_command(), "cc", "-target", target.triple, f"-mcpu={target.cpu}"]


def _linker(target: Target) -> list[str]:
    if target.link_triple is None:
        return _cc(target)
    return [*zig_command(), "cc", "-target", target.link_triple]


def _require(target: Target, artifact: str) -> None:
    if artifact not in target.artifacts:
        kinds = ", ".join(target.artifacts)
        raise ToolchainError(f"target '{target.name}' builds no {artifact} (it builds {kinds})")


def _refuse_duplicates(sources: Sequence[Path]) -> None:
    seen: dict[str, Path] = {}
    for source in sources:
        first = seen.setdefault(source.stem, source)
        if first is not source:
            raise ToolchainError(f"two sources would share one object file: {first}, {source}")


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ToolchainError(f"cannot create directory {path}: {error.strerror}") from error


def run_command(command: Sequence[str], log: CommandLog) -> str:
    """Run a tool; what it said. Raises ToolchainError, with that, if it is missing or fails."""
    (output,) = _run_all([command], log)
    return output


def _run_all(commands: Sequence[Sequence[str]], log: CommandLog) -> list[str]:
    """Run tools, as many at a time as there are cores; what each said."""
    outputs = []
    try:
        for done in processes.run_all(
            _logged(commands, log), at_once=_cores(), environment=zig_environment()
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


def _cores() -> int:
    return os.cpu_count() or 1


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
