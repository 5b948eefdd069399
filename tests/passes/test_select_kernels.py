"""select-kernels: which C function each part of a step gets."""

from __future__ import annotations

from dataclasses import replace

import pytest
from networks import PORTABLE, applied, assert_becomes, integer_toy, l2mu, narrow, planned

from l2mu_compile.errors import UsageError
from l2mu_compile.network import Network
from l2mu_compile.passbase import Context
from l2mu_compile.passes.select_kernels import SelectKernels
from l2mu_compile.targets import kernel_table as table
from l2mu_compile.targets.host import HOST
from l2mu_compile.targets.kernel_sets import usable_sets
from l2mu_compile.targets.kernel_table import Kernel, kernel_table
from l2mu_compile.targets.registry import get_target

FOLDED = l2mu(sensors=None).replace(stage="folded")


def test_every_structure_has_its_kernel() -> None:
    assert_becomes(
        SelectKernels(),
        """
        network n stage=folded window=none
          input      x : f32[2]
          population a : lif[2] beta=0.5 threshold=1.0 reset=subtract
          population b : cuba_lif[2] alpha=0.5 beta=0.5 threshold=1.0 reset=clamp
          projection x -> a : blocks[1,1]x2 @a.x
          projection a -> b : dense[2,2] @b.a
          projection a -> a : blocks[1,1]x2 @a.a.last delay=1
          projection b -> b : blocks[2,1,1] @b.b.last delay=1
          readout    b : spike_count
        a.x = [[1.0]]
        b.a = [[1.0, 0.0], [0.0, 1.0]]
        a.a.last = [[1.0]]
        b.b.last = [[[1.0]], [[2.0]]]
        """,
        """
        network n stage=folded window=none
          input      x : f32[2]
          population a : lif[2] beta=0.5 threshold=1.0 reset=subtract kernel=f32
          population b : cuba_lif[2] alpha=0.5 beta=0.5 threshold=1.0 reset=clamp kernel=f32
          projection x -> a : blocks[1,1]x2 @a.x kernel=input_f32
          projection a -> b : dense[2,2] @b.a kernel=accumulate_dense_f32
          projection a -> a : blocks[1,1]x2 @a.a.last delay=1 kernel=accumulate_shared_f32
          projection b -> b : blocks[2,1,1] @b.b.last delay=1 kernel=accumulate_distinct_f32
          readout    b : spike_count
        a.x = [[1.0]]
        b.a = [[1.0, 0.0], [0.0, 1.0]]
        a.a.last = [[1.0]]
        b.b.last = [[[1.0]], [[2.0]]]
        """,
    )


def test_integers_get_integer_kernels() -> None:
    after = applied(SelectKernels(), integer_toy())
    assert [p.kernel for p in after.projections] == [
        "input_i8_i32",
        "accumulate_dense_i8_i32",
        "accumulate_dense_i8_i32",
    ]
    assert {p.kernel for p in after.populations} == {"i32"}


@pytest.mark.parametrize(
    ("target", "ending", "input_ending"), [("cortex-m3", "_m0", ""), ("cortex-m4", "_dsp", "")]
)
def test_narrow_populations_get_narrow_kernels_of_the_targets_sets(
    target: str, ending: str, input_ending: str
) -> None:
    """As far as there are any: the others are portable ones."""
    network = narrow(9, "zero", scalar=True)
    after = applied(SelectKernels(), network, Context(target=get_target(target)))
    assert {p.kernel for p in after.populations} == {f"i16{ending}"}
    assert [p.kernel for p in after.projections] == [
        f"input_i8_i16{input_ending}",
        f"accumulate_dense_i8_i16{ending}",
        f"accumulate_dense_i8_i16{ending}",
        f"accumulate_shared_i8_i16{ending}",
        f"accumulate_distinct_i8_i16{ending}",
        f"accumulate_dense_i8_i16{ending}",
    ]


def test_a_host_gets_kernels_that_this_machine_can_run() -> None:
    host = replace(HOST, cpu="native", kernel_sets=("avx512", "dsp", "avx2", "ref"))
    after = applied(SelectKernels(), narrow(9, "zero", scalar=True), Context(target=host))
    best = usable_sets(host)[0]
    assert {p.kernel for p in after.populations} == {"i16" if best == "ref" else f"i16_{best}"}


def test_a_projection_follows_the_numbers_of_its_target() -> None:
    network = narrow(9, "none", scalar=True)
    wide = network.map_populations(lambda p: replace(p, membrane_bits=16) if p.name == "m" else p)
    after = applied(SelectKernels(), wide, Context(target=get_target("cortex-m4")))
    kernels = {p.name: p.kernel for p in (*after.populations, *after.projections)}
    assert kernels["m"] == "i32"
    assert kernels["m.h"] == "accumulate_dense_i8_i32_dsp"
    assert kernels["m.m.last"] == "accumulate_shared_i8_i32"
    assert kernels["out.m"] == "accumulate_dense_i8_i16_dsp"


@pytest.mark.parametrize("network", [FOLDED, integer_toy()], ids=["float", "integer"])
def test_nothing_but_kernels_is_set(network: Network) -> None:
    after = applied(SelectKernels(), network)
    bare = after.map_populations(lambda p: replace(p, kernel=None))
    assert bare.map_projections(lambda p: replace(p, kernel=None)) == network


def test_the_first_set_that_has_a_kernel_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = Kernel("l2mu_accumulate_dense_i8_i32_fast", "fast.c", ())
    both = {**kernel_table(), fast.name: fast}
    module = SelectKernels.__module__
    monkeypatch.setattr(f"{module}.kernel_table", lambda: both)
    target = replace(PORTABLE, kernel_sets=("fast", "ref"))
    after = applied(SelectKernels(), integer_toy(), Context(target=target))
    assert [p.kernel for p in after.projections] == [
        "input_i8_i32",
        "accumulate_dense_i8_i32_fast",
        "accumulate_dense_i8_i32_fast",
    ]


def test_a_kernel_that_no_set_has_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    without = {n: k for n, k in table.kernel_table().items() if "input" not in n}
    monkeypatch.setattr(f"{SelectKernels.__module__}.kernel_table", lambda: without)
    with pytest.raises(UsageError, match="no kernel input_f32 in the sets ref"):
        SelectKernels().apply(FOLDED, Context(target=PORTABLE))


def test_a_target_is_needed() -> None:
    with pytest.raises(UsageError, match="select-kernels needs a target: give --target"):
        SelectKernels().apply(FOLDED, Context())


def test_a_planned_network_is_left_alone() -> None:
    network = planned(l2mu())
    assert SelectKernels().apply(network, Context()) is network
