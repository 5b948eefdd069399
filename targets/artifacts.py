"""What can be made of a checked build, by the name after ``--artifact``: one module each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from l2mu_compile.errors import UsageError
from l2mu_compile.targets.packaging.executable import make_executable
from l2mu_compile.targets.product import Product
from l2mu_compile.targets.record import ARTIFACTS, BUILT, Target


@dataclass(frozen=True)
class Package:
    """One kind of package: ``make`` writes it below the product's output.

    It is made after the binaries were checked, so that it can carry their report.
    """

    name: str
    description: str
    make: Callable[[Product], None]


PACKAGES: dict[str, Package] = {
    package.name: package
    for package in (
        Package("executable", "static program that reads .npy or CSV files", make_executable),
    )
}


def chosen_packages(target: Target, names: tuple[str, ...]) -> tuple[Package, ...]:
    """The packages to make, in a fixed order; what is always built needs none.

    Raises `UsageError` naming an artifact that does not exist, or not for this target.
    """
    for name in names:
        if name not in ARTIFACTS:
            raise UsageError(f"unknown artifact '{name}' (known: {', '.join(ARTIFACTS)})")
        if name not in target.artifacts:
            raise UsageError(
                f"target '{target.name}' has no artifact '{name}' "
                f"(it has {', '.join(target.artifacts)})"
            )
    return tuple(PACKAGES[name] for name in ARTIFACTS if name in names and name not in BUILT)
