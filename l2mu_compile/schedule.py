"""The order of work within one time step: turn by turn, one for each population."""

from __future__ import annotations

from dataclasses import dataclass

from l2mu_compile.network import Network, Population
from l2mu_compile.projection import Projection


@dataclass(frozen=True)
class Turn:
    """A population's part of a step.

    First the currents of ``arriving`` are added to what it starts the step with: samples, and
    spikes of populations whose turn was earlier. Then it fires. Then ``leaving``, projections with
    a delay both ends of which have fired by now, add this step's spikes to what their targets start
    the next step with. So spikes are never kept from one step to the next.
    """

    population: Population
    arriving: tuple[Projection, ...]
    leaving: tuple[Projection, ...]


def turns(network: Network) -> tuple[Turn, ...]:
    """All turns of a step, in order; projections are in network order within one."""
    order = network.order()
    position = {p.name: i for i, p in enumerate(order)}
    late: list[list[Projection]] = [[] for _ in order]
    for p in network.projections:
        if p.delay:
            late[max(position[p.source], position[p.target])].append(p)
    return tuple(
        Turn(p, arriving(network, p), tuple(after)) for p, after in zip(order, late, strict=True)
    )


def arriving(network: Network, population: Population) -> tuple[Projection, ...]:
    """Projections whose currents reach ``population`` in the step they come from."""
    return tuple(p for p in network.into(population.name) if not p.delay)


def delayed(network: Network, population: Population) -> tuple[Projection, ...]:
    """Projections whose currents reach ``population`` one step after their sources fired."""
    return tuple(p for p in network.into(population.name) if p.delay)
