"""Small networks to test with, and what a pipeline makes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.network import (
    NARROW_BITS,
    Input,
    Network,
    Population,
    Readout,
)
from l2mu_compile.neurons import LI, LIF, CuBaLIF, Neuron
from l2mu_compile.passbase import Context, Pass
from l2mu_compile.pipeline import (
    FLOAT_PIPELINE,
    INT8_PIPELINE,
    NEED_WINDOWS,
    parse_pipeline,
    run_passes,
)
from l2mu_compile.projection import Projection
from l2mu_compile.targets.registry import get_target

# No machine's own instruction set: what is printed and stored is the same everywhere.
PORTABLE = replace(get_target("host"), cpu="baseline", kernel_sets=("ref",))


def f32(values: Any) -> NDArray:
    return np.asarray(values, dtype=np.float32)


def i8(values: Any) -> NDArray:
    return np.asarray(values, dtype=np.int8)


def lif(beta: Any = 0.5, threshold: Any = 1.0, reset: str = "subtract") -> LIF:
    return LIF(f32(beta), f32(threshold), reset)


def cuba(alpha: Any = 0.5, beta: Any = 0.5, threshold: Any = 1.0, reset: str = "subtract") -> Any:
    return CuBaLIF(f32(alpha), f32(beta), f32(threshold), reset)


def li(beta: Any = 0.5) -> LI:
    return LI(f32(beta))


def feed_forward(neuron: Neuron | None = None, rule: str = "spike_count") -> Network:
    """Two channels, three hidden neurons, two classes; every weight a multiple of 1/4."""
    neuron = neuron or lif()
    return Network(
        "toy",
        Input("x", 2),
        (Population("h", (3,), neuron), Population("out", (2,), neuron)),
        (
            Projection("x", "h", f32([[1, 0], [0, 1], [0.5, 0.5]])),
            Projection("h", "out", f32([[1.5, -0.5, 0.25], [-0.5, 1.5, 0.25]])),
        ),
        Readout("out", rule),
    )


def recurrent() -> Network:
    """`feed_forward` with a hidden layer that hears its own last spikes."""
    network = feed_forward()
    loop = Projection("h", "h", f32([[0, 0.25, 0], [0.25, 0, 0], [0, 0, -0.5]]), delay=1)
    return network.replace(projections=(*network.projections, loop))


def late_reader() -> Network:
    """``b`` reads both this step's and last step's spikes of ``a``, after ``a`` has updated."""
    return Network(
        "late",
        Input("x", 2),
        (Population("a", (2,), lif()), Population("b", (2,), lif())),
        (
            Projection("x", "a", f32(np.eye(2))),
            Projection("a", "b", f32([[0.75, 0], [0, 0.75]])),
            Projection("a", "b", f32([[0, 0.75], [0.75, 0]]), delay=1),
        ),
        Readout("b"),
    )


def chain(length: int = 5, size: int = 3) -> Network:
    """Populations in a row: spike lists of those far apart may share scratch memory."""
    names = [f"p{i}" for i in range(length)]
    populations = tuple(Population(name, (size,), lif()) for name in names)
    sources = ["x", *names[:-1]]
    weight = f32(np.eye(size) * 1.25)
    projections = tuple(Projection(s, t, weight) for s, t in zip(sources, names, strict=True))
    return Network("chain", Input("x", size), populations, projections, Readout(names[-1]))


def l2mu(
    neuron: Callable[[int], Neuron] = lambda n: lif(0.75, 0.5),
    rule: str = "spike_count",
    name: str = "cell",
    seed: int = 0,
    sensors: tuple[float, float] | None = (0.5, 0.25),
    hidden: int = 5,
) -> Network:
    """An L2MU cell: encoder, memory input ``u``, memory ``m`` of shared blocks, hidden layer.

    ``sensors`` are the input's scale and offset.
    """
    rng = np.random.default_rng(seed)
    channels, coded, cells, order, classes = 2, 6, 3, 4, 3

    def weights(*shape: int) -> NDArray:
        return f32(rng.integers(-12, 13, shape) / 8)

    scale, offset = (None, None) if sensors is None else map(f32, sensors)
    populations = (
        Population("enc", (coded,), neuron(coded), weights(coded)),
        Population("u", (cells,), neuron(cells)),
        Population("m", (cells, order), neuron(cells * order)),
        Population("h", (hidden,), neuron(hidden)),
        Population("out", (classes,), neuron(classes), weights(classes)),
    )
    projections = (
        Projection("x", "enc", weights(channels, 3, 1), blocks=channels),
        Projection("enc", "u", weights(cells, coded)),
        Projection("h", "u", weights(cells, hidden), delay=1),
        Projection("m", "u", weights(cells, cells * order), delay=1),
        Projection("u", "m", weights(order, 1), blocks=cells),
        Projection("m", "m", weights(order, order), delay=1, blocks=cells),
        Projection("enc", "h", weights(hidden, coded)),
        Projection("m", "h", weights(hidden, cells * order)),
        Projection("h", "h", weights(hidden, hidden), delay=1),
        Projection("h", "out", weights(classes, hidden)),
    )
    entry = Input("x", channels, scale=scale, offset=offset)
    return Network(name, entry, populations, projections, Readout("out", rule))


def integer_toy() -> Network:
    """A quantized network small enough to check by hand."""
    neuron = LIF(np.int32(16384), np.int32(20))
    return Network(
        "itoy",
        Input("x", 2, fraction=4),
        (
            Population("h", (2,), neuron, np.int32([1, -1]), membrane_bits=16),
            Population("out", (2,), neuron, membrane_bits=16),
        ),
        (
            Projection("x", "h", i8([[4, -4], [8, 1]]), shift=np.int32([2, 3])),
            Projection("h", "out", i8([[30, -7], [-7, 30]])),
            Projection("h", "h", i8([[0, 5], [5, 0]]), delay=1),
        ),
        Readout("out"),
        stage="quantized",
    )


def narrow(size: int, reset: str, scalar: bool, name: str = "narrow", kind: type = LIF) -> Network:
    """A quantized network whose populations all have int16 accumulators; some neurons, of a
    ``kind`` that spikes, have a threshold that no membrane reaches."""
    rng = np.random.default_rng(size)
    cells = 3

    def neuron(count: int) -> Neuron:
        each = None if scalar else count
        threshold = np.asarray(rng.integers(20, 500, each))
        if not scalar:
            threshold[::7] = 25_000
        decays = [np.int32(rng.integers(1000, 32769, each)) for _ in kind.decays]
        made: Neuron = kind(*decays, np.int32(threshold), reset)
        return made

    def weights(*shape: int) -> NDArray:
        return i8(rng.integers(-60, 100, shape))

    def population(name: str, *shape: int) -> Population:
        count = int(np.prod(shape))
        bias = np.int32(rng.integers(-200, 200, count)) if count % 2 else None
        return Population(name, shape, neuron(count), bias, membrane_bits=NARROW_BITS)

    return Network(
        name,
        Input("x", 2, fraction=10),
        (population("h", size), population("m", cells, size), population("out", 3)),
        (
            Projection("x", "h", i8(rng.integers(-128, 128, (size, 2))), shift=np.int32(11)),
            Projection("h", "h", weights(size, size) // 4, delay=1),
            Projection("h", "m", weights(cells * size, size) // 4),
            Projection("m", "m", weights(size, size) // 4, delay=1, blocks=cells),
            Projection("out", "m", weights(cells, size, 1), delay=1, blocks=cells),
            Projection("m", "out", weights(3, cells * size)),
        ),
        Readout("out"),
        stage="quantized",
    )


def samples(network: Network, windows: int = 3, steps: int = 12, seed: int = 1) -> NDArray:
    """Normal random windows with a spread of two."""
    rng = np.random.default_rng(seed)
    return f32(2 * rng.normal(size=(windows, steps, network.input.size)))


@cache
def pipeline_of(text: str) -> tuple[Pass, ...]:
    """`parse_pipeline`, which looks for plug-ins every time."""
    return parse_pipeline(text)


def planned(
    network: Network,
    quantized: bool = False,
    windows: NDArray | None = None,
    target: str | None = None,
    bits: int = 8,
) -> Network:
    """``network`` after a default pipeline without calibration, or with it on ``windows``.

    Its kernels are those of ``target``, or the portable ones; weights are of ``bits``.
    """
    names = INT8_PIPELINE if quantized else FLOAT_PIPELINE
    names = tuple(f"quantize{{bits={bits}}}" if n == "quantize" else n for n in names)
    chosen = [n for n in names if windows is not None or n not in NEED_WINDOWS]
    context = Context(target=get_target(target) if target else PORTABLE, samples=windows)
    return run_passes(network, pipeline_of(",".join(chosen)), context)


def undecided(network: Network) -> Network:
    """The network without margins, as passes need it that move scores."""
    return network.replace(readout=replace(network.readout, margins=None))
