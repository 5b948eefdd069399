"""What can be made of a checked build, by the name after ``--artifact``: one module each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from l2mu_compile.errors import UsageError
from l2mu_compile.targets.packaging.aar import make_aar
from l2mu_compile.targets.packaging.arduino import make_arduino
from l2mu_compile.targets.packaging.built import complete_firmware, complete_library
from l2mu_compile.targets.packaging.cmake import make_cmake
from l2mu_compile.targets.packaging.cmsis_pack import make_cmsis_pack
from l2mu_compile.targets.packaging.executable import make_executable
from l2mu_compile.targets.packaging.java import make_java
from l2mu_compile.targets.packaging.zephyr import make_zephyr
from l2mu_compile.targets.product import Product
from l2mu_compile.targets.record import ARTIFACTS, BUILT, Target


@dataclass(frozen=True)
class Package:
    """One kind of package: ``make`` writes it, or what it still lacks, below the product's output.

    It is made after the binaries were checked, so that it can carry their report.
    """

    name: str
    description: str
    make: Callable[[Product], None]


PACKAGES: dict[str, Package] = {
    package.name: package
    for package in (
        Package("lib", "library and header", complete_library),
        Package("firmware", "image for a microcontroller", complete_firmware),
        Package("executable", "static program that reads .npy or CSV files", make_executable),
        Package("cmake", "sources for add_subdirectory and find_package", make_cmake),
        Package("arduino", "Arduino library", make_arduino),
        Package("zephyr", "Zephyr module", make_zephyr),
        Package("cmsis-pack", "CMSIS-Pack", make_cmsis_pack),
        Package("java", "jar and native library for a desktop JVM", make_java),
        Package("aar", "Android archive with a library for every ABI", make_aar),
    )
}


def chosen_packages(target: Target, names: tuple[str, ...]) -> tuple[Package, ...]:
    """The packages to make, in a fixed order; what is always built is among them.

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
    always = [name for name in BUILT if name in target.artifacts]
    return tuple(PACKAGES[name] for name in ARTIFACTS if name in (*always, *names))
