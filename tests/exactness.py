"""Compiled code against the interpreter: what a device's memory must hold after every step."""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import NoReturn

import numpy as np
from drawn_networks import float_networks, integer_networks, windows_for
from hypothesis import strategies as st
from networks import PORTABLE, pipeline_of, planned
from numpy.typing import NDArray

from l2mu_compile.differential import recorded_state
from l2mu_compile.interpreter import Run, run
from l2mu_compile.lowering import lower
from l2mu_compile.network import DTYPES, Buffer, Network
from l2mu_compile.neuron_calls import number
from l2mu_compile.passbase import Context
from l2mu_compile.pipeline import run_passes
from l2mu_compile.program import Program
from l2mu_compile.projection import Projection
from l2mu_compile.sparse import TILES, tiles_of
from l2mu_compile.stream import Stream
from l2mu_compile.targets.build import build
from l2mu_compile.targets.commands import CommandLog
from l2mu_compile.targets.devices import Device
from l2mu_compile.targets.emit_c import state_layout
from l2mu_compile.targets.kernel_sets import usable_sets
from l2mu_compile.targets.kernel_table import kernel_table
from l2mu_compile.targets.product import Product, Window
from l2mu_compile.targets.record import Target
from l2mu_compile.targets.registry import get_target


def assert_same_memory(network: Network, program: Program, device: Device, x: NDArray) -> None:
    """Run windows ``x`` on ``device``; every state array equals the interpreter's at every step."""
    expected = run(network, x, record=("membranes", "spikes"))
    layout = state_layout(program)
    traces = list(device.trace(x))
    assert len(traces) == len(x)
    for window, trace in enumerate(traces):
        wanted = {
            name: expected_state(network, buffer, expected, window)
            for name, buffer in layout.items()
        }
        assert len(trace.states) == x.shape[1]
        for step, memory in enumerate(trace.states):
            for name, buffer in layout.items():
                got = elements(memory.tobytes(), buffer)
                at = wanted[name][step].astype(got.dtype)
                where = f"{name}, window {window}, step {step}"
                assert got[: len(at)].tobytes() == at.tobytes(), (where, got, at)
                assert not got[len(at) :].any(), f"{where}: beyond the last neuron is {got}"
        assert trace.decision == expected.decisions[window]


def elements(memory: bytes, buffer: Buffer) -> NDArray:
    return np.frombuffer(memory, DTYPES[buffer.ctype], buffer.count, buffer.offset)


def expected_state(network: Network, buffer: Buffer, expected: Run, window: int) -> NDArray:
    """``[T, neurons]``: what ``buffer`` holds after every step of one window."""
    if buffer.name == "score":
        return expected_scores(network, expected, window)
    return recorded_state(network, buffer, expected)[window]


def expected_scores(network: Network, expected: Run, window: int) -> NDArray:
    """Scores ``[T, classes]`` after every step of one window."""
    name, rule = network.readout.population, network.readout.rule
    membranes = expected.membranes[name][window]
    if rule == "spike_count":
        counted = np.arange(expected.steps) < expected.needed[window]
        return np.cumsum(expected.spikes[name][window] & counted[:, None], axis=0)
    if rule == "last_membrane":
        return membranes
    if rule == "max_membrane":
        return np.maximum.accumulate(membranes, axis=0)
    dtype = np.int64 if network.quantized else np.float32
    return np.cumsum(membranes, axis=0, dtype=dtype)


def kernels_and_memory(network: Network, target: str | None = None) -> Network:
    """``network``, already folded or quantized, ready to lower; portable without a target."""
    context = Context(target=get_target(target) if target else PORTABLE)
    return run_passes(network, pipeline_of("select-kernels,plan-memory"), context)


