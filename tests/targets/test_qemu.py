"""Whole firmware images on the boards QEMU emulates, bit for bit, and how they fail."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import command_line
import numpy as np
import pytest
from exactness import assert_same_memory, product_of, random_cases
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import l2mu, planned, recurrent, samples

from l2mu_compile import processes
from l2mu_compile.errors import NoEmulatorError, UsageError
from l2mu_compile.frontend import load_model
from l2mu_compile.interpreter import run
from l2mu_compile.lowering import lower
from l2mu_compile.network import Input, Network, Population, Readout
from l2mu_compile.network_files import save_network
from l2mu_compile.projection import Projection
from l2mu_compile.report import Report
from l2mu_compile.targets import qemu
from l2mu_compile.targets.build import open_device
from l2mu_compile.targets.cortex_m import KIB
from l2mu_compile.targets.devices import EmulatedModel
from l2mu_compile.targets.emit_c import state_bytes
from l2mu_compile.targets.emulated_machine import EmulationError
from l2mu_compile.targets.firmware import firmware_use
from l2mu_compile.targets.linking import link_firmware
from l2mu_compile.targets.product import Product
from l2mu_compile.targets.qemu import QemuFirmware, instructions_of
from l2mu_compile.targets.record import Memory, Qemu, Region, Target
from l2mu_compile.targets.registry import TARGETS, get_target
from l2mu_compile.targets.toolchain import RUNTIME_DIR, compile_objects
from l2mu_compile.windows import load_windows

EXAMPLE = Path(__file__).parents[2] / "examples/har_smartwatch"
MICROCONTROLLERS = [name for name, t in TARGETS.items() if "firmware" in t.artifacts]
COUNTED_BY_BOTH = [name for name in MICROCONTROLLERS if TARGETS[name].emulator is not None]
# The smallest board: a Cortex-M0 with 16 KiB of RAM, which runs Cortex-M0+ code.
MICROBIT = replace(
    get_target("cortex-m0plus"),
    name="microbit",
    memory=Memory(Region(0, 256 * KIB), Region(0x2000_0000, 16 * KIB), stack_bytes=4 * KIB),
    qemu=Qemu("qemu-system-arm", ("-M", "microbit")),
)
MODEL = l2mu(seed=4)  # decides one way and the other
data = st.data()

needs_qemu = pytest.mark.skipif(
    shutil.which("qemu-system-arm") is None, reason="qemu-system-arm is not installed"
)


def check(network: Network, x: np.ndarray, target: Target, folder: Path) -> None:
    """The image's run on all windows of ``x``, and the one that was compiled in."""
    finite = np.where(np.isfinite(x[-1]), x[-1], np.float32(0))
    product = product_of(network, target, finite, folder)
    device = open_device(product.program, target, product.image, "qemu")
    assert device.emulator == "qemu-system-arm"
    assert_same_memory(network, product.program, device, x)
    assert device.run_firmware() == run(network, finite[None]).decisions[0]


# ---- bit for bit -------------------------------------------------------------------------------


@needs_qemu
@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("name", MICROCONTROLLERS)
def test_every_microcontroller_runs_on_its_board_as_interpreted(
    tmp_path: Path, name: str, quantized: bool
) -> None:
    x = samples(MODEL, windows=4, steps=25)
    check(planned(MODEL, quantized, x, name), x, get_target(name), tmp_path)


@needs_qemu
@pytest.mark.parametrize("quantized", [False, True])
def test_a_board_is_its_memory_and_its_machine(tmp_path: Path, quantized: bool) -> None:
    x = samples(MODEL, windows=4, steps=25)
    check(planned(MODEL, quantized, x, "cortex-m0plus"), x, MICROBIT, tmp_path)


@needs_qemu
@pytest.mark.parametrize("name", ["cortex-m0plus", "cortex-m55"])
def test_the_command_of_its_readme_runs_it(tmp_path: Path, name: str) -> None:
    x = samples(MODEL, windows=3, steps=9)
    network = planned(MODEL, True, x, name)
    product = product_of(network, get_target(name), x[0], tmp_path)
    folder = product.output / "firmware"
    x.astype("<f4").tofile(folder / "windows.bin")
    quoted = firmware_use(product).split("`")[1::2]
    (command,) = (text for text in quoted if text.startswith("qemu-system-arm"))
    (more,) = (text for text in quoted if text.startswith(",arg="))
    expected = run(network, x).decisions.tolist()
    for text, wanted in (
        (command, expected[:1]),
        (command.replace(",arg=cell", f",arg=cell{more}"), expected),
    ):
        done = subprocess.run(
            shlex.split(text), cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=60
        )
        assert done.returncode == 0
        # Where QEMU shows what a program prints differs between its versions.
        assert list(map(int, (done.stdout + done.stderr).split())) == wanted


