"""Code that TVM builds, in its runtime, against the interpreter: all state after every step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exactness import assert_same_memory, kernels_and_memory, random_cases, storing_tiles, thinned
from hypothesis import given, settings
from hypothesis import strategies as st
from maps import convolutional, windows
from networks import (
    chain,
    cuba,
    f32,
    feed_forward,
    i8,
    integer_toy,
    l2mu,
    late_reader,
    li,
    lif,
    narrow,
    planned,
    recurrent,
    samples,
    undecided,
)
from numpy.typing import NDArray

from l2mu_compile.errors import ModelError, NoEmulatorError, ToolchainError, UsageError
from l2mu_compile.grids import GRIDS, Grid
from l2mu_compile.interpreter import run
from l2mu_compile.lowering import lower
from l2mu_compile.network import NARROW_BITS, Network, Readout
from l2mu_compile.neurons import LIF, CuBaLIF
from l2mu_compile.projection import Projection
from l2mu_compile.targets.build import is_native
from l2mu_compile.targets.commands import CommandLog
from l2mu_compile.targets.host import HOST
from l2mu_compile.targets.kernel_sets import parts
from l2mu_compile.targets.kernel_table import kernel_table
from l2mu_compile.targets.record import Target
from l2mu_compile.targets.registry import TARGETS, get_target
from l2mu_compile.targets.tvm_build import (
    link_tensors,
    llvm_target,
    open_tensors,
    tensor_target,
    write_tensors,
)

pytest.importorskip("tvm", reason="apache-tvm is not installed")

PIPELINES = {"float32": False, "int8": True}
PORTABLE = replace(HOST, kernel_sets=("ref",))
OTHERS = [target for target in TARGETS.values() if target.shared and target is not HOST]
data = st.data()


def built(network: Network, folder: Path, target: Target = HOST) -> Any:
    program, library = lower(network), folder / "lib.so"
    prepared = tensor_target(target)
    module = write_tensors(program, ["test"], folder)
    link_tensors(program, prepared, module, folder, library, folder / "objects", CommandLog())
    return open_tensors(program, prepared, library)


def assert_as_interpreted(network: Network, x: NDArray, folder: Path) -> None:
    """Every step, and whole windows."""
    model = built(network, folder)
    assert_same_memory(network, lower(network), model, x)
    assert model.run(x).tolist() == run(network, x).decisions.tolist()


def every_neuron() -> Network:
    """A chain of one population of each kind and reset, with a leaky one at its end."""
    kinds = [lif(0.75, 0.5, reset) for reset in LIF.resets]
    kinds += [cuba(0.5, 0.75, 0.5, reset) for reset in CuBaLIF.resets]
    network = chain(len(kinds) + 1)
    neurons = [*kinds, li()]
    populations = [
        replace(p, neuron=neuron, bias=np.float32([0.25, -0.125, 0.5]))
        for p, neuron in zip(network.populations, neurons, strict=True)
    ]
    readout = Readout(populations[-1].name, "max_membrane")
    return network.replace(populations=tuple(populations), readout=readout)


def convolutional_samples() -> Network:
    return convolutional(spiking=False)


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("make", [late_reader, every_neuron, l2mu], ids=lambda f: f.__name__)
def test_networks_run_as_interpreted(
    make: Callable[[], Network], pipeline: str, tmp_path: Path
) -> None:
    final = planned(make(), PIPELINES[pipeline])
    assert_as_interpreted(final, samples(final, steps=30), tmp_path)


@pytest.mark.parametrize("kind", [LIF, CuBaLIF], ids=lambda kind: kind.kind)
def test_narrow_accumulators_run_as_interpreted(kind: type, tmp_path: Path) -> None:
    network = kernels_and_memory(narrow(9, "subtract_first", scalar=False, kind=kind))
    assert any(b.ctype == "int16_t" for b in network.buffers)
    assert_as_interpreted(network, 8 * samples(network, steps=20), tmp_path)


@pytest.mark.parametrize("rule", ["last_membrane", "mean_membrane"])
def test_wide_accumulators_and_other_scores_run_as_interpreted(rule: str, tmp_path: Path) -> None:
    toy = undecided(integer_toy())
    network = kernels_and_memory(toy.replace(readout=replace(toy.readout, rule=rule)))
    assert any(b.ctype == "int32_t" and b.name == "h_membrane" for b in network.buffers)
    assert_as_interpreted(network, samples(network), tmp_path)


@pytest.mark.parametrize("tile", [1, 4, 8])
def test_tiles_run_as_interpreted(tile: int, tmp_path: Path) -> None:
    network = narrow(17, "subtract", scalar=True)
    final = storing_tiles(thinned(network, np.random.default_rng(tile)), PORTABLE, tile)
    assert any(f"sparse{tile}" in str(p.kernel) for p in final.projections)
    assert_as_interpreted(final, 8 * samples(final, steps=20), tmp_path)


@pytest.mark.parametrize("bits", [16, NARROW_BITS], ids=["int32", "int16"])
@pytest.mark.parametrize("grid", GRIDS.values(), ids=lambda grid: grid.name)
def test_packed_weights_run_as_interpreted(grid: Grid, bits: int, tmp_path: Path) -> None:
    """Every multiple of a quantum, and rows that end within a byte."""
    rng = np.random.default_rng(7)

    def pack(p: Projection) -> Projection:
        if p.blocks or p.source == "x":
            return p
        targets, sources = p.shape
        quantum = rng.integers(1, 127 // max(map(abs, grid.multiples)) + 1, targets)
        weight = np.resize(grid.multiples, (targets, sources)) * quantum[:, None]
        return replace(p, weight=i8(weight), quantum=np.int32(quantum), grid=grid.name)

    network = narrow(17, "subtract", scalar=True).map_projections(pack)
    final = kernels_and_memory(network.map_populations(lambda p: replace(p, membrane_bits=bits)))
    kernels = {str(p.kernel) for p in final.projections}
    sums = "i16" if bits == NARROW_BITS else "i32"
    assert f"accumulate_dense_{grid.numbers}_{sums}" in kernels, kernels
    assert_as_interpreted(final, 8 * samples(final, steps=20), tmp_path)


@pytest.mark.parametrize("spiking", [True, False], ids=["spikes", "samples"])
@pytest.mark.parametrize("pipeline", PIPELINES)
def test_convolutions_run_as_interpreted(pipeline: str, spiking: bool, tmp_path: Path) -> None:
    final = planned(convolutional(spiking), PIPELINES[pipeline])
    x = windows(spiking)
    assert run(final, x, ("spikes",)).spikes["b"].any()
    assert_as_interpreted(final, x, tmp_path)


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_raw_counts_run_as_interpreted(pipeline: str, tmp_path: Path) -> None:
    final = planned(l2mu(), PIPELINES[pipeline])
    counts = np.random.default_rng(3).integers(-(2**15), 2**15, (2, 15, 2)).astype(np.int16)
    counts[0] //= 2**12
    assert_as_interpreted(final, counts, tmp_path)


def test_a_window_ends_when_it_is_decided(tmp_path: Path) -> None:
    network = recurrent().replace(readout=Readout("out", margins=(2, 1)))
    final = planned(network, quantized=True)
    x = 4 * samples(final, windows=4, steps=25)
    assert run(final, x).needed.min() < 25
    assert_as_interpreted(final, x, tmp_path)


def test_what_is_no_number_is_as_interpreted(tmp_path: Path) -> None:
    final = planned(recurrent(), quantized=True)
    x = samples(final)
    x[0, 1:4, 0] = np.nan, np.inf, -np.inf
    x[1] = np.where(np.abs(x[1]) > 1, np.float32(3e38), np.float32(1e-45))
    assert_as_interpreted(final, x, tmp_path)


@pytest.mark.slow
@settings(max_examples=3)
@given(data)
def test_random_networks_run_as_interpreted(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    for network, x in random_cases(data, 3):
        model = built(network, tmp_path_factory.mktemp("random"))
        assert_same_memory(network, lower(network), model, x)


# ---- other machines ------------------------------------------------------------------------------


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("target", OTHERS, ids=lambda target: target.name)
def test_every_machine_runs_it_as_interpreted(
    target: Target, pipeline: str, tmp_path: Path
) -> None:
    """With so many neurons that TVM by itself would not list their spikes on the stack."""
    final = planned(l2mu(hidden=600), PIPELINES[pipeline])
    if target.emulator is None and not is_native(target):
        pytest.skip(f"nothing here runs code for {target.name}")
    model = built(final, tmp_path, target)
    x = samples(final, windows=2, steps=10)
    assert_same_memory(final, lower(final), model, x)
    counts = (8 * x).astype(np.int16)
    assert_same_memory(final, lower(final), model, counts)


@pytest.mark.parametrize("make", [every_neuron, convolutional_samples], ids=lambda f: f.__name__)
@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("name", ["cortex-a7", "cortex-a53"])
def test_all_kernels_run_as_interpreted_on_arm(
    name: str, pipeline: str, make: Callable[[], Network], tmp_path: Path
) -> None:
    final = planned(make(), PIPELINES[pipeline])
    x = samples(final, windows=1, steps=10)
    assert_same_memory(final, lower(final), built(final, tmp_path, get_target(name)), x)


def test_lists_of_spikes_may_be_long(tmp_path: Path) -> None:
    """40,000 neurons on the stack."""
    size = 40_000
    neurons = feed_forward().populations[0]
    network = feed_forward().replace(
        populations=(replace(neurons, shape=(size,)), replace(neurons, name="out", shape=(2,))),
        projections=(
            Projection("x", "h", f32(np.ones((size, 2)))),
            Projection("h", "out", f32(np.ones((2, size)) / size)),
        ),
    )
    final = planned(network)
    model = built(final, tmp_path, get_target("cortex-a53"))
    assert_same_memory(final, lower(final), model, samples(final, windows=1, steps=3))
    assert 2 * size < model.stack_bytes() < 3 * size


@pytest.mark.slow
@settings(max_examples=3)
@given(data)
@pytest.mark.parametrize("name", ["cortex-a7", "cortex-a53", "android-armeabi-v7a"])
def test_random_networks_run_as_interpreted_on_arm(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    for network, x in random_cases(data, 3):
        model = built(network, tmp_path_factory.mktemp("random"), get_target(name))
        assert_same_memory(network, lower(network), model, x)


# ---- what is refused -----------------------------------------------------------------------------


def test_every_portable_kernel_has_a_version_in_tensorir() -> None:
    """But for those that save and restore a state, which is the caller's own tensors."""
    from l2mu_compile.targets.tvm_kernels import kernels

    portable = {name for name in kernel_table() if parts(name)[2] == "ref"}
    assert kernels().keys() == portable - {"l2mu_save_state", "l2mu_restore_state"}