def multiplying(network: Network, target: Target) -> Network:
    """``network``, already quantized, as `kernels_and_memory` makes it; but the dense projections
    of spikes multiply, where the target has kernels for that."""
    context = Context(target=target)
    chosen = run_passes(network, pipeline_of("select-kernels"), context)
    names = [f"multiply_dense_i8_i16_{name}" for name in usable_sets(target)]
    there = [name for name in names if f"l2mu_{name}" in kernel_table()]
    if there:
        chosen = chosen.map_projections(
            lambda p: (
                replace(p, kernel=there[0])
                if str(p.kernel).startswith("accumulate_dense_i8_i16")
                else p
            )
        )
    return run_passes(chosen, pipeline_of("plan-memory"), context)


def thinned(network: Network, rng: np.random.Generator) -> Network:
    """``network``, already quantized, with zeros among the weights of dense projections of spikes,
    single ones or fours and eights of neighbouring targets."""

    def thin(p: Projection) -> Projection:
        if p.blocks or p.convolution is not None or network.multiplies(p):
            return p
        targets, sources = p.shape
        width = int(rng.choice(TILES))
        kept = rng.random((-(-targets // width), sources)) < rng.choice([0.02, 0.2, 0.7])
        return replace(p, weight=p.weight * np.repeat(kept, width, axis=0)[:targets])

    return network.map_projections(thin)


def storing_tiles(network: Network, target: Target, *tiles: int) -> Network:
    """``network``, already quantized, as `kernels_and_memory` makes it; but the dense projections
    of spikes store such tiles, one after the other another size."""
    context = Context(target=target)
    sizes = cycle(tiles)

    def change(p: Projection) -> Projection:
        spiking = ("accumulate_dense_i", "accumulate_sparse", "multiply_dense_i")
        if not str(p.kernel).startswith(spiking):
            return p
        tile, sums = next(sizes), number(network, network.population(p.target))
        sets = [f"_{name}" if name != "ref" else "" for name in usable_sets(target)]
        names = [f"accumulate_sparse{tile}_i8_{sums}{name}" for name in sets]
        there = [name for name in names if f"l2mu_{name}" in kernel_table()]
        can = tiles_of(p.weight.T, tile).can_be_stored
        return replace(p, kernel=there[0]) if can else p

    chosen = run_passes(network, pipeline_of("select-kernels"), context)
    planning = pipeline_of("plan-memory")
    return run_passes(chosen.map_projections(change), planning, context)


def random_cases(
    data: st.DataObject, count: int, target: str | None = None, steps: int = 5
) -> list[tuple[Network, NDArray]]:
    """Networks of different names, each with windows: float, quantized and integer in turn."""
    cases = []
    for i in range(count):
        if i % 3 == 2:
            network = data.draw(integer_networks(name=f"net{i}"))
            x = data.draw(windows_for(network, steps=steps, finite=False))
            cases.append((kernels_and_memory(network, target), x))
        else:
            network = data.draw(float_networks(name=f"net{i}"))
            x = data.draw(windows_for(network, steps=steps))
            bits = data.draw(st.sampled_from((8, 4)))
            cases.append((planned(network, i % 3 == 1, x, target, bits), x))
    return cases


def product_of(
    network: Network,
    target: Target,
    window: NDArray,
    folder: Path,
    stream: Stream | None = None,
) -> Product:
    """``network`` built for ``target`` in ``folder``; firmware classifies ``window``."""
    product = unbuilt(network, target, window, folder, stream)
    build(product)
    return product


def unbuilt(
    network: Network,
    target: Target,
    window: NDArray,
    folder: Path,
    stream: Stream | None = None,
) -> Product:
    """The same before anything is written."""
    return Product(
        network=network,
        program=lower(network, stream),
        target=target,
        window=Window(window, "A test's window."),
        stamp=("test",),
        output=folder / "output",
        scratch=folder / "scratch",
        log=CommandLog(),
        check=_no_packages,
        for_target=_no_packages,
        note=_no_packages,
        raw=network.input.is_raw,
    )


def _no_packages(*_arguments: object) -> NoReturn:
    raise AssertionError("only packages ask for this")
