"""Compiled directories and network texts that are not as they were, through the command line."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
from command_line import run
from reference_models import Options, RawNet, save_state
from refusals import WINDOWS, refused

from l2mu_compile.network_files import load_network
from l2mu_compile.output import files_below
from l2mu_compile.report import Artifact, load_report
from l2mu_compile.targets.elf import segments, symbols

pytestmark = pytest.mark.usefixtures("workplace")


@pytest.fixture
def copy(compiled):
    shutil.copytree(compiled / "out", "out")
    return Path("out")


def verify(folder, compiled):
    return ("verify", folder, "--data", compiled / WINDOWS)


def test_verify_something_else(compiled):
    Path("dir").mkdir()
    refused(3, "report.json: cannot read the report", arguments=verify("dir", compiled))
    refused(3, "report.json: cannot read the report", arguments=verify("nowhere", compiled))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "Invalid JSON"),
        ("[]", "Input should be an object"),
        ("{}", "no format_version"),
        ('{"format_version": 1}', "Field required"),
    ],
)
def test_bad_report(compiled, copy, text, reason):
    (copy / "report.json").write_text(text)
    refused(3, "report.json: ", reason, arguments=verify(copy, compiled))


def test_report_of_an_unknown_target(compiled, copy):
    report = load_report(copy / "report.json").model_copy(update={"target": "cortex-m99"})
    (copy / "report.json").write_text(report.to_json())
    refused(2, "unknown target 'cortex-m99'", arguments=verify(copy, compiled))


def test_changed_files(compiled, copy):
    source = next(copy.glob("src/*.c"))
    source.write_text(source.read_text() + " ")
    refused(3, f"{source}: has changed since", arguments=verify(copy, compiled))
    source.unlink()
    refused(3, f"{source}: is missing since", arguments=verify(copy, compiled))


@pytest.mark.parametrize(
    ("change", "texts"),
    [
        (lambda t: t.replace("network net", "network 1net"), ["'1net'", "identifier"]),
        (lambda t: t.replace("lif[5]", "lif[6]"), ["u.x: weights map 6 to 5 neurons"]),
        (lambda t: t.replace("lif[5]", "owl[5]"), ["unknown neuron 'owl'; known:"]),
        (lambda t: t + "  planet earth\n", ["unknown line kind 'planet'"]),
        (lambda t: t.replace("dense[7,7] @h.h.last#", "dense[7,7] @h.h.last#f"), ["digest"]),
        (lambda t: t.replace("@h.h.last", "@nothing"), ["'nothing'", "not in"]),
        (lambda t: t.replace("spike_count", "vote"), ["vote"]),
        (lambda t: t.replace("delay=1", "delay=7"), ["delay"]),
        (lambda t: t.replace("delay=1", "dalay=1"), ["unexpected 'dalay=1'"]),
        (lambda t: "", ["no 'network' line"]),
        (lambda t: t + t, ["'format' belongs before everything else"]),
        (lambda t: "\n".join(t.splitlines()[:-1]), ["expected one 'readout' line, found 0"]),
    ],
)
def test_network_texts(compiled, change, texts):
    shutil.copy(compiled / "out/float/network.safetensors", "net.safetensors")
    text = (compiled / "out/float/network.txt").read_text()
    assert change(text) != text
    Path("net.txt").write_text(change(text))
    for arguments in (("inspect", "net.txt"), ("opt", "net.txt", "-p", "remove-dead")):
        refused(3, "net.txt: ", arguments=arguments)
    line = refused(3, "net.txt: ", arguments=("inspect", "net.txt"))
    assert any(text in line for text in texts), line


def test_options_that_a_network_text_has_no_use_for(compiled):
    text = compiled / "out/float/network.txt"
    for option, value in (("--readout", "max_membrane"), ("--params", "p.json"), ("--inputs", "6")):
        refused(2, f"{option} belongs to", arguments=("inspect", text, option, value))


def test_network_files(compiled):
    refused(3, "none.txt: cannot read", arguments=("inspect", "none.txt"))
    Path("bytes.txt").write_bytes(b"\xff\xfe\x00")
    refused(3, "bytes.txt: cannot read", arguments=("inspect", "bytes.txt"))
    shutil.copy(compiled / "out/float/network.txt", "net.txt")
    refused(3, "net.txt: ", "not in the .safetensors sidecar", arguments=("inspect", "net.txt"))
    Path("net.safetensors").write_bytes(b"junk")
    refused(3, "net.safetensors: cannot read weights", arguments=("inspect", "net.txt"))


def tamper(copy, source):
    """Put another model's library in the directory, with a report that says it belongs there."""
    library = next((copy / "lib").glob("libnet.so"))
    fresh = library.with_suffix(".new")
    shutil.copy(next((source / "lib").glob("libnet.so")), fresh)
    fresh.replace(library)
    own, other = (load_report(folder / "report.json") for folder in (copy, source))
    digests = {a.path: a for a in other.artifacts}
    name = library.relative_to(copy).as_posix()
    artifacts = [digests[name] if a.path == name else a for a in own.artifacts]
    report = own.model_copy(update={"artifacts": artifacts})
    (copy / "report.json").write_text(report.to_json())


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> Path:
    """Host code of a network of the same shape with other weights."""
    folder = tmp_path_factory.mktemp("other")
    save_state(RawNet(Options(seed=8)).state_dict(), folder / "net.pt")
    assert run("compile", folder / "net.pt", "-o", folder / "out").code == 0
    return folder / "out"


