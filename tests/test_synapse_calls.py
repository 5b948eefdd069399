"""The calls of projections, and their weights as kernels read them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from exactness import kernels_and_memory, storing_tiles
from networks import (
    f32,
    feed_forward,
    i8,
    integer_toy,
    l2mu,
    lif,
    narrow,
    planned,
)
from programs import data, record

from l2mu_compile.errors import ModelError
from l2mu_compile.lowering import lower
from l2mu_compile.network import Network, Population, Readout
from l2mu_compile.passbase import Context
from l2mu_compile.pipeline import parse_pipeline, run_passes
from l2mu_compile.program import Place
from l2mu_compile.projection import Projection
from l2mu_compile.sparse import tiles_of
from l2mu_compile.targets.dense_layouts import multiply_weights_for, weights_for
from l2mu_compile.targets.packed_layouts import packed_weights_for
from l2mu_compile.targets.registry import get_target
from l2mu_compile.targets.structured_layouts import block_weights_for, sparse_weights_for


def test_flags_are_made_once_for_all_that_read_them() -> None:
    kernel = "multiply_dense_i8_i16_mve"
    context = Context(target=get_target("cortex-m55"))
    chosen = run_passes(
        narrow(37, "subtract", scalar=True), parse_pipeline("select-kernels"), context
    )
    changed = chosen.map_projections(
        lambda p: replace(p, kernel=kernel) if p.name in ("h.h.last", "m.h") else p
    )
    network = run_passes(changed, parse_pipeline("plan-memory"), context)
    program = lower(network)
    flags, spikes = Place("h_flags"), Place("h_spikes")
    reading = [call for call in program.step if flags in call.arguments]
    assert [(call.kernel, call.owner) for call in reading] == [
        ("l2mu_flag_spikes_mve", "h.h.last"),
        (f"l2mu_{kernel}", "h.h.last"),
        (f"l2mu_{kernel}", "m.h"),
    ]
    assert reading[0].arguments == (flags, 37, spikes)
    assert reading[2].arguments[1:] == (Place("m_membrane"), flags)
    assert record(program, "m_from_h_synapses") == {
        **{"weights": "m_from_h", "targets": 111, "sources": 37},
    }
    [projection] = [p for p in network.projections if p.name == "m.h"]
    ordered = multiply_weights_for(kernel, projection.weight.T)
    assert data(program, "m_from_h").tolist() == ordered.tolist()


def test_weights_lie_as_their_kernel_reads_them() -> None:
    program = lower(kernels_and_memory(narrow(9, "zero", scalar=True), "cortex-m4"))
    network = narrow(9, "zero", scalar=True)
    dense, shared = network.projections[1].weight, network.projections[3].weight
    stored = weights_for("accumulate_dense_i8_i16_dsp", dense.T)
    assert data(program, "h_from_h_last").tolist() == stored.tolist()
    assert stored.size == 9 * 16
    blocks = block_weights_for("accumulate_shared_i8_i16_dsp", shared.T)
    assert data(program, "m_from_m_last").tolist() == blocks.tolist()
    assert record(program, "h_from_h_last_synapses") == {
        "weights": "h_from_h_last",
        "targets": 9,
        "sources": 9,
    }


def test_sparse_weights_lie_in_tiles_as_their_kernel_reads_them() -> None:
    network = narrow(9, "zero", scalar=True).map_projections(
        lambda p: (
            p if p.blocks or p.source == "x" else replace(p, weight=p.weight * (p.weight % 3 == 0))
        )
    )
    made = storing_tiles(network, get_target("cortex-m4"), 4)
    program = lower(made)
    tiles = tiles_of(network.projections[1].weight.T, 4)
    stored = sparse_weights_for("accumulate_sparse4_i8_i16_dsp", tiles.weights)
    assert data(program, "h_from_h_last").tolist() == stored.tolist()
    assert data(program, "h_from_h_last_delta").tolist() == tiles.delta.tolist()
    assert data(program, "h_from_h_last_start").tolist() == tiles.start.tolist()
    assert record(program, "h_from_h_last_synapses") == {
        "weights": "h_from_h_last",
        "delta": "h_from_h_last_delta",
        "start": "h_from_h_last_start",
        "targets": 9,
    }
    projection = made.projections[1]
    parts = [d for d in program.data if d.name.startswith("h_from_h_last")]
    assert projection.stored_bytes == sum(d.values.nbytes for d in parts)
    assert (projection.bits, projection.tile) == (8, 4)


@pytest.mark.parametrize(
    ("make", "name", "message"),
    [
        (lambda: planned(l2mu()), "h.m", "is for dense projections of int8 weights"),
        (
            lambda: kernels_and_memory(narrow(9, "zero", True)),
            "m.m.last",
            "is for dense projections of int8",
        ),
        (lambda: kernels_and_memory(silent()), "h.h.last", "0 tiles cannot be stored"),
        (
            lambda: kernels_and_memory(narrow(300, "zero", True)),
            "m.h",
            "[0-9]{6} tiles cannot be stored",
        ),
    ],
    ids=["float", "blocks", "zeros", "many"],
)
def test_what_no_tiles_can_hold_is_refused(
    make: Callable[[], Network], name: str, message: str
) -> None:
    kernel = "accumulate_sparse1_i8_i16"
    network = make().map_projections(lambda p: replace(p, kernel=kernel) if p.name == name else p)
    with pytest.raises(ModelError, match=f"{name}: .*{message}"):
        lower(network)


def silent() -> Network:
    """Spikes of ``h`` change nothing there."""
    return narrow(9, "zero", scalar=True).map_projections(
        lambda p: replace(p, weight=p.weight * np.int8(0)) if p.name == "h.h.last" else p
    )


def test_dense_weights_are_stored_by_source() -> None:
    program = lower(planned(feed_forward()))
    weight = feed_forward().projections[1].weight
    assert data(program, "out_from_h").tolist() == weight.T.ravel().tolist()


def test_block_weights_are_stored_by_source_within_a_block() -> None:
    network = l2mu()
    program = lower(planned(network))
    shared = network.into("m")[1].weight
    assert data(program, "m_from_m_last").tolist() == shared.T.ravel().tolist()


def test_sample_weights_are_stored_by_target() -> None:
    program = lower(planned(feed_forward()))
    weight = feed_forward().projections[0].weight
    assert data(program, "h_from_x").tolist() == weight.ravel().tolist()


@pytest.mark.parametrize(
    ("blocks", "shape", "step"), [(0, (4, 2), 0), (2, (2, 1), 0), (2, (2, 2, 1), 2)]
)
def test_sample_synapses_tell_how_far_blocks_are_apart(
    blocks: int, shape: tuple[int, ...], step: int
) -> None:
    network = Network(
        "n",
        feed_forward().input,
        (Population("p", (4,), lif()),),
        (Projection("x", "p", f32(np.ones(shape)), blocks=blocks),),
        Readout("p"),
    )
    fields = record(lower(planned(network)), "p_from_x_synapses")
    rows, columns = shape[-2:]
    assert fields == {
        "weights": "p_from_x",
        "blocks": max(blocks, 1),
        "rows": rows,
        "columns": columns,
        "block_step": step,
    }


@pytest.mark.parametrize("target", [None, "cortex-m4"])
def test_packed_weights_come_with_a_quantum_for_each_target(target: str | None) -> None:
    toy = integer_toy()
    loop = replace(toy.projections[2], weight=i8([[-8, 5], [7, 0]]), quantum=np.int32(1))
    out = replace(toy.projections[1], weight=i8([[30, -5], [-6, 15]]), quantum=np.int32([5, 3]))
    network = kernels_and_memory(toy.replace(projections=(toy.projections[0], out, loop)), target)
    program = lower(network)
    synapses = record(program, "out_from_h_synapses")
    assert synapses["weights"] == "out_from_h"
    assert (synapses["targets"], synapses["sources"]) == (2, 2)
    assert data(program, str(synapses["quantum"])).tolist() == [5, 3, 0, 0, 0, 0, 0, 0]
    assert data(program, "h_from_h_last_quantum").tolist() == [1, 1, 0, 0, 0, 0, 0, 0]
    kernel = str(network.projections[1].kernel)
    multiples = np.array([[6, -2], [-1, 5]])
    stored = packed_weights_for(kernel, multiples)
    assert data(program, "out_from_h").tolist() == stored.tolist()


def test_a_missing_shift_becomes_zero() -> None:
    toy = integer_toy()
    bare = replace(toy.projections[0], shift=None)
    program = lower(kernels_and_memory(toy.replace(projections=(bare, *toy.projections[1:]))))
    assert record(program, "h_from_x_synapses")["shift"] == "h_from_x_shift"
    assert data(program, "h_from_x_shift").tolist() == [0]


def test_an_unknown_projection_kernel_is_refused_by_name() -> None:
    network = planned(feed_forward())
    strange = replace(network.projections[1], kernel="convolve")
    with pytest.raises(ModelError, match=r"out\.h: no such kernel: 'convolve'"):
        lower(network.replace(projections=(network.projections[0], strange)))
