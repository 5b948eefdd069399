"""Lifted networks spike as the torch modules they come from."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from models import (
    Feedforward,
    Published,
    Recurrent,
    check,
    exact,
    float64,
    l2mu,
    leaky,
    simulate,
    weights_of,
)
from torch import nn

from l2mu_compile.l2mu import L2MU, L2MUConfig, NeuronParameters
from l2mu_compile.lift import Place, lift, lift_with_places
from l2mu_compile.trace import trace


@pytest.fixture(autouse=True)
def double_precision():
    with float64():
        yield


# Every pair of options occurs in one of these; the other combinations are slow tests.
PAIRWISE = [
    ("plain", "synaptic", "subtract", True, False),
    ("plain", "leaky", "zero", True, True),
    ("plain", "leaky", "none", False, False),
    ("single", "leaky", "subtract", False, False),
    ("single", "synaptic", "zero", False, False),
    ("single", "synaptic", "none", True, True),
    ("stacked", "leaky", "subtract", False, True),
    ("stacked", "synaptic", "zero", False, False),
    ("stacked", "leaky", "none", True, False),
]
OPTIONS = (
    ("plain", "single", "stacked"),
    ("leaky", "synaptic"),
    ("subtract", "zero", "none"),
    (False, True),
    (False, True),
)
VARIANTS = [
    pytest.param(*variant, marks=[] if variant in PAIRWISE else [pytest.mark.slow])
    for variant in itertools.product(*OPTIONS)
]


def test_the_variants_of_every_run_cover_all_pairs():
    for one, two in itertools.combinations(range(len(OPTIONS)), 2):
        covered = {(variant[one], variant[two]) for variant in PAIRWISE}
        assert covered == set(itertools.product(OPTIONS[one], OPTIONS[two]))


@pytest.mark.parametrize("encoder, neuron, reset, bias, theta", VARIANTS)
def test_every_variant_of_the_l2mu(encoder, neuron, reset, bias, theta):
    module = l2mu(encoder, neuron, reset, bias, theta)
    network = check(module, 3, gain=1.5, level=1.5)
    encoders = {
        "plain": [],
        "single": ["pop_encoder_list"],
        "stacked": ["hidden_encoder_list", "encoder", "decoder"],
    }[encoder]
    assert [p.name for p in network.populations] == [*encoders, "u", "m", "h", "output"]
    assert network.population("m").shape == (5, 3)
    shapes = weights_of(network)
    assert shapes["m.m.last"] == ((3, 3), 5)
    assert shapes["m.u"] == ((3, 1), 5)
    assert (network.population("u").bias is not None) is bias
    assert network.stage == "traced"
    assert network.readout.population == "output"
    expected = "clamp" if (neuron, reset) == ("synaptic", "zero") else reset
    assert network.population("h").neuron.reset == expected


def test_parameters_and_plain_weights_come_out_bit_for_bit():
    torch.set_default_dtype(torch.float32)
    betas = NeuronParameters([0.1 * k for k in range(9)])
    module = l2mu("single", bias=True, neurons={"h": betas})
    network = lift(trace(module))
    arrays = {p.name: p.weight for p in network.projections}
    for name, tensor in {
        "u.m.last": module.e_m,
        "h.h.last": module.W_h,
        "output.h": module.output_transformation.weight,
        "m.m.last": module.A,
        "m.u": module.B,
    }.items():
        np.testing.assert_array_equal(arrays[name], tensor.detach().numpy())
    linears = module.input_encoder.pop_encoder_list
    encoder = np.stack([m.weight.detach().numpy() for m in linears])
    np.testing.assert_array_equal(arrays["pop_encoder_list.x"], encoder)
    bias = sum(b.detach().double() for b in (module.bias_x, module.bias_h, module.bias_m))
    np.testing.assert_array_equal(network.population("u").bias, bias.float().numpy())
    np.testing.assert_array_equal(
        network.population("h").neuron.beta, module.spk_h.beta.detach().numpy()
    )
    assert network.population("m").neuron.beta.shape == ()


def test_memory_matrices_follow_a_trained_theta_in_the_models_own_float32():
    torch.set_default_dtype(torch.float32)
    module = l2mu("plain", theta=True)
    module.theta_inv.data.fill_(0.037)
    arrays = {p.name: p.weight for p in lift(trace(module)).projections}
    a, b = (m.detach().numpy() for m in module.memory_matrices())
    np.testing.assert_array_equal(arrays["m.m.last"], a)
    np.testing.assert_array_equal(arrays["m.u"], b)


def test_tiny_weights_survive_beside_large_biases():
    torch.set_default_dtype(torch.float32)
    module = Feedforward()
    module.fc1.weight.data[0, 0] = 1e-30
    module.fc1.bias.data.fill_(3e4)
    weight = lift(trace(module)).projections[0].weight
    np.testing.assert_array_equal(weight, module.fc1.weight.detach().numpy())


def test_default_surrogate_in_float32_agrees_but_for_rounding():
    torch.set_default_dtype(torch.float32)
    config = L2MUConfig(6, 4, 9, 5, 3, 12.0, encoder="single", pop_size=4)
    module = L2MU(config).eval()
    network = lift(trace(module))
    samples = torch.randn(20, 8, 6) * 3
    found = simulate(network, samples.double().numpy())["output"]
    with torch.no_grad():
        expected = module(samples).numpy()
    assert expected.any()
    assert (found == expected).mean() > 0.99


def test_the_size_of_the_example():
    module = l2mu(
        inputs=6,
        hidden_size=128,
        memory_size=64,
        order=4,
        pop_size=16,
        encoding_size=64,
        output_transformer_size=64,
    ).float()
    torch.set_default_dtype(torch.float32)
    network = lift(trace(module))
    assert weights_of(network)["hidden_encoder_list.x"] == ((6, 16, 1), 6)


def test_wide_layers():
    torch.set_default_dtype(torch.float32)
    module = Feedforward(inputs=500, hidden=1000)
    traced = trace(module, 500)
    network = lift(traced)
    np.testing.assert_array_equal(network.projections[0].weight, module.fc1.weight.detach().numpy())


def test_feedforward():
    network = check(Feedforward(), 5, gain=2)
    assert [p.name for p in network.populations] == ["lif1", "lif2"]
    assert list(weights_of(network)) == ["lif1.x", "lif2.lif1"]
    assert network.window is None


@pytest.mark.parametrize("batch_first", [True, False])
def test_published_style_cells(batch_first):
    module = Published(batch_first)
    network = check(module, 6, gain=1.5, level=2)
    assert [p.name for p in network.populations] == ["hidden_encoder_list", "u", "m", "h", "output"]
    assert network.population("m").shape == (4, 3)
    assert network.population("u").neuron.beta.shape == ()
    assert network.population("m").neuron.beta.shape == (12,)
    assert network.population("hidden_encoder_list").neuron.beta.shape == (18,)
    assert weights_of(network)["hidden_encoder_list.x"] == ((6, 3, 1), 6)
    assert weights_of(network)["m.m.last"] == ((3, 3), 4)
    assert [p.name for p in network.into("u")] == [
        "u.hidden_encoder_list",
        "u.h.last",
        "u.m.last",
    ]
    assert trace(module).inputs == 6


def test_forty_hard_coded_steps():
    module = Feedforward(inputs=3, hidden=6)

    class Forty(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1, self.lif1, self.fc2, self.lif2 = (
                module.fc1,
                module.lif1,
                module.fc2,
                module.lif2,
            )

        def forward(self, x):
            mem1, mem2, record = None, None, []
            for step in range(40):
                spk1, mem1 = self.lif1(self.fc1(x[:, step]), mem1)
                spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
                record.append(spk2)
            return torch.stack(record, dim=1)

    network = check(Forty(), 3, gain=2)
    assert network.window == 40


def test_graded_spikes_become_weights():
    module = Recurrent(factor=0.5)
    plain = lift(trace(exact(module), 3))
    check(module, 3, gain=2, level=3)
    drive = module.drive.detach().numpy() / 2 * 0.5  # `check` doubled it
    np.testing.assert_array_equal(plain.into("cells")[-1].weight, drive.astype(np.float32))
    assert plain.population("cells").shape == (4, 3)


def test_places_of_neuron_modules():
    places = lift_with_places(trace(exact(l2mu("single")))).places
    assert places == {
        **{
            f"input_encoder.spk_pop_encoder_list.{k}": Place("pop_encoder_list", 4 * k, 4)
            for k in range(3)
        },
        "spk_u": Place("u", 0, 5),
        "spk_m": Place("m", 0, 15),
        "spk_h": Place("h", 0, 9),
        "spk_output": Place("output", 0, 4),
    }


def test_encoders_are_placed_by_the_channel_they_read():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.ModuleList(nn.Linear(2, 3) for _ in range(2))
            self.lif = nn.ModuleList(leaky() for _ in range(3))
            self.out = nn.Linear(6, 4)

        def forward(self, x):
            states, record = [None] * 3, []
            for t in range(x.shape[0]):
                spikes = []
                for k, part in enumerate((x[t, :, 2:], x[t, :, :2])):
                    spk, states[k] = self.lif[k](self.fc[k](part), states[k])
                    spikes.append(spk)
                spk, states[2] = self.lif[2](self.out(torch.cat(spikes, 1)), states[2])
                record.append(spk)
            return torch.stack(record)

    lifted = lift_with_places(trace(Backwards(), 4))
    assert lifted.network.populations[0].size == 6
    name = lifted.network.populations[0].name
    assert lifted.places["lif.0"] == Place(name, 3, 3)
    assert lifted.places["lif.1"] == Place(name, 0, 3)


def test_names_are_unique_and_readable():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell1, self.cell2 = (
                nn.ModuleDict({"fc": nn.Linear(4, 4), "lif_x": leaky()}) for _ in range(2)
            )

        def forward(self, x):
            m1 = m2 = None
            out = []
            for sample in x:
                s, m1 = self.cell1["lif_x"](self.cell1["fc"](sample), m1)
                s, m2 = self.cell2["lif_x"](self.cell2["fc"](s), m2)
                out.append(s)
            return torch.stack(out)

    network = check(Two(), 4, gain=3)
    assert [p.name for p in network.populations] == ["cell1_x", "cell2_x"]
