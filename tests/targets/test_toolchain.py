"""The toolchain: what it builds works, reproduces, and fails with a clear word."""

from __future__ import annotations

import ctypes
import re
import shutil
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace

import pytest

from l2mu_compile.errors import BudgetError, ToolchainError
from l2mu_compile.targets import zig
from l2mu_compile.targets.commands import CommandLog
from l2mu_compile.targets.elf import symbols
from l2mu_compile.targets.kernel_table import HEADERS, KERNEL_DIR
from l2mu_compile.targets.linking import link_firmware, shared_library, static_library
from l2mu_compile.targets.record import Memory, Region, Target
from l2mu_compile.targets.registry import TARGETS, get_target
from l2mu_compile.targets.toolchain import compile_objects

HOST = get_target("host")
CORTEX_M4 = get_target("cortex-m4")

ADD = """
#include <string.h>
#include "place.h"
#include <stdint.h>
int32_t add(int32_t a, int32_t b) { return a + b; }
void copy(char *to, const char *from, unsigned size) { memcpy(to, from, size); }
void fill(char *to, int value, unsigned size) { memset(to, value, size); }
const char *here(void) { return __FILE__; }
const char *there(void) { return header_place(); }
"""
HEADER = "static inline const char *header_place(void) { return __FILE__; }\n"
MAIN = "int add(int, int);\nint main(void) { return add(40, 2); }\n"


def _objects(target: Target, directory: Path, log: CommandLog | None = None) -> list[Path]:
    include = directory / "include"
    include.mkdir(parents=True)
    (include / "place.h").write_text(HEADER)
    (directory / "add.c").write_text(ADD)
    (directory / "main.c").write_text(MAIN)
    sources = [directory / "add.c", directory / "main.c"]
    return compile_objects(target, sources, [include], directory / "build", log)


def _load(directory: Path) -> ctypes.CDLL:
    objects = _objects(HOST, directory)
    return ctypes.CDLL(str(shared_library(HOST, objects[:1], directory / "add.so")))


def test_shared_library_loads_and_runs(tmp_path: Path) -> None:
    library = _load(tmp_path)
    assert library.add(40, 2) == 42
    source = bytes(range(256)) * 4
    for size in (0, 1, 3, 4, 5, 63, 1000):
        for offset in (0, 1, 2):
            to = ctypes.create_string_buffer(1024)
            library.copy(ctypes.byref(to, offset), source, size)
            assert to.raw == (bytes(offset) + source[:size]).ljust(1024, b"\0")
            library.fill(ctypes.byref(to, offset), 0x1A5, size)
            assert to.raw == (bytes(offset) + b"\xa5" * size).ljust(1024, b"\0")


def test_shared_library_hides_its_own_memcpy(tmp_path: Path) -> None:
    library = _load(tmp_path)
    path = Path(library._name)
    assert not hasattr(library, "memcpy")
    assert b"libc" not in path.read_bytes()


def test_shared_library_shows_what_is_exported_and_no_more(tmp_path: Path) -> None:
    objects = _objects(HOST, tmp_path)
    path = shared_library(HOST, objects[:1], tmp_path / "add.so", exports=["add", "fill"])
    library = ctypes.CDLL(str(path))
    assert library.add(40, 2) == 42
    assert hasattr(library, "fill")
    assert not hasattr(library, "copy")


def test_file_names_in_outputs_have_no_directory(tmp_path: Path) -> None:
    library = _load(tmp_path)
    for function in (library.here, library.there):
        function.restype = ctypes.c_char_p
        assert "/" not in function().decode().removeprefix("./")


@pytest.mark.parametrize("name", list(TARGETS))
def test_outputs_are_the_same_in_any_directory(name: str, tmp_path: Path) -> None:
    target = get_target(name)
    built: list[list[bytes]] = []
    for directory in (tmp_path / "one", tmp_path / "another" / "place"):
        objects = _objects(target, directory)
        outputs = [static_library(target, objects, directory / "lib.a")]
        if target.shared:
            outputs.append(shared_library(target, objects, directory / "lib.so"))
        if "firmware" in target.artifacts:
            outputs.append(link_firmware(target, objects, directory / "main.elf"))
        built.append([path.read_bytes() for path in outputs])
        for content in built[-1]:
            assert str(tmp_path).encode() not in content
            assert str(Path(zig.__file__).parent).encode() not in content
    assert built[0] == built[1]


