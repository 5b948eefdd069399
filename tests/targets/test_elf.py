"""Footprints and symbols, against a program whose sizes are known."""

from __future__ import annotations

from pathlib import Path

import pytest

from l2mu_compile.errors import ToolchainError
from l2mu_compile.targets.elf import footprint, segments, symbols
from l2mu_compile.targets.linking import link_firmware, static_library
from l2mu_compile.targets.registry import get_target
from l2mu_compile.targets.toolchain import compile_objects

CORTEX_M4 = get_target("cortex-m4")

PROGRAM = """
#include <stdint.h>
extern const int32_t constants[1000];
const int32_t constants[1000] = {1, 2, 3};
int32_t initialized[100] = {4, 5, 6};
int32_t zeroed[500];
const int32_t unused[5000] = {7};
__attribute__((noinline)) int32_t use(int32_t i) {
  zeroed[i] += constants[i] + initialized[i];
  return zeroed[i];
}
int main(void) { return use((volatile int32_t){1}); }
"""


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    directory = tmp_path_factory.mktemp("elf")
    source = directory / "program.c"
    source.write_text(PROGRAM)
    return compile_objects(CORTEX_M4, [source], [], directory)


@pytest.fixture(scope="module")
def image(objects: list[Path]) -> Path:
    return link_firmware(CORTEX_M4, objects, objects[0].parent / "program.elf")


def test_footprint_of_firmware(image: Path) -> None:
    size = footprint(image)
    assert CORTEX_M4.memory is not None
    assert size.stack == CORTEX_M4.memory.stack_bytes
    assert size.ram == 400 + 2000 == size.sections[".data"] + size.sections[".bss"]
    assert size.sections[".rodata"] == 4000
    assert size.flash == size.sections[".vectors"] + size.sections[".text"] + 4000 + 400


def test_flash_is_what_is_stored(image: Path) -> None:
    assert footprint(image).flash == sum(len(data) for _, _, data in segments(image))


def test_symbols_of_firmware(image: Path) -> None:
    table = symbols(image)
    assert table["use"].is_function
    assert table["use"].address % 2 == 0
    assert table["constants"][1:] == (4000, False)
    assert table["zeroed"].size == 2000
    assert "unused" not in table
    assert not any(name.startswith("$") for name in table)


def test_initial_values_are_stored_in_flash_and_run_in_ram(image: Path) -> None:
    assert CORTEX_M4.memory is not None
    address = symbols(image)["initialized"].address
    ((stored, running, data),) = [s for s in segments(image) if s[0] != s[1]]
    assert running == address
    assert stored in CORTEX_M4.memory.flash
    assert data[:12] == b"\4\0\0\0\5\0\0\0\6\0\0\0"


def test_archive_sums_its_objects(objects: list[Path], tmp_path: Path) -> None:
    archive = static_library(CORTEX_M4, objects, tmp_path / "lib.a")
    whole, single = footprint(archive), footprint(objects[0])
    assert whole == single
    assert whole.ram == 2400
    assert whole.flash > 24400
    assert symbols(archive)["use"].size == symbols(objects[0])["use"].size


def test_other_files_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("not an ELF file")
    with pytest.raises(ToolchainError, match="not an ELF file"):
        footprint(text)
    with pytest.raises(ToolchainError, match="cannot read"):
        symbols(tmp_path / "missing")
