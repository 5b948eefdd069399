"""What every Network must satisfy, stage by stage: `verify` names the node and the rule it breaks.

Rules are ordered by the stage from which they hold (``traced → folded → quantized → planned``); a
float network goes from folded straight to planned. The pipeline verifies between all passes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.bounds import largest_sum
from l2mu_compile.buffers import needs
from l2mu_compile.convolution import Convolution
from l2mu_compile.errors import ModelError
from l2mu_compile.grids import GRIDS
from l2mu_compile.network import (
    CTYPE_BYTES,
    IDENTIFIER,
    READOUT_RULES,
    RESERVED,
    SENSOR_ARRAYS,
    STAGES,
    WEIGHT_LIMIT,
    Input,
    Network,
    Population,
    spiking,
)
from l2mu_compile.neurons import LI, parameter_names
from l2mu_compile.projection import Projection

Problems = Iterator[tuple[str, str]]

MAX_NEURONS = 2**16 - 1  # a spike list holds 16-bit indices and a 16-bit count
MAX_POPULATIONS = 2**10
MAX_PROJECTIONS = 2**13
MAX_STEPS = 10**9 - 1  # of a window: as a text can say it
MAX_ARENA = 2**31 - 1  # bytes
MAX_MATRIX = 2**26  # what a projection may take up when written out, weights
Q15_ONE = 2**15
MAX_FRACTION = 100  # 2^fraction is a float32
MAX_LABEL_BYTES = 63
MAX_MARGIN = 2**31 - 1  # an int32, as scores are


def verify(network: Network) -> None:
    """Check every rule of the network's stage.

    Raises `ModelError`: ``network NAME (STAGE): NODE: RULE``, for the first rule broken.
    """
    for node, problem in problems(network):
        raise ModelError(f"network {network.name} ({network.stage}): {node}: {problem}")


def problems(network: Network) -> Problems:
    """Every (node, broken rule) of ``network``; rules that rest on a broken one are not tried."""
    if network.stage not in STAGES:
        yield "stage", f"unknown stage {network.stage!r}; known: {', '.join(STAGES)}"
        return
    reached = STAGES.index(network.stage)
    for stage, rules in RULES.items():
        if STAGES.index(stage) > reached:
            return
        for rule in rules:
            found = list(rule(network))
            yield from found
            if found:
                return


def _names(network: Network) -> Problems:
    names = [network.input.name, *(p.name for p in network.populations)]
    for what, nodes, most in (
        ("populations", network.populations, MAX_POPULATIONS),
        ("projections", network.projections, MAX_PROJECTIONS),
    ):
        if len(nodes) > most:
            yield what, f"{len(nodes)} of them; at most {most}"
            return
    for name in [network.name, *names]:
        if not IDENTIFIER.match(name) or name in RESERVED:
            yield repr(name), "is not a usable C identifier"
    for name, count in Counter(names).items():
        if count > 1:
            yield name, "is the name of two nodes"
    for what, steps in (("window", network.window), ("full_window", network.full_window)):
        if steps is not None and not 1 <= steps <= MAX_STEPS:
            yield what, f"{steps} steps; from 1 to {MAX_STEPS}"
    if network.full_window is not None and network.full_window <= (network.window or math.inf):
        yield "full_window", f"{network.full_window} steps; more than the window's {network.window}"


def _populations(network: Network) -> Problems:
    if not 1 <= network.input.size <= MAX_NEURONS:
        yield network.input.name, f"has {network.input.size} channels; from 1 to {MAX_NEURONS}"
    for name, array in _sensor(network):
        if array.shape not in ((), (network.input.size,)):
            yield (
                network.input.name,
                f"{name} has shape {list(array.shape)} for {network.input.size} channels",
            )
    for population in network.populations:
        if len(population.shape) not in (1, 2) or min(population.shape) < 1:
            yield population.name, f"shape {list(population.shape)} is not [n] or [cells, order]"
        elif population.size > MAX_NEURONS:
            yield population.name, f"has {population.size} neurons; at most {MAX_NEURONS}"
        elif population.neuron.reset not in population.neuron.resets:
            yield (
                population.name,
                f"reset {population.neuron.reset!r} is not one of "
                f"{', '.join(population.neuron.resets)}",
            )
        else:
            for name, array in _parameters(population):
                if array.shape not in ((), (population.size,)):
                    yield (
                        population.name,
                        f"{name} has shape {list(array.shape)} for {population.size} neurons",
                    )
            if population.bias is not None and population.bias.shape != (population.size,):
                yield population.name, f"bias has shape {list(population.bias.shape)}"


def _projections(network: Network) -> Problems:
    sizes = {p.name: p.size for p in network.populations}
    seen = set()
    for p in network.projections:
        from_input = p.source == network.input.name
        if p.target not in sizes:
            yield p.name, f"target {p.target!r} is not a population"
        elif not from_input and p.source not in sizes:
            yield p.name, f"source {p.source!r} is neither the input nor a population"
        elif p.delay not in (0, 1) or (from_input and p.delay):
            yield p.name, "delay must be 0 or 1, and 0 from the input"
        elif not from_input and isinstance(network.population(p.source).neuron, LI):
            yield p.name, f"source {p.source!r} is a leaky integrator, which has no spikes"
        elif p.convolution is not None and (problem := _convolution(p, p.convolution)):
            yield p.name, problem
        elif (p.is_dense and p.weight.ndim != 2) or (p.blocks and p.weight.ndim not in (2, 3)):
            yield p.name, f"weights have shape {list(p.weight.shape)}"
        elif p.blocks and p.weight.ndim == 3 and p.weight.shape[0] != p.blocks:
            yield p.name, f"{p.blocks} blocks, but weights for {p.weight.shape[0]}"
        elif p.shape != (sizes[p.target], network.input.size if from_input else sizes[p.source]):
            yield p.name, f"weights map {p.shape[1]} to {p.shape[0]} neurons, not as its ends"
        elif p.shape[0] * p.shape[1] > MAX_MATRIX:
            yield p.name, f"joins {p.shape[1]} to {p.shape[0]} neurons; at most {MAX_MATRIX} pairs"
        if p.name in seen:
            yield p.name, "two projections with the same source, target and delay"
        seen.add(p.name)


def _convolution(p: Projection, convolution: Convolution) -> str | None:
    if p.blocks or p.weight.ndim != 4:
        return f"weights have shape {list(p.weight.shape)}, not [out, in, height, width]"
    return convolution.problem(p.weight.shape)


def _readout(network: Network) -> Problems:
    name, rule = network.readout.population, network.readout.rule
    if name not in {p.name for p in network.populations}:
        yield "readout", f"{name!r} is not a population"
    elif rule not in READOUT_RULES:
        yield "readout", f"unknown rule {rule!r}; known: {', '.join(READOUT_RULES)}"
    elif rule == "spike_count" and not spiking(network.population(name)):
        yield "readout", f"{name} has no spikes to count"
    else:
        yield from _labels(network)
        yield from _margins(network)


def _margins(network: Network) -> Problems:
    margins = network.readout.margins
    if margins is None:
        return
    if network.readout.rule != "spike_count":
        yield "readout", f"margins are for spike counts, not for {network.readout.rule}"
    elif len(margins) != network.classes:
        yield "readout", f"{len(margins)} margins for {network.classes} classes"
    for margin in margins:
        if not 1 <= margin <= MAX_MARGIN:
            yield "readout", f"margin {margin} is outside [1, {MAX_MARGIN}]"


def _labels(network: Network) -> Problems:
    labels = network.readout.labels
    if labels is None:
        return
    if len(labels) != network.classes:
        yield "readout", f"{len(labels)} labels for {network.classes} classes"
    for label in labels:
        if not (label.isprintable() and 0 < len(label.encode()) <= MAX_LABEL_BYTES):
            yield "readout", f"label {label!r} is not 1 to {MAX_LABEL_BYTES} bytes of plain text"
    if len(set(labels)) < len(labels):
        twice = next(label for label, count in Counter(labels).items() if count > 1)
        yield "readout", f"label {twice!r} names two classes"


def _order(network: Network) -> Problems:
    try:
        network.order()
    except ModelError as error:
        yield "projections", str(error)


def _finite(network: Network) -> Problems:
    sensor = {f"{network.input.name}.{name}": array for name, array in _sensor(network)}
    for name, array in (sensor | network.tensors()).items():
        if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            yield name, "holds NaN or infinity"
    nodes: list[Input | Population] = [network.input, *network.populations]
    for node in nodes:
        for field in ("low", "high", "rate"):
            value = getattr(node, field, None)
            if value is not None and not np.isfinite(value):
                yield node.name, f"{field} is not finite"
    if network.input.scale is not None and not network.input.scale.all():
        yield network.input.name, "scale is 0, which would make every sample the same"


def _parameter_ranges(network: Network) -> Problems:
    one = Q15_ONE if network.quantized else 1.0
    for population in network.populations:
        for name, array in _parameters(population):
            if name == "threshold":
                if not (np.isfinite(array).all() and (array > 0).all()):
                    yield population.name, f"threshold {_extreme(array)} is not positive"
            elif not ((array >= 0).all() and (array <= one).all()):
                yield population.name, f"{name} {_extreme(array)} is outside [0, 1]"


def _folded(network: Network) -> Problems:
    if network.input.spiking and any(array is not None for _, array in _sensor(network)):
        yield network.input.name, "samples that are spikes have no scale, offset, unit or center"
    if network.input.scale is not None or network.input.offset is not None:
        yield network.input.name, "scale and offset must be folded into the weights"


def _number_types(network: Network) -> Problems:
    """All float32 before quantization, all integers after it."""
    parameters, weights = (np.int32, np.int8) if network.quantized else (np.float32, np.float32)
    for population in network.populations:
        for name, array in [*_parameters(population), ("bias", population.bias)]:
            if array is not None and array.dtype != parameters:
                yield population.name, f"{name} is {array.dtype}, not {np.dtype(parameters)}"
        bits = population.membrane_bits
        if network.quantized != (bits is not None) or not (bits is None or 2 <= bits <= 31):
            yield population.name, f"membrane_bits={bits} does not fit the network's numbers"
    for p in network.projections:
        if p.weight.dtype != weights:
            yield p.name, f"weights are {p.weight.dtype}, not {np.dtype(weights)}"
        if p.shift is not None and not (network.quantized and network.multiplies(p)):
            yield p.name, "only projections of a quantized input have a shift"
        elif p.shift is not None and p.shift.shape not in ((), (p.shape[0],)):
            yield p.name, f"shift has shape {list(p.shift.shape)} for {p.shape[0]} neurons"
        elif p.shift is not None and not ((p.shift >= 0).all() and (p.shift <= 30).all()):
            yield p.name, f"shift {_extreme(p.shift)} is outside [0, 30]"
        if p.weight.dtype == weights and p.quantum is not None:
            yield from _quantum(network, p, p.quantum)


def _quantum(network: Network, p: Projection, quantum: NDArray) -> Problems:
    """Every weight is on the projection's grid."""
    if not network.quantized or not p.is_dense or network.multiplies(p):
        yield p.name, "only dense projections of spikes in a quantized network have a quantum"
    elif quantum.dtype != np.int32 or quantum.shape not in ((), (p.shape[0],)):
        yield (
            p.name,
            f"quantum is {quantum.dtype}{list(quantum.shape)} for {p.shape[0]} neurons, not int32",
        )
    elif (outside := quantum[(quantum < 1) | (quantum > WEIGHT_LIMIT)]).size:
        yield p.name, f"quantum {outside[0]} is outside [1, {WEIGHT_LIMIT}]"
    elif p.grid not in GRIDS:
        yield p.name, f"grid {p.grid} is none of {', '.join(GRIDS)}"
    else:
        grid = GRIDS[p.grid]
        multiple, rest = np.divmod(p.weight.astype(np.int32), quantum.reshape(-1, 1))
        outside = (rest != 0) | ~np.isin(multiple, grid.multiples)
        for target, source in np.argwhere(outside)[:1].tolist():
            yield (
                p.name,
                f"weight {p.weight[target, source]} of neuron {target} is not "
                f"{grid.said} times its quantum "
                f"{np.broadcast_to(quantum, p.shape[0])[target]}",
            )


