"""The second way from a Program to a binary: TensorIR, TVM's LLVM, and the default linker.

What is built is a shared library that TVM's runtime loads; its functions are those of
`l2mu_compile.targets.tvm_module`. TVM itself is imported only where it is needed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.errors import NoEmulatorError, ToolchainError, UsageError
from l2mu_compile.installed import require
from l2mu_compile.network import CTYPE_BYTES, DTYPES
from l2mu_compile.program import Program
from l2mu_compile.samples import as_samples
from l2mu_compile.targets.build import is_native
from l2mu_compile.targets.c_text import array_body
from l2mu_compile.targets.commands import CommandLog
from l2mu_compile.targets.costs import Costs, linked_bytes
from l2mu_compile.targets.devices import SteppedDevice, suffix
from l2mu_compile.targets.emit_c import render, state_bytes, state_layout
from l2mu_compile.targets.linking import shared_library
from l2mu_compile.targets.packaging.common import checked_report, documents, view, write_tree
from l2mu_compile.targets.product import Product
from l2mu_compile.targets.record import Target
from l2mu_compile.targets.toolchain import compile_objects
from l2mu_compile.targets.tvm_emulated import EmulatedTensors

# The functions, and the pointers through which the runtime gives the library its own.
EXPORTS = ("__tvm_ffi_*", "__TVM*")

_FEATURES = re.compile(r"[+-](?!v\d)[^+-]+")  # versions of an architecture are in the triple
_VECTOR_BITS = 128  # of NEON, and of SSE
# LLVM's names of zig's triples.
_TRIPLES = {
    "aarch64-linux-musl": "aarch64-unknown-linux-musl",
    "arm-linux-musleabihf": "armv7a-unknown-linux-musleabihf",
    "aarch64-linux-android": "aarch64-unknown-linux-android",
    "x86_64-linux-android": "x86_64-unknown-linux-android",
    "thumb-linux-androideabi": "thumbv7a-unknown-linux-androideabi",
}


def tensor_target(target: Target) -> Target:
    """``target`` with the kernels that there are in TensorIR.

    Raises `UsageError` if TVM is not installed, or builds nothing for this target.
    """
    require_tvm()
    llvm_target(target)
    return replace(target, kernel_sets=("ref",), optional_sets=())


def require_tvm() -> Any:
    """The package; `UsageError` if it is not installed."""
    return require("tvm", "tvm", "builds by TVM")


def llvm_target(target: Target) -> dict[str, Any]:
    """``target`` as TVM is told it; `UsageError` if it builds nothing for it."""
    codegen = require_tvm().target.codegen
    cpu, features = _processor(target.cpu)
    native = target.triple == "native"
    triple = _TRIPLES.get(target.link_triple or target.triple)
    if native:
        triple = str(codegen.llvm_get_system_triple())
        cpu = str(codegen.llvm_get_system_cpu()) if cpu == "native" else cpu
    if not target.shared or triple is None:
        raise UsageError(
            f"--backend tvm makes shared libraries for Linux and Android, which {target.name} has "
            "none of; use --backend c"
        )
    if not codegen.llvm_is_valid_cpu(cpu, triple):
        raise UsageError(f"--backend tvm: TVM's LLVM knows no processor {cpu}; use --backend c")
    found = {"kind": "llvm", "mcpu": cpu, "mattr": features}
    return found if native else {**found, "mtriple": triple, "vector-width": _VECTOR_BITS}


def _processor(cpu: str) -> tuple[str, list[str]]:
    """LLVM's name of zig's processor, and its features."""
    base = re.split(r"[+-]", cpu)[0]
    features = [part.replace("_", "-") for part in _FEATURES.findall(cpu[len(base) :])]
    return {"baseline": "generic"}.get(base, base.replace("_", "-")), features


def build_tensors(product: Product) -> Costs:
    """Write ``src/`` (TensorIR as text, constants) and ``lib/``; what they cost.

    Raises `ModelError` on a kernel that TensorIR has no version of, `ToolchainError` if a tool is
    missing or fails.
    """
    program, target = product.program, product.target
    module = write_tensors(program, product.stamp, product.sources)
    folder = product.scratch / "lib"
    link_tensors(program, target, module, product.sources, product.image, folder, product.log)
    flash, ram = linked_bytes(program, target, product.image)
    return Costs(flash, ram, stack=None, calls=None)


def write_tensors(program: Program, stamp: Sequence[str], folder: Path) -> Any:
    """Write the module of ``program``, as text, and its constants, as C; returns the module."""
    from l2mu_compile.targets.tvm_module import constants, tensor_module

    module, name = tensor_module(program), program.name
    words = constants(program).view("<u4")
    view = {"stamp": stamp, "name": name, "count": len(words)}
    view["body"] = array_body(words, "uint32_t")
    lines = [*stamp, "TensorIR, as TVM prints it."]
    text = "".join(f"# {line}\n" for line in lines) + module.script() + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}_tensors.py").write_text(text, encoding="utf-8")
    constants_text = render("tvm_constants.c.jinja", view)
    (folder / f"{name}_constants.c").write_text(constants_text, encoding="utf-8")
    return module


def link_tensors(
    program: Program,
    target: Target,
    module: Any,
    sources: Path,
    image: Path,
    folder: Path,
    log: CommandLog,
) -> None:
    """Compile a module and the constants in ``sources`` in ``folder``, and link them."""
    objects = compile_objects(target, [sources / f"{program.name}_constants.c"], [], folder, log)
    objects.append(_compiled(module, target, folder / f"{program.name}_tensors.o"))
    shared_library(target, objects, image, log, exports=EXPORTS, complete=False)


def complete_tensors(product: Product) -> None:
    """Put the notes beside the library."""
    values = {
        **view(product),
        "library": product.image.name,
        "state": state_layout(product.program),
        "stack_bytes": _scratch_bytes(product.program),
    }
    report = checked_report(product)
    folder = product.image.parent
    write_tree(folder, documents(product, "tvm_readme.md.jinja", values, report))


def open_tensors(
    program: Program, target: Target, image: Path, emulator: str | None = None
) -> TensorModel | EmulatedTensors:
    """A library in TVM's runtime, or on the target's emulator.

    Raises `UsageError` for an emulator that it does not run on, `NoEmulatorError` if it is for
    another machine than this one, which has no emulator here.
    """
    if emulator not in (None, "unicorn") or (emulator and target.emulator is None):
        raise UsageError(
            f"code that TVM built for {target.name} does not run on {emulator}; "
            "leave out --emulator"
        )
    if target.emulator is not None:
        return EmulatedTensors(target, image, program)
    if not is_native(target):
        raise NoEmulatorError(f"TVM's runtime here runs no code for {target.name}")
    return TensorModel(image, program)


class TensorModel(SteppedDevice):
    """A library that TVM built, loaded into its runtime and callable on NumPy arrays.

    Raises `ToolchainError` if it cannot be loaded.
    """

    def __init__(self, library: Path, program: Program) -> None:
        self._runtime = require_tvm().runtime
        words = ("reset", "step", "step_raw", "classify", "run", "run_raw")
        try:
            module = self._runtime.load_module(str(library.resolve()))
            self._functions = {word: module[f"{program.name}_{word}"] for word in words}
        except (OSError, RuntimeError, AttributeError) as error:
            raise ToolchainError(f"cannot load {library}: {error}") from None
        self.inputs = program.inputs
        self._bytes = state_bytes(program)
        self._layout = state_layout(program)
        self._state = [
            self._tensor(np.zeros(b.count, DTYPES[b.ctype])) for b in self._layout.values()
        ]
        self._result = self._tensor(np.zeros(1, np.int32))

    def run(self, windows: NDArray) -> NDArray:
        """Decisions int64 ``[N]`` of windows ``[N, T, inputs]``; ValueError on another shape."""
        windows = np.ascontiguousarray(as_samples(windows))
        if windows.ndim != 3 or windows.shape[2] != self.inputs:
            raise ValueError(f"windows {list(windows.shape)} are not [N, T, {self.inputs}]")
        run = self._functions["run" + suffix(windows)]
        decisions = []
        for window in windows:
            run(*self._state, self._tensor(window), self._result)
            decisions.append(self._result.numpy()[0])
        return np.array(decisions, np.int64)

    def reset(self) -> None:
        self._functions["reset"](*self._state)

    def step(self, sample: NDArray) -> tuple[int, ...]:
        self._functions["step" + suffix(sample)](*self._state, self._tensor(sample))
        return ()

    def state(self) -> bytes:
        memory = bytearray(self._bytes)
        for buffer, tensor in zip(self._layout.values(), self._state, strict=True):
            memory[buffer.offset : buffer.end] = tensor.numpy().tobytes()
        return bytes(memory)

    def classify(self) -> int:
        self._functions["classify"](*self._state, self._result)
        return int(self._result.numpy()[0])

    def _tensor(self, array: NDArray) -> Any:
        return self._runtime.tensor(array)


def _scratch_bytes(program: Program) -> int:
    """What a step's lists of spikes and other arrays take on the stack."""
    scratch = [b for b in program.buffers if b.lifetime == "scratch"]
    return sum(b.count * CTYPE_BYTES[b.ctype] for b in scratch)


def _compiled(module: Any, target: Target, output: Path) -> Path:
    tvm = require_tvm()
    try:
        # This pass would forget which arrays are to be on the stack.
        with tvm.transform.PassContext(disabled_pass=["tirx.StorageRewrite"]):
            built = tvm.tirx.build(module, target=tvm.target.Target(llvm_target(target)))
        built.write_to_file(str(output))
    except RuntimeError as error:
        last = (str(error).strip().splitlines() or ["no reason given"])[-1]
        raise ToolchainError(f"TVM does not build for {target.name}: {last}") from None
    return output
