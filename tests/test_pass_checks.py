"""check_pass: passes that hold what they claim, and every way not to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, ClassVar

import numpy as np
import pytest
from networks import PORTABLE, f32, feed_forward, l2mu, lif, planned

from l2mu_compile import check_pass
from l2mu_compile.errors import ModelError, PassError
from l2mu_compile.network import Network, with_neuron
from l2mu_compile.passbase import Context, Pass
from l2mu_compile.passes.calibrate import Calibrate
from l2mu_compile.passes.fold_input import FoldInput
from l2mu_compile.passes.fold_threshold import FoldThreshold
from l2mu_compile.passes.plan_memory import PlanMemory
from l2mu_compile.passes.quantize import Quantize
from l2mu_compile.passes.remove_dead import RemoveDead
from l2mu_compile.passes.select_kernels import SelectKernels
from l2mu_compile.random_networks import random_network

Change = Callable[[Network], Any]


def made(change: Change, *, exact: bool = False, idempotent: bool = False, most: float = np.inf):
    """A pass that does ``change`` and claims so much."""
    claims = {"exact": exact, "idempotent": idempotent}

    @dataclass(frozen=True)
    class Made(Pass):
        """Does what it is told."""

        name: ClassVar[str] = "made"

        def apply(self, network: Network, context: Context) -> Network:
            return change(network)  # type: ignore[no-any-return]

        def bound(self, network: Network) -> float:
            return most

    for claim, value in claims.items():
        setattr(Made, claim, value)
    return Made()


def scaled(by: float) -> Change:
    return lambda n: n.map_projections(lambda p: replace(p, weight=p.weight * f32(by)))


def slower(network: Network) -> Network:
    """The readout leaks, so that it spikes less."""
    return network.map_populations(lambda p: with_neuron(p, beta=f32(0.25)))


def renamed(network: Network) -> Network:
    return network.replace(name="other")


# ---- passes that hold what they claim -----------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "stage", "count"),
    [
        (FoldInput(), "traced", 8),
        (RemoveDead(), "traced", 24),
        (FoldThreshold(), "folded", 8),
        (Calibrate(), "folded", 8),
        (Calibrate(), "quantized", 4),
    ],
)
def test_own_passes_hold_what_they_claim(item: Pass, stage: str, count: int) -> None:
    check_pass(item, [random_network(seed, stage) for seed in range(count)])


def test_own_passes_on_the_way_to_code_hold_what_they_claim() -> None:
    folded = FoldInput().apply(l2mu(), Context())
    context = Context(target=PORTABLE)
    check_pass(Quantize(), [folded])
    check_pass(SelectKernels(), [folded], context)
    check_pass(PlanMemory(), [SelectKernels().apply(folded, context)], context)
    assert type(SelectKernels()).exact and type(PlanMemory()).exact


def test_random_networks_serve_where_none_are_given() -> None:
    check_pass(made(renamed, exact=True, idempotent=True))


def test_networks_that_are_refused_are_passed_over() -> None:
    check_pass(FoldInput(), [planned(feed_forward()), l2mu()])


# ---- every way not to ----------------------------------------------------------------------------


def refused(item: Pass, message: str, *networks: Network) -> None:
    with pytest.raises(PassError) as error:
        check_pass(item, networks or [feed_forward()])
    assert message in str(error.value)


def test_a_spoiled_argument() -> None:
    def spoil(network: Network) -> Network:
        weight = network.projections[0].weight
        weight.setflags(write=True)
        weight[0, 0] += 1
        return network.replace(name="other")

    refused(
        made(spoil),
        "pass made: network toy (traced): changed the network that it was given; a pass returns a",
    )


def test_another_result_the_second_time() -> None:
    numbers = count()
    item = made(lambda network: network.replace(name=f"toy{next(numbers)}"))
    refused(item, "returns another network when it is given the same one again")


def test_an_equal_network_instead_of_the_same() -> None:
    item = made(lambda network: network.replace(name=network.name))
    refused(item, "returns an equal network, not the one it was given, if nothing changes")


def test_a_broken_rule_of_networks() -> None:
    item = made(lambda n: n.map_populations(lambda p: replace(p, bias=f32([1]))))
    refused(item, "pass made: network toy (traced): network toy (traced): h: bias has shape [1]")


def test_a_network_whose_text_is_another() -> None:
    item = made(lambda n: n.map_projections(lambda p: replace(p, weight=p.weight.astype("f8"))))
    refused(item, "made: network toy (traced): ", feed_forward())


def test_an_error_that_is_none_of_ours() -> None:
    refused(made(lambda n: n.nothing), "AttributeError: 'Network' object has no attribute")


def test_a_false_claim_of_idempotence() -> None:
    check_pass(made(scaled(2)), [feed_forward()])
    refused(made(scaled(2), idempotent=True), "changes its own result when it is run again, but is")


def test_a_false_claim_that_scores_stay() -> None:
    refused(made(slower, exact=True), "changes the score of class ")


def test_a_false_claim_that_spikes_stay() -> None:
    """The readout's membranes stay, as nothing reads the population that changes."""
    network = feed_forward(lif(0.5))
    deaf = network.map_projections(
        lambda p: replace(p, weight=p.weight * f32(0)) if p.source == "h" else p
    )
    item = made(slower, exact=True)
    refused(item, "changes the spikes of h (neuron ", deaf)


def test_a_bound_that_does_not_hold() -> None:
    check_pass(made(slower, most=20), [feed_forward()])
    with pytest.raises(PassError, match=r"moves a score by \d+; its bound is 0.5"):
        check_pass(made(slower, most=0.5), [feed_forward()])


def test_windows_of_another_length_than_is_said() -> None:
    item = made(lambda network: network.replace(window=7))
    refused(item, "makes windows of 7 steps; its window_after says None")


def test_a_pass_that_nothing_was_tried_of() -> None:
    refused(made(lambda network: network), "pass made: changes none of the 1 networks")

    def refuse(network: Network) -> Network:
        raise ModelError(f"not {network.name}")

    refused(made(refuse), "changes none of the 1 networks; the last one refused: not toy")


def test_the_error_names_a_random_network_by_its_seed() -> None:
    with pytest.raises(PassError, match=r"pass made: network random40 \(traced\): "):
        check_pass(made(lambda n: 1 / 0), seed=40)