def _quantized_stage(network: Network) -> Problems:
    fraction = network.input.fraction
    if network.stage == "quantized" and fraction is None:
        yield network.input.name, "a quantized network needs an input fraction"
    if fraction is not None and not abs(fraction) <= MAX_FRACTION:
        yield network.input.name, f"fraction {fraction} is outside ±{MAX_FRACTION}"


def _no_overflow(network: Network) -> Problems:
    """The sum before saturation fits int32 whatever the spikes and samples are."""
    if not network.quantized:
        return
    for population in network.populations:
        bound = largest_sum(network, population)
        if bound >= 2**31:
            yield population.name, f"its input current may reach {bound}, beyond int32"


def _kernels(network: Network) -> Problems:
    nodes: list[Projection | Population] = [*network.projections, *network.populations]
    for node in nodes:
        if node.kernel is None:
            yield node.name, "no kernel was chosen"


def _buffers(network: Network) -> Problems:
    """Every array a step needs has a place, and two that live at the same time do not overlap."""
    placed = {b.name: b for b in network.buffers}
    required = needs(network)
    wanted = {need.name: (need.ctype, need.count, need.lifetime) for need in required}
    for need in required:
        found = placed.get(need.name)
        form = None if found is None else (found.ctype, found.count, found.lifetime)
        if form != wanted[need.name]:
            yield need.name, f"no buffer {need.ctype}[{need.count}] was planned"
            return
    for buffer in network.buffers:
        if placed[buffer.name] is not buffer or wanted.pop(buffer.name, None) is None:
            yield repr(buffer.name), "is no buffer that a step needs, or is there twice"
            return
        if buffer.offset < 0 or buffer.offset % CTYPE_BYTES[buffer.ctype]:
            yield buffer.name, f"offset {buffer.offset} is negative or not aligned"
        elif buffer.end > MAX_ARENA:
            yield buffer.name, f"ends beyond byte {MAX_ARENA}"
    for i, a in enumerate(required):
        for b in required[:i]:
            if a.lives_with(b) and placed[a.name].overlaps(placed[b.name]):
                yield a.name, f"overlaps {b.name} while both are in use"


def _sensor(network: Network) -> list[tuple[str, NDArray]]:
    pairs = [(name, getattr(network.input, name)) for name in SENSOR_ARRAYS]
    return [(name, array) for name, array in pairs if array is not None]


def _parameters(population: Population) -> list[tuple[str, NDArray]]:
    neuron = population.neuron
    return [(name, getattr(neuron, name)) for name in parameter_names(neuron)]


def _extreme(array: NDArray) -> str:
    """The value of ``array`` farthest from 0.5, NaN first: the one to show in a message."""
    flat = array.ravel().astype(np.float64)
    bad = np.isnan(flat)
    return f"{flat[np.argmax(bad)] if bad.any() else flat[np.argmax(np.abs(flat - 0.5))]:g}"


RULES: dict[str, tuple[Callable[[Network], Problems], ...]] = {
    "traced": (
        _names,
        _populations,
        _projections,
        _readout,
        _order,
        _finite,
        _number_types,
        _parameter_ranges,
    ),
    "folded": (_folded,),
    "quantized": (_quantized_stage, _no_overflow),
    "planned": (_kernels, _buffers),
}