def test_static_library_starts_afresh(tmp_path: Path) -> None:
    objects = _objects(CORTEX_M4, tmp_path)
    static_library(CORTEX_M4, objects, tmp_path / "lib.a")
    static_library(CORTEX_M4, objects[:1], tmp_path / "lib.a")
    assert "main" not in symbols(tmp_path / "lib.a")


def test_small_copies_become_loads(tmp_path: Path) -> None:
    source = tmp_path / "load.c"
    source.write_text(
        "#include <string.h>\n#include <stdint.h>\n"
        "uint32_t load(const char *p) { uint32_t x; memcpy(&x, p, 4); return x; }\n"
    )
    (built,) = compile_objects(CORTEX_M4, [source], [], tmp_path)
    assert symbols(built)["load"].size <= 8


def test_commands_are_recorded_and_shown(tmp_path: Path) -> None:
    shown: list[str] = []
    log = CommandLog(verbose=shown.append)
    objects = _objects(CORTEX_M4, tmp_path, log)
    static_library(CORTEX_M4, objects, tmp_path / "lib.a", log)
    assert len(log.commands) == len(shown) == 3
    assert "-ffp-contract=off" in log.commands[0]
    assert not any("fast-math" in word for command in log.commands for word in command)


def test_a_copy_of_a_kernel_is_compiled_as_the_kernel_and_one_that_was_changed_is_not(
    tmp_path: Path,
) -> None:
    """The same in every directory, so that zig has it from then on."""
    sources = [tmp_path / "l2mu_fire_f32.c", tmp_path / "l2mu_score.c"]
    for source in sources:
        shutil.copy(KERNEL_DIR / source.name, tmp_path)
    for header in HEADERS:
        shutil.copy(KERNEL_DIR / header, tmp_path)
    with sources[1].open("a") as changed:
        changed.write("void changed(void);\nvoid changed(void) {}\n")
    log = CommandLog()
    copy, other = compile_objects(CORTEX_M4, sources, [tmp_path], tmp_path / "build", log)
    assert str(KERNEL_DIR / sources[0].name) in log.commands[0]
    assert not any(f"{tmp_path}/l2mu" in word for word in log.commands[0])
    assert str(sources[1]) in log.commands[1]
    kernels = [KERNEL_DIR / source.name for source in sources]
    built = compile_objects(CORTEX_M4, kernels, [], tmp_path / "kernels")
    assert copy.read_bytes() == built[0].read_bytes()
    assert symbols(other).keys() - symbols(built[1]).keys() == {"changed"}


def test_compile_error_shows_command_and_place(tmp_path: Path) -> None:
    source = tmp_path / "broken.c"
    source.write_text("int f(void) { return missing; }\n")
    with pytest.raises(ToolchainError, match=r"broken\.c:1:22: error: .*missing") as caught:
        compile_objects(HOST, [source], [], tmp_path)
    assert "command: " in str(caught.value)


def test_warning_is_an_error(tmp_path: Path) -> None:
    source = tmp_path / "warned.c"
    source.write_text("int f(int x) { int unused; return x; }\n")
    with pytest.raises(ToolchainError, match="unused"):
        compile_objects(CORTEX_M4, [source], [], tmp_path)


@pytest.mark.parametrize("name", list(TARGETS))
def test_missing_symbol_is_named(name: str, tmp_path: Path) -> None:
    target = get_target(name)
    source = tmp_path / "calls.c"
    source.write_text("int elsewhere(void);\nint main(void) { return elsewhere(); }\n")
    objects = compile_objects(target, [source], [], tmp_path)
    link = link_firmware if "firmware" in target.artifacts else shared_library
    with pytest.raises(ToolchainError, match="elsewhere"):
        link(target, objects, tmp_path / "out")