@needs_qemu
@settings(max_examples=2)
@given(data)
def test_random_networks_run_on_a_board_as_interpreted(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    for network, x in random_cases(data, 3, "cortex-m55"):
        check(network, x, get_target("cortex-m55"), tmp_path_factory.mktemp("m55"))


@needs_qemu
@pytest.mark.slow
@pytest.mark.parametrize("name", MICROCONTROLLERS)
@settings(max_examples=2)
@given(data)
def test_many_random_networks_run_on_boards_as_interpreted(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    for network, x in random_cases(data, 4, name):
        check(network, x, get_target(name), tmp_path_factory.mktemp(name))


@needs_qemu
@pytest.mark.slow
@pytest.mark.parametrize("numbers", ["none", "int8"])
@pytest.mark.parametrize("name", MICROCONTROLLERS)
def test_the_example_runs_on_every_board(
    tmp_path: Path, example: Path, name: str, numbers: str
) -> None:
    out, calibration = tmp_path / "out", EXAMPLE / "calibration.npz"
    how = ("--target", name, "--quantize", numbers, "--calibrate", calibration)
    command_line.ok("compile", example, *how, "-o", out)
    check = ("--data", EXAMPLE / "heldout.npz", "--windows", 8, "--emulator", "qemu")
    report = Report.model_validate(command_line.ok("verify", out, *check, "--json").json)
    assert report.verify is not None
    assert report.verify.bit_exact
    assert report.verify.emulator == "qemu-system-arm"
    assert (report.verify.windows, report.verify.steps) == (8, 100)


# ---- counts ------------------------------------------------------------------------------------


def counted_by_both(network: Network, x: np.ndarray, target: Target, folder: Path) -> list[int]:
    """Instructions of every step on the board, which must be those the emulator counts."""
    product = product_of(network, target, x[0], folder)
    size = state_bytes(product.program)
    board = QemuFirmware(target, product.image, size, count_instructions=True)
    emulator = EmulatedModel(target, product.image, product.name, x.shape[2], size)
    counted, expected = (
        [n for trace in device.trace(x) for n in trace.instructions] for device in (board, emulator)
    )
    assert counted == expected
    return counted


@needs_qemu
@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("name", COUNTED_BY_BOTH)
def test_board_and_emulator_count_the_same_instructions(
    tmp_path: Path, name: str, quantized: bool
) -> None:
    x = samples(MODEL, windows=3, steps=30)
    counts = counted_by_both(planned(MODEL, quantized, x, name), x, get_target(name), tmp_path)
    assert len(counts) == 90
    assert len(set(counts)) > 5


@needs_qemu
@pytest.mark.slow
@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("name", ["cortex-m4", "cortex-m33"])
def test_the_examples_instructions_are_the_same_on_both(
    tmp_path: Path, name: str, quantized: bool
) -> None:
    calibration, held_out = (
        load_windows(EXAMPLE / f"{n}.npz").x for n in ("calibration", "heldout")
    )
    network = planned(load_model(EXAMPLE / "har.ckpt").network, quantized, calibration, name)
    counts = counted_by_both(network, held_out[::170], get_target(name), tmp_path)
    assert len(counts) == 300
    assert len(set(counts)) > 250


@needs_qemu
@pytest.mark.parametrize("quantized", [False, True])
def test_the_board_of_a_cortex_m55_counts_as_an_emulated_cortex_m4(
    tmp_path: Path, quantized: bool
) -> None:
    """The same image, since a Cortex-M55 runs a Cortex-M4's code."""
    x = samples(MODEL, windows=3, steps=30)
    board = get_target("cortex-m55")
    target = replace(get_target("cortex-m4"), memory=board.memory, qemu=board.qemu)
    assert len(counted_by_both(planned(MODEL, quantized, x), x, target, tmp_path)) == 90


@needs_qemu
def test_what_only_boards_run_is_counted_there(tmp_path: Path) -> None:
    """Counts do not depend on the run, and are of the same order as another core's."""
    x = samples(MODEL, windows=2, steps=10)
    means = {}
    for name in ("cortex-m4", "cortex-m55", "cortex-m85"):
        target = get_target(name)
        product = product_of(planned(MODEL, True, x, name), target, x[0], tmp_path / name)
        first, second = (
            [t.instructions for t in open_device(product.program, target, product.image).trace(x)]
            for _ in range(2)
        )
        assert first == second
        assert [len(counts) for counts in first] == [10, 10]
        means[name] = np.mean(first)
    assert 0.3 < means["cortex-m55"] / means["cortex-m4"] < 1.3
    assert 0.3 < means["cortex-m85"] / means["cortex-m4"] < 1.3


def test_ticks_tell_instructions_or_nothing() -> None:
    clock = 25_000_000
    wanted = np.arange(1, 5000)
    for lost in (-0.99, 0, 0.99):
        exact = wanted * (clock << qemu.ICOUNT_SHIFT) / 1e9
        ticks = np.trunc(np.maximum(exact + lost, 0)).astype(np.uint32)
        if lost < 0:
            ticks = np.ceil(exact + lost).astype(np.uint32)
        assert instructions_of(ticks, clock).tolist() == wanted.tolist()
    with pytest.raises(EmulationError, match="does not run at 24000000 Hz"):
        instructions_of(np.trunc(exact).astype(np.uint32), 24_000_000)
    with pytest.raises(EmulationError, match="does not run at 8000000 Hz"):
        instructions_of(np.array([1], np.uint32), 8_000_000)


@needs_qemu
def test_a_wrong_clock_is_noticed(tmp_path: Path) -> None:
    x = samples(MODEL, windows=1, steps=30)
    target = replace(get_target("cortex-m4"), qemu=Qemu("qemu-system-arm", ("-M", "mps2-an386"), 1))
    product = product_of(planned(MODEL, True, x), target, x[0], tmp_path)
    wrong = replace(target, qemu=replace(target.qemu, clock_hz=26_000_000))
    device = QemuFirmware(
        wrong, product.image, state_bytes(product.program), count_instructions=True
    )
    with pytest.raises(EmulationError, match="does not run at 26000000 Hz"):
        list(device.trace(x))


@needs_qemu
@pytest.mark.slow
def test_steps_too_long_for_the_timer_are_not_counted(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    size, lif = 400, MODEL.populations[0].neuron
    weight = rng.normal(size=(size, size)).astype(np.float32)
    out = Projection("h", "out", weight[:2])
    network = Network(
        "lengthy",
        Input("x", size),
        (Population("h", (size,), lif), Population("out", (2,), lif)),
        (Projection("x", "h", weight), out),
        Readout("out"),
    )
    target = get_target("cortex-m0plus")
    final = planned(network, target="cortex-m0plus")
    x = samples(network, windows=1, steps=2)
    product = product_of(final, target, x[0], tmp_path)
    device = QemuFirmware(
        target, product.image, state_bytes(product.program), count_instructions=True
    )
    assert [trace.instructions for trace in device.trace(x)] == [()]
    assert_same_memory(final, product.program, device, x)


# ---- when it does not work ---------------------------------------------------------------------


@pytest.fixture
def compiled(tmp_path: Path) -> tuple[Product, np.ndarray]:
    x = samples(recurrent(), windows=1, steps=3)
    target = get_target("cortex-m55")
    return product_of(planned(recurrent(), True, x), target, x[0], tmp_path), x


def without_qemu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))


def test_a_missing_program_says_what_to_install(
    compiled: tuple[Product, np.ndarray], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without_qemu(monkeypatch, tmp_path)
    product, _ = compiled
    with pytest.raises(NoEmulatorError, match="qemu-system-arm is not installed") as caught:
        open_device(product.program, product.target, product.image)
    assert caught.value.exit_code == 6


def test_without_qemu_code_is_built_and_said_not_to_have_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without_qemu(monkeypatch, tmp_path)
    save_network(MODEL, tmp_path / "cell.txt")
    out, windows = tmp_path / "out", tmp_path / "windows.npz"
    np.savez(windows, x=samples(MODEL, windows=2, steps=5))
    arguments = ("--target", "cortex-m55", "--calibrate", windows, "-o", out, "--json")
    built = command_line.ok("compile", tmp_path / "cell.txt", *arguments)
    report = Report.model_validate(built.json)
    assert report.verify is None
    assert report.instructions_per_step_mean is None
    assert report.synaptic_operations_per_step > 0
    assert "built but not run: qemu-system-arm is not installed" in report.notes[-1]
    assert (out / "firmware" / "cell.elf").is_file()
    failed = command_line.run("verify", out, "--data", windows)
    assert failed.code == 6
    assert "qemu-system-arm is not installed" in failed.err


@pytest.mark.parametrize(
    ("name", "emulator", "message"),
    [
        ("cortex-m55", "unicorn", "unicorn does not run code for cortex-m55"),
        ("host", "unicorn", "unicorn does not run code for host"),
        ("host", "qemu", "QEMU does not run code for host"),
        ("android-arm64-v8a", "qemu", "QEMU does not run code for android-arm64-v8a"),
    ],
)
def test_emulators_that_do_not_fit_are_refused(name: str, emulator: str, message: str) -> None:
    program = lower(planned(recurrent()))
    with pytest.raises(UsageError, match=message):
        open_device(program, get_target(name), Path("nowhere"), emulator)


def device_of(target: Target, folder: Path, body: str) -> QemuFirmware:
    """A program that is not the one a device expects."""
    source = folder / "main.c"
    source.write_text(f'#include "semihosting.h"\nint main(void) {{ {body} }}\n')
    sources = [source, RUNTIME_DIR / "semihosting.c"]
    objects = compile_objects(target, sources, [RUNTIME_DIR], folder)
    return QemuFirmware(target, link_firmware(target, objects, folder / "main.elf"), 8)


WINDOW = np.zeros((1, 2, 2), np.float32)


@needs_qemu
@pytest.mark.parametrize("name", ["cortex-m0plus", "cortex-m33", "cortex-m55"])
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 7;", "ended with status 7"),
        ('__asm volatile("udf #0"); return 0;', "status 3: firmware stopped by exception 3"),
        ("return 0;", "printed no 1 decisions"),
        ('semihosting_print("0\\n"); return 0;', "wrote 0 bytes of states, not 16"),
    ],
)
def test_programs_that_fail_are_named(tmp_path: Path, name: str, body: str, message: str) -> None:
    device = device_of(get_target(name), tmp_path, body)
    with pytest.raises(EmulationError, match=message):
        list(device.trace(WINDOW))


