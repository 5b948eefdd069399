"""A product: one build of one program for one target, as whatever makes artifacts sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from l2mu_compile.network import Network
from l2mu_compile.program import Program
from l2mu_compile.report import PackagedLibrary, Report
from l2mu_compile.targets.commands import CommandLog
from l2mu_compile.targets.record import Target

# printf's, with every digit that a score has.
SCORE_FORMATS = {"float": '"%.9g"', "int32_t": '"%" PRId32', "int64_t": '"%" PRId64'}


@dataclass(frozen=True)
class Window:
    """The window a firmware image classifies: float32 ``[T, inputs]``, and where it comes from."""

    samples: NDArray
    origin: str


@dataclass(frozen=True)
class Product:
    """What is built, for which target, and where it goes: ``program`` is that of ``network``.

    ``output`` is the directory the user gets, ``scratch`` one that is removed afterwards. ``stamp``
    lines open every generated file. ``raw`` says that samples are a sensor's counts. ``report`` is
    there once the binaries were checked.

    For packages that hold libraries of their own: ``check(library, name)`` runs one as the build
    itself was run, raises `MismatchError` if it is not bit-exact, and puts it into the report;
    ``for_target(target)`` is the same model for another target, of which nothing is built yet and
    nothing reaches the user; ``note(text)`` tells the user something.
    """

    network: Network
    program: Program
    target: Target
    window: Window
    stamp: tuple[str, ...]
    output: Path
    scratch: Path
    log: CommandLog
    check: Callable[[Path, str], PackagedLibrary]
    for_target: Callable[[Target], Product]
    note: Callable[[str], None]
    raw: bool = False
    java_package: str | None = None
    report: Report | None = None

    @property
    def name(self) -> str:
        """The program's name, which starts every name in its C."""
        return self.program.name

    @property
    def sources(self) -> Path:
        """Where all C sources and headers are."""
        return self.output / "src"

    @property
    def library(self) -> Path:
        """The static library."""
        return self.output / "lib" / f"lib{self.name}.a"

    @property
    def image(self) -> Path:
        """The file that is run and measured: the shared library, or else the firmware."""
        return image_path(self.program, self.target, self.output)

    def report_with(self, *libraries: PackagedLibrary) -> Report:
        """The report to put into a package that holds ``libraries``."""
        assert self.report is not None, "packages are made of checked builds"
        return self.report.model_copy(update={"libraries": list(libraries)})

    def api(self) -> list[str]:
        """The C functions a user calls."""
        return list(self.program.functions)


def model_names(product: Product) -> dict[str, Any]:
    """What templates call the model, what it is given, and how its scores are printed."""
    ctype = next(b.ctype for b in product.program.buffers if b.name == "score")
    return {
        "stamp": product.stamp,
        "name": product.name,
        "NAME": product.name.upper(),
        "inputs": product.program.inputs,
        "stream": product.program.stream,
        "steps": product.window.samples.shape[0],
        "raw": "_raw" if product.raw else "",
        "sample_type": "int16_t" if product.raw else "float",
        "score_format": SCORE_FORMATS[ctype],
    }


def executable_path(program: Program, output: Path) -> Path:
    """The static executable of a build in ``output``, if it was asked for."""
    return output / "executable" / program.name


def image_path(program: Program, target: Target, output: Path) -> Path:
    """The file of a build in ``output`` that is run and measured."""
    if target.shared:
        return output / "lib" / f"lib{program.name}{target.shared_suffix}"
    return output / "firmware" / f"{program.name}.elf"
