"""``--backend tvm`` on the command line, and without the extra."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import ok, readable, run
from networks import l2mu, samples

from l2mu_compile import load_host_model, load_windows, save_network
from l2mu_compile.interpreter import run as interpreted
from l2mu_compile.network_files import load_network
from l2mu_compile.report import load_report
from l2mu_compile.targets.host import HOST

pytestmark = pytest.mark.usefixtures("terminal")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    network = l2mu(sensors=None)
    save_network(network, tmp_path / "cell.txt")
    np.savez(tmp_path / "windows.npz", x=samples(network, windows=6, steps=20))
    return tmp_path


def test_compile_and_verify(place: Path) -> None:
    pytest.importorskip("tvm", reason="apache-tvm is not installed")
    output, windows = place / "out", place / "windows.npz"
    options = ("--quantize", "int8", "--calibrate", windows, "--backend", "tvm", "-o", output)
    compiled = ok("compile", place / "cell.txt", *options)
    assert "host, int8, built by TVM" in compiled.out
    report = load_report(output / "report.json")
    assert report.backend == "tvm"
    assert report.predicted_instructions_per_step is None
    assert report.stack_bounds is None
    assert {"lib/libcell.so", "lib/README.md", "src/cell_tensors.py", "src/cell_constants.c"} <= {
        artifact.path for artifact in report.artifacts
    }
    notes = (output / "lib/README.md").read_text()
    assert f"a state of {report.state_bytes} bytes; at least " in notes
    assert "@T.prim_func" in (output / "src/cell_tensors.py").read_text()
    verified = ok("verify", output, "--data", windows)
    readable(verified.out.replace(str(place), ""))
    assert "none: these are made by --backend c" in verified.out
    assert "bit-exact: 6 windows x 20 steps" in verified.out
    x = load_windows(windows).x
    expected = interpreted(load_network(output / "network.txt"), x).decisions
    assert load_host_model(output).run(x).tolist() == expected.tolist()
    refused = run("verify", output, "--data", windows, "--emulator", "qemu")
    assert refused.code == 2
    assert "does not run on qemu; leave out --emulator" in refused.err


@pytest.mark.parametrize("target", ["cortex-a53", "cortex-a7"])
def test_code_for_another_machine_runs_on_the_emulator(place: Path, target: str) -> None:
    pytest.importorskip("tvm", reason="apache-tvm is not installed")
    output = place / "out"
    options = ("--quantize", "int8", "--backend", "tvm", "--target", target, "-o", output)
    assert "bit-exact: 4 windows x 50 steps" in ok("compile", place / "cell.txt", *options).out
    report = load_report(output / "report.json")
    assert report.verify is not None
    assert (report.verify.ran_on, report.verify.emulator) == (target, "unicorn")
    assert report.instructions_per_step_mean is not None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--target", "cortex-m4"), "which cortex-m4 has none of; use --backend c"),
        (("--board", "microbit"), "which cortex-m0plus has none of; use --backend c"),
        *(
            (("--artifact", name), f"--artifact {name}: is made of C; use --backend c")
            for name in HOST.artifacts
            if name != "lib"
        ),
        (("--artifact", "firmware"), "target 'host' has no artifact 'firmware'"),
        (("--artifact", "snap"), "unknown artifact 'snap'"),
        (("--window", "20"), "--window 20: --backend tvm makes no streams; use --backend c"),
        (("--hop", "5"), "--hop 5: --backend tvm makes no streams; use --backend c"),
    ],
)
def test_what_it_does_not_make_is_refused(place: Path, options: tuple[str, ...], said: str) -> None:
    pytest.importorskip("tvm", reason="apache-tvm is not installed")
    output = place / "out"
    refused = run("compile", place / "cell.txt", "--backend", "tvm", *options, "-o", output)
    assert refused.code == 2
    assert said in refused.err
    assert not output.exists()


def test_without_the_extra_the_command_that_installs_it_is_named(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tvm", None)
    refused = run("compile", place / "cell.txt", "--backend", "tvm", "-o", place / "out")
    assert refused.code == 2
    assert "pip install 'l2mu-compile[tvm]'" in refused.err
    assert not (place / "out").exists()
