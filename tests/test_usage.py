"""Command lines that make no sense."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import run
from refusals import WINDOWS, refused, refused_alone

from l2mu_compile.network_files import load_network, save_network

pytestmark = pytest.mark.usefixtures("workplace")

USAGE = {
    "unknown target": (["compile", "NET", "--target", "cortex-m44"], "did you mean 'cortex-m4'?"),
    "unknown pass": (["compile", "NET", "--passes", "quantise"], "did you mean 'quantize'?"),
    "unknown pass option": (
        ["compile", "NET", "--passes", "quantize{gain=2}"],
        "pass quantize: unexpected 'gain=2'; its options: headroom",
    ),
    "bad pass value": (
        ["compile", "NET", "--passes", "calibrate{windows=many}"],
        "pass calibrate: windows=many",
    ),
    "unreadable pipeline": (["compile", "NET", "--passes", "a b"], "cannot read"),
    "unfinished pipeline": (["compile", "NET", "--passes", "remove-dead"], "end with plan-memory"),
    "print after nothing": (["compile", "NET", "--print-after", "x"], "--print-after x: not among"),
    "scale": (["compile", "NET", "--input-scale", "big"], "--input-scale big: write numbers"),
    "infinite": (["compile", "NET", "--input-offset", "1,inf"], "--input-offset 1,inf: write"),
    "two scales": (["compile", "NET", "--input-scale", "1,2"], "--input-scale: 2 numbers for 6"),
    "no scale": (["compile", "NET", "--input-scale", "0"], "--input-scale: 0 (in float32) would"),
    "hardly a scale": (
        ["compile", "NET", "--input-scale", "1e-50"],
        "--input-scale: 0 (in float32)",
    ),
    "one scale of 0": (["compile", "NET", "--input-scale", "1,1,1,1,1,0"], "--input-scale: 0 (in"),
    "large": (["compile", "NET", "--input-offset", "1e39"], "--input-offset: a number too large"),
    "numbers twice": (
        ["compile", "NET", "--quantize", "int8", "--passes", "plan-memory"],
        "--quantize int8 and --passes: name quantize among the passes instead",
    ),
    "no hop": (
        ["compile", "NET", "--window", "9", "--hop", "0"],
        "--hop 0: from 1 to the window's",
    ),
    "long hop": (
        ["compile", "NET", "--window", "9", "--hop", "10"],
        "--hop 10: from 1 to the window's 9 samples, or there would be samples that no window sees",
    ),
    "hop alone": (["compile", "NET", "--hop", "3"], "--hop 3: how long is a window? Give --window"),
    "no window": (["compile", "NET", "--window", "0"], "--window 0: from 1 to"),
    "long window": (["compile", "NET", "--window", str(2**30)], "--window 1073741824: from 1 to"),
    "many lanes": (
        ["compile", "NET", "--window", str(2**29), "--hop", "1"],
        "--hop 1: windows of 536870912 samples would need 536870912 states of",
    ),
    "no model": (["inspect"], "give a checkpoint"),
    "inputs of a file": (["compile", "NET", "--inputs", "6"], "--inputs belongs to a --module"),
    "parameters of a module": (
        ["compile", "--module", "a:b", "--params", "p.json"],
        "--params belongs to a checkpoint",
    ),
    "unknown option": (["inspect", "NET", "--frobnicate"], "No such option: --frobnicate"),
    "unknown command": (["comp"], "No such command 'comp'"),
    "unknown numbers": (["compile", "NET", "--quantize", "int4"], "'--quantize'"),
    "no data": (["verify", "NET"], "Missing option '--data'"),
    "data and nothing": (
        ["verify", "OUT", "--data", "DATA", "--params", "x"],
        "--params: is about",
    ),
    "readout of nothing": (
        ["verify", "OUT", "--data", "DATA", "--readout", "max_membrane"],
        "--readout: is about a model; give --checkpoint or --module too",
    ),
    "no windows": (["verify", "NET", "--data", "x", "--windows", "0"], "'--windows'"),
    "text to a checkpoint": (["opt", "NET", "-p", "remove-dead", "-o", "a.pt"], "ends in .txt"),
    "opt target": (["opt", "NET", "-p", "remove-dead", "--target", "z80"], "unknown target 'z80'"),
}


@pytest.mark.parametrize("case", USAGE)
def test_usage(compiled, case):
    arguments, text = USAGE[case]
    places = {"NET": compiled / "net.pt", "OUT": compiled / "out", "DATA": compiled / WINDOWS}
    arguments = tuple(places.get(a, a) for a in arguments)
    refused(2, text, arguments=arguments)


def test_a_window_that_the_network_was_not_made_for(compiled):
    network = load_network(compiled / "out/float/network.txt")
    save_network(network.replace(window=12), Path("net.txt"))
    arguments = ("compile", "net.txt", "--window", "13")
    refused(2, "--window 13: network net was made for 12 samples", arguments=arguments)


def test_names_of_classes(compiled):
    compile_ = ("compile", compiled / "net.pt", "--classes")
    text = "--classes: network net (traced): readout: "
    refused(3, text + "2 labels for 3 classes", arguments=(*compile_, "a,b"))
    refused(3, text + "label '' is not 1 to 63", arguments=(*compile_, "a,,b"))
    refused(3, text + "label 'a' names two classes", arguments=(*compile_, "a,b,a"))
    refused(3, text + r"label 'b\x1b[0m' is not 1", arguments=(*compile_, "a,b\x1b[0m,c"))
    Path("bytes").write_bytes(b"\xff")
    refused(2, "--classes bytes: 'utf-8' codec can't decode", arguments=(*compile_, "bytes"))
    with Path("huge").open("wb") as file:
        file.truncate((1 << 20) + 1)
    refused(2, "--classes huge: larger than 1048576 bytes", arguments=(*compile_, "huge"))
    refused(3, "labels for 3 classes", arguments=(*compile_, "x" * 5000))


def test_usage_errors_name_the_help():
    refused(2, "(see l2mu-compile verify --help)", arguments=("verify",))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("inspect", "none.pt"), 3),
        (("compile", "none.pt", "--target", "none"), 2),
        (("compile", "none.pt", "--bogus"), 2),
        (("verify", "none", "--data", "none.npz"), 3),
        (("opt", "none.txt", "-p", "none"), 2),
    ],
)
def test_errors_as_json(arguments, code):
    result = run(*arguments, "--json")
    assert result.code == code
    assert result.err == ""
    error = result.json["error"]
    assert error["exit_code"] == code
    assert error["message"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("inspect", "net.pt", "--what"), "No such option: --what"),
        (("compile", "net.pt", "--target", "none"), "unknown target 'none'"),
    ],
)
def test_in_a_process_of_its_own(arguments, text):
    refused_alone(2, text, arguments=arguments)
