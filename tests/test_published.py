"""Modules written the way people write them: each lifts, matches its module and is validated."""

from __future__ import annotations

import numpy as np
import pytest
import snntorch as snn
import torch
import torch.nn.functional as F
from models import weights_of
from snntorch import surrogate, utils
from torch import nn

from l2mu_compile.frontend import from_module
from l2mu_compile.interpreter import run


class Tutorial(nn.Module):
    """The tutorials' two-layer loop: a fixed number of steps, spikes and membranes stacked."""

    num_steps = 40

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(6, 20)
        self.lif1 = snn.Leaky(beta=0.95, spike_grad=surrogate.fast_sigmoid(slope=25))
        self.fc2 = nn.Linear(20, 4)
        self.lif2 = snn.Leaky(beta=0.95, spike_grad=surrogate.fast_sigmoid(slope=25))

    def forward(self, x):
        mem1 = self.lif1.init_leaky()
        mem2 = self.lif2.init_leaky()
        spk2_rec, mem2_rec = [], []
        for step in range(self.num_steps):
            cur1 = self.fc1(x[step])
            spk1, mem1 = self.lif1(cur1, mem1)
            cur2 = self.fc2(spk1)
            spk2, mem2 = self.lif2(cur2, mem2)
            spk2_rec.append(spk2)
            mem2_rec.append(mem2)
        return torch.stack(spk2_rec, dim=0), torch.stack(mem2_rec, dim=0)


