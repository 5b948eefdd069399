"""The arrays one step of a Network works on: what must be kept, what lives only within a step.

A step is a sequence of moments: 0 prepares the sample, 1 … P are the populations' turns
(`l2mu_compile.schedule`), P + 1 reads out. A scratch array lives from the moment that writes it to
the last that reads it; state lives always.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from l2mu_compile.bounds import narrow
from l2mu_compile.network import CTYPE_BYTES, Network, Population, spiking
from l2mu_compile.neurons import CuBaLIF
from l2mu_compile.projection import Projection
from l2mu_compile.schedule import turns

CONVERTED_SAMPLE = "converted_sample"
NARROW_MULTIPLE = 8  # int16 arrays are filled up with zeros to a multiple of these
FLAG_MULTIPLE = 16  # flags too


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
    order = [turn.population for turn in turns(network)]
    end = len(order) + 1
    found = [need for p in order for need in _state_needs(network, p, end)]
    found += _spike_needs(network, end)
    found += _flag_needs(network)
    found.append(_score_need(network, end))
    if network.quantized or network.input.spiking:
        moment = {p.name: i for i, p in enumerate(order, 1)}
        readers = [moment[p.target] for p in network.out_of(network.input.name)]
        ctype, size = sample_form(network)
        found.append(Need(CONVERTED_SAMPLE, ctype, size, "scratch", 0, max(readers, default=0)))
    return sorted(found, key=lambda need: need.lifetime != "state")


def sample_form(network: Network) -> tuple[str, int]:
    """The C type and the number of elements of a sample as the network reads it."""
    entry = network.input
    if entry.spiking:
        return "uint16_t", 1 + entry.size
    return ("int16_t" if network.quantized else "float"), entry.size


def filled_up(count: int) -> int:
    """Elements of an int16 array for ``count`` neurons."""
    return -(-count // NARROW_MULTIPLE) * NARROW_MULTIPLE


def reads_flags(projection: Projection) -> bool:
    """Whether the projection's kernel reads flags of its sources in place of a list of spikes."""
    return (projection.kernel or "").startswith("multiply")


def state_ctype(network: Network, population: Population) -> str:
    """The C type of a population's accumulator, membranes and synapses."""
    if not network.quantized:
        return "float"
    return "int16_t" if narrow(network, population) else "int32_t"


def _state_needs(network: Network, population: Population, end: int) -> list[Need]:
    """A LIF's accumulator is its membrane; that of a CuBaLIF its synapse, and v the membrane."""
    ctype, count = state_ctype(network, population), population.size
    if ctype == "int16_t":
        count = filled_up(count)
    quantities = ["membrane"] + ["synapse"] * isinstance(population.neuron, CuBaLIF)
    return [Need(f"{population.name}_{q}", ctype, count, "state", 0, end) for q in quantities]


def _spike_needs(network: Network, end: int) -> list[Need]:
    """A spike list lives from its population's turn to the last that reads it."""
    written: dict[str, int] = {}
    read: dict[str, int] = {}
    for moment, turn in enumerate(turns(network), 1):
        if spiking(turn.population):
            written[turn.population.name] = read[turn.population.name] = moment
        for p in (*turn.arriving, *turn.leaving):
            if p.source in read:
                read[p.source] = moment
    if network.readout.population in read:
        read[network.readout.population] = end
    sizes = {p.name: p.size for p in network.populations}
    return [
        Need(f"{name}_spikes", "uint16_t", 1 + sizes[name], "scratch", first, read[name])
        for name, first in written.items()
    ]


def _flag_needs(network: Network) -> list[Need]:
    """Flags of sources are made for the first projection that reads them, and kept to the last."""
    found: dict[str, Need] = {}
    for moment, turn in enumerate(turns(network), 1):
        for p in filter(reads_flags, (*turn.arriving, *turn.leaving)):
            count = -(-p.shape[1] // FLAG_MULTIPLE) * FLAG_MULTIPLE
            need = Need(f"{p.source}_flags", "uint8_t", count, "scratch", moment, moment)
            found[p.source] = replace(found.get(p.source, need), last=moment)
    return list(found.values())


def _score_need(network: Network, end: int) -> Need:
    rule = network.readout.rule
    ctype = "int32_t" if network.quantized or rule == "spike_count" else "float"
    if network.quantized and rule == "mean_membrane":
        ctype = "int64_t"
    return Need("score", ctype, network.classes, "state", 0, end)
