"""Count the instructions of single kernel calls, on whatever counts for a target."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from counted_code import COUNTER, cannot_count, counting_library
from numpy.typing import NDArray

from l2mu_compile import processes
from l2mu_compile.errors import ToolchainError
from l2mu_compile.targets.emulator import Emulator
from l2mu_compile.targets.kernel_sets import parts
from l2mu_compile.targets.kernel_table import KERNEL_DIR, Kernel, kernel_table
from l2mu_compile.targets.linking import link_firmware, shared_library
from l2mu_compile.targets.qemu import board_command, find_program, instructions_after_an_empty
from l2mu_compile.targets.record import Target
from l2mu_compile.targets.toolchain import RUNTIME_DIR, compile_objects

SOURCES = Path(__file__).parent
NUMBERS = ("f32", "i32", "i16")  # of accumulators, in the order of `kernel_calls.c`

# What a kernel is given for a parameter of a type: arrays that are written in turn, numbers too.
_WRITTEN = ("first", "second")
_COUNTED = ("rows", "columns")
_ARGUMENTS = {
    "const float *": "weights",
    "const int8_t *": "weights",
    "const int16_t *": "weights",
    "const int32_t *": "weights",
    "const l2mu_sparse_i8_t *": "&sparse_i8",
    "const l2mu_packed_t *": "&packed",
    "const uint16_t *": "spikes",
    "uint16_t *": "listed",
    "const uint8_t *": "flags",
    "uint8_t *": "flags",
    "int32_t": "10",
    "const l2mu_slide_t *": "&slide",
    **{f"const l2mu_neurons_{n}_t *": f"&neurons_{n}" for n in NUMBERS},
    **{f"const l2mu_{k}_{n}_t *": f"&{k}_{n}" for k in ("dense", "input") for n in ("f32", "i8")},
}
_OWN_ARGUMENTS = {
    "count_undecided": {"const int32_t *": "margins"},
    "list_samples": {"const float *": "spiking_sample"},
    "input_conv": {"const int32_t *": "shifts", "uint8_t": "1"},
    "quantize_sample": {"const float *": "sample"},
    "flag_spikes": {"uint16_t": "source_count"},
}


@dataclass(frozen=True)
class Case:
    """One call of a kernel: ``n`` are its targets, rows, neurons, channels or classes; ``columns``
    of a sparse projection the tiles of every source. Of a convolution ``n`` are target channels,
    ``blocks`` source channels, ``columns`` the rows and columns of its kernel, ``side`` those of
    the source map."""

    n: int
    columns: int = 1
    blocks: int = 1
    sources: int = 1
    spikes: int = 0
    biased: int = 0
    own: int = 0
    bounded: int = 0
    side: int = 0

    @property
    def target_side(self) -> int:
        """Rows and columns of a convolution's target map."""
        return self.side - self.columns + 1


def spiking_neurons(case: Case) -> list[int]:
    """Those of ``case.sources`` that spike, as `draw_spikes` of `kernel_calls.c` draws them."""
    state, wanted, found = 1 + case.n + case.spikes, case.spikes, []
    for j in range(case.sources):
        state = (state * 1664525 + 1013904223) % 2**32
        if state * (case.sources - j) >> 32 < wanted:
            found.append(j)
            wanted -= 1
    return found


def counts(target: Target, cases: dict[str, list[Case]], folder: Path) -> dict[str, NDArray]:
    """Instructions int64 ``[cases]`` of every kernel, the passing of its arguments included.

    ``folder`` is for files. Code for x86-64 runs here and counts itself, others' is emulated.
    Raises `ToolchainError` for a target that nothing here counts for, `NoEmulatorError` if its
    emulator is not installed.
    """
    names = list(cases)
    records = [
        np.array([record(i, name, case) for case in cases[name]], "<u2")
        for i, name in enumerate(names)
    ]
    image = image_of(target, names, folder, counting=_counts_itself(target))
    if target.emulator is not None:
        counted = _on_unicorn(target, image, records)
    elif _counts_itself(target):
        counted = _on_this_machine(target, image, records)
    else:
        counted = _on_board(target, image, records, folder)
    starts = np.cumsum([len(one) for one in records])[:-1]
    return dict(zip(names, np.split(counted, starts), strict=True))


def _counts_itself(target: Target) -> bool:
    return target.emulator is None and target.arch == "x86_64"


