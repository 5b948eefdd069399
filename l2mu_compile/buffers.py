"""The arrays one step of a Network works on: what must be kept, what lives only within a step.

A step is a sequence of moments: 0 prepares the sample, 1 … P update the populations in order, P + 1
reads out. A scratch array lives from the moment that writes it to the last that reads it; state
lives always.
"""

from __future__ import annotations

from dataclasses import dataclass

from l2mu_compile.network import CTYPE_BYTES, Network, Population, Projection, spiking
from l2mu_compile.neurons import CuBaLIF

QUANTIZED_SAMPLE = "quantized_sample"


@dataclass(frozen=True)
class Need:
    """``count`` elements of ``ctype``, in use from moment ``first`` to ``last`` of every step."""

    name: str
    ctype: str
    count: int
    lifetime: str
    first: int
    last: int

    @property
    def bytes(self) -> int:
        """Size in bytes."""
        return self.count * CTYPE_BYTES[self.ctype]

    def lives_with(self, other: Need) -> bool:
        """True when both hold something at the same moment."""
        if "state" in (self.lifetime, other.lifetime):
            return True
        return self.first <= other.last and other.first <= self.last


def needs(network: Network) -> list[Need]:
    """Every array ``network`` needs: state first, in the order of the step."""
    order = network.order()
    moment = {p.name: i for i, p in enumerate(order, 1)}
    end = len(order) + 1
    found = [need for p in order for need in _population_needs(network, p, moment, end)]
    found.append(_score_need(network, end))
    if network.quantized:
        readers = [moment[p.target] for p in network.out_of(network.input.name)]
        size = network.input.size
        found.append(Need(QUANTIZED_SAMPLE, "int16_t", size, "scratch", 0, max(readers, default=0)))
    return sorted(found, key=lambda need: need.lifetime != "state")


def reads_late(network: Network, projection: Projection) -> bool:
    """True if last step's spikes are read after their source has updated, its list already new."""
    names = [p.name for p in network.order()]
    late = names.index(projection.target) > names.index(projection.source)
    return bool(projection.delay) and late


def keeps_last_spikes(network: Network, population: Population) -> bool:
    """True if last step's spikes of ``population`` must be kept beside this step's."""
    return any(reads_late(network, p) for p in network.out_of(population.name))


def _population_needs(
    network: Network, population: Population, moment: dict[str, int], end: int
) -> list[Need]:
    name, size = population.name, population.size
    state = "int32_t" if network.quantized else "float"
    found = [Need(f"{name}_membrane", state, size, "state", 0, end)]
    if isinstance(population.neuron, CuBaLIF):
        found.append(Need(f"{name}_synapse", state, size, "state", 0, end))
    if not spiking(population):
        return found
    readers = [moment[p.target] for p in network.out_of(name)]
    if network.readout.population == name:
        readers.append(end)
    delayed = any(p.delay for p in network.out_of(name))
    if keeps_last_spikes(network, population):
        found.append(Need(f"{name}_last", "uint16_t", 1 + size, "scratch", 0, max(readers)))
    found.append(
        Need(
            f"{name}_spikes",
            "uint16_t",
            1 + size,
            "state" if delayed else "scratch",
            moment[name],
            max(readers, default=moment[name]),
        )
    )
    return found


def _score_need(network: Network, end: int) -> Need:
    rule = network.readout.rule
    ctype = "int32_t" if network.quantized or rule == "spike_count" else "float"
    if network.quantized and rule == "mean_membrane":
        ctype = "int64_t"
    return Need("score", ctype, network.classes, "state", 0, end)
