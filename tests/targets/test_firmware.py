"""Firmware images: they run from reset on the emulator, and go into flash as they should."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from exactness import assert_same_memory, product_of
from networks import l2mu, planned, samples
from numpy.typing import NDArray
from packages import fill_in, recording

from l2mu_compile.errors import ToolchainError
from l2mu_compile.interpreter import run
from l2mu_compile.stream import Stream
from l2mu_compile.targets.build import open_device
from l2mu_compile.targets.devices import EmulatedModel
from l2mu_compile.targets.elf import segments, symbols
from l2mu_compile.targets.emulated_machine import EmulationError
from l2mu_compile.targets.emulator import Emulator
from l2mu_compile.targets.flash_image import flash_contents, intel_hex
from l2mu_compile.targets.linking import link_firmware
from l2mu_compile.targets.product import Product
from l2mu_compile.targets.record import Region, Target
from l2mu_compile.targets.registry import TARGETS, get_target
from l2mu_compile.targets.semihosting import SemihostingHost, decisions
from l2mu_compile.targets.toolchain import RUNTIME_DIR, compile_objects

MICROCONTROLLERS = [name for name, t in TARGETS.items() if "firmware" in t.artifacts]
EMULATED = [name for name in MICROCONTROLLERS if TARGETS[name].emulator is not None]
M4 = get_target("cortex-m4")
MODEL = l2mu(seed=4)  # decides one way and the other
STEPS = 12


@pytest.fixture(scope="module")
def windows() -> NDArray:
    return samples(MODEL, windows=3, steps=STEPS)


@pytest.fixture(scope="module")
def product(windows: NDArray, tmp_path_factory: pytest.TempPathFactory) -> Product:
    return product_of(planned(MODEL, True, windows), M4, windows[0], tmp_path_factory.mktemp("m4"))


# ---- whole runs --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EMULATED)
@pytest.mark.parametrize("quantized", [False, True])
def test_images_run_from_reset_as_interpreted(
    tmp_path: Path, windows: NDArray, name: str, quantized: bool
) -> None:
    """On the window compiled in, then on a file of windows, and function by function."""
    target = get_target(name)
    network = planned(MODEL, quantized, windows, name)
    product = product_of(network, target, windows[1], tmp_path)
    expected = run(network, windows).decisions.tolist()

    device = open_device(product.program, target, product.image)
    assert isinstance(device, EmulatedModel)
    assert device.run_firmware() == expected[1]
    assert_same_memory(network, product.program, device, windows)

    host = host_of(product, f"cell w {STEPS} states", {"w": windows.astype("<f4").tobytes()})
    assert decisions(host.output, 3, host.status) == expected
    states = b"".join(trace.states.tobytes() for trace in device.trace(windows))
    assert host.files["states"] == states


def test_the_stack_reported_is_that_of_the_model_alone(product: Product, windows: NDArray) -> None:
    device = open_device(product.program, M4, product.image)
    list(device.trace(windows))
    before = device.stack_bytes()
    device.run_firmware()
    assert before == device.stack_bytes()
    assert before is not None and 16 < before < 512


class Ran(SemihostingHost):
    status: int


def host_of(product: Product, command_line: str, files: dict[str, bytes]) -> Ran:
    """The image's run with a command line, from reset to its end."""
    emulator = Emulator(product.target, product.image)
    host = Ran(emulator, command_line, files)
    host.status = emulator.reset()
    return host


WINDOW = np.zeros((1, STEPS, 2), "<f4").tobytes()


@pytest.mark.parametrize(
    ("command_line", "message"),
    [
        ("cell w", "usage: WINDOWS STEPS"),
        ("cell w 0", "usage"),
        ("cell w 12x", "usage"),
        ("cell w -1", "usage"),
        ("cell w 1234567890", "usage"),
        ("cell w 999999999", "usage"),
        ("cell w 12 a b c", "usage"),
        ("cell nothing 12", "no file of whole windows: nothing"),
        ("cell empty 12", "no file of whole windows: empty"),
        ("cell w 11", "no file of whole windows: w"),
        ("cell w 13", "no file of whole windows: w"),
    ],
)
def test_bad_command_lines_are_refused(product: Product, command_line: str, message: str) -> None:
    host = host_of(product, command_line, {"w": WINDOW, "empty": b""})
    assert host.status == 1
    assert host.output.startswith(f"cell: {message}")
    assert set(host.files) == {"w", "empty"}


