"""docs/adding_a_target.md: its code is that of examples/riscv_target, and all its commands run."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import ok
from exactness import assert_same_memory, product_of
from networks import planned, samples
from refusals import refused
from tutorials import begin, blocks

from l2mu_compile.lowering import lower
from l2mu_compile.network import identifier
from l2mu_compile.plugins import load_plugin
from l2mu_compile.random_networks import random_network
from l2mu_compile.targets.build import open_device
from l2mu_compile.targets.emulated_machine import EmulationError
from l2mu_compile.targets.emulator import Emulator
from l2mu_compile.targets.linking import link_firmware
from l2mu_compile.targets.registry import get_target
from l2mu_compile.targets.toolchain import compile_objects

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples/riscv_target"
PAGE = (ROOT / "docs/adding_a_target.md").read_text(encoding="utf-8")


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the example's files, a model and windows."""
    begin(EXAMPLE, "*.*", tmp_path, monkeypatch)
    return tmp_path


def test_the_code_is_that_of_the_example() -> None:
    files = [path.read_text(encoding="utf-8") for path in EXAMPLE.glob("*.*")]
    assert sorted(blocks(PAGE, "python", "c", "text")) == sorted(files)


def test_the_commands_run(example: Path) -> None:
    (console,) = blocks(PAGE, "console")
    for line in console.splitlines():
        prompt, tool, *arguments = shlex.split(line)
        assert (prompt, tool) == ("$", "l2mu-compile")
        ok(*arguments)
    report = json.loads(Path("out/har/report.json").read_text())
    assert report["target"] == "riscv32imc"
    assert report["verify"]["bit_exact"]
    assert report["verify"]["windows"] == 16
    assert report["verify"]["emulator"] == "unicorn"
    assert report["firmware_decision"] in range(4)
    assert report["instructions_per_step_mean"] > 100
    assert report["stack_bounds"] is None
    assert 0 < report["stack_bytes"] < 1024
    image = Path("out/har/firmware/har.elf").read_bytes()
    assert image[18:20] == (243).to_bytes(2, "little")  # ELF's number for RISC-V


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("quantized", [False, True], ids=["float32", "int8"])
def test_code_for_it_is_bit_exact(example: Path, quantized: bool, seed: int) -> None:
    load_plugin("riscv32imc.py")
    target = get_target("riscv32imc")
    network = planned(random_network(seed), quantized)
    network = network.replace(name=identifier(f"net{seed}"))
    x = samples(network, steps=10)
    product = product_of(network, target, x[0], example)
    program = lower(network)
    device = open_device(program, target, product.image)
    assert_same_memory(network, program, device, x)
    assert device.run_firmware() is not None


def test_a_trap_ends_the_run(example: Path) -> None:
    load_plugin("riscv32imc.py")
    target = get_target("riscv32imc")
    source = Path("bad.c")
    source.write_text('int main(void) { __asm volatile("ecall"); return 0; }\n')
    image = link_firmware(
        target, compile_objects(target, [source], [], example / "o"), example / "a"
    )
    emulator = Emulator(target, image)
    with pytest.raises(EmulationError, match=r"reset: Unhandled CPU exception .* in main"):
        emulator.reset(max_instructions=1000)


def test_an_invalid_instruction_is_no_request(example: Path) -> None:
    load_plugin("riscv32imc.py")
    target = get_target("riscv32imc")
    source = Path("bad.c")
    source.write_text('int main(void) { __asm volatile(".word 0xffffffff"); return 0; }\n')
    image = link_firmware(
        target, compile_objects(target, [source], [], example / "o"), example / "a"
    )
    emulator, asked = Emulator(target, image), []
    emulator.on_breakpoint(lambda: asked.append(1))
    with pytest.raises(EmulationError, match=r"reset stopped by exception 2 .* in main"):
        emulator.reset(max_instructions=1000)
    assert not asked


def test_a_file_that_is_not_there_is_named(example: Path) -> None:
    Path("riscv_main.c").unlink()
    refused(
        2,
        "target 'riscv32imc': no file ",
        "riscv_main.c",
        arguments=("targets", "--plugin", "riscv32imc.py"),
    )


def test_the_record_is_checked() -> None:
    namespace: dict[str, object] = {"__file__": str(EXAMPLE / "riscv32imc.py")}
    exec((EXAMPLE / "riscv32imc.py").read_text(), namespace)
    (target,) = namespace["PLUGIN"]  # type: ignore[misc]
    with pytest.raises(ValueError, match="target 'riscv32imc': firmware needs memory, startup"):
        replace(target, linker_script=None)
