"""What every package carries, and that packages are the same bytes wherever they are made."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from command_line import ok
from networks import l2mu
from packages import HOSTILE_FILE, HOSTILE_NAMES, KINDS, Packages, compiled, unzipped, windows

from l2mu_compile.network_files import save_network
from l2mu_compile.paths import printable
from l2mu_compile.report import Report, load_report
from l2mu_compile.targets.packaging.common import release_version, write_zip

FOLDERS = ("lib", "firmware", "cmake/{}", "zephyr/{}")


def all_packages(output: Path, name: str, folder: Path) -> dict[str, Path]:
    """Every package's root folder, archives unpacked."""
    found = {kind.partition("/")[0]: output / kind.format(name) for kind in FOLDERS}
    found["arduino"] = unzipped(output / f"arduino/{name}.zip", folder / "arduino") / name
    pack = next((output / "cmsis-pack").iterdir())
    found["cmsis-pack"] = unzipped(pack, folder / "pack")
    return found


@contextmanager
def elsewhere(zone: str, umask: int) -> Iterator[None]:
    """Another time zone and file mode."""
    before, saved = os.environ.get("TZ"), os.umask(umask)
    os.environ["TZ"] = zone
    time.tzset()
    try:
        yield
    finally:
        os.umask(saved)
        os.environ.pop("TZ") if before is None else os.environ.update(TZ=before)
        time.tzset()


# ---- notes -------------------------------------------------------------------------------------


def test_every_artifact_has_a_readme_of_the_numbers(packages: Packages, tmp_path: Path) -> None:
    output = packages()
    report = load_report(output / "report.json")
    assert report.verify is not None
    assert report.stack_bounds is not None
    numbers = [
        f"{report.flash_bytes} bytes of flash",
        f"{report.ram_bytes} bytes of RAM",
        f"at most {max(report.stack_bounds.values())} bytes of stack",
        f"{report.instructions_per_step_mean:.0f} instructions a step",
        "bit-exact on cortex-m4, 4 windows of 30 steps",
        f"{100 * report.verify.accuracy_compiled:.1f} % right",
    ]
    api = ["`cell_push(&stream, sample)`", "`cell_class_name(label)`"]
    api += ["`cell_step(&state, sample)`", "`float sample[2]`"]
    for kind, root in all_packages(output, "cell", tmp_path).items():
        text = (root / "README.md").read_text()
        assert len(text.splitlines()) <= 15, kind
        for part in (*numbers, *api, "Use it"):
            assert part in " ".join(text.split()), (kind, part)
        assert "None" not in text
        assert not re.search(r"[ \t]\n|\n\n\n", text), kind


def test_every_artifact_says_whose_code_and_weights_it_holds(
    packages: Packages, tmp_path: Path
) -> None:
    for root in all_packages(packages(), "cell", tmp_path).values():
        text = (root / "LICENSE").read_text()
        assert "SPDX-License-Identifier: Apache-2.0\n" in text
        assert "cell_weights.h" in text
        assert "belong to whoever owns that model" in text


@pytest.mark.parametrize("name", ["cell", *HOSTILE_NAMES])
def test_every_artifact_has_a_report_that_lists_it(
    packages: Packages, tmp_path: Path, name: str
) -> None:
    whole = load_report(packages(name) / "report.json")
    for kind, root in all_packages(packages(name), name, tmp_path).items():
        report = load_report(root / "report.json")
        files = sorted(p for p in root.rglob("*") if p.is_file() and p != root / "report.json")
        digests = {p.relative_to(root).as_posix(): sha256(p) for p in files}
        assert {a.path: a.sha256 for a in report.artifacts} == digests, kind
        same = {"artifacts": whole.artifacts}
        assert report.model_copy(update=same) == whole


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_library_comes_with_its_header(packages: Packages) -> None:
    output = packages()
    assert (output / "lib/cell.h").read_bytes() == (output / "src/cell.h").read_bytes()


def test_packages_hold_the_sources_that_were_verified(packages: Packages, tmp_path: Path) -> None:
    output = packages()
    sources = {p.name: p.read_bytes() for p in (output / "src").iterdir()}
    roots = all_packages(output, "cell", tmp_path)
    for kind in KINDS:
        files = {p.name: p for p in roots[kind].rglob("*") if p.name in sources}
        assert {name: path.read_bytes() for name, path in files.items()} == sources, kind


