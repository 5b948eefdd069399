"""Provenance, the bill of materials, and directories that are made again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from command_line import ok, run
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from refusals import contents, refused

from l2mu_compile import plugins
from l2mu_compile.errors import ModelError
from l2mu_compile.output import file_digest
from l2mu_compile.provenance import Provenance, load_provenance, provenance
from l2mu_compile.recipe import ModelTable, Recipe, TargetTable
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


def test_the_jdk_is_among_the_tools_of_what_has_a_java_class(place, monkeypatch):
    """With another one, or none, other files are made."""
    jdk = Path("jdk")
    jdk.mkdir()
    (jdk / "javac").write_text("#!/bin/sh\necho javac 17.0.13\n")
    (jdk / "javac").chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}/jdk:/usr/bin:/bin")
    model = ModelTable(checkpoint=Path("net.pt"))

    def of(*artifacts: str) -> Provenance:
        target = TargetTable(target="cortex-m4", artifacts=artifacts)
        return provenance(Recipe(model=model, target=target), place, ())

    with_jdk = of("java")
    assert with_jdk.versions["javac"] == "17.0.13"
    assert "javac" not in of("cmake").versions
    (jdk / "javac").write_text("#!/bin/sh\nexit 1\n")
    assert "javac" not in of("java").versions
    assert of("java").digest != with_jdk.digest, "it is built again"


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


@contextmanager
def forged(name: str) -> Iterator[Any]:
    """JSON of a directory ``out``, to be changed; its report lists what it is then."""
    path = Path("out", name)
    content = json.loads(path.read_text())
    yield content
    path.write_text(json.dumps(content))
    report = json.loads(Path("out/report.json").read_text())
    for artifact in report["artifacts"]:
        if artifact["path"] == name:
            artifact |= {"sha256": file_digest(path), "bytes": path.stat().st_size}
    Path("out/report.json").write_text(json.dumps(report))


def test_what_is_not_the_same_is_named(place):
    ok("compile", "net.pt", "-o", "out")
    with forged("provenance.json") as origin:
        origin["recipe"]["model"]["name"] = "other"
        origin["versions"]["ziglang"] = "0.0.1"
        origin["machine"] = "0" * 64
    result = run("verify-build", "out")
    assert result.code == 4
    assert "lib/libother.so differs" in result.err and "lib/libnet.so differs" in result.err
    assert "ziglang: was 0.0.1, here " in result.err
    assert "processor: was 000000000000…, here " in result.err


def test_figures_of_a_report_are_made_again_too(place):
    ok("compile", "net.pt", "--target", "cortex-m4", "-o", "out")
    size = load_report("out/report.json").flash_bytes
    with forged("report.json") as report:
        report["flash_bytes"] -= 1
        report["class_names"] = ["a", "b", "c"]
    result = run("verify-build", "out")
    assert result.code == 4
    assert f"out: report.json: flash_bytes: says {size - 1}, is {size}\n" in result.err
    assert "out: report.json: class_names\n" in result.err
    assert run("verify-build", "out", "--json").json["directories"][0]["different"] == []


PASS = '''
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from l2mu_compile import Pass
Path("ran").write_text("")

@dataclass(frozen=True)
class Nothing(Pass):
    """Changes nothing."""

    name: ClassVar[str] = "{name}"

    def apply(self, network, context):
        return network

PLUGIN = [Nothing]
'''


@pytest.fixture
def nothing_loaded(monkeypatch):
    monkeypatch.setattr(plugins, "_files", {})


def test_nothing_is_run_from_the_directory_that_is_checked(place, nothing_loaded):
    Path("plugin.py").write_text(PASS.format(name="nothing"))
    ok("compile", "net.pt", "--plugin", "plugin.py", "-o", "out")
    Path("plugin.py").rename("out/plugin.py")
    Path("ran").unlink()
    text = "plugin plugin.py with SHA-256 "
    assert text in refused(3, "is not below .", arguments=("verify-build", "out"))
    Path("out/evil.py").write_text(PASS.format(name="evil"))
    with forged("provenance.json") as origin:
        origin["recipe"]["model"]["module"] = "out.evil:make"
    refused(2, "out.evil:make: lies in out, from where", arguments=("verify-build", "out"))
    assert not Path("ran").exists()


def test_files_of_one_name(place, nothing_loaded):
    """Plug-ins of two directories; a checkpoint in two, with other parameters beside it."""
    for folder in ("a", "b", "c"):
        Path(folder).mkdir()
        shutil.copy("net.pt", folder)
        Path(folder, "plugin.py").write_text(PASS.format(name=f"nothing-{folder}"))
    Path("b/net.json").write_text("{}")
    Path("c/net.json").write_text('{"name": "c"}')
    Path("net.pt").unlink()
    options = ("--plugin", "c/plugin.py", "--plugin", "b/plugin.py", "-o", "out")
    ok("compile", "b/net.pt", *options)
    found = ok("verify-build", "out", "--json").json["directories"]
    assert (found[0]["different"], found[0]["figures"]) == ([], [])
    Path("b/net.json").rename("b/other.json")
    refused(3, "a/net.pt: beside it is not what it was", arguments=("verify-build", "out"))


def test_inputs_that_are_not_listed(place):
    ok("compile", "net.pt", "-o", "out")
    with forged("provenance.json") as origin:
        origin["inputs"] = []
    text = "out/provenance.json: inputs: checkpoint net.pt is not among them"
    refused(3, text, arguments=("verify-build", "out"))


def test_what_is_hidden_or_never_ends_is_no_input(place):
    ok("compile", "net.pt", "-o", "out")
    Path(".venv").mkdir()
    Path("net.pt").rename(".venv/net.pt")
    os.mkfifo("net.pt")
    refused(3, "is not below .", arguments=("verify-build", "out"))
    assert ok("verify-build", "out", "--inputs", ".venv", "--json").json


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


OTHER = 65534  # the uid of nobody
CAPABILITIES = ("inh-caps", "ambient-caps", "bounding-set")

# It may read what root may, as Python is in a home of root's on some machines, and write nothing.
AS_OTHER = (
    *("setpriv", "--reuid", str(OTHER), "--regid", str(OTHER), "--clear-groups"),
    *(f"--{name}=-all,+dac_read_search" for name in CAPABILITIES),
    sys.executable,
)


@pytest.fixture
def elsewhere():
    """A directory of another user's."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root, with setpriv, starts a process as another user")
    folder = Path(tempfile.mkdtemp(prefix="l2mu-other-"))
    os.chown(folder, OTHER, OTHER)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.slow
