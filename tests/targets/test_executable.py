"""The static executable on this machine, and what it makes of hostile files."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import command_line
import numpy as np
import pytest
from executables import CLASSES, INPUTS, ONE, STEPS, WINDOWS, compiled, csv, header, mutated, npy
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import l2mu
from numpy.typing import NDArray

from l2mu_compile.compiled import load_host_model
from l2mu_compile.interpreter import run
from l2mu_compile.lowering import lower
from l2mu_compile.network import Network
from l2mu_compile.network_files import load_network, save_network
from l2mu_compile.report import Report
from l2mu_compile.targets.emit_c import emit_c
from l2mu_compile.targets.registry import get_target
from l2mu_compile.targets.toolchain import RUNTIME_DIR

SOURCES = [RUNTIME_DIR / name for name in ("executable_main.c", "sample_reader.c")]

needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler 'cc' here")
needs_executable = pytest.mark.skipif(
    "executable" not in get_target("host").artifacts, reason="no executable for this machine"
)


@dataclass
class Host:
    """An executable for this machine, and the network in it."""

    program: Path
    network: Network

    def run(self, *arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        command = [str(self.program), *map(str, arguments)]
        return subprocess.run(command, input=stdin, capture_output=True, timeout=60)

    def decisions(self, *arguments: str | Path, stdin: bytes = b"") -> list[int]:
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, done.stderr
        assert done.stderr == b""
        return [int(line) for line in done.stdout.split()]

    def states(self, content: bytes, folder: Path) -> bytes:
        """The state after every step."""
        self.decisions("--states", folder / "states", stdin=content)
        return (folder / "states").read_bytes()

    def library_states(self, x: NDArray) -> bytes:
        """The same of the library beside it."""
        model = load_host_model(self.program.parents[1])
        return b"".join(trace.states.tobytes() for trace in model.trace(x))

    def refused(self, *arguments: str | Path, stdin: bytes = b"") -> str:
        """What it says when it refuses its input: one line."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 2
        text = done.stderr.decode("ascii")
        assert text.endswith("\n") and text[:-1].isprintable()
        return text


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    out = compiled(tmp_path_factory.mktemp("host"), "host")
    return Host(out / "executable" / "cell", load_network(out / "network.txt"))


@pytest.fixture(scope="module")
def wanted(host: Host) -> list[int]:
    return run(host.network, WINDOWS).decisions.tolist()


@needs_executable
def test_its_directory_is_complete(host: Host) -> None:
    folder = host.program.parent
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["LICENSE", "README.md", "cell", "report.json"]
    report = Report.model_validate(json.loads((folder / "report.json").read_text()))
    assert report.verify is not None and report.verify.bit_exact
    readme = (folder / "README.md").read_text()
    assert str(host.program.stat().st_size) in readme
    assert f"[windows, steps, {INPUTS}]" in readme
    assert len(readme.splitlines()) <= 16
    assert "bit-exact on host, 4 windows of 7 steps" in " ".join(readme.split())
    terms = (folder / "LICENSE").read_text()
    for words in ("SPDX-License-Identifier: Apache-2.0", "owns that model", "Rich Felker"):
        assert words in terms


@needs_executable
def test_it_is_the_same_wherever_it_is_built(host: Host, tmp_path: Path) -> None:
    other = compiled(tmp_path, "host") / "executable" / "cell"
    assert other.read_bytes() == host.program.read_bytes()


@needs_executable
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("dtype", ["<f4", "<f8", "<i2", "<i4"])
def test_numpy_files_of_every_type(
    host: Host, tmp_path: Path, dtype: str, version: tuple[int, int]
) -> None:
    scaled = WINDOWS * (1 if dtype[1] == "f" else 3)
    x = np.round(scaled * 8).astype(dtype) if dtype[1] == "i" else scaled.astype(dtype)
    expected = run(host.network, x.astype(np.float32)).decisions.tolist()
    (tmp_path / "x.npy").write_bytes(npy(x, version))
    assert host.decisions(tmp_path / "x.npy") == expected
    assert host.decisions(stdin=npy(x, version)) == expected
    assert host.decisions("-", stdin=npy(x[1], version)) == expected[1:2]
    assert len(set(expected)) > 1
    assert host.states(npy(x, version), tmp_path) == host.library_states(x.astype(np.float32))


