"""Neurons' dynamics and sizes, wherever a checkpoint states them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from reference_models import (
    CHANNELS,
    CODES,
    Options,
    RawNet,
    Shape,
    make_neuron,
    samples,
    save_state,
    spikes_of,
)

from l2mu_compile.checkpoint import Checkpoint, load_checkpoint
from l2mu_compile.errors import ModelError

NEURONS = ("leaky", "synaptic")
ENCODERS = ("plain", "single", "stacked")


def loaded(folder: Path, net: RawNet, state=None, hyper=None, x=None) -> Checkpoint:
    """``state`` (the net's, if not given) loaded back; it must spike as ``net`` does."""
    save_state(net.state_dict() if state is None else state, folder / "net.pt", hyper)
    found = load_checkpoint(folder / "net.pt")
    np.testing.assert_array_equal(spikes_of(found.model, x), spikes_of(net, x))
    return found


def without_neurons(net: RawNet) -> dict:
    return {key: value for key, value in net.state_dict().items() if "spk" not in key}


def refused(folder: Path, net: RawNet, hyper: dict, match: str, state=None) -> None:
    save_state(net.state_dict() if state is None else state, folder / "net.pt", hyper)
    with pytest.raises(ModelError, match=match) as caught:
        load_checkpoint(folder / "net.pt")
    assert "\n" not in str(caught.value)


# ---- where dynamics are stated ----


def test_neurons_that_only_the_file_holds(tmp_path):
    net = RawNet(Options("single"))
    assert not any("spk" in key for key in net.state_dict() if key.startswith("input_encoder"))
    model = loaded(tmp_path, net, hyper=net.hyper_parameters()).model
    for i, name in enumerate(("x_acc", "x_gyro", "y_acc", "y_gyro", "z_acc", "z_gyro")):
        neuron = model.input_encoder.spk_pop_encoder_list[i]
        assert neuron.beta.item() == pytest.approx(net.values[name]["beta"])


def test_single_encoder_whose_neurons_are_stored(tmp_path):
    """As the published quantized encoder is, whose neurons lie in a ModuleList."""
    net = RawNet(Options("single", "synaptic"))
    encoder = net.input_encoder
    encoder.spk_pop_encoder_list = torch.nn.ModuleList(encoder.neurons)
    assert "input_encoder.spk_pop_encoder_list.5.alpha" in net.state_dict()
    loaded(tmp_path, net)


@pytest.mark.parametrize("neuron", NEURONS)
def test_all_neurons_from_the_file(tmp_path, neuron):
    net = RawNet(Options("stacked", neuron))
    loaded(tmp_path, net, without_neurons(net), net.hyper_parameters())


def test_alpha_in_the_file_does_not_make_leaky_neurons_synaptic(tmp_path):
    net = RawNet(Options("plain", "leaky"))
    hyper = net.hyper_parameters() | {f"alpha_spk_{n}": 0.5 for n in ("u", "m", "h", "output")}
    assert loaded(tmp_path, net, hyper=hyper).model.config.neuron == "leaky"
    hyper["neuron_type"] = "Leaky"
    assert loaded(tmp_path, net, without_neurons(net), hyper).model.config.neuron == "leaky"


@pytest.mark.parametrize("encoder", ["single", "stacked"])
@pytest.mark.parametrize("inputs", [1, 3])
def test_fewer_channels_take_the_first_names(tmp_path, encoder, inputs):
    shape = Shape(inputs=inputs)
    net = RawNet(Options(encoder, seed=2), shape)
    loaded(tmp_path, net, without_neurons(net), net.hyper_parameters(), samples(shape))


# ---- one value per neuron ----


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_one_value_per_neuron(tmp_path, encoder, neuron, stored):
    net = RawNet(Options(encoder, neuron, per_neuron=True))
    state = net.state_dict() if stored else without_neurons(net)
    loaded(tmp_path, net, state, net.hyper_parameters())


@pytest.mark.parametrize("shape", [(), (1,), (4,), (5, 1), (5, 4), (1, 5, 4), (1, 1, 4)])
@pytest.mark.parametrize("neuron", NEURONS)
def test_shapes_of_the_memory(tmp_path, neuron, shape):
    """Every shape that the published cell can broadcast to its memory's current ``[B, 5, 4]``."""
    net = RawNet(Options("plain", neuron))
    torch.manual_seed(7)
    low, high = {"beta": 0.4, "threshold": 0.2, "alpha": 0.2}, 0.7
    values = {name: torch.empty(shape).uniform_(least, high) for name, least in low.items()}
    net.spk_m = make_neuron(neuron, values)
    loaded(tmp_path, net)


def test_memory_in_one_row(tmp_path):
    net = RawNet(Options(per_neuron=True))
    state = dict(net.state_dict())
    for name in ("beta", "threshold"):
        state[f"spk_m.{name}"] = state[f"spk_m.{name}"].flatten()
    loaded(tmp_path, net, state)


@pytest.mark.parametrize("shape", [(0,), (4,), (5, 5), (5, 1), (2, 5)])
def test_shapes_that_fit_no_population(tmp_path, shape):
    net = RawNet()
    state = dict(net.state_dict()) | {"spk_u.beta": torch.full(shape, 0.5)}
    refused(tmp_path, net, {}, r"beta_spk_u has shape .*; expected one number or 5", state)


NO_NUMBERS = (
    *("high", None, True, 1e300, float("nan"), float("inf"), "nan", "1e400", 10**400, {"a": 1}),
    *([], [0.1], [0.1, 0.2, 0.3], [[0.1], [0.1, 0.2]], [0.1, "x"], [0.1, None]),
)


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_hyper_parameters_that_are_no_numbers(tmp_path, value):
    net = RawNet(Options("single"))
    hyper = net.hyper_parameters() | {"threshold_spk_y_acc": value}
    match = "'threshold_spk_y_acc' is .*; expected a finite number, or 2 of them"
    if isinstance(value, dict):
        match = "no hyper-parameter 'threshold_spk_y_acc'"
    refused(tmp_path, net, hyper, match)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("beta_spk_y_acc", 1.01, "is 1.01; must be between 0 and 1, where snnTorch clamps it"),
        ("beta_spk_y_acc", [0.5, -0.1], "between 0 and 1"),
        ("alpha_spk_z_gyro", -1, "is -1; must be between 0 and 1"),
        ("threshold_spk_x_acc", 0, "is 0; must be positive"),
        ("threshold_spk_x_acc", [0.5, -0.5], "must be positive"),
    ],
)
def test_hyper_parameters_out_of_range(tmp_path, name, value, reason):
    net = RawNet(Options("single", "synaptic"))
    refused(tmp_path, net, net.hyper_parameters() | {name: value}, f"'{name}' .*{reason}")


