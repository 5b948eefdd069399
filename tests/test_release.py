"""A release: built as releases are, installed where nothing of the repository is, and used."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from clean_python import clean_python

import l2mu_compile

ROOT = Path(__file__).parents[1]
HAR = ROOT / "examples" / "har_smartwatch"
PARTS = ("l2mu_compile", "passes", "targets")


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """A directory with a source archive and a wheel of it, built from a copy without leftovers."""
    copy, made = tmp_path_factory.mktemp("copy") / "copy", tmp_path_factory.mktemp("release")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    command = [sys.executable, "-m", "build", "--outdir", str(made), str(copy)]
    subprocess.run(command, check=True, capture_output=True)
    return made


@pytest.mark.slow
def test_the_wheel_has_all_files_of_the_package(release):
    (wheel,) = release.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for part in PARTS:
        for path in (ROOT / part).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                name = path.relative_to(ROOT).as_posix()
                where = name if part == "l2mu_compile" else f"l2mu_compile/{name}"
                assert where in names, where
    assert not any(name.startswith(("tests", "benchmarks", "examples")) for name in names)
    (source,) = release.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        assert any(name.endswith("/LICENSE") for name in archive.getnames())


@pytest.mark.slow
def test_the_wheel_compiles_and_verifies_the_example(release, tmp_path):
    programs = clean_python(tmp_path / "venv")
    (wheel,) = release.glob("*.whl")
    pip = [str(programs / "python"), "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, str(wheel)], check=True)

    def run(*arguments: str) -> str:
        environment = {**os.environ, "PYTHONPATH": ""}
        command = [str(programs / "l2mu-compile"), *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("--version").strip() == f"l2mu-compile {l2mu_compile.__version__}"
    calibrate = ("--quantize", "int8", "--calibrate", str(HAR / "calibration.npz"))
    run("compile", str(HAR / "har.ckpt"), "--target", "cortex-m4", *calibrate, "-o", "out")
    data = ("--data", str(HAR / "heldout.npz"), "--windows", "20")
    assert "bit-exact: 20 windows x 100 steps" in run("verify", "out", *data)
