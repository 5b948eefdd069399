"""The torch module: it trains, its memory matrices are a zero-order hold, it refuses nonsense."""

from __future__ import annotations

import numpy as np
import pytest
import snntorch
import torch
import torch.nn.functional as F
from reference_models import continuous

from l2mu_compile.errors import ModelError
from l2mu_compile.l2mu import (
    IMU_CHANNELS,
    L2MU,
    L2MUConfig,
    NeuronParameters,
    channel_names,
    discretize,
    legendre_delay,
)

SIZES = {"inputs": 3, "classes": 4, "hidden_size": 7, "memory_size": 5, "order": 3, "theta": 9.0}
ENCODERS = {
    "plain": {},
    "single": {"pop_size": 2},
    "stacked": {"pop_size": 2, "encoding_size": 6, "output_transformer_size": 8},
}


def config(encoder="plain", **changes) -> L2MUConfig:
    return L2MUConfig(**{**SIZES, **ENCODERS[encoder], "encoder": encoder, **changes})


def exponential(matrix: np.ndarray) -> np.ndarray:
    """e^M in float64: a Taylor series of M / 2^20, squared twenty times."""
    small = matrix / 2.0**20
    total = term = np.eye(len(matrix))
    for k in range(1, 12):
        term = term @ small / k
        total = total + term
    for _ in range(20):
        total = total @ total
    return total


def zero_order_hold(order: int, theta: float) -> tuple[np.ndarray, np.ndarray]:
    """A = e^(A/θ), and B = A^-1 (A_discrete - I) B: the textbook form, not the package's."""
    a, b = continuous(order)
    held = exponential(a / theta)
    return held, np.linalg.solve(a, (held - np.eye(order)) @ b)


@pytest.mark.parametrize("order", [1, 2, 7, 12])
def test_delay_system_is_the_published_one(order):
    for found, expected in zip(legendre_delay(order), continuous(order), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("order", "theta"), [(1, 3.0), (3, 9.0), (7, 40.0), (8, 256.0)])
def test_memory_is_a_zero_order_hold(order, theta):
    model = L2MU(config(order=order, theta=theta))
    a, b = zero_order_hold(order, theta)
    np.testing.assert_allclose(model.A.numpy(), a, atol=1e-7)
    np.testing.assert_allclose(model.B.numpy(), b, atol=1e-7)
    assert model.A.shape == (order, order)
    assert model.B.shape == (order, 1)


def test_memory_of_euler():
    model = L2MU(config(discretizer="euler"))
    a, b = continuous(SIZES["order"])
    np.testing.assert_allclose(model.A.numpy(), np.eye(3) + a / 9.0, atol=1e-6)
    np.testing.assert_allclose(model.B.numpy(), b / 9.0, atol=1e-6)


def test_discretize_is_exact_for_one_integrator():
    a, b = discretize(torch.zeros(1, 1), torch.ones(1, 1), "zoh")
    assert (a.item(), b.item()) == (1.0, 1.0)


@pytest.mark.parametrize("discretizer", ["zoh", "euler"])
def test_trainable_theta_moves_the_memory(discretizer):
    model = L2MU(config(trainable_theta=True, discretizer=discretizer))
    fixed = L2MU(config(discretizer=discretizer))
    for found, expected in zip(model.memory_matrices(), (fixed.A, fixed.B), strict=True):
        torch.testing.assert_close(found, expected)
    model.theta_inv.data.fill_(1 / 20.0)
    if discretizer == "zoh":
        a, b = zero_order_hold(3, 20.0)
    else:
        a, b = continuous(3)
        a, b = np.eye(3) + a / 20.0, b / 20.0
    found = model.memory_matrices()
    np.testing.assert_allclose(found[0].detach().numpy(), a, atol=5e-6)
    np.testing.assert_allclose(found[1].detach().numpy(), b, atol=5e-6)
    found[0].sum().backward()
    assert model.theta_inv.grad.abs() > 0


@pytest.mark.parametrize("neuron", ["leaky", "synaptic"])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_forward_gives_spikes_of_every_class(encoder, neuron):
    torch.manual_seed(0)
    low = {name: NeuronParameters(threshold=0.2) for name in (*"uhm", "output")}
    model = L2MU(config(encoder, neuron=neuron, bias=True, neurons=low))
    output = model(torch.randn(20, 6, 3) * 3)
    assert output.shape == (20, 6, 4)
    assert set(output.unique().tolist()) == {0.0, 1.0}


