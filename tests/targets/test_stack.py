"""The worst-case stack: what single instructions do, calls, and bounds against measured depths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from networks import l2mu, planned, samples

from l2mu_compile.lowering import lower
from l2mu_compile.program import Program
from l2mu_compile.saved import saved_bytes
from l2mu_compile.stream import Stream
from l2mu_compile.targets.build import write_sources
from l2mu_compile.targets.commands import CommandLog, run_command
from l2mu_compile.targets.elf import code
from l2mu_compile.targets.emit_c import state_bytes, stream_bytes
from l2mu_compile.targets.emulator import Emulator
from l2mu_compile.targets.linking import link_firmware, shared_library
from l2mu_compile.targets.record import Target
from l2mu_compile.targets.registry import TARGETS, get_target
from l2mu_compile.targets.stack import stack_bounds
from l2mu_compile.targets.stack_code import (
    READERS,
    Call,
    Effect,
    Jump,
    Take,
    UnboundedStackError,
    arm,
)
from l2mu_compile.targets.toolchain import cc, compile_objects

PAINT = b"\xa5"

# ---- instructions ------------------------------------------------------------------------------

# Assembly, and by how many bytes it lowers the stack pointer.
INSTRUCTIONS = {
    "cortex-m33": {
        "push {r4, lr}": 8,
        "push {r0-r7, lr}": 36,
        "push.w {r4-r11, lr}": 36,
        "str r8, [sp, #-4]!": 4,
        "str r3, [sp, #-200]!": 200,
        "strd r4, r5, [sp, #-16]!": 16,
        "vpush {d8-d15}": 64,
        "vpush {s16, s17, s18}": 12,
        "sub sp, #508": 508,
        "sub.w sp, sp, #512": 512,
        "sub.w sp, sp, #4080": 4080,
        "sub.w sp, sp, #65536": 65536,
        "subw sp, sp, #4095": 4095,
        "add sp, #508": 0,
        "add.w sp, sp, #4096": 0,
        "pop {r4, pc}": 0,
        "ldr r8, [sp], #4": 0,
        "vpop {d8-d15}": 0,
        "str r4, [sp, #8]": 0,
        "str r4, [sp], #8": 0,
        "strd r4, r5, [r0, #-16]!": 0,
        "sub.w r4, sp, #64": 0,
        "stmdb r0!, {r4, r5}": 0,
        "bx lr": 0,
        "nop": 0,
        "nop.w": 0,
        "dsb sy": 0,
        "mrs r0, primask": 0,
    },
    "cortex-m55": {
        "vpush {d8-d15}": 64,
        "push.w {r4-r10, lr}": 32,
        "vldrw.u32 q0, [r0], #16": 0,
        "vstrw.32 q0, [sp]": 0,
        "dlstp.32 lr, r2": 0,
        "1: nop\n letp lr, 1b": 0,
        "wls lr, r2, 1f\n 1: nop": 0,
    },
    "cortex-a7": {
        "push {r4, lr}": 8,
        "push {r4}": 4,
        "str r4, [sp, #-8]!": 8,
        "strd r4, r5, [sp, #-24]!": 24,
        "vpush {d8-d15}": 64,
        "sub sp, sp, #248": 248,
        "sub sp, sp, #65536": 65536,
        "subne sp, sp, #16": 16,
        "sub sp, r11, #28": 0,
        "add sp, sp, #248": 0,
        "pop {r4, pc}": 0,
        "bx lr": 0,
        "bxeq lr": 0,
        "vpop {d8-d15}": 0,
        "str r4, [r0, #-8]!": 0,
    },
    "cortex-a53": {
        "stp x29, x30, [sp, #-64]!": 64,
        "stp w1, w2, [sp, #-8]!": 8,
        "stp d8, d9, [sp, #-112]!": 112,
        "stp q8, q9, [sp, #-64]!": 64,
        "stp s8, s9, [sp, #-16]!": 16,
        "str x19, [sp, #-16]!": 16,
        "str q0, [sp, #-32]!": 32,
        "str d8, [sp, #-160]!": 160,
        "sub sp, sp, #4064": 4064,
        "sub sp, sp, #2, lsl #12": 8192,
        "add sp, sp, #64": 0,
        "ldp x29, x30, [sp], #64": 0,
        "stp x1, x2, [sp, #16]": 0,
        "stp x1, x2, [x0, #-16]!": 0,
        "mov sp, x29": 0,
        "sub x9, sp, #64": 0,
        "cbz x0, .+8": 0,
        "br x9": 0,
    },
}

# What leaves no bound.
UNBOUNDED = {
    "cortex-m33": ("blx r3", "bx r12", "mov sp, r4", "add sp, r4", "sub.w sp, sp, r4"),
    "cortex-a7": ("blx r3", "blx lr", "bx r12", "mov sp, r4", "sub sp, sp, r4", "add sp, sp, r4"),
    "cortex-a53": ("blr x3", "br x16", "br x17", "sub sp, sp, x4", "and sp, x9, #-32"),
}


def assembled(target: Target, lines: str, folder: Path) -> Path:
    source, output = folder / "code.s", folder / "code.o"
    head = ".syntax unified\n" if target.arch == "arm" else ""
    mode = ".thumb\n" if target.triple.startswith("thumb") else ""
    source.write_text(f"{head}{mode}.text\n{lines}\n")
    run_command([*cc(target), "-c", str(source), "-o", str(output)], CommandLog())
    return output


def effects(target: Target, lines: str, folder: Path) -> list[Effect]:
    parts = [p for p in code(assembled(target, lines, folder)) if p.kind in READERS]
    return [e for p in parts for e in READERS[p.kind](p.content, p.address)]


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_instructions_that_lower_the_stack_pointer(tmp_path: Path, name: str) -> None:
    cases = INSTRUCTIONS[name]
    # A marker after each instruction tells whose effects are whose.
    marker = "sub sp, #4" if name.startswith("cortex-m") else "sub sp, sp, #4"
    found = effects(get_target(name), "\n".join(f"{line}\n{marker}" for line in cases), tmp_path)
    taken, sums = 0, []
    rest = [e.bytes for e in found if isinstance(e, Take)]
    for wanted in cases.values():
        taken = 0
        while taken != wanted or rest[0] != 4:
            taken += rest.pop(0)
        rest.pop(0)
        sums.append(taken)
    assert sums == list(cases.values())
    assert rest == []


@pytest.mark.parametrize(
    ("name", "line"), [(name, line) for name, lines in UNBOUNDED.items() for line in lines]
)
def test_instructions_that_leave_no_bound(tmp_path: Path, name: str, line: str) -> None:
    with pytest.raises(UnboundedStackError, match=r"at 0x0$"):
        effects(get_target(name), line, tmp_path)


BRANCHES = {
    "cortex-m0plus": {"bl": Call, "b": Jump},
    "cortex-m33": {"bl": Call, "b.w": Jump, "b": Jump},
    "cortex-a7": {"b": Jump, "beq": Jump},  # calls in Arm code are left to the linker
    "cortex-a53": {"bl": Call, "b": Jump},
}


@pytest.mark.parametrize("name", BRANCHES)
@pytest.mark.parametrize("distance", [-500, -4, 8, 1000])
def test_calls_and_jumps_are_followed(tmp_path: Path, name: str, distance: int) -> None:
    for branch, kind in BRANCHES[name].items():
        text = f".space 512\nhere: {branch} there\n.space 2048\n.set there, here + {distance}"
        found = effects(get_target(name), text, tmp_path)
        assert found == [kind(512 + distance)], branch


@pytest.mark.parametrize(
    ("word", "effect"),
    [
        (0xEB000000, Call(0x108)),  # BL
        (0x1BFFFFFE, Call(0x100)),  # BLNE
        (0xEA000001, Jump(0x10C)),  # B
        (0xFA000000, Call(0x108)),  # BLX, to a Thumb function
        (0xFB000000, Call(0x10A)),
        (0xFAFFFFFE, Call(0x100)),
    ],
)
def test_calls_in_arm_code(word: int, effect: Effect) -> None:
    assert list(arm(word.to_bytes(4, "little"), 0x100)) == [effect]


# ---- calls -------------------------------------------------------------------------------------


def linked(target: Target, source: str, folder: Path, keep: list[str]) -> Path:
    (folder / "main.c").write_text(f"{source}\nint main(void)\n{{\n    return 0;\n}}\n")
    objects = compile_objects(target, [folder / "main.c"], [], folder / "o")
    return link_firmware(target, objects, folder / "image.elf", keep=keep)


LEAVES = """
__attribute__((noinline)) void use(volatile char *p) { p[0] = 1; }
__attribute__((noinline)) int small(int x) { volatile char a[40]; use(a); return a[0] + x; }
__attribute__((noinline)) int large(int x) { volatile char a[400]; use(a); return a[0] + x; }
"""


def test_the_deepest_callee_counts(tmp_path: Path) -> None:
    source = LEAVES + "int f(int x) { return small(x) + large(x) + small(x); }"
    image = linked(get_target("cortex-m4"), source, tmp_path, ["f"])
    bounds = stack_bounds(image, ["f", "small", "large", "use"])
    assert bounds["use"] == 0
    assert 40 < bounds["small"] < 60
    assert 400 < bounds["large"] < 420
    assert 0 < bounds["f"] - bounds["large"] < 32


def test_the_compilers_own_library_counts(tmp_path: Path) -> None:
    source = (
        "float f(float a, float b) { return a / b + a * b; } int g(int a, int b) { return a / b; }"
    )
    image = linked(get_target("cortex-m0plus"), source, tmp_path, ["f", "g"])
    bounds = stack_bounds(image, ["f", "g", "__aeabi_fdiv"])
    assert bounds["f"] > bounds["__aeabi_fdiv"] > 0
    assert bounds["g"] > 0


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("int f(int x) { return x < 2 ? x : f(x - 1) * f(x - 2); }", "f calls itself"),
        ("int f(int (*g)(int)) { return g(1) + g(2); }", "f goes elsewhere through a register"),
        (LEAVES + "int f(int n) { volatile char a[n]; use(a); return a[0]; }", "f "),
        (
            "int g(int); __attribute__((noinline)) int f(int x) { return x ? g(x - 1) + 1 : 0; } "
            "__attribute__((noinline)) int g(int x) { return x ? f(x - 1) * 3 : 1; }",
            "calls itself",
        ),
    ],
    ids=["recursion", "pointer", "variable", "mutual"],
)
def test_what_has_no_bound(tmp_path: Path, source: str, message: str) -> None:
    image = linked(get_target("cortex-m4"), source, tmp_path, ["f"])
    with pytest.raises(UnboundedStackError, match=message):
        stack_bounds(image, ["f"])


def test_code_of_another_processor_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f.c").write_text("int f(int x);\nint f(int x) { return x; }\n")
    target = get_target("android-x86_64")
    objects = compile_objects(target, [tmp_path / "f.c"], [], tmp_path / "o")
    image = shared_library(target, objects, tmp_path / "f.so", strip=False)
    with pytest.raises(UnboundedStackError, match="f is in no instruction set that can be read"):
        stack_bounds(image, ["f"])


# ---- the generated API -------------------------------------------------------------------------


def built(target: Target, program: Program, folder: Path) -> Path:
    """An image with all of the API."""
    sources = write_sources(program, ["test"], folder)
    if target.shared:
        objects = compile_objects(target, sources, [folder], folder / "o")
        exports = program.functions
        return shared_library(target, objects, folder / "i.so", exports=exports, strip=False)
    (folder / "main.c").write_text("int main(void)\n{\n    return 0;\n}\n")
    objects = compile_objects(target, [*sources, folder / "main.c"], [folder], folder / "o")
    return link_firmware(target, objects, folder / "i.elf", keep=program.functions)


def measured(target: Target, image: Path, program: Program) -> dict[str, int]:
    """The deepest stack of every function of the API, called on ordinary data."""
    emulator = Emulator(target, image)
    state, stream = (emulator.alloc(f(program)) for f in (state_bytes, stream_bytes))
    x = samples(planned(l2mu()), 1, 30)[0]
    floats, counts = (emulator.place(a.tobytes()) for a in (x, (100 * x).astype(np.int16)))
    saved = emulator.alloc(size := saved_bytes(program.members))
    arguments = {
        "init": (state,), "reset": (state,), "step": (state, floats), "step_raw": (state, counts),
        "classify": (state,), "scores": (state,), "run": (state, floats, 30),
        "run_raw": (state, counts, 30), "class_name": (1,), "version": (), "digest": (),
        "save": (state, saved), "restore": (state, saved, size), "stream_init": (stream,),
        "stream_reset": (stream,), "push": (stream, floats), "push_raw": (stream, counts),
        "decision": (stream,), "stream_scores": (stream,),
    }  # fmt: skip
    depths = dict.fromkeys(program.functions, 0)
    for turn in range(12):
        for word, values in arguments.items():
            if turn and word in ("init", "reset", "stream_init", "stream_reset"):
                continue
            emulator.write(emulator.stack.origin, PAINT * emulator.stack.size)
            emulator.call(f"{program.name}_{word}", *values)
            painted = emulator.read(emulator.stack.origin, emulator.stack.size)
            name, depth = f"{program.name}_{word}", len(painted.lstrip(PAINT))
            depths[name] = max(depths[name], depth)
    return depths


EMULATED = [name for name, target in TARGETS.items() if target.emulator]
QUICK = ("cortex-m0plus", "cortex-m4f", "cortex-a7", "cortex-a53")


@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in EMULATED]
)
def test_bounds_hold_and_are_tight(tmp_path: Path, name: str, quantized: bool) -> None:
    target = get_target(name)
    program = lower(planned(l2mu(rule="mean_membrane"), quantized), Stream(10, 4))
    image = built(target, program, tmp_path)
    bounds = stack_bounds(image, program.functions)
    for function, depth in measured(target, image, program).items():
        assert depth <= bounds[function] < depth + 100, function
