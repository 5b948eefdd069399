"""The machine the compiler runs on: a shared library that Python loads, to check emitted code."""

from __future__ import annotations

import platform
import struct
import sys

from l2mu_compile.targets.record import Target

_ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}

_ARCH = _ARCHITECTURES.get(platform.machine().lower(), "other")
_STATIC = sys.platform == "linux" and _ARCH != "other"

HOST = Target(
    name="host",
    description="this machine (baseline instructions of its architecture)",
    arch=_ARCH,
    triple="native",
    # The C library of zig's that can be linked statically.
    link_triple=f"{_ARCH}-linux-musl" if _STATIC else None,
    artifacts=("lib", *(("executable",) if _STATIC else ()), "cmake", "java"),
    cpu="baseline",
    pointer_bytes=struct.calcsize("P"),
    kernel_sets=("ref",),
    shared=True,
    shared_suffix=".dylib" if sys.platform == "darwin" else ".so",
)
