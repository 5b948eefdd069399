"""Models from checkpoints, network texts and modules become a network and its decisions."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import snntorch
import torch
from reference_models import CellNet, Options, RawNet, samples, save_state

from l2mu_compile.errors import ModelError, UsageError
from l2mu_compile.frontend import from_module, load_model, read_network
from l2mu_compile.interpreter import run
from l2mu_compile.network_files import save_network
from l2mu_compile.original import BATCH

MODULE = '''
import torch, snntorch
from torch import nn


class Net(nn.Module):
    """Batch first; returns spikes, or membranes."""

    def __init__(self, membranes=False):
        super().__init__()
        torch.manual_seed(0)
        self.fc, self.spk = nn.Linear(3, 4), snntorch.Leaky(beta=0.8, threshold=0.4)
        self.membranes = membranes

    def forward(self, x):
        mem, found = self.spk.reset_mem(), []
        for t in range(x.shape[1]):
            spk, mem = self.spk(self.fc(x[:, t]), mem)
            found.append(mem if self.membranes else spk)
        return torch.stack(found, 1)


def membranes():
    return Net(membranes=True)


def chatty():
    print("made on import")
    return Net()


ready = Net()
'''


def windows(count=8, seed=1) -> np.ndarray:
    """Float32 ``[N, T, 6]``."""
    x = samples(steps=20, batch=count, seed=seed).transpose(0, 1)
    return np.ascontiguousarray(x.numpy())


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    path = tmp_path / "my net-1.pt"
    save_state(RawNet(Options(seed=4)).state_dict(), path)
    return path


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "some_module.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield "some_module"
    sys.modules.pop("some_module", None)


def agreement(model, x: np.ndarray) -> float:
    assert model.decide is not None
    decisions = run(model.network, x).decisions
    assert len(set(decisions.tolist())) > 1, "a dull test model: one decision for all"
    return float((model.decide(x) == decisions).mean())


def test_checkpoint(checkpoint):
    model = load_model(checkpoint)
    assert model.network.name == "my_net_1"
    assert model.network.stage == "traced"
    assert (model.source.kind, model.source.name) == ("raw", "my net-1.pt")
    assert model.source.sha256 == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert agreement(model, windows(40)) >= 0.95
    assert load_model(checkpoint, name="braille").network.name == "braille"


def test_decisions_are_the_modules_own(checkpoint):
    """Most spikes over the window, the lowest index among equals; also over several batches."""
    net = RawNet(Options(seed=4))
    x = windows(BATCH + 9)
    with torch.no_grad():
        counts = net(torch.from_numpy(x).transpose(0, 1)).sum(0).numpy()
    best = [int(np.flatnonzero(row == row.max())[0]) for row in counts]
    model = load_model(checkpoint)
    assert model.decide is not None
    np.testing.assert_array_equal(model.decide(x), best)


def test_lightning_checkpoint(tmp_path):
    torch.save(CellNet(seed=2).checkpoint(), tmp_path / "last.ckpt")
    model = load_model(tmp_path / "last.ckpt")
    assert model.source.kind == "lightning"
    assert model.notes == ()
    assert agreement(model, windows(40)) >= 0.95


def test_notes_of_a_checkpoint(tmp_path):
    content = CellNet(seed=2).checkpoint()
    content["state_dict"]["loss_fn.weight"] = torch.ones(3)
    torch.save(content, tmp_path / "last.ckpt")
    model = load_model(tmp_path / "last.ckpt")
    assert model.notes == ("ignored beside the model: 'loss_fn.weight'",)


def test_network_text(checkpoint, tmp_path):
    network = load_model(checkpoint).network
    save_network(network, tmp_path / "net.txt")
    model = load_model(tmp_path / "net.txt")
    assert model.network == network
    assert model.decide is None
    assert model.source.kind == "network"
    assert read_network(tmp_path / "net.txt") == network


def test_module(module):
    model = load_model(None, module=f"{module}:Net")
    assert (model.network.input.size, model.network.classes) == (3, 4)
    assert (model.network.name, model.source.name) == ("Net", f"{module}:Net")
    assert model.source.sha256 is None
    assert agreement(model, windows(60)[:, :, :3].copy()) == 1.0
    assert load_model(None, module=f"{module}:ready").network.name == "ready"


def test_module_with_a_state_dict(module, tmp_path):
    plain = load_model(None, module=f"{module}:Net").network
    torch.save(
        {"fc.weight": torch.full((4, 3), 0.25), "fc.bias": torch.zeros(4)}, tmp_path / "a.pt"
    )
    with pytest.raises(ModelError, match=r"a.pt: does not fit the module: .*spk"):
        load_model(tmp_path / "a.pt", module=f"{module}:Net")
    state = sys.modules[module].Net().state_dict() | {"fc.weight": torch.full((4, 3), 0.25)}
    torch.save({"state_dict": state}, tmp_path / "b.pt")
    model = load_model(tmp_path / "b.pt", module=f"{module}:Net", name="net")
    assert (model.network.projections[0].weight == 0.25).all()
    assert not (plain.projections[0].weight == 0.25).any()
    assert model.source.sha256 == hashlib.sha256((tmp_path / "b.pt").read_bytes()).hexdigest()


def test_readouts_of_modules_that_return_membranes(module):
    spec = f"{module}:membranes"
    for rule in ("last_membrane", "max_membrane", "mean_membrane"):
        model = load_model(None, module=spec, readout=rule)
        assert model.network.readout.rule == rule
        assert agreement(model, windows(60)[:, :, :3].copy()) >= 0.95


def test_what_modules_print_is_not_shown_when_traced(capsys):
    class Loud(RawNet):
        def forward(self, x):
            print("step")
            return super().forward(x)

    assert from_module(Loud(), inputs=6).network.input.size == 6
    assert capsys.readouterr() == ("", "")


def test_a_module_object():
    model = from_module(RawNet(Options(seed=4)), inputs=6, name="net")
    assert (model.network.name, model.source.kind, model.source.name) == ("net", "module", "RawNet")


def test_nothing_to_load():
    with pytest.raises(UsageError, match="give a checkpoint"):
        load_model(None)


def test_paths_may_be_text(checkpoint, tmp_path):
    model = load_model(str(checkpoint))
    assert model.network == load_model(checkpoint).network
    save_network(model.network, tmp_path / "net.txt")
    assert load_model(str(tmp_path / "net.txt")).network == model.network
    single = RawNet(Options("single"))
    save_state(single.state_dict(), tmp_path / "single.pt")
    (tmp_path / "other.json").write_text(json.dumps(single.hyper_parameters()))
    model = load_model(str(tmp_path / "single.pt"), str(tmp_path / "other.json"))
    assert model.network.input.size == 6


def test_a_network_text_may_be_renamed(checkpoint, tmp_path):
    save_network(load_model(checkpoint).network, tmp_path / "net.txt")
    assert load_model(tmp_path / "net.txt", name="an other").network.name == "an_other"
    assert load_model(tmp_path / "net.txt").network.name == "my_net_1"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": "net.pt", "inputs": 6}, "--inputs belongs to a --module"),
        ({"path": "net.txt", "inputs": 6}, "--inputs belongs to a --module"),
        ({"path": "net.txt", "readout": "max_membrane"}, "--readout belongs to a checkpoint or"),
        ({"path": "net.txt", "params": "p.json"}, "--params belongs to a checkpoint"),
        ({"path": None, "module": "a:b", "params": "p.json"}, "--params belongs to a checkpoint"),
        ({"path": None, "module": "a", "inputs": 6}, "write package.module:factory"),
    ],
)
def test_arguments_that_do_not_go_together(arguments, message):
    with pytest.raises(UsageError, match=message):
        load_model(**arguments)


@pytest.mark.parametrize("kind", ["double", "half", "bfloat16"])
def test_modules_of_other_precision_are_refused_by_neuron(kind):
    message = r"lif1 of _Plain computes in b?float(16|64), .* convert it with module.float\(\)"
    with pytest.raises(ModelError, match=message):
        from_module(getattr(_Plain(), kind)(), inputs=4)
    assert from_module(getattr(_Plain(), kind)().float(), inputs=4).network.input.size == 4


@pytest.mark.parametrize(
    ("scale", "offset"),
    [([0.01], None), (None, [-2.0]), ([0.01], [0.5]), ([0.01, 0.02, 0.01, 1.0, 2.0, 0.5], [0.1])],
)
def test_raw_counts(checkpoint, scale, offset):
    """The network and the decisions see ``scale · count + offset``."""
    model = load_model(checkpoint)
    x = windows(30)
    factor, shift = np.float32(scale or 1.0), np.float32(offset or 0.0)
    counts = np.round((x - shift) / factor).astype(np.float32)
    seen = (counts * factor + shift).astype(np.float32)
    raw = model.with_input(scale, offset)
    assert raw.decide is not None
    assert model.decide is not None
    np.testing.assert_array_equal(raw.decide(counts), model.decide(seen))
    found, expected = run(raw.network, counts), run(model.network, seen)
    np.testing.assert_array_equal(found.decisions, expected.decisions)
    assert len(set(expected.decisions.tolist())) > 1


def test_raw_counts_need_one_number_or_one_per_channel(checkpoint):
    model = load_model(checkpoint)
    assert model.with_input(None, None) is model
    with pytest.raises(UsageError, match="--input-offset: 5 numbers for 6 channels"):
        model.with_input(None, [1.0] * 5)


def test_names_of_classes(checkpoint):
    model = load_model(checkpoint)
    names = tuple(f"class {i}" for i in range(model.network.classes))
    named = model.with_labels(names, "--classes")
    assert named.network.class_names == names
    assert model.network.class_names == tuple(map(str, range(model.network.classes)))
    with pytest.raises(ModelError, match=r"^--classes: .*readout: 1 labels for"):
        model.with_labels(names[:1], "--classes")


def test_a_checkpoint_may_name_its_classes(tmp_path):
    net = RawNet(Options())
    save_state(net.state_dict(), tmp_path / "net.pt")
    (tmp_path / "net.json").write_text(json.dumps({"class_names": ["a", "b", "c"]}))
    assert load_model(tmp_path / "net.pt").network.readout.labels == ("a", "b", "c")
    (tmp_path / "net.json").write_text(json.dumps({"class_names": ["a", "b"]}))
    with pytest.raises(ModelError, match=r"net\.pt: .*readout: 2 labels for 3 classes"):
        load_model(tmp_path / "net.pt")


def test_network_errors_name_the_file(checkpoint, tmp_path):
    path = tmp_path / "net.txt"
    save_network(load_model(checkpoint).network, path)
    path.write_text(path.read_text().replace("delay=1", "delay=2"))
    with pytest.raises(ModelError) as caught:
        load_model(path)
    assert str(caught.value).startswith(f"{path}: ")
    path.with_suffix(".safetensors").write_bytes(b"")
    with pytest.raises(ModelError) as caught:
        load_model(path)
    assert str(caught.value).count(str(tmp_path)) == 1


class _Forgetful(torch.nn.Module):
    """Hidden states that no window resets, and membranes returned before the spikes."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.fc = torch.nn.Linear(3, 4)
        self.lif = snntorch.Leaky(beta=0.9, threshold=0.3, init_hidden=True, output=True)

    def forward(self, x):
        spikes, membranes = [], []
        for sample in x:
            spike, membrane = self.lif(self.fc(sample))
            spikes.append(spike)
            membranes.append(membrane)
        return torch.stack(membranes), torch.stack(spikes)


