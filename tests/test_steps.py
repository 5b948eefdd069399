"""What is noted of a network between passes, against the network itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from networks import f32, feed_forward, l2mu, recurrent, samples
from toy_training import network, windows

from l2mu_compile import steps as module
from l2mu_compile.interpreter import run
from l2mu_compile.lowering import lower
from l2mu_compile.network import Input, Network
from l2mu_compile.passbase import Context
from l2mu_compile.pipeline import default_pipeline, parse_pipeline, run_passes
from l2mu_compile.report import Step
from l2mu_compile.steps import Steps
from l2mu_compile.targets.kernel_costs import in_all, predicted
from l2mu_compile.targets.registry import get_target
from l2mu_compile.windows import Windows

M4 = get_target("cortex-m4")


def walked(
    given: Network, passes: str, data: Windows, count: int = 16, **options
) -> tuple[Network, list[Step]]:
    notes = Steps(given, data, count, **options)
    context = Context(target=M4, samples=data.x)
    return run_passes(given, parse_pipeline(passes), context, notes.observe), notes.taken


INT8 = "fold-input,remove-dead,fold-threshold,calibrate,quantize"


def test_a_step_is_what_its_network_is_and_does() -> None:
    given, data = network(), windows(40)
    after, taken = walked(given, INT8, data)
    assert [step.after and step.after.partition("{")[0] for step in taken] == [
        None,
        *INT8.split(","),
    ]
    seen = data.first(16)
    for found, step in ((given, taken[0]), (after, taken[-1])):
        result = run(found, seen.x, record=("spikes",))
        assert step.stage == found.stage
        assert step.parameter_bytes == found.parameter_bytes()
        parts = [*step.populations, *step.projections]
        assert sum(part.bytes for part in parts) == step.parameter_bytes
        assert step.synapses == sum(p.synapses for p in step.projections)
        assert step.accuracy == (result.decisions == seen.y).mean()
        assert step.synaptic_operations_per_step == pytest.approx(result.operations_per_step)
        assert step.steps_per_decision == 12
        for p in step.populations:
            assert p.spike_rate == result.spikes[p.name].mean()
            assert p.neurons == found.population(p.name).size
        assert step.instructions_per_step is None
    assert all(d.distance == 0 and d.rate == 0 for d in taken[0].drift)
    assert any(0 < d.distance < 1 for d in taken[-1].drift)


def test_operations_of_projections_are_those_of_their_spikes() -> None:
    given = recurrent()
    x = samples(given)
    (step,) = walked(given, "", Windows(x))[1]
    result = run(given, x)
    per_step = 1 / (result.windows * result.steps)
    found = {p.name: p.synaptic_operations_per_step for p in step.projections}
    assert found["h.x"] == 0, "samples are multiplied"
    assert found["out.h"] == pytest.approx(2 * result.spike_totals["h"] * per_step)
    assert found["h.h.last"] == pytest.approx(result.spike_totals["h"] * per_step), "others are 0"
    assert step.synaptic_operations_per_step == pytest.approx(result.operations_per_step)


@pytest.mark.parametrize("passes", ["", INT8, f"prune-synapses{{sparsity=0.5}},{INT8}"])
def test_operations_are_those_of_neurobench(passes: str) -> None:
    """Where no spike is late for the window."""
    x = samples(feed_forward(), windows=8, steps=30)
    for step in walked(feed_forward(), passes, Windows(x))[1]:
        theirs = step.neurobench.synaptic_operations.Effective_ACs
        assert 30 * step.synaptic_operations_per_step == pytest.approx(theirs)
        assert theirs > 0


def test_spikes_as_samples_are_operations() -> None:
    given = feed_forward().replace(input=Input("x", 2, spiking=True))
    x = f32(np.random.default_rng(0).random((3, 9, 2)) > 0.5)
    (step,) = walked(given, "", Windows(x))[1]
    found = {p.name: p.synaptic_operations_per_step for p in step.projections}
    assert found["h.x"] == pytest.approx(2 * x.sum() / 27), "of three weights one is 0"
    assert step.synaptic_operations_per_step == pytest.approx(run(given, x).operations_per_step)


def test_only_what_a_pass_changes_is_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[Network] = []

    def counted(found: Network, *arguments, **options):
        ran.append(found)
        return run(found, *arguments, **options)

    monkeypatch.setattr(module, "run", counted)
    _, taken = walked(network(), INT8 + ",select-kernels,plan-memory", windows(), target=M4)
    assert len(taken) == 8
    assert [found.stage for found in ran] == ["traced", "quantized"]
    assert taken[-1].stage == "planned" and taken[-1].drift == taken[-3].drift


@pytest.mark.parametrize("quantized", [False, True])
def test_instructions_are_those_of_the_code_that_will_be(quantized: bool) -> None:
    """At the same spike rates, as the windows are those that calibrate."""
    given = l2mu()
    data = Windows(samples(given, windows=8, steps=20))
    passes = ",".join(map(str, default_pipeline(quantized, calibrated=True)))
    passes = passes.replace("select-kernels", "calibrate,select-kernels")
    after, taken = walked(given, passes, data, target=M4)
    foreseen = predicted(after, lower(after), M4)
    assert taken[-1].instructions_per_step == in_all(foreseen)
    for part in (*taken[-1].populations, *taken[-1].projections):
        assert part.instructions_per_step == foreseen[part.name]
    assert taken[0].instructions_per_step is not None, "a network is planned, as it stands"
    assert all(step.instructions_per_step is not None for step in taken)


def test_a_target_whose_kernels_were_not_measured() -> None:
    given = network()
    other = replace(M4, cpu="cortex_m3")
    (step,) = walked(given, "", windows(), target=other)[1]
    assert step.instructions_per_step is None


def test_accuracy_may_be_judged_elsewhere_or_not_at_all() -> None:
    given, data = network(), windows()
    assert walked(given, "", data, judge=lambda _: 0.25)[1][0].accuracy == 0.25
    assert walked(given, "", replace(data, y=None))[1][0].accuracy is None


def test_early_exits_show() -> None:
    given = network()
    early = given.replace(readout=replace(given.readout, margins=(1, 1, 1)))
    data = windows()
    (step,) = walked(early, "", data, count=90)[1]
    assert step.steps_per_decision == run(early, data.x).needed.mean() < 12


def test_long_windows_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_VALUES", 12 * 9 * 5)
    assert len(Steps(network(), windows(), 16).windows.x) == 5
    monkeypatch.setattr(module, "MOST_VALUES", 1)
    assert len(Steps(network(), windows(), 16).windows.x) == 1
