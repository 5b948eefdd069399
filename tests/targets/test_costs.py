"""What a build costs: functions that are not used cost nothing, and every function has a bound."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from exactness import unbuilt
from networks import l2mu, planned, samples

from l2mu_compile.network import Network
from l2mu_compile.stream import Stream
from l2mu_compile.targets.build import build
from l2mu_compile.targets.costs import Costs
from l2mu_compile.targets.elf import footprint, symbols
from l2mu_compile.targets.emit_c import state_bytes
from l2mu_compile.targets.product import Product
from l2mu_compile.targets.registry import get_target


def built(
    target: str, network: Network, folder: Path, stream: Stream | None = None
) -> tuple[Product, Costs]:
    window = samples(planned(l2mu()), 1, 4)[0]
    product = unbuilt(network, get_target(target), window, folder, stream)
    return product, build(product)


@pytest.mark.parametrize("quantized", [False, True])
def test_functions_that_are_not_called_cost_nothing(tmp_path: Path, quantized: bool) -> None:
    network = planned(l2mu(), quantized)
    labelled = network.replace(readout=replace(network.readout, labels=("a" * 60, "b", "c")))
    _, small = built("cortex-m4", network, tmp_path / "small")
    product, large = built("cortex-m4", labelled, tmp_path / "large", Stream(90, 10))
    assert (small.flash, small.ram) == (large.flash, large.ram)
    assert small.ram == state_bytes(product.program)
    used = set(symbols(product.scratch / "user"))
    assert {"cell_init", "cell_step", "cell_classify"} <= used
    for word in ("push", "raw", "save", "restore", "digest", "class_name", "run", "members"):
        assert not [name for name in used if word in name.lower()], word
    assert set(product.api()) <= set(symbols(product.scratch / "whole"))


def test_the_firmware_has_what_checks_call(tmp_path: Path) -> None:
    product, _ = built("cortex-m4", planned(l2mu()), tmp_path)
    kept = set(symbols(product.image)) & set(product.api())
    assert kept >= {"cell_reset", "cell_step", "cell_step_raw", "cell_classify"}
    assert not kept & {"cell_run", "cell_save", "cell_digest"}


@pytest.mark.parametrize("target", ["cortex-m4", "cortex-a53"])
def test_every_function_has_a_bound(tmp_path: Path, target: str) -> None:
    product, costs = built(target, planned(l2mu(), True), tmp_path, Stream(9, 3))
    assert costs.stack is not None
    assert tuple(costs.stack) == product.program.functions
    assert costs.stack["cell_push"] > costs.stack["cell_step"] > costs.stack["cell_classify"]


def test_a_library_has_all_functions_and_the_user_one_state(tmp_path: Path) -> None:
    product, costs = built("cortex-a53", planned(l2mu()), tmp_path)
    library = footprint(product.image)
    assert costs.flash == library.flash
    assert costs.ram == library.ram + state_bytes(product.program)


def test_code_for_x86_has_no_bound(tmp_path: Path) -> None:
    _, costs = built("android-x86_64", planned(l2mu()), tmp_path)
    assert costs.stack is None
    assert costs.flash > 0
