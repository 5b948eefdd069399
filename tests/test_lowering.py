"""Lowering: the ordered kernel calls of one step, and the constants they read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from networks import (
    chain,
    cuba,
    feed_forward,
    l2mu,
    late_reader,
    li,
    planned,
)
from programs import kernels, record

from l2mu_compile.errors import ModelError
from l2mu_compile.lowering import lower
from l2mu_compile.network import READOUT_RULES, Network
from l2mu_compile.program import API_FUNCTIONS, STREAM_FUNCTIONS, Constant, Place
from l2mu_compile.stream import Stream
from l2mu_compile.targets.kernel_table import kernel_table


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


def test_functions_are_those_of_the_api_and_of_a_stream() -> None:
    network = planned(feed_forward())
    without, with_stream = lower(network).functions, lower(network, Stream(3, 3)).functions
    assert without == tuple(f"toy_{word}" for word in API_FUNCTIONS)
    assert with_stream == without + tuple(f"toy_{word}" for word in STREAM_FUNCTIONS)


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
