"""The same sources compiled by GCC: without a warning, and bit for bit as interpreted."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from command_line import ok
from exactness import assert_same_memory, kernels_and_memory, multiplying, random_cases, unbuilt
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import cuba, l2mu, lif, narrow, planned, samples
from numpy.typing import NDArray

from l2mu_compile.errors import NoEmulatorError
from l2mu_compile.network import Network
from l2mu_compile.network_files import load_network
from l2mu_compile.neuron_calls import number
from l2mu_compile.neurons import LIF, CuBaLIF
from l2mu_compile.targets.build import open_device, write_sources
from l2mu_compile.targets.firmware import make_firmware
from l2mu_compile.targets.host import HOST
from l2mu_compile.targets.linking import shared_library
from l2mu_compile.targets.record import Target
from l2mu_compile.targets.registry import TARGETS, get_target
from l2mu_compile.targets.toolchain import RUNTIME_DIR

data = st.data()
EXAMPLE = Path(__file__).parents[2] / "examples" / "har_smartwatch"

FLAGS = (
    *("-std=c99", "-O2", "-ffp-contract=off", "-ffunction-sections", "-fdata-sections"),
    *("-Wall", "-Wextra", "-Wconversion", "-Wsign-conversion", "-Wpedantic", "-Werror"),
)
# A core that GCC may not know, and one that executes the same instructions as far as they are used.
STAND_INS = {"cortex-m85": "cortex-m55"}


# ---- GCC's words for what a target's record says -------------------------------------------------


def gcc_for(target: Target) -> str:
    """The name of the GCC that Debian has for such a processor and system."""
    if target.arch == HOST.arch:
        return "gcc"
    if target.arch == "aarch64":
        return "aarch64-linux-gnu-gcc"
    if target.freestanding:
        return "arm-none-eabi-gcc"
    return f"arm-linux-gnueabi{'hf' if float_abi(target) == 'hard' else ''}-gcc"


def core_flags(target: Target) -> list[str]:
    """Processor and calling convention."""
    core, *features = target.cpu.replace("_", "-").split("+")
    if core in ("baseline", "native"):
        return ["-march=native"] if core == "native" else []
    if target.arch != "arm":
        return [f"-mcpu={core}"]
    flags = [f"-mfloat-abi={float_abi(target)}", "-mfpu=auto"]
    flags.append("-mthumb" if target.triple.startswith("thumb") else "-marm")
    if core == "generic":
        version, *extensions = features
        return [*flags, "+".join([f"-march=arm{version[:-1]}-{version[-1]}", *extensions])]
    core = core if knows(gcc_for(target), core) else STAND_INS[core]
    only_integers = "mve" in features and "mve.fp" not in features
    return [*flags, f"-mcpu={core}{'+nomve.fp' if only_integers else ''}"]


def float_abi(target: Target) -> str:
    """How floats are passed: what the flags say, or else the triple."""
    for flag in target.cflags:
        if flag.startswith("-mfloat-abi="):
            return flag.partition("=")[2]
    return "hard" if target.triple.endswith("hf") else "soft"


@cache
def knows(gcc: str, core: str) -> bool:
    command = [gcc, f"-mcpu={core}", "-fsyntax-only", "-xc", "/dev/null"]
    return subprocess.run(command, capture_output=True).returncode == 0


# ---- builds --------------------------------------------------------------------------------------


def need(target: Target) -> None:
    if shutil.which(gcc_for(target)) is None:
        pytest.skip(f"{gcc_for(target)} is not installed")


_kernels: dict[tuple[str, bytes], bytes] = {}  # objects by target and source


def gcc_objects(target: Target, sources: Sequence[Path], folder: Path) -> list[Path]:
    """Every source compiled by GCC; kernels, which are the same for all networks, once a target."""
    folder.mkdir(parents=True)
    objects = [folder / f"{source.stem}.o" for source in sources]
    for source, result in zip(sources, objects, strict=True):
        key = target.name, source.read_bytes()
        if key in _kernels:
            result.write_bytes(_kernels[key])
            continue
        compile_by_gcc(target, source, result)
        if source.name.startswith("l2mu_"):
            _kernels[key] = result.read_bytes()
    return objects


def compile_by_gcc(target: Target, source: Path, result: Path) -> None:
    """A warning is an error."""
    command = [gcc_for(target), *FLAGS, *core_flags(target), "-idirafter", str(RUNTIME_DIR)]
    command += ["-fPIC"] if target.shared else []
    done = subprocess.run(
        [*command, "-c", str(source), "-o", str(result)], capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    assert b"GCC: (" in result.read_bytes()


def check(network: Network, x: NDArray, target: Target, folder: Path) -> None:
    """``network``, compiled by GCC and linked as always, runs windows ``x`` as interpreted."""
    silence = np.zeros_like(x[0])  # the window in the firmware must be finite
    product = unbuilt(network, target, silence, folder)
    product.scratch.mkdir(parents=True)
    sources = write_sources(product.program, product.stamp, product.sources)
    objects = gcc_objects(target, sources, folder / "gcc")
    if target.shared:
        shared_library(target, objects, product.image, exports=product.api())
    else:
        make_firmware(product, objects)
    try:
        device = open_device(product.program, target, product.image)
    except NoEmulatorError as error:
        pytest.skip(str(error))
    assert_same_memory(network, product.program, device, x)


# ---- tests ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TARGETS)
def test_an_l2mu_compiled_by_gcc_runs_as_interpreted(tmp_path: Path, name: str) -> None:
    target = get_target(name)
    need(target)
    for quantized in (False, True):
        for kind in (lif(0.75, 0.5), cuba(0.5, 0.75, 0.5)):
            network = l2mu(lambda _, neuron=kind: neuron)
            x = samples(network, windows=2, steps=20)
            folder = tmp_path / f"{kind.kind}_{quantized}"
            check(planned(network, quantized, x, name), x, target, folder)


@pytest.mark.parametrize("name", TARGETS)
def test_narrow_populations_compiled_by_gcc_run_as_interpreted(tmp_path: Path, name: str) -> None:
    """More neurons than are in one register, some of which spike."""
    target = get_target(name)
    need(target)
    for kind, scalar in product((LIF, CuBaLIF), (True, False)):
        network = kernels_and_memory(narrow(37, "subtract", scalar=scalar, kind=kind), name)
        folder = tmp_path / f"{kind.kind}_{scalar}"
        check(network, samples(network, windows=2, steps=20), target, folder)


@pytest.mark.parametrize("name", ["host", "cortex-a76", "cortex-m55"])
def test_networks_that_multiply_compiled_by_gcc_run_as_interpreted(
    tmp_path: Path, name: str
) -> None:
    target = get_target(name)
    need(target)
    network = multiplying(narrow(37, "subtract", scalar=True), target)
    check(network, samples(network, windows=2, steps=20), target, tmp_path)


@pytest.mark.parametrize("name", TARGETS)
def test_wide_populations_compiled_by_gcc_run_as_interpreted(tmp_path: Path, name: str) -> None:
    """The same with membranes that are too many bits for int16."""
    target = get_target(name)
    need(target)
    network = narrow(37, "subtract", scalar=True, kind=CuBaLIF)
    wide = network.map_populations(lambda p: replace(p, membrane_bits=16))
    assert {number(wide, p) for p in wide.populations} == {"i32"}
    final = kernels_and_memory(wide, name)
    check(final, samples(wide, windows=2, steps=20), target, tmp_path / "wide")


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=2)
@given(data)
def test_random_networks_compiled_by_gcc_run_as_interpreted(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    target = get_target(name)
    need(target)
    for network, x in random_cases(data, 6, name):
        check(network, x, target, tmp_path_factory.mktemp(name))


@pytest.mark.slow
@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("name", ["cortex-m0plus", "cortex-m4f", "cortex-a7", "cortex-a53", "host"])
def test_the_example_compiled_by_gcc_runs_as_interpreted(
    tmp_path: Path, name: str, quantized: bool
) -> None:
    target = get_target(name)
    need(target)
    how = ["--target", name, "--calibrate", EXAMPLE / "calibration.npz"]
    how += ["--quantize", "int8"] if quantized else []
    ok("compile", EXAMPLE / "har.ckpt", *how, "-o", tmp_path / "out")
    network = load_network(tmp_path / "out" / "network.txt")
    x = np.load(EXAMPLE / "heldout.npz")["x"][:3]
    check(network, x, target, tmp_path)