class HiddenSequential(nn.Module):
    """``nn.Sequential`` with hidden states; a dictionary of what was recorded."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(6, 24),
            nn.Dropout(0.2),
            snn.Leaky(beta=0.8, init_hidden=True),
            nn.Linear(24, 4),
            snn.Leaky(beta=0.8, init_hidden=True, output=True),
        )

    def forward(self, data):
        utils.reset(self.net)
        spikes, membranes = [], []
        for step in range(data.size(1)):
            spk, mem = self.net(data[:, step, :])
            spikes.append(spk)
            membranes.append(mem)
        return {"membranes": torch.stack(membranes), "spikes": torch.stack(spikes)}


class InlinedL2MU(nn.Module):
    """An L2MU with its cell written out in the loop, and matrices that came from NumPy."""

    def __init__(self, size=5, order=3, hidden=10):
        super().__init__()
        self.size, self.order, self.hidden_size = size, order, hidden
        self.e_x = nn.Parameter(torch.randn(size, 6))
        self.e_h = nn.Parameter(torch.randn(size, hidden) * 0.3)
        self.e_m = nn.Parameter(torch.randn(size, size * order) * 0.3)
        self.W_x = nn.Parameter(torch.randn(hidden, 6))
        self.W_h = nn.Parameter(torch.randn(hidden, hidden) * 0.3)
        self.W_m = nn.Parameter(torch.randn(hidden, size * order))
        i, j = np.mgrid[:order, :order]
        matrix = (2 * i + 1) * np.where(i < j, -1.0, (-1.0) ** (i - j + 1)) / 10
        self.register_buffer("A", torch.from_numpy(np.eye(order) + matrix).float())
        self.register_buffer("B", torch.tensor([[1.0], [-3.0], [5.0]]) / 4)
        self.spk_u = snn.Leaky(beta=torch.rand(size), threshold=0.5, learn_beta=True)
        self.spk_m = snn.Leaky(beta=0.5, threshold=0.4, reset_mechanism="zero")
        self.spk_h = snn.Leaky(beta=torch.rand(1), learn_beta=True, learn_threshold=True)
        self.fc_out = nn.Linear(hidden, 4)
        self.spk_out = snn.Leaky(beta=0.9)

    def forward(self, x):
        batch_size, seq_len, _ = x.size()
        mem_u, mem_m = self.spk_u.reset_mem(), self.spk_m.reset_mem()
        mem_h, mem_o = self.spk_h.reset_mem(), self.spk_out.reset_mem()
        h = torch.zeros(batch_size, self.hidden_size, device=x.device)
        m = torch.zeros(batch_size, self.size * self.order, device=x.device)
        out = torch.zeros(seq_len, batch_size, 4, device=x.device)
        for t in range(seq_len):
            x_t = x[:, t, :]
            u = F.linear(x_t, self.e_x) + F.linear(h, self.e_h) + F.linear(m, self.e_m)
            u, mem_u = self.spk_u(u, mem_u)
            m = m.view(batch_size, self.size, self.order)
            m = torch.matmul(m, self.A.T) + torch.matmul(u.unsqueeze(-1), self.B.T)
            m, mem_m = self.spk_m(m.view(batch_size, self.size * self.order), mem_m)
            h = F.linear(x_t, self.W_x) + F.linear(h, self.W_h) + F.linear(m, self.W_m)
            h, mem_h = self.spk_h(h, mem_h)
            spk, mem_o = self.spk_out(self.fc_out(h), mem_o)
            out[t] = spk
        return out


class ChannelEncoders(nn.Module):
    """One small layer per channel, states in a dictionary, spikes concatenated; a spike count."""

    def __init__(self, channels=6, pop=4):
        super().__init__()
        self.encoders = nn.ModuleList(nn.Linear(1, pop) for _ in range(channels))
        self.spk_encoders = nn.ModuleDict(
            {f"ch{k}": snn.Leaky(beta=torch.rand(pop), threshold=0.4) for k in range(channels)}
        )
        self.fc = nn.Linear(channels * pop, 4)
        self.spk_fc = snn.Leaky(beta=0.9, threshold=0.8)

    def forward(self, x):
        states = {name: neuron.reset_mem() for name, neuron in self.spk_encoders.items()}
        state, total = self.spk_fc.reset_mem(), 0
        for t in range(x.shape[1]):
            encoded = []
            for k, (name, neuron) in enumerate(self.spk_encoders.items()):
                spk, states[name] = neuron(self.encoders[k](x[:, t, k].unsqueeze(-1)), states[name])
                encoded.append(spk)
            spk, state = self.spk_fc(self.fc(torch.cat(encoded, dim=-1)), state)
            total = total + spk
        return total


class RecurrentSynaptic(nn.Module):
    """Synaptic neurons with a layer from their last spikes; counts and last membranes."""

    def __init__(self):
        super().__init__()
        self.win, self.rec = nn.Linear(6, 16), nn.Linear(16, 16, bias=False)
        self.lif = snn.Synaptic(alpha=0.7, beta=0.8, reset_mechanism="zero")
        self.out = nn.Linear(16, 4)
        self.lif_out = snn.Synaptic(alpha=0.5, beta=0.9)

    def forward(self, x):
        syn, mem = self.lif.init_synaptic()
        syn_out, mem_out = self.lif_out.init_synaptic()
        spk = torch.zeros((x.shape[1], 16), dtype=x.dtype, device=x.device)
        rec = []
        for x_t in torch.unbind(x, dim=0):
            spk, syn, mem = self.lif(self.win(x_t) + self.rec(spk), syn, mem)
            spk_out, syn_out, mem_out = self.lif_out(self.out(spk), syn_out, mem_out)
            rec += [spk_out]
        return torch.stack(rec).sum(dim=0), mem_out


class Deep(nn.Module):
    """Normalized layers in a list, layer after layer over the whole window; a mean rate."""

    def __init__(self):
        super().__init__()
        sizes = (6, 16, 12, 4)
        self.linears = nn.ModuleList(map(nn.Linear, sizes, sizes[1:]))
        self.norms = nn.ModuleList(map(nn.BatchNorm1d, sizes[1:]))
        self.neurons = nn.ModuleList(snn.Leaky(beta=0.9, threshold=0.5) for _ in sizes[1:])

    def forward(self, x):
        x = x.permute(1, 0, 2)
        for linear, norm, neuron in zip(self.linears, self.norms, self.neurons, strict=True):
            mem, spikes = neuron.reset_mem(), []
            for x_t in x:
                spk, mem = neuron(norm(linear(x_t)), mem)
                spikes.append(spk)
            x = torch.stack(spikes)
        return x.mean(0)


class Regressor(nn.Module):
    """The last layer integrates and never resets; its membranes are what is read."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(6, 20), nn.Linear(20, 4)
        self.lif1 = snn.Leaky(beta=0.9, learn_threshold=True)
        self.lif2 = snn.Leaky(beta=0.95, reset_mechanism="none")

    def forward(self, x):
        mem1, mem2, mem_rec = self.lif1.reset_mem(), self.lif2.reset_mem(), []
        for step in range(x.size(0)):
            spk1, mem1 = self.lif1(self.fc1(x[step]), mem1)
            _, mem2 = self.lif2(self.fc2(spk1), mem2)
            mem_rec.append(mem2)
        return torch.stack(mem_rec)


