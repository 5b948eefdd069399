"""Bad models through the command line."""

from __future__ import annotations

import pickle
import struct
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from reference_models import CellNet, Options, RawNet, save_state
from refusals import refused, refused_alone, state


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Every test works in its own directory, on a terminal 80 columns wide."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


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
        ["spk_u.beta must be between 0 and 1, not 1.5", "spk_u.beta.data.clamp_(0, 1)"],
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
def test_files(case):
    make, text = BAD_FILES[case]
    make(Path("net.pt"))
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


class Leaves(net()):
    def middle(self, x):
        sys.exit(0)


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


def test_in_a_process_of_its_own():
    torch.save(BAD_STATES["NaN"][0](), "net.pt")
    text = "error: net.pt: key 'W_x' holds NaN or infinity\n"
    assert refused_alone(3, arguments=("inspect", "net.pt")) == text


def test_module_that_ends_the_process(modules):
    arguments = ("inspect", "--module", f"{modules}:Leaves", "--inputs", 3)
    refused(3, "code of the module called sys.exit(0)", arguments=arguments)
