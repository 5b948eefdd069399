"""Networks to measure with: an L2MU's wiring at published sizes, random weights, a stated activity.

Sizes are those of published L2MUs (Fra et al. 2024, arXiv 2407.04076). Inputs are spikes, and all
populations have one mean rate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.interpreter import run
from l2mu_compile.network import Input, Network, Population, Readout, with_neuron
from l2mu_compile.neurons import LIF, CuBaLIF
from l2mu_compile.projection import Projection

# Of synapses with a delay: low enough that activity neither dies out nor explodes.
LOOP_GAIN = 0.3
TUNING_ROUNDS, TUNING_WINDOWS, TUNING_STEP, TUNING_SLOWER, RATE_FLOOR = 40, 4, 0.4, 10, 1e-3


@dataclass(frozen=True)
class Shape:
    """``cells`` memory cells of ``order`` neurons each; ``rate`` spikes per neuron and step.

    Neurons are LIF, or current-based ones if ``synaptic``.
    """

    name: str
    inputs: int
    hidden: int
    cells: int
    order: int
    classes: int
    steps: int
    rate: float
    synaptic: bool = False


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("b27", 24, 160, 250, 4, 27, 256, 0.027),
        Shape("b7", 24, 120, 70, 7, 7, 256, 0.045),
        Shape("har05", 64, 128, 64, 4, 7, 40, 0.05),
        Shape("har10", 64, 128, 64, 4, 7, 40, 0.10),
        Shape("har20", 64, 128, 64, 4, 7, 40, 0.20),
        Shape("b27_synaptic", 24, 160, 250, 4, 27, 256, 0.027, synaptic=True),
        Shape("har05_synaptic", 64, 128, 64, 4, 7, 40, 0.05, synaptic=True),
    )
}


def windows_of(shape: Shape, count: int, seed: int = 1) -> NDArray:
    """Windows float32 ``[count, steps, inputs]`` of spikes: 1 with the network's rate, else 0."""
    rng = np.random.default_rng(seed)
    return (rng.random((count, shape.steps, shape.inputs)) < shape.rate).astype(np.float32)


def network_of(shape: Shape, seed: int = 0) -> Network:
    """The float network of a shape, its thresholds tuned to the rate on random windows."""
    return _tuned(untuned_network_of(shape, seed), shape)


def untuned_network_of(shape: Shape, seed: int = 0) -> Network:
    """The same with thresholds of 1, as active as it happens to be."""
    rng = np.random.default_rng(seed)
    sizes = {"u": shape.cells, "h": shape.hidden, "out": shape.classes}

    def dense(source: str, target: str, columns: int, delay: int = 0) -> Projection:
        gain = (LOOP_GAIN if delay else 1) / np.sqrt(columns * shape.rate)
        weight = rng.normal(size=(sizes[target], columns)) * gain
        return Projection(source, target, weight.astype(np.float32), delay)

    memory = shape.cells * shape.order
    blocks = [rng.normal(size=(shape.order, n)).astype(np.float32) for n in (shape.order, 1)]
    decay, threshold = np.float32(0.9), np.float32(1)
    neuron = (
        CuBaLIF(np.float32(0.8), decay, threshold, "subtract")
        if shape.synaptic
        else LIF(decay, threshold, "subtract")
    )
    return Network(
        shape.name,
        Input("x", shape.inputs, spiking=True),
        (
            Population("u", (shape.cells,), neuron),
            Population("m", (shape.cells, shape.order), neuron),
            Population("h", (shape.hidden,), neuron),
            Population("out", (shape.classes,), neuron),
        ),
        (
            dense("x", "u", shape.inputs),
            dense("h", "u", shape.hidden, delay=1),
            dense("m", "u", memory, delay=1),
            Projection("m", "m", np.float32(LOOP_GAIN) * blocks[0], delay=1, blocks=shape.cells),
            Projection("u", "m", blocks[1], blocks=shape.cells),
            dense("x", "h", shape.inputs),
            dense("h", "h", shape.hidden, delay=1),
            dense("m", "h", memory),
            dense("h", "out", shape.hidden),
        ),
        Readout("out"),
        window=shape.steps,
    )


def _tuned(network: Network, shape: Shape) -> Network:
    """Raise the thresholds of populations that spike too often and lower those of the others; the
    closest of all rounds is kept."""
    samples = windows_of(shape, TUNING_WINDOWS)
    best, least = network, np.inf
    for k in range(TUNING_ROUNDS):
        measured = run(network, samples)
        off = {
            p.name: (measured.rate(p) + RATE_FLOOR) / (shape.rate + RATE_FLOOR)
            for p in network.populations
        }
        worst = max(abs(np.log(ratio)) for ratio in off.values())
        if worst < least:
            best, least = network, worst
        step = TUNING_STEP / (1 + k / TUNING_SLOWER)

        def moved(p: Population, off: dict[str, float] = off, step: float = step) -> Population:
            return with_neuron(p, threshold=np.float32(p.neuron.threshold * off[p.name] ** step))

        network = network.map_populations(moved)
    return best
