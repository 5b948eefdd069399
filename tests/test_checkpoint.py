"""Checkpoints of every layout against the network that wrote them, output spike by output spike."""

from __future__ import annotations

import hashlib
import json
from functools import cache

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
import yaml
from checkpoints import ENCODERS, NEURONS, reference, same
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
from l2mu_compile.errors import ModelError

PREFIXES = ("", "model.", "module.", "_orig_mod.", "module._orig_mod.model.slmu.")


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
