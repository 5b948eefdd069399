"""Compiled directories with all their packages, and a program that classifies with one of them."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from command_line import ok
from networks import l2mu, samples
from numpy.typing import NDArray

from l2mu_compile.interpreter import run
from l2mu_compile.network import Network
from l2mu_compile.network_files import load_network, save_network

Packages = Callable[..., Path]

KINDS = ("cmake", "arduino", "zephyr", "cmsis-pack")
# What a checkpoint may be called: nothing of it may end a comment, a string or an element.
HOSTILE_FILE = "x ]]> *-->'\"\\ $ENV{HOME} ${A} $(id) `id` %d\n#define EVIL\nkey: &a [*a.txt"
# Models may be called like this: CMake's own targets, YAML's booleans, system libraries.
HOSTILE_NAMES = ("test", "no", "m", "On_" + "x" * 60)

# Reads float32 windows from a file, prints one decision a line.
CLASSIFY = """
#include <stdio.h>
#include "NAME.h"

static NAME_state_t state;
static float window[STEPS * UPPER_INPUTS];

int main(int argc, char **argv)
{
    FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
    if (file == NULL) {
        return 1;
    }
    while (fread(window, sizeof window, 1, file) == 1) {
        printf("%d\\n", NAME_run(&state, window, STEPS));
    }
    return fclose(file);
}
"""

CLASSES = ("still", "walk", "läuft \\")
COUNTS, HOP = 16, 12

PORTABLE = "cortex-m4 --mattr=-dsp"  # a microcontroller's packages with portable kernels
M4F = ("-mthumb", "-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard")
WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Werror")


def compiled(
    folder: Path,
    name: str,
    *,
    int8: bool = True,
    raw: bool = False,
    calibrated: bool = True,
    target: str = PORTABLE,
    kinds: Sequence[str] = KINDS,
) -> Path:
    """An L2MU called ``name`` compiled into ``folder/out``, with packages of these kinds.

    With ``raw`` its samples are a sensor's counts, sixteen to a unit, and windows overlap. If it is
    not ``calibrated``, nothing tells how long a window is. What follows the target's name are
    further options: by default those that make C which this machine can run, too.
    """
    sensors = (1 / COUNTS, 0.0) if raw else None
    network = l2mu(name=name, seed=25, sensors=sensors)  # one that decides for every class
    folder.mkdir(parents=True, exist_ok=True)
    save_network(network, folder / HOSTILE_FILE)
    x = windows(network)
    y = run(network, x).decisions
    np.savez(folder / "windows.npz", x=x, y=y)
    arguments: list[str | Path] = ["--target", *target.split()]
    arguments += ["--calibrate", folder / "windows.npz"] if calibrated else []
    arguments += ["--quantize", "int8"] if int8 else []
    arguments += ["--hop", HOP] if raw else []
    arguments += ["--classes", ",".join(CLASSES)]
    arguments += [word for kind in kinds for word in ("--artifact", kind)]
    ok("compile", folder / HOSTILE_FILE, *arguments, "-o", folder / "out")
    return folder / "out"


def windows(network: Network) -> NDArray:
    """The windows that packages are tried on."""
    return _measured(network, seed=1)


def _measured(network: Network, seed: int) -> NDArray:
    units = samples(network, windows=8, steps=30, seed=seed) / 2 + 0.25
    return network.input.raw(units).astype(np.float32)


def expected_decisions(output: Path) -> list[int]:
    """The interpreter's decisions on `windows`, among which is every class."""
    network = load_network(output / "network.txt")
    decisions = run(network, windows(network)).decisions.tolist()
    assert set(decisions) == set(range(network.classes))
    return decisions


def fill_in(sample: Path, network: Network, folder: Path, **places: str) -> list[Path]:
    """Write a package's sample program to ``folder`` as a user completes it, and a sensor for it.

    ``places`` are what stands for a statement of the sample's. The sensor replays `recording`,
    value by value, and ends the program after the last.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = sample.read_text()
    places["channels[channel] = 0;"] = "channels[channel] = SENSOR();"
    for before, after in places.items():
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    kind = "int16_t" if "int16_t sample" in text else "float"
    main, sensor = folder / "main.c", folder / "sensor.c"
    declared = f"#include <stdint.h>\n{kind} next_value(void);\n"
    main.write_text(declared + text.replace("SENSOR", "next_value"))
    values = recording(network).ravel()
    sensor.write_text(
        f"{declared}#include <stdlib.h>\n"
        f"static const {kind} values[{values.size}] = {{{', '.join(map(str, values))}}};\n"
        f"{kind} next_value(void)\n{{\n    static int read;\n"
        f"    if (read == {values.size}) {{\n        exit(0);\n    }}\n"
        "    return values[read++];\n}\n"
    )
    return [main, sensor]


def recording(network: Network) -> NDArray:
    """A stream of samples ``[steps, inputs]`` that are whole numbers, as an ADC gives them."""
    whole = np.round(_measured(network, seed=2)).astype(np.int16)
    return whole.reshape(-1, network.input.size)


def expected_names(output: Path, size: int = 30) -> list[str]:
    """Names of the interpreter's decisions on all windows of `recording`."""
    network = load_network(output / "network.txt")
    stream = recording(network)
    hop = HOP if network.input.is_raw else size
    starts = range(0, len(stream) - size + 1, hop)
    x = np.stack([stream[start : start + size] for start in starts]).astype(np.float32)
    names = [network.class_names[decision] for decision in run(network, x).decisions]
    assert len(set(names)) > 1
    return names


def write_program(output: Path, source: Path) -> None:
    """Write `CLASSIFY` for a compiled directory to ``source``."""
    network = load_network(output / "network.txt")
    text = CLASSIFY.replace("STEPS", str(windows(network).shape[1]))
    text = text.replace("UPPER", network.name.upper()).replace("NAME", network.name)
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text(text)


def program_decisions(program: Path, output: Path) -> list[int]:
    """What a program of `write_program`'s prints for `windows`."""
    data = program.parent / "windows.bin"
    data.write_bytes(windows(load_network(output / "network.txt")).tobytes())
    return [int(line) for line in tool(program, data).splitlines()]


def need(*names: str) -> None:
    """Skip the test, with the reason, where a tool is missing."""
    for name in names:
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed")


def tool(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a command that must succeed; its output."""
    done = subprocess.run([str(c) for c in command], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def compile_c(command: Sequence[str | Path], sources: Sequence[Path], folder: Path) -> list[Path]:
    """Compile each source with ``command``; the objects."""
    folder.mkdir(parents=True, exist_ok=True)
    objects = [folder / f"{source.stem}.o" for source in sources]
    for source, result in zip(sources, objects, strict=True):
        tool(*command, "-c", source, "-o", result)
    return objects


def unzipped(archive: Path, folder: Path) -> Path:
    """An archive's content in ``folder``."""
    with zipfile.ZipFile(archive) as content:
        content.extractall(folder)
    return folder
