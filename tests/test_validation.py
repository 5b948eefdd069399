"""A module and its network are compared spike by spike; only rounding may tell them apart."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import snntorch
import torch
from models import Feedforward, Published, Recurrent, Twist, l2mu, synaptic
from torch import nn

from l2mu_compile.compiler import Job, compile_model
from l2mu_compile.errors import ModelError
from l2mu_compile.frontend import from_module, load_model
from l2mu_compile.pipeline import default_pipeline
from l2mu_compile.targets.registry import get_target
from l2mu_compile.validation import Agreement, validate, validate_on_noise
from l2mu_compile.windows import Windows

CHECKPOINT = Path(__file__).parent.parent / "examples/har_smartwatch/har.ckpt"


@pytest.fixture(autouse=True)
def same_weights():
    torch.manual_seed(3)


def noise(windows=6, steps=150, inputs=5, level=2.0, seed=1):
    shape = (windows, steps, inputs)
    return (np.random.default_rng(seed).normal(size=shape) * level).astype(np.float32)


def late(step):
    """A second layer that is driven a little harder from ``step`` on."""
    return lambda net, s, x, t, past: net.fc2(s) * (1.0 if t < step else 1.01)


def other_threshold(net, s, x, t, past):
    if t == 60:
        net.lif1.threshold = net.lif1.threshold * 1.2
    return net.fc2(s)


def under_autocast(net, s, x, t, past):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return net.fc2(s).float()


LATE = {
    "sample": (
        lambda n, s, x, t, past: n.fc2(s) + x[min(t, 50)][:, :4],
        r"at step 51 of a window of 128: lif2, neuron \d, has membrane",
    ),
    "weight": (late(60), r"at step 60 of a window of 128: lif2, neuron \d, has membrane"),
    "last step's spikes": (
        lambda n, s, x, t, past: n.fc2(s if t < 77 else past[-1]),
        r"at step 77 of a window of 128: lif2, neuron \d, has membrane",
    ),
    "threshold": (other_threshold, r"at step 6\d of a window of 128: lif1, neuron \d+, has"),
    "precision": (under_autocast, r"at step 0 of a window of 128: lif2, neuron \d, has membrane"),
    "updates": (
        lambda n, s, x, t, past: n.fc2(s) if t != 90 else n.fc2(n.lif1(n.fc1(x[t]))[0]),
        "lif1 is updated 129 times in a window of 128 steps",
    ),
}


@pytest.mark.parametrize("name", LATE)
def test_what_happens_after_the_traced_steps_is_refused(name):
    current, message = LATE[name]
    with pytest.raises(ModelError, match=message) as caught:
        from_module(Twist(current), 5)
    assert "\n" not in str(caught.value)


def test_the_two_membranes_are_given():
    with pytest.raises(ModelError) as caught:
        from_module(Twist(state=lambda n, m, s, t: m if t < 60 else m + 0.01), 5)
    place = (
        r"step 61 of a window of 128: lif1, neuron 0, has membrane (\S+) in the module and (\S+) "
    )
    found = re.search(place, str(caught.value))
    assert found, str(caught.value)
    theirs, ours = map(float, found.groups())
    assert theirs == pytest.approx(ours + 0.008, abs=1e-5), "what was added, decayed once"


RETURNS_LATE = {
    "first steps": lambda s, m: s[:50],
    "sum of first steps": lambda s, m: s[:50].sum(0),
    "weighted": lambda s, m: torch.cat([s[:50], s[50:] * 2]),
    "a membrane of an early step": lambda s, m: m[:50][-1],
    "a mean of early steps": lambda s, m: m[:50].mean(0),
}


@pytest.mark.parametrize("name", RETURNS_LATE)
def test_what_is_returned_must_not_depend_on_the_length_either(name):
    with pytest.raises(ModelError, match="over windows of 128 steps Twist returns something else"):
        from_module(Twist(result=RETURNS_LATE[name]), 5)


@pytest.mark.parametrize("rule", ["last_membrane", "max_membrane", "mean_membrane", "spike_count"])
@pytest.mark.parametrize("result", [lambda s, m: m, lambda s, m: {"m": list(m)}])
def test_modules_that_return_membranes(rule, result):
    model = from_module(Twist(result=result), 5, readout=rule)
    assert model.validate(noise()) == []
    with pytest.raises(ModelError, match="step 60 of a window"):
        from_module(Twist(late(60), result=result), 5, readout=rule)


@pytest.mark.parametrize("shape", [(4, 150, 5), (6, 6, 5), (1, 1, 5), (3, 2, 5)])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(
    "result", [None, lambda s, m: (m, list(s)), lambda s, m: (s.sum(0), m[-1])]
)
def test_every_layout_and_length(shape, batch_first, result):
    class Flipped(Twist):
        def forward(self, x):
            output = super().forward(x.transpose(0, 1))
            return output.transpose(0, 1) if isinstance(output, torch.Tensor) else output

    model = from_module((Flipped if batch_first else Twist)(result=result), 5)
    assert model.original.time_first is not batch_first
    assert model.validate(noise(*shape)) == []


MODELS = {
    "plain": lambda: (l2mu("plain"), 3),
    "single": lambda: (l2mu("single", "synaptic", bias=True), 3),
    "stacked": lambda: (l2mu("stacked", theta=True), 3),
    "zero": lambda: (l2mu("stacked", reset="zero"), 3),
    "clamp": lambda: (l2mu("single", "synaptic", "zero"), 3),
    "none": lambda: (l2mu("plain", "synaptic", "none"), 3),
    "published": lambda: (Published(), 6),
    "cells": lambda: (Recurrent(factor=0.5), 3),
    "integrators": lambda: (Feedforward(beta=1.0, reset_mechanism="none"), 5),
    "slow synapses": lambda: (Recurrent(lambda **_: synaptic(1.0, 1.0)), 3),
}


@pytest.mark.parametrize("name", MODELS)
def test_rounding_is_never_taken_for_a_difference(name):
    module, inputs = MODELS[name]()
    for weight in module.parameters():
        if weight.ndim == 2:
            weight.data *= 2.0
    model = from_module(module, inputs)
    for level in (0.3, 3.0, 1000.0):
        agreement = validate(model.original, noise(8, 400, inputs, level))
        assert agreement.windows == 8
        assert agreement.redecided <= agreement.rescored <= agreement.diverged <= 8


def test_an_encoder_is_named_by_its_own_path():
    class Late(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = l2mu("single")

        def forward(self, x):
            if len(x) > 100:
                self.net.input_encoder.pop_encoder_list[1].bias.data += 0.5
            return self.net(x)

    with pytest.raises(
        ModelError, match=r"net.input_encoder.spk_pop_encoder_list.1, neuron 0, has"
    ):
        from_module(Late(), 3)


class Backwards(nn.Module):
    """Adds up its samples from the last channel to the first; the interpreter starts at the first.

    The threshold is the lower of both sums of one certain sample, so that rounding alone decides.
    """

    def __init__(self, sample):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(2, len(sample), generator=torch.manual_seed(0)))
        sums = {float(self.added(sample[None], order)[0, 0].detach()) for order in (1, -1)}
        assert len(sums) == 2, "a sample whose sum does not depend on the order"
        self.lif = snntorch.Leaky(beta=0.0, threshold=min(sums), reset_mechanism="none")

    def added(self, x, order):
        total = torch.zeros(len(x), 2)
        for channel in list(range(x.shape[1]))[::order]:
            total = total + x[:, channel : channel + 1] * self.weight[:, channel]
        return total

    def forward(self, x):
        mem, spikes = self.lif.reset_mem(), []
        for sample in x:
            spk, mem = self.lif(self.added(sample, -1), mem)
            spikes.append(spk)
        return torch.stack(spikes)


@pytest.fixture
def tie():
    """A module and windows in the first of which rounding decides every spike of neuron 0."""
    sample = torch.rand(7, generator=torch.manual_seed(3))
    windows = np.stack([np.tile(sample.numpy(), (20, 1)), np.zeros((20, 7)), np.ones((20, 7))])
    return Backwards(sample), windows.astype(np.float32)


def test_a_spike_that_rounding_decides_ends_the_comparison(tie):
    module, windows = tie
    model = from_module(module, 7)
    agreement = validate(model.original, windows)
    assert agreement == Agreement(windows=3, diverged=1, rescored=1, redecided=agreement.redecided)
    (note,) = model.validate(windows)
    assert note.startswith("in 1 of 3 windows a membrane meets its threshold to within float32")
    assert model.validate(windows[1:]) == []


def test_the_note_reaches_the_report(tie, tmp_path):
    module, windows = tie
    model = from_module(module, 7, name="tie")
    job = Job(get_target("host"), default_pipeline(False, True), Windows(windows))
    report = compile_model(model, job, tmp_path / "out")
    assert [note for note in report.notes if note.startswith("in 1 of 3 windows a membrane")]


def test_no_note_where_scores_cannot_differ():
    assert Agreement(windows=4, diverged=2, rescored=0, redecided=0).note() is None
    assert Agreement(4, 2, 1, 1).note().endswith("; 1 decided differently")


def test_windows_of_the_user_are_validated_at_their_length(tmp_path):
    model = from_module(Twist(late(140)), 5)
    assert model.validate(noise(steps=140)) == []
    job = Job(get_target("host"), default_pipeline(False, True), Windows(noise(steps=150)))
    with pytest.raises(ModelError, match="step 140 of a window of 150: lif2, neuron"):
        compile_model(model, job, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_raw_counts_are_converted_for_the_module_too():
    model = from_module(Twist(), 5).with_input([0.01], [-0.5])
    assert model.validate(np.round(noise() * 100)) == []
    with pytest.raises(ModelError, match=r"reads \[windows, steps, 5\]"):
        model.validate(noise(inputs=4))


class Kept(nn.Module):
    """A hidden state, or with ``own`` one on the module itself; only ``reset`` puts it to zero."""

    def __init__(self, reset=False, own=False):
        super().__init__()
        self.fc, self.back = nn.Linear(3, 4), nn.Linear(4, 4)
        self.lif = snntorch.Leaky(beta=0.9, threshold=0.3, init_hidden=not own)
        self.reset, self.own, self.last = reset, own, None

    def forward(self, x):
        if self.reset:
            self.lif.reset_mem()
            self.last = None
        if self.last is None or not self.own:
            self.last = x.new_zeros(x.shape[1], 4)
        mem, record = self.lif.reset_mem() if self.own else None, []
        for sample in x:
            current = self.fc(sample) + self.back(self.last)
            if self.own:
                self.last, mem = self.lif(current, mem)
            else:
                self.last = self.lif(current)
            record.append(self.last)
        return torch.stack(record)


@pytest.mark.parametrize("own", [False, True])
def test_state_that_is_carried_from_window_to_window_is_noted(own):
    notes = from_module(Kept(own=own), 3).notes
    assert notes == (
        "forward carries state from window to window (seen at lif); "
        "the compiled code starts every window from zero, as after reset_mem()",
    )
    assert from_module(Kept(reset=True, own=own), 3).notes == ()


def test_a_state_of_none_is_the_one_of_the_last_window():
    """snnTorch's own rule, and easily overlooked."""

    class Careless(Twist):
        def forward(self, x):
            mem, record = None, []
            for sample in x:
                spk, mem = self.lif1(self.fc1(sample), mem)
                record.append(spk)
            return torch.stack(record)

    (note,) = from_module(Careless(), 5).notes
    assert note.startswith("forward carries state from window to window (seen at lif1)")


