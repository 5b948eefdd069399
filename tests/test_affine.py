"""Whatever is not affine between two spikes is refused where it is made; the rest is read off."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from models import Twist, check, exact, float64

from l2mu_compile.errors import ModelError
from l2mu_compile.lift import lift
from l2mu_compile.trace import trace


@pytest.fixture(autouse=True)
def double_precision():
    with float64():
        yield


def branch(net, s, x, step, past):
    return torch.where(s.sum(1, keepdim=True) == 2, net.fc2(s), net.fc2(s) + 1)


def hat(net, s, x, step, past):
    total = s.sum(1, keepdim=True)
    return net.fc2(s) + F.relu(total - 2) - 2 * F.relu(total - 3) + F.relu(total - 4)


def cancelled(net, s, x, step, past):
    return net.fc2(s) + 0 * s.sum(1, keepdim=True).abs()


def overwritten(net, s, x, step, past):
    buffer = torch.relu(s - 0.5)
    current = net.fc2(s) + buffer.sum(1, keepdim=True)
    buffer.zero_()
    return current


def table(net, s, x, step, past):
    return net.fc2(net.fc1.weight.T[s.sum(1).long().clamp(max=4)])


REFUSED = {
    "branch": (branch, r"aten\.eq .* gives bool values"),
    "gate": (lambda n, s, *_: n.fc2(s) * (s.sum() > 1e3), r"aten\.gt .* gives bool values"),
    "bits": (lambda n, s, *_: n.fc2(s.bool().to(s.dtype)), r"aten\.to.* gives bool values"),
    "mask": (lambda n, s, *_: n.fc2(s.masked_fill(s > 0, 2.0)), r"aten\.gt .* gives bool values"),
    "isnan": (lambda n, s, *_: torch.where(s.isnan(), 0, s) @ n.fc2.weight.T, "aten.isnan .* bool"),
    "table": (table, r"aten\.to.* gives int64 values"),
    "argmax": (lambda n, s, *_: n.fc2(s) + s.argmax(1, True), r"aten\.argmax .* int64 values"),
    "reinterpreted": (
        lambda n, s, *_: n.fc2(s) + s.view(torch.int64).sum(),
        r"aten\.view.* gives int64 values",
    ),
    "half": (lambda n, s, *_: n.fc2(s.half().to(s.dtype)), r"aten\.to.* gives float16 values"),
    "bfloat16": (lambda n, s, *_: n.fc2(s).bfloat16().to(s.dtype), "gives bfloat16 values"),
    "complex": (lambda n, s, *_: torch.fft.ifft(torch.fft.fft(n.fc2(s))).real, "complex128 values"),
    "nan_to_num": (lambda n, s, *_: n.fc2(s).nan_to_num(), r"aten\.nan_to_num \("),
    "nan_to_num_": (lambda n, s, *_: n.fc2(s).nan_to_num_(), r"aten\.nan_to_num_ \("),
    "nansum": (lambda n, s, *_: n.fc2(s) + s.nansum(1, keepdim=True), r"aten\.nansum "),
    "nanmean": (lambda n, s, *_: n.fc2(s) + s.nanmean(1, keepdim=True), r"aten\.nanmean "),
    "far clamp": (lambda n, s, *_: n.fc2(s).clamp(-1e35, 1e35), r"aten\.clamp "),
    "far clamp_min_": (lambda n, s, *_: n.fc2(s).clamp_min_(-1e35), r"aten\.clamp_min_ "),
    "far clip": (lambda n, s, *_: torch.clip(n.fc2(s), -1e35, 1e35), r"aten\.clip "),
    "far maximum": (
        lambda n, s, *_: torch.maximum(n.fc2(s), torch.tensor(-1e35)),
        r"aten\.maximum ",
    ),
    "hardshrink": (lambda n, s, *_: F.hardshrink(n.fc2(s), 1e-12), r"aten\.hardshrink "),
    "softshrink": (lambda n, s, *_: F.softshrink(n.fc2(s), 1e-15), r"aten\.softshrink "),
    "far relu": (lambda n, s, *_: torch.relu(n.fc2(s) + 1e6), r"aten\.relu "),
    "far step": (
        lambda n, s, *_: n.fc2(s) + torch.heaviside(s.sum() - 1e6, torch.zeros(())),
        r"aten\.heaviside ",
    ),
    "hat": (hat, r"aten\.relu "),
    "cancelled": (cancelled, r"aten\.abs "),
    "overwritten": (overwritten, r"aten\.relu "),
    "sorted": (lambda n, s, *_: n.fc2(s.sort(1)[0]), r"aten\.sort"),
    "running maximum": (lambda n, s, *_: n.fc2(s.cummax(1)[0]), r"aten\.cummax "),
    "pooled": (lambda n, s, *_: n.fc2(F.max_pool1d(s[:, None], 3, 1, 1)[:, 0]), "max_pool1d "),
    "square": (lambda n, s, *_: n.fc2(s * s), r"aten\.mul "),
    "rounded": (lambda n, s, *_: n.fc2(torch.round(s)), r"aten\.round "),
    "layer norm": (lambda n, s, *_: n.fc2(F.layer_norm(s, (12,))), r"aten\.layer_norm "),
    "of samples": (lambda n, s, x, t, _: n.fc2(s) + (x[t] > 0).sum(), r"aten\.gt .* bool"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_operation_and_line(name):
    current, reason = REFUSED[name]
    message = rf"the current of lif2 at step \d is not an affine function .*{reason}"
    with pytest.raises(ModelError, match=message) as caught:
        lift(trace(Twist(current), 5))
    assert "(test_affine.py:" in str(caught.value)
    assert "\n" not in str(caught.value)


STATES = {
    "branch": lambda n, m, s, t: torch.where(s.sum(1, True) > 1e3, torch.zeros(()), m),
    "gate": lambda n, m, s, t: m * (s.sum() < 1e3),
    "clamp": lambda n, m, s, t: m.clamp(-1e30, 1e30),
    "half": lambda n, m, s, t: m.half().to(s.dtype),
}


@pytest.mark.parametrize("name", STATES)
def test_states_may_not_depend_on_conditions(name):
    message = r"the membrane of lif1 before step 1 is not an affine .*\(test_affine.py:\d+: "
    with pytest.raises(ModelError, match=message):
        lift(trace(Twist(state=STATES[name]), 5))


def zero_sum_of_old_spikes(n, s, x, step, past):
    return n.fc2(s) + (past[-2][:, :1] - past[-2][:, 1:2] if step > 1 else 0)


def zero_sum_of_old_samples(n, s, x, step, past):
    return n.fc2(s) + x[max(step - 2, 0)] @ torch.tensor([[1.0, -1, 0, 0, 0]]).T


@pytest.mark.parametrize(
    "current, message",
    [
        (zero_sum_of_old_spikes, "at step 2 reads the spikes of lif1 at step 0"),
        (zero_sum_of_old_samples, "at step 1 reads sample 0"),
    ],
)
def test_old_values_are_seen_even_where_a_shift_of_all_would_cancel(current, message):
    with pytest.raises(ModelError, match=message):
        lift(trace(Twist(current), 5))


def guarded(net, s, x, step, past):
    return net.fc2(s) if s.numel() else s


def in_place(net, s, x, step, past):
    current = s.clone().mul_(2.0)
    current[:, ::2] += 0.5
    return net.fc2(current.add_(past[-1] if past else 0))


def convolved(net, s, x, step, past):
    kernel = net.fc1.weight[:1, None, :3]
    return net.fc2(F.conv1d(s.unsqueeze(1), kernel, padding=1).squeeze(1))


def set_by_a_list(net, s, x, step, past):
    current = s.clone()
    current[:, [0, 2]] = 0.5
    current[:, torch.tensor([True, False] * 6)] += 0.25
    return net.fc2(current)


ACCEPTED = {
    "guarded": guarded,
    "in place": in_place,
    "dropout": lambda n, s, *_: n.fc2(n.drop(s)),
    "batch norm": lambda n, s, *_: n.fc2(n.norm(s)),
    "cat": lambda n, s, *_: n.fc2(torch.cat([s[:, 4:], s[:, :4]], 1)),
    "stack": lambda n, s, *_: n.fc2(torch.stack(s.unbind(1)[::-1], 1)),
    "chunks": lambda n, s, *_: n.fc2(torch.cat(s.chunk(3, 1)[::-1], 1)),
    "einsum": lambda n, s, *_: torch.einsum("bi,oi->bo", s, n.fc2.weight),
    "view": lambda n, s, *_: n.fc2(s.view(-1, 3, 4).permute(0, 2, 1).reshape(-1, 12)),
    "addmm": lambda n, s, *_: torch.addmm(n.fc2.bias, s, n.fc2.weight.T),
    "convolution": convolved,
    "mean pool": lambda n, s, *_: n.fc2(F.avg_pool1d(s[:, None], 3, 1, 1)[:, 0]),
    "running sum": lambda n, s, *_: n.fc2(s.cumsum(1)),
    "rolled": lambda n, s, *_: n.fc2(s.flip(1).roll(3, 1)),
    "padded": lambda n, s, *_: n.fc2(F.pad(s[:, 1:], (0, 1))),
    "picked by a list": lambda n, s, *_: n.fc2(s[:, list(range(11, -1, -1))]),
    "picked by an array": lambda n, s, *_: n.fc2(s[:, np.arange(11, -1, -1)]),
    "picked by a mask": lambda n, s, *_: n.fc2(F.pad(s[:, [True] * 9 + [False] * 3], (3, 0))),
    "set by a list": set_by_a_list,
    "picked": lambda n, s, *_: n.fc2(s[:, torch.arange(11, -1, -1)]),
    "constant condition": lambda n, s, *_: n.fc2(torch.where(torch.arange(12) % 2 == 0, s, 0.5)),
    "constant mask": lambda n, s, *_: n.fc2(s.masked_fill(torch.arange(12) > 8, 0.0)),
    "mixed with the last": lambda n, s, x, t, p: n.fc2(torch.lerp(s, p[-1] if p else s * 0, 0.25)),
    "large offset": lambda n, s, *_: n.fc2((s + 1e4) - 1e4),
    "scaled": lambda n, s, *_: n.fc2(s / 4 - 0.125),
    "same type": lambda n, s, *_: n.fc2(s.to(torch.float64)),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_affine_however_it_is_written(name):
    check(Twist(ACCEPTED[name]), 5, gain=2, level=2)


def test_float64_inside_a_float32_module_is_wide_enough():
    torch.set_default_dtype(torch.float32)
    wide = Twist(lambda n, s, *_: F.linear(s.double(), n.fc2.weight.double()).float())
    weight = lift(trace(wide, 5)).into("lif2")[0].weight
    np.testing.assert_array_equal(weight, wide.fc2.weight.detach().numpy())


def test_membranes_passed_on_as_copies_are_untouched():
    for copy in (lambda n, m, s, t: m.clone(), lambda n, m, s, t: m.detach() + 0):
        assert lift(trace(exact(Twist(state=copy)), 5)).population("lif1").size == 12