@needs_executable
def test_wide_integers_become_the_nearest_floats(host: Host, tmp_path: Path) -> None:
    x = np.array([[[2**31 - 1, -(2**31)], [16777217, -16777219]]], "<i4")
    assert host.states(npy(x), tmp_path) == host.library_states(x.astype(np.float32))


@needs_executable
@pytest.mark.parametrize(
    "text",
    [
        csv(WINDOWS),
        csv(WINDOWS) + b"\n",
        csv(WINDOWS) + b"\n\n\n",
        b"\n \n" + csv(WINDOWS, blank="\n \t\n\n"),
        csv(WINDOWS, comma=", "),
        csv(WINDOWS, comma=" ,\t"),
        csv(WINDOWS, comma=" "),
        csv(WINDOWS, comma="\t"),
        csv(WINDOWS, newline="\r\n", blank="\r\n\r\n"),
        csv(WINDOWS, newline=" \n"),
    ],
)
def test_text_of_every_style(host: Host, wanted: list[int], text: bytes) -> None:
    assert host.decisions(stdin=text) == wanted


@needs_executable
def test_windows_of_a_given_length(host: Host, wanted: list[int]) -> None:
    rows = WINDOWS.reshape(1, -1, INPUTS)
    assert host.decisions("--steps", "7", stdin=csv(rows)) == wanted
    assert host.decisions("--steps", "7", stdin=csv(WINDOWS)) == wanted
    assert host.decisions("--steps", "7", stdin=npy(rows[0])) == wanted
    assert len(host.decisions("--steps", "1", stdin=csv(rows))) == 4 * STEPS
    for short in (csv(rows[:, :-1]), npy(rows[0, :-1])):
        done = host.run("--steps", "7", stdin=short)
        assert done.returncode == 2
        assert b"a window ends after 6 of 7 steps" in done.stderr
        assert len(done.stdout.split()) == 3


@needs_executable
def test_scores_are_the_interpreters(host: Host) -> None:
    done = host.run("--scores", stdin=npy(WINDOWS))
    rows = [list(map(int, line.split())) for line in done.stdout.splitlines()]
    expected = run(host.network, WINDOWS)
    assert [row[0] for row in rows] == expected.decisions.tolist()
    assert [row[1:] for row in rows] == expected.scores.tolist()


@needs_executable
def test_float_scores_are_printed_in_full(tmp_path: Path) -> None:
    network, windows, out = tmp_path / "net.txt", tmp_path / "windows.npz", tmp_path / "out"
    save_network(l2mu(rule="mean_membrane", seed=4), network)
    np.savez(windows, x=WINDOWS)
    how = ("--calibrate", windows, "--artifact", "executable", "-o", out)
    command_line.ok("compile", network, *how)
    final = load_network(out / "network.txt")
    done = Host(out / "executable" / "cell", final).run("--scores", stdin=npy(WINDOWS))
    scores = [[np.float32(w) for w in line.split()[1:]] for line in done.stdout.splitlines()]
    assert np.array_equal(np.array(scores), run(final, WINDOWS).scores.astype(np.float32))


@needs_executable
def test_help_and_the_command_line(host: Host, tmp_path: Path) -> None:
    done = host.run("--help")
    assert done.returncode == 0
    assert b"usage: cell [--scores]" in done.stdout
    assert f"[steps, {INPUTS}]".encode() in done.stdout
    for arguments, message in (
        (("--bad",), "does not go: --bad"),
        (("--steps",), "does not go: --steps"),
        (("--steps", "0"), "a whole number from 1 on, not 0"),
        (("--steps", "-3"), "a whole number from 1 on, not -3"),
        (("--steps", "7x"), "a whole number from 1 on, not 7x"),
        (("--steps", "99999999999999999999"), "a whole number from 1 on"),
        (("a.npy", "b.npy"), "one too many: b.npy"),
        (("nowhere.npy",), "nowhere.npy: No such file"),
        ((tmp_path,), "cannot be read: Is a directory"),
    ):
        assert message.lower() in host.refused(*arguments).lower()


