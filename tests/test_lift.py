"""Lifted networks against the torch modules they come from, by a float64 simulation of our own."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
import snntorch
import torch
import torch.nn.functional as F
from snntorch import utils
from torch import nn

from l2mu_compile.errors import ModelError, UsageError
from l2mu_compile.l2mu import L2MU, L2MUConfig, NeuronParameters
from l2mu_compile.lift import lift
from l2mu_compile.network import Network
from l2mu_compile.neurons import CuBaLIF
from l2mu_compile.trace import trace
from l2mu_compile.verify import verify


def step_gradient(shifted):
    """The surrogate of these tests: snnTorch's own casts spikes to float32."""
    return (shifted > 0).to(shifted.dtype)


def leaky(beta=0.8, threshold=1.0, **options):
    return snntorch.Leaky(beta=beta, threshold=threshold, spike_grad=step_gradient, **options)


def synaptic(alpha=0.6, beta=0.8, threshold=1.0, **options):
    return snntorch.Synaptic(
        alpha=alpha, beta=beta, threshold=threshold, spike_grad=step_gradient, **options
    )


@pytest.fixture(autouse=True)
def double_precision():
    """Models in float64 whose numbers are float32, so that both sides compute the same sums."""
    torch.manual_seed(3)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def exact(module: nn.Module, gain: float = 1.0) -> nn.Module:
    """``module`` in float64 with weights that float32 can hold, amplified for livelier spiking."""
    module = module.double()
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point() and tensor.numel():
            scale = gain if tensor.ndim >= 2 else 1.0
            tensor.data = (tensor.data * scale).float().double()
    return module.eval()


def simulate(network: Network, samples: np.ndarray) -> dict[str, np.ndarray]:
    """Spikes ``[T, B, n]`` of every population for samples ``[T, B, inputs]``, in float64."""
    steps, batch, _ = samples.shape
    sizes = {p.name: p.size for p in network.populations}
    spikes = {name: np.zeros((steps + 1, batch, size)) for name, size in sizes.items()}
    state = {name: np.zeros((2, batch, size)) for name, size in sizes.items()}
    for step in range(steps):
        for population in network.order():
            name, neuron = population.name, population.neuron
            current = np.zeros((batch, population.size))
            if population.bias is not None:
                current += population.bias
            for projection in network.into(name):
                if projection.source == network.input.name:
                    rows = samples[step]
                else:
                    rows = spikes[projection.source][step + 1 - projection.delay]
                current += rows @ projection.dense().astype(np.float64).T
            beta, threshold = (np.float64(p) for p in (neuron.beta, neuron.threshold))
            synapse, membrane = state[name]
            fired = membrane > threshold
            if isinstance(neuron, CuBaLIF):
                current = np.float64(neuron.alpha) * synapse + current
            kept = beta * membrane * (1 - fired if neuron.reset == "zero" else 1.0)
            moved = kept + current - (threshold * fired if neuron.reset == "subtract" else 0.0)
            if neuron.reset == "clamp":
                moved = np.where(fired, 0.0, moved)
            state[name] = np.stack([current, moved])
            spikes[name][step + 1] = moved > threshold
    return {name: values[1:] for name, values in spikes.items()}


def agree(module, network, inputs, steps=30, batch=5, time_first=True, level=1.0):
    """The module's output spikes and the network's are the same, and there are some."""
    samples = torch.randn(steps, batch, inputs) * level
    with torch.no_grad():
        output = module(samples if time_first else samples.transpose(0, 1).contiguous())
    output = output[0] if isinstance(output, tuple) else output
    found = simulate(network, samples.numpy())[network.readout.population]
    if output.ndim == 2:
        found = found.sum(0)
    elif not time_first:
        output = output.transpose(0, 1)
    expected = output.numpy().reshape(found.shape)
    assert expected.any(), "the test model never spikes"
    assert not expected.all()
    np.testing.assert_array_equal(found, expected)


