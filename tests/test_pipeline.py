"""Pipelines: how they are written, what runs between passes, plug-ins and errors."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from typing import Any, ClassVar

import numpy as np
import pytest
from networks import f32, feed_forward, l2mu, samples

from l2mu_compile import plugins
from l2mu_compile.errors import ModelError, UsageError
from l2mu_compile.network import Network, Readout
from l2mu_compile.passbase import Context, Pass
from l2mu_compile.passes import PASSES
from l2mu_compile.passes.calibrate import Calibrate
from l2mu_compile.passes.fold_input import FoldInput
from l2mu_compile.passes.quantize import Quantize
from l2mu_compile.pipeline import (
    FLOAT_PIPELINE,
    INT8_PIPELINE,
    NEED_WINDOWS,
    default_pipeline,
    known_passes,
    parse_pipeline,
    run_passes,
    with_preparation,
)
from l2mu_compile.targets.registry import get_target


@dataclass(frozen=True)
class Scale(Pass):
    """Requires a float network; multiplies all weights; lossy."""

    name: ClassVar[str] = "scale-weights"
    factor: float = 2.0

    def apply(self, network: Network, context: Context) -> Network:
        return network.map_projections(lambda p: replace(p, weight=p.weight * f32(self.factor)))


@dataclass(frozen=True)
class Break(Pass):
    """Breaks everything."""

    name: ClassVar[str] = "break"

    def apply(self, network: Network, context: Context) -> Network:
        return network.map_populations(lambda p: replace(p, bias=f32([1])))


def elsewhere(change: Callable[[Network], Any]) -> Pass:
    """A pass that does ``change``."""

    @dataclass(frozen=True)
    class Change(Pass):
        """Does what it is told."""

        name: ClassVar[str] = "change"

        def apply(self, network: Network, context: Context) -> Network:
            return change(network)  # type: ignore[no-any-return]

    return Change()


def spoil(network: Network) -> Network:
    network.population("h").neuron.beta.setflags(write=True)
    network.population("h").neuron.beta[...] = 0.125
    return network


@dataclass(frozen=True)
class Refuse(Pass):
    """Refuses every network."""

    name: ClassVar[str] = "refuse"

    def apply(self, network: Network, context: Context) -> Network:
        raise UsageError("not today")


# ---- writing -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("fold-input", (FoldInput(),)),
        (" fold-input , calibrate ", (FoldInput(), Calibrate())),
        ("calibrate{windows=3},fold-input", (Calibrate(3), FoldInput())),
        (
            "quantize{ membrane_bits = 24 , headroom=1.5 }",
            (Quantize(membrane_bits=24, headroom=1.5),),
        ),
        ("quantize{}", (Quantize(),)),
    ],
)
def test_a_pipeline_is_read(text: str, expected: tuple[Pass, ...]) -> None:
    assert parse_pipeline(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fold-inputs", "unknown pass 'fold-inputs'; did you mean 'fold-input'"),
        ("xyz", "unknown pass 'xyz'; known: fold-input, remove-dead"),
        ("fold-input{a=1}", "pass fold-input: unexpected 'a=1'; its options: none"),
        ("calibrate{window=1}", "pass calibrate: unexpected 'window=1'; its options: windows"),
        ("calibrate{windows}", "pass calibrate: unexpected 'windows'"),
        ("calibrate{windows=many}", "pass calibrate: windows=many: Input should be a valid int"),
        ("calibrate{windows=1.5}", "pass calibrate: windows=1.5: "),
        ("calibrate{windows=1", "pipeline: cannot read 'calibrate{windows=1'"),
        ("fold-input;calibrate", "pipeline: cannot read"),
        ("fold-input calibrate", "pipeline: cannot read"),
    ],
)
def test_a_wrong_pipeline_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_pipeline(text)
    assert message in str(error.value)


@pytest.mark.parametrize("kind", PASSES.values())
def test_a_pass_is_written_as_it_is_printed(kind: type[Pass]) -> None:
    assert parse_pipeline(str(kind())) == (kind(),)


@pytest.mark.parametrize("kind", PASSES.values())
def test_every_pass_states_what_it_requires_and_whether_it_is_exact(kind: type[Pass]) -> None:
    first = kind.contract()
    assert first.startswith("Requires ")
    assert first.endswith(".")
    assert any(word in first for word in ("exact", "lossy", "rounding"))


def test_default_pipelines_calibrate_when_they_can() -> None:
    names = [p.name for p in default_pipeline(quantized=True, calibrated=True)]
    assert tuple(names) == INT8_PIPELINE
    names = [p.name for p in default_pipeline(quantized=False, calibrated=False)]
    assert names == [name for name in FLOAT_PIPELINE if name not in NEED_WINDOWS]


# ---- plug-ins ----------------------------------------------------------------------------------


def install(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    point = EntryPoint(name="plug", value=value, group="l2mu_compile.passes")
    monkeypatch.setattr(
        plugins, "entry_points", lambda group: [point] if group == point.group else []
    )


def test_a_plug_in_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, f"{__name__}:Scale")
    assert set(known_passes()) == {*PASSES, "scale-weights"}
    assert parse_pipeline("scale-weights{factor=4}") == (Scale(4.0),)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("no_such_module:Thing", "plug-in no_such_module:Thing: cannot be loaded"),
        (f"{__name__}:install", "install: is no pass"),
        ("l2mu_compile.passbase:Pass", "Pass: is no pass"),
        ("l2mu_compile.passes.fold_input:FoldInput", "the name 'fold-input' is taken"),
    ],
)
def test_a_bad_plug_in_is_named(monkeypatch: pytest.MonkeyPatch, value: str, message: str) -> None:
    install(monkeypatch, value)
    with pytest.raises(UsageError) as error:
        known_passes()
    assert message in str(error.value)


# ---- running -----------------------------------------------------------------------------------


def test_passes_run_in_order_and_are_observed() -> None:
    seen: list[tuple[str, str, str]] = []
    final = run_passes(
        l2mu(),
        default_pipeline(quantized=True, calibrated=True),
        Context(target=get_target("host"), samples=samples(l2mu())),
        observer=lambda p, before, after: seen.append((p.name, before.stage, after.stage)),
    )
    assert final.stage == "planned"
    assert tuple(name for name, _, _ in seen) == INT8_PIPELINE
    assert seen[0] == ("fold-input", "traced", "folded")
    assert seen[5] == ("quantize", "folded", "quantized")


def test_no_passes_change_nothing() -> None:
    network = l2mu()
    assert run_passes(network, (), Context()) is network


def test_the_pass_that_broke_a_rule_is_named_with_those_before_it() -> None:
    with pytest.raises(ModelError) as error:
        run_passes(feed_forward(), (Scale(), FoldInput(), Break()), Context())
    assert str(error.value) == (
        "pass break of test_pipeline.py (after scale-weights, fold-input): "
        "network toy (folded): h: bias has shape [1]"
    )


def test_the_first_pass_has_none_before_it() -> None:
    with pytest.raises(ModelError, match="pass quantize: quantize needs a folded network"):
        run_passes(feed_forward(), (Quantize(),), Context())


def test_a_broken_network_is_refused_before_any_pass() -> None:
    with pytest.raises(ModelError, match=r"^network toy \(traced\): h: bias"):
        run_passes(Break().apply(feed_forward(), Context()), (Scale(),), Context())


def test_checks_can_be_turned_off() -> None:
    broken = Break().apply(feed_forward(), Context())
    assert run_passes(broken, (FoldInput(),), Context(), check=False).stage == "folded"


def test_passes_from_elsewhere_are_checked_in_any_case() -> None:
    with pytest.raises(ModelError, match=r"^pass break of test_pipeline.py: network toy"):
        run_passes(feed_forward(), (Break(),), Context(), check=False)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda network: None, "returned a NoneType, not a Network"),
        (lambda network: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda network: sys.exit("enough"), "SystemExit: enough"),
        (spoil, "changed the network that it was given; a pass returns a new one"),
        (
            lambda network: network.replace(readout=Readout("h")),
            "made 3 classes of 2; a pass keeps them",
        ),
        (lambda network: network.replace(stage="traced"), "made a traced network of a folded one"),
    ],
)
def test_what_a_pass_from_elsewhere_must_not_do_is_named(
    change: Callable[[Network], Any], rule: str
) -> None:
    with pytest.raises(ModelError) as error:
        run_passes(feed_forward(), (FoldInput(), elsewhere(change)), Context())
    assert str(error.value) == f"pass change of test_pipeline.py (after fold-input): {rule}"


def test_a_wrong_use_of_a_pass_stays_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"^not today$"):
        run_passes(feed_forward(), (Refuse(),), Context())


def test_default_pipelines_are_pure() -> None:
    network, windows = l2mu(), samples(l2mu())
    before = {name: array.copy() for name, array in network.tensors().items()}
    context = Context(target=get_target("host"), samples=windows)
    first = run_passes(network, default_pipeline(True, True), context)
    assert run_passes(network, default_pipeline(True, True), context) == first
    assert all(np.array_equal(before[n], a) for n, a in network.tensors().items())
    assert network == l2mu()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("remove-dead", ["remove-dead"]),
        ("quantize", list(INT8_PIPELINE[:6])),
        (
            "calibrate{windows=3},quantize,remove-dead",
            [
                *("calibrate", "fold-input", "remove-dead", "fold-threshold", "detect-spikes"),
                *("quantize", "remove-dead"),
            ],
        ),
    ],
)
def test_what_quantize_builds_on_is_put_before_it(text: str, names: list[str]) -> None:
    passes = parse_pipeline(text)
    prepared = with_preparation(passes)
    assert [p.name for p in prepared] == names
    assert [p for p in prepared if any(p is q for q in passes)] == list(passes)
