"""Memory cells, blocks and per-channel encoders are recognized, and only where they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models import (
    Feedforward,
    Recurrent,
    check,
    exact,
    float64,
    l2mu,
    leaky,
    simulate,
    synaptic,
    weights_of,
)
from torch import nn

from l2mu_compile.lift import lift
from l2mu_compile.trace import trace


@pytest.fixture(autouse=True)
def double_precision():
    with float64():
        yield


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
