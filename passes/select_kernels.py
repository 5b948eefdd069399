"""select-kernels: the one place where the C function for each part of a step is chosen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

from l2mu_compile.errors import UsageError
from l2mu_compile.network import Network, Population, Projection
from l2mu_compile.passbase import Context, Pass
from l2mu_compile.program import number, update
from l2mu_compile.targets.kernel_sets import usable_sets
from l2mu_compile.targets.kernel_table import kernel_table

Node = TypeVar("Node", Population, Projection)


@dataclass(frozen=True)
class SelectKernels(Pass):
    """Requires a target and a folded or quantized network; names a kernel everywhere; exact.

    Spikes are followed one by one (event-driven), samples are multiplied densely. Of the target's
    kernel sets the first that has the kernel serves; ``ref`` is the portable C that has them all.
    """

    name: ClassVar[str] = "select-kernels"

    def apply(self, network: Network, context: Context) -> Network:
        if network.stage == "planned":
            return network
        if context.target is None:
            raise UsageError("select-kernels needs a target: give --target")
        sets = usable_sets(context.target)
        numbers = {p.name: number(network, p) for p in network.populations}

        def of_projection(p: Projection) -> str:
            weights = f"i8_{numbers[p.target]}" if network.quantized else "f32"
            if network.multiplies(p):
                return _first("input", weights, sets)
            structure = "dense" if not p.blocks else "shared" if p.shared else "distinct"
            return _first(f"accumulate_{structure}", weights, sets)

        def of_population(p: Population) -> str:
            operation = update(p)
            return _first(operation, numbers[p.name], sets).removeprefix(f"{operation}_")

        return network.map_projections(lambda p: _with_kernel(p, of_projection(p))).map_populations(
            lambda p: _with_kernel(p, of_population(p))
        )


def _with_kernel(node: Node, kernel: str) -> Node:
    return node if node.kernel == kernel else replace(node, kernel=kernel)


def _first(operation: str, numbers: str, sets: tuple[str, ...]) -> str:
    for name in sets:
        kernel = f"{operation}_{numbers}" + ("" if name == "ref" else f"_{name}")
        if f"l2mu_{kernel}" in kernel_table():
            return kernel
    raise UsageError(f"no kernel {operation}_{numbers} in the sets {', '.join(sets)}")