def record(index: int, kernel: str, case: Case) -> list[int]:
    """A `case_t` of uint16, for function ``call_<index>`` of an image."""
    operation, numbers, _ = parts(kernel)
    kept_in = numbers.rpartition("_")[2]
    kind = NUMBERS.index(kept_in) if kept_in in NUMBERS else 0
    parted = operation in ("accumulate_shared", "accumulate_distinct")
    blocks = case.sources // case.columns if parted else case.blocks
    targets = case.n * (case.target_side**2 if case.side else blocks)
    return [
        *(index, kind, case.n, case.columns, case.blocks, case.sources, case.spikes),
        *(case.biased, case.own, case.bounded),
        *(operation.startswith("fire_synaptic"), targets, case.side),
    ]


def image_of(target: Target, names: Sequence[str], folder: Path, *, counting: bool) -> Path:
    """All kernels, and what calls them; ``counting`` code adds up its own instructions."""
    table = kernel_table()
    sets = {parts(name)[2] for name in names}
    files = {k.source for k in table.values() if parts(k.name)[2] in sets}
    generated = folder / "calls.c"
    generated.write_text(_calls([table[name] for name in names]), encoding="utf-8")
    sources = [KERNEL_DIR / name for name in sorted(files)]
    sources += [SOURCES / "kernel_calls.c", generated]
    functions = ["start", "prepare", "repeat", *(f"call_{i}" for i in range(len(names)))]
    if "firmware" in target.artifacts:
        sources += [SOURCES / "kernel_calls_main.c", RUNTIME_DIR / "semihosting.c"]
    include = [KERNEL_DIR, SOURCES, RUNTIME_DIR]
    if counting:
        return counting_library(target, sources, include, folder, functions)
    objects = compile_objects(target, sources, include, folder / "objects")
    if target.shared:
        return shared_library(target, objects, folder / "image", exports=functions)
    return link_firmware(target, objects, folder / "image", keep=functions)


def _calls(kernels: Sequence[Kernel]) -> str:
    """C functions that call one kernel each, and a table of them."""
    lines = ['#include "kernel_calls.h"']
    for i, kernel in enumerate(kernels):
        arguments = ", ".join(_arguments(kernel))
        lines += [f"void call_{i}(void);", f"void call_{i}(void)", "{"]
        lines += [f"    {kernel.name}({arguments});", "}"]
    table = ", ".join(f"call_{i}" for i in range(len(kernels)))
    return "\n".join([*lines, f"void (*const calls[])(void) = {{{table}}};", ""])


def _arguments(kernel: Kernel) -> list[str]:
    written, counted = iter(_WRITTEN), iter(_COUNTED)
    own = _OWN_ARGUMENTS.get(parts(kernel.name)[0], {})
    found = []
    for ctype in kernel.parameters:
        if ctype in own or ctype in _ARGUMENTS:
            found.append(own.get(ctype) or _ARGUMENTS[ctype])
        else:
            found.append(next(counted if ctype == "uint16_t" else written))
    return found


def _on_unicorn(target: Target, image: Path, records: Sequence[NDArray]) -> NDArray:
    emulator = Emulator(target, image, count_instructions=True)
    emulator.call("start")
    place = emulator.alloc(records[0].itemsize * records[0].shape[1])
    found = []
    for i, cases in enumerate(records):
        for record in cases:
            emulator.write(place, record.tobytes())
            emulator.call("prepare", place)
            emulator.call(f"call_{i}")
            found.append(emulator.instructions)
    return np.array(found)


def _on_this_machine(target: Target, image: Path, records: Sequence[NDArray]) -> NDArray:
    if reason := cannot_count(target):
        raise ToolchainError(
            f"nothing here counts instructions of code for {target.name}: {reason}"
        )
    library = ctypes.CDLL(str(image))
    counter = ctypes.c_uint64.in_dll(library, COUNTER)
    library.start()
    found = []
    for i, cases in enumerate(records):
        call = library[f"call_{i}"]
        for record in cases:
            library.prepare(record.tobytes())
            counter.value = 0
            call()
            found.append(counter.value)
    return np.array(found)


def _on_board(target: Target, image: Path, records: Sequence[NDArray], folder: Path) -> NDArray:
    qemu = target.qemu
    if qemu is None or qemu.clock_hz is None:
        raise ToolchainError(f"no emulator counts instructions of code for {target.name}")
    find_program(qemu.program)
    np.concatenate(records).tofile(folder / "cases")
    ended = processes.run(board_command(qemu, image.name, [], count=True), folder=folder)
    if ended.returncode != 0:
        raise ToolchainError(f"{qemu.program} ended with {ended.returncode}: {ended.stderr}")
    ticks = np.fromfile(folder / "ticks", "<u4")
    return instructions_after_an_empty(ticks, qemu.clock_hz)
