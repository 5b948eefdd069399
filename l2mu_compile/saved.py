"""What is kept of a state when it is saved, and which values it can have.

A saved state (`l2mu_save.c`) is little-endian on every processor::

    4 bytes  "L2MU"
    4 bytes  version of this format, 2
    16 bytes the first digits of the network's digest
    members  the persistent arrays in the order of the struct
    4 bytes  CRC-32 (IEEE 802.3) of all before

The limits of a member are those under which `l2mu_compile.verify` proves that no sum overflows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from l2mu_compile.bounds import (
    largest_start,
    membrane_limit,
    narrow,
    start_range,
    unsaturated_range,
)
from l2mu_compile.network import CTYPE_BYTES, Buffer, Network, Population
from l2mu_compile.neurons import CuBaLIF

HEADER_BYTES, CHECKSUM_BYTES = 24, 4

# What a count of spikes or a sum of membranes may have reached: more than in any window, and not
# near an overflow.
LARGEST_COUNT, LARGEST_SUM = 2**30, 2**62


@dataclass(frozen=True)
class Member:
    """``count`` elements of an array of the state: ``floats``, or ``integers`` from low to high.

    What else is in the array is zero.
    """

    buffer: Buffer
    count: int
    kind: str
    low: int = 0
    high: int = 0

    def __str__(self) -> str:
        limits = f" [{self.low}, {self.high}]" if self.kind == "integers" else ""
        return f"{self.kind} {self.buffer.name}{limits}"


def saved_members(network: Network) -> tuple[Member, ...]:
    """The members of a planned network's state, in the order of the struct."""
    return tuple(_member(network, b) for b in network.buffers if b.lifetime == "state")


def saved_bytes(members: Sequence[Member]) -> int:
    """Bytes of a saved state."""
    content = sum(m.count * CTYPE_BYTES[m.buffer.ctype] for m in members)
    return HEADER_BYTES + content + CHECKSUM_BYTES


def _member(network: Network, buffer: Buffer) -> Member:
    if buffer.name == "score":
        count, limits = network.classes, _score_limits(network)
    else:
        name, _, quantity = buffer.name.rpartition("_")
        population = network.population(name)
        count, limits = population.size, _limits(network, population, quantity)
    if buffer.ctype == "float":
        return Member(buffer, count, "floats")
    return Member(buffer, count, "integers", *limits)


def _limits(network: Network, population: Population, quantity: str) -> tuple[int, int]:
    """Of an accumulator, or of the membranes that a CuBaLIF has beside it."""
    if quantity == "membrane" and isinstance(population.neuron, CuBaLIF):
        return _membrane_limits(population)
    if narrow(network, population):
        low, high = start_range(network, population)
        unsaturated = unsaturated_range(network, population)
        return unsaturated or (int(low.min()), int(high.max()))
    largest = largest_start(network, population)
    return -largest, largest


def _membrane_limits(population: Population) -> tuple[int, int]:
    limit = membrane_limit(population)
    return -limit, limit - 1


def _score_limits(network: Network) -> tuple[int, int]:
    low, high = _membrane_limits(network.population(network.readout.population))
    return {
        "spike_count": (0, LARGEST_COUNT),
        "last_membrane": (low, high),
        "max_membrane": (-(2**31), high),
        "mean_membrane": (-LARGEST_SUM, LARGEST_SUM),
    }[network.readout.rule]