@needs_qemu
def test_images_that_do_not_start_are_named(tmp_path: Path) -> None:
    target = get_target("cortex-m4")
    good = device_of(target, tmp_path, "return 0;")
    image = tmp_path / "main.elf"
    content = image.read_bytes()
    image.write_bytes(content[:0x1000] + bytes(64) + content[0x1040:])  # no vectors
    with pytest.raises(EmulationError, match="qemu-system-arm"):
        list(good.trace(WINDOW))
    image.write_bytes(b"not an image")
    with pytest.raises(EmulationError, match="qemu-system-arm"):
        list(good.trace(WINDOW))


@needs_qemu
@pytest.mark.parametrize("size", ["16k", "1m"])
def test_a_full_temporary_directory_is_no_fault_of_the_code(tmp_path: Path, size: str) -> None:
    """Too small for the image, and for what the program writes."""
    new_file_system = ["unshare", "--map-root-user", "--mount"]
    if subprocess.run([*new_file_system, "true"], capture_output=True).returncode != 0:
        pytest.skip("no file system can be mounted here")
    x = samples(MODEL, windows=2, steps=6000)
    save_network(MODEL, tmp_path / "cell.txt")
    np.savez(tmp_path / "windows.npz", x=x)
    out, small = tmp_path / "out", tmp_path / "small"
    command_line.ok("compile", tmp_path / "cell.txt", "--target", "cortex-m4", "-o", out)
    small.mkdir()
    verify = ["verify", out, "--data", tmp_path / "windows.npz", "--emulator", "qemu"]
    words = shlex.join(map(str, [sys.executable, "-m", "l2mu_compile.cli", *verify]))
    script = f"mount -t tmpfs -o size={size} none {shlex.quote(str(small))} && {words}"
    done = subprocess.run(
        [*new_file_system, "sh", "-c", script],
        env=os.environ | {"TMPDIR": str(small)},
        capture_output=True,
        text=True,
    )
    assert "cannot write temporary files: No space left on device" in done.stderr
    assert done.returncode == 6


@needs_qemu
def test_programs_that_do_not_end_are_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "TIMEOUT_SECONDS", 1)
    device = device_of(get_target("cortex-m4"), tmp_path, 'for (;;) { __asm volatile(""); }')
    with pytest.raises(EmulationError, match="did not end in 1 seconds"):
        list(device.trace(WINDOW))


@needs_qemu
def test_windows_are_run_in_batches_of_bounded_size(
    compiled: tuple[Product, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    product, _ = compiled
    x = samples(recurrent(), windows=5, steps=3)
    device = open_device(product.program, product.target, product.image)
    whole = list(device.trace(x))
    monkeypatch.setattr(qemu, "BATCH_BYTES", 2 * 3 * state_bytes(product.program))
    parts = list(device.trace(x))
    assert [t.decision for t in parts] == [t.decision for t in whole]
    assert all((a.states == b.states).all() for a, b in zip(parts, whole, strict=True))
    assert not isinstance(device, EmulatedModel)
