"""Bad input through the command line: the right exit code, one line that says what and where, no
traceback, and nothing left behind."""

from __future__ import annotations

import os
import pickle
import shutil
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import Result, run
from reference_models import CellNet, Options, RawNet, save_state

from l2mu_compile import checkpoint
from l2mu_compile.report import load_report
from l2mu_compile.targets import zig
from l2mu_compile.text import load_network, save_network

CALIBRATE = "windows.npz"


def refused(code: int, *texts: str, arguments: tuple[str | Path, ...]) -> str:
    """Run; it must end with ``code`` and one line that holds all ``texts``."""
    before = sorted(Path.cwd().rglob("*"))
    result = run(*arguments)
    assert result.code == code, result.err
    assert result.err.count("\n") == 1, result.err
    assert result.err.startswith("error: ")
    assert "Traceback" not in result.err
    assert result.out == ""
    for text in texts:
        assert text in result.err
    assert sorted(Path.cwd().rglob("*")) == before, "something was left behind"
    return result.err


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Every test works in its own directory, on a terminal 80 columns wide."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


@pytest.fixture(scope="module")
def compiled(tmp_path_factory) -> Path:
    """A folder with a network, its windows and host code for it."""
    folder = tmp_path_factory.mktemp("compiled")
    save_state(RawNet().state_dict(), folder / "net.pt")
    write_windows(folder / CALIBRATE)
    result = run("compile", folder / "net.pt", "-o", folder / "out")
    assert result.code == 0, result.err
    return folder


def write_windows(path: Path, steps: int = 12, channels: int = 6, **changes) -> None:
    arrays = {"x": np.random.default_rng(0).normal(size=(5, steps, channels)).astype("f4")}
    np.savez(path, **{**arrays, "y": np.arange(5) % 3, **changes})


def state(**options) -> dict:
    return dict(RawNet(Options(**options)).state_dict())


# ---- models ----


def without(key):
    return lambda: {k: v for k, v in state().items() if k != key}


def changed(key, change, **options):
    def make():
        tensors = state(**options)
        tensors[key] = change(tensors[key].clone())
        return tensors

    return make


def filled(value):
    def change(tensor):
        tensor.view(-1)[-1] = value
        return tensor

    return change


