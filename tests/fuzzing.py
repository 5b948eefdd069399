"""Fuzzers of generated code: libFuzzer, ASan and UBSan around the API of a program named ``net``.

``python tests/fuzzing.py SECONDS [--keep]`` fuzzes all of `NETWORKS`, so long in total, and keeps
inputs that reach new code in the corpus if told so: `make fuzz-code`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from exactness import kernels_and_memory, multiplying, storing_tiles, thinned
from networks import PORTABLE, cuba, f32, l2mu, li, lif, narrow, pipeline_of, planned

from l2mu_compile.convolution import Convolution
from l2mu_compile.frontend import load_model
from l2mu_compile.lowering import lower
from l2mu_compile.network import Input, Network, Population, Readout
from l2mu_compile.neurons import CuBaLIF
from l2mu_compile.passbase import Context
from l2mu_compile.pipeline import run_passes
from l2mu_compile.program import Program
from l2mu_compile.projection import Projection
from l2mu_compile.random_networks import random_network
from l2mu_compile.stream import Stream
from l2mu_compile.targets.emit_c import emit_c
from l2mu_compile.targets.host import HOST
from l2mu_compile.targets.kernel_sets import are_portable
from l2mu_compile.targets.kernel_table import HEADERS, KERNEL_DIR, kernel_table, sources_of

HARNESS = Path(__file__).parent / "targets/api_fuzz.c"
CORPUS = Path(__file__).parent / "targets/fuzz_corpus"
EXAMPLE = Path(__file__).parents[1] / "examples/har_smartwatch/har.ckpt"
LONGEST_INPUT = 512
SANITIZERS = (
    *("-fsanitize=fuzzer,address,undefined,float-cast-overflow", "-fno-sanitize-recover=all"),
    *("-g", "-std=c99", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror"),
    *(("-march=native",) if HOST.cpu == "native" else ()),
)
# Debian's package of one version has no unnumbered name.
CLANG = next(filter(shutil.which, ("clang", *(f"clang-{n}" for n in range(30, 10, -1)))), None)
_RUNS = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
_COUNTED = re.compile(r"(\w+)=(\d+)")
_NOTHING = "int LLVMFuzzerTestOneInput(void)\n{\n    return 0;\n}\n"


@dataclass(frozen=True)
class Fuzzed:
    """What a fuzzer did: inputs it tried, and what its harness counted."""

    inputs: int
    counted: dict[str, int]

    def __str__(self) -> str:
        return f"{self.inputs} inputs: " + ", ".join(f"{n} {w}" for w, n in self.counted.items())


class FaultError(Exception):
    """A fuzzer found a fault; its report."""


# ---- networks ----------------------------------------------------------------------------------


def _quantized(network: Network, options: str = "") -> Network:
    """``network`` after ``quantize{options}``, not planned."""
    names = f"fold-input,remove-dead,fold-threshold,quantize{{{options}}}"
    return run_passes(network, pipeline_of(names), Context(target=PORTABLE))


def _packed(options: str) -> Network:
    return kernels_and_memory(_quantized(l2mu(hidden=33), options))


def _sparse() -> Network:
    thin = thinned(_quantized(l2mu(hidden=33)), np.random.default_rng(3))
    return storing_tiles(thin, PORTABLE, 1, 4, 8)


def _apart(network: Network) -> Network:
    """``network``, an L2MU, each of whose cells has weights of its own."""

    def each(p: Projection) -> Projection:
        alike = p.source == p.target == "m"
        return replace(p, weight=f32([p.weight / (1 + k) for k in range(p.blocks)])) if alike else p

    return network.map_projections(each)


def _early(network: Network) -> Network:
    return network.replace(readout=replace(network.readout, margins=(1, 2, 3)))


def _maps(spiking: bool) -> Network:
    """A convolution of samples or of input spikes, one of spikes with a pool, a matrix."""
    rng = np.random.default_rng(4)
    first = Convolution((2, 5, 4), (3, 3, 2), (2, 2), (1, 1))
    second = Convolution((3, 3, 2), (4, 2, 1), padding=(1, 0), pool=(2, 2))

    def weights(*shape: int) -> np.ndarray:
        return f32(rng.normal(0.05, 1, shape))

    return Network(
        "net",
        Input("x", 40, spiking=spiking),
        tuple(Population(n, (s,), lif(0.75, 0.8)) for n, s in (("a", 18), ("b", 8), ("c", 3))),
        (
            Projection("x", "a", weights(3, 2, 3, 3), convolution=first),
            Projection("a", "b", weights(4, 3, 2, 1), convolution=second),
            Projection("b", "c", weights(3, 8)),
            Projection("c", "a", weights(18, 3), delay=1),
        ),
        Readout("c"),
    )


def _leaky(quantized: bool) -> Network:
    """Membranes of neurons without spikes, read out as their sums."""
    network = l2mu(lambda _: cuba(1, 1, 0.5, "subtract_first"), "mean_membrane")
    out = replace(network.populations[-1], neuron=li(0.9))
    return planned(network.replace(populations=(*network.populations[:-1], out)), quantized)


def _example() -> Network:
    context = Context(target=HOST)
    names = "fold-input,remove-dead,fold-threshold,quantize,select-kernels,plan-memory"
    return run_passes(load_model(EXAMPLE).network, pipeline_of(names), context)


def _narrow_of_host(kind: str) -> Network:
    if kind == "multiplied":
        return multiplying(narrow(40, "subtract", False).replace(stage="quantized"), HOST)
    if kind == "synaptic":
        return kernels_and_memory(narrow(33, "clamp", False, kind=CuBaLIF), "host")
    return kernels_and_memory(narrow(33, kind, True), "host")


NETWORKS: dict[str, tuple[Callable[[], Network], Stream | None]] = {
    "int8, sensors": (lambda: planned(l2mu(), True), Stream(6, 2)),
    "int8, max membrane": (
        lambda: planned(l2mu(lambda _: cuba(0.5, 0.75, 0.5, "zero"), "max_membrane"), True),
        Stream(3, 3),
    ),
    "int8, leaky mean": (lambda: _leaky(True), Stream(7, 5)),
    "int8, subtract_first": (
        lambda: planned(l2mu(lambda _: lif(1, 0.5, "subtract_first")), True),
        None,
    ),
    "int8, early exit": (lambda: planned(_early(l2mu()), True), Stream(6, 1)),
    "int8, random": (
        lambda: kernels_and_memory(random_network(7, "quantized").replace(name="net")),
        None,
    ),
    "int8, convolutions": (lambda: planned(_maps(False), True), Stream(4, 2)),
    "int8, spiking input": (lambda: planned(_maps(True), True), Stream(4, 4)),
    "int4": (lambda: _packed("bits=4"), Stream(5, 2)),
    "ternary": (lambda: _packed("bits=2"), None),
    "shift weights": (lambda: _packed("bits=4,weights=shift"), Stream(5, 5)),
    "int4, wide": (
        lambda: kernels_and_memory(
            _quantized(_apart(l2mu(lambda _: lif(0.75, 0.5, "zero"))), "bits=4,narrow=false")
        ),
        None,
    ),
    "shift decays": (
        lambda: kernels_and_memory(
            _quantized(
                _apart(l2mu(lambda _: cuba(0.5, 0.75, 0.5, "clamp"), "last_membrane")),
                "decay=shift",
            )
        ),
        Stream(6, 3),
    ),
    "sparse": (_sparse, Stream(1, 1)),
    "float32, sensors": (lambda: planned(l2mu()), Stream(6, 2)),
    "float32, leaky mean": (lambda: _leaky(False), None),
    "float32, max membrane": (
        lambda: planned(
            _apart(l2mu(lambda _: cuba(0.5, 0.75, 0.5, "clamp"), "max_membrane", sensors=None))
        ),
        Stream(5, 2),
    ),
    "float32, last membrane": (
        lambda: planned(l2mu(lambda _: lif(0.75, 0.5, "subtract_first"), "last_membrane")),
        None,
    ),
    "float32, early exit": (lambda: planned(_early(l2mu(sensors=None))), Stream(5, 2)),
    "float32, convolutions": (lambda: planned(_maps(False)), Stream(3, 1)),
    "float32, this machine's": (lambda: planned(l2mu(hidden=33), target="host"), Stream(6, 4)),
    "narrow, this machine's": (lambda: _narrow_of_host("subtract"), Stream(6, 4)),
    "synaptic, this machine's": (lambda: _narrow_of_host("synaptic"), None),
    "multiplied, this machine's": (lambda: _narrow_of_host("multiplied"), None),
    "example, this machine's": (_example, Stream(4, 2)),
}


def program_of(name: str) -> Program:
    """The program of a network of `NETWORKS`, under the name that the harness calls."""
    make, stream = NETWORKS[name]
    return lower(make().replace(name="net"), stream)


# ---- building ----------------------------------------------------------------------------------


class Fuzzers:
    """Builds fuzzers in ``folder``; each kernel is compiled once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._objects: dict[str, Path] = {}

    @staticmethod
    def missing() -> str | None:
        """Why there can be none on this machine."""
        if CLANG is None:
            return "no clang on this machine, and zig's has no address sanitizer"
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "empty.c"
            source.write_text("int LLVMFuzzerTestOneInput(void);\n" + _NOTHING)
            command = [CLANG, *SANITIZERS, str(source), "-o", str(source.with_suffix(""))]
            done = subprocess.run(command, capture_output=True, text=True)
        return f"this clang has no libFuzzer: {done.stderr}" if done.returncode else None

    def build(self, program: Program, spoiled: Callable[[str], str] = str) -> Path:
        """A fuzzer of ``program``, whose driver is first ``spoiled``."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        files = emit_c(program, ["test"])
        files["net.c"] = spoiled(files["net.c"])
        files["checked_kernels.h"] = checked_kernels(program.kernels)
        for name in ("net.c", "net.h", "net_weights.h", "checked_kernels.h", *HEADERS):
            (folder / name).write_text(files[name], encoding="utf-8")
        fuzzer = folder / "fuzzer"
        decides = ["-DNET_DECIDES"] if program.decided else []
        include = [f"-I{folder}", "-include", str(HARNESS.with_name("spikes_checked.h"))]
        sources = [str(folder / "net.c"), str(HARNESS)]
        parts = [*sources, *self._kernels(program)]
        _compile("-O1", *include, *decides, *parts, "-o", str(fuzzer))
        return fuzzer

    def _kernels(self, program: Program) -> list[str]:
        for name in sources_of(program.kernels):
            if name not in self._objects:
                self._objects[name] = self.folder / name.replace(".c", ".o")
                # Vector intrinsics with sanitizers take a compiler that optimizes a minute.
                level = "-O1" if are_portable([name]) else "-O0"
                _compile(level, "-c", str(KERNEL_DIR / name), "-o", str(self._objects[name]))
        return [str(self._objects[name]) for name in sources_of(program.kernels)]


def checked_kernels(kernels: Sequence[str]) -> str:
    """Macros that look at every list of spikes as soon as a kernel has made it."""
    lines = []
    for name in sorted(kernels):
        parameters = kernel_table()[name].parameters
        if "uint16_t *" not in parameters:
            continue
        words = [f"a{i}" for i in range(len(parameters))]
        spikes = words[parameters.index("uint16_t *")]
        neurons = "(a0)->size" if parameters[0].startswith("const l2mu_neurons") else "a1"
        call = f"{name}({', '.join(words)})"
        lines.append(f"#define {call} ({call}, check_spikes({spikes}, {neurons}))\n")
    return "".join(lines)


def _compile(*arguments: str) -> None:
    done = subprocess.run([str(CLANG), *SANITIZERS, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# ---- running -----------------------------------------------------------------------------------


def fuzz(fuzzer: Path, seconds: int) -> Fuzzed:
    """Run a fuzzer on the saved corpus and on what it makes of that; 0 seconds: the corpus alone.

    What reaches new code is in the folder ``found`` beside it. Raises `FaultError`.
    """
    found = fuzzer.with_name("found")
    found.mkdir(exist_ok=True)
    bounded = [f"-max_total_time={seconds}"] if seconds else ["-runs=0"]
    options = ["-seed=1", f"-max_len={LONGEST_INPUT}", "-len_control=0", "-timeout=20"]
    faults = f"-artifact_prefix={fuzzer}-"
    said = "-print_final_stats=1"
    done = _run(fuzzer, *bounded, *options, said, faults, str(found), str(CORPUS))
    runs = _RUNS.search(done.stderr)
    assert runs is not None, done.stderr
    counted = {word: int(number) for word, number in _COUNTED.findall(done.stdout)}
    return Fuzzed(int(runs[1]), counted)


def keep(fuzzer: Path) -> None:
    """Put what a fuzzer found into the corpus, where that does not reach the same code."""
    options = ["-merge=1", "-use_counters=0", f"-max_len={LONGEST_INPUT}"]
    _run(fuzzer, *options, str(CORPUS), str(fuzzer.with_name("found")))


def _run(fuzzer: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(fuzzer), *arguments], capture_output=True, text=True, errors="replace"
    )
    if done.returncode != 0:
        raise FaultError(done.stderr)
    return done


def main(seconds: int, keeping: bool) -> None:
    """Fuzz every network in turn."""
    reason = Fuzzers.missing()
    if reason is not None:
        sys.exit(f"fuzz-code: {reason}")
    CORPUS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        fuzzers = Fuzzers(Path(folder))
        for name in NETWORKS:
            fuzzer = fuzzers.build(program_of(name))
            print(f"{name}: {fuzz(fuzzer, max(seconds // len(NETWORKS), 1))}", flush=True)
            if keeping:
                keep(fuzzer)


if __name__ == "__main__":
    main(int(sys.argv[1]), "--keep" in sys.argv)
