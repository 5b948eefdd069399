"""A pipeline's measures, against the code that is compiled from it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from toy_training import network, split

from l2mu_compile.compiler import Job, compile_model
from l2mu_compile.errors import UsageError
from l2mu_compile.frontend import Model
from l2mu_compile.interpreter import run
from l2mu_compile.measures import Measures
from l2mu_compile.network_files import load_network
from l2mu_compile.report import Source
from l2mu_compile.targets.registry import get_target
from l2mu_compile.trial import CHUNK, Evaluator, Problem, outcomes, require_costs, whole_pipeline
from l2mu_compile.windows import Windows

M4, A53 = get_target("cortex-m4"), get_target("cortex-a53")


@pytest.mark.parametrize("target", [M4, A53], ids=lambda target: target.name)
@pytest.mark.parametrize("passes", ["quantize,early-exit{risk=0.2}", "fold-input"])
def test_measures_are_those_of_compiled_code(tmp_path: Path, target, passes: str) -> None:
    data = split(network())
    found = Evaluator(network(), data, target, target.name)(passes)
    assert isinstance(found, Measures)
    model = Model(network(), Source(kind="network", name="toy"))
    job = Job(target, whole_pipeline(passes), windows=data.train, labelled=data)
    report = compile_model(model, job, tmp_path / "out")
    assert (found.flash, found.ram) == (report.flash_bytes, report.ram_bytes)
    assert found.instructions == report.predicted_instructions_per_step
    after = load_network(tmp_path / "out" / "network.txt")
    result = run(after, data.validation.x)
    assert found.accuracy == (result.decisions == data.validation.y).mean()
    assert found.window_instructions == found.instructions * result.needed.mean()
    early = "early-exit" in passes
    assert (found.window_instructions < 12 * found.instructions) == early


def test_outcomes_are_those_of_all_windows_at_once() -> None:
    data = split(network()).train
    many = Windows(data.x.repeat(5, axis=0), data.y.repeat(5, axis=0))
    assert len(many.x) > CHUNK
    right, steps = outcomes(network(), many)
    result = run(network(), many.x)
    assert (right == (result.decisions == many.y)).all() and (steps == result.needed).all()


def test_what_cannot_be_measured() -> None:
    data = split(network())
    evaluator = Evaluator(network(), data, M4, "cortex-m4")
    found = evaluator("prune-population{sparsity=0.99}")
    assert isinstance(found, Problem) and "at least one must stay" in found.text
    small = replace(M4, memory=replace(M4.memory, flash=replace(M4.memory.flash, size=1024)))
    found = Evaluator(network(), data, small, "toy board")("quantize")
    assert isinstance(found, Problem) and "1024" in found.text
    with pytest.raises(UsageError, match="cannot prune 'nobody'"):
        evaluator("prune-population{population=nobody}")


def test_targets_whose_kernels_were_not_measured() -> None:
    require_costs(M4)
    with pytest.raises(UsageError, match=r"take on mine was not measured.*one of .*cortex-m4"):
        require_costs(replace(M4, name="mine"))