BAD_STATES = {
    "missing e_x": (without("e_x"), ["no key 'e_x'", "not an L2MU"]),
    "missing e_h": (without("e_h"), ["missing key 'e_h'"]),
    "missing A": (without("A"), ["missing key 'A'"]),
    "missing W_m": (without("W_m"), ["missing key 'W_m'"]),
    "missing neuron": (without("spk_h.beta"), ["missing key 'spk_h.beta'", "'beta_spk_h'"]),
    "missing output": (
        without("output_transformation.bias"),
        ["missing key 'output_transformation.bias'"],
    ),
    "extra": (lambda: state() | {"e_z": torch.ones(3)}, ["unexpected key 'e_z'"]),
    "outside": (
        lambda: {f"net.{k}": v for k, v in state().items()} | {"loss.weight": torch.ones(3)},
        ["unexpected key 'loss.weight'", "not part of the L2MU at 'net.'"],
    ),
    "two models": (
        lambda: {f"{p}.{k}": v for p in "ab" for k, v in state().items()},
        ["more than one L2MU: a.e_x, b.e_x"],
    ),
    "empty": (dict, ["no key 'e_x'"]),
    "wrong shape": (
        changed("W_h", lambda t: t[:, :-1]),
        ["key 'W_h' has shape [7, 6]; expected [7, 7]"],
    ),
    "flat": (changed("e_x", lambda t: t.flatten()), ["key 'e_x' has shape [30]"]),
    "no rows": (changed("e_x", lambda t: t[:0]), ["key 'e_x' has shape [0, 6]"]),
    "oblong A": (changed("A", lambda t: t[:, :2]), ["expected a square matrix"]),
    "wide beta": (
        changed("spk_u.beta", lambda t: torch.full((4,), 0.5)),
        ["beta_spk_u has shape [4]; expected one number or 5"],
    ),
    "NaN": (changed("W_x", filled(float("nan"))), ["key 'W_x' holds NaN or infinity"]),
    "infinity": (changed("spk_h.threshold", filled(float("inf"))), ["'spk_h.threshold' holds NaN"]),
    "too large for float32": (
        changed("e_h", lambda t: t.double() * 1e300),
        ["key 'e_h' holds NaN or infinity"],
    ),
    "beta above 1": (
        changed("spk_u.beta", filled(1.5)),
        ["spk_u.beta must be between 0 and 1, not 1.5"],
    ),
    "beta below 0": (
        changed("spk_m.beta", filled(-0.5)),
        ["spk_m.beta must be between 0 and 1, not -0.5"],
    ),
    "alpha above 1": (
        changed("spk_m.alpha", filled(2.0), neuron="synaptic"),
        ["spk_m.alpha must be between 0 and 1, not 2"],
    ),
    "threshold 0": (
        changed("spk_output.threshold", filled(0.0)),
        ["spk_output.threshold must be positive, not 0"],
    ),
    "threshold below 0": (
        changed("spk_h.threshold", filled(-1.0)),
        ["spk_h.threshold must be positive, not -1"],
    ),
    "reset": (
        changed("spk_u.reset_mechanism_val", filled(7)),
        ["key 'spk_u.reset_mechanism_val' is 7; expected 0, 1 or 2"],
    ),
    "complex": (
        changed("e_x", lambda t: t.to(torch.complex64)),
        ["key 'e_x' is not a plain tensor"],
    ),
    "sparse": (changed("e_x", lambda t: t.to_sparse()), ["key 'e_x' is not a plain tensor"]),
    "a number": (lambda: state() | {"epoch": 3}, ["key 'epoch' is not a tensor"]),
    "a list": (lambda: [torch.ones(3)], ["holds a list, not a state_dict"]),
    "a tensor": (lambda: torch.ones(3), ["holds a Tensor, not a state_dict"]),
    "escapes": (
        lambda: {"\x1b[2J\nfake": torch.ones(3)},
        ["no key 'e_x'", "fake"],
    ),
    "theta": (
        lambda: state(trainable_theta=True) | {"theta_inv": torch.ones(2)},
        ["key 'theta_inv' has shape [2]; expected []"],
    ),
    "huge by stride": (
        changed("e_x", lambda t: torch.zeros(1, 1).expand(10**6, 10**6)),
        ["key 'e_x' has shape [1000000, 1000000], more than the file holds"],
    ),
    "huge A by stride": (
        changed("A", lambda t: torch.zeros(1, 1).expand(16000, 16000)),
        ["key 'A' has shape [16000, 16000], more than the file holds"],
    ),
    "huge by inference": (
        lambda: state() | {"e_x": torch.zeros(10**6, 1), "e_h": torch.zeros(1, 10**6)},
        ["keys do not fit together: their shapes imply"],
    ),
    "huge encoder": (
        lambda: (
            state(encoder="stacked")
            | {
                "input_encoder.hidden_encoder_list.0.weight": torch.zeros(10**6, 1),
                "input_encoder.encoder.weight": torch.zeros(10**6, 1),
            }
        ),
        ["keys do not fit together: their shapes imply"],
    ),
}


@pytest.mark.parametrize("case", BAD_STATES)
def test_state_dicts(case):
    make, texts = BAD_STATES[case]
    torch.save(make(), "net.pt")
    line = refused(3, "net.pt: ", *texts, arguments=("inspect", "net.pt"))
    assert "\x1b" not in line


@pytest.mark.parametrize("case", ["NaN", "beta above 1", "huge by inference"])
def test_compile_refuses_too_and_writes_nothing(case):
    make, texts = BAD_STATES[case]
    torch.save(make(), "net.pt")
    refused(3, "net.pt: ", *texts, arguments=("compile", "net.pt", "-o", "out"))
    assert not Path("out").exists()


def test_lightning_without_its_neurons():
    content = CellNet().checkpoint()
    del content["state_dict"]["model.l2mu_cell.spk_u.beta"]
    del content["hyper_parameters"]["params"]["beta_spk_u"]
    torch.save(content, "last.ckpt")
    refused(3, "last.ckpt: missing key 'spk_u.beta'", arguments=("inspect", "last.ckpt"))


def truncated(path):
    save_state(state(), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def needs_code(path):
    torch.save(torch.nn.Linear(2, 2), path)


def zip_bomb(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 20))


