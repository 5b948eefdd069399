"""A network of convolutions to test devices with, and its windows."""

from __future__ import annotations

import numpy as np
from networks import f32, lif
from numpy.typing import NDArray

from l2mu_compile.convolution import Convolution
from l2mu_compile.network import Input, Network, Population, Readout
from l2mu_compile.projection import Projection

FIRST = Convolution((2, 9, 8), (4, 5, 4), (2, 2), (1, 1))
SECOND = Convolution((4, 5, 4), (6, 2, 2), padding=(1, 1), pool=(2, 2))
DEPTHWISE = Convolution((4, 5, 4), (4, 5, 4), padding=(1, 1), groups=4)
LAST = Convolution((6, 2, 2), (5, 1, 1), pool=(2, 1))


def convolutional(spiking: bool) -> Network:
    """Convolutions with strides, pools, groups and a delay, and one as large as its map."""
    rng = np.random.default_rng(4)

    def joined(
        source: str, target: str, made: Convolution, kernel: tuple[int, int], delay: int = 0
    ) -> Projection:
        shape = made.target[0], made.source[0] // made.groups, *kernel
        weight = f32(rng.normal(0.02, 1.5 / np.sqrt(np.prod(shape[1:])), shape))
        return Projection(source, target, weight, delay, convolution=made)

    sizes = {"a": 80, "b": 24, "c": 5}
    return Network(
        "maps",
        Input("x", 144, spiking=spiking),
        tuple(
            Population(name, (size,), lif(0.75, 0.8), bias=f32(rng.normal(0, 0.05, size)))
            for name, size in sizes.items()
        ),
        (
            joined("x", "a", FIRST, (3, 3)),
            joined("a", "a", DEPTHWISE, (3, 3), delay=1),
            joined("a", "b", SECOND, (3, 3)),
            joined("b", "c", LAST, (1, 2)),
        ),
        Readout("c"),
    )


def windows(spiking: bool) -> NDArray:
    """Two windows of spikes, or of samples."""
    rng = np.random.default_rng(5)
    shape = (2, 9, 144)
    return f32(rng.random(shape) < 0.3) if spiking else f32(rng.normal(0, 1, shape))