@needs_executable
def test_results_that_cannot_be_written(host: Host, tmp_path: Path) -> None:
    done = host.run("--states", tmp_path / "no" / "states", stdin=npy(WINDOWS))
    assert done.returncode == 1
    assert b"No such file" in done.stderr
    if Path("/dev/full").exists():
        done = host.run("--states", "/dev/full", stdin=npy(np.tile(WINDOWS, (50, 1, 1))))
        assert (done.returncode, done.stderr) == (1, b"cell: cannot write /dev/full\n")
        with Path("/dev/full").open("wb") as full:
            command = [str(host.program)]
            full_output = subprocess.run(
                command, input=npy(WINDOWS), stdout=full, stderr=subprocess.PIPE
            )
        assert full_output.returncode == 1
        assert full_output.stderr == b"cell: cannot write standard output\n"


NOT_FINITE = WINDOWS.copy()
NOT_FINITE[1, 2, 1] = np.inf
HUGE = WINDOWS.astype("<f8")
HUGE[0, 0, 0] = 1e39


@needs_executable
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no sample"),
        (b"\n\n\n", "holds no sample"),
        (b"\x93NUM", "ends before"),
        (b"\x93NUMPX\x01\x00" + bytes(99), "neither a .npy file nor text"),
        (b"\x93NUMPY\x04\x00" + bytes(99), "version 4"),
        (b"\x93NUMPY\x00\x00" + bytes(99), "version 0"),
        (b"\x93NUMPY\x01\x00\xff\xff" + bytes(99), "its header takes 65535 bytes"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(99), "takes 4294967295 bytes"),
        (b"\x93NUMPY\x01\x00\x10\x00" + bytes(16), "is not one of a .npy file"),
        (npy(WINDOWS)[:-1], "ends before all that its header says"),
        (npy(WINDOWS) + b"x", "goes on after all that its header says"),
        (npy(WINDOWS.astype(">f4")), "its elements are >f4"),
        (npy(WINDOWS.astype("<f2")), "its elements are <f2"),
        (npy(WINDOWS.astype("<i8")), "its elements are <i8"),
        (npy(WINDOWS.astype("<c8")), "its elements are <c8"),
        (npy(np.zeros(3, [("a", "<f4")])), "its elements are no plain numbers"),
        (npy(np.asfortranarray(WINDOWS)), "Fortran order"),
        (npy(WINDOWS.reshape(-1)), "it has 1 dimensions"),
        (npy(np.float32(1)), "it has 0 dimensions"),
        (npy(WINDOWS[None]), "more than 3 dimensions"),
        (npy(np.zeros((3, 5), "<f4")), "its samples have 5 channels; the model has 2"),
        (npy(np.zeros((0, 7, 2), "<f4")), "holds no sample"),
        (npy(np.zeros((3, 0, 2), "<f4")), "holds no sample"),
        (npy(NOT_FINITE), "channel 1 of a sample is no finite float32"),
        (npy(HUGE), "channel 0 of a sample is no finite float32"),
        (header("{" + ONE + "(7, 2)"), "has no '}'"),
        (header("{" + ONE + "(7, 2), 'more': 1}"), "is not one of a .npy file"),
        (header("{" + ONE + "(7, 2)} more"), "is not one of a .npy file"),
        (header("{" + ONE + "7}"), "has no '('"),
        (header("{" + ONE + "(7 2)}"), "has no ')'"),
        (header("{" + ONE + "(-7, 2)}"), "no list of whole numbers"),
        (header("{" + ONE + "(99999999999999999999, 2)}"), "its shape is too large"),
        (header("{" + ONE + "(18446744073709551615, 2)}"), "ends before"),
        (header("{'shape': (7, 2)}"), "is not one of a .npy file"),
        (header("{'descr': '<f4"), "its elements are"),
        (header("{" + ONE.replace("f4", "\x1b[2J") + "(7, 2)}"), "its elements are <?[2J; <f4"),
        (b"ax,ay\n1,2\n", "line 1: 'ax' is no number, but channel 0 of 2 must be one"),
        (b"1,2\n3,y\n", "line 2: 'y' is no number, but channel 1 of 2"),
        (b"1,2\n3,\n", "line 2: '' is no number"),
        (b"1,2\n3\n", "line 2: '' is no number"),
        (b"1,,2\n", "line 1: '' is no number"),
        (b",1,2\n", "line 1: '' is no number"),
        (b"1,2,3\n", "line 1: has more than 2 numbers"),
        (b"1,2,\n", "line 1: has more than 2 numbers"),
        (b"1;2\n", "line 1: '1;2' is no number"),
        (b"1,2\n\n1,nan\n", "line 3: channel 1 of a sample is no finite float32"),
        (b"inf,2\n", "line 1: channel 0 of a sample is no finite float32"),
        (b"1e39,2\n", "line 1: channel 0 of a sample is no finite float32"),
        (b"1,2\n" + b"1" * 300 + b",2\n", "line 2: is longer than 191 characters"),
        (b"1,2\n1,\x002\n", "line 2: is neither a .npy file nor text"),
        (b"\x1b[2J\xff" * 3 + b",2\n", "line 1: '?[2J??[2J??[2J?' is no number"),
        (b"PK\x03\x04", "line 1: 'PK??' is no number"),
    ],
)
def test_other_files_are_refused_by_name(
    host: Host, tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "input"
    path.write_bytes(content)
    said = host.refused(path)
    assert said.startswith(f"cell: {path}: ")
    assert message in said
    assert host.refused(stdin=content).startswith("cell: standard input: ")


# ---- under sanitizers --------------------------------------------------------------------------

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror")


def sources_of(network: Network, folder: Path) -> list[str]:
    """The network's C and what the program needs beside it."""
    program = lower(network)
    for name, text in emit_c(program, ["test"]).items():
        (folder / name).write_text(text)
    names = "\n".join(
        f"#define l2mu_model_{word} {program.name}_{word}"
        for word in ("state_t", "init", "reset", "step", "classify", "scores")
    )
    (folder / "l2mu_model.h").write_text(
        f'#include "{program.name}.h"\n#define L2MU_MODEL_NAME "{program.name}"\n'
        f"#define L2MU_MODEL_INPUTS {INPUTS}\n#define L2MU_MODEL_CLASSES {CLASSES}\n"
        f'#define L2MU_MODEL_SCORE_FORMAT "%" PRId32\n{names}\n'
    )
    return [*map(str, sorted(folder.glob("*.c"))), *map(str, SOURCES), f"-I{folder}"]


@pytest.fixture(scope="module")
def sanitized(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Host:
    folder = tmp_path_factory.mktemp("sanitized")
    checks = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1"]
    program = folder / "cell"
    command = ["cc", *STRICT, *checks, *sources_of(host.network, folder), "-lm", "-o", program]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Host(program, host.network)


@needs_cc
@needs_executable
@settings(max_examples=250)
@given(mutated(), st.sampled_from([(), ("--scores",), ("--steps", "3")]))
def test_mutated_files_are_read_or_refused(
    sanitized: Host, content: bytes, options: tuple[str, ...]
) -> None:
    """Never a crash; what is read as a NumPy file is what NumPy reads."""
    done = sanitized.run(*options, stdin=content)
    assert done.returncode in (0, 2), done.stderr
    if done.returncode == 2:
        text = done.stderr.decode("ascii")
        assert text.startswith("cell: standard input: ") and text[:-1].isprintable()
    else:
        assert done.stderr == b""
    if done.returncode == 0 and content.startswith(b"\x93") and not options:
        read = np.load(io.BytesIO(content), allow_pickle=False).astype(np.float32)
        x = read.reshape(-1, *read.shape[-2:])
        expected = run(sanitized.network, x).decisions.tolist()
        assert list(map(int, done.stdout.split())) == expected