def test_wrong_code_is_a_mismatch(compiled, copy, other):
    tamper(copy, other)
    result = run(*verify(copy, compiled))
    assert result.code == 4
    assert result.err.count("\n") == 1
    assert result.err.startswith("error: not bit-exact on host: window 0, step 0, ")
    check = load_report(copy / "report.json").verify
    assert check is not None
    assert not check.bit_exact
    assert check.first_difference is not None
    assert check.first_difference.expected != check.first_difference.actual


def test_mismatch_as_json(compiled, copy, other):
    tamper(copy, other)
    result = run(*verify(copy, compiled), "--json")
    assert result.code == 4
    assert result.json["error"]["exit_code"] == 4


def test_good_network_loads_again(compiled):
    """The texts above are refused for what was changed in them, not as they are."""
    assert load_network(compiled / "out/float/network.txt").name == "net"


# ---- files that are not what the report says ----


def sign(folder: Path) -> None:
    """Have the report say that everything in ``folder`` belongs there as it is."""
    report = load_report(folder / "report.json")
    found = {name: Artifact(path=name, bytes=b, sha256=d) for name, b, d in files_below(folder)}
    artifacts = [found.get(a.path, a) for a in report.artifacts]
    write_report(folder, artifacts=artifacts)


def write_report(folder: Path, **changes) -> None:
    report = load_report(folder / "report.json").model_copy(update=changes)
    (folder / "report.json").write_text(report.to_json())


def rewrite(name, old, new):
    def change(folder):
        text = (folder / name).read_text()
        assert re.search(old, text), text
        (folder / name).write_text(re.sub(old, new, text, count=1))

    return change


def replace_bytes(name, data):
    return lambda folder: (folder / name).write_bytes(data)


def cut(name, size):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:size])


SIGNED = {
    "another name": (rewrite("network.txt", "network net", "network other"), 6, "cannot load out/"),
    "another readout": (rewrite("network.txt", "readout    output", "readout u"), 3, "was planned"),
    "not planned": (rewrite("network.txt", "stage=planned", "stage=folded"), 3, "network.txt"),
    "no buffers": (rewrite("network.txt", "buffer .*", ""), 3, "no buffer float"),
    "buffer below 0": (rewrite("network.txt", "@0 state", "@-8 state"), 3, "offset -8 is negative"),
    "threshold": (rewrite("network.txt", "threshold=[0-9.]+", "threshold=9.0"), 4, "not bit-exact"),
    "window": (rewrite("network.txt", "window=none", "window=7"), 3, "made for 7"),
    "float channels": (rewrite("float/network.txt", "f32.6.", "f32[5]"), 3, "float/network.txt: "),
    "weights": (cut("network.safetensors", 100), 3, "network.safetensors: cannot read weights"),
    "library": (replace_bytes("lib/libnet.so", b"junk"), 6, "cannot load out/lib/libnet.so"),
}