BAD_FILES = {
    "missing": (lambda path: None, "no such file"),
    "directory": (lambda path: path.mkdir(), "no such file"),
    "empty": (lambda path: path.write_bytes(b""), "not a readable torch checkpoint"),
    "truncated": (truncated, "not a readable torch checkpoint"),
    "text": (
        lambda path: path.write_text("hello\n" * 9),
        "not a readable torch checkpoint: it is no file of tensors",
    ),
    "zip": (
        lambda path: zipfile.ZipFile(path, "w").writestr("a", "b"),
        "not a readable torch checkpoint",
    ),
    "bomb": (zip_bomb, "unpacks to"),
    "pickle": (
        lambda path: path.write_bytes(pickle.dumps(OrderedDict(a=Path("x")), protocol=2)),
        "cannot be loaded without running code",
    ),
    "module": (needs_code, "cannot be loaded without running code: it needs"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_files(case, monkeypatch):
    make, text = BAD_FILES[case]
    make(Path("net.pt"))
    monkeypatch.setattr(checkpoint, "MAX_FILE_BYTES", 1 << 19)
    refused(3, "net.pt: ", text, arguments=("inspect", "net.pt"))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"junk",
        struct.pack("<Q", 1 << 60) + b"{}",
        struct.pack("<Q", 2) + b"{}" + bytes(9),
        struct.pack("<Q", 64)
        + b'{"e_x":{"dtype":"F32","shape":[1000000,1000000],"data_offsets":'
        + b"[0,4]}}",
    ],
)
def test_safetensors_files(content):
    Path("net.safetensors").write_bytes(content)
    refused(3, "net.safetensors: ", arguments=("inspect", "net.safetensors"))


def test_missing_hyper_parameters():
    net = RawNet(Options("single"))
    save_state(net.state_dict(), Path("net.pt"))
    arguments = ("inspect", "net.pt")
    refused(3, "no hyper-parameter 'beta_spk_x_acc' (give it with --params)", arguments=arguments)
    Path("bad.json").write_text("{")
    arguments = ("inspect", "net.pt", "--params", "bad.json")
    refused(3, "bad.json: cannot read hyper-parameters", arguments=arguments)
    arguments = ("inspect", "net.pt", "--params", "none.json")
    refused(3, "none.json: cannot read hyper-parameters", arguments=arguments)


# ---- modules ----

MODULES = """
import sys
import snntorch, torch
from torch import nn


def net(**neuron):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.spk = nn.Linear(3, 4), snntorch.Leaky(beta=0.8, **neuron)

        def forward(self, x):
            mem, out = self.spk.reset_mem(), []
            for sample in x:
                spk, mem = self.spk(self.middle(self.fc(sample)), mem)
                out.append(spk)
            return torch.stack(out)

        def middle(self, x):
            return x

    return Net


class Sine(net()):
    def middle(self, x):
        return torch.sin(x)


class Data(net()):
    def middle(self, x):
        return x if x.sum() > 0 else -x


class Fails(net()):
    def middle(self, x):
        raise OSError("no sensor\\x1b[2J\\nfound")


def raises():
    raise ValueError("two\\nlines")


def quits():
    sys.exit(0)


def text():
    return "a text"


def dense():
    return nn.Linear(3, 4)


Negative = net(threshold=-1.0)
Inhibited = net(inhibition=True)
number = 5
"""

BAD_MODULES = {
    "weights:Sine": (3, ["affine"]),
    "weights:Data": (3, ["Data.forward cannot be traced"]),
    "weights:Fails": (3, ["Fails.forward", "no sensor"]),
    "weights:raises": (3, ["weights:raises: ValueError: two lines"]),
    "weights:quits": (3, ["weights:quits: SystemExit"]),
    "weights:text": (3, ["is a str, not a torch module"]),
    "weights:number": (3, ["weights:number", "not callable"]),
    "weights:dense": (3, ["Linear has no snnTorch neurons"]),
    "weights:Negative": (3, ["spk.threshold must be positive"]),
    "weights:Inhibited": (3, ["spk uses inhibition=True"]),
    "weights:absent": (3, ["AttributeError", "absent"]),
    "nowhere:net": (3, ["ModuleNotFoundError", "nowhere"]),
    "weights": (2, ["write package.module:factory"]),
    ":net": (2, ["write package.module:factory"]),
}


@pytest.fixture
def modules(here, monkeypatch):
    name = f"weights_{abs(hash(str(here)))}"
    (here / f"{name}.py").write_text(MODULES)
    monkeypatch.syspath_prepend(str(here))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield name
    sys.modules.pop(name, None)


