"""Checkpoints of this package's own layout."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from checkpoints import ENCODERS, NEURONS, same

from l2mu_compile.checkpoint import load_checkpoint, save_checkpoint
from l2mu_compile.errors import ModelError, UsageError
from l2mu_compile.l2mu import L2MU, L2MUConfig, NeuronParameters


@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_own(tmp_path, encoder, neuron):
    sizes = {"pop_size": 2, "encoding_size": 8, "output_transformer_size": 9}
    low = NeuronParameters(threshold=0.2, beta=0.7, alpha=0.4, reset="zero")
    torch.manual_seed(4)
    net = L2MU(
        L2MUConfig(
            inputs=6,
            classes=3,
            hidden_size=7,
            memory_size=5,
            order=4,
            theta=6.0,
            encoder=encoder,
            neuron=neuron,
            bias=True,
            neurons=dict.fromkeys((*"umh", "output", "x_acc", "encoder", "decoder"), low),
            **(sizes if encoder != "plain" else {}),
        )
    )
    save_checkpoint(net, tmp_path / "net.ckpt")
    model = same(tmp_path / "net.ckpt", net, "l2mu-compile")
    assert model.config.neurons["u"].reset == "zero"


def test_own_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    net = L2MU(L2MUConfig(6, 3, 7, 5, 4, theta=6.0))
    with pytest.raises(UsageError, match=r"none.net\.pt: cannot be written: No such file"):
        save_checkpoint(net, tmp_path / "none" / "net.pt")
    save_checkpoint(net, tmp_path / "net.pt")
    before = (tmp_path / "net.pt").read_bytes()

    def disk_full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "chmod", disk_full)
    with pytest.raises(UsageError, match="No space left"):
        save_checkpoint(net, tmp_path / "net.pt")
    assert (tmp_path / "net.pt").read_bytes() == before
    assert list(tmp_path.iterdir()) == [tmp_path / "net.pt"]


@pytest.mark.parametrize("discretizer", ["zoh", "euler"])
def test_own_trained_theta(tmp_path, discretizer):
    torch.manual_seed(2)
    low = NeuronParameters(threshold=0.3)
    shape = {"inputs": 6, "classes": 3, "hidden_size": 7, "memory_size": 5, "order": 4}
    options = {"trainable_theta": True, "discretizer": discretizer}
    neurons = dict.fromkeys((*"umh", "output"), low)
    net = L2MU(L2MUConfig(**shape, theta=6.0, **options, neurons=neurons))
    net.theta_inv.data.fill_(0.05)
    save_checkpoint(net, tmp_path / "net.ckpt")
    model = same(tmp_path / "net.ckpt", net, "l2mu-compile")
    assert not torch.allclose(model.A, net.A)


def test_names_of_classes_in_the_own_layout(tmp_path):
    net = L2MU(L2MUConfig(inputs=2, classes=2, hidden_size=3, memory_size=2, order=2, theta=4.0))
    save_checkpoint(net, tmp_path / "net.ckpt", ["up", "down"])
    loaded = load_checkpoint(tmp_path / "net.ckpt")
    assert loaded.labels == ("up", "down")
    assert loaded.model.config.classes == 2
    save_checkpoint(net, tmp_path / "net.ckpt")
    assert load_checkpoint(tmp_path / "net.ckpt").labels is None


def test_version_of_the_own_layout(tmp_path):
    content = {"format": "l2mu-compile", "version": 2, "config": {}, "state_dict": {}}
    torch.save(content, tmp_path / "net.ckpt")
    with pytest.raises(ModelError, match="version 2; this release reads 1"):
        load_checkpoint(tmp_path / "net.ckpt")