@pytest.mark.parametrize("case", SIGNED)
def test_changes_that_the_report_covers(compiled, copy, case):
    change, code, text = SIGNED[case]
    change(copy)
    sign(copy)
    refused(code, text, arguments=verify(copy, compiled))


@pytest.fixture(scope="module")
def firmware(tmp_path_factory, compiled) -> Path:
    """Firmware of the network."""
    folder = tmp_path_factory.mktemp("firmware") / "out"
    assert run("compile", compiled / "net.pt", "--target", "cortex-m4", "-o", folder).code == 0
    return folder


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        (replace_bytes("firmware/net.elf", b"junk"), 6, "net.elf is not an ELF file"),
        (cut("firmware/net.elf", 3000), 6, "net.elf is not an ELF file that can be read"),
        (lambda out: write_report(out, firmware_decision=77), 4, "the interpreter says 77"),
    ],
)
def test_damaged_firmware(compiled, firmware, change, code, text):
    shutil.copytree(firmware, "out")
    change(Path("out"))
    sign(Path("out"))
    refused(code, text, arguments=verify("out", compiled))


def test_code_that_faults_is_a_mismatch(compiled, firmware):
    """Every instruction of the first kernel is one that does not exist."""
    shutil.copytree(firmware, "out")
    image = Path("out/firmware/net.elf")
    kernel = symbols(image)["net_step"]
    stored = next(data for _, at, data in segments(image) if at <= kernel.address < at + len(data))
    code = stored[kernel.address : kernel.address + kernel.size]
    whole = image.read_bytes()
    assert whole.count(code) == 1
    image.write_bytes(whole.replace(code, b"\x00\xde" * (len(code) // 2)))
    sign(Path("out"))
    refused(4, "net_step", arguments=verify("out", compiled))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("../net.pt", "lies outside of out"),
        ("/etc/passwd", "lies outside of out"),
        ("a\0b", "cannot be read"),
        ("a" * 999, "cannot be read"),
        ("", "is missing"),
        ("lib", "is missing"),
        ("src/none.c", "is missing"),
    ],
)
def test_artifacts_that_are_none(compiled, copy, path, text):
    artifacts = load_report(copy / "report.json").artifacts
    write_report(copy, artifacts=[*artifacts, Artifact(path=path, bytes=1, sha256="00")])
    refused(3, text, arguments=verify(copy, compiled))


def test_report_that_lists_nothing(compiled, copy):
    write_report(copy, artifacts=[])
    refused(3, "report.json: artifacts: does not list", arguments=verify(copy, compiled))


@pytest.mark.parametrize("name", ["report.json", "network.txt", "float/network.safetensors"])
def test_pipes_instead_of_files(compiled, copy, name):
    (copy / name).unlink()
    os.mkfifo(copy / name)
    refused(3, f"{name}: ", arguments=verify(copy, compiled))


# ---- hostile network texts ----

NEURONS = """network n stage=traced window=none
  input      x : f32[1]
  population a : lif[COUNT] beta=0.5 threshold=1.0 reset=subtract
  readout    a : spike_count
"""


@pytest.mark.parametrize(
    ("old", "new", "code", "text"),
    [
        ("COUNT", "65536", 3, "n.txt: network n (traced): a: has 65536 neurons; at most 65535"),
        (
            "COUNT",
            "65535",
            5,
            "state alone takes 655352 bytes, 643064 more than",
        ),
        (
            "window=none",
            "window=999999999",
            3,
            "its window of 999999999 steps is too long",
        ),
        ("window=none", "window=0", 3, "n.txt: network n (traced): window: 0 steps"),
        ("f32[1]", "f32[1] scale=0.0", 3, "n.txt: network n (traced): x: scale is 0"),
        (
            "f32[1]",
            "f32[1] unit=inf",
            3,
            "n.txt: network n (traced): x.unit: holds NaN",
        ),
        ("beta=0.5", "beta=nan", 3, "n.txt: network n (traced): a: beta nan"),
        ("threshold=1.0", f"threshold={10**30}", 3, "n.txt: line 3: "),
    ],
)
def test_networks_that_take_too_much(old, new, code, text):
    Path("n.txt").write_text(NEURONS.replace(old, new).replace("COUNT", "2"))
    refused(code, text, arguments=("compile", "n.txt", "--board", "microbit", "-o", "out"))
