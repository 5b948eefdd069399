"""Torch models with snnTorch neurons, and the comparison of a lifted network with its model.

Models are run in float64 with weights that float32 can hold, so that a model and a plain float64
simulation of its network compute the same sums: spikes must be equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import snntorch
import torch
import torch.nn.functional as F
from snntorch import utils
from torch import nn

from l2mu_compile.l2mu import L2MU, L2MUConfig, NeuronParameters
from l2mu_compile.lift import lift
from l2mu_compile.network import Network
from l2mu_compile.neurons import CuBaLIF
from l2mu_compile.trace import trace
from l2mu_compile.verify import verify


@contextmanager
def float64() -> Iterator[None]:
    """New tensors are float64 inside, and the same ones every time."""
    torch.manual_seed(3)
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def step_gradient(shifted):
    """The surrogate of these tests: snnTorch's own casts spikes to float32."""
    return (shifted > 0).to(shifted.dtype)


def leaky(beta=0.8, threshold=1.0, **options):
    return snntorch.Leaky(beta=beta, threshold=threshold, spike_grad=step_gradient, **options)


def synaptic(alpha=0.6, beta=0.8, threshold=1.0, **options):
    return snntorch.Synaptic(
        alpha=alpha, beta=beta, threshold=threshold, spike_grad=step_gradient, **options
    )


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
            if neuron.reset == "subtract_first":
                membrane = membrane - threshold * fired
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


class Net(nn.Module):
    """One layer of ``neuron``, another that classifies; ``run`` may replace the loop."""

    def __init__(self, neuron=None, run=None, hidden=6, **options):
        super().__init__()
        self.fc = nn.Linear(3, hidden)
        self.spk_a = neuron if neuron is not None else snntorch.Leaky(beta=0.9, **options)
        self.out = nn.Linear(hidden, 4)
        self.spk_out = snntorch.Leaky(beta=0.8)
        self.run = run

    def forward(self, x):
        if self.run:
            return self.run(self, x)
        state, out_state, record = (), (), []
        for sample in x:
            spk, *state = self.layer(sample, state)
            spk, *out_state = self.spk_out(self.out(spk), *out_state)
            record.append(spk)
        return torch.stack(record)

    def layer(self, sample, state):
        result = self.spk_a(self.fc(sample), *state)
        result = result if isinstance(result, tuple) else (result,)
        return result[:1] if self.spk_a.init_hidden else result


def hard_coded(steps, axis=0):
    """A loop for `Net` that runs ``steps`` steps whatever its window."""

    def run(net, x):
        a, b, record = net.spk_a.init_leaky(), net.spk_out.reset_mem(), []
        for t in range(steps):
            spk, a = net.spk_a(net.fc(x.select(axis, t)), a)
            spk, b = net.spk_out(net.out(spk), b)
            record.append(spk)
        return torch.stack(record), a

    return run


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


class Twist(nn.Module):
    """Two layers in a plain loop, with functions in place of some of its parts.

    ``current(net, spikes, x, step, past)`` is what the second layer receives (``past`` holds the
    first layer's spikes of earlier steps), ``state(net, membrane, spikes, step)`` the first layer's
    next membrane, ``result(spikes, membranes)`` what is returned of the second layer's.
    """

    def __init__(self, current=None, state=None, result=None):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(5, 12), nn.Linear(12, 4)
        self.lif1, self.lif2 = leaky(threshold=0.5), leaky(0.7, threshold=0.3)
        self.norm, self.drop = nn.BatchNorm1d(12), nn.Dropout(0.5)
        nn.init.normal_(self.norm.running_mean)
        nn.init.uniform_(self.norm.running_var, 0.5, 2.0)
        self.current, self.state, self.result = current, state, result

    def forward(self, x):
        mem1, mem2 = self.lif1.reset_mem(), self.lif2.reset_mem()
        past, spikes, membranes = [], [], []
        for step in range(x.shape[0]):
            spk, mem1 = self.lif1(self.fc1(x[step]), mem1)
            if self.state:
                mem1 = self.state(self, mem1, spk, step)
            into = self.current(self, spk, x, step, past) if self.current else self.fc2(spk)
            past.append(spk)
            spk, mem2 = self.lif2(into, mem2)
            spikes.append(spk)
            membranes.append(mem2)
        spikes, membranes = torch.stack(spikes), torch.stack(membranes)
        return self.result(spikes, membranes) if self.result else spikes


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
    """Per-channel encoders, an L2MU cell and an output layer, as published."""

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
