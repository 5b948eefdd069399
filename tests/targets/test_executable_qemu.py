"""The static executable of every Cortex-A, under QEMU, bit for bit."""

from __future__ import annotations

import shutil
from pathlib import Path

import command_line
import pytest
from exactness import assert_same_memory
from executables import MODEL, WINDOWS, compiled

from l2mu_compile.errors import UsageError
from l2mu_compile.lowering import lower
from l2mu_compile.network import Network
from l2mu_compile.network_files import load_network, save_network
from l2mu_compile.report import Report
from l2mu_compile.targets.build import open_device
from l2mu_compile.targets.product import executable_path
from l2mu_compile.targets.record import Target
from l2mu_compile.targets.registry import TARGETS, get_target

EXAMPLE = Path(__file__).parents[2] / "examples/har_smartwatch"
LINUX = [name for name, t in TARGETS.items() if "executable" in t.artifacts and t.qemu]


def needs_qemu(target: Target) -> None:
    assert target.qemu is not None
    if shutil.which(target.qemu.program) is None:
        pytest.skip(f"{target.qemu.program} is not installed")


@pytest.mark.parametrize("numbers", ["none", "int8"])
@pytest.mark.parametrize("name", LINUX)
def test_every_executable_runs_as_interpreted(tmp_path: Path, name: str, numbers: str) -> None:
    target = get_target(name)
    needs_qemu(target)
    out = compiled(tmp_path, name, numbers)
    network = load_network(out / "network.txt")
    program = lower(network)
    device = open_device(program, target, executable_path(program, out), "qemu")
    assert_same_memory(network, program, device, WINDOWS)
    report = command_line.ok(
        "verify", out, "--data", tmp_path / "windows.npz", "--emulator", "qemu", "--json"
    )
    verified = Report.model_validate(report.json).verify
    assert verified is not None and verified.bit_exact
    assert target.qemu is not None and verified.emulator == target.qemu.program
    content = (out / "executable" / "cell").read_bytes()
    assert len(content) < 200_000
    assert str(tmp_path).encode() not in content


@pytest.mark.slow
@pytest.mark.parametrize("numbers", ["none", "int8"])
@pytest.mark.parametrize("name", LINUX)
def test_the_example_runs_everywhere(
    tmp_path: Path, example: Path, name: str, numbers: str
) -> None:
    needs_qemu(get_target(name))
    out, calibration = tmp_path / "out", EXAMPLE / "calibration.npz"
    how = ("--target", name, "--quantize", numbers, "--calibrate", calibration)
    packages = ("--artifact", "executable", "-o", out)
    command_line.ok("compile", example, *how, *packages)
    check = ("--data", EXAMPLE / "heldout.npz", "--windows", 16, "--emulator", "qemu")
    report = Report.model_validate(command_line.ok("verify", out, *check, "--json").json)
    assert report.verify is not None and report.verify.bit_exact


def test_qemu_needs_the_executable(tmp_path: Path) -> None:
    target = get_target("cortex-a7")
    needs_qemu(target)
    with pytest.raises(UsageError, match="compile with --artifact executable"):
        open_device(lower(load_final(tmp_path)), target, tmp_path / "none", "qemu")


def load_final(folder: Path) -> Network:
    save_network(MODEL, folder / "cell.txt")
    passes = ("-p", "fold-input,select-kernels,plan-memory", "--target", "cortex-a7")
    command_line.ok("opt", folder / "cell.txt", *passes, "-o", folder / "final.txt")
    return load_network(folder / "final.txt")
