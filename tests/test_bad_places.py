"""Outputs that cannot be written and tools that do not work, through the command line."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import ok
from networks import f32, lif
from refusals import (
    WINDOWS,
    contents,
    files_at_most,
    refused,
    refused_alone,
    spawn,
    state,
    unprivileged,
)

from l2mu_compile.network import Input, Network, Population, Readout
from l2mu_compile.network_files import save_network
from l2mu_compile.projection import Projection
from l2mu_compile.report import Report
from l2mu_compile.targets import zig
from l2mu_compile.targets.kernel_table import KERNEL_DIR

pytestmark = pytest.mark.usefixtures("workplace")


def test_output_with_foreign_files(compiled):
    Path("home").mkdir()
    Path("home/letter").write_text("dear")
    arguments = ("compile", compiled / "net.pt", "-o", "home")
    refused(2, "home: holds files this tool did not write", arguments=arguments)
    assert Path("home/letter").read_text() == "dear"


def test_output_that_is_a_file(compiled):
    Path("file").write_text("text")
    for place, text in (
        ("file", "is not a directory"),
        ("file/out", "cannot be written"),
        ("/proc/nothing/out", "cannot be written"),
        (".", "give -o the name of a directory"),
        ("..", "give -o the name of a directory"),
    ):
        refused(2, text, arguments=("compile", compiled / "net.pt", "-o", place))
    assert Path("file").read_text() == "text"


def test_output_that_is_a_link(compiled):
    Path("real").mkdir()
    Path("link").symlink_to("real")
    refused(2, "is not a directory", arguments=("compile", compiled / "net.pt", "-o", "link"))


def test_failure_keeps_the_earlier_output(compiled):
    shutil.copytree(compiled / "out", "out")
    torch.save(state() | {"e_z": torch.ones(2)}, "net.pt")
    before = {p: p.read_bytes() for p in Path("out").rglob("*") if p.is_file()}
    refused(3, "e_z", arguments=("compile", "net.pt", "-o", "out"))
    assert {p: p.read_bytes() for p in Path("out").rglob("*") if p.is_file()} == before


# ---- toolchain ----


def test_missing_compiler(compiled, monkeypatch):
    monkeypatch.setattr(zig, "find_spec", lambda name: None)
    zig.zig_command.cache_clear()
    try:
        arguments = ("compile", compiled / "net.pt", "-o", "out")
        refused(6, "no C compiler: install zig", arguments=arguments)
    finally:
        zig.zig_command.cache_clear()


def test_failing_compiler(compiled, monkeypatch):
    broken = (sys.executable, "-c", "print('main.c:1: error: no\\n  memory'); raise SystemExit(1)")
    monkeypatch.setattr("l2mu_compile.targets.toolchain.zig_command", lambda: broken)
    arguments = ("compile", compiled / "net.pt", "-o", "out")
    refused(6, "compiler ended with code 1", "error: no memory", arguments=arguments)


# ---- disks that are full, directories that are read-only ----


def test_output_on_a_mount_point(compiled):
    refused(2, "/proc: is a mount point", arguments=("compile", compiled / "net.pt", "-o", "/proc"))


@pytest.mark.parametrize("name", ["new\nline", "tab\t", "back\\slash", "100%", 'quo"te'])
def test_names_that_the_compiler_cannot_write(compiled, name):
    arguments = ("compile", compiled / "net.pt", "-o", f"{name}/out")
    refused(2, "the C compiler cannot write to names with", arguments=arguments)


@pytest.mark.parametrize("name", ["*/", "??/", "???", "'$(x) `y`;&|#@", "ü", "-x"])
@pytest.mark.parametrize("target", ["host", "cortex-m4"])
def test_any_other_name_is_fine(compiled, name, target):
    """Of the checkpoint, which goes into comments, and of the output."""
    model = Path(f"{name} m.pt".replace("/", "_")).absolute()
    shutil.copy(compiled / "net.pt", model)
    ok("compile", model, "--target", target, f"--output={name}/{name} o")


def test_names_that_are_no_text(compiled):
    shutil.copy(compiled / "net.pt", b"n\xff.pt")
    shutil.copy(compiled / WINDOWS, b"w\xff.npz")
    assert spawn("compile", b"n\xff.pt", "-o", b"o\xff", "--calibrate", b"w\xff.npz").code == 0
    result = spawn("verify", b"o\xff", "--data", b"w\xff.npz", "--checkpoint", b"n\xff.pt")
    assert result.code == 0, result.err
    assert result.out.startswith("o?\n")


def read_only(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)


@pytest.fixture
def copy(compiled):
    shutil.copytree(compiled / "out", "place/out")
    yield Path("place/out")
    for path in (Path("place"), *Path("place").rglob("*")):
        path.chmod(0o755)


def test_verify_in_a_read_only_directory(compiled, copy):
    read_only(copy)
    before = contents(copy)
    result = spawn("verify", copy, "--data", compiled / WINDOWS, prepare=unprivileged)
    assert result.code == 0, result.err
    assert "bit-exact: 5 windows x 12 steps" in result.out
    kept = "it still holds the earlier outcome"
    note = f"note: {copy}/report.json: cannot be written (Permission denied); {kept}\n"
    assert result.err == note
    arguments = ("verify", copy, "--data", compiled / WINDOWS, "--json")
    report = Report.model_validate(spawn(*arguments, prepare=unprivileged).json)
    assert report.verify is not None
    assert report.verify.windows_from == "given"
    assert report.notes[-1] == note.removeprefix("note: ").strip()
    assert contents(copy) == before


def test_compile_in_a_read_only_directory(compiled, copy):
    read_only(Path("place"))
    before = contents(copy)
    for place in ("place/out", "place/new", "place/new/out"):
        arguments = ("compile", compiled / "net.pt", "-o", place)
        text = f"{place}: cannot be written: Permission denied"
        refused_alone(2, text, arguments=arguments, prepare=unprivileged)
    assert contents(copy) == before
    source = compiled / "out/float/network.txt"
    arguments = ("opt", source, "-p", "remove-dead", "-o", "place/net.txt")
    text = "place/net.txt: cannot be written: Permission denied"
    refused_alone(2, text, arguments=arguments, prepare=unprivileged)


def test_files_that_cannot_be_read(compiled, copy):
    for name in ("net.pt", WINDOWS, "out/report.json"):
        shutil.copy(compiled / name, Path(name).name)
        Path(Path(name).name).chmod(0)
    arguments = ("inspect", "net.pt")
    refused_alone(2, "'net.pt' is not readable", arguments=arguments, prepare=unprivileged)
    arguments = ("verify", compiled / "out", "--data", WINDOWS)
    refused_alone(2, f"'{WINDOWS}' is not readable", arguments=arguments, prepare=unprivileged)
    (copy / "lib/libnet.a").chmod(0)
    arguments = ("verify", copy, "--data", compiled / WINDOWS)
    text = f"{copy}/lib/libnet.a: cannot be read: Permission denied"
    refused_alone(3, text, arguments=arguments, prepare=unprivileged)
    (copy / "report.json").chmod(0)
    text = f"{copy}/report.json: cannot read the report: Permission denied"
    refused_alone(3, text, arguments=arguments, prepare=unprivileged)


LARGEST_SOURCE = (KERNEL_DIR / "l2mu_kernels.h").stat().st_size


@pytest.mark.parametrize(
    ("size", "code", "text"),
    [
        (100, 2, "place/out: cannot be written: File too large"),  # the network
        (3000, 2, "place/out: cannot be written: File too large"),  # the sources
        (LARGEST_SOURCE, 6, "compiler was ended by signal"),  # the library
    ],
)
def test_compile_on_a_full_disk(compiled, copy, size, code, text):
    """The earlier output stays whole and nothing else does."""
    before = contents(copy)
    arguments = ("compile", compiled / "net.pt", "-o", copy)
    refused_alone(code, text, arguments=arguments, prepare=files_at_most(size))
    assert contents(copy) == before


def test_verify_on_a_full_disk(compiled, copy):
    before = contents(copy)
    arguments = ("verify", copy, "--data", compiled / WINDOWS)
    result = spawn(*arguments, prepare=files_at_most(100))
    assert result.code == 0, result.err
    assert "report.json: cannot be written (File too large)" in result.err
    assert contents(copy) == before


def test_opt_on_a_full_disk_keeps_both_files(compiled):
    for suffix in (".txt", ".safetensors"):
        shutil.copy((compiled / "out/float/network").with_suffix(suffix), f"net{suffix}")
    text_size, weights_size = (Path(f"net{s}").stat().st_size for s in (".txt", ".safetensors"))
    assert text_size < weights_size
    arguments = ("opt", "net.txt", "-p", "fold-threshold", "-o", "net.txt")
    for size in (100, text_size + 100):
        before = contents(Path())
        text = "net.txt: cannot be written: File too large"
        refused_alone(2, text, arguments=arguments, prepare=files_at_most(size))
        assert contents(Path()) == before


@pytest.mark.parametrize("cache", ["/proc/nothing", "/dev/full"])
def test_compiler_without_a_cache(compiled, cache):
    arguments = ("compile", compiled / "net.pt", "-o", "out")
    text = f"ZIG_GLOBAL_CACHE_DIR={cache}: the C compiler's cache cannot be written"
    refused_alone(6, text, arguments=arguments, ZIG_GLOBAL_CACHE_DIR=cache)


# ---- memory ----


def test_weights_that_do_not_fit_are_refused_before_the_compiler_runs(monkeypatch):
    monkeypatch.setattr("l2mu_compile.targets.toolchain.zig_command", lambda: pytest.fail("ran"))
    size = 1500
    out = Population("out", (size,), lif())
    network = Network(
        "wide",
        Input("x", 1),
        (out,),
        (
            Projection("x", "out", f32(np.ones((size, 1)))),
            Projection("out", "out", f32(np.ones((size, size))), delay=1),
        ),
        Readout("out"),
    )
    save_network(network, "wide.txt")
    arguments = ("compile", "wide.txt", "--target", "cortex-m4", "-o", "out")
    over = 4 * (size * size + size) - 4 * 2**20
    line = refused(5, "its weights alone take", arguments=arguments)
    found = re.search(r"take ([0-9]+) bytes, ([0-9]+) more than the ([0-9]+) bytes of flash", line)
    assert found
    needed, more, available = map(int, found.groups())
    assert available == 4 * 2**20
    assert more == needed - available
    assert 0 <= more - over < 100