def test_windows_do_not_see_each_other():
    torch.manual_seed(1)
    model = L2MU(config(neurons={n: NeuronParameters(threshold=0.3) for n in "uhm"}))
    x = torch.randn(15, 4, 3) * 3
    with torch.no_grad():
        together = model(x)
        alone = torch.cat([model(x[:, i : i + 1]) for i in range(4)], dim=1)
        again = model(x)
    assert together.any()
    assert torch.equal(together, alone)
    assert torch.equal(together, again)


@pytest.mark.parametrize("encoder", ["plain", "stacked"])
def test_training_lowers_the_loss(encoder):
    torch.manual_seed(2)
    gradient = snntorch.surrogate.fast_sigmoid(slope=5)
    names = (*"uhm", "output", "encoder", "decoder", "0", "1", "2")
    low = dict.fromkeys(names, NeuronParameters(threshold=0.2))
    options = {"neurons": low, "trainable_theta": True, "bias": True}
    model = L2MU(config(encoder, **options), spike_grad=gradient)
    x = torch.randn(12, 32, 3) * 2
    y = (x.mean(0).argmax(1)).long()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)

    def loss():
        return F.cross_entropy(model(x).sum(0), y)

    first = loss()
    for _ in range(15):
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
    trained = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert trained >= {"e_x", "e_h", "e_m", "W_x", "W_h", "W_m", "theta_inv", "spk_m.beta"}
    assert loss() < 0.9 * first


def test_surrogate_changes_no_spike():
    torch.manual_seed(3)
    plain = L2MU(config())
    other = L2MU(config(), spike_grad=snntorch.surrogate.atan())
    other.load_state_dict(plain.state_dict())
    x = torch.randn(20, 5, 3) * 4
    assert torch.equal(plain(x), other(x))
    assert plain(x).any()


def test_names_are_the_published_ones():
    keys = set(L2MU(config("stacked", bias=True, trainable_theta=True)).state_dict())
    assert keys >= {"e_x", "e_h", "e_m", "W_x", "W_h", "W_m", "A", "B", "theta_inv", "_base_A"}
    assert keys >= {"bias_x", "output_transformation.weight", "spk_output.threshold", "spk_u.beta"}
    assert "input_encoder.hidden_encoder_list.2.weight" in keys
    assert "input_encoder.spk_decoder.beta" in keys
    assert "input_encoder.pop_encoder_list.0.bias" in L2MU(config("single")).state_dict()


def test_parameters_may_differ_per_neuron():
    betas = [0.1, 0.2, 0.3, 0.4, 0.5]
    neurons = {"u": NeuronParameters(beta=betas, reset="zero")}
    model = L2MU(config(neurons=neurons, learn_neurons=False, reset="none"))
    torch.testing.assert_close(model.spk_u.beta, torch.tensor(betas))
    assert model.spk_u.reset_mechanism == "zero"
    assert model.spk_h.reset_mechanism == "none"
    assert "spk_u.beta" not in dict(model.named_parameters())


def test_channel_names():
    assert channel_names(6) == IMU_CHANNELS
    assert channel_names(2) == ("0", "1")


def test_config_round_trip():
    original = config("single", neurons={"u": NeuronParameters(beta=[0.1] * 5, reset="zero")})
    assert L2MUConfig.from_dict(original.to_dict()) == original


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"hidden_size": 0}, "hidden_size must be at least 1, not 0"),
        ({"order": -1}, "order must be at least 1"),
        ({"theta": 0.0}, "theta must be a positive"),
        ({"theta": float("nan")}, "theta must be a positive"),
        ({"encoder": "double"}, "encoder must be one of plain, single, stacked"),
        ({"encoder": "single"}, "pop_size must be at least 1"),
        ({"encoder": "stacked", "pop_size": 2}, "encoding_size must be at least 1"),
        ({"neuron": "izhikevich"}, "neuron must be one of"),
        ({"reset": "soft"}, "reset must be one of"),
        ({"discretizer": "tustin"}, "discretizer must be one of zoh, euler"),
    ],
)
def test_bad_config(changes, text):
    with pytest.raises(ModelError, match=text):
        L2MUConfig(**{**SIZES, **changes})


def test_wrong_number_of_parameters():
    neurons = {"u": NeuronParameters(beta=[0.1, 0.2])}
    with pytest.raises(ModelError, match=r"beta_spk_u has shape \[2\]; expected one number or 5"):
        L2MU(config(neurons=neurons))


def test_unknown_config_fields():
    with pytest.raises(ModelError, match="hyper-parameters do not describe an L2MU"):
        L2MUConfig.from_dict({**SIZES, "flavour": 3})
