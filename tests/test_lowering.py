"""Lowering: the ordered kernel calls of one step, and the constants they read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from exactness import storing_tiles
from networks import (
    PORTABLE,
    chain,
    cuba,
    f32,
    feed_forward,
    i8,
    integer_toy,
    l2mu,
    late_reader,
    li,
    lif,
    narrow,
    planned,
)

from l2mu_compile.errors import ModelError
from l2mu_compile.lowering import lower
from l2mu_compile.network import READOUT_RULES, Network, Population, Readout
from l2mu_compile.neuron_calls import number
from l2mu_compile.neurons import CuBaLIF
from l2mu_compile.passbase import Context
from l2mu_compile.pipeline import parse_pipeline, run_passes
from l2mu_compile.program import API_FUNCTIONS, STREAM_FUNCTIONS, Call, Constant, Place, Program
from l2mu_compile.projection import Projection
from l2mu_compile.sample_calls import count_scale
from l2mu_compile.sparse import tiles_of
from l2mu_compile.stream import Stream
from l2mu_compile.targets.dense_layouts import multiply_weights_for, weights_for
from l2mu_compile.targets.kernel_table import kernel_table
from l2mu_compile.targets.packed_layouts import packed_weights_for
from l2mu_compile.targets.registry import get_target
from l2mu_compile.targets.structured_layouts import block_weights_for, sparse_weights_for


def kernels(program: Program) -> list[str]:
    return [call.kernel.removeprefix("l2mu_") for call in program.step]


def finish(network: Network, target: str | None = None) -> Network:
    context = Context(target=get_target(target) if target else PORTABLE)
    return run_passes(network, parse_pipeline("select-kernels,plan-memory"), context)


def data(program: Program, name: str) -> np.ndarray:
    return next(d.values for d in program.data if d.name == name)


def record(program: Program, name: str) -> dict[str, object]:
    return dict(next(r.fields for r in program.records if r.name == name))


@pytest.mark.parametrize("quantized", [False, True])
def test_golden_program(golden: Callable[[str, str], None], quantized: bool) -> None:
    kind = "int8" if quantized else "float"
    stream = Stream(10, 4) if quantized else None
    golden(f"program_{kind}.txt", str(lower(planned(l2mu(), quantized), stream)))


def test_a_step_in_order() -> None:
    assert kernels(lower(planned(feed_forward()))) == [
        "input_f32",
        "fire_subtract_f32",
        "accumulate_dense_f32",
        "fire_subtract_f32",
        "count_spikes",
    ]


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


def test_currents_go_to_the_synapse_of_a_current_based_neuron() -> None:
    program = lower(planned(feed_forward(cuba(reset="clamp"))))
    assert kernels(program)[:2] == ["input_f32", "fire_synaptic_clamp_f32"]
    assert program.step[0].arguments[1] == Place("h_synapse")
    places = (Place("h_membrane"), Place("h_synapse"), Place("h_spikes"))
    assert program.step[1].arguments[1:] == places


def test_delayed_spikes_are_added_once_their_target_has_fired() -> None:
    program = lower(planned(late_reader()))
    assert [(call.kernel, call.owner) for call in program.step] == [
        ("l2mu_input_f32", "a.x"),
        ("l2mu_fire_subtract_f32", "a"),
        ("l2mu_accumulate_dense_f32", "b.a"),
        ("l2mu_fire_subtract_f32", "b"),
        ("l2mu_count_spikes", "readout"),
        ("l2mu_accumulate_dense_f32", "b.a.last"),
    ]
    assert program.step[5].arguments[1:] == (Place("b_membrane"), Place("a_spikes"))


@pytest.mark.parametrize("quantized", [False, True])
def test_membranes_are_read_before_they_decay(quantized: bool) -> None:
    """Those of an accumulator that is not saturated yet are made first."""
    network = feed_forward(rule="last_membrane")
    hidden, out = network.populations
    leaky = network.replace(populations=(hidden, replace(out, neuron=li())))
    show = ["saturate_i32"] if quantized else []
    number = "i32" if quantized else "f32"
    for network, end in ((leaky, "leak"), (feed_forward(rule="last_membrane"), "fire_subtract")):
        program = lower(planned(network, quantized))
        ending = [*show, f"copy_{number}", f"{end}_{number}"]
        assert kernels(program)[-len(ending) :] == ending
    assert record(lower(planned(leaky, quantized)), "out_neurons")["threshold"] is None
    current_based = lower(planned(feed_forward(cuba(), "last_membrane"), quantized))
    assert kernels(current_based)[-2:] == [f"fire_synaptic_subtract_{number}", f"copy_{number}"]


@pytest.mark.parametrize("quantized", [False, True])
def test_a_window_starts_with_the_biases(quantized: bool) -> None:
    network = planned(l2mu(rule="max_membrane"), quantized)
    assert [(call.kernel, call.owner) for call in lower(network).reset] == [
        *(
            (f"l2mu_add_bias_{number(network, network.population(name))}", name)
            for name in ("enc", "out")
        ),
        ("l2mu_fill_i32" if quantized else "l2mu_fill_f32", "readout"),
    ]


def test_narrow_parameters_are_as_their_kernels_read_them() -> None:
    """Decays are Q16, and arrays are filled up with what does nothing."""
    network = finish(narrow(9, "subtract", scalar=False))
    hidden, program = network.population("h"), lower(network)
    fields = record(program, "h_neurons")
    assert (fields["size"], fields["beta_step"]) == (9, 1)
    assert "low" not in fields
    beta, threshold = data(program, "h_beta"), data(program, "h_threshold")
    assert beta.tolist() == [*(2 * hidden.neuron.beta).tolist(), *7 * [0]]
    assert hidden.neuron.threshold.tolist()[::7] == [25_000, 25_000]
    reachable = np.minimum(hidden.neuron.threshold, 2**13 - 1)  # no membrane is above
    assert threshold.tolist() == [*reachable.tolist(), *7 * [2**15 - 1]]
    assert data(program, "h_bias").tolist() == [*hidden.bias.tolist(), *7 * [0]]
    assert (beta.dtype, threshold.dtype) == (np.int32, np.int16)
    one = lower(finish(narrow(9, "subtract", scalar=True)))
    assert data(one, "h_beta").size == 1
    assert data(one, "h_threshold").size == 16


def test_narrow_decays_are_all_one_for_every_neuron_or_all_one_for_each() -> None:
    """Whichever of them is which in the network."""
    alpha, beta = np.int32(1000), np.int32(np.arange(9))
    for decays in ((alpha, beta), (beta, alpha), (beta, beta), (alpha, alpha)):
        neuron = CuBaLIF(*decays, np.int32(50))
        network = narrow(9, "subtract", scalar=True, kind=CuBaLIF).map_populations(
            lambda p, neuron=neuron: replace(p, neuron=neuron) if p.name == "h" else p
        )
        program = lower(finish(network))
        fields = record(program, "h_neurons")
        each = any(decay.ndim for decay in decays)
        assert fields["beta_step"] == each
        for name, decay in zip(("alpha", "beta"), decays, strict=True):
            wanted = np.broadcast_to(2 * decay, 9 if each else 1)
            assert data(program, f"h_{name}").tolist() == [*wanted.tolist(), *7 * each * [0]]


def test_weights_lie_as_their_kernel_reads_them() -> None:
    program = lower(finish(narrow(9, "zero", scalar=True), "cortex-m4"))
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
        (lambda: finish(narrow(9, "zero", True)), "m.m.last", "is for dense projections of int8"),
        (lambda: finish(silent()), "h.h.last", "0 tiles cannot be stored"),
        (lambda: finish(narrow(300, "zero", True)), "m.h", "[0-9]{6} tiles cannot be stored"),
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


def test_parameters_say_whether_there_is_one_for_each_neuron() -> None:
    network = feed_forward(lif([0.5, 0.25, 0.75], 1))
    network = network.replace(populations=(network.populations[0], feed_forward().populations[1]))
    program = lower(planned(network))
    assert record(program, "h_neurons")["beta_step"] == 1
    assert record(program, "h_neurons")["threshold_step"] == 0
    assert record(program, "h_neurons")["bias"] is None


def test_integer_neurons_carry_their_saturation() -> None:
    fields = record(lower(finish(integer_toy())), "h_neurons")
    assert (fields["low"], fields["high"], fields["bias"]) == (-(2**15), 2**15 - 1, "h_bias")


@pytest.mark.parametrize("target", [None, "cortex-m4"])
def test_packed_weights_come_with_a_quantum_for_each_target(target: str | None) -> None:
    toy = integer_toy()
    loop = replace(toy.projections[2], weight=i8([[-8, 5], [7, 0]]), quantum=np.int32(1))
    out = replace(toy.projections[1], weight=i8([[30, -5], [-6, 15]]), quantum=np.int32([5, 3]))
    network = finish(toy.replace(projections=(toy.projections[0], out, loop)), target)
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
    program = lower(finish(toy.replace(projections=(bare, *toy.projections[1:]))))
    assert record(program, "h_from_x_synapses")["shift"] == "h_from_x_shift"
    assert data(program, "h_from_x_shift").tolist() == [0]


@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("rule", READOUT_RULES)
def test_every_readout_scores_and_decides(rule: str, quantized: bool) -> None:
    program = lower(planned(feed_forward(rule=rule), quantized))
    number = "i32" if quantized or rule == "spike_count" else "f32"
    wide = "i64" if quantized and rule == "mean_membrane" else number
    update = {
        "spike_count": "count_spikes",
        "last_membrane": f"copy_{number}",
        "max_membrane": f"maximum_{number}",
        "mean_membrane": f"sum_{wide}",
    }[rule]
    after = [] if rule == "spike_count" else [f"fire_subtract_{number}"]
    assert kernels(program)[-1 - len(after) :] == [update, *after]
    assert program.classify.kernel == f"l2mu_argmax_{wide}"
    assert [c.kernel for c in program.reset] == (
        [f"l2mu_fill_{number}"] if rule == "max_membrane" else []
    )


@pytest.mark.parametrize("network", [l2mu(), chain(), late_reader()], ids=lambda n: n.name)
@pytest.mark.parametrize("quantized", [False, True])
def test_every_call_fits_its_kernel_and_every_argument_exists(
    network: Network, quantized: bool
) -> None:
    program = lower(planned(network, quantized))
    places = {b.name for b in program.buffers}
    places |= {"state", "sample", "counts", "converted", "bytes", "size"}
    constants = {d.name for d in program.data} | {r.name for r in program.records} | {"layout"}
    for call in program.calls:
        assert len(call.arguments) == len(kernel_table()[call.kernel].parameters)
        for argument in call.arguments:
            if isinstance(argument, Place):
                assert argument.name in places
            if isinstance(argument, Constant):
                assert argument.name in constants


def test_constants_keep_clear_of_buffers_and_of_the_api() -> None:
    """A scratch list is a local pointer in C, and would hide a constant of its name."""
    eye = f32(np.eye(2))
    populations = tuple(Population(n, (2,), lif()) for n in ("a", "a_from", "spikes"))
    projections = (
        Projection("x", "a", eye),
        Projection("x", "spikes", eye),
        Projection("a_from", "a", eye, delay=1),
        Projection("spikes", "a", eye),  # would be the constant a_from_spikes
        Projection("x", "a_from", eye),  # needs the buffer a_from_spikes
    )
    network = Network("n", feed_forward().input, populations, projections, Readout("a"))
    program = lower(planned(network))
    buffers = {b.name for b in program.buffers}
    constants = {c.name for c in (*program.data, *program.records)}
    assert "a_from_spikes" in buffers
    assert "a_from_spikes_2" in constants
    assert not buffers & constants


@pytest.mark.parametrize("word", [*API_FUNCTIONS, *STREAM_FUNCTIONS, "state_t", "stream_t"])
def test_no_constant_takes_a_name_of_the_api(word: str) -> None:
    network = planned(feed_forward().replace(name="out_from"))
    hidden = replace(network.population("h"), name=word)
    names = {"h": word, "x": "x", "out": "out"}
    network = network.replace(
        populations=(hidden, network.population("out")),
        projections=tuple(
            replace(p, source=names[p.source], target=names[p.target]) for p in network.projections
        ),
        buffers=tuple(replace(b, name=b.name.replace("h_", f"{word}_")) for b in network.buffers),
    )
    constants = {d.name for d in lower(network).data}
    assert f"out_from_{word}" not in constants
    assert f"out_from_{word}_2" in constants


def test_samples_become_what_the_network_computes_with() -> None:
    program = lower(planned(feed_forward()))
    assert (program.sample_ctype, program.from_floats) == ("float", None)
    arguments = (Place("converted"), 2, Place("counts"))
    assert program.from_counts == Call("l2mu_convert_counts", arguments, "x")
    program = lower(finish(integer_toy()))
    assert program.sample_ctype == "int16_t"
    sample = (Place("converted"), 2, Place("sample"), 4)
    assert program.from_floats == Call("l2mu_quantize_sample", sample, "x")
    assert program.from_counts == Call("l2mu_quantize_counts", (*arguments, 16, 0), "x")


@pytest.mark.parametrize(
    ("fraction", "scale"),
    [(0, (1, 0)), (5, (32, 0)), (16, (65536, 0)), (99, (65536, 0)), (-4, (1, 4)), (-99, (1, 17))],
)
def test_the_scale_of_counts(fraction: int, scale: tuple[int, int]) -> None:
    assert count_scale(fraction) == scale


def test_functions_are_those_of_the_api_and_of_a_stream() -> None:
    network = planned(feed_forward())
    without, with_stream = lower(network).functions, lower(network, Stream(3, 3)).functions
    assert without == tuple(f"toy_{word}" for word in API_FUNCTIONS)
    assert with_stream == without + tuple(f"toy_{word}" for word in STREAM_FUNCTIONS)


def test_constants_have_different_names() -> None:
    program = lower(planned(l2mu(), quantized=True))
    names = [c.name for c in (*program.data, *program.records)]
    assert len(names) == len(set(names))


def test_kernels_and_data_are_summed_up() -> None:
    program = lower(planned(feed_forward()))
    assert program.kernels == (
        "l2mu_accumulate_dense_f32",
        "l2mu_argmax_i32",
        "l2mu_convert_counts",
        "l2mu_count_spikes",
        "l2mu_fire_subtract_f32",
        "l2mu_input_f32",
        "l2mu_restore_state",
        "l2mu_save_state",
    )
    assert program.data_bytes == 4 * (12 + 4)


def test_only_a_planned_network_can_be_lowered() -> None:
    with pytest.raises(ModelError, match="network toy is traced; only a planned one"):
        lower(feed_forward())


def test_an_unknown_projection_kernel_is_refused_by_name() -> None:
    network = planned(feed_forward())
    strange = replace(network.projections[1], kernel="convolve")
    with pytest.raises(ModelError, match=r"out\.h: no such kernel: 'convolve'"):
        lower(network.replace(projections=(network.projections[0], strange)))
