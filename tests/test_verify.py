"""Every rule of every stage, broken once: the message names the node and the rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from drawn_networks import float_networks, integer_networks
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import f32, feed_forward, i8, integer_toy, l2mu, li, lif, planned

from l2mu_compile.bounds import largest_sum
from l2mu_compile.errors import ModelError
from l2mu_compile.interpreter import _Machine
from l2mu_compile.network import Input, Network, Population, Readout
from l2mu_compile.neurons import LIF
from l2mu_compile.projection import Projection
from l2mu_compile.verify import RULES, problems, verify


def with_population(network: Network, which: str, /, **changes: Any) -> Network:
    return network.map_populations(lambda p: replace(p, **changes) if p.name == which else p)


def with_projection(network: Network, name: str, **changes: Any) -> Network:
    return network.map_projections(lambda p: replace(p, **changes) if p.name == name else p)


def plus(network: Network, *projections: Projection) -> Network:
    return network.replace(projections=(*network.projections, *projections))


def toy_with(which: str, /, **changes: Any) -> Network:
    return with_population(feed_forward(), which, **changes)


def labelled(*labels: str) -> Network:
    return feed_forward().replace(readout=Readout("out", labels=labels))


def many(populations: int, projections: int) -> Network:
    """Single neurons, each of which hears those before it until there are so many projections."""
    names = [f"p{i}" for i in range(populations)]
    one, pairs = f32([[1]]), []
    for distance in range(1, populations):
        pairs += list(zip(names, names[distance:], strict=False))
        if len(pairs) >= projections:
            break
    pairs = [("x", names[0]), *pairs][:projections]
    return Network(
        "many",
        Input("x", 1),
        tuple(Population(name, (1,), lif()) for name in names),
        tuple(Projection(source, target, one) for source, target in pairs),
        Readout(names[-1]),
    )


SQUARE = f32(np.zeros((3, 3)))
PLANNED = planned(feed_forward(), quantized=True)

BROKEN: dict[str, tuple[Network, str]] = {
    "stage": (
        feed_forward().replace(stage="raw"),
        "stage: unknown stage 'raw'; known: traced, folded, quantized, planned",
    ),
    # _names
    "too many populations": (many(1025, 1025), "populations: 1025 of them; at most 1024"),
    "too many projections": (many(130, 8193), "projections: 8193 of them; at most 8192"),
    "network name": (feed_forward().replace(name="2x"), "'2x': is not a usable C identifier"),
    "keyword": (toy_with("h", name="while"), "'while': is not a usable C identifier"),
    "long name": (toy_with("h", name="h" * 64), "is not a usable C identifier"),
    "same name": (toy_with("h", name="out"), "out: is the name of two nodes"),
    "full window": (
        feed_forward().replace(window=9, full_window=9),
        "full_window: 9 steps; more than the window's 9",
    ),
    "full window alone": (
        feed_forward().replace(full_window=9),
        "full_window: 9 steps; more than the window's None",
    ),
    "window": (feed_forward().replace(window=0), "window: 0 steps; from 1 to 999999999"),
    "long window": (feed_forward().replace(window=10**9), "window: 1000000000 steps; from 1 to "),
    "long full window": (
        feed_forward().replace(window=9, full_window=10**9),
        "full_window: 1000000000 steps; from 1 to 999999999",
    ),
    # _populations
    "no channels": (
        feed_forward().replace(input=Input("x", 0)),
        "x: has 0 channels; from 1 to 65535",
    ),
    "many channels": (
        feed_forward().replace(input=Input("x", 65536)),
        "x: has 65536 channels; from 1 to 65535",
    ),
    "sensor shape": (
        feed_forward().replace(input=Input("x", 2, scale=f32([1, 2, 3]))),
        "x: scale has shape [3] for 2 channels",
    ),
    "shape": (toy_with("h", shape=(3, 1, 1)), "h: shape [3, 1, 1] is not [n] or [cells, order]"),
    "empty": (toy_with("h", shape=(0,)), "h: shape [0] is not"),
    "many neurons": (toy_with("h", shape=(65536,)), "h: has 65536 neurons; at most 65535"),
    "reset": (
        toy_with("h", neuron=LIF(f32(0.5), f32(1), "clamp")),
        "h: reset 'clamp' is not one of subtract, subtract_first, zero, none",
    ),
    "parameter": (
        toy_with("h", neuron=lif([0.5, 0.5], 1)),
        "h: beta has shape [2] for 3 neurons",
    ),
    "bias": (toy_with("h", bias=f32([1, 2])), "h: bias has shape [2]"),
    "scalar bias": (toy_with("h", bias=f32(1)), "h: bias has shape []"),
    # _projections
    "target": (
        with_projection(feed_forward(), "out.h", target="q"),
        "q.h: target 'q' is not a population",
    ),
    "input as target": (
        plus(feed_forward(), Projection("h", "x", f32(np.zeros((2, 3))))),
        "x.h: target 'x' is not a population",
    ),
    "source": (
        with_projection(feed_forward(), "out.h", source="q"),
        "out.q: source 'q' is neither the input nor a population",
    ),
    "delay": (
        with_projection(feed_forward(), "out.h", delay=2),
        "out.h.last: delay must be 0 or 1, and 0 from the input",
    ),
    "delayed input": (
        with_projection(feed_forward(), "h.x", delay=1),
        "h.x.last: delay must be 0 or 1, and 0 from the input",
    ),
    "silent source": (
        toy_with("h", neuron=li()),
        "out.h: source 'h' is a leaky integrator, which has no spikes",
    ),
    "weight rank": (
        with_projection(feed_forward(), "out.h", weight=f32([1, 2])),
        "out.h: weights have shape [2]",
    ),
    "dense rank": (
        with_projection(feed_forward(), "out.h", weight=f32(np.zeros((1, 2, 3)))),
        "out.h: weights have shape [1, 2, 3]",
    ),
    "blocks": (
        with_projection(feed_forward(), "out.h", weight=f32(np.zeros((3, 1, 1))), blocks=2),
        "out.h: 2 blocks, but weights for 3",
    ),
    "size": (
        with_projection(feed_forward(), "out.h", weight=SQUARE),
        "out.h: weights map 3 to 3 neurons, not as its ends",
    ),
    "twice": (
        plus(feed_forward(), feed_forward().projections[1]),
        "out.h: two projections with the same source, target and delay",
    ),
    # _readout
    "readout": (
        feed_forward().replace(readout=Readout("x")),
        "readout: 'x' is not a population",
    ),
    "readout rule": (
        feed_forward().replace(readout=Readout("out", "vote")),
        "readout: unknown rule 'vote'; known: spike_count, last_membrane",
    ),
    "labels": (labelled("a"), "readout: 1 labels for 2 classes"),
    "no labels": (labelled(), "readout: 0 labels for 2 classes"),
    "empty label": (labelled("a", ""), "readout: label '' is not 1 to 63 bytes of plain text"),
    "long label": (labelled("a" * 64, "b"), "is not 1 to 63 bytes of plain text"),
    "label in UTF-8": (labelled("ü" * 32, "b"), "is not 1 to 63 bytes of plain text"),
    "label with a line": (labelled("a\nb", "b"), r"readout: label 'a\nb' is not 1 to 63 bytes"),
    "label with NUL": (labelled("a\0", "b"), r"readout: label 'a\x00' is not 1 to 63 bytes"),
    "half a character": (labelled("\ud800", "b"), r"readout: label '\ud800' is not 1 to 63"),
    "label twice": (labelled("a", "a"), "readout: label 'a' names two classes"),
    "silent readout": (toy_with("out", neuron=li()), "readout: out has no spikes to count"),
    # _order
    "cycle": (
        plus(feed_forward(), Projection("h", "h", SQUARE)),
        "projections: projections without delay form a cycle: h",
    ),
    # _finite
    "weight": (
        with_projection(feed_forward(), "out.h", weight=f32(np.full((2, 3), np.nan))),
        "out.h: holds NaN or infinity",
    ),
    "infinite offset": (
        feed_forward().replace(input=Input("x", 2, offset=f32(np.inf))),
        "x.offset: holds NaN or infinity",
    ),
    "infinite bias": (toy_with("h", bias=f32([0, np.inf, 0])), "h.bias: holds NaN or infinity"),
    # _number_types
    "integer in float": (
        toy_with("h", neuron=LIF(np.int32(1), f32(1))),
        "h: beta is int32, not float32",
    ),
    "double weights": (
        with_projection(feed_forward(), "out.h", weight=np.zeros((2, 3))),
        "out.h: weights are float64, not float32",
    ),
    "float in integer": (
        with_population(integer_toy(), "h", bias=f32([0, 0])),
        "h: bias is float32, not int32",
    ),
    "wide weights": (
        with_projection(integer_toy(), "out.h", weight=np.zeros((2, 2), np.int16)),
        "out.h: weights are int16, not int8",
    ),
    "bits in float": (
        toy_with("h", membrane_bits=16),
        "h: membrane_bits=16 does not fit the network's numbers",
    ),
    "no bits": (
        with_population(integer_toy(), "h", membrane_bits=None),
        "h: membrane_bits=None does not fit the network's numbers",
    ),
    "too many bits": (
        with_population(integer_toy(), "h", membrane_bits=32),
        "h: membrane_bits=32 does not fit the network's numbers",
    ),
    "shift of spikes": (
        with_projection(integer_toy(), "out.h", shift=np.int32(1)),
        "out.h: only projections of a quantized input have a shift",
    ),
    "shift in float": (
        with_projection(feed_forward(), "h.x", shift=np.int32(1)),
        "h.x: only projections of a quantized input have a shift",
    ),
    "shift shape": (
        with_projection(integer_toy(), "h.x", shift=np.int32([1, 2, 3])),
        "h.x: shift has shape [3] for 2 neurons",
    ),
    "shift range": (
        with_projection(integer_toy(), "h.x", shift=np.int32(31)),
        "h.x: shift 31 is outside [0, 30]",
    ),
    "quantum of samples": (
        with_projection(integer_toy(), "h.x", quantum=np.int32(1)),
        "h.x: only dense projections of spikes in a quantized network have a quantum",
    ),
    "quantum in float": (
        with_projection(feed_forward(), "out.h", quantum=np.int32(1)),
        "out.h: only dense projections of spikes in a quantized network have a quantum",
    ),
    "quantum of blocks": (
        with_projection(integer_toy(), "h.h.last", weight=i8([[1]]), blocks=2, quantum=np.int32(1)),
        "h.h.last: only dense projections of spikes in a quantized network have a quantum",
    ),
    "quantum shape": (
        with_projection(integer_toy(), "out.h", quantum=np.int32([1, 2, 3])),
        "out.h: quantum is int32[3] for 2 neurons, not int32",
    ),
    "quantum type": (
        with_projection(integer_toy(), "out.h", quantum=np.float32(5)),
        "out.h: quantum is float32[] for 2 neurons, not int32",
    ),
    "no quantum": (
        with_projection(integer_toy(), "h.h.last", quantum=np.int32([5, 0])),
        "h.h.last: quantum 0 is outside [1, 127]",
    ),
    "weight between two multiples": (
        with_projection(integer_toy(), "h.h.last", quantum=np.int32([5, 2])),
        "h.h.last: weight 5 of neuron 1 is not from -8 to 7 times its quantum 2",
    ),
    "too great a multiple": (
        with_projection(
            integer_toy(), "out.h", weight=i8([[-40, 35], [0, 40]]), quantum=np.int32(5)
        ),
        "out.h: weight 40 of neuron 1 is not from -8 to 7 times its quantum 5",
    ),
    "not ternary": (
        with_projection(
            *(integer_toy(), "out.h"),
            weight=i8([[-5, 5], [0, 10]]),
            quantum=np.int32(5),
            grid="ternary",
        ),
        "out.h: weight 10 of neuron 1 is not -1, 0 or 1 times its quantum 5",
    ),
    "no power of two": (
        with_projection(
            *(integer_toy(), "out.h"),
            weight=i8([[-5, 5], [0, 15]]),
            quantum=np.int32(5),
            grid="shift",
        ),
        "out.h: weight 15 of neuron 1 is not 0 or ±2^k, k from 0 to 6, times its quantum 5",
    ),
    "unknown grid": (
        with_projection(integer_toy(), "h.h.last", quantum=np.int32(5), grid="int3"),
        "h.h.last: grid int3 is none of int4, ternary, shift",
    ),
    # _parameter_ranges
    "threshold": (toy_with("h", neuron=lif(0.5, 0)), "h: threshold 0 is not positive"),
    "one threshold": (
        toy_with("h", neuron=lif(0.5, [1, -2, 1])),
        "h: threshold -2 is not positive",
    ),
    "infinite threshold": (toy_with("h", neuron=lif(0.5, np.inf)), "h: threshold inf is not"),
    "beta": (toy_with("h", neuron=lif(1.5, 1)), "h: beta 1.5 is outside [0, 1]"),
    "no beta": (toy_with("h", neuron=lif(np.nan, 1)), "h: beta nan is outside [0, 1]"),
    "integer beta": (
        with_population(integer_toy(), "h", neuron=LIF(np.int32(32769), np.int32(1))),
        "h: beta 32769 is outside [0, 1]",
    ),
    # _folded
    "scale": (
        feed_forward().replace(stage="folded", input=Input("x", 2, scale=f32(2))),
        "x: scale and offset must be folded into the weights",
    ),
    "offset": (
        feed_forward().replace(stage="folded", input=Input("x", 2, offset=f32(2))),
        "x: scale and offset must be folded into the weights",
    ),
    # _quantized_stage
    "quantized": (
        feed_forward().replace(stage="quantized"),
        "x: a quantized network needs an input fraction",
    ),
    "fraction": (
        integer_toy().replace(input=Input("x", 2, fraction=99999)),
        "x: fraction 99999 is outside ±100",
    ),
    # _no_overflow
    "overflow": (
        with_population(integer_toy(), "h", bias=np.int32([0, 2**31 - 1])),
        "h: its input current may reach",
    ),
    "wide membranes": (
        with_population(integer_toy(), "out", membrane_bits=31),
        "out: its input current may reach",
    ),
    # _kernels
    "kernel": (with_population(PLANNED, "h", kernel=None), "h: no kernel was chosen"),
    "synapse kernel": (with_projection(PLANNED, "out.h", kernel=None), "out.h: no kernel was"),
    # _buffers
    "no buffer": (
        PLANNED.replace(buffers=PLANNED.buffers[1:]),
        f"{PLANNED.buffers[0].name}: no buffer int32_t",
    ),
    "small buffer": (
        PLANNED.replace(
            buffers=tuple(
                replace(b, count=1) if b.name == "h_membrane" else b for b in PLANNED.buffers
            )
        ),
        "h_membrane: no buffer int16_t[8] was planned",
    ),
    "overlap": (
        PLANNED.replace(buffers=tuple(replace(b, offset=0) for b in PLANNED.buffers)),
        "while both are in use",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_rule_names_the_node_and_the_rule(case: str) -> None:
    network, message = BROKEN[case]
    with pytest.raises(ModelError) as error:
        verify(network)
    assert str(error.value).startswith(f"network {network.name} ({network.stage}): ")
    assert message in str(error.value)


def test_every_rule_is_broken_above() -> None:
    broken = set()
    for network, _ in BROKEN.values():
        for rules in RULES.values():
            broken |= {rule.__name__ for rule in rules if _breaks(rule, network)}
    assert broken == {rule.__name__ for rules in RULES.values() for rule in rules}


def _breaks(rule: Callable[[Network], Any], network: Network) -> bool:
    try:
        return bool(list(rule(network)))
    except Exception:  # a rule that rests on another one, itself broken here
        return False


@pytest.mark.parametrize(
    "network", [feed_forward(), l2mu(), integer_toy(), PLANNED], ids=lambda n: n.name
)
def test_good_networks_pass(network: Network) -> None:
    assert list(problems(network)) == []


@given(st.one_of(float_networks(), integer_networks()))
def test_random_networks_pass(network: Network) -> None:
    assert list(problems(network)) == []


def test_as_many_populations_and_projections_as_there_may_be() -> None:
    network = many(1024, 8192)
    assert (len(network.populations), len(network.projections)) == (1024, 8192)
    assert list(problems(network)) == []


def test_a_block_repeated_too_often_to_write_out_is_refused() -> None:
    size = 60_000
    layer = Population("a", (size,), LIF(np.float32(0.5), np.float32(1)))
    chain = Projection("a", "a", np.ones((1, 1), np.float32), delay=1, blocks=size)
    inputs = Projection("x", "a", np.ones((size, 1), np.float32))
    network = Network("wide", Input("x", 1), (layer,), (inputs, chain), Readout("a"))
    with pytest.raises(ModelError, match=r"joins 60000 to 60000 neurons; at most \d+ pairs"):
        verify(network)


def test_rules_of_later_stages_do_not_apply_yet() -> None:
    scaled = feed_forward().replace(input=Input("x", 2, scale=f32(2)))
    assert list(problems(scaled)) == []
    assert list(problems(scaled.replace(stage="folded"))) != []


def test_all_problems_of_one_rule_are_found() -> None:
    network = feed_forward().map_populations(lambda p: replace(p, bias=f32(1)))
    assert [node for node, _ in problems(network)] == ["h", "out"]


@settings(max_examples=30)
@given(integer_networks(), st.integers(0, 2**32 - 1))
def test_no_membrane_leaves_int32_on_its_way(network: Network, seed: int) -> None:
    """The bound holds for every partial sum, whatever the samples."""
    rng = np.random.default_rng(seed)
    machine = _Machine(network, 4)
    largest: dict[str, int] = {p.name: 0 for p in network.populations}

    def watch(population: Population, state: np.ndarray) -> np.ndarray:
        largest[population.name] = max(largest[population.name], int(np.abs(state).max()))
        return saturate(population, state)

    saturate, machine._saturate = machine._saturate, watch  # type: ignore[method-assign]
    for _ in range(6):
        machine.step(f32(rng.choice([-1e9, 1e9, 0.3], (4, network.input.size))))
    for population in network.populations:
        assert largest[population.name] <= largest_sum(network, population) < 2**31


def test_the_bound_of_one_neuron_by_hand() -> None:
    network = Network(
        "one",
        Input("x", 2, fraction=0),
        (Population("p", (1,), LIF(np.int32(1), np.int32(5)), np.int32([-7]), membrane_bits=8),),
        (
            Projection("x", "p", i8([[3, -4]]), shift=np.int32(4)),
            Projection("p", "p", i8([[-100]]), delay=1),
        ),
        Readout("p"),
        stage="quantized",
    )
    # samples, their rounding, a spike, bias, threshold, old membrane and synaptic state
    expected = 7 * 2**15 + 2**4 + 100 + 7 + 5 + 2 * 2**7
    assert largest_sum(network, network.populations[0]) == expected