@pytest.mark.parametrize("spec", BAD_MODULES)
def test_modules(modules, spec):
    code, texts = BAD_MODULES[spec]
    spec = spec.replace("weights", modules)
    texts = [text.replace("weights", modules) for text in texts]
    refused(code, *texts, arguments=("compile", "--module", spec, "--inputs", 3))


def test_state_dict_that_does_not_fit_the_module(modules):
    torch.save({"fc.weight": torch.zeros(2, 2)}, "net.pt")
    arguments = ("inspect", "net.pt", "--module", f"{modules}:Sine")
    refused(3, "net.pt: does not fit the module", "fc.weight", arguments=arguments)


# ---- windows ----


def raw_npz(header: str, payload: bytes = b"", name: str = "x.npy") -> None:
    """An .npz whose array ``x`` has this .npy header."""
    text = header.encode().ljust(117) + b"\n"
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + payload
    with zipfile.ZipFile(CALIBRATE, "w") as archive:
        archive.writestr(name, data)


def header(shape: str, dtype: str = "'<f4'") -> str:
    return f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}"


BAD_WINDOWS = {
    "missing": (lambda: None, "No such file"),
    "not a zip": (lambda: Path(CALIBRATE).write_text("x"), "not a zip file"),
    "no x": (lambda: np.savez(CALIBRATE, z=np.ones(3)), "no array 'x'"),
    "flat": (lambda: write_windows(CALIBRATE, x=np.ones((5, 6))), "x is float64 [5, 6]; expected"),
    "none": (lambda: write_windows(CALIBRATE, x=np.ones((0, 9, 6))), "expected numbers"),
    "text": (lambda: write_windows(CALIBRATE, x=np.full((5, 9, 6), "a")), "expected numbers"),
    "complex": (lambda: write_windows(CALIBRATE, x=np.ones((5, 9, 6), "c8")), "expected numbers"),
    "objects": (
        lambda: write_windows(CALIBRATE, x=np.full((5, 9, 6), None)),
        "not what it holds",
    ),
    "NaN": (
        lambda: write_windows(CALIBRATE, x=np.full((5, 9, 6), np.nan)),
        "x holds NaN or infinity (window 0)",
    ),
    "infinity": (
        lambda: write_windows(CALIBRATE, x=np.stack([np.ones((9, 6)), np.full((9, 6), 1e300)])),
        "y is",
    ),
    "channels": (lambda: write_windows(CALIBRATE, channels=5), "reads [windows, steps, 6]"),
    "labels of another length": (lambda: write_windows(CALIBRATE, y=np.arange(4)), "expected int"),
    "real labels": (lambda: write_windows(CALIBRATE, y=np.ones(5)), "y is float64 [5]"),
    "labels too high": (lambda: write_windows(CALIBRATE, y=np.full(5, 3)), "between 0 and 2"),
    "labels below 0": (lambda: write_windows(CALIBRATE, y=np.full(5, -1)), "between 0 and 2"),
    "claims much": (lambda: raw_npz(header("(1000000, 1000000, 6)")), "not what it holds"),
    "claims overflow": (lambda: raw_npz(header(f"({2**62}, 4, 6)")), "not what it holds"),
    "claims below 0": (lambda: raw_npz(header("(-1, -1, 6)"), bytes(24)), "cannot read windows"),
    "pickled": (lambda: raw_npz(header("(1, 1, 6)", "'|O'"), bytes(48)), "not what it holds"),
    "deep header": (lambda: raw_npz("(" * 9000), "cannot read windows"),
    "code in header": (
        lambda: raw_npz("__import__('os').mkdir('ran')"),
        "cannot read windows",
    ),
    "no header": (
        lambda: zipfile.ZipFile(CALIBRATE, "w").writestr("x.npy", b"short"),
        "cannot read windows",
    ),
}


@pytest.mark.parametrize("case", BAD_WINDOWS)
def test_windows(compiled, case):
    make, text = BAD_WINDOWS[case]
    make()
    arguments = ("verify", compiled / "out", "--data", CALIBRATE)
    refused(3, text, arguments=arguments)


@pytest.mark.parametrize("case", ["channels", "labels too high", "NaN"])
def test_compile_refuses_windows_too(compiled, case):
    make, text = BAD_WINDOWS[case]
    make()
    arguments = ("compile", compiled / "net.pt", "--calibrate", CALIBRATE, "-o", "out")
    refused(3, text, arguments=arguments)
    assert not Path("out").exists()


