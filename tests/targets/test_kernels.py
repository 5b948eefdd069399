"""All kernels: compilers leave their arithmetic as it is, and each is tested alone."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest
from kernel_machines import MACHINES, SETS, TESTED
from packages import M4F, need, tool

from l2mu_compile.targets.kernel_table import KERNEL_DIR, kernel_table
from l2mu_compile.targets.toolchain import RUNTIME_DIR

TESTS = (
    "test_neuron_kernels",
    "test_synapse_kernels",
    "test_convolution_kernels",
    "test_sample_kernels",
    "test_score_kernels",
    "test_save",
)


@pytest.mark.parametrize("optimize", ["-O1", "-Os", "-O2", "-O3"])
@pytest.mark.parametrize("source", sorted(KERNEL_DIR.glob("*_f32.c")), ids=lambda path: path.stem)
def test_gcc_fuses_no_product_into_a_sum(source: Path, optimize: str, tmp_path: Path) -> None:
    """Not even in its own C and for a core that has the instruction."""
    need("arm-none-eabi-gcc")
    assembly = tmp_path / "kernel.s"
    flags = (*M4F, "-std=gnu11", optimize, "-idirafter", RUNTIME_DIR)
    tool("arm-none-eabi-gcc", *flags, "-S", source, "-o", assembly)
    text = assembly.read_text()
    assert re.search(r"\bv\w+\.f32\b", text)
    assert not re.search(r"\bvfn?m[as]", text)


def test_every_kernel_of_the_header_is_tested() -> None:
    """With guard bytes around every array, against its definition in NumPy."""
    for module in TESTS:
        import_module(module)
    assert set(kernel_table()) == TESTED


def test_every_set_has_a_machine() -> None:
    assert set(SETS) == set(MACHINES)