@pytest.mark.parametrize(
    ("declaration", "text"),
    [
        ("char large[9000];", "the firmware needs 1832 bytes more than the 8192 bytes of RAM of"),
        (
            "const volatile char large[9000] = {1};",
            r"the firmware needs [0-9]+ bytes more than the 4096 bytes of flash of cortex-m4; make",
        ),
    ],
)
def test_image_larger_than_memory_is_refused(tmp_path: Path, declaration: str, text: str) -> None:
    memory = Memory(Region(0, 4096), Region(0x2000_0000, 8192), 1024)
    small = replace(CORTEX_M4, memory=memory)
    source = tmp_path / "large.c"
    source.write_text(f"{declaration}\nint main(void) {{ return large[1] + large[8999]; }}\n")
    objects = compile_objects(small, [source], [], tmp_path)
    with pytest.raises(BudgetError, match=text):
        link_firmware(small, objects, tmp_path / "large.elf")


def test_artifact_the_target_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ToolchainError, match="builds no firmware"):
        link_firmware(HOST, [], tmp_path / "x.elf")
    with pytest.raises(ToolchainError, match="has no shared libraries"):
        shared_library(CORTEX_M4, [], tmp_path / "x.so")


def test_two_sources_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ToolchainError, match="share one object file"):
        compile_objects(HOST, [tmp_path / "a.c", tmp_path / "b" / "a.c"], [], tmp_path)


def test_missing_zig_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(_: str) -> ModuleSpec | None:
        return None

    monkeypatch.setattr(zig, "find_spec", nothing)
    zig.zig_command.cache_clear()
    try:
        with pytest.raises(ToolchainError, match="pip install ziglang"):
            zig.zig_command()
    finally:
        zig.zig_command.cache_clear()


def test_cache_goes_where_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", str(tmp_path / "mine"))
    monkeypatch.delenv("ZIG_LOCAL_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    zig._cache_directory.cache_clear()
    environment = zig.compiler_environment()
    zig._cache_directory.cache_clear()
    assert environment["ZIG_GLOBAL_CACHE_DIR"] == str(tmp_path / "mine")
    found = Path(environment["ZIG_LOCAL_CACHE_DIR"])
    assert found.parent == tmp_path / "l2mu-compile" / "zig"
    assert re.fullmatch(r"\d{4}-\d{2}", found.name)


@pytest.mark.parametrize(
    ("now", "left"), [((2027, 3), ["2027-02", "2027-03"]), ((2027, 1), ["2026-12", "2027-01"])]
)
def test_the_cache_of_the_month_before_last_goes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, now: tuple[int, int], left: list[str]
) -> None:
    months = tmp_path / "l2mu-compile" / "zig"
    others = ["2026-7", "2026-07-old", "mine"]
    for name in (*others, "2025-12", "2026-11", left[0]):
        (months / name / "o").mkdir(parents=True)
        (months / name / "o" / "kernel.o").touch()
    monkeypatch.setattr(zig.time, "gmtime", lambda: SimpleNamespace(tm_year=now[0], tm_mon=now[1]))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    zig._cache_directory.cache_clear()
    directory = zig._cache_directory()
    zig._cache_directory.cache_clear()
    assert directory == months / left[1]
    assert sorted(path.name for path in months.iterdir()) == sorted([*others, *left])
    assert (months / left[0] / "o" / "kernel.o").exists()


@pytest.mark.parametrize("variable", ["CPATH", "C_INCLUDE_PATH", "CCC_OVERRIDE_OPTIONS"])
def test_what_is_compiled_does_not_depend_on_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    """Of these a compiler takes headers and options."""
    monkeypatch.chdir(tmp_path)
    Path("headers").mkdir()
    Path("headers/string.h").write_text("#error of another project\n")
    Path("a.c").write_text("#include <string.h>\nvoid f(char *a) { memset(a, 0, 99); }\n")

    def compiled(name: str) -> bytes:
        for cache in ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"):
            monkeypatch.setenv(cache, f"{tmp_path}/{name}-cache")
        (made,) = compile_objects(CORTEX_M4, [Path("a.c")], [], Path(name))
        return made.read_bytes()

    plain = compiled("plain")
    monkeypatch.setenv(variable, "+-O0 +-g" if "OPTIONS" in variable else f"{tmp_path}/headers")
    assert compiled("other") == plain


def test_unusable_cache_falls_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocker))
    zig._cache_directory.cache_clear()
    directory = zig._cache_directory()
    zig._cache_directory.cache_clear()
    assert directory.is_dir()
    assert blocker not in directory.parents
