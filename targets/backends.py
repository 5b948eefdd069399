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
from l2mu_compile.targets.record import Target
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
    to run. ``is_measured`` says that it is this backend's kernels whose instructions are known,
    ``has_streams`` that what it makes takes samples one by one and tells when a window ends.
    """

    name: str
    prepared: Callable[[Target], Target]
    build: Callable[[Product], Costs]
    packages: Callable[[Target, tuple[str, ...]], tuple[Package, ...]]
    open: Callable[[Program, Target, Path, str | None], Device]
    is_measured: bool
    has_streams: bool


def get_backend(name: str) -> Backend:
    """The backend of that name; `UsageError` if there is none."""
    if name not in BACKENDS:
        raise UsageError(f"unknown backend '{name}' (known: {', '.join(BACKENDS)})")
    return BACKENDS[name]


def _tensor_packages(target: Target, names: tuple[str, ...]) -> tuple[Package, ...]:
    chosen_packages(target, names)
    for name in names:
        if name != "lib":
            raise UsageError(f"--artifact {name}: is made of C; use --backend c")
    return (Package("lib", "library for TVM's runtime", complete_tensors),)


BACKENDS: dict[str, Backend] = {
    backend.name: backend
    for backend in (
        Backend(
            name="c",
            prepared=lambda target: target,
            build=build,
            packages=chosen_packages,
            open=open_device,
            is_measured=True,
            has_streams=True,
        ),
        Backend(
            name="tvm",
            prepared=tensor_target,
            build=build_tensors,
            packages=_tensor_packages,
            open=open_tensors,
            is_measured=False,
            has_streams=False,
        ),
    )
}
