"""The host's record on machines that this one is not."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest
from exactness import product_of
from networks import l2mu, planned, samples

from l2mu_compile.targets.cortex_a import LINUX_AARCH64
from l2mu_compile.targets.host import host_target

ARM_HOST = host_target("aarch64", "linux", 8)


def test_a_64_bit_arm_host_is_the_target_linux_aarch64() -> None:
    different = {
        field.name
        for field in fields(ARM_HOST)
        if getattr(ARM_HOST, field.name) != getattr(LINUX_AARCH64, field.name)
    }
    assert different == {"name", "description", "triple", "link_triple", "emulator", "qemu"}
    assert ARM_HOST.link_triple == LINUX_AARCH64.triple


@pytest.mark.parametrize("quantized", [False, True])
def test_a_64_bit_arm_host_makes_the_library_of_linux_aarch64(
    tmp_path: Path, quantized: bool
) -> None:
    """Which unicorn and QEMU run anywhere. GNU is what `native` is on most Linux machines."""
    network = l2mu(seed=4)
    x = samples(network, windows=1, steps=3)
    network = planned(network, quantized, x)
    gnu_host = replace(ARM_HOST, triple="aarch64-linux-gnu")
    libraries = [
        product_of(network, target, x[0], tmp_path / target.name).image.read_bytes()
        for target in (gnu_host, LINUX_AARCH64)
    ]
    assert libraries[0] == libraries[1]


@pytest.mark.parametrize(
    ("machine", "system", "arch", "executable", "suffix"),
    [
        ("x86_64", "linux", "x86_64", True, ".so"),
        ("AMD64", "win32", "x86_64", False, ".so"),
        ("arm64", "darwin", "aarch64", False, ".dylib"),
        ("riscv64", "linux", "other", False, ".so"),
    ],
)
def test_hosts(machine: str, system: str, arch: str, executable: bool, suffix: str) -> None:
    target = host_target(machine, system, 8)
    assert (target.arch, target.shared_suffix) == (arch, suffix)
    assert ("executable" in target.artifacts) == executable
    assert target.link_triple == (f"{arch}-linux-musl" if executable else None)
