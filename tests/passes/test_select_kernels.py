"""select-kernels: which C function each part of a step gets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from network_texts import applied, assert_becomes
from networks import PORTABLE, i8, integer_toy, l2mu, narrow, planned

from l2mu_compile.errors import UsageError
from l2mu_compile.network import Input, Network, Population, Readout
from l2mu_compile.neurons import LIF
from l2mu_compile.passbase import Context
from l2mu_compile.passes.select_kernels import SelectKernels
from l2mu_compile.pipeline import parse_pipeline
from l2mu_compile.projection import Projection
from l2mu_compile.targets import kernel_table as table
from l2mu_compile.targets.host import HOST
from l2mu_compile.targets.kernel_costs import KernelCost
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


@pytest.mark.parametrize(("target", "ending"), [("cortex-m3", "_m0"), ("cortex-m4", "_dsp")])
def test_narrow_populations_get_narrow_kernels_of_the_targets_sets(
    target: str, ending: str
) -> None:
    """Where neurons are not too few for them."""
    network = narrow(37, "zero", scalar=True)
    after = applied(SelectKernels(), network, Context(target=get_target(target)))
    assert {p.kernel for p in after.populations if p.size > 3} == {f"i16{ending}"}
    assert {p.kernel for p in after.populations if p.size == 3} == {"i16"}
    assert [p.kernel for p in after.projections] == [
        f"input_i8_i16{ending}",
        f"accumulate_dense_i8_i16{ending}",
        f"accumulate_dense_i8_i16{ending}",
        f"accumulate_shared_i8_i16{ending}",
        f"accumulate_distinct_i8_i16{ending}",
        f"accumulate_dense_i8_i16{ending}",
    ]


@pytest.mark.parametrize(
    ("target", "ending"),
    [("cortex-m3", "_m0"), ("cortex-m4", "_dsp"), ("cortex-m55", "_mve"), ("cortex-a53", "_neon")],
)
def test_weights_with_a_quantum_are_read_packed(target: str, ending: str) -> None:
    network = narrow(37, "zero", scalar=True)
    packed = network.map_projections(
        lambda p: p if p.blocks or p.source == "x" else replace(with_quantum(p), kernel=None)
    )
    wide = packed.map_populations(lambda p: replace(p, membrane_bits=16) if p.name == "m" else p)
    after = applied(SelectKernels(), wide, Context(target=get_target(target)))
    kernels = {p.name: p.kernel for p in after.projections}
    assert kernels["h.h.last"] == f"accumulate_dense_i4_i16{ending}"
    assert kernels["m.h"] == f"accumulate_dense_i4_i32{ending}"


def with_quantum(projection: Projection) -> Projection:
    """Weights of ``projection`` on a grid of 2."""
    weight = np.clip(projection.weight // 4, -8, 7) * 2
    return replace(projection, weight=weight.astype(np.int8), quantum=np.int32(2))


def test_a_host_gets_kernels_that_this_machine_can_run() -> None:
    host = replace(HOST, cpu="native", kernel_sets=("avx512", "dsp", "avx2", "ref"))
    after = applied(SelectKernels(), narrow(9, "zero", scalar=True), Context(target=host))
    best = usable_sets(host)[0]
    assert {p.kernel for p in after.populations} == {"i16" if best == "ref" else f"i16_{best}"}


def test_a_projection_follows_the_numbers_of_its_target() -> None:
    network = narrow(37, "none", scalar=True)
    wide = network.map_populations(lambda p: replace(p, membrane_bits=16) if p.name == "m" else p)
    after = applied(SelectKernels(), wide, Context(target=get_target("cortex-m4")))
    kernels = {p.name: p.kernel for p in (*after.populations, *after.projections)}
    assert kernels["m"] == "i32_dsp"
    assert kernels["m.h"] == "accumulate_dense_i8_i32_dsp"
    assert kernels["m.m.last"] == "accumulate_shared_i8_i32_dsp"
    assert kernels["out.m"] == "accumulate_dense_i8_i16_dsp"


@pytest.mark.parametrize("network", [FOLDED, integer_toy()], ids=["float", "integer"])
def test_nothing_but_kernels_is_set(network: Network) -> None:
    after = applied(SelectKernels(), network)
    bare = after.map_populations(lambda p: replace(p, kernel=None))
    assert bare.map_projections(lambda p: replace(p, kernel=None)) == network


MANY = 128  # neurons


def priced(monkeypatch: pytest.MonkeyPatch, **kernels: dict[str, float]) -> None:
    """A table of costs that has these kernels alone, without ``l2mu_``."""
    costs = {f"l2mu_{name}": KernelCost(terms, 0.0) for name, terms in kernels.items()}
    monkeypatch.setattr(f"{SelectKernels.__module__}.costs_for", lambda _: costs)


def declared(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """A header that has these kernels too."""
    more = {f"l2mu_{name}": Kernel(f"l2mu_{name}", "more.c", ()) for name in names}
    both = {**kernel_table(), **more}
    monkeypatch.setattr(f"{SelectKernels.__module__}.kernel_table", lambda: both)


def loop(rate: float | None) -> Network:
    """A population that hears of itself in two ways, one of them among fewer neurons."""
    neuron = LIF(np.int32(20_000), np.int32(100), "zero")
    populations = (
        Population("a", (MANY,), neuron, membrane_bits=14, rate=rate),
        Population("b", (7,), neuron, membrane_bits=14, rate=rate),
    )
    projections = (
        Projection("x", "a", i8(np.ones((MANY, 1))), shift=np.int32(8)),
        Projection("a", "a", i8(np.ones((MANY, MANY))), delay=1),
        Projection("a", "b", i8(np.ones((7, MANY)))),
    )
    entry = Input("x", 1, fraction=0)
    return Network("loop", entry, populations, projections, Readout("b"), stage="quantized")


def kernels_of(network: Network, kernel_sets: tuple[str, ...] = ("dsp", "ref")) -> dict[str, str]:
    target = replace(get_target("cortex-m4"), kernel_sets=kernel_sets)
    after = SelectKernels().apply(network, Context(target=target))
    return {p.name: str(p.kernel) for p in (*after.populations, *after.projections)}


@pytest.mark.parametrize(("rate", "ending"), [(0.02, ""), (0.9, "_dsp"), (None, "_dsp")])
def test_the_rate_decides(monkeypatch: pytest.MonkeyPatch, rate: float, ending: str) -> None:
    """That of a projection's source; where it is not known, 10 % are assumed."""
    priced(
        monkeypatch,
        accumulate_dense_i8_i16={"spikes*targets": 2.0},
        accumulate_dense_i8_i16_dsp={"1": 1500.0, "spikes*targets": 0.5},
    )
    found = kernels_of(loop(rate))
    assert found["a.a.last"] == f"accumulate_dense_i8_i16{ending}"
    assert found["b.a"] == "accumulate_dense_i8_i16"  # so few targets are never worth it