def test_encrypted_npz():
    write_windows(CALIBRATE)
    data = bytearray(Path(CALIBRATE).read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = -1
        while (place := data.find(mark, place + 1)) >= 0:
            data[place + offset] |= 1
    Path(CALIBRATE).write_bytes(data)
    torch.save(state(), "net.pt")
    arguments = ("compile", "net.pt", "--calibrate", CALIBRATE)
    refused(3, f"{CALIBRATE}: cannot read windows", arguments=arguments)


# ---- output directories ----


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


def test_internal_errors_are_one_line_too(compiled, monkeypatch):
    def broken(*_):
        raise KeyError("a\nb")

    monkeypatch.setattr("l2mu_compile.compiler.lower", broken)
    arguments = ("compile", compiled / "net.pt", "-o", "out")
    refused(1, "internal error at ", "KeyError", "L2MU_DEBUG=1", arguments=arguments)


def test_interruption(compiled, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("l2mu_compile.compiler.build", interrupted)
    arguments = ("compile", compiled / "net.pt", "-o", "out")
    refused(130, "interrupted", arguments=arguments)


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


# ---- compiled directories ----


@pytest.fixture
def copy(compiled):
    shutil.copytree(compiled / "out", "out")
    return Path("out")


def verify(folder, compiled):
    return ("verify", folder, "--data", compiled / CALIBRATE)


def test_verify_something_else(compiled, here):
    Path("dir").mkdir()
    refused(3, "report.json: cannot read the report", arguments=verify("dir", compiled))
    refused(3, "report.json: cannot read the report", arguments=verify("nowhere", compiled))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "Invalid JSON"),
        ("{}", "Field required"),
        ('{"format_version": "x"}', "format_version: Input should be 1"),
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
        (lambda t: t + t, ["second 'network'"]),
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


# ---- usage ----

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
    "unknown option": (["inspect", "NET", "--frobnicate"], "No such option: --frobnicate"),
    "unknown command": (["comp"], "No such command 'comp'"),
    "unknown numbers": (["compile", "NET", "--quantize", "int4"], "'--quantize'"),
    "no data": (["verify", "NET"], "Missing option '--data'"),
    "no windows": (["verify", "NET", "--data", "x", "--windows", "0"], "'--windows'"),
    "text to a checkpoint": (["opt", "NET", "-p", "remove-dead", "-o", "a.pt"], "ends in .txt"),
    "opt target": (["opt", "NET", "-p", "remove-dead", "--target", "z80"], "unknown target 'z80'"),
}


@pytest.mark.parametrize("case", USAGE)
def test_usage(compiled, case):
    arguments, text = USAGE[case]
    arguments = tuple(compiled / "net.pt" if a == "NET" else a for a in arguments)
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


def test_names_of_classes_beside_windows(compiled):
    compile_ = ("compile", compiled / "net.pt", "--calibrate", CALIBRATE)
    write_windows(CALIBRATE, classes=np.array(["a", "b"]))
    refused(3, f"{CALIBRATE}: network net (traced): readout: 2 labels for 3", arguments=compile_)
    write_windows(CALIBRATE, classes=np.array([1, 2, 3]))
    refused(3, f"{CALIBRATE}: classes is int64 [3]", arguments=compile_)


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


# ---- real processes ----


def spawn(*arguments, **environment):
    command = [sys.executable, "-m", "l2mu_compile.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("inspect", "net.pt"), 3, "error: net.pt: key 'W_x' holds NaN or infinity\n"),
        (("inspect", "net.pt", "--what"), 2, "error: No such option: --what"),
        (("compile", "net.pt", "--target", "none"), 2, "error: unknown target 'none'"),
    ],
)
def test_processes(arguments, code, text):
    torch.save(BAD_STATES["NaN"][0](), "net.pt")
    result = spawn(*arguments)
    assert (result.code, result.out) == (code, "")
    assert result.err.startswith(text)
    assert result.err.count("\n") == 1


def test_traceback_on_request(compiled, monkeypatch):
    monkeypatch.setenv("L2MU_DEBUG", "1")
    monkeypatch.setattr("l2mu_compile.compiler.lower", lambda *_: 1 / 0)
    result = run("compile", compiled / "net.pt", "-o", "out")
    assert result.code == 1
    assert "Traceback" in result.err


def test_good_network_loads_again(compiled):
    """The texts above are refused for what was changed in them, not as they are."""
    assert load_network(compiled / "out/float/network.txt").name == "net"
