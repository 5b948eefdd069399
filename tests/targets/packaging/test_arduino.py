"""The Arduino library: by the rules of its specification, and compiled as the IDE compiles it."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import run as run_command
from networks import l2mu
from packages import (
    HOSTILE_NAMES,
    M4F,
    WARNINGS,
    Packages,
    compile_c,
    compiled,
    expected_names,
    need,
    recording,
    tool,
    unzipped,
    windows,
)

from l2mu_compile.differential import compare
from l2mu_compile.lowering import lower
from l2mu_compile.network_files import load_network, save_network
from l2mu_compile.program import API_FUNCTIONS, STREAM_FUNCTIONS
from l2mu_compile.targets.devices import EmulatedModel
from l2mu_compile.targets.emit_c import state_bytes
from l2mu_compile.targets.linking import write_linker_script
from l2mu_compile.targets.record import Target
from l2mu_compile.targets.registry import get_target
from l2mu_compile.targets.toolchain import RUNTIME_DIR

REQUIRED = "name version author maintainer sentence paragraph category url architectures".split()
OPTIONAL = "depends dot_a_linkage includes precompiled ldflags".split()
CATEGORIES = (
    "Display",
    "Communication",
    "Signal Input/Output",
    "Sensors",
    "Device Control",
    "Timing",
    "Data Storage",
    "Data Processing",
    "Other",
)
FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z")

# What the sketch needs of a core.
CORE_HEADER = """
#pragma once
#include <stddef.h>
const int A0 = 14;
unsigned long millis(void);
int analogRead(int pin);
struct Port {
  void begin(unsigned long baud);
  void println(const char *text);
};
extern Port Serial;
void setup(void);
void loop(void);
"""
# Its pin replays VALUES and ends the program; its clock starts just before it overflows.
CORE = """
#include "Arduino.h"
#include <stdio.h>
#include <stdlib.h>
Port Serial;
void Port::begin(unsigned long) {}
void Port::println(const char *text) { puts(text); }
unsigned long millis(void) { static unsigned long now = -3000ul; return now += 3; }
int analogRead(int pin) {
  static const int values[] = {VALUES};
  static size_t reads = 0;
  if (pin != A0 || reads == sizeof values / sizeof values[0]) exit(pin != A0);
  return values[reads++];
}
int main(void) {
  setup();
  for (;;) loop();
}
"""
BOARDS = """
unit.name=Unit
unit.build.core=core
unit.build.board=UNIT
unit.build.mcu=host
unit.upload.tool=none
unit.upload.maximum_size=1000000
"""
PLATFORM = """
name=Unit
version=1.0.0
recipe.c.o.pattern=gcc -std=gnu11 -Os -c {includes} "{source_file}" -o "{object_file}"
recipe.cpp.o.pattern=g++ -std=gnu++11 -Os -c {includes} "{source_file}" -o "{object_file}"
recipe.ar.pattern=ar rcs "{archive_file_path}" "{object_file}"
recipe.c.combine.pattern=g++ {object_files} "{archive_file_path}" -o "{build.path}/sketch.elf"
recipe.objcopy.hex.pattern=true
recipe.size.pattern=size "{build.path}/sketch.elf"
recipe.size.regex=^\\s*([0-9]+)
recipe.preproc.macros=g++ -E -CC -x c++ {includes} "{source_file}" -o "{preprocessed_file_path}"
recipe.preproc.includes=g++ -w -x c++ -M -MG -MP {includes} "{source_file}"
"""


@pytest.fixture
def library(packages: Packages, tmp_path: Path) -> Path:
    """The library as a user has it after installing the archive."""
    return unzipped(packages() / "arduino/cell.zip", tmp_path / "libraries") / "cell"


def properties(root: Path) -> dict[str, str]:
    lines = (root / "library.properties").read_text().splitlines()
    pairs = [line.split("=", 1) for line in lines]
    assert len({key for key, _ in pairs}) == len(pairs)
    return dict(pairs)


def sketch_of(root: Path) -> Path:
    return next((root / "examples").rglob("*.ino"))


# ---- the specification -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cell", *HOSTILE_NAMES])
def test_properties_are_as_the_specification_says(
    packages: Packages, tmp_path: Path, name: str
) -> None:
    root = unzipped(packages(name) / f"arduino/{name}.zip", tmp_path) / name
    found = properties(root)
    assert set(REQUIRED) <= set(found) <= {*REQUIRED, *OPTIONAL}
    assert all(found.values())
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,62}", found["name"])
    assert re.search("[A-Za-z]", found["name"])
    assert not found["name"].lower().startswith("arduino")
    assert re.fullmatch(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}", found["version"])
    assert found["category"] in CATEGORIES
    assert re.fullmatch(r"https?://[\w.-]+/[\w./-]*", found["url"])
    assert found["architectures"] == "*"
    assert found["dot_a_linkage"] == "true"
    assert found["sentence"].endswith(".")
    assert found["sentence"] not in found["paragraph"]
    assert (root / "src" / found["includes"]).is_file()


@pytest.mark.parametrize("name", ["cell", *HOSTILE_NAMES])
def test_the_layout_is_as_the_specification_says(
    packages: Packages, tmp_path: Path, name: str
) -> None:
    archive = packages(name) / f"arduino/{name}.zip"
    with zipfile.ZipFile(archive) as content:
        places = [entry.split("/") for entry in content.namelist()]
    assert {place[0] for place in places} == {name}
    assert FOLDER.match(name)
    assert {place[1] for place in places} == {
        *("src", "examples", "library.properties", "keywords.txt"),
        *("README.md", "LICENSE", "report.json"),
    }
    assert [p[2] for p in places if p[1] == "src" and len(p) == 3] == [f"{name}.h"]
    (example,) = (place for place in places if place[1] == "examples")
    assert example[3] == f"{example[2]}.ino"
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}", example[2])
    assert example[2] == f"{name[0].upper()}{name[1:]}"[:55] + "Classify"


@pytest.mark.parametrize("name", ["cell", *HOSTILE_NAMES])
def test_nothing_is_there_that_a_linter_objects_to(
    packages: Packages, tmp_path: Path, name: str
) -> None:
    """Rules of Arduino's own linter beyond those above, at its strictest but for length of name."""
    archive = packages(name) / f"arduino/{name}.zip"
    root = unzipped(archive, tmp_path) / name
    found = properties(root)
    for key in ("author", "maintainer"):
        assert not re.search("arduino", found[key], re.IGNORECASE)
    for key in ("sentence", "paragraph"):
        assert not re.search(r"library|arduino", found[key], re.IGNORECASE)
        assert found[key].isprintable()
    assert " " not in found["name"]
    assert {"precompiled", "ldflags", "depends"}.isdisjoint(found), "sources for every processor"
    assert (root / "library.properties").read_bytes().isascii()
    with zipfile.ZipFile(archive) as content:
        for entry in content.infolist():
            assert entry.external_attr >> 16 == 0o100644, "a plain file, no link, no program"
    files = [path.relative_to(root) for path in root.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {"", *".h .c .ino .txt .properties .md .json".split()}
    assert not any(part.startswith(".") for path in files for part in path.parts)
    assert not [path for path in files if len(path.parts) == 1 and path.suffix in (".c", ".h")]
    header = (root / "src" / f"{name}.h").read_text()
    assert 'extern "C" {' in header, "C that a sketch, which is C++, calls"
    code = [path.read_text() for path in root.rglob("*.[chi]*") if path.is_file()]
    assert not any(re.search(r"#include\s*[<\"]arduino\.h", text) for text in code), "case"


def test_keywords_are_the_api(library: Path) -> None:
    rows = [
        line.split("\t")
        for line in (library / "keywords.txt").read_text().splitlines()
        if not line.startswith("#")
    ]
    assert all(len(row) == 2 for row in rows)
    kinds = dict(rows)
    assert set(kinds.values()) == {"KEYWORD1", "KEYWORD2", "LITERAL1"}
    assert {f"cell_{word}" for word in (*API_FUNCTIONS, *STREAM_FUNCTIONS)} == {
        name for name, kind in kinds.items() if kind == "KEYWORD2"
    }
    header = (library / "src/cell.h").read_text()
    assert all(re.search(rf"\b{name}\b", header) for name in kinds)


def test_a_name_reserved_for_arduino_is_refused(tmp_path: Path) -> None:
    save_network(l2mu(name="Arduino_model"), tmp_path / "net.txt")
    arguments = ("--target", "cortex-m4", "--artifact", "arduino", "-o", tmp_path / "out")
    result = run_command("compile", tmp_path / "net.txt", *arguments)
    assert result.code == 2
    assert "no library may be called 'Arduino_model'" in result.err
    assert not (tmp_path / "out").exists()


# ---- compiling ---------------------------------------------------------------------------------


def sources(library: Path) -> list[Path]:
    return sorted((library / "src/l2mu").glob("*.c"))


def write_core(output: Path, folder: Path) -> None:
    values = recording(load_network(output / "network.txt")).ravel()
    folder.mkdir(parents=True)
    (folder / "Arduino.h").write_text(CORE_HEADER)
    (folder / "core.cpp").write_text(CORE.replace("VALUES", ", ".join(map(str, values))))


@pytest.mark.parametrize("raw", [False, True], ids=["floats", "counts"])
def test_the_sketch_decides_as_the_interpreter(
    packages: Packages, tmp_path: Path, raw: bool
) -> None:
    need("gcc", "g++")
    assert sketch_output(packages(raw=raw), tmp_path) == expected_names(packages(raw=raw))


def test_the_sketch_counts_a_windows_steps_itself_if_need_be(tmp_path: Path) -> None:
    """Nobody told how long a window is; it proposes the one that the code was checked on."""
    need("gcc", "g++")
    output = compiled(tmp_path, "cell", int8=False, calibrated=False, kinds=("arduino",))
    assert sketch_output(output, tmp_path / "sketch") == expected_names(output, size=50)


def sketch_output(output: Path, tmp_path: Path) -> list[str]:
    """What the sketch prints: C++ as the IDE makes of it, C as its gcc compiles libraries."""
    library = unzipped(output / "arduino/cell.zip", tmp_path / "libraries") / "cell"
    write_core(output, tmp_path / "core")
    include = f"-I{library / 'src'}"
    objects = compile_c(("gcc", "-std=gnu11", *WARNINGS, include), sources(library), tmp_path / "c")
    sketch = ("-x", "c++", "-std=gnu++11", "-Wall", "-Wextra", "-Werror", include)
    core = (f"-I{tmp_path / 'core'}", "-include", "Arduino.h", "-c", sketch_of(library))
    tool("g++", *sketch, *core, "-o", tmp_path / "sketch.o")
    tool("g++", "-c", tmp_path / "core/core.cpp", "-o", tmp_path / "core.o")
    program = tmp_path / "sketch"
    tool("g++", tmp_path / "sketch.o", tmp_path / "core.o", *objects, "-o", program)
    return tool(program).splitlines()


def test_the_build_tool_of_the_ide_makes_the_sketch(
    packages: Packages, library: Path, tmp_path: Path
) -> None:
    """`arduino-builder` finds the library by its header, archives it and links the sketch."""
    need("arduino-builder", "arduino-ctags", "gcc", "g++", "ar")
    platform = tmp_path / "hardware/unit/host"
    write_core(packages(), platform / "cores/core")
    (platform / "boards.txt").write_text(BOARDS)
    (platform / "platform.txt").write_text(PLATFORM)
    for folder in ("build", "tools"):
        (tmp_path / folder).mkdir()
    hardware = ("-hardware", tmp_path / "hardware", "-hardware", "/usr/share/arduino-builder")
    places = ("-tools", tmp_path / "tools", "-libraries", tmp_path / "libraries")
    build = ("-fqbn", "unit:host:unit", "-build-path", tmp_path / "build")
    said = tool(
        "arduino-builder", "-compile", "-verbose", *hardware, *places, *build, sketch_of(library)
    )
    assert f"Using library cell at version 0.1.0 in folder: {library}" in said
    assert (tmp_path / "build/libraries/cell/cell.a").is_file()
    assert tool(tmp_path / "build/sketch.elf").splitlines() == expected_names(packages())


def test_the_sketch_compiles_for_a_microcontroller(
    packages: Packages, library: Path, tmp_path: Path
) -> None:
    need("arm-none-eabi-g++")
    write_core(packages(), tmp_path / "core")
    archive = packages(target="cortex-m4") / "arduino/cell.zip"
    tuned = unzipped(archive, tmp_path / "tuned") / "cell"
    assert list((tuned / "src/l2mu").glob("l2mu_*_dsp.c"))
    gcc = ("arm-none-eabi-gcc", *M4F, "-std=gnu11", "-Os", *WARNINGS, f"-I{tuned / 'src'}")
    assert compile_c(gcc, sources(tuned), tmp_path / "objects")
    flags = (*M4F, "-std=gnu++11", "-Os", "-Wall", "-Wextra", "-Werror", "-x", "c++")
    paths = (f"-I{library / 'src'}", f"-I{tmp_path / 'core'}", "-include", "Arduino.h")
    tool("arm-none-eabi-g++", *flags, *paths, "-c", sketch_of(library), "-o", tmp_path / "s.o")


@pytest.fixture
def float_library(packages: Packages, tmp_path: Path) -> Iterator[Path]:
    """The library of a float32 model, which contraction would change."""
    archive = packages(int8=False) / "arduino/cell.zip"
    yield unzipped(archive, tmp_path / "float") / "cell"


@pytest.mark.parametrize("optimize", ["-Os", "-O2", "-O3"])
def test_a_float_model_is_exact_with_the_flags_of_arduino(
    packages: Packages, float_library: Path, tmp_path: Path, optimize: str
) -> None:
    """GCC's own C and a core that has fused instructions: all state, after every step."""
    need("arm-none-eabi-gcc")
    target = get_target("cortex-m4f")
    output = packages(int8=False)
    network = load_network(output / "network.txt")
    gcc = ("arm-none-eabi-gcc", *M4F, "-std=gnu11", optimize, f"-I{float_library / 'src'}")
    objects = compile_c((*gcc, *WARNINGS), sources(float_library), tmp_path / "objects")
    image = firmware(target, objects, [f"cell_{word}" for word in API_FUNCTIONS], tmp_path)
    program = lower(network)
    device = EmulatedModel(target, image, "cell", program.inputs, state_bytes(program))
    assert compare(network, program, lambda: device, windows(network)).first_difference is None
    code = tool("arm-none-eabi-objdump", "-d", image)
    assert "vmul.f32" in code or "vmla.f32" in code
    assert not re.search(r"\bvfn?m[as]", code)


def firmware(target: Target, objects: list[Path], keep: list[str], folder: Path) -> Path:
    """An image of ``objects`` with this project's start-up code, linked by GCC."""
    (folder / "main.c").write_text("int main(void) { return 0; }\n")
    script = write_linker_script(target, folder / "image.ld")
    sources = [folder / "main.c", *(RUNTIME_DIR / name for name in (*target.startup, "memory.c"))]
    # A memset may not be made of a call to memset.
    plain = ("arm-none-eabi-gcc", *M4F, "-Os", "-fno-tree-loop-distribute-patterns")
    runtime = compile_c(plain, sources, folder / "runtime")
    link = ("-nostdlib", "-Wl,-e,Reset_Handler", *(f"-Wl,-u,{name}" for name in keep), "-T", script)
    tool("arm-none-eabi-gcc", *M4F, *link, *objects, *runtime, "-lgcc", "-o", folder / "image.elf")
    return folder / "image.elf"
