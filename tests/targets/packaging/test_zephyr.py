"""The Zephyr module: its metadata and options, its build in stand-ins for Zephyr's own commands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kconfiglib
import numpy as np
import pytest
import yaml
from packages import (
    HOSTILE_NAMES,
    M4F,
    WARNINGS,
    Packages,
    compile_c,
    compiled,
    expected_decisions,
    expected_names,
    fill_in,
    need,
    program_decisions,
    recording,
    tool,
    write_program,
)

from l2mu_compile.interpreter import run
from l2mu_compile.network_files import load_network

NAMES = ("cell", *HOSTILE_NAMES)

# Zephyr's options that the module's files mention.
ZEPHYR_KCONFIG = """
mainmenu "Image"
config MAIN_STACK_SIZE
	int "Stack of the main thread"
	default 1024
"""
# What Zephyr's build system offers a module: here, a library that is linked whole.
ZEPHYR_CMAKE = """
cmake_minimum_required(VERSION 3.20)
project(image C)
add_executable(image ${MAIN})
function(zephyr_include_directories)
  foreach(directory IN LISTS ARGN)
    get_filename_component(path ${directory} ABSOLUTE)
    target_include_directories(image PRIVATE ${path})
  endforeach()
endfunction()
macro(zephyr_library)
  string(MD5 ZEPHYR_CURRENT_LIBRARY ${CMAKE_CURRENT_SOURCE_DIR})
  add_library(${ZEPHYR_CURRENT_LIBRARY} STATIC)
  target_include_directories(${ZEPHYR_CURRENT_LIBRARY} PRIVATE
    $<TARGET_PROPERTY:image,INCLUDE_DIRECTORIES>)
  target_link_libraries(image PRIVATE
    -Wl,--whole-archive $<TARGET_FILE:${ZEPHYR_CURRENT_LIBRARY}> -Wl,--no-whole-archive)
  add_dependencies(image ${ZEPHYR_CURRENT_LIBRARY})
endmacro()
function(zephyr_library_sources)
  target_sources(${ZEPHYR_CURRENT_LIBRARY} PRIVATE ${ARGN})
endfunction()
function(zephyr_library_compile_options)
  target_compile_options(${ZEPHYR_CURRENT_LIBRARY} PRIVATE ${ARGN})
endfunction()
function(zephyr_library_compile_definitions)
  target_compile_definitions(${ZEPHYR_CURRENT_LIBRARY} PRIVATE ${ARGN})
endfunction()
"""
KERNEL_H = """
#include <stddef.h>
#include <stdint.h>
typedef struct { int64_t ticks; } k_timeout_t;
struct k_timer { int late; };
#define K_MSEC(ms) ((k_timeout_t){(ms)})
#define K_TIMER_DEFINE(name, expired, stopped) \\
    struct k_timer name = {(expired) != NULL || (stopped) != NULL}
