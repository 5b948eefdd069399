"""Mixed precision: fewer bits first for those projections whose weights spikes miss the least."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from l2mu_compile.errors import UsageError
from l2mu_compile.grids import Grid
from l2mu_compile.interpreter import Progress
from l2mu_compile.network import Network, Population
from l2mu_compile.projection import Projection, packed_bytes

Drift = Callable[[Population, dict[str, Grid]], float]


def least_sensitive(
    network: Network,
    fixed: Mapping[str, Grid],
    ladders: Mapping[str, Sequence[Grid]],
    share: float,
    drift: Drift,
    progress: Progress | None = None,
) -> dict[str, Grid]:
    """Grids of projections, by name, with which all weights of ``network`` take at most a ``share``
    of the bytes of int8 weights: the ``fixed`` ones, and as few as possible of the others.

    ``ladders``: what others may have instead of 8 bits, from the most bytes to the fewest. Step by
    step, the one goes down its ladder that adds the least drift of its target's spikes per byte
    saved. ``drift(population, grids)`` is a population's with these grids. Raises `UsageError` if
    the ends of all ladders take more.
    """
    choice = _Choice(network, dict(fixed), {n: list(steps) for n, steps in ladders.items()}, drift)
    goal = share * sum(p.weight.size for p in network.projections)
    start = choice.bytes()
    while choice.bytes() > goal:
        name = choice.cheapest()
        if name is None:
            raise UsageError(
                f"quantize: weights take {choice.bytes()} bytes with the fewest bits, "
                f"more than share={share:g} of {round(goal / share) if share else 0}"
            )
        choice.lower(name)
        if progress:
            total = max(int(start - goal), 1)
            progress(min(int(start - choice.bytes()), total), total)
    return choice.grids


class _Choice:
    """Grids so far, and what is left of the ladders."""

    def __init__(
        self, network: Network, grids: dict[str, Grid], ladders: dict[str, list[Grid]], drift: Drift
    ) -> None:
        self.network, self.grids, self.ladders, self.measure = network, grids, ladders, drift
        self.projections = {p.name: p for p in network.projections}
        self.prices: dict[str, float] = {}
        self.drifts: dict[tuple[str, ...], float] = {}

    def bytes(self) -> int:
        return sum(_bytes(p, self.grids.get(p.name)) for p in self.projections.values())

    def cheapest(self) -> str | None:
        """Which projection to lower next; None if none is left. The first among equals."""
        left = [name for name, steps in self.ladders.items() if steps]
        for name in left:
            if name not in self.prices:
                self.prices[name] = self._price(name)
        return min(left, key=self.prices.__getitem__, default=None)

    def lower(self, name: str) -> None:
        self.grids[name] = self.ladders[name].pop(0)
        target = self.projections[name].target
        for other in self.network.into(target):
            self.prices.pop(other.name, None)

    def _price(self, name: str) -> float:
        """Drift that one step down the ladder adds, per byte."""
        p, lower = self.projections[name], self.ladders[name][0]
        population = self.network.population(p.target)
        saved = _bytes(p, self.grids.get(name)) - _bytes(p, lower)
        after = self._drift(population, self.grids | {name: lower})
        return (after - self._drift(population, self.grids)) / saved

    def _drift(self, population: Population, grids: dict[str, Grid]) -> float:
        heard = (p.name for p in self.network.into(population.name))
        key = (population.name, *(grids[n].name if n in grids else "" for n in heard))
        if key not in self.drifts:
            self.drifts[key] = self.measure(population, grids)
        return self.drifts[key]


def _bytes(p: Projection, grid: Grid | None) -> int:
    return p.weight.size if grid is None else packed_bytes(*p.shape, grid)