@pytest.mark.parametrize("command_line", ["", "cell", "cell   ", "x" * 300])
def test_without_arguments_the_window_compiled_in_is_classified(
    product: Product, command_line: str, windows: NDArray
) -> None:
    host = host_of(product, command_line, {})
    wanted = run(planned(MODEL, True, windows), windows[:1]).decisions.tolist()
    assert decisions(host.output, 1, host.status) == wanted


def image_of(target: Target, folder: Path, body: str) -> Path:
    """A program with a host, around the body of its main."""
    source = folder / "main.c"
    source.write_text(f'#include "semihosting.h"\nint main(void) {{ {body} }}\n')
    sources = [source, RUNTIME_DIR / "semihosting.c"]
    objects = compile_objects(target, sources, [RUNTIME_DIR], folder)
    return link_firmware(target, objects, folder / "main.elf")


def test_numbers_are_printed_in_full(tmp_path: Path) -> None:
    numbers = [0, 7, 10, 909, 100000, 4294967295]
    calls = "".join(f'semihosting_print_number({n}u); semihosting_print(" ");' for n in numbers)
    emulator = Emulator(M4, image_of(M4, tmp_path, f"{calls} return 0;"))
    host = SemihostingHost(emulator)
    assert emulator.reset() == 0
    assert host.output.split() == list(map(str, numbers))


def test_a_program_may_end_itself(tmp_path: Path) -> None:
    emulator = Emulator(M4, image_of(M4, tmp_path, "semihosting_exit(5);"))
    SemihostingHost(emulator)
    assert emulator.reset() == 5


def test_faults_and_unknown_requests_are_named(tmp_path: Path) -> None:
    unknown = (
        'register int r0 __asm("r0") = 0x99; __asm volatile("bkpt 0xab" : "+r"(r0)); return 0;'
    )
    emulator = Emulator(M4, image_of(M4, tmp_path, unknown))
    SemihostingHost(emulator)
    with pytest.raises(EmulationError, match="unknown semihosting request 0x99"):
        emulator.reset()
    supervisor = Emulator(M4, image_of(M4, tmp_path, '__asm volatile("svc 0"); return 0;'))
    SemihostingHost(supervisor)
    with pytest.raises(EmulationError, match="reset stopped by exception"):
        supervisor.reset()


def test_output_that_is_no_decisions_is_an_error() -> None:
    assert decisions("1\n20\n", 2, 0) == [1, 20]
    for output, count, status in (("1\n", 2, 0), ("x\n", 1, 0), ("", 1, 0), ("1\n", 1, 3)):
        with pytest.raises(EmulationError, match="the program"):
            decisions(output, count, status)


# ---- what is in an image -----------------------------------------------------------------------


@pytest.mark.parametrize("name", MICROCONTROLLERS)
def test_the_board_skeleton_is_a_whole_program(tmp_path: Path, windows: NDArray, name: str) -> None:
    """It links with the library and the start-up code alone, and needs no host."""
    target = get_target(name)
    network, stream = planned(MODEL, True, windows, name), Stream(STEPS, STEPS)
    product = product_of(network, target, windows[0], tmp_path, stream)
    board = product.output / "firmware" / "board_main.c"
    (main,) = compile_objects(target, [board], [product.sources], tmp_path)
    image = link_firmware(target, [main, product.library], tmp_path / "board.elf")
    found = symbols(image)
    assert {"main", "cell_push_raw", "cell_decision", "Reset_Handler"} <= set(found)
    assert not any("semihosting" in symbol for symbol in found)


@pytest.mark.parametrize("stream", [None, Stream(STEPS, STEPS), Stream(STEPS, 5)])
def test_the_board_skeleton_decides_as_interpreted(
    tmp_path: Path, windows: NDArray, stream: Stream | None
) -> None:
    """From the reset vector, with its two functions filled in."""
    network = planned(MODEL, True, windows)
    product = product_of(network, M4, windows[0], tmp_path, stream)
    prints = 'semihosting_print_number((unsigned)label); semihosting_print("\\n");'
    board = product.output / "firmware" / "board_main.c"
    sources = fill_in(board, network, tmp_path / "board", **{"(void)label;": prints})
    sources[0].write_text('#include "semihosting.h"\n' + sources[0].read_text())
    sources.append(RUNTIME_DIR / "semihosting.c")
    sensor = sources[1].read_text().replace("exit(0)", "semihosting_exit(0)")
    sources[1].write_text(sensor.replace("#include <stdlib.h>", '#include "semihosting.h"'))
    objects = compile_objects(M4, sources, [product.sources, RUNTIME_DIR], tmp_path)
    emulator = Emulator(M4, link_firmware(M4, [*objects, product.library], tmp_path / "b.elf"))
    host = SemihostingHost(emulator)
    assert emulator.reset() == 0
    replayed = recording(network).astype(np.float32)
    hop = STEPS if stream is None else stream.hop
    starts = range(0, len(replayed) - STEPS + 1, hop)
    x = np.stack([replayed[start : start + STEPS] for start in starts])
    assert list(map(int, host.output.split())) == run(network, x).decisions.tolist()


