"""The machine the compiler runs on: a shared library that Python loads, to check emitted code."""

from __future__ import annotations

import platform
import struct
import sys

from l2mu_compile.targets.record import Target

_ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}

HOST = Target(
    name="host",
    description="this machine (baseline instructions of its architecture)",
    arch=_ARCHITECTURES.get(platform.machine().lower(), "other"),
    triple="native",
    cpu="baseline",
    pointer_bytes=struct.calcsize("P"),
    kernel_sets=("ref",),
    artifacts=("lib", "cmake", "java"),
    shared=True,
    shared_suffix=".dylib" if sys.platform == "darwin" else ".so",
)