def test_decisions_do_not_depend_on_what_ran_before():
    x = np.random.default_rng(0).normal(size=(8, 20, 3)).astype(np.float32)
    model = from_module(_Forgetful(), inputs=3)
    assert model.notes[0].startswith("forward carries state from window to window (seen at lif)")
    first = model.decide(x)
    np.testing.assert_array_equal(first, model.decide(x))
    np.testing.assert_array_equal(first, run(model.network, x).decisions)


class _Plain(torch.nn.Module):
    """Two layers in a plain loop; subclasses change one thing."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.fc1, self.fc2 = torch.nn.Linear(4, 8), torch.nn.Linear(8, 3)
        self.lif1 = snntorch.Leaky(beta=0.8, threshold=0.5)
        self.lif2 = snntorch.Leaky(beta=0.8, threshold=0.5)

    def forward(self, x):
        membrane1, membrane2 = self.lif1.reset_mem(), self.lif2.reset_mem()
        hidden, outputs = [], []
        for step in range(x.shape[0]):
            spikes, membrane1 = self.lif1(self.current(x, step), membrane1)
            hidden.append(spikes)
            spikes, membrane2 = self.lif2(self.fc2(self.relayed(hidden, step)), membrane2)
            outputs.append(spikes)
        return torch.stack(outputs)

    def current(self, x, step):
        return self.fc1(x[step])

    def relayed(self, hidden, step):
        return hidden[step]


class _LongDelay(_Plain):
    def relayed(self, hidden, step):
        return hidden[step] + (hidden[step - 3] if step >= 3 else 0)


class _Filter(_Plain):
    def current(self, x, step):
        return self.fc1(x[step] + (x[step - 5] if step >= 5 else 0))


class _Stops(_Plain):
    def current(self, x, step):
        return self.fc1(x[step]) if step < 10 else self.fc1(x[step] * 0)


class _ScaledByLength(_Plain):
    def current(self, x, step):
        return self.fc1(x[step]) / x.shape[0]


class _ScaledByBatch(_Plain):
    def current(self, x, step):
        return self.fc1(x[step]) / x.shape[1]


class _SetsBeta(_Plain):
    def forward(self, x):
        self.lif1.beta = torch.sigmoid(self.fc1.bias)
        return super().forward(x)


class _SetsFactor(_Plain):
    def forward(self, x):
        self.lif1.graded_spikes_factor = torch.tensor(0.3)
        return super().forward(x)


class _OwnFire(_Plain):
    def __init__(self):
        super().__init__()
        self.lif1.fire = lambda membrane: (membrane > 2).float()


def test_a_plain_loop_is_accepted():
    assert from_module(_Plain(), inputs=4).network.input.size == 4


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (_LongDelay, "the current of lif2 at step 3 reads the spikes of lif1 at step 0"),
        (_Filter, "the current of lif1 at step 5 reads sample 0"),
        (_Stops, "step 10 of lif1 differs from step 1: its weights from x"),
        (_ScaledByLength, "computes something else for 40 steps"),
        (_ScaledByBatch, "computes something else for 40 steps"),
        (_SetsBeta, "lif1.beta is changed by forward"),
        (_SetsFactor, "lif1.graded_spikes_factor is changed by forward"),
        (_OwnFire, "lif1.fire is not snnTorch's own"),
    ],
)
def test_what_three_steps_would_not_show_is_refused(module, reason):
    with pytest.raises(ModelError, match=reason):
        from_module(module(), inputs=4)


class _BatchFirst(_Plain):
    """Batch first in, time first out: the usual snnTorch loop."""

    def __init__(self, pack=torch.stack):
        super().__init__()
        self.pack = pack

    def forward(self, x):
        return self.pack(list(super().forward(x.transpose(0, 1))))


@pytest.mark.parametrize("pack", [torch.stack, lambda steps: {"spikes": torch.stack(steps)}])
@pytest.mark.parametrize("shape", [(9, 9, 4), (6, 20, 4), (BATCH + 5, 5, 4)])
def test_decisions_of_batch_first_modules(pack, shape):
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    module = _BatchFirst(pack)
    model = from_module(module, inputs=4)
    np.testing.assert_array_equal(model.decide(x), run(model.network, x).decisions)
