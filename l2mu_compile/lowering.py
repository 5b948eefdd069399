"""Lowering: a planned Network becomes a Program.

It takes no decision: kernels were chosen by select-kernels, places by plan-memory. What each part
of a step calls is said in `l2mu_compile.neuron_calls`, `l2mu_compile.synapse_calls`,
`l2mu_compile.sample_calls` and `l2mu_compile.readout_calls`; this is in which order.
"""

from __future__ import annotations

from collections.abc import Sequence

from l2mu_compile.buffers import sample_form
from l2mu_compile.draft import Draft
from l2mu_compile.errors import ModelError
from l2mu_compile.network import Network
from l2mu_compile.neuron_calls import accumulator, add_bias, fire, neurons_record, show_membranes
from l2mu_compile.program import LAYOUT, Call, Constant, Place, Program
from l2mu_compile.readout_calls import ReadoutCalls, readout_calls
from l2mu_compile.sample_calls import from_counts, from_floats
from l2mu_compile.saved import saved_members
from l2mu_compile.schedule import Turn, turns
from l2mu_compile.stream import Stream
from l2mu_compile.synapse_calls import add_currents
from l2mu_compile.text import network_digest


def lower(network: Network, stream: Stream | None = None) -> Program:
    """The Program of a planned network, for windows of a ``stream`` if their length is known.

    Raises `ModelError` on a kernel it cannot call.
    """
    if network.stage != "planned":
        raise ModelError(
            f"network {network.name} is {network.stage}; only a planned one can be lowered"
        )
    draft = Draft(network)
    neurons = {p.name: neurons_record(draft, p) for p in network.order()}
    readout = readout_calls(draft)
    for turn in turns(network):
        _take(draft, turn, neurons[turn.population.name], readout.score)
    biases = [add_bias(network, p, neurons[p.name]) for p in network.order() if p.bias is not None]
    return _program(draft, stream, biases, readout)


def _take(draft: Draft, turn: Turn, neurons: Constant, score: Call) -> None:
    """Membranes are read before their decay, spikes and membranes of their own after."""
    population = turn.population
    read = draft.network.readout.population == population.name
    for projection in turn.arriving:
        add_currents(draft, projection)
    if read and score.arguments[-1] == accumulator(population):
        show_membranes(draft, population, neurons)
        draft.calls.append(score)
        fire(draft, population, neurons)
    else:
        fire(draft, population, neurons)
        draft.calls += [score] if read else []
    for projection in turn.leaving:
        add_currents(draft, projection)


def _program(
    draft: Draft, stream: Stream | None, biases: Sequence[Call], readout: ReadoutCalls
) -> Program:
    network = draft.network
    sample_ctype, sample_count = sample_form(network)
    saved = (LAYOUT, Place("state"), Place("bytes"))
    return Program(
        name=network.name,
        inputs=network.input.size,
        labels=network.class_names,
        digest=network_digest(network),
        stream=stream,
        rule=network.readout.rule,
        buffers=network.buffers,
        data=tuple(draft.data),
        records=tuple(draft.records),
        members=saved_members(network),
        sample_ctype=sample_ctype,
        sample_count=sample_count,
        from_floats=from_floats(network.input),
        from_counts=from_counts(network.input),
        reset=(*biases, *readout.reset),
        step=tuple(draft.calls),
        classify=readout.classify,
        decided=readout.decided,
        save=Call("l2mu_save_state", saved, "save"),
        restore=Call("l2mu_restore_state", (*saved, Place("size")), "restore"),
    )
