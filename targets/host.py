"""The machine the compiler runs on: a shared library that Python loads, to check emitted code."""

from __future__ import annotations

import platform
import struct
import sys

from l2mu_compile.targets.record import Target

_ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}

# A clock has time for several instructions, but less than a vector of weights arrives from the
# second cache: by timing (docs/benchmarks.md).
_BYTE_COST = {"x86_64": 1 / 24}
_MEASURED_AS = {"x86_64": "x86_64_v4+avx512vnni"}
_KERNEL_SETS = {"x86_64": ("vnni", "avx512", "avx2", "ref"), "aarch64": ("neon64", "neon", "ref")}


def host_target(machine: str, system: str, pointer_bytes: int) -> Target:
    """The record of a machine whose ``platform.machine()`` and ``sys.platform`` are these."""
    arch = _ARCHITECTURES.get(machine.lower(), "other")
    native = arch == "x86_64"
    static = system == "linux" and arch != "other"
    return Target(
        name="host",
        description=f"this machine ({'all' if native else 'baseline'} instructions)",
        arch=arch,
        triple="native",
        # The C library of zig's that can be linked statically.
        link_triple=f"{arch}-linux-musl" if static else None,
        artifacts=("lib", *(("executable",) if static else ()), "cmake", "java"),
        cpu="native" if native else "baseline",
        pointer_bytes=pointer_bytes,
        kernel_sets=_KERNEL_SETS.get(arch, ("ref",)),
        optional_sets=("dotprod",) if arch == "aarch64" else (),
        measured_as=_MEASURED_AS.get(arch),
        byte_cost=_BYTE_COST.get(arch, 0.0),
        shared=True,
        shared_suffix=".dylib" if system == "darwin" else ".so",
    )


HOST = host_target(platform.machine(), sys.platform, struct.calcsize("P"))
