"""Time whole windows on this machine, ours beside other frameworks', and write a table of ratios.

All sides take turns in one run. Each first runs on cold caches (a large buffer was just read and
written), then at once again and again, hot. Samples are spikes, batch is 1, one thread; loading is
not timed. Times are processor time.

    python benchmarks/host.py [--quick] [--network NAME]... [--page FILE] [--json FILE]
"""

from __future__ import annotations

import ctypes
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import typer
from executorch_peer import with_executorch
from networks import SHAPES, Shape, network_of, windows_of
from numpy.typing import NDArray
from onnx_peers import with_onnx_scan, with_onnx_steps
from page import JsonFile, NetworkNames, PageFile, Place, processor, table
from peers import (
    Classify,
    with_dense_c,
    with_numpy,
    with_snntorch,
    with_torch,
    with_torch_compile,
)
from tvm_peers import with_tvm, with_tvm_schedule

from l2mu_compile.compiled import read_program
from l2mu_compile.compiler import Job, compile_model
from l2mu_compile.display import err
from l2mu_compile.errors import MismatchError
from l2mu_compile.frontend import load_model
from l2mu_compile.interpreter import run
from l2mu_compile.network import Network
from l2mu_compile.network_files import load_network, save_network
from l2mu_compile.pipeline import default_pipeline
from l2mu_compile.targets.emit_c import state_bytes
from l2mu_compile.targets.product import image_path
from l2mu_compile.targets.registry import get_target
from l2mu_compile.windows import Windows

ROOT = Path(__file__).resolve().parent.parent
PAGE, PLACE = ROOT / "docs" / "benchmarks.md", "host"
NETWORKS = ("b27", "b7", "har05")
ROUNDS, QUICK_ROUNDS, AGREEING = 15, 3, 4
CALIBRATION = 4  # windows
HOT_SECONDS = 2e-3
COLD_BYTES = 64 << 20  # more than the caches of a core and its neighbours hold

INT8, FLOAT = "ours, int8", "ours, float32"
PORTABLE = {"int8": "portable event-driven C, int8", "float32": "portable event-driven C, float32"}
SNNTORCH, TORCH, COMPILED = "snnTorch, eager", "PyTorch, fused by hand", "PyTorch, torch.compile"
NUMPY, DENSE = "NumPy", "dense C, float32, -O3"
SCAN, STEPS = "ONNX Runtime, one Scan", "ONNX Runtime, a run per step"
TVM, TVM_SCHEDULE = "TVM, default", "TVM, products scheduled by hand"
EXECUTORCH = "ExecuTorch, XNNPACK"
FRAMEWORKS = {
    SNNTORCH: with_snntorch,
    TORCH: with_torch,
    COMPILED: with_torch_compile,
    NUMPY: with_numpy,
    SCAN: with_onnx_scan,
    STEPS: with_onnx_steps,
    TVM: with_tvm,
    TVM_SCHEDULE: with_tvm_schedule,
    EXECUTORCH: with_executorch,
}
SLOW_TO_PREPARE = (COMPILED, EXECUTORCH)
PACKAGES = (
    *("l2mu-compile", "ziglang", "numpy", "torch", "snntorch", "onnxruntime", "apache-tvm"),
    "executorch",
)
# How many times as long as our int8 code a framework should take, for networks by name or for all.
GOALS: Mapping[str, Mapping[str, int]] = {
    SNNTORCH: {"": 1500},
    TORCH: {"": 400},
    SCAN: {"": 140},
    STEPS: {"": 200},
    TVM: {"": 1500},
    TVM_SCHEDULE: {"": 160},
    DENSE: {"b27": 90},
}
HEAD = (
    *("network", "side", "hot, ms", "cold, ms", "× int8, hot", "cold", "goal"),
    *("× float32, hot", "windows alike"),
)


@dataclass(frozen=True)
class Timing:
    """Medians for one window in seconds; ``alike`` of AGREEING windows had the same output spikes
    as what defines them, or for frameworks as our float32 code."""

    network: str
    side: str
    hot: float
    cold: float
    alike: int