def test_carried_state_of_hard_coded_windows():
    class Fixed(Kept):
        def forward(self, x):
            return super().forward(torch.stack([x[t] for t in range(20)]))

    model = from_module(Fixed(), 3)
    assert model.network.window == 20
    assert len(model.notes) == 1 and "carries state" in model.notes[0]


def test_a_module_that_cannot_run_as_many_steps_is_checked_on_fewer():
    short = Twist(lambda n, s, x, t, past: n.fc2(s + 0 * torch.zeros(100)[t]))
    (note,) = from_module(short, 5).notes
    assert note.startswith("checked on windows of 40 steps only: Twist.forward fails on windows of")
    assert "index 100 is out of bounds" in note and "(test_validation.py:" in note
    with pytest.raises(ModelError, match=r"forward fails on windows of 150 steps: index 100"):
        from_module(short, 5).validate(noise(steps=150))


def test_hard_coded_windows_are_checked_at_their_length():
    class Forty(Twist):
        def forward(self, x):
            return super().forward(torch.stack([x[t] for t in range(40)]))

    assert from_module(Forty(), 5).network.window == 40
    with pytest.raises(ModelError, match="windows have 150 steps"):
        from_module(Forty(), 5).validate(noise())


def test_nothing_to_compare_without_a_module(tmp_path):
    from l2mu_compile.network_files import save_network

    save_network(from_module(Twist(), 5).network, tmp_path / "net.txt")
    assert load_model(tmp_path / "net.txt").validate(noise()) == []


def test_the_example_spikes_as_its_network():
    model = load_model(CHECKPOINT)
    assert validate_on_noise(model.original, 40) == []