def check(module, inputs, gain=1.0, name="net", **options) -> Network:
    """Trace, lift, verify and compare; the network for further looks."""
    exact(module, gain)
    traced = trace(module, inputs)
    network = lift(traced, name)
    verify(network)
    options = {"steps": traced.window or 30, **options}
    agree(module, network, inputs, time_first=traced.time_first, **options)
    return network


def weights_of(network: Network) -> dict[str, tuple[tuple[int, ...], int]]:
    return {p.name: (p.weight.shape, p.blocks) for p in network.projections}


# ---- the package's own L2MU ----

VARIANTS = [
    pytest.param(*options, bias, theta, marks=[pytest.mark.slow] if bias != theta else [])
    for *options, bias, theta in itertools.product(
        ("plain", "single", "stacked"),
        ("leaky", "synaptic"),
        ("subtract", "zero", "none"),
        (False, True),
        (False, True),
    )
]


def l2mu(encoder="stacked", neuron="leaky", reset="subtract", bias=False, theta=False, **options):
    lively = NeuronParameters(beta=0.85, threshold=0.4, alpha=0.5)
    names = ("u", "m", "h", "output", "encoder", "decoder", "0", "1", "2")
    values = {
        **{
            "inputs": 3,
            "classes": 4,
            "hidden_size": 9,
            "memory_size": 5,
            "order": 3,
            "theta": 12.0,
        },
        **{"pop_size": 4, "encoding_size": 8, "output_transformer_size": 7},
        **{"encoder": encoder, "neuron": neuron, "reset": reset, "bias": bias},
        **{"trainable_theta": theta, "neurons": dict.fromkeys(names, lively)},
        **options,
    }
    module = L2MU(L2MUConfig(**values), step_gradient)
    for parameter in (module.e_m, module.bias_x, module.bias_h, module.bias_m):
        if parameter is not None:
            nn.init.normal_(parameter, std=0.3)
    return module


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


def test_example_size_takes_seconds():
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
    trace(Feedforward())
    start = time.perf_counter()
    network = lift(trace(module))
    assert time.perf_counter() - start < 10  # 1.5 s on an idle machine
    assert weights_of(network)["hidden_encoder_list.x"] == ((6, 16, 1), 6)


def test_wide_layers_take_seconds():
    torch.set_default_dtype(torch.float32)
    module = Feedforward(inputs=500, hidden=1000)
    traced = trace(module, 500)
    start = time.perf_counter()
    network = lift(traced)
    assert time.perf_counter() - start < 10  # 1 s on an idle machine
    np.testing.assert_array_equal(network.projections[0].weight, module.fc1.weight.detach().numpy())


# ---- other people's code ----