void k_timer_start(struct k_timer *timer, k_timeout_t first, k_timeout_t period);
uint32_t k_timer_status_sync(struct k_timer *timer);
"""
PRINTK_H = """
void printk(const char *format, ...);
"""
# A timer that is late once, for LATE-th sample.
KERNEL_C = """
#include <stdarg.h>
#include <stdio.h>
#include <zephyr/kernel.h>
#include <zephyr/sys/printk.h>
static int64_t period;
void k_timer_start(struct k_timer *timer, k_timeout_t first, k_timeout_t every)
{
    timer->late = first.ticks != every.ticks;
    period = every.ticks;
}
uint32_t k_timer_status_sync(struct k_timer *timer)
{
    static int samples;
    return period == 10 ? 1u + (uint32_t)timer->late + (++samples == LATE) : 99u;
}
void printk(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
}
"""


def module(packages: Packages, name: str = "cell") -> Path:
    return packages(name) / "zephyr" / name


def kconfig(folder: Path, modules: list[Path]) -> kconfiglib.Kconfig:
    """The options of an image with these modules; any warning is an error."""
    lines = [ZEPHYR_KCONFIG, *(f'source "{path / "Kconfig"}"' for path in modules)]
    (folder / "Kconfig").write_text("\n".join(lines) + "\n")
    return kconfiglib.Kconfig(str(folder / "Kconfig"), warn_to_stderr=False)


# ---- metadata ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_module_yml_is_as_zephyr_documents_it(packages: Packages, name: str) -> None:
    root = module(packages, name)
    found: Any = yaml.safe_load((root / "zephyr/module.yml").read_text())
    assert found == {
        "name": f"l2mu_{name}",
        "build": {"cmake": ".", "kconfig": "Kconfig"},
        "samples": ["samples"],
    }
    assert re.fullmatch(r"[A-Za-z0-9_]+", found["name"])
    assert (root / found["build"]["cmake"] / "CMakeLists.txt").is_file()
    assert (root / found["build"]["kconfig"]).is_file()
    assert all((root / folder).is_dir() for folder in found["samples"])


@pytest.mark.parametrize("name", NAMES)
def test_the_sample_is_described_for_twister(packages: Packages, name: str) -> None:
    sample = module(packages, name) / "samples/classify"
    found: Any = yaml.safe_load((sample / "sample.yaml").read_text())
    assert set(found) == {"sample", "tests"}
    assert {type(value) for value in found["sample"].values()} == {str}
    assert found["sample"]["name"] == f"{name} classifier"
    assert found["tests"] == {f"sample.l2mu.{name}": {"build_only": True, "tags": "l2mu"}}
    main = (sample / "CMakeLists.txt").read_text()
    assert main.index("EXTRA_ZEPHYR_MODULES") < main.index("find_package(Zephyr")


@pytest.mark.parametrize("name", NAMES)
def test_options_are_off_until_the_sample_sets_them(
    packages: Packages, tmp_path: Path, name: str
) -> None:
    root = module(packages, name)
    options = kconfig(tmp_path, [root])
    assert not options.warnings
    chosen, speed = (options.syms[f"L2MU_{word}_{name.upper()}"] for word in ("MODEL", "SPEED"))
    assert (chosen.str_value, speed.str_value) == ("n", "n")
    assert [node.prompt[0] for node in chosen.nodes] == [f"{name} spiking network"]
    assert all(node.help for symbol in (chosen, speed) for node in symbol.nodes)
    options.load_config(str(root / "samples/classify/prj.conf"))
    assert not options.warnings
    assert (chosen.str_value, speed.str_value) == ("y", "y")
    assert int(options.syms["MAIN_STACK_SIZE"].str_value) >= 2048
    defined = {s.name for s in options.unique_defined_syms} - {"MAIN_STACK_SIZE"}
    assert defined == {chosen.name, speed.name}


def test_options_of_several_modules_are_apart(packages: Packages, tmp_path: Path) -> None:
    options = kconfig(tmp_path, [module(packages, name) for name in NAMES])
    assert not options.warnings
    assert all(len(symbol.nodes) == 1 for symbol in options.unique_defined_syms)


# ---- building ----------------------------------------------------------------------------------


@pytest.mark.parametrize("speed", [True, False])
def test_two_modules_share_one_image_and_decide_as_the_interpreter(
    packages: Packages, tmp_path: Path, speed: bool
) -> None:
    need("cmake", "make", "cc")
    for name in ("cell", "no"):
        other = {"cell": "no", "no": "cell"}[name]
        folder = tmp_path / name
        write_program(packages(name), folder / "main.c")
        lines = [ZEPHYR_CMAKE]
        for model in (name, other):
            lines += [f"set(CONFIG_L2MU_MODEL_{model.upper()} y)"]
            lines += [f"set(CONFIG_L2MU_SPEED_{model.upper()} y)"] if speed else []
            lines += [f"add_subdirectory({module(packages, model)} {model})"]
        (folder / "CMakeLists.txt").write_text("\n".join(lines))
        tool("cmake", "-S", folder, "-B", folder / "build", f"-DMAIN={folder / 'main.c'}")
        said = tool("cmake", "--build", folder / "build", "--verbose")
        assert ("-O2" in said) is speed
        assert "-ffp-contract=off" in said
        program = folder / "build/image"
        assert program_decisions(program, packages(name)) == expected_decisions(packages(name))
        symbols = tool("nm", program)
        assert f"{other}_l2mu_" in symbols
        assert not re.search(" [TW] l2mu_", symbols)


def test_a_module_that_is_off_adds_nothing(packages: Packages, tmp_path: Path) -> None:
    need("cmake", "make", "cc")
    (tmp_path / "main.c").write_text("int main(void) { return 0; }\n")
    text = f"{ZEPHYR_CMAKE}add_subdirectory({module(packages)} cell)\n"
    (tmp_path / "CMakeLists.txt").write_text(text)
    tool("cmake", "-S", tmp_path, "-B", tmp_path / "build", f"-DMAIN={tmp_path / 'main.c'}")
    tool("cmake", "--build", tmp_path / "build")
    assert "cell_" not in tool("nm", tmp_path / "build/image")


def zephyr_headers(folder: Path) -> Path:
    (folder / "zephyr/sys").mkdir(parents=True)
    (folder / "zephyr/kernel.h").write_text(KERNEL_H)
    (folder / "zephyr/sys/printk.h").write_text(PRINTK_H)
    return folder


def sample_output(output: Path, folder: Path, late: int = 0) -> list[str]:
    """What the sample prints on the recording when the timer is late at one sample."""
    root = output / "zephyr/cell"
    headers = zephyr_headers(folder / "headers")
    (folder / "kernel.c").write_text(KERNEL_C.replace("LATE", str(late)))
    network = load_network(output / "network.txt")
    written = fill_in(root / "samples/classify/src/main.c", network, folder)
    gcc = ("gcc", "-std=c99", *WARNINGS, f"-I{root / 'include'}", f"-I{headers}")
    sources = [*sorted((root / "src").glob("*.c")), *written, folder / "kernel.c"]
    objects = compile_c(gcc, sources, folder / "objects")
    tool("gcc", *objects, "-o", folder / "sample")
    return tool(folder / "sample").splitlines()


@pytest.mark.parametrize("raw", [False, True], ids=["floats", "counts"])
def test_the_sample_prints_what_the_interpreter_decides(
    packages: Packages, tmp_path: Path, raw: bool
) -> None:
    need("gcc")
    output = packages(raw=raw)
    assert sample_output(output, tmp_path) == expected_names(output)


def test_the_sample_counts_a_windows_steps_itself_if_need_be(tmp_path: Path) -> None:
    """Nobody told how long a window is; it proposes the one that the code was checked on."""
    need("gcc")
    output = compiled(tmp_path, "cell", int8=False, calibrated=False, kinds=("zephyr",))
    assert sample_output(output, tmp_path / "sample") == expected_names(output, size=50)


def test_the_sample_starts_again_after_a_gap(packages: Packages, tmp_path: Path) -> None:
    """Late by a period at the second sample of the second window, whose first one is dropped."""
    need("gcc")
    output = packages()
    network = load_network(output / "network.txt")
    stream = recording(network).astype(np.float32)
    x = np.stack([stream[:30], *(stream[start : start + 30] for start in range(31, 210, 30))])
    wanted = [network.class_names[d] for d in run(network, x).decisions]
    assert wanted != expected_names(output)[: len(wanted)]
    assert sample_output(output, tmp_path, late=32) == wanted


def test_everything_compiles_for_a_microcontroller(packages: Packages, tmp_path: Path) -> None:
    need("arm-none-eabi-gcc")
    root = packages(target="cortex-m4") / "zephyr/cell"
    assert list((root / "src").glob("l2mu_*_dsp.c"))
    headers = zephyr_headers(tmp_path / "headers")
    gcc = ("arm-none-eabi-gcc", *M4F, "-std=c99", *WARNINGS, f"-I{root / 'include'}")
    sources = [*sorted((root / "src").glob("*.c")), root / "samples/classify/src/main.c"]
    assert len(compile_c((*gcc, f"-I{headers}"), sources, tmp_path / "objects")) == len(sources)
