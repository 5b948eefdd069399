"""Checkpoints of every layout against the network that wrote them, output spike by output spike."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from reference_models import (
    CODES,
    CellNet,
    Options,
    RawNet,
    Shape,
    continuous,
    prefixed,
    samples,
    save_state,
    spikes_of,
)
from safetensors.torch import save_file

from l2mu_compile.checkpoint import (
    load_checkpoint,
    read_params,
    read_state_dict,
    save_checkpoint,
)
from l2mu_compile.errors import ModelError
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


@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_parameters_per_neuron(tmp_path, encoder, neuron):
    net = RawNet(Options(encoder, neuron, per_neuron=True))
    hyper = net.hyper_parameters()
    if encoder == "single":  # a file of hyper-parameters holds numbers, the encoder's neurons
        net.input_encoder.neurons = [net.neuron(n, 1) for n in ("x_acc", "x_gyro")] * 3
        for name in ("x_acc", "x_gyro", "y_acc", "y_gyro", "z_acc", "z_gyro"):
            values = net.values["x_gyro" if name.endswith("gyro") else "x_acc"]
            hyper |= {f"{key}_spk_{name}": value[0] for key, value in values.items()}
    save_state(net.state_dict(), tmp_path / "net.pt", hyper)
    same(tmp_path / "net.pt", net)


@pytest.mark.parametrize("neuron", NEURONS)
def test_resets_of_each_population(tmp_path, neuron):
    resets = {"u": "zero", "m": "none", "output": "zero", "encoder": "zero", "y_acc": "none"}
    net = RawNet(Options("stacked", neuron, resets=resets))
    state = net.state_dict()
    assert state["spk_u.reset_mechanism_val"] == CODES["zero"]
    save_state(state, tmp_path / "net.safetensors", net.hyper_parameters())
    model = same(tmp_path / "net.safetensors", net)
    assert model.spk_m.reset_mechanism == "none"
    assert model.spk_h.reset_mechanism == "subtract"
    assert model.input_encoder.spk_hidden_encoder_list[2].reset_mechanism == "none"


def test_state_dict_wins_over_the_file(tmp_path):
    net = RawNet(Options("single", "synaptic"))
    hyper = net.hyper_parameters()
    for name in ("u", "m", "h", "output"):
        hyper |= {f"beta_spk_{name}": 0.01, f"threshold_spk_{name}": 9.0, f"alpha_spk_{name}": 0.0}
    hyper |= {"memory_size": 99, "order": 98.0, "hidden_size": 97, "theta": 96, "pop_size": 95}
    save_state(net.state_dict(), tmp_path / "net.pt", hyper)
    same(tmp_path / "net.pt", net)


def test_neurons_that_only_the_file_holds(tmp_path):
    net = RawNet(Options("single"))
    state = net.state_dict()
    assert not any("spk" in key for key in state if key.startswith("input_encoder"))
    save_state(state, tmp_path / "net.pt", net.hyper_parameters())
    model = same(tmp_path / "net.pt", net)
    for i, name in enumerate(("x_acc", "x_gyro", "y_acc", "y_gyro", "z_acc", "z_gyro")):
        neuron = model.input_encoder.spk_pop_encoder_list[i]
        assert neuron.beta.item() == pytest.approx(net.values[name]["beta"])


@pytest.mark.parametrize("neuron", NEURONS)
def test_all_neurons_from_the_file(tmp_path, neuron):
    net = RawNet(Options("stacked", neuron))
    state = {key: value for key, value in net.state_dict().items() if "spk" not in key}
    save_state(state, tmp_path / "net.pt", net.hyper_parameters())
    same(tmp_path / "net.pt", net)


def test_alpha_in_the_file_does_not_make_leaky_neurons_synaptic(tmp_path):
    net = RawNet(Options("plain", "leaky"))
    hyper = net.hyper_parameters() | {f"alpha_spk_{n}": 0.5 for n in ("u", "m", "h", "output")}
    save_state(net.state_dict(), tmp_path / "net.pt", hyper)
    assert same(tmp_path / "net.pt", net).config.neuron == "leaky"


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
    state = net.state_dict() | {"spk_u.mem": torch.ones(4, 5), "spk_h.syn": torch.ones(4, 7)}
    save_state(state, tmp_path / "net.pt")
    same(tmp_path / "net.pt", net)


def test_fewer_and_more_channels_than_an_imu(tmp_path):
    for inputs in (2, 9):
        shape = Shape(inputs=inputs)
        net = RawNet(Options("plain"), shape)
        save_state(net.state_dict(), tmp_path / "net.pt")
        x = samples(shape)
        model = load_checkpoint(tmp_path / "net.pt").model
        np.testing.assert_array_equal(spikes_of(model, x), spikes_of(net, x))


@pytest.mark.parametrize("encoder", ["single", "stacked"])
@pytest.mark.parametrize("inputs", [1, 3])
def test_fewer_channels_take_the_first_names(tmp_path, encoder, inputs):
    shape = Shape(inputs=inputs)
    net = RawNet(Options(encoder, seed=2), shape)
    state = {key: value for key, value in net.state_dict().items() if "spk" not in key}
    save_state(state, tmp_path / "net.pt", net.hyper_parameters())
    x = samples(shape)
    model = load_checkpoint(tmp_path / "net.pt").model
    np.testing.assert_array_equal(spikes_of(model, x), spikes_of(net, x))


def test_euler_from_hyper_parameters(tmp_path):
    net = RawNet()
    state = {key: value for key, value in net.state_dict().items() if key not in ("A", "B")}
    hyper = net.hyper_parameters() | {"discretizer": "euler", "theta": 8.0}
    a, b = continuous(net.shape.order)
    net.A.copy_(torch.tensor(np.eye(4) + a / 8.0))
    net.B.copy_(torch.tensor(b / 8.0))
    save_state(state, tmp_path / "net.pt", hyper)
    same(tmp_path / "net.pt", net)


def test_euler_must_fit_the_weights(tmp_path):
    net = RawNet()
    state = {key: value for key, value in net.state_dict().items() if key not in ("A", "B")}
    save_state(state, tmp_path / "net.pt", {"discretizer": "euler", "theta": 8.0, "order": 3.0})
    with pytest.raises(ModelError, match="hyper-parameter 'order' is 3; e_m does not fit it"):
        load_checkpoint(tmp_path / "net.pt")


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


def test_read_state_dict_renames_nothing(tmp_path):
    net = CellNet()
    torch.save(net.checkpoint("model."), tmp_path / "last.ckpt")
    found = read_state_dict(tmp_path / "last.ckpt")
    assert set(found) == {f"model.{key}" for key in net.state_dict()}
    assert torch.equal(found["model.l2mu_cell.e_x.weight"], net.l2mu_cell.e_x.weight)


def test_loading_runs_no_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"e_x": Evil()}, tmp_path / "net.pt")
    with pytest.raises(ModelError, match="cannot be loaded without running code: it needs"):
        load_checkpoint(tmp_path / "net.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("text", "suffix", "reason"),
    [
        ("[1, 2]", ".json", "must be names and values"),
        ("{", ".json", "cannot read hyper-parameters"),
        ("a: [", ".yaml", "cannot read hyper-parameters"),
        ("a: !!python/object/apply:os.getcwd []", ".yaml", "cannot read hyper-parameters"),
        ("[" * 100_000, ".json", "cannot read hyper-parameters"),
        ("#" * (1 << 20) + "##", ".yaml", "larger than"),
    ],
)
def test_bad_files_of_hyper_parameters(tmp_path, text, suffix, reason):
    path = tmp_path / f"params{suffix}"
    path.write_text(text)
    with pytest.raises(ModelError, match=reason) as caught:
        read_params(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["high", None, True, [0.1], float("nan"), float("inf")])
def test_hyper_parameters_that_are_no_numbers(tmp_path, value):
    net = RawNet(Options("single"))
    hyper = net.hyper_parameters() | {"threshold_spk_y_acc": value}
    save_state(net.state_dict(), tmp_path / "net.pt", hyper)
    with pytest.raises(ModelError, match=r"'threshold_spk_y_acc' is .*; expected a finite number"):
        load_checkpoint(tmp_path / "net.pt")


def test_version_of_the_own_layout(tmp_path):
    content = {"format": "l2mu-compile", "version": 2, "config": {}, "state_dict": {}}
    torch.save(content, tmp_path / "net.ckpt")
    with pytest.raises(ModelError, match="format version 2; this reads 1"):
        load_checkpoint(tmp_path / "net.ckpt")