def test_every_byte_is_the_same_for_another_user(place, elsewhere):
    """Without a home, from files that cannot be written and are of 1975 and 2100."""
    text = (
        '[model.net]\ncheckpoint = "net.pt"\ncalibrate = "windows.npz"\ntest = "windows.npz"\n'
        '[target.watch]\ntarget = "cortex-m4"\nartifacts = ["firmware", "arduino"]\n'
        '[target.here]\nartifacts = ["executable", "java"]\n[pipeline.int8]\nquantize = "int8"\n'
    )
    Path("l2mu.toml").write_text(text)
    ok("build", "--jobs", "1")
    source = elsewhere / "source"
    source.mkdir()
    for name, seconds in (("net.pt", 1.6e8), ("windows.npz", 4.1e9), ("l2mu.toml", 0)):
        (source / name).write_bytes(Path(name).read_bytes())
        os.utime(source / name, (seconds, seconds))
        (source / name).chmod(0o444)
    source.chmod(0o555)
    places = ["--config", "source/l2mu.toml", "--output", "built", "--cache", "cache"]
    environment = {name: value for name, value in os.environ.items() if name != "HOME"}
    done = subprocess.run(
        [*AS_OTHER, "-m", "l2mu_compile.cli", "build", *places],
        cwd=elsewhere,
        env=environment | {"TZ": "Asia/Tokyo", "SOURCE_DATE_EPOCH": "-1", "PYTHONHASHSEED": "3"},
        umask=0o077,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    here, there = contents(Path("build/net")), contents(elsewhere / "built/net")
    assert here.keys() == there.keys()
    assert [name for name in here if here[name] != there[name]] == []
    assert (elsewhere / "built").stat().st_uid == OTHER
