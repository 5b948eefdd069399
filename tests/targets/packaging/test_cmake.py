"""The CMake package in a small project: both ways to add it, on this machine and for another."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from packages import (
    HOSTILE_NAMES,
    Packages,
    expected_decisions,
    need,
    program_decisions,
    tool,
    write_program,
)

from l2mu_compile.targets.elf import symbols

ARM_TOOLCHAIN = """
set(CMAKE_SYSTEM_NAME Generic)
set(CMAKE_SYSTEM_PROCESSOR arm)
set(CMAKE_C_COMPILER arm-none-eabi-gcc)
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
set(CMAKE_C_FLAGS_INIT "-mthumb -mcpu=cortex-m4 -Wall -Wextra -Wconversion -Werror")
"""


@pytest.fixture(autouse=True)
def cmake() -> None:
    need("cmake", "make", "cc")


def project(
    folder: Path, output: Path, add: str, options: tuple[str, ...] = (), use: str = ""
) -> Path:
    """Build the program of `write_program` in a project that adds the package by ``add``.

    ``use`` is more C for the program.
    """
    name = next((output / "cmake").iterdir()).name
    write_program(output, folder / "main.c")
    with (folder / "main.c").open("a") as file:
        file.write(use)
    (folder / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.13)\n"
        "project(consumer C)\n"
        f"{add}\n"
        "add_executable(classify main.c)\n"
        f"target_link_libraries(classify PRIVATE {name}::{name})\n"
    )
    tool("cmake", "-S", folder, "-B", folder / "build", *options)
    tool("cmake", "--build", folder / "build")
    return folder / "build/classify"


def installed(folder: Path, output: Path) -> Path:
    """Build and install the package alone; the prefix."""
    package = next((output / "cmake").iterdir())
    prefix = folder / "prefix"
    tool("cmake", "-S", package, "-B", folder / "alone", f"-DCMAKE_INSTALL_PREFIX={prefix}")
    tool("cmake", "--build", folder / "alone", "--target", "install")
    return prefix


@pytest.mark.parametrize("int8", [True, False], ids=["int8", "float32"])
def test_a_subdirectory_decides_as_the_interpreter(
    packages: Packages, tmp_path: Path, int8: bool
) -> None:
    output = packages(int8=int8)
    program = project(tmp_path, output, f"add_subdirectory({output / 'cmake/cell'} cell)")
    assert program_decisions(program, output) == expected_decisions(output)


def test_an_installed_package_is_found_and_decides_as_the_interpreter(
    packages: Packages, tmp_path: Path
) -> None:
    output = packages()
    prefix = installed(tmp_path, output)
    add = "find_package(cell 0.1 CONFIG REQUIRED)"
    program = project(tmp_path / "use", output, add, (f"-DCMAKE_PREFIX_PATH={prefix}",))
    assert program_decisions(program, output) == expected_decisions(output)
    placed = {p.relative_to(prefix).name for p in prefix.rglob("*") if p.is_file()}
    assert {"cell.h", "libl2mu_cell.a", "README.md", "LICENSE", "report.json"} <= placed
    assert not placed & {"l2mu_kernels.h", "cell_weights.h"}


@pytest.mark.parametrize("version", ["0.2", "1"])
def test_another_version_is_not_found(packages: Packages, tmp_path: Path, version: str) -> None:
    prefix = installed(tmp_path, packages())
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.13)\nproject(consumer C)\n"
        f"find_package(cell {version} CONFIG REQUIRED)\n"
    )
    command = ["cmake", "-S", tmp_path, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={prefix}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    said = " ".join(done.stderr.split())
    assert f'requested version "{version}"' in said
    assert "cellConfig.cmake, version: 0.1.0" in said


def test_a_cross_build_compiles_from_source(packages: Packages, tmp_path: Path) -> None:
    need("arm-none-eabi-gcc")
    package = packages(target="cortex-m4") / "cmake/cell"
    assert list((package / "src").glob("l2mu_*_dsp.c"))
    (tmp_path / "arm.cmake").write_text(ARM_TOOLCHAIN)
    toolchain = f"-DCMAKE_TOOLCHAIN_FILE={tmp_path / 'arm.cmake'}"
    tool("cmake", "-S", package, "-B", tmp_path / "build", toolchain)
    tool("cmake", "--build", tmp_path / "build")
    library = tmp_path / "build/libl2mu_cell.a"
    assert {"cell_init", "cell_step", "cell_classify", "cell_run"} <= set(symbols(library))
    objects = list(tmp_path.rglob("cell.c.o*"))
    with objects[0].open("rb") as file:
        assert ELFFile(file)["e_machine"] == "EM_ARM"


def test_kernels_for_another_processor_say_that_they_are(
    packages: Packages, tmp_path: Path
) -> None:
    package = packages(target="cortex-m4") / "cmake/cell"
    tool("cmake", "-S", package, "-B", tmp_path)
    done = subprocess.run(["cmake", "--build", tmp_path], capture_output=True, text=True)
    assert done.returncode != 0
    said = done.stderr.partition("error")[2]
    assert "compile the network for this processor, see --target" in said.splitlines()[0]
    for output, known in ((packages(), True), (packages(target="cortex-m4"), False)):
        readme = (output / "cmake/cell/README.md").read_text()
        assert ("Any processor with a C99 compiler will do." in readme) is known
        assert ("processors like the cortex-m4" in readme) is not known


def test_names_of_cmake_and_of_system_libraries_do_no_harm(
    packages: Packages, tmp_path: Path
) -> None:
    """Several packages in one project, called like CMake's own targets and like libm."""
    outputs = [packages(name) for name in HOSTILE_NAMES]
    lines = ["enable_testing()"]
    for output, name in zip(outputs, HOSTILE_NAMES, strict=True):
        write_program(output, tmp_path / f"{name}.c")
        lines += [
            f"add_subdirectory({output}/cmake/{name} sub_{name})",
            f"add_executable(run_{name} {name}.c)",
            f"target_link_libraries(run_{name} PRIVATE {name}::{name} -lm)",
        ]
    start = "cmake_minimum_required(VERSION 3.13)\nproject(consumer C)\n"
    (tmp_path / "CMakeLists.txt").write_text(start + "\n".join(lines))
    tool("cmake", "-S", tmp_path, "-B", tmp_path / "build")
    tool("cmake", "--build", tmp_path / "build")
    for output, name in zip(outputs, HOSTILE_NAMES, strict=True):
        program = tmp_path / f"build/run_{name}"
        assert program_decisions(program, output) == expected_decisions(output)
    prefix = installed(tmp_path / "m", packages("m"))
    assert not list(prefix.rglob("libm.a"))


def test_two_models_share_one_program(packages: Packages, tmp_path: Path) -> None:
    """Both archives define the kernels; the linker takes each once."""
    output, other = packages("cell"), packages("no", int8=False)
    add = (
        f"add_subdirectory({output}/cmake/cell cell)\nadd_subdirectory({other}/cmake/no no)\n"
        "link_libraries(no::no)\n"
    )
    program = project(
        tmp_path,
        output,
        add,
        use='#include "no.h"\nint (*other)(no_state_t *, const float *, size_t) = no_run;\n',
    )
    assert {"no_run", "cell_run"} <= set(symbols(program))
    assert program_decisions(program, output) == expected_decisions(output)
