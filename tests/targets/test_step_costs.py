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

# With the set whose kernels run there.
EMULATED = {
    "cortex-m0plus": "m0",
    "cortex-m4": "dsp",
    "cortex-a7": "neon32",
    "cortex-a53": "neon64",
}


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


@pytest.mark.parametrize("target", EMULATED)
def test_a_kernel_within_another_is_not_a_call_of_the_step(tmp_path: Path, target: str) -> None:
    """Sums of int32, where membranes are read, are made by the kernel of those of int16."""
    outer, inner = (f"accumulate_dense_i8_{n}_{EMULATED[target]}" for n in ("i32", "i16"))
    network = l2mu(rule="max_membrane")
    x = samples(network, windows=1)
    made = planned(network, True, x, target).map_projections(
        lambda p: replace(p, kernel=outer) if p.target == "out" else p
    )
    product = unbuilt(made, get_target(target), x[0], tmp_path)
    assert {f"l2mu_{outer}", f"l2mu_{inner}"} <= {call.kernel for call in product.program.step}
    calls = build(product).calls
    assert calls is not None
    assert len(calls) == len(product.program.step)


def test_where_no_function_can_be_called_nothing_is_known() -> None:
    x = samples(l2mu())
    program = lower(planned(l2mu(), True, x, "cortex-m4"))
    target = replace(get_target("cortex-m4"), emulator=None)
    assert instructions_per_call(program, target, Path("not opened"), x[0]) is None