def test_kernels_for_a_processor_are_refused_by_name(tmp_path: Path) -> None:
    final = planned(l2mu(), quantized=True, target="cortex-m4")
    with pytest.raises(ModelError, match=r"l2mu_\w+_dsp has no TensorIR version"):
        write_tensors(lower(final), [], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_every_target_is_known_to_llvm_or_refused() -> None:
    taken = set()
    for target in TARGETS.values():
        if target.shared:
            assert llvm_target(target)["kind"] == "llvm"
            taken.add(target.name)
        else:
            with pytest.raises(UsageError, match=f"which {target.name} has none of"):
                tensor_target(target)
    assert {"host", "cortex-a7", "cortex-a53", "android-arm64-v8a"} <= taken


def test_a_processor_that_llvm_does_not_know_is_refused() -> None:
    for target in (HOST, get_target("cortex-a53")):
        with pytest.raises(UsageError, match="knows no processor cortex-a9999; use --backend c"):
            llvm_target(replace(target, cpu="cortex_a9999"))


def test_the_code_is_for_the_processor_that_is_asked_for() -> None:
    host = llvm_target(HOST)
    assert host["mcpu"] not in ("native", "generic")
    assert llvm_target(replace(HOST, cpu="x86_64_v3+avx512f")) == {
        **host,
        "mcpu": "x86-64-v3",
        "mattr": ["+avx512f"],
    }


def test_features_of_a_processor_are_llvms() -> None:
    target = replace(get_target("cortex-a53"), cpu="cortex_a76+dotprod-fullfp16")
    assert llvm_target(target) == {
        "kind": "llvm",
        "mtriple": "aarch64-unknown-linux-musl",
        "mcpu": "cortex-a76",
        "mattr": ["+dotprod", "-fullfp16"],
        "vector-width": 128,
    }


def test_other_machines_code_and_emulators_are_refused(tmp_path: Path) -> None:
    program = lower(planned(feed_forward()))
    other = replace(get_target("cortex-a53"), emulator=None)
    with pytest.raises(NoEmulatorError, match="runs no code for cortex-a53"):
        open_tensors(program, other, tmp_path / "lib.so")
    for target, emulator in ((HOST, "qemu"), (HOST, "unicorn"), (get_target("cortex-a7"), "qemu")):
        with pytest.raises(UsageError, match="leave out --emulator"):
            open_tensors(program, target, tmp_path / "lib.so", emulator)
    (tmp_path / "lib.so").write_bytes(b"no library")
    with pytest.raises(ToolchainError, match=r"cannot load .*lib\.so"):
        open_tensors(program, HOST, tmp_path / "lib.so")
