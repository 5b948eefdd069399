"""The ways from a Program to a binary, by the name after ``--backend``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from l2mu_compile.errors import UsageError
from l2mu_compile.program import Program
from l2mu_compile.targets.artifacts import Package, chosen_packages
from l2mu_compile.targets.build import build, open_device
from l2mu_compile.targets.costs import Costs
from l2mu_compile.targets.devices import Device
from l2mu_compile.targets.product import Product
from l2mu_compile.targets.record import BUILT, Target
from l2mu_compile.targets.tvm_build import (
    build_tensors,
    complete_tensors,
    open_tensors,
    tensor_target,
)


@dataclass(frozen=True)
class Backend:
    """``prepared`` is a target as this backend builds for it, ``build`` writes sources and binaries
    and tells what they cost, ``packages`` are what can be made of them, ``open`` has a binary ready
    to run. ``is_measured`` says that it is this backend's kernels whose instructions are known.
    """

    name: str
    prepared: Callable[[Target], Target]
    build: Callable[[Product], Costs]
    packages: Callable[[Target, tuple[str, ...]], tuple[Package, ...]]
    open: Callable[[Program, Target, Path, str | None], Device]
    is_measured: bool


def get_backend(name: str) -> Backend:
    """The backend of that name; `UsageError` if there is none."""
    if name not in BACKENDS:
        raise UsageError(f"unknown backend '{name}' (known: {', '.join(BACKENDS)})")
    return BACKENDS[name]


def _tensor_packages(target: Target, names: tuple[str, ...]) -> tuple[Package, ...]:
    for name in names:
        if name not in BUILT:
            raise UsageError(f"--artifact {name}: is made of C; use --backend c")
    return (Package("lib", "library for TVM's runtime", complete_tensors),)


BACKENDS: dict[str, Backend] = {
    backend.name: backend
    for backend in (
        Backend("c", lambda target: target, build, chosen_packages, open_device, is_measured=True),
        Backend(
            "tvm", tensor_target, build_tensors, _tensor_packages, open_tensors, is_measured=False
        ),
    )
}
