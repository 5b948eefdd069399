"""NIR graphs on the command line: in by every command that takes a model, out by ``export``."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from command_line import ok
from networks import feed_forward, recurrent
from nir_graphs import FLAT, braille, events, written
from refusals import refused

from l2mu_compile.compiled import load_host_model
from l2mu_compile.interpreter import run
from l2mu_compile.network import Readout
from l2mu_compile.network_files import load_network, save_network
from l2mu_compile.nir_import import import_nir
from l2mu_compile.nir_reading import PRODUCERS, parse_options
from l2mu_compile.report import load_report

DOCS = Path(__file__).parent.parent / "docs"
SAID = "producer=snntorch,dt=1e-4,reset=subtract_first"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    written(tmp_path / "braille.nir", braille(), FLAT)
    save_network(recurrent(), tmp_path / "n.txt")


def windows(path: str = "windows.npz") -> np.ndarray:
    x = np.stack([events(40, 6, seed) for seed in range(8)])
    np.savez(path, x=x, y=np.arange(8) % 4)
    return x


def test_inspect_says_what_was_assumed() -> None:
    text = " ".join(ok("inspect", "braille.nir").err.split())
    assert "read as nir means it, dt=0.0001, reset=zero; the file does not say" in text
    assert "a step late, to close cycles: lif1.lif -> lif1.lif" in text
    found = ok("inspect", "braille.nir", "--nir", SAID, "--json").json
    assert found["notes"] == ["a step late, to close cycles: lif1.lif -> lif1.lif"]


@pytest.mark.parametrize("numbers", ["none", "int8"])
def test_compiled_graphs_decide_as_the_network_does(numbers: str) -> None:
    x = windows()
    arguments = ("braille.nir", "--nir", SAID, "--target", "host", "--quantize", numbers)
    ok("compile", *arguments, "--calibrate", "windows.npz", "-o", "out")
    report = load_report(Path("out/report.json"))
    assert (report.source.kind, report.source.name) == ("nir", "braille.nir")
    network = load_network(Path("out/network.txt"))
    assert (load_host_model(Path("out")).run(x) == run(network, x).decisions).all()
    if numbers == "none":
        read = import_nir(Path("braille.nir"), parse_options(SAID)).network
        assert (run(read, x).decisions == run(network, x).decisions).all()
    ok("verify", "out", "--data", "windows.npz")


def test_a_graph_is_tuned(tmp_path: Path) -> None:
    windows()
    passes = "fine-tune{epochs=1}, quantize, fine-tune{epochs=1}"
    ok("tune", "braille.nir", "--nir", SAID, "--data", "windows.npz", "--passes", passes, "-o", "t")
    neurons = {p.neuron.reset for p in load_network(Path("t/network.txt")).populations}
    assert neurons == {"subtract_first"}


def test_export_and_back() -> None:
    ok("export", "n.txt", "-o", "n.nir")
    assert import_nir(Path("n.nir")).network == recurrent()
    told = ok("export", "braille.nir", "-o", "b.nir", "--json").json
    assert (told["file"], len(told["notes"])) == ("b.nir", 2)
    ok("export", "n.txt", "--format", "nir", "--dt", "0.001", "-o", "n.graph")
    Path("n.graph").rename("again.nir")
    assert import_nir(Path("again.nir")).network == recurrent()


def test_export_keeps_what_is_there_where_it_fails() -> None:
    Path("n.nir").write_text("kept")
    save_network(feed_forward().replace(readout=Readout("h")), Path("b.txt"))
    refused(3, "out: leads nowhere", arguments=("export", "b.txt", "-o", "n.nir"))
    assert Path("n.nir").read_text() == "kept"


REFUSED = {
    "no place": (2, ("export", "n.txt"), "say where to: --output FILE"),
    "another suffix": (
        2,
        ("export", "n.txt", "-o", "n.pt"),
        "n.pt: ends in .nir or .onnx",
    ),
    "no graph": (2, ("export", "n.txt", "-o", "n.nir", "--graph", "step"), "--graph is for ONNX"),
    "no time in ONNX": (2, ("export", "n.txt", "-o", "n.onnx", "--dt", "1"), "--dt is for NIR"),
    "no time": (2, ("export", "n.txt", "-o", "n.nir", "--dt", "0"), "--dt 0: a time above 0"),
    "no directory": (2, ("export", "n.txt", "-o", "no/n.nir"), "no/n.nir: cannot be written"),
    "nir of a text": (2, ("inspect", "n.txt", "--nir", SAID), "--nir belongs to a NIR graph"),
    "parameters": (2, ("inspect", "braille.nir", "--params", "p"), "--params belongs to a checkpo"),
    "inputs": (2, ("inspect", "braille.nir", "--inputs", "6"), "--inputs belongs to a --module"),
    "no such rule": (2, ("inspect", "braille.nir", "--readout", "most"), "--readout most: one of"),
    "membranes": (2, ("inspect", "braille.nir", "--nir", "dt=x"), "--nir dt=x: a time above 0"),
    "no file": (3, ("inspect", "gone.nir"), "gone.nir: no such file"),
    "a text": (3, ("inspect", "text.nir"), "text.nir: not a readable NIR file"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name: str) -> None:
    Path("text.nir").write_text("no graph")
    code, arguments, message = REFUSED[name]
    refused(code, message, arguments=arguments)


def test_the_page_is_right() -> None:
    """Its commands run, and its table has every producer's defaults."""
    page = (DOCS / "nir.md").read_text(encoding="utf-8")
    ok("export", "n.txt", "-o", "har.nir")
    commands = re.findall(r"^\$ (l2mu-compile .*)$", page, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        ok(*shlex.split(command.replace("har.ckpt", "n.txt"))[1:])
    rows = re.findall(r"^\| `(\w+)`.*?\| (\S+) \|.*`(\w+)` \| `(\w+)` \|$", page, re.MULTILINE)
    defaults = {name: (float(dt), reset, start) for name, dt, reset, start in rows}
    known = {n: (p.dt, p.reset, p.start) for n, p in PRODUCERS.items() if n != "l2mu-compile"}
    assert defaults == known
