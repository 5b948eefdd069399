"""Lightning checkpoints: their own hyper-parameters, and what lies beside the model."""

from __future__ import annotations

import json

import pytest
import torch
from checkpoints import NEURONS, same
from reference_models import (
    CellNet,
    Options,
    RawNet,
    lightning,
    prefixed,
)
from safetensors.torch import save_file

from l2mu_compile.checkpoint import load_checkpoint
from l2mu_compile.errors import ModelError


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("prefix", ["model.", "", "_orig_mod.model."])
@pytest.mark.parametrize("neuron", NEURONS)
def test_lightning(tmp_path, neuron, prefix, suffix):
    net = CellNet(neuron)
    path = tmp_path / f"last{suffix}"
    if suffix == ".pt":
        torch.save(net.checkpoint(prefix), path)
    else:
        save_file(prefixed(net.state_dict(), prefix), path)
    model = same(path, net, "lightning" if suffix == ".pt" else "raw")
    assert model.config.neuron == neuron


def test_matrices_are_saved_as_views_of_one(tmp_path):
    torch.save(CellNet().state_dict(), tmp_path / "views.pt")
    stored = torch.load(tmp_path / "views.pt")
    a, b = (stored[f"l2mu_cell.{name}.weight"] for name in "AB")
    assert not a.is_contiguous()
    assert a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()
    same(tmp_path / "views.pt", CellNet())
    assert load_checkpoint(tmp_path / "views.pt").model.A.is_contiguous()


def test_lightning_neurons_from_its_hyper_parameters(tmp_path):
    net = CellNet("leaky", seed=3)
    content = net.checkpoint()
    for key in ("spk_h.beta", "spk_u.threshold"):
        del content["state_dict"][f"model.l2mu_cell.{key}"]
    for params in (content["hyper_parameters"]["params"],):
        params.pop("alpha_spk_u")
    torch.save(content, tmp_path / "last.ckpt")
    same(tmp_path / "last.ckpt", net, "lightning")


def test_lightning_ignores_a_file_beside_it(tmp_path):
    net = CellNet()
    torch.save(net.checkpoint(), tmp_path / "last.ckpt")
    (tmp_path / "last.json").write_text("not json")
    same(tmp_path / "last.ckpt", net, "lightning")


LOSSES = {
    "loss_fn.weight": torch.ones(3),
    "train_acc.tp": torch.zeros(3, dtype=torch.long),
    "val_acc.confmat": torch.zeros(3, 3),
    "n_averaged": torch.tensor(4),
}


def test_lightning_keys_beside_the_model_are_ignored_and_named(tmp_path):
    net = CellNet("leaky", seed=3)
    content = net.checkpoint()
    content["state_dict"] |= LOSSES
    torch.save(content, tmp_path / "last.ckpt")
    same(tmp_path / "last.ckpt", net, "lightning")
    (note,) = load_checkpoint(tmp_path / "last.ckpt").notes
    assert note == (
        "ignored beside the model: 'loss_fn.weight', 'train_acc.tp', 'val_acc.confmat' (and 1 more)"
    )


@pytest.mark.parametrize("prefix", ["model.", "net.", "network.slmu."])
def test_what_is_beside_the_model_depends_on_where_it_lies(tmp_path, prefix):
    net = RawNet(Options("single", "synaptic"))
    state = prefixed(net.state_dict(), prefix) | LOSSES
    torch.save(lightning(state, net.hyper_parameters()), tmp_path / "last.ckpt")
    same(tmp_path / "last.ckpt", net, "lightning")
    assert len(load_checkpoint(tmp_path / "last.ckpt").notes) == 1


@pytest.mark.parametrize(
    ("prefix", "key"),
    [
        ("model.l2mu_cell.", "model.head.weight"),
        ("model.l2mu_cell.", "model.bias"),
        ("model.l2mu_cell.", "model.l2mu_cell.W_y"),
        ("model.", "model.head.weight"),
        ("l2mu_cell.", "head.weight"),
        ("", "head.weight"),
    ],
)
def test_layers_of_the_model_are_never_ignored(tmp_path, prefix, key):
    net = RawNet()
    state = prefixed(net.state_dict(), prefix) | {key: torch.ones(3)}
    torch.save(lightning(state, net.hyper_parameters()), tmp_path / "last.ckpt")
    with pytest.raises(ModelError, match=r"unexpected key '(model\.l2mu_cell\.)?.*(W_y|head|bias)"):
        load_checkpoint(tmp_path / "last.ckpt")


def test_lightning_without_hyper_parameters_takes_the_file_beside(tmp_path):
    net = RawNet(Options("single"))
    content = lightning(prefixed(net.state_dict(), "model."), {}) | LOSSES
    del content["hyper_parameters"]
    torch.save(content, tmp_path / "last.ckpt")
    (tmp_path / "last.json").write_text(json.dumps(net.hyper_parameters()))
    same(tmp_path / "last.ckpt", net, "lightning")


def test_lightning_uses_a_as_stored_whatever_theta_is(tmp_path):
    net = CellNet("leaky", seed=3)
    content = net.checkpoint()
    order = net.state_dict()["l2mu_cell.A.weight"].shape[0]
    stem = "model.l2mu_cell."
    content["state_dict"][stem + "theta_inv"] = torch.tensor(float("nan"))
    content["state_dict"][stem + "_base_A"] = torch.ones(order, order)
    content["state_dict"][stem + "_base_B"] = torch.ones(1, order)
    torch.save(content, tmp_path / "last.ckpt")
    same(tmp_path / "last.ckpt", net, "lightning")