class Feedforward(nn.Module):
    """Linear, LIF, linear, LIF; state passed explicitly; every step's outputs stacked."""

    def __init__(self, inputs=5, hidden=12, neuron=leaky, **options):
        super().__init__()
        self.fc1 = nn.Linear(inputs, hidden)
        self.lif1 = neuron(**options)
        self.fc2 = nn.Linear(hidden, 4)
        self.lif2 = neuron(**options)

    def forward(self, x):
        mem1, mem2 = self.lif1.reset_mem(), self.lif2.init_leaky()
        spk_rec, mem_rec = [], []
        for step in range(x.size(0)):
            spk1, mem1 = self.lif1(self.fc1(x[step]), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            spk_rec.append(spk2)
            mem_rec.append(mem2)
        return torch.stack(spk_rec, dim=0), torch.stack(mem_rec, dim=0)


def test_feedforward():
    network = check(Feedforward(), 5, gain=2)
    assert [p.name for p in network.populations] == ["lif1", "lif2"]
    assert list(weights_of(network)) == ["lif1.x", "lif2.lif1"]
    assert network.window is None


class LayerByLayer(Feedforward):
    """The first layer over the whole window before the second; input layer outside the loop."""

    def forward(self, x):
        currents = self.fc1(x)
        mem1, mem2 = torch.zeros(x.shape[1], 12), None
        hidden = []
        for current in currents:
            spk, mem1 = self.lif1(current, mem1)
            hidden.append(spk)
        hidden = self.fc2(torch.stack(hidden))
        record = torch.zeros(x.shape[0], x.shape[1], 4)
        for step, current in enumerate(hidden.unbind(0)):
            record[step], mem2 = self.lif2(current, mem2)
        return record


class InPlace(Feedforward):
    """Currents put together in place, through views, in a buffer that is used again."""

    def forward(self, x):
        mem1, mem2 = torch.zeros(x.shape[1], 12), torch.zeros(x.shape[1], 4)
        current = torch.zeros(x.shape[1], 12)
        record = x.new_empty(x.shape[0], x.shape[1], 4)
        spk1 = torch.zeros(x.shape[1], 12)
        for step in range(x.shape[0]):
            current.zero_()
            current += self.fc1(x[step])
            current[:, :4] += 0.5 * spk1[:, 4:8]
            current[:, 0] -= 0.25
            spk1, mem1 = self.lif1(current, mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            record[step].copy_(spk2)
        return record


class Delayed(Feedforward):
    """The output layer first, from the hidden spikes of the step before."""

    def forward(self, x):
        state1, state2, record = (), (), []
        hidden = torch.zeros(x.shape[1], 12)
        for sample in x:
            spk, *state2 = self.lif2(self.fc2(hidden), *state2)
            hidden, *state1 = self.lif1(self.fc1(sample), *state1)
            record.append(spk)
        return torch.stack(record), hidden


@pytest.mark.parametrize("neuron", [leaky, synaptic])
def test_output_of_last_steps_spikes(neuron):
    network = check(Delayed(neuron=neuron), 5, gain=2)
    assert [p.name for p in network.populations] == ["lif2", "lif1"]
    assert list(weights_of(network)) == ["lif2.lif1.last", "lif1.x"]


def test_currents_made_in_place():
    module = InPlace()
    network = check(module, 5, gain=2)
    bias = module.fc1.bias.detach().numpy().copy()
    bias[0] -= 0.25
    np.testing.assert_array_equal(network.population("lif1").bias, bias.astype(np.float32))
    assert list(weights_of(network)) == ["lif1.x", "lif1.lif1.last", "lif2.lif1"]


def test_layer_by_layer_and_preallocated_record():
    assert list(weights_of(check(LayerByLayer(), 5, gain=2))) == ["lif1.x", "lif2.lif1"]


class Cell(nn.Module):
    """An L2MU cell with hidden-state neurons, as published: everything on ``self``."""

    def __init__(self, inputs, hidden, memory, order):
        super().__init__()
        self.memory, self.order = memory, order
        learned = {"learn_beta": True, "learn_threshold": True, "init_hidden": True}
        self.spk_u = leaky(torch.tensor([0.7]), 0.8, **learned)
        self.spk_h = leaky(torch.rand(hidden), torch.rand(hidden) + 0.5, **learned)
        self.spk_m = leaky(torch.rand(memory * order), output=True, **learned)
        self.e_x = nn.Parameter(torch.randn(memory, inputs))
        self.e_h = nn.Parameter(torch.randn(memory, hidden))
        self.e_m = nn.Parameter(torch.randn(memory, memory * order) * 0.2)
        self.kernel = nn.Linear(inputs, hidden, bias=False)
        self.W_h = nn.Parameter(torch.randn(hidden, hidden))
        self.W_m = nn.Parameter(torch.randn(hidden, memory * order))
        self.register_buffer("A", torch.randn(order, order) * 0.6)
        self.register_buffer("B", torch.randn(order, 1))
        self.h = self.m = None

    def init_cell(self):
        self.spk_u.init_leaky()
        self.spk_h.init_leaky()
        self.spk_m.init_leaky()
        self.h, self.m = torch.empty(0), torch.empty(0)

    def forward(self, x):
        if self.h.numel() == 0:
            self.h = torch.zeros(x.shape[0], self.W_h.shape[0])
            self.m = torch.zeros(x.shape[0], self.memory * self.order)
        u = torch.einsum("bi,mi->bm", x, self.e_x)
        u = u + self.h @ self.e_h.t() + torch.matmul(self.m, self.e_m.permute(1, 0))
        u = self.spk_u(u).unsqueeze(-1)
        m = self.m.reshape(-1, self.memory, self.order)
        m = torch.cat([m, u], dim=-1) @ torch.cat([self.A, self.B], dim=1).t()
        self.m, self.last = self.spk_m(m.reshape(x.shape[0], -1))
        self.h = self.spk_h(
            self.kernel(x) + F.linear(self.h, self.W_h) + F.linear(self.m, self.W_m)
        )
        return self.h


class Published(nn.Module):
    def __init__(self, batch_first=True, inputs=6):
        super().__init__()
        self.batch_first = batch_first
        self.hidden_encoder_list = nn.ModuleList(nn.Linear(1, 3) for _ in range(inputs))
        self.spk_hidden_encoder_list = nn.ModuleList(
            leaky(torch.rand(3), 0.3, learn_beta=True, init_hidden=True) for _ in range(inputs)
        )
        self.drop = nn.Dropout(0.3)
        self.channels = lambda: zip(
            self.hidden_encoder_list, self.spk_hidden_encoder_list, strict=True
        )
        self.cell = Cell(3 * inputs, 10, 4, 3)
        self.output = nn.Linear(10, 4)
        self.spk_output = leaky(threshold=0.5, init_hidden=True)

    def forward(self, x):
        utils.reset(self)
        for neuron in self.spk_hidden_encoder_list:
            neuron.reset_mem()
        self.cell.init_cell()
        if self.batch_first:
            x = x.permute(1, 0, 2)
        outputs = []
        for step in range(x.shape[0]):
            encoded = [
                neuron(linear(x[step, :, k].unsqueeze(1)))
                for k, (linear, neuron) in enumerate(self.channels())
            ]
            h = self.cell(self.drop(torch.cat(encoded, dim=-1)))
            outputs.append(self.spk_output(self.output(h)))
        outputs = torch.stack(outputs)
        return outputs.permute(1, 0, 2) if self.batch_first else outputs


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


class Recurrent(nn.Module):
    """Memory cells with currents of shape [B, cells, order]; returns a spike count."""

    def __init__(self, make=leaky, factor=1.0, matrix=None, total="sum"):
        super().__init__()
        self.total = total
        self.fc = nn.Linear(3, 4)
        extra = {} if make is synaptic else {"graded_spikes_factor": factor}
        self.spk_in = make(**extra)
        self.spk_cells = make(**extra)
        self.matrix = nn.Parameter(torch.randn(3, 3) if matrix is None else matrix)
        self.drive = nn.Parameter(torch.randn(3, 1) + 1)
        self.out = nn.Linear(12, 5)
        self.spk_out = leaky()

    def forward(self, x):
        a = b = c = None
        spk = x.new_zeros(x.shape[1], 4, 3)
        total = 0
        for sample in x:
            spk_in, *a = self.spk_in(self.fc(sample), *(a or ()))
            cells = torch.einsum("bmd,ed->bme", spk, self.matrix) + spk_in[..., None] @ self.drive.T
            spk, *b = self.spk_cells(cells, *(b or ()))
            spk_out, *c = self.spk_out(self.out(spk.flatten(1)), *(c or ()))
            total = total + spk_out
        return total / x.shape[0] if self.total == "mean" else total


@pytest.mark.parametrize("make", [leaky, synaptic])
@pytest.mark.parametrize(
    "matrix",
    [
        None,
        torch.diag(torch.tensor([0.5, -0.25, 0.75])),
        torch.eye(3) * 0.5,
        torch.tensor([[0.5, 0, 0], [0.25, 0.5, 0], [0, 0.75, -0.5]]),
        torch.zeros(3, 3),
    ],
    ids=["full", "diagonal", "scalar", "triangular", "zero"],
)
def test_memory_cells_of_any_matrix(make, matrix):
    network = check(Recurrent(make, matrix=matrix), 3, gain=1.5, level=2)
    assert network.population("cells").shape == (4, 3)
    shapes = weights_of(network)
    assert shapes["cells.in"] == ((3, 1), 4)
    if matrix is None or matrix.any():
        assert shapes["cells.cells.last"] == ((3, 3), 4)
    else:
        assert "cells.cells.last" not in shapes


def test_graded_spikes_become_weights():
    module = Recurrent(factor=0.5)
    plain = lift(trace(exact(module), 3))
    check(module, 3, gain=2, level=3)
    drive = module.drive.detach().numpy() / 2 * 0.5  # `check` doubled it
    np.testing.assert_array_equal(plain.into("cells")[-1].weight, drive.astype(np.float32))
    assert plain.population("cells").shape == (4, 3)


def test_spike_sum_and_mean_over_time_are_a_count():
    module = exact(Recurrent(total="mean"), 2)
    network = lift(trace(module, 3))
    assert network.readout.rule == "spike_count"
    samples = torch.randn(20, 4, 3)
    found = simulate(network, samples.numpy())["out"].mean(0)
    np.testing.assert_allclose(found, module(samples).detach().numpy())


def test_per_channel_parameters_stay_scalar_where_all_agree():
    network = check(l2mu("single"), 3, gain=1.5, level=2)
    assert network.population("pop_encoder_list").neuron.beta.shape == ()


def test_channels_that_feed_different_readers_are_not_merged():
    class Split(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(1, 3), nn.Linear(1, 3)
            self.spk_a, self.spk_b, self.spk_c, self.spk_out = (leaky() for _ in range(4))
            self.c, self.out = nn.Linear(3, 5), nn.Linear(8, 2)

        def forward(self, x):
            ma = mb = mc = mo = None
            record = []
            for t in range(x.shape[0]):
                a, ma = self.spk_a(self.a(x[t, :, :1]), ma)
                b, mb = self.spk_b(self.b(x[t, :, 1:2]), mb)
                c, mc = self.spk_c(self.c(b), mc)
                o, mo = self.spk_out(self.out(torch.cat([a, c], 1)), mo)
                record.append(o)
            return record

    module = exact(Split(), 2)
    network = lift(trace(module, 2))
    assert [p.name for p in network.populations] == ["a", "b", "c", "out"]
    samples = torch.randn(25, 3, 2) * 2
    with torch.no_grad():
        expected = torch.stack(module(samples)).numpy()
    np.testing.assert_array_equal(simulate(network, samples.numpy())["out"], expected)


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


def test_elementwise_projections_are_not_taken_for_cells():
    class Elementwise(Feedforward):
        def forward(self, x):
            mem1 = mem2 = None
            spk1, record = x.new_zeros(x.shape[1], 12), []
            for sample in x:
                spk1, mem1 = self.lif1(self.fc1(sample) - spk1, mem1)
                spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
                record.append(spk2)
            return torch.stack(record)

    network = check(Elementwise(), 5, gain=2)
    assert network.population("lif1").shape == (12,)
    assert weights_of(network)["lif1.lif1.last"] == ((1, 1), 12)


# ---- readouts ----


class Membranes(Feedforward):
    def __init__(self, what="all"):
        super().__init__()
        self.what = what

    def forward(self, x):
        spikes, membranes = super().forward(x)
        return {
            "all": membranes,
            "last": membranes[-1],
            "mean": membranes.mean(0),
            "flipped": spikes.flip(-1),
            "softmax": spikes.sum(0).softmax(-1),
            "some": spikes[..., :2],
            "last_spikes": spikes[-1],
            "flat": spikes.reshape(-1, 4),
        }[self.what]


def test_a_membrane_needs_a_rule():
    traced = trace(Membranes(), 5)
    with pytest.raises(ModelError, match=r"returns the membrane of lif2.*readout=.*max_membrane"):
        lift(traced)
    assert lift(traced, readout="max_membrane").readout.rule == "max_membrane"
    with pytest.raises(UsageError, match="readout must be one of"):
        lift(traced, readout="argmax")


@pytest.mark.parametrize("what, rule", [("last", "last_membrane"), ("mean", "mean_membrane")])
def test_one_membrane_per_window_says_its_rule(what, rule):
    assert lift(trace(Membranes(what), 5)).readout.rule == rule


@pytest.mark.parametrize("what", ["flipped", "softmax", "some", "last_spikes", "flat"])
def test_other_outputs_are_refused(what):
    with pytest.raises(ModelError, match=r"Membranes returns .*spikes of one neuron layer"):
        lift(trace(Membranes(what), 5))


def test_spikes_may_be_read_by_membrane():
    assert lift(trace(Feedforward(), 5), readout="mean_membrane").readout.rule == "mean_membrane"


# ---- refusals ----


class Odd(nn.Module):
    """A small recurrent network with one thing wrong: the method ``change`` says what."""

    def __init__(self, change):
        super().__init__()
        self.change = change
        self.fc, self.back, self.out = nn.Linear(3, 6), nn.Linear(6, 6), nn.Linear(6, 4)
        self.spk_a, self.spk_b = leaky(), leaky()

    def forward(self, x):
        state = {"ma": None, "mb": None, "past": [], "x": x, "step": 0}
        record = []
        last = torch.zeros(x.shape[1], 6)
        for step in range(x.shape[0]):
            state["step"] = step
            current = self.fc(x[step]) + self.back(last)
            current = self.change(self, current, state)
            last, state["ma"] = self.spk_a(current, state["ma"])
            state["past"].append(last)
            out, state["mb"] = self.spk_b(self.out(last), state["mb"])
            record.append(out)
        return torch.stack(record)


def relu(net, current, state):
    return torch.relu(current)


def older_spikes(net, current, state):
    return current + state["past"][-2] if len(state["past"]) > 1 else current


def other_sample(net, current, state):
    return current + net.fc(state["x"][max(state["step"] - 1, 0)])


def foreign_membrane(net, current, state):
    return current if state["mb"] is None else current + state["mb"].sum(1, keepdim=True)


def damped_membrane(net, current, state):
    state["ma"] = None if state["ma"] is None else state["ma"] * 0.9
    return current


def primed_membrane(net, current, state):
    state["ma"] = torch.ones(current.shape) if state["ma"] is None else state["ma"]
    return current


def growing(net, current, state):
    return current * (state["step"] + 1)


def first_step(net, current, state):
    return current if state["step"] else current + 1


def product(net, current, state):
    return current * state["past"][-1] if state["past"] else current


def noise(net, current, state):
    return current + torch.randn(current.shape)


def dropout(net, current, state):
    return F.dropout(current)


def mixed_batch(net, current, state):
    return current - current.mean(0)


def clamped(net, current, state):
    return current.clamp(-1e3, 1e3)


REFUSALS = [
    (relu, r"current of spk_a.*not an affine.*aten\.relu.*test_lift.py:\d+"),
    (older_spikes, r"current of spk_a at step 2 reads the spikes of spk_a at step 0"),
    (other_sample, r"current of spk_a at step 1 reads sample 0"),
    (foreign_membrane, r"reads the membrane of spk_b at step 0"),
    (damped_membrane, r"membrane of spk_a is changed between steps 0 and 1 by aten.mul"),
    (primed_membrane, r"spk_a starts a window with a membrane that is not zero"),
    (growing, r"of spk_a differs from step 1"),
    (first_step, r"first step of spk_a differs from step 1"),
    (product, r"not an affine.*aten\.mul"),
    (noise, r"draws random numbers"),
    (dropout, r"draws random numbers"),
    (mixed_batch, r"mixes the windows of a batch"),
    (clamped, r"not an affine.*aten\.clamp"),
]


@pytest.mark.parametrize("change, message", REFUSALS, ids=[c.__name__ for c, _ in REFUSALS])
def test_refuses_by_name(change, message):
    with pytest.raises(ModelError, match=message) as caught:
        lift(trace(Odd(change), 3))
    assert "\n" not in str(caught.value)
