"""Recorded runs: every operation is seen, and nothing that depends on samples goes unnoticed."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from models import Net, float64, hard_coded

from l2mu_compile.errors import ModelError
from l2mu_compile.lift import lift
from l2mu_compile.trace import trace


def test_shapes_decide_branches_but_values_may_not():
    def run(net, x):
        return Net().forward(x) if x.sum() > 0 else hard_coded(3)(net, x)

    with pytest.raises(ModelError) as caught:
        trace(Net(run=run), 3)
    message = str(caught.value)
    assert message.startswith("Net.forward cannot be traced: bool() depends on the numbers in a ")
    assert "(test_recording.py:" in message and "if x.sum() > 0 else" in message
    assert "control flow may depend on shapes, not on values" in message


def through(change):
    """A loop for `Net` with ``change`` applied to the current of every step."""

    def run(net, x):
        a = b = None
        record = []
        for sample in x:
            spk, a = net.spk_a(change(net, net.fc(sample)), a)
            spk, b = net.spk_out(net.out(spk), b)
            record.append(spk)
        return torch.stack(record)

    return run


def written_number(net, current):
    net.number.view(1).add_(current[0, :1])
    return current + net.number.item()


LOOKS = {
    "written": written_number,
    "item": lambda net, c: c * c.sum().item(),
    "float": lambda net, c: c * float(c[0, 0]),
    "branch": lambda net, c: c if c.sum() > -1 else -c,
    "tolist": lambda net, c: c + torch.tensor(c.tolist()),
    "numpy": lambda net, c: c + torch.from_numpy(c.detach().numpy()),
    "asarray": lambda net, c: c + torch.tensor(np.asarray(c.detach())),
    "equal": lambda net, c: c if torch.equal(c, c * 2) else -c,
    "allclose": lambda net, c: c if torch.allclose(c, c * 2) else -c,
    "nonzero": lambda net, c: c + c.nonzero().sum(),
    "mask": lambda net, c: c + c[c > 0].sum(),
    "legacy": lambda net, c: c + c.new([1.0]),
}


@pytest.mark.parametrize("name", LOOKS)
def test_code_that_looks_at_numbers_is_refused_by_line(name):
    net = Net(run=through(LOOKS[name]))
    net.register_buffer("number", torch.zeros(()))
    with pytest.raises(
        ModelError, match=r"Net.forward cannot be traced: .*not on values"
    ) as caught:
        trace(net, 3)
    message = str(caught.value)
    assert "\n" not in message
    own = "return current + net.number.item()" if name == "written" else f'"{name}": lambda net, c:'
    assert re.search(rf"\(test_recording\.py:\d+: {re.escape(own)}", message), message


SAYS = {
    "item": "item()",
    "float": "item()",
    "branch": "bool()",
    "tolist": "tolist()",
    "equal": "equal()",
    "nonzero": "nonzero()",
    "mask": "index()",
}


@pytest.mark.parametrize("name", SAYS)
def test_what_looks_at_numbers_is_named(name):
    with pytest.raises(ModelError, match=re.escape(f"{SAYS[name]} depends on the numbers in a")):
        trace(Net(run=through(LOOKS[name])), 3)


def added_out(net, current):
    result = torch.empty_like(current)
    torch.add(current, 0.5, out=result)
    return result


def added_by_list(net, current):
    quarters = [torch.zeros(current.shape), torch.zeros(current.shape)]
    torch._foreach_add_(quarters, 0.25)
    return current + quarters[0] + quarters[1]


def added_from_a_buffer(net, current):
    net.seen.zero_()
    net.seen.add_(0.5)
    return current + net.seen


def added_to_data(net, current):
    current.data += 0.5
    return current


HALVES = {
    "tensor": lambda net, c: c + torch.tensor(0.5),
    "on device": lambda net, c: c + torch.tensor([0.5], device=c.device, dtype=c.dtype),
    "new_tensor": lambda net, c: c + c.new_tensor([0.5]),
    "new_full": lambda net, c: c + c.new_full((1,), 0.5),
    "as_tensor": lambda net, c: c + torch.as_tensor(np.full(1, 0.5), device=c.device),
    "item": lambda net, c: c + torch.tensor(0.5).item(),
    "own number": lambda net, c: c + float(net.number),
    "attribute": lambda net, c: c + net.plain,
    "moved": lambda net, c: (c + 0.5).cpu().to(c.device).to(torch.float64),
    "detached": lambda net, c: c.detach() + 0.5,
    "data": added_to_data,
    "out": added_out,
    "list": added_by_list,
    "buffer": added_from_a_buffer,
}


@pytest.mark.parametrize("change", HALVES.values(), ids=HALVES)
def test_a_constant_current_however_it_is_made(change):
    with float64():
        net = Net(run=through(change)).double()
        net.register_buffer("seen", torch.ones(6))
        net.register_buffer("number", torch.tensor(0.5))
        net.plain = torch.full((1,), 0.5)
        network = lift(trace(net, 3))
        bias = net.fc.bias.detach().numpy() + 0.5
        np.testing.assert_array_equal(network.population("a").bias, bias.astype(np.float32))
        assert bool((net.seen == 1).all())


def test_a_mask_that_forward_writes_to_is_not_taken_for_a_constant():
    def masked(net, current):
        net.mask.view(2, 3)[0] = current[:1, :3] > 0
        return current[:, net.mask].sum(1, keepdim=True) + current

    net = Net(run=through(masked))
    net.register_buffer("mask", torch.ones(6, dtype=torch.bool))
    with pytest.raises(ModelError, match=r"index\(\) depends on the numbers in a tensor"):
        trace(net, 3)