def test_the_size_of_a_population_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    priced(
        monkeypatch,
        fire_zero_i16={"1": 5.0, "neurons": 20.0},
        fire_zero_i16_dsp={"1": 500.0, "neurons": 2.0},
    )
    found = kernels_of(loop(0.1))
    assert (found["a"], found["b"]) == ("i16_dsp", "i16")


def test_among_equals_and_unknown_kernels_the_first_serves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    same = {"1": 5.0}
    priced(monkeypatch, fire_zero_i16=same, fire_zero_i16_dsp=same, accumulate_dense_i8_i16=same)
    found = kernels_of(loop(0.1))
    assert found["a"] == "i16_dsp"
    assert found["b.a"] == "accumulate_dense_i8_i16_dsp"


@pytest.mark.parametrize("target", ["cortex-m55", "cortex-a76"])
def test_where_nearly_all_spike_helium_and_dot_products_multiply(target: str) -> None:
    for rate, operation in ((0.05, "accumulate"), (0.99, "multiply")):
        after = SelectKernels().apply(loop(rate), Context(target=get_target(target)))
        (recurrent,) = (p for p in after.projections if p.name == "a.a.last")
        assert str(recurrent.kernel).startswith(f"{operation}_dense_i8_i16")


@pytest.mark.skipif("vnni" not in usable_sets(HOST), reason="this machine has no vnni")
@pytest.mark.parametrize("sources", [MANY, 1000])
def test_this_machine_multiplies_where_well_over_half_spike(sources: int) -> None:
    """From 40 % on by timing where weights are in the first cache, else from 65 % on."""
    neuron = LIF(np.int32(20_000), np.int32(100), "zero")
    for rate, kernel in (
        (0.3, "accumulate_dense_i8_i16_avx512"),
        (0.7, "multiply_dense_i8_i16_vnni"),
    ):
        busy = Population("a", (sources,), neuron, membrane_bits=14, rate=rate)
        b = Population("b", (MANY,), neuron, membrane_bits=14)
        projections = (
            Projection("x", "a", i8(np.ones((sources, 1))), shift=np.int32(8)),
            Projection("a", "b", i8(np.ones((MANY, sources)))),
        )
        entry = Input("x", 1, fraction=0)
        network = Network("busy", entry, (busy, b), projections, Readout("b"), stage="quantized")
        after = SelectKernels().apply(network, Context(target=HOST))
        assert after.projections[1].kernel == kernel