def test_hyper_parameters_that_disagree(tmp_path):
    net = RawNet(Options("single"))
    hyper = {"params": net.hyper_parameters(), "best": {"beta_spk_y_acc": 0.01}}
    match = "'beta_spk_y_acc' is 0.* in one place and 0.* in another; expected"
    refused(tmp_path, net, hyper, match)
    hyper["best"]["beta_spk_y_acc"] = net.values["y_acc"]["beta"]
    loaded(tmp_path, net, hyper=hyper)


def test_numbers_as_text(tmp_path):
    net = RawNet(Options("single"))
    hyper = {name: str(value) for name, value in net.hyper_parameters().items()}
    assert loaded(tmp_path, net, hyper=hyper).notes == ()


# ---- resets ----


@pytest.mark.parametrize("neuron", NEURONS)
def test_resets_of_each_population(tmp_path, neuron):
    resets = {"u": "zero", "m": "none", "output": "zero", "encoder": "zero", "y_acc": "none"}
    net = RawNet(Options("stacked", neuron, resets=resets))
    state = net.state_dict()
    assert state["spk_u.reset_mechanism_val"] == CODES["zero"]
    model = loaded(tmp_path, net).model
    assert model.spk_m.reset_mechanism == "none"
    assert model.spk_h.reset_mechanism == "subtract"
    assert model.input_encoder.spk_hidden_encoder_list[2].reset_mechanism == "none"


CORE = (*"umh", "output")


@pytest.mark.parametrize("stated", [True, False])
@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize("reset", CODES)
def test_reset_that_no_state_dict_holds(tmp_path, reset, neuron, stated):
    net = RawNet(Options("single", neuron, resets=dict.fromkeys((*CORE, *CHANNELS), reset)))
    hyper = net.hyper_parameters() | ({"reset_mechanism": reset} if stated else {})
    notes = loaded(tmp_path, net, hyper=hyper).notes
    if stated or reset == "subtract":
        assert notes == ()
    else:
        assert notes == (
            f"reset of {', '.join(CHANNELS)} taken to be that of all other neurons, {reset!r} "
            "(hyper-parameter reset_mechanism)",
        )


def test_reset_that_differs_must_be_stated(tmp_path):
    net = RawNet(Options("single", resets={"u": "zero", "h": "none"}))
    hyper = net.hyper_parameters()
    refused(tmp_path, net, hyper, "nothing says how x_acc.* reset, and the other neurons differ")
    loaded(tmp_path, net, hyper=hyper | {"reset_mechanism": "subtract"})
    match = "'reset_mechanism' is 'soft'; expected one of subtract, zero, none"
    refused(tmp_path, net, hyper | {"reset_mechanism": "soft"}, match)


@pytest.mark.parametrize("value", [torch.tensor(3), torch.tensor(0.5), torch.tensor([0, 1])])
def test_reset_codes(tmp_path, value):
    net = RawNet()
    state = dict(net.state_dict()) | {"spk_h.reset_mechanism_val": value}
    refused(tmp_path, net, {}, "'spk_h.reset_mechanism_val' is .*; expected 0, 1 or 2", state)


def test_numbers_of_one_element(tmp_path):
    net = RawNet(Options(resets={"u": "zero"}))
    scalars = ("beta", "threshold", "reset_mechanism_val", "graded_spikes_factor")
    state = {
        key: value.reshape(1) if key.endswith(scalars) else value
        for key, value in net.state_dict().items()
    }
    loaded(tmp_path, net, state)


# ---- sizes ----


def test_sizes_that_disagree_are_named(tmp_path):
    net = RawNet(Options("stacked"))
    hyper = net.hyper_parameters() | {"memory_size": 70.0, "order": "4", "pop_size": "two"}
    assert loaded(tmp_path, net, hyper=hyper).notes == (
        "memory_size is 5, as the tensors say, not 70.0",
        "pop_size is 2, as the tensors say, not 'two'",
    )


def test_sizes_that_do_not_concern_the_model_are_not_named(tmp_path):
    net = RawNet()
    hyper = net.hyper_parameters() | {"pop_size": 70.0, "encoding_size": 4, "lr": 0.1, "seed": None}
    assert loaded(tmp_path, net, hyper=hyper).notes == ()
