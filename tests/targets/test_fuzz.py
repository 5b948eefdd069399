"""Generated code under fuzzers: any samples, calls in any order, saved states tampered with."""

from __future__ import annotations

from collections.abc import Callable

import fuzzing
import pytest
from fuzzing import NETWORKS, FaultError, Fuzzers, fuzz, program_of

SECONDS = 3  # of each network


@pytest.fixture(scope="module")
def fuzzers(tmp_path_factory: pytest.TempPathFactory) -> Fuzzers:
    reason = Fuzzers.missing()
    if reason is not None:
        pytest.skip(reason)
    return Fuzzers(tmp_path_factory.mktemp("fuzzers"))


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_no_calls_lead_to_a_fault(
    fuzzers: Fuzzers, record_property: Callable[[str, object], None], name: str
) -> None:
    """Spikes are binary, decisions are classes, states that are accepted go on as saved."""
    program = program_of(name)
    done = fuzz(fuzzers.build(program), SECONDS)
    record_property("said", f"fuzzed {name}: {done}")
    saved = len(list(fuzzing.CORPUS.iterdir()))
    assert done.inputs > saved > 40
    for what in ("calls", "steps", "restored", "refused"):
        assert done.counted[what] > 20, what
    assert (done.counted["windows"] > 20) == (program.stream is not None)


def test_saved_inputs_lead_to_no_fault(fuzzers: Fuzzers) -> None:
    done = fuzz(fuzzers.build(program_of("int8, early exit")), 0)
    assert done.counted["restored"] > 20
    assert done.counted["refused"] > 20


def _trusting(driver: str) -> str:
    """Limits of a state that nobody checks."""
    return driver.replace("L2MU_INTEGERS", "L2MU_FLOATS")


def _beyond(driver: str) -> str:
    """Decisions that are one too large."""
    return driver.replace("return l2mu_argmax_i32(", "return 1 + l2mu_argmax_i32(")


def _crowded(driver: str) -> str:
    """Streams with a lane too many."""
    return driver.replace("lanes = NET_LANES;", "lanes = NET_LANES + 1;")


def _repeated(driver: str) -> str:
    """Neurons that spike twice in a step."""
    name, weights = "l2mu_fire_subtract_i16", '#include "net_weights.h"\n'
    twice = f"{name}(p, v, s), (s)[2] = (s)[1], (s)[0] *= 2, check_spikes(s, (p)->size)"
    changed = f"#undef {name}\n#define {name}(p, v, s) ({twice})\n"
    return driver.replace(weights, weights + changed)


@pytest.mark.parametrize(
    ("spoiled", "found"),
    [
        (_trusting, "signed integer overflow"),
        (_beyond, "a decision for no class"),
        (_crowded, "AddressSanitizer|index 3 out of bounds"),
        (_repeated, "spikes are not binary"),
    ],
)
def test_faults_are_found(fuzzers: Fuzzers, spoiled: Callable[[str], str], found: str) -> None:
    """By the saved inputs alone."""
    fuzzer = fuzzers.build(program_of("int8, sensors"), spoiled)
    with pytest.raises(FaultError, match=found):
        fuzz(fuzzer, 0)