@pytest.mark.parametrize(
    ("dtype", "option", "word"),
    [
        ("f4", (), "push(&stream, sample)"),
        ("f4", ("--input-scale", "0.5"), "push_raw(&stream, sample)"),
        ("i2", (), "push_raw(&stream, sample)"),
    ],
)
def test_samples_read_what_the_sensor_gives(
    tmp_path: Path, dtype: str, option: tuple[str, ...], word: str
) -> None:
    """Counts, if the model was told their scale or was given windows of them."""
    network = l2mu(sensors=None)
    save_network(network, tmp_path / "net.txt")
    np.savez(tmp_path / "windows.npz", x=(4 * windows(network)).astype(dtype))
    data = ("--calibrate", tmp_path / "windows.npz", *option)
    packages = ("--target", "cortex-m4", "--artifact", "zephyr", "-o", tmp_path / "out")
    ok("compile", tmp_path / "net.txt", *data, *packages)
    for path in ("zephyr/cell/samples/classify/src/main.c", "firmware/board_main.c"):
        assert f"cell_{word}" in (tmp_path / "out" / path).read_text()


# ---- the same bytes ----------------------------------------------------------------------------


def test_an_archive_does_not_depend_on_order_zone_or_mode(tmp_path: Path) -> None:
    files = {"b/c.txt": "text", "a.txt": "äöü", "b.txt": ""}
    write_zip(tmp_path / "one.zip", files, root="r")
    with elsewhere("Asia/Kathmandu", 0o077):
        write_zip(tmp_path / "two.zip", dict(reversed(files.items())), root="r")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert archive.namelist() == ["r/a.txt", "r/b.txt", "r/b/c.txt"]
        assert archive.read("r/a.txt").decode() == "äöü"
        for entry in archive.infolist():
            assert entry.date_time == (1980, 1, 1, 0, 0, 0)
            assert entry.external_attr >> 16 == 0o100644
            assert entry.compress_type == zipfile.ZIP_STORED


def test_packages_are_the_same_bytes_wherever_they_are_made(tmp_path: Path) -> None:
    """Two processes with other directories, TMPDIR, TZ, user and umask."""
    trees = []
    for place, zone, umask in (("one", "UTC", 0o022), ("far/away/two", "Asia/Kathmandu", 0o077)):
        folder = tmp_path / place
        (folder / "tmp").mkdir(parents=True)
        save_network(l2mu(), folder / "cell.txt")
        code = f"import os, sys; os.umask({umask}); from l2mu_compile.cli import main; main()"
        arguments = ["compile", folder / "cell.txt", "--target", "cortex-m4"]
        arguments += ["--quantize", "int8", "-o", folder / "out"]
        arguments += [word for kind in KINDS for word in ("--artifact", kind)]
        environment = {"TZ": zone, "TMPDIR": str(folder / "tmp"), "USER": place, "LOGNAME": place}
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            env={**os.environ, **environment},
            cwd=folder,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        trees.append({p.relative_to(folder): p for p in (folder / "out").rglob("*")})
    one, two = trees
    assert set(one) == set(two)
    for name, path in one.items():
        if path.is_file():
            assert path.read_bytes() == two[name].read_bytes(), name
            assert str(tmp_path).encode() not in path.read_bytes(), name


def test_what_a_file_was_called_stays_in_comments(packages: Packages, tmp_path: Path) -> None:
    """The other tests parse, build and run what this name went into."""
    output = packages()
    assert (
        printable(HOSTILE_FILE)
        in json.loads((output / "report.json").read_text())["source"]["name"]
    )
    for root in all_packages(output, "cell", tmp_path).values():
        for path in root.rglob("*"):
            if path.is_file() and path.suffix != ".json":
                lines = path.read_bytes().splitlines()
                assert not any(line.startswith((b"#define EVIL", b"key: ")) for line in lines)


# ---- versions ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "release"),
    [
        ("0.1.0", "0.1.0"),
        ("10.2.33", "10.2.33"),
        ("1.2.3.dev4+local", "1.2.3"),
        ("1.0.0rc1", "1.0.0"),
    ],
)
def test_a_package_has_the_release_of_the_compiler(version: str, release: str) -> None:
    assert release_version(version) == release


@pytest.mark.parametrize("version", ["1.2", "01.2.3", "v1.2.3", ""])
def test_a_version_that_packages_cannot_have_is_refused(version: str) -> None:
    with pytest.raises(ValueError, match=r"no major\.minor\.patch"):
        release_version(version)


# ---- other targets -----------------------------------------------------------------------------


def test_a_report_without_counts_makes_a_readme_without_them(tmp_path: Path) -> None:
    """Code for this machine is not counted, and is measured on no stack."""
    output = compiled(tmp_path, "cell", target="host", kinds=("cmake",))
    text = (output / "cmake/cell/README.md").read_text()
    assert "None" not in text
    assert "stack" not in text
    assert "instructions" not in text
    assert "bit-exact on host" in text
    assert isinstance(load_report(output / "cmake/cell/report.json"), Report)