DENSE = "accumulate_dense_i8_i16_dsp"
SINGLES = "accumulate_sparse1_i8_i16_dsp"
FOURS = "accumulate_sparse4_i8_i16_dsp"
COSTS = {
    DENSE: {"spikes*targets": 1.0},
    SINGLES: {"spikes*tiles": 5.0},
    FOURS: {"spikes*tiles": 8.0},
}


def thin_loop(single: float, four: float, rate: float = 0.1) -> Network:
    """`loop` where so many of its recurrent weights are left, and so many fours of them."""
    first = np.arange(MANY) < round(single * MANY)
    fours = np.arange(MANY // 4) < round(four * MANY // 4)
    spread = np.repeat(fours, 4) & (np.arange(MANY) % 4 < 1) if single < four else first
    assert spread.mean() == single
    weight = np.tile(spread[:, None], (1, MANY))
    return loop(rate).map_projections(
        lambda p: replace(p, weight=i8(weight)) if p.name == "a.a.last" else p
    )


def chosen_for(
    network: Network,
    prefer: str = "speed",
    kernel_sets: tuple[str, ...] = (),
    name: str = "a.a.last",
) -> str:
    target = get_target("cortex-m4")
    target = replace(target, kernel_sets=kernel_sets) if kernel_sets else target
    after = parse_pipeline(f"select-kernels{{prefer={prefer}}}")[0].apply(
        network, Context(target=target)
    )
    return str(next(p.kernel for p in after.projections if p.name == name))


@pytest.mark.parametrize(
    ("single", "four", "kernel"),
    [
        (0.25, 1.0, DENSE),  # single ones take 1.25 times as long
        (0.125, 0.5, SINGLES),
        (0.25, 0.25, FOURS),
        (0.03125, 0.125, SINGLES),
        (0.03125, 0.03125, FOURS),
    ],
)
def test_sparse_weights_are_stored_sparsely_where_that_is_faster(
    monkeypatch: pytest.MonkeyPatch, single: float, four: float, kernel: str
) -> None:
    priced(monkeypatch, **COSTS)
    assert chosen_for(thin_loop(single, four)) == kernel


@pytest.mark.parametrize(
    ("more", "kernel"), [(1.0, SINGLES), (1.04, SINGLES), (1.06, DENSE), (2.0, DENSE)]
)
def test_a_little_time_is_given_for_fewer_bytes(
    monkeypatch: pytest.MonkeyPatch, more: float, kernel: str
) -> None:
    priced(monkeypatch, **{**COSTS, SINGLES: {"spikes*tiles": 4.0 * more}})
    network = thin_loop(0.25, 1.0)
    assert chosen_for(network) == kernel
    assert chosen_for(network, "size") == SINGLES


@pytest.mark.parametrize(("left", "kernel"), [(1, SINGLES), (2, DENSE)])
def test_not_for_fewer_bytes_than_the_kernel_has_itself(
    monkeypatch: pytest.MonkeyPatch, left: int, kernel: str
) -> None:
    """Of the 7 weights of each of 128 sources 2 are 4 bytes, beside 258 of starts."""
    priced(monkeypatch, **{**COSTS, SINGLES: {"spikes*tiles": 3.5}, FOURS: {"1": 1e9}})
    weight = np.tile((np.arange(7) < left)[:, None], (1, MANY))
    thin = loop(0.1).map_projections(
        lambda p: replace(p, weight=i8(weight)) if p.name == "b.a" else p
    )
    for prefer in ("speed", "size"):
        assert chosen_for(thin, prefer, name="b.a") == kernel


def test_the_smallest_is_taken_even_if_costs_are_not_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    priced(monkeypatch)
    network = thin_loop(0.125, 0.5)
    assert chosen_for(network) == DENSE
    assert chosen_for(network, "size") == SINGLES
    assert chosen_for(network, "size", ("ref",)) == "accumulate_sparse1_i8_i16"


def test_without_weights_there_is_nothing_to_store(monkeypatch: pytest.MonkeyPatch) -> None:
    priced(monkeypatch, **COSTS)
    assert chosen_for(thin_loop(0.0, 0.0), "size") == DENSE


def test_packed_weights_may_be_larger_than_sparse_ones() -> None:
    packed = "accumulate_dense_i4_i16_dsp"
    for single, four, kernel in ((0.25, 1.0, packed), (0.03125, 0.125, SINGLES)):
        network = thin_loop(single, four).map_projections(
            lambda p: replace(p, quantum=np.int32(1)) if p.name == "a.a.last" else p
        )
        assert chosen_for(network) == kernel


@pytest.mark.parametrize("target", ["cortex-m0plus", "cortex-m4", "cortex-m55"])
def test_measured_costs_prefer_dense_weights_until_few_are_left(target: str) -> None:
    found = []
    for left in (1.0, 0.75, 0.0625, 0.03125):
        after = SelectKernels().apply(thin_loop(left, left), Context(target=get_target(target)))
        found.append(str(after.projections[1].kernel).split("_")[1])
    assert found[:2] == ["dense", "dense"]
    assert found[-1].startswith("sparse")


@pytest.mark.parametrize(("prefer", "operation"), [("speed", "multiply"), ("size", "accumulate")])
def test_sparse_weights_may_be_multiplied_densely(
    monkeypatch: pytest.MonkeyPatch, prefer: str, operation: str
) -> None:
    """For speed, where very many spike."""
    declared(monkeypatch, MULTIPLY, FLAGS)
    priced(monkeypatch, **COSTS, **{MULTIPLY: {"sources*targets": 0.1}, FLAGS: {"1": 0.0}})
    assert chosen_for(thin_loop(0.125, 0.5, rate=1.0), prefer).startswith(operation)


def test_floats_are_not_stored_sparsely() -> None:
    """Zero added to minus zero is zero."""
    network = FOLDED.map_projections(lambda p: replace(p, weight=p.weight * (p.weight > 1.4)))
    after = parse_pipeline("select-kernels{prefer=size}")[0].apply(
        network, Context(target=get_target("cortex-m4"))
    )
    assert not any("sparse" in str(p.kernel) for p in after.projections)


def test_only_speed_and_size_can_be_preferred() -> None:
    with pytest.raises(UsageError, match="pass select-kernels: prefer=beauty: Input should be"):
        parse_pipeline("select-kernels{prefer=beauty}")


FLAGS = "flag_spikes_dsp"
MULTIPLY = "multiply_dense_i8_i16_dsp"


@pytest.mark.parametrize(
    ("rate", "flags", "multiplied"),
    [
        (0.01, 0.0, set()),  # following spikes is cheaper
        (0.5, 0.0, {"a.a.last"}),  # but not among many neurons
        (0.9, 0.0, {"a.a.last", "b.a"}),
        (0.9, 4000.0, {"a.a.last", "b.a"}),
        (0.9, 12000.0, set()),  # flags cost more than is saved
    ],
)
def test_many_spikes_are_multiplied(
    monkeypatch: pytest.MonkeyPatch, rate: float, flags: float, multiplied: set[str]
) -> None:
    declared(monkeypatch, MULTIPLY, FLAGS)
    priced(
        monkeypatch,
        accumulate_dense_i8_i16_dsp={"spikes*targets": 1.0},
        multiply_dense_i8_i16_dsp={"1": 200.0, "sources*targets": 0.3},
        flag_spikes_dsp={"1": flags},
    )
    found = kernels_of(loop(rate), ("dsp", "ref"))
    assert {name for name, kernel in found.items() if kernel == MULTIPLY} == multiplied


@pytest.mark.parametrize(("byte_cost", "multiplied"), [(0.0, True), (0.5, False)])
def test_reading_all_weights_has_its_cost(
    monkeypatch: pytest.MonkeyPatch, byte_cost: float, multiplied: bool
) -> None:
    declared(monkeypatch, MULTIPLY, FLAGS)
    priced(
        monkeypatch,
        accumulate_dense_i8_i16_dsp={"spikes*targets": 1.0},
        multiply_dense_i8_i16_dsp={"sources*targets": 0.3},
        flag_spikes_dsp={"1": 0.0},
    )
    target = replace(get_target("cortex-m4"), byte_cost=byte_cost)
    after = SelectKernels().apply(loop(0.5), Context(target=target))
    kernels = {p.name: p.kernel for p in after.projections}
    assert (kernels["a.a.last"] == MULTIPLY) == multiplied


@pytest.mark.parametrize("missing", ["accumulate_dense_i8_i16_dsp", MULTIPLY, FLAGS])
def test_nothing_is_multiplied_unless_all_costs_are_known(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    declared(monkeypatch, MULTIPLY, FLAGS)
    known = {
        "accumulate_dense_i8_i16": {"spikes*targets": 50.0},
        "accumulate_dense_i8_i16_dsp": {"spikes*targets": 50.0},
        MULTIPLY: {"1": 1.0},
        FLAGS: {"1": 1.0},
    }
    priced(monkeypatch, **known)
    assert MULTIPLY in kernels_of(loop(0.9)).values()
    priced(monkeypatch, **{name: terms for name, terms in known.items() if name != missing})
    assert MULTIPLY not in kernels_of(loop(0.9)).values()


def test_without_costs_the_first_set_that_has_a_kernel_serves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
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
