"""A pass in a file: populations with equal parameters become one.

l2mu-compile opt network.txt -p merge-equal --plugin merge_equal.py
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from l2mu_compile import Context, ModelError, Network, Pass, Population, Projection


@dataclass(frozen=True)
class MergeEqual(Pass):
    """Requires a quantized network before kernels; joins populations of equal neurons; exact.

    Two populations are joined if their neurons have the same kind, reset, decays (scalars) and
    membrane bits, and neither decides nor hears the other within the same step. Thresholds, which
    quantization scales for each neuron, stay each neuron's own. Integers may be added in any
    order; floats may not, so a float network is refused.
    """

    name: ClassVar[str] = "merge-equal"
    exact: ClassVar[bool] = True
    idempotent: ClassVar[bool] = True

    def apply(self, network: Network, context: Context) -> Network:
        if network.stage != "quantized":
            raise ModelError(f"merge-equal needs a quantized network, not a {network.stage} one")
        for a, b in combinations(network.populations, 2):
            if _alike(a, b) and _apart(network, a, b):
                context.note(f"merge-equal: {a.name} and {b.name} are one population")
                return self.apply(_merged(network, a, b), context)
        return network


def _alike(a: Population, b: Population) -> bool:
    """Whether one population can have the neurons of both."""
    if type(a.neuron) is not type(b.neuron) or not hasattr(a.neuron, "threshold"):
        return False
    same = a.neuron.reset == b.neuron.reset and a.membrane_bits == b.membrane_bits
    decays = [(getattr(a.neuron, name), getattr(b.neuron, name)) for name in a.neuron.decays]
    return same and all(x.ndim == y.ndim == 0 and x == y for x, y in decays)


def _apart(network: Network, a: Population, b: Population) -> bool:
    """Whether both can take their turn at once: no way leads from one to the other in a step."""
    if network.readout.population in (a.name, b.name):
        return False
    return not (_hears(network, a.name, b.name) or _hears(network, b.name, a.name))


def _hears(network: Network, listener: str, speaker: str) -> bool:
    sources = {p.source for p in network.into(listener) if p.delay == 0}
    inner = sources - {network.input.name}
    return speaker in sources or any(_hears(network, name, speaker) for name in inner)


def _merged(network: Network, a: Population, b: Population) -> Network:
    """``network`` with the neurons of ``b`` behind those of ``a``."""
    thresholds = [np.broadcast_to(p.neuron.threshold, p.size) for p in (a, b)]
    biases = [np.zeros(p.size, np.int32) if p.bias is None else p.bias for p in (a, b)]
    both = replace(
        a,
        shape=(a.size + b.size,),
        neuron=replace(a.neuron, threshold=np.concatenate(thresholds)),
        bias=None if a.bias is b.bias is None else np.concatenate(biases),
        rate=None,
        low=None,
        high=None,
    )
    sizes = {p.name: p.size for p in (a, b)}
    groups: dict[tuple[str, str, int], list[Projection]] = {}
    for p in network.projections:
        source, target = (a.name if name in sizes else name for name in (p.source, p.target))
        groups.setdefault((source, target, p.delay), []).append(p)
    return network.replace(
        populations=tuple(both if p is a else p for p in network.populations if p is not b),
        projections=tuple(_joined(group, key, a, b) for key, group in groups.items()),
    )


def _joined(
    group: list[Projection], key: tuple[str, str, int], a: Population, b: Population
) -> Projection:
    """Projections that end up between the same two populations as one, zeros where none was."""
    if not {group[0].source, group[0].target} & {a.name, b.name}:
        return group[0]
    places = {a.name: slice(0, a.size), b.name: slice(a.size, a.size + b.size)}
    rows, columns = group[0].shape
    source, target, delay = key
    size = a.size + b.size
    shape = size if target == a.name else rows, size if source == a.name else columns
    weight = np.zeros(shape, np.int8)
    shift = np.zeros(shape[0], np.int32)
    for p in group:
        onto = places.get(p.target, slice(None))
        weight[onto, places.get(p.source, slice(None))] = p.dense()
        if p.shift is not None:
            shift[onto] = p.shift
    shifts: NDArray | None = shift if any(p.shift is not None for p in group) else None
    return Projection(source, target, weight, delay, shift=shifts)


PLUGIN = [MergeEqual]
