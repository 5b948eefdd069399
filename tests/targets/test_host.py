"""The host's record on machines that this one is not."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest
from exactness import assert_same_memory, product_of
from networks import l2mu, narrow, planned, samples

from l2mu_compile.neurons import LIF
from l2mu_compile.passbase import Context
from l2mu_compile.pipeline import parse_pipeline, run_passes
from l2mu_compile.targets.build import open_device
from l2mu_compile.targets.cortex_a import LINUX_AARCH64
from l2mu_compile.targets.host import HOST, host_target
from l2mu_compile.targets.kernel_sets import usable_sets
from l2mu_compile.targets.refine import refined

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


@pytest.mark.parametrize(("cpu", "best"), [("x86_64_v3", "avx2"), ("x86_64_v4", "avx512")])
@pytest.mark.parametrize("reset", [r for r in LIF.resets if r != "subtract_first"])
def test_kernels_of_vectors_run_as_interpreted(
    tmp_path: Path, cpu: str, best: str, reset: str
) -> None:
    if best not in usable_sets(HOST):
        pytest.skip(f"this machine has no {best}")
    target = refined(HOST, mcpu=cpu)
    for size, scalar in ((7, True), (97, False)):
        folded = narrow(size, reset, scalar, f"narrow_{size}")
        passes = parse_pipeline("select-kernels,plan-memory")
        network = run_passes(folded, passes, Context(target=target))
        assert f"i16_{best}" in {p.kernel for p in network.populations}
        x = samples(network, windows=2, steps=20)
        product = product_of(network, target, x[0], tmp_path / str(size))
        device = open_device(product.program, target, product.image)
        assert_same_memory(network, product.program, device, x)


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