class StateOnSelf(nn.Module):
    """Hidden and memory vectors live on the module and are made when they are first needed."""

    def __init__(self):
        super().__init__()
        self.wx, self.wh = nn.Linear(6, 14), nn.Linear(14, 14, bias=False)
        self.readout = nn.Linear(14, 4)
        self.cell = snn.Leaky(beta=0.85, init_hidden=True)
        self.last = snn.Leaky(beta=0.85, init_hidden=True)
        self.hidden = None

    def reset(self):
        self.cell.reset_mem()
        self.last.reset_mem()
        self.hidden = None

    def forward(self, x):
        self.reset()
        outputs = []
        for x_t in x.transpose(0, 1):
            if self.hidden is None:
                self.hidden = torch.zeros(x_t.shape[0], self.wh.in_features).to(x_t)
            self.hidden = self.cell(self.wx(x_t) + self.wh(self.hidden))
            outputs.append(self.last(self.readout(self.hidden)))
        return torch.stack(outputs, dim=1)


# What the module returns, as scores of the classes [B, C]; populations; projections.
STYLES = {
    Tutorial: (lambda out: out[0].sum(0), "lif1 lif2", "lif1.x lif2.lif1"),
    HiddenSequential: (lambda out: out["spikes"].sum(0), "net_2 net_4", "net_2.x net_4.net_2"),
    InlinedL2MU: (
        lambda out: out.sum(0),
        "u m h out",
        "u.x u.h.last u.m.last m.m.last m.u h.x h.h.last h.m out.h",
    ),
    ChannelEncoders: (
        lambda out: out,
        "encoders fc",
        "encoders.x fc.encoders",
    ),
    RecurrentSynaptic: (lambda out: out[0], "lif out", "lif.x lif.lif.last out.lif"),
    Deep: (
        lambda out: out,
        "neurons_0 neurons_1 neurons_2",
        "neurons_0.x neurons_1.neurons_0 neurons_2.neurons_1",
    ),
    Regressor: (lambda out: out.max(0).values, "lif1 lif2", "lif1.x lif2.lif1"),
    StateOnSelf: (lambda out: out.sum(1), "cell last", "cell.x cell.cell.last last.cell"),
}


def lively(style) -> nn.Module:
    torch.manual_seed(2)
    module = style()
    for parameter in module.parameters():
        if parameter.ndim == 2:
            parameter.data *= 2.0
    return module


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.__name__)
def test_style(style):
    scores, populations, projections = STYLES[style]
    module = lively(style)
    rule = "max_membrane" if style is Regressor else None
    model = from_module(module, 6, readout=rule)
    assert model.notes == ()
    assert [p.name for p in model.network.populations] == populations.split()
    assert set(weights_of(model.network)) == set(projections.split())
    assert model.network.window == (40 if style is Tutorial else None)

    draw = np.random.default_rng(0).normal
    steps = 40 if style is Tutorial else 200
    windows = (draw(size=(50, steps, 6)) + 2 * draw(size=(50, 1, 6))).astype(np.float32)
    model.validate(windows[:8])
    module.eval()
    samples = torch.from_numpy(windows)
    time_first = model.original.time_first
    with torch.no_grad():
        wanted = scores(module(samples.transpose(0, 1) if time_first else samples)).argmax(1)
    found = run(model.network, windows)
    assert len(set(wanted.tolist())) > 1, "a dull test model: one decision for all"
    np.testing.assert_array_equal(model.decide(windows), wanted)
    assert (found.decisions == wanted.numpy()).mean() >= 0.95
    rates = {p.name: found.rate(p) for p in model.network.populations}
    assert all(0.001 < rate < 0.999 for rate in rates.values()), rates
