"""select-kernels: the one place where the C function for each part of a step is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Literal, TypeVar

from l2mu_compile.errors import UsageError
from l2mu_compile.network import Network, Population, spiking
from l2mu_compile.neuron_calls import number, update
from l2mu_compile.passbase import Context, Pass
from l2mu_compile.projection import Projection
from l2mu_compile.sparse import TILES, least_bytes, tiles_of
from l2mu_compile.targets.kernel_costs import (
    KernelCost,
    Sizes,
    costs_for,
    population_sizes,
    projection_sizes,
    weights_read,
)
from l2mu_compile.targets.kernel_sets import usable_sets
from l2mu_compile.targets.kernel_table import kernel_table
from l2mu_compile.targets.record import Target

Node = TypeVar("Node", Population, Projection)

NEARLY = 1.05  # times the fewest instructions: what may be given for fewer bytes
SPARSE_CODE = 200  # bytes that a kernel for tiles takes itself, about


@dataclass(frozen=True)
class SelectKernels(Pass):
    """Requires a target and a folded or quantized network; names a kernel everywhere; exact.

    Of the kernels in the target's sets that can serve, the one takes part that is predicted to take
    the fewest instructions at the calibrated spike rates (`targets/kernel_costs.py`). Among equals,
    and where one was not measured on this target, the first serves, in the order of the target's
    sets; ``ref`` is the portable C that has them all. Samples are multiplied densely. Spikes are
    followed one by one, but by many a dense projection all weights may be multiplied with flags for
    spikes, which are made once for all projections of a population. Weights with a ``quantum`` are
    packed, by whichever kernel reads such.

    Of int8 weights with many zeros, only the tiles may be stored that are not all zero, each one,
    four or eight targets of a source. Those sizes of tiles are compared with dense weights that
    take fewer bytes than they do, even with 200 more for their kernel's code. With ``prefer=size``
    the smallest is taken; with ``prefer=speed`` the smallest of those that need at most five per
    cent more instructions than the fastest.
    """

    name: ClassVar[str] = "select-kernels"
    idempotent: ClassVar[bool] = True
    exact: ClassVar[bool] = True
    prefer: Literal["speed", "size"] = "speed"

    def apply(self, network: Network, context: Context) -> Network:
        if network.stage == "planned":
            return network
        if context.target is None:
            raise UsageError("select-kernels needs a target: give --target")
        selection = _Selection(network, context.target, self.prefer)
        chosen = {p.name: selection.of_projection(p) for p in network.projections}
        for population in filter(spiking, network.populations):
            chosen |= selection.multiplied(population, chosen)
        return network.map_projections(lambda p: _with_kernel(p, chosen[p.name])).map_populations(
            lambda p: _with_kernel(p, selection.of_population(p))
        )


@dataclass(frozen=True)
class _Selection:
    """Kernels are called as in the network: without ``l2mu_``."""

    network: Network
    target: Target
    prefer: Literal["speed", "size"]

    @cached_property
    def sets(self) -> tuple[str, ...]:
        return usable_sets(self.target)

    @cached_property
    def costs(self) -> dict[str, KernelCost]:
        return costs_for(self.target)

    def of_projection(self, p: Projection) -> str:
        """The kernel that follows spikes, or multiplies samples."""
        operation = f"accumulate_{_structure(p)}"
        if self.network.multiplies(p):
            operation = "input" if p.convolution is None else "input_conv"
        sizes = projection_sizes(self.network, p)
        kernel = self._required(operation, self._weights(p), sizes)
        if operation != "accumulate_dense" or not self.network.quantized:
            return kernel
        plain = replace(p, kernel=kernel)
        if least_bytes(p.weight) >= plain.stored_bytes:
            return kernel
        smaller = [each for each in self._sparse(p) if _bytes(each) < _bytes(plain)]
        return str(self._preferred(plain, smaller).kernel)

    def of_population(self, p: Population) -> str:
        operation = update(p)
        kernel = self._required(
            operation, number(self.network, p), population_sizes(self.network, p)
        )
        return kernel.removeprefix(f"{operation}_")

    def multiplied(self, source: Population, chosen: dict[str, str]) -> dict[str, str]:
        """Projections of ``source`` that had better multiply than what was ``chosen``, each with
        its kernel; none if flags cost more than that saves, or costs are not known."""
        sizes = population_sizes(self.network, source) | {"sources": source.size}
        flags = self._cheapest(self._candidates("flag_spikes", ""), sizes)
        saved, found = 0.0, {}
        for p in self.network.out_of(source.name):
            kernels = self._candidates(f"multiply_{_structure(p)}", self._weights(p))
            known = [*kernels, chosen[p.name]]
            kept = self.prefer == "size" and "sparse" in chosen[p.name]
            if kept or not kernels or not self._are_known(known):
                continue
            best = self._cheapest(kernels, projection_sizes(self.network, p))
            gain = self._cost_of(replace(p, kernel=chosen[p.name]))
            gain -= self._cost_of(replace(p, kernel=best))
            if gain > 0:
                saved, found[p.name] = saved + gain, best
        worth = bool(found) and self._are_known([flags]) and saved > self._cost(flags, sizes)
        return found if worth else {}

    def _weights(self, p: Projection) -> str:
        numbers = number(self.network, self.network.population(p.target))
        if not self.network.quantized:
            return "f32"
        weights = "i8" if p.packing is None else p.packing.numbers
        return f"{weights}_{numbers}"

    def _required(self, operation: str, numbers: str, sizes: Sizes) -> str:
        kernels = self._candidates(operation, numbers)
        if not kernels:
            sets = ", ".join(self.sets)
            raise UsageError(f"no kernel {operation}_{numbers} in the sets {sets}")
        return self._cheapest(kernels, sizes)

    def _candidates(self, operation: str, numbers: str) -> list[str]:
        """The kernels there are, in the order of the sets."""
        parts = [operation, numbers] if numbers else [operation]
        names = ["_".join([*parts, *([] if s == "ref" else [s])]) for s in self.sets]
        return [name for name in names if f"l2mu_{name}" in kernel_table()]

    def _cheapest(self, kernels: Sequence[str], sizes: Sizes) -> str:
        """The first if costs are not known; '' if there are none."""
        if not self._are_known(kernels):
            return next(iter(kernels), "")
        return min(kernels, key=lambda kernel: self._cost(kernel, sizes))

    def _are_known(self, kernels: Sequence[str]) -> bool:
        return bool(kernels) and all(f"l2mu_{kernel}" in self.costs for kernel in kernels)

    def _cost(self, kernel: str, sizes: Sizes) -> float:
        return self.costs[f"l2mu_{kernel}"].of(sizes)

    def _sparse(self, p: Projection) -> list[Projection]:
        """``p`` with the best kernel for each size of tiles that it can be stored in."""
        numbers = f"i8_{number(self.network, self.network.population(p.target))}"
        found = []
        for tile in TILES:
            kernels = self._candidates(f"accumulate_sparse{tile}", numbers)
            if kernels and tiles_of(p.weight.T, tile).can_be_stored:
                sizes = projection_sizes(self.network, replace(p, kernel=kernels[0]))
                found.append(replace(p, kernel=self._cheapest(kernels, sizes)))
        return found

    def _preferred(self, dense: Projection, sparse: Sequence[Projection]) -> Projection:
        """Nothing is faster than ``dense`` whose costs, or its own, are not known."""
        if self.prefer == "size":
            return min([dense, *sparse], key=_bytes)
        if not self._are_known([str(dense.kernel)]):
            return dense
        known = [dense, *(p for p in sparse if self._are_known([str(p.kernel)]))]
        most = NEARLY * min(map(self._cost_of, known))
        return min((p for p in known if self._cost_of(p) <= most), key=_bytes)

    def _cost_of(self, p: Projection) -> float:
        """What matters between kernels that do not read the same."""
        kernel, sizes = str(p.kernel), projection_sizes(self.network, p)
        read = weights_read(f"l2mu_{kernel}", sizes)
        return self._cost(kernel, sizes) + self.target.byte_cost * read


def _bytes(p: Projection) -> int:
    return p.stored_bytes + (0 if p.tile is None else SPARSE_CODE)


def _structure(p: Projection) -> str:
    if p.convolution is not None:
        return "conv"
    return "dense" if p.is_dense else "shared" if p.shared else "distinct"


def _with_kernel(node: Node, kernel: str) -> Node:
    return node if node.kernel == kernel else replace(node, kernel=kernel)