@pytest.mark.skipif(not shutil.which("arm-none-eabi-gcc"), reason="no arm-none-eabi-gcc here")
@pytest.mark.parametrize("main", ["firmware_main.c", "board_main.c"])
def test_other_compilers_link_the_shipped_sources_without_a_warning(
    product: Product, main: str, tmp_path: Path
) -> None:
    folder = product.output / "firmware"
    sources = [folder / main, *folder.glob("startup_*.c"), *product.sources.glob("*.c")]
    if main == "firmware_main.c":
        sources.append(folder / "semihosting.c")
    command = ["arm-none-eabi-gcc", "-mcpu=cortex-m4", "-O2", "-std=c99", "-nostartfiles"]
    command += ["-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror", "-Wl,--gc-sections"]
    command += [f"-I{product.sources}", "-T", str(folder / "cell.ld"), *map(str, sources)]
    image = tmp_path / "gcc.elf"
    done = subprocess.run([*command, "-o", image], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if main == "firmware_main.c":
        emulator = Emulator(M4, image)
        host = SemihostingHost(emulator)
        assert emulator.reset() == 0
        assert host.output == host_of(product, "", {}).output != ""


# ---- flash images ------------------------------------------------------------------------------


def read_hex(text: str) -> tuple[dict[int, int], int]:
    """Bytes by address, and where the program starts."""
    memory: dict[int, int] = {}
    upper = start = 0
    *lines, last = text.split("\n")[:-1]
    assert last == ":00000001FF"
    for line in lines:
        assert line[0] == ":"
        record = bytes.fromhex(line[1:])
        assert sum(record) % 256 == 0
        count, address, kind, data = record[0], record[1:3], record[3], record[4:-1]
        assert count == len(data)
        if kind == 4:
            upper = int.from_bytes(data, "big") << 16
        elif kind == 5:
            start = int.from_bytes(data, "big")
        else:
            assert kind == 0
            first = upper + int.from_bytes(address, "big")
            memory |= {first + i: byte for i, byte in enumerate(data)}
    return memory, start


@pytest.mark.parametrize("address", [0, 3, 0x0800_0000, 0x0001_FFF7])
@pytest.mark.parametrize("size", [1, 13, 16, 17, 70_000])
def test_intel_hex_holds_every_byte_once(address: int, size: int) -> None:
    contents = np.random.default_rng(size).bytes(size)
    text = intel_hex(contents, address, address + 1)
    memory, start = read_hex(text)
    assert bytes(memory[address + i] for i in range(size)) == contents
    assert len(memory) == size
    assert start == address + 1
    assert max(map(len, text.split("\n"))) <= 43


@pytest.mark.parametrize("name", ["cortex-m4", "cortex-m33", "cortex-m55"])
def test_flash_images_hold_what_the_elf_file_does(
    tmp_path: Path, windows: NDArray, name: str
) -> None:
    target = get_target(name)
    assert target.memory is not None
    flash = target.memory.flash
    image = product_of(planned(MODEL, True, windows), target, windows[0], tmp_path).image
    contents = image.with_suffix(".bin").read_bytes()
    for stored, _, data in segments(image):
        if stored in flash:
            assert contents[stored - flash.origin :][: len(data)] == data
    stack, start = (int.from_bytes(contents[i : i + 4], "little") for i in (0, 4))
    assert stack == symbols(image)["firmware_stack_top"].address
    assert start == symbols(image)["Reset_Handler"].address | 1
    memory, first = read_hex(image.with_suffix(".hex").read_text())
    assert bytes(memory[flash.origin + i] for i in range(len(contents))) == contents
    assert first == start
    assert image.stat().st_size < 100_000


def test_gaps_in_flash_are_as_if_erased(tmp_path: Path) -> None:
    target = get_target("cortex-m33")
    assert target.memory is not None
    flash = target.memory.flash
    image = image_of(target, tmp_path, "return 0;")
    earlier = flash_contents(image, Region(flash.origin - 16, flash.size))
    assert earlier == b"\xff" * 16 + flash_contents(image, flash)
    with pytest.raises(ToolchainError, match="nothing in the flash at 0x9"):
        flash_contents(image, Region(0x9000_0000, 16))
