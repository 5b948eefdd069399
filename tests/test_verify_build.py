"""Provenance, the bill of materials, and directories that are made again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import ok, run
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from refusals import contents, refused

from l2mu_compile.errors import ModelError
from l2mu_compile.output import file_digest
from l2mu_compile.provenance import load_provenance
from l2mu_compile.report import load_report

OPTIONS = ("--quantize", "int8", "--calibrate", "windows.npz")


@pytest.fixture
def place(workplace, data):
    for name in ("net.pt", "windows.npz"):
        shutil.copy(data / name, name)
    return workplace


def test_provenance_names_all_that_was_used(place):
    Path("net.json").write_text("{}")
    ok("compile", "net.pt", *OPTIONS, "--classes", "a,b,c", "-o", "out")
    origin = load_provenance("out")
    assert {(entry.what, entry.name) for entry in origin.inputs} == {
        ("checkpoint", "net.pt"),
        ("checkpoint", "net.json"),
        ("calibrate", "windows.npz"),
    }
    assert all(entry.sha256 == file_digest(Path(entry.name)) for entry in origin.inputs)
    assert origin.recipe.model.classes == ("a", "b", "c")
    assert origin.recipe.pipeline.quantize == "int8"
    assert {"torch", "numpy", "ziglang", "snntorch"} <= set(origin.versions)
    assert origin.machine is not None, "code for this machine depends on it"
    assert str(place) not in origin.to_json()


def test_code_for_another_machine_does_not_depend_on_this_one(place):
    ok("compile", place / "net.pt", "--target", "cortex-m4", "-o", "out")
    assert load_provenance("out").machine is None
    assert str(place) not in Path("out/provenance.json").read_text()


def test_the_bill_of_materials(place):
    pytest.importorskip("jsonschema", reason="validation needs cyclonedx-python-lib[validation]")
    ok("compile", "net.pt", "--artifact", "executable", "--artifact", "cmake", "-o", "out")
    text = Path("out/sbom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bill = json.loads(text)
    report = load_report("out/report.json")
    listed = {artifact.path: artifact.sha256 for artifact in report.artifacts}
    products = {
        component["name"]: component["hashes"][0]["content"]
        for component in bill["components"]
        if component["bom-ref"].startswith("file:")
    }
    assert {"lib/libnet.a", "lib/libnet.so"} <= set(products)
    assert any(name.startswith("executable/") for name in products)
    assert all(listed[name] == digest for name, digest in products.items())
    needs = {entry["ref"]: set(entry.get("dependsOn", ())) for entry in bill["dependencies"]}
    assert needs["file:lib/libnet.a"] == {"model", "kernels", "runtime"}


def test_what_was_made_is_made_again(place):
    ok("compile", "net.pt", *OPTIONS, "-o", "out")
    ok("verify", "out", "--data", "windows.npz")
    found = ok("verify-build", "out", "--json").json["directories"]
    assert [(entry["path"], entry["different"], entry["tools"]) for entry in found] == [
        ("out", [], [])
    ]
    assert found[0]["files"] == len(contents(Path("out"))) - 1


def test_what_is_not_the_same_is_named(place):
    ok("compile", "net.pt", "-o", "out")
    origin = json.loads(Path("out/provenance.json").read_text())
    origin["recipe"]["model"]["name"] = "other"
    origin["versions"]["ziglang"] = "0.0.1"
    Path("out/provenance.json").write_text(json.dumps(origin))
    report = json.loads(Path("out/report.json").read_text())
    for artifact in report["artifacts"]:
        if artifact["path"] == "provenance.json":
            artifact["sha256"] = file_digest(Path("out/provenance.json"))
            artifact["bytes"] = Path("out/provenance.json").stat().st_size
    Path("out/report.json").write_text(json.dumps(report))
    result = run("verify-build", "out")
    assert result.code == 4
    assert "lib/libother.so differs" in result.err and "lib/libnet.so differs" in result.err
    assert "ziglang: was 0.0.1, here " in result.err


def test_builds_are_made_again(place):
    Path("l2mu.toml").write_text(
        '[model.net]\ncheckpoint = "net.pt"\ntest = "windows.npz"\n'
        "[target.here]\n[pipeline.int8]\nquantize = 'int8'\n[pipeline.float]\n"
    )
    ok("build", "--jobs", "1")
    found = ok("verify-build", "build", "--json").json["directories"]
    assert [(entry["path"], entry["different"]) for entry in found] == [
        ("build/net/here/int8", []),
        ("build/net/here/float", []),
    ]


def test_refusals(place):
    ok("compile", "net.pt", *OPTIONS, "-o", "out")
    Path("net.pt").rename("old.pt")
    refused(
        3, "checkpoint net.pt with SHA-256 ", "is not below .", arguments=("verify-build", "out")
    )
    Path("net.pt").write_bytes(b"another")
    refused(3, "is not below .; net.pt is another", arguments=("verify-build", "out"))
    Path("out/network.txt").write_text("changed")
    refused(3, "network.txt: has changed", arguments=("verify-build", "out"))
    refused(3, "nothing/report.json: cannot read", arguments=("verify-build", "nothing"))
    Path("out/provenance.json").write_text('{"format_version": 2}')
    with pytest.raises(ModelError, match="format_version 2; this release reads 1"):
        load_provenance("out")


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        "--target=cortex-m4 --artifact=arduino --artifact=zephyr --artifact=cmsis-pack",
        "--target=android-arm64-v8a --artifact=aar --artifact=cmake",
        "--artifact=java",  # of executables, whose C library takes long: test_executable.py
    ],
)
def test_every_byte_is_the_same_elsewhere(place, options):
    """In another directory, with another clock, home, temporary directory, mask and hash seed."""
    far = Path("far/away")
    far.mkdir(parents=True)
    for name in ("net.pt", "windows.npz"):
        shutil.copy(name, far)
        os.utime(far / name, (1, 1))
    Path("tmp").mkdir()
    other = {"TMPDIR": f"{place}/tmp", "HOME": f"{place}/tmp", "TZ": "Asia/Tokyo", "LANG": "C"}
    command = [
        "-m",
        "l2mu_compile.cli",
        "compile",
        "net.pt",
        *OPTIONS,
        *options.split(),
        "-o",
        "out",
    ]
    for folder, mask, variables in (
        (place, 0o022, {"PYTHONHASHSEED": "1"}),
        (far, 0o077, {"PYTHONHASHSEED": "2", "SOURCE_DATE_EPOCH": "7", **other}),
    ):
        subprocess.run(
            [sys.executable, *command, "-o", "out"],
            cwd=folder,
            env=os.environ | variables,
            umask=mask,
            check=True,
            capture_output=True,
        )
    here, there = contents(Path("out")), contents(far / "out")
    assert here.keys() == there.keys()
    assert [name for name in here if here[name] != there[name]] == []
