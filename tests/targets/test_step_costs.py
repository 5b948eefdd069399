"""What each kernel call of a step takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from exactness import unbuilt
from networks import l2mu, planned, samples

from l2mu_compile.lowering import lower
from l2mu_compile.targets.build import build, open_device
from l2mu_compile.targets.registry import get_target
from l2mu_compile.targets.step_costs import instructions_per_call

EMULATED = ("cortex-m0plus", "cortex-m4", "cortex-a7", "cortex-a53")


@pytest.mark.parametrize("target", EMULATED)
@pytest.mark.parametrize("quantized", [False, True])
def test_the_calls_of_a_step_make_it_up(tmp_path: Path, target: str, quantized: bool) -> None:
    x = samples(l2mu(), windows=1)
    product = unbuilt(planned(l2mu(), quantized, x, target), get_target(target), x[0], tmp_path)
    calls = build(product).calls
    assert calls is not None
    assert len(calls) == len(product.program.step)
    assert min(calls) > 0
    (trace,) = open_device(product.program, product.target, product.image).trace(x)
    whole = np.mean(trace.instructions)
    # Before the first call, the sample is converted.
    assert 0.5 * whole < sum(calls) < whole


def test_where_no_function_can_be_called_nothing_is_known() -> None:
    x = samples(l2mu())
    program = lower(planned(l2mu(), True, x, "cortex-m4"))
    target = replace(get_target("cortex-m4"), emulator=None)
    assert instructions_per_call(program, target, Path("not opened"), x[0]) is None
