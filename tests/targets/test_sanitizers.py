"""The whole generated API under ASan and UBSan, on random networks and any samples at all."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from drawn_networks import float_networks, integer_networks, windows_for
from exactness import kernels_and_memory
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_machines import sources as portable
from networks import planned
from numpy.typing import NDArray

from l2mu_compile.interpreter import run
from l2mu_compile.lowering import lower
from l2mu_compile.network import Network
from l2mu_compile.stream import Stream
from l2mu_compile.targets.emit_c import emit_c
from l2mu_compile.targets.kernel_table import HEADERS, KERNEL_DIR

data = st.data()
CALLER = Path(__file__).parent / "run_api.c"
# GCC counts a float's cast to an integer that cannot hold it to no group.
SANITIZERS = (
    *("-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all"),
    *("-g", "-O1", "-std=c99", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror"),
)


def sanitized(sources: Sequence[Path], *arguments: str) -> None:
    command = ["cc", *SANITIZERS, *map(str, sources), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """All kernels, compiled with sanitizers."""
    if shutil.which("cc") is None:
        pytest.skip("no cc on this machine, and zig's clang has no address sanitizer")
    folder = tmp_path_factory.mktemp("kernels")
    sources = [KERNEL_DIR / name for name in portable(["ref"])]
    objects = [folder / f"{source.stem}.o" for source in sources]
    for source, result in zip(sources, objects, strict=True):
        sanitized([source], "-c", "-o", str(result))
    return objects


def decisions(
    kernels: list[Path], network: Network, stream: Stream | None, x: NDArray, folder: Path
) -> list[int]:
    """What the program of `run_api.c` decides on windows ``x``, having found no fault."""
    files = emit_c(lower(network, stream), ["test"])
    for name in ("net.c", "net.h", "net_weights.h", *HEADERS):
        (folder / name).write_text(files[name], encoding="utf-8")
    program, windows = folder / "program", folder / "windows.bin"
    sanitized([folder / "net.c", CALLER, *kernels], f"-I{folder}", "-o", str(program))
    windows.write_bytes(x.astype("<f4").tobytes())
    done = subprocess.run(
        [str(program), str(windows), str(x.shape[1])], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return [int(line) for line in done.stdout.split()]


def check_random_network(kernels: list[Path], data: st.DataObject, folder: Path) -> None:
    window = data.draw(st.integers(1, 6))
    stream = data.draw(st.sampled_from([None, Stream(window, data.draw(st.integers(1, window)))]))
    kind = data.draw(st.sampled_from(("float32", "int8", "integers")))
    if kind == "integers":
        network = kernels_and_memory(data.draw(integer_networks("net")))
    else:
        network = planned(data.draw(float_networks("net")), kind == "int8")
    x = data.draw(windows_for(network, steps=15, finite=False))
    found = decisions(kernels, network, stream, x, folder)
    assert len(found) == len(x)
    if network.quantized or np.isfinite(x).all():
        assert found == run(network, x).decisions.tolist()


@settings(max_examples=25)
@given(data)
def test_random_networks(
    kernels: list[Path], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    check_random_network(kernels, data, tmp_path_factory.mktemp("net"))


@pytest.mark.slow
@settings(max_examples=100)
@given(data)
def test_many_random_networks(
    kernels: list[Path], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    check_random_network(kernels, data, tmp_path_factory.mktemp("net"))


@pytest.mark.parametrize(
    "fault",
    [
        "int n = (int)(3e9f * (float)words);",
        "int *p = calloc(1, 4), n = p[words]; free(p);",
        "int n = 2147483647 + words;",
    ],
)
def test_faults_are_found(tmp_path: Path, fault: str) -> None:
    if shutil.which("cc") is None:
        pytest.skip("no cc on this machine, and zig's clang has no address sanitizer")
    source, program = tmp_path / "fault.c", tmp_path / "fault"
    source.write_text(f"#include <stdlib.h>\nint main(int words) {{ {fault} return n == 7; }}\n")
    sanitized([source], "-Wno-main", "-o", str(program))
    assert subprocess.run([str(program)], capture_output=True).returncode != 0