class Library:
    """A compiled host library as a `Classify`, its state and samples in place."""

    def __init__(self, folder: Path, raw: bool) -> None:
        self.network, program = read_program(folder)
        target, name = get_target("host"), program.name
        library = ctypes.CDLL(str(image_path(program, target, folder)))
        self._run = getattr(library, f"{name}_run" + ("_raw" if raw else ""))
        self._run.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
        self._state = np.zeros(-(-state_bytes(program) // 8), np.int64)
        self._address = self._state.ctypes.data
        scores = getattr(library, f"{name}_scores")
        scores.restype = ctypes.POINTER(ctypes.c_int32)
        place = scores(ctypes.c_void_p(self._address))
        self._scores = np.ctypeslib.as_array(place, (self.network.classes,))
        self.dtype = np.int16 if raw else np.float32

    def __call__(self, window: NDArray) -> NDArray:
        self._run(self._address, window.ctypes.data, len(window))
        return self._scores.copy()


def libraries(shape: Shape, network: Network, folder: Path) -> dict[str, Library]:
    """Our code for this machine, tuned to it and portable, from int8 and float32 numbers."""
    path = folder / f"{shape.name}.txt"
    save_network(network, path)
    model = load_model(path)
    samples = windows_of(shape, CALIBRATION, seed=2).astype(np.int16)
    calibration = Windows(samples, source="spikes")
    host = get_target("host")
    found = {}
    for numbers, ours in (("int8", INT8), ("float32", FLOAT)):
        pipeline = default_pipeline(quantized=numbers == "int8", calibrated=True)
        for side, target in (
            (ours, host),
            (PORTABLE[numbers], replace(host, kernel_sets=("ref",))),
        ):
            place = folder / side.replace(" ", "_").replace(",", "")
            compile_model(model, Job(target, pipeline, calibration), place)
            found[side] = Library(place, raw=numbers == "int8")
    return found


def sides_of(
    network: Network, ours: Mapping[str, Library], folder: Path, quick: bool
) -> tuple[dict[str, Classify], dict[str, str]]:
    """Every side that can be measured here, and why the others cannot."""
    sides: dict[str, Classify] = {**ours, DENSE: with_dense_c(network, folder / "dense")}
    missing = {}
    for name, make in FRAMEWORKS.items():
        if quick and name in SLOW_TO_PREPARE:
            missing[name] = "takes too long to prepare for --quick"
            continue
        try:
            classify = make(network)
            classify(np.zeros((2, network.input.size), np.float32))
            sides[name] = classify
        except Exception as error:  # whatever a framework raises, it is not measured and said so
            lines = str(error).splitlines() or [""]
            missing[name] = f"{type(error).__name__}: {lines[0]}"
    return sides, missing


def agreements(
    shape: Shape, ours: Mapping[str, Library], sides: Mapping[str, Classify]
) -> dict[str, int]:
    """How many windows have the same output spikes; MismatchError if our own code differs."""
    windows = windows_of(shape, AGREEING, seed=3)
    alike = {}
    for name, classify in sides.items():
        library = ours.get(name, ours[FLOAT])
        expected = run(library.network, windows.astype(library.dtype)).scores
        dtype = library.dtype if name in ours else np.float32
        found = [classify(window) for window in windows.astype(dtype)]
        alike[name] = sum(map(np.array_equal, found, expected))
        if (name in ours or name == DENSE) and alike[name] < AGREEING:
            raise MismatchError(f"{shape.name}, {name}: output spikes are not as interpreted")
    return alike


def measure(shape: Shape, folder: Path, quick: bool) -> tuple[list[Timing], dict[str, str]]:
    """Every side on one window, in turns; and what could not be measured."""
    network = load_network_of(shape, folder)
    ours = libraries(shape, network, folder)
    sides, missing = sides_of(network, ours, folder, quick)
    alike = agreements(shape, ours, sides)
    window = windows_of(shape, 1, seed=3)[0]
    windows = {
        name: window.astype(ours[name].dtype if name in ours else np.float32) for name in sides
    }
    hot: dict[str, list[float]] = {name: [] for name in sides}
    cold: dict[str, list[float]] = {name: [] for name in sides}
    evicted = np.zeros(COLD_BYTES // 8, np.int64)
    for _ in range(QUICK_ROUNDS if quick else ROUNDS):
        for name, classify in sides.items():
            evicted += 1
            cold[name].append(_seconds(classify, windows[name]))
            hot[name].append(hot_seconds(classify, windows[name]))
    timings = [
        Timing(shape.name, name, median(hot[name]), median(cold[name]), alike[name])
        for name in sides
    ]
    return timings, missing


def load_network_of(shape: Shape, folder: Path) -> Network:
    """The network of a shape as the compiler reads it."""
    path = folder / "drawn.txt"
    save_network(network_of(shape), path)
    return load_network(path)


def hot_seconds(classify: Classify, window: NDArray) -> float:
    """Median of as many runs as fit into HOT_SECONDS, at least one, after one more."""
    classify(window)
    found = [_seconds(classify, window)]
    while sum(found) < HOT_SECONDS:
        found.append(_seconds(classify, window))
    return median(found)


def _seconds(classify: Classify, window: NDArray) -> float:
    """Processor time: on a busy machine others' work would lengthen long runs more than short."""
    start = time.process_time()
    classify(window)
    return time.process_time() - start


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch computes with one thread, as all others do: more are no faster at this size."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# ---- what is written -----------------------------------------------------------------------------


def as_text(timings: list[Timing], missing: Mapping[str, str], quick: bool) -> str:
    """Where it was measured, the table, and what is missing from it."""
    rounds = QUICK_ROUNDS if quick else ROUNDS
    packages = ", ".join(f"{name} {found}" for name, found in versions().items())
    where = (
        f"{processor()}, {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}; medians of "
        f"{rounds} rounds; {packages}."
    )
    rows = [_row(timing, timings) for timing in timings]
    lines = [f"- not measured: {name} ({reason})" for name, reason in missing.items()]
    return "\n\n".join(filter(None, [where, table(HEAD, rows), "\n".join(lines)]))


def _row(timing: Timing, timings: list[Timing]) -> tuple[str, ...]:
    same = {t.side: t for t in timings if t.network == timing.network}
    goals = GOALS.get(timing.side, {})
    goal = goals.get(timing.network, goals.get(""))
    return (
        timing.network,
        timing.side,
        f"{timing.hot * 1e3:.3f}",
        f"{timing.cold * 1e3:.3f}",
        f"{timing.hot / same[INT8].hot:.1f}",
        f"{timing.cold / same[INT8].cold:.1f}",
        f"{goal}" if goal else "–",
        f"{timing.hot / same[FLOAT].hot:.1f}",
        f"{timing.alike} of {AGREEING}",
    )


def versions() -> dict[str, str]:
    """Those of the packages that are there."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def main(
    quick: Annotated[
        bool, typer.Option("--quick", help="Few rounds: to see that it runs.")
    ] = False,
    network: NetworkNames = None,
    page: PageFile = PAGE,
    json_file: JsonFile = None,
) -> None:
    """Time whole windows on this machine and write the ratios into a page."""
    place = Place.of(page, PLACE)
    timings: list[Timing] = []
    missing: dict[str, str] = {}
    with one_thread():
        for name in network or NETWORKS:
            with tempfile.TemporaryDirectory() as folder:
                measured, not_here = measure(SHAPES[name], Path(folder), quick)
            for timing in measured:
                err.print(f"{name}, {timing.side}: {timing.hot * 1e3:.3f} ms", highlight=False)
            timings += measured
            missing |= not_here
    for side, reason in missing.items():
        err.print(f"not measured: {side} ({reason})", markup=False, highlight=False)
    figures = {
        "processor": processor(),
        "load": os.getloadavg(),
        "versions": versions(),
        "timings": [asdict(timing) for timing in timings],
        "missing": missing,
    }
    place.write(as_text(timings, missing, quick), json_file, figures)


if __name__ == "__main__":
    typer.run(main)
