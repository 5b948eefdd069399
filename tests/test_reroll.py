"""Steps that repeat are re-rolled however they are written; what does not repeat is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from models import Feedforward, check, float64, leaky, synaptic, weights_of
from torch import nn

from l2mu_compile.errors import ModelError
from l2mu_compile.lift import lift
from l2mu_compile.trace import trace


@pytest.fixture(autouse=True)
def double_precision():
    with float64():
        yield


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
    (relu, r"current of spk_a.*not an affine.*aten\.relu.*test_reroll.py:\d+"),
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
