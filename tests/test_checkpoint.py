"""Checkpoints of every layout against the network that wrote them, output spike by output spike."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from reference_models import (
    CHANNELS,
    CODES,
    CellNet,
    Options,
    RawNet,
    Shape,
    as_linears,
    lightning,
    prefixed,
    samples,
    save_state,
    spikes_of,
)
from safetensors.torch import save_file

from l2mu_compile.checkpoint import load_checkpoint, save_checkpoint
from l2mu_compile.errors import ModelError, UsageError
from l2mu_compile.l2mu import L2MU, L2MUConfig, NeuronParameters

ENCODERS = ("plain", "single", "stacked")
NEURONS = ("leaky", "synaptic")
PREFIXES = ("", "model.", "module.", "_orig_mod.", "module._orig_mod.model.slmu.")


def same(path: Path, net: torch.nn.Module, layout: str = "raw", params: Path | None = None) -> L2MU:
    """Load ``path``; its spikes must be those of ``net``."""
    found = load_checkpoint(path, params)
    assert found.layout == layout
    assert not found.model.training
    np.testing.assert_array_equal(spikes_of(found.model), spikes_of(net))
    return found.model


@cache
def reference(encoder: str, neuron: str) -> tuple[RawNet, np.ndarray]:
    """A network, with biases if its encoder is single, and its spikes."""
    net = RawNet(Options(encoder, neuron, bias=encoder == "single"))
    return net, spikes_of(net)


@pytest.mark.parametrize("suffix", [".pt", ".ckpt", ".safetensors"])
@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_raw(tmp_path, encoder, neuron, prefix, suffix):
    net, spikes = reference(encoder, neuron)
    path = tmp_path / f"net{suffix}"
    save_state(prefixed(net.state_dict(), prefix), path, net.hyper_parameters())
    model = load_checkpoint(path).model
    np.testing.assert_array_equal(spikes_of(model), spikes)
    config = model.config
    assert (config.encoder, config.neuron, config.bias) == (encoder, neuron, encoder == "single")
    assert (config.inputs, config.order, config.memory_size) == (6, 4, 5)


# ---- every combination ----


@cache
def combination(
    encoder: str, neuron: str, reset: str, bias: bool, theta: bool, per_neuron: bool
) -> tuple[RawNet, np.ndarray]:
    populations = (*"umh", "output", "encoder", "decoder", *CHANNELS)
    net = RawNet(
        Options(
            encoder,
            neuron,
            bias=bias,
            trainable_theta=theta,
            per_neuron=per_neuron,
            resets=dict.fromkeys(populations, reset),
        )
    )
    return net, spikes_of(net)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    net=st.builds(
        combination,
        st.sampled_from(ENCODERS),
        st.sampled_from(NEURONS),
        st.sampled_from(sorted(CODES)),
        st.booleans(),
        st.booleans(),
        st.booleans(),
    ),
    prefix=st.sampled_from(PREFIXES),
    wrap=st.sampled_from(["", "model_state_dict", "lightning"]),
    linears=st.booleans(),
    neurons=st.booleans(),
    suffix=st.sampled_from([".pt", ".ckpt", ".safetensors"]),
)
def test_every_combination(tmp_path, net, prefix, wrap, linears, neurons, suffix):
    """Whatever the network and the way it was saved, the module spikes as the network did; and
    again after a round trip through the own layout."""
    net, spikes = net
    state, hyper = net.state_dict(), net.hyper_parameters()
    if not neurons:
        state = {key: value for key, value in state.items() if "spk" not in key}
        hyper["reset_mechanism"] = net.options.resets["u"]
    if linears and not net.options.bias and not net.options.trainable_theta:
        state = as_linears(state)
    state = prefixed(state, prefix)
    path = tmp_path / f"net{suffix}"
    path.with_suffix(".json").unlink(missing_ok=True)
    if wrap == "" or suffix == ".safetensors":
        save_state(state, path, hyper)
    elif wrap == "lightning":
        torch.save(lightning(state, hyper), path)
    else:
        torch.save({wrap: state, "epoch": 3, "params": hyper}, path)
    model = load_checkpoint(str(path)).model
    np.testing.assert_array_equal(spikes_of(model), spikes)
    save_checkpoint(model, str(tmp_path / "own.ckpt"))
    again = load_checkpoint(tmp_path / "own.ckpt")
    assert again.layout == "l2mu-compile"
    np.testing.assert_array_equal(spikes_of(again.model), spikes)


# ---- raw ----


@pytest.mark.parametrize("encoder", ["plain", "stacked"])
def test_raw_needs_no_file_when_the_state_dict_holds_all(tmp_path, encoder):
    net = RawNet(Options(encoder, "synaptic"))
    save_state(net.state_dict(), tmp_path / "net.pt")
    same(tmp_path / "net.pt", net)


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


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_trained_theta_of_the_raw_layout(tmp_path, suffix):
    net = RawNet(Options(trainable_theta=True))
    path = tmp_path / f"net{suffix}"
    save_state(prefixed(net.state_dict(), "slmu."), path, net.hyper_parameters())
    model = same(path, net)
    assert not torch.allclose(model.A, net.A), "the stored A is the one before training"


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("theta_inv", torch.tensor(0.0), "key 'theta_inv' is 0; expected a number above 0"),
        ("theta_inv", torch.tensor(-0.1), "key 'theta_inv' is -0.1; expected a number above 0"),
        ("theta_inv", torch.tensor(float("nan")), "key 'theta_inv' holds NaN or infinity"),
        ("theta_inv", torch.tensor(1e38), "key 'theta_inv' is 1e.38: too large for finite A"),
        ("theta_inv", None, "missing key 'theta_inv': a trained theta comes with"),
        ("_base_A", None, "missing key '_base_A': a trained theta comes with"),
        ("_base_B", torch.ones(3), "keys '_base_A' and '_base_B' have shapes"),
        ("_base_A", torch.tensor(1.0), "keys '_base_A' and '_base_B' have shapes"),
    ],
)
def test_bad_trained_theta(tmp_path, key, value, reason):
    state = dict(RawNet(Options(trainable_theta=True)).state_dict()) | {key: value}
    save_state({k: v for k, v in state.items() if v is not None}, tmp_path / "net.pt")
    with pytest.raises(ModelError, match=reason):
        load_checkpoint(tmp_path / "net.pt")


def test_theta_of_the_configuration(tmp_path):
    net = RawNet(Options(trainable_theta=True))
    save_state(net.state_dict(), tmp_path / "net.pt", net.hyper_parameters())
    theta = load_checkpoint(tmp_path / "net.pt").model.config.theta
    assert theta == pytest.approx(0.6 * net.shape.theta)
    save_state(RawNet().state_dict(), tmp_path / "net.pt", {"theta": "6.0"})
    assert load_checkpoint(tmp_path / "net.pt").model.config.theta == 6.0


def test_memory_outside_the_state_dict_is_refused_whatever_the_file_says(tmp_path):
    net = RawNet()
    state = {key: value for key, value in net.state_dict().items() if key not in ("A", "B")}
    save_state(state, tmp_path / "net.pt", net.hyper_parameters() | {"discretizer": "euler"})
    with pytest.raises(ModelError, match="missing key 'A'; if A and B are no buffers of the model"):
        load_checkpoint(tmp_path / "net.pt")


@pytest.mark.parametrize("kept", ["bias_x", "bias_h", "bias_m"])
def test_one_bias_alone(tmp_path, kept):
    net = RawNet(Options(bias=True))
    for name in {"bias_x", "bias_h", "bias_m"} - {kept}:
        setattr(net, name, None)
    assert sum("bias_" in key for key in net.state_dict()) == 1
    save_state(net.state_dict(), tmp_path / "net.pt")
    same(tmp_path / "net.pt", net)


# ---- dictionaries around a state_dict ----


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state, hyper: {"model_state_dict": state, "epoch": 3, "params": hyper},
        lambda state, hyper: {"model": state, "optimizer": {"state": {}, "lr": 0.1}, **hyper},
        lambda state, hyper: {"net": state, "hparams": hyper, "loss": torch.tensor(0.1)},
        lambda state, hyper: {"model_state": state, "scaler": None, "args": {"run": hyper}},
        lambda state, hyper: {"checkpoint": {"state_dict": state}, "parameters": hyper},
        lambda state, hyper: {"state_dict": state, "buffers": {"x": torch.ones(2)}, "p": hyper},
    ],
)
def test_wrapped(tmp_path, wrap):
    net = RawNet(Options("single"))
    state = prefixed(net.state_dict(), "slmu.")
    torch.save(wrap(state, net.hyper_parameters()), tmp_path / "net.pt")
    same(tmp_path / "net.pt", net)


@pytest.mark.parametrize("names", [("model", "ema"), ("state_dict", "ema_state_dict")])
def test_wrapped_twice_is_ambiguous(tmp_path, names):
    state = RawNet().state_dict()
    torch.save(dict.fromkeys(names) | {name: dict(state) for name in names}, tmp_path / "net.pt")
    match = f"more than one state_dict to choose from: '{names[0]}', '{names[1]}'"
    with pytest.raises(ModelError, match=match):
        load_checkpoint(tmp_path / "net.pt")


def test_copies_deeper_inside_do_not_count(tmp_path):
    net, other = CellNet("leaky", seed=3), CellNet("leaky", seed=1)
    content = net.checkpoint() | {"callbacks": {"EMA": {"weights": other.state_dict()}}}
    torch.save(content, tmp_path / "last.ckpt")
    same(tmp_path / "last.ckpt", net, "lightning")


def test_wrapped_without_an_l2mu(tmp_path):
    torch.save({"model": {"fc.weight": torch.ones(3)}, "epoch": 3}, tmp_path / "net.pt")
    with pytest.raises(ModelError, match=r"not an L2MU \(keys: 'model', 'epoch'\)"):
        load_checkpoint(tmp_path / "net.pt")


# ---- hyper-parameters ----


def test_state_dict_wins_over_the_file(tmp_path):
    net = RawNet(Options("single", "synaptic"))
    hyper = net.hyper_parameters()
    for name in ("u", "m", "h", "output"):
        hyper |= {f"beta_spk_{name}": 0.01, f"threshold_spk_{name}": 9.0, f"alpha_spk_{name}": 0.0}
    hyper |= {"memory_size": 99, "order": 98.0, "hidden_size": 97, "theta": 96, "pop_size": 95}
    save_state(net.state_dict(), tmp_path / "net.pt", hyper)
    same(tmp_path / "net.pt", net)


@pytest.mark.parametrize("suffix", [".json", ".yaml", ".yml"])
@pytest.mark.parametrize("beside", [True, False])
def test_files_of_hyper_parameters(tmp_path, suffix, beside):
    net = RawNet(Options("single"))
    save_state(net.state_dict(), tmp_path / "net.pt")
    write = json.dumps if suffix == ".json" else yaml.safe_dump
    params = tmp_path / f"{'net' if beside else 'other'}{suffix}"
    params.write_text(write({"architecture": "l2mu", "params": net.hyper_parameters()}))
    same(tmp_path / "net.pt", net, params=None if beside else params)


def test_given_file_replaces_the_one_beside(tmp_path):
    net = RawNet(Options("single"))
    save_state(net.state_dict(), tmp_path / "net.pt", {"beta_spk_x_acc": 0.0})
    params = tmp_path / "right.json"
    params.write_text(json.dumps(net.hyper_parameters()))
    same(tmp_path / "net.pt", net, params=params)
    assert load_checkpoint(str(tmp_path / "net.pt"), str(params)).layout == "raw"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_other_number_types(tmp_path, dtype, suffix):
    net = RawNet(Options("stacked", "synaptic", bias=True))
    stored = {
        key: value.to(dtype) if value.is_floating_point() else value
        for key, value in net.state_dict().items()
    }
    net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in stored.items()})
    path = tmp_path / f"net{suffix}"
    save_state(stored, path)
    model = same(path, net)
    assert model.e_x.dtype == torch.float32


@pytest.mark.parametrize("neuron", NEURONS)
def test_graded_spikes(tmp_path, neuron):
    net = RawNet(Options("stacked", neuron))
    plain = spikes_of(net)
    for module, factor in (
        (net.spk_u, 0.5),
        (net.spk_h, 2.0),
        (net.input_encoder.spk_encoder, 3.0),
    ):
        module.graded_spikes_factor.fill_(factor)
    save_state(net.state_dict(), tmp_path / "net.pt")
    same(tmp_path / "net.pt", net)
    assert (spikes_of(net) != plain).any()


def test_hidden_states_are_dropped(tmp_path):
    net = RawNet()
    states = {"spk_u.mem": torch.ones(4, 5), "spk_h.syn": torch.full((4, 7), float("nan"))}
    save_state(net.state_dict() | states, tmp_path / "net.pt")
    same(tmp_path / "net.pt", net)
    save_state(net.state_dict() | {"head.mem": torch.ones(4)}, tmp_path / "net.pt")
    with pytest.raises(ModelError, match=r"unexpected key 'head\.mem'"):
        load_checkpoint(tmp_path / "net.pt")


def test_fewer_and_more_channels_than_an_imu(tmp_path):
    for inputs in (2, 9):
        shape = Shape(inputs=inputs)
        net = RawNet(Options("plain"), shape)
        save_state(net.state_dict(), tmp_path / "net.pt")
        x = samples(shape)
        model = load_checkpoint(tmp_path / "net.pt").model
        np.testing.assert_array_equal(spikes_of(model, x), spikes_of(net, x))


def test_text_metadata_of_safetensors_are_hyper_parameters(tmp_path):
    net = RawNet(Options("single"))
    metadata = {name: str(value) for name, value in net.hyper_parameters().items()}
    state = {key: value.contiguous() for key, value in net.state_dict().items()}
    save_file(state, tmp_path / "net.safetensors", metadata)
    same(tmp_path / "net.safetensors", net)


def test_loading_leaves_random_numbers_alone(tmp_path):
    save_state(RawNet().state_dict(), tmp_path / "net.pt")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_checkpoint(tmp_path / "net.pt")
    assert torch.equal(torch.rand(3), expected)


def test_digest_is_that_of_the_file(tmp_path):
    path = tmp_path / "net.pt"
    save_state(RawNet().state_dict(), path)
    assert load_checkpoint(path).digest == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["class_names", "classes", "labels"])
def test_names_of_classes(tmp_path, name):
    net = RawNet(Options())
    save_state(net.state_dict(), tmp_path / "net.pt")
    hyper = net.hyper_parameters() | {name: ["walk", "run", "sit"]}
    (tmp_path / "net.json").write_text(json.dumps(hyper))
    assert load_checkpoint(tmp_path / "net.pt").labels == ("walk", "run", "sit")
    (tmp_path / "net.json").write_text(json.dumps(hyper | {name: 3}))
    assert load_checkpoint(tmp_path / "net.pt").labels is None


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
