"""The emulator: soft-float results bit for bit, exact counts, and faults that say where."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from unicorn import unicorn_const

from l2mu_compile.errors import MismatchError, ToolchainError, UsageError
from l2mu_compile.targets.elf import footprint
from l2mu_compile.targets.emulated_machine import SCRATCH, EmulationError
from l2mu_compile.targets.emulator import Emulator
from l2mu_compile.targets.linking import link_firmware, shared_library
from l2mu_compile.targets.record import EmulatorModel, Memory, Region, Target
from l2mu_compile.targets.registry import get_target
from l2mu_compile.targets.toolchain import compile_objects
from l2mu_compile.targets.zig import compiler_environment, zig_command

CORTEX_M4 = get_target("cortex-m4")

FUNCTIONS = """
#include <stdint.h>
#include <string.h>

int32_t answer = 40;
int32_t zeroed[300];
volatile int32_t result;
#define EACH(name, type, expression)                              \\
  void name(const float *a, const float *b, type *out, int n) {   \\
    for (int i = 0; i < n; i++) out[i] = (type)(expression);      \\
  }
EACH(add_each, float, a[i] + b[i])
EACH(sub_each, float, a[i] - b[i])
EACH(mul_each, float, a[i] * b[i])
EACH(div_each, float, a[i] / b[i])
EACH(gt_each, uint8_t, a[i] > b[i])
EACH(le_each, uint8_t, a[i] <= b[i])
float dot(const float *a, const float *b, int n) {
  float sum = 0.0f;
  for (int i = 0; i < n; i++) sum += a[i] * b[i];
  return sum;
}
int32_t dot8(const int8_t *a, const int8_t *b, int n) {
  int32_t sum = 0;
  for (int i = 0; i < n; i++) sum += a[i] * b[i];
  return sum;
}
int32_t clamp_sum(const int32_t *a, int n) {
  int32_t sum = 0;
  for (int i = 0; i < n; i++) {
    int32_t v = a[i] > 100 ? 100 : a[i];
    v = v < -100 ? -100 : v;
    sum += (sum & 1) ? v : v >> 3;
  }
  return sum;
}
uint64_t mul64(uint64_t a, uint64_t b) { return a * b; }
uint64_t div64(uint64_t a, uint64_t b) { return a / b; }
void copy(char *to, const char *from, unsigned size) { memcpy(to, from, size); }
void fill(char *to, int value, unsigned size) { memset(to, value, size); }
int32_t six(int32_t a, int32_t b, int32_t c, int32_t d, int32_t e, int32_t f) {
  return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f;
}
int32_t negate(int32_t x) { return -x; }
void forever(void) { for (;;) { __asm volatile(""); } }
uint32_t peek(uint32_t pad, uint32_t address) {
  __asm volatile("nop\\n\\tnop");
  return pad + *(volatile uint32_t *)address;
}
void poke(uint32_t address) { *(volatile uint32_t *)address = 1u; }
void undefined(void) { __asm volatile("udf #0"); }
void jump(void (*to)(void)) { to(); result = 1; }
uint32_t deep(uint32_t n) {
  volatile uint32_t frame[64];
  frame[0] = frame[1] = n;
  return n == 0u ? 0u : frame[deep(n - 1u) & 1u];
}
__attribute__((naked)) void counted(void) {
  __asm volatile("movs r1, #10\\n"           /* 1 */
                 "1: subs r1, r1, #1\\n\\t"  /* 10 */
                 "bne 1b\\n\\t"              /* 10 */
                 "cmp r1, #0\\n\\t"          /* 1 */
                 "ite ne\\n\\t"              /* 1 */
                 "movne.w r1, #1\\n\\t"      /* 1, though its condition fails */
                 "moveq r1, #2\\n\\t"        /* 1 */
                 "bx lr");                   /* 1 */
}
__attribute__((naked)) void long_block(void) {
  __asm volatile(".rept 3000\\n\\tadd.w r0, r0, #1\\n\\tadds r0, #1\\n\\t.endr\\n\\tbx lr");
}
int main(void) {
  answer += 2;
  for (int i = 0; i < 300; i++) zeroed[i] += i;
  result = zeroed[299] + 1;
  return -answer;
}
"""


KEPT = (
    *("add_each", "sub_each", "mul_each", "div_each", "gt_each", "le_each", "dot", "dot8"),
    *("clamp_sum", "mul64", "div64", "copy", "fill", "six", "negate", "forever", "peek", "poke"),
    *("undefined", "jump", "deep", "counted", "long_block"),
)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("emulator")
    source = directory / "functions.c"
    source.write_text(FUNCTIONS)
    objects = compile_objects(CORTEX_M4, [source], [], directory)
    return link_firmware(CORTEX_M4, objects, directory / "functions.elf", keep=KEPT)


@pytest.fixture
def emulator(image: Path) -> Emulator:
    return Emulator(CORTEX_M4, image)


@pytest.fixture
def counting(image: Path) -> Emulator:
    return Emulator(CORTEX_M4, image, count_instructions=True)


def _floats(count: int, seed: int) -> np.ndarray:
    """Ordinary numbers, any finite bit pattern (subnormals included), and the special values."""
    rng = np.random.default_rng(seed)
    patterns = rng.integers(0, 2**32, count, dtype=np.uint32).view(np.float32)
    tiny = rng.integers(0, 2**24, count, dtype=np.uint32).view(np.float32)
    special = np.array([0.0, -0.0, np.inf, -np.inf, 1.0, -1.0, np.nan, 1e-45], dtype=np.float32)
    ordinary = rng.normal(size=count).astype(np.float32)
    values = np.concatenate([ordinary, patterns, tiny, np.repeat(special, 8)])
    return rng.permutation(values).astype(np.float32)


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal bits; any NaN equals any NaN."""
    if a.dtype != np.float32:
        return bool(np.array_equal(a, b))
    nan = np.isnan(a) & np.isnan(b)
    return bool(np.all((a.view(np.uint32) == b.view(np.uint32)) | nan))


@pytest.mark.parametrize(
    ("function", "meaning"),
    [
        ("add_each", np.add),
        ("sub_each", np.subtract),
        ("mul_each", np.multiply),
        ("div_each", np.divide),
        ("gt_each", np.greater),
        ("le_each", np.less_equal),
    ],
)
def test_soft_float_equals_numpy(
    emulator: Emulator, function: str, meaning: Callable[..., np.ndarray]
) -> None:
    a, b = _floats(800, 1), _floats(800, 2)
    with np.errstate(all="ignore"):
        expected = meaning(a, b)
    expected = expected.astype(np.uint8) if expected.dtype == bool else expected
    out = emulator.alloc(expected.nbytes)
    emulator.call(function, emulator.place(a.tobytes()), emulator.place(b.tobytes()), out, a.size)
    got = np.frombuffer(emulator.read(out, expected.nbytes), dtype=expected.dtype)
    if function == "div_each":
        # zig's division rounds subnormal quotients wrongly; the others are exact there too.
        subnormal = np.abs(expected) < np.finfo(np.float32).tiny
        got, expected = got[~subnormal], expected[~subnormal]
    assert _same(got, expected)


def test_accumulation_is_in_index_order(emulator: Emulator) -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 300)).astype(np.float32)
    expected = np.float32(0)
    for x, y in zip(a, b, strict=True):
        expected = np.float32(expected + np.float32(x * y))
    bits = emulator.call("dot", emulator.place(a.tobytes()), emulator.place(b.tobytes()), 300)
    assert bits == int(expected.view(np.uint32))


@pytest.mark.parametrize(("a", "b"), [(0xFFFF_FFFF_FFFF, 0x1234_5678_9ABC), (7, 3), (2**63, 10)])
def test_64_bit_arithmetic(emulator: Emulator, a: int, b: int) -> None:
    words = (a & 0xFFFF_FFFF, a >> 32, b & 0xFFFF_FFFF, b >> 32)
    for function, expected in (("mul64", a * b % 2**64), ("div64", a // b)):
        low = emulator.call(function, *words)
        assert low | emulator.register("R1") << 32 == expected


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 490])
@pytest.mark.parametrize(("to_offset", "from_offset"), [(0, 0), (1, 1), (1, 2), (4, 3)])
def test_memcpy_and_memset(emulator: Emulator, size: int, to_offset: int, from_offset: int) -> None:
    data = bytes(i * 7 % 256 for i in range(600))
    source, to = emulator.place(data), emulator.alloc(600)
    emulator.call("copy", to + to_offset, source + from_offset, size)
    expected = bytes(to_offset) + data[from_offset : from_offset + size]
    assert emulator.read(to, 600) == expected.ljust(600, b"\0")
    emulator.call("fill", to + to_offset, 0x1A5, size)
    assert emulator.read(to, 600) == (bytes(to_offset) + b"\xa5" * size).ljust(600, b"\0")


def test_arguments_beyond_registers_and_negative_ones(emulator: Emulator) -> None:
    assert emulator.call("six", 1, -2, 3, 4, 5, -6) == (1 - 4 + 9 + 16 + 25 - 36)
    assert emulator.call("negate", 5) == 2**32 - 5


def test_reset_initializes_memory_and_returns_what_main_returned(
    emulator: Emulator, image: Path
) -> None:
    assert CORTEX_M4.memory is not None
    emulator.write(CORTEX_M4.memory.ram.origin, b"\xee" * 16384)
    for _ in range(2):
        assert emulator.reset() == -42
        result = emulator.symbol("result")
        assert int.from_bytes(emulator.read(result.address, result.size), "little") == 300
    assert footprint(image).ram < 16384


def test_call_works_without_reset(emulator: Emulator) -> None:
    address = emulator.symbol("answer").address
    assert emulator.call("peek", 2, address) == 42


# Counting


def test_count_of_known_code(counting: Emulator) -> None:
    counting.call("counted")
    assert counting.instructions == 26
    assert counting.profile() == {"counted": 26}
    assert counting.call("long_block", 0) == 6000
    assert counting.instructions == 6001


def _cases(emulator: Emulator) -> dict[str, tuple[int, ...]]:
    rng = np.random.default_rng(4)
    values = rng.normal(size=200).astype(np.float32)
    words = rng.integers(-300, 300, 200).astype(np.int32)
    floats, integers = emulator.place(values.tobytes()), emulator.place(words.tobytes())
    out = emulator.alloc(4096)
    return {
        "dot": (floats, floats, 100),
        "div_each": (floats, floats + 400, out, 50),
        "dot8": (integers, integers + 100, 333),
        "clamp_sum": (integers, 200),
        "div64": (12345, 678, 9, 0),
        "copy": (out, floats + 1, 301),
        "counted": (),
        "long_block": (0,),
        "deep": (9,),
    }


def _passed_over(emulator: Emulator, executed: list[int]) -> int:
    """Instructions of `it` blocks among these addresses that were not executed."""
    count = 0
    for position, address in enumerate(executed):
        first = int.from_bytes(emulator.read(address, 2), "little")
        if first >> 8 != 0xBF or first & 0xF == 0:
            continue
        governed = 4 - f"{first & 0xF:04b}"[::-1].index("1")
        place, block = address + 2, []
        for _ in range(governed):
            block.append(place)
            place += 4 if emulator.read(place + 1, 1)[0] >> 3 in (0b11101, 0b11110, 0b11111) else 2
        count += governed - len(set(block) & set(executed[position + 1 : position + 1 + governed]))
    return count


def test_counts_equal_the_per_instruction_hook_in_python(image: Path, counting: Emulator) -> None:
    plain = Emulator(CORTEX_M4, image)
    seen: list[int] = []
    passed_over = {}

    def hook(_engine: object, address: int, _size: int, _data: object) -> None:
        seen.append(address)

    plain._engine.hook_add(unicorn_const.UC_HOOK_CODE, hook)
    _cases(plain)
    for function, arguments in _cases(counting).items():
        for _ in range(2):
            seen.clear()
            assert counting.call(function, *arguments) == plain.call(function, *arguments)
            passed_over[function] = _passed_over(plain, seen)
            assert counting.instructions == len(seen) + passed_over[function] > 0, function
    assert passed_over["dot"] > 0
    assert passed_over["long_block"] == 0


def test_conditions_do_not_change_the_count(counting: Emulator) -> None:
    """clamp_sum has no branch that depends on data: conditions alone choose what runs."""
    counts, sums = set(), set()
    for values in ([0] * 64, [1000] * 64, [-1000] * 64, [7, -2000, 900, 5] * 16):
        data = counting.place(np.array(values, dtype=np.int32).tobytes())
        sums.add(counting.call("clamp_sum", data, 64))
        counts.add(counting.instructions)
    assert len(sums) == 4
    assert len(counts) == 1


CONDITIONS = r"""
__attribute__((naked)) int chosen(int x) {
  __asm volatile("cmp r0, #0\n\t"
                 UNLESS "moveq r0, #5\n\t"
                 UNLESS "subne r0, r0, #1\n\t"
                 "bx lr");
}
"""


@pytest.mark.parametrize(("name", "count"), [("cortex-a7", 4), ("android-armeabi-v7a", 6)])
def test_conditions_do_not_change_a_librarys_count(tmp_path: Path, name: str, count: int) -> None:
    """Arm code has a condition in every instruction, Thumb code an `it` before it."""
    target = get_target(name)
    thumb = target.emulator is not None and target.emulator.code_bit == 1
    unless = ('"it eq\\n\\t"', '"it ne\\n\\t"') if thumb else ('""', '""')
    source = tmp_path / "chosen.c"
    source.write_text(CONDITIONS.replace("UNLESS", "%s") % unless)
    objects = compile_objects(target, [source], [], tmp_path)
    library = shared_library(target, objects, tmp_path / "chosen.so")
    emulator = Emulator(target, library, count_instructions=True)
    for given, expected in ((0, 5), (9, 8)):
        assert emulator.call("chosen", given) == expected
        assert emulator.instructions == count
        assert sum(emulator.profile().values()) == count
        emulator.clear_profile()


def test_profile_splits_the_count_by_function(counting: Emulator) -> None:
    arguments = _cases(counting)["dot"]
    counting.reset()
    counting.clear_profile()
    counting.call("dot", *arguments)
    profile = counting.profile()
    assert sum(profile.values()) == counting.instructions
    assert profile["dot"] < counting.instructions / 2
    assert any("fmul" in name for name in profile)
    assert list(profile.values()) == sorted(profile.values(), reverse=True)


def test_not_counting_says_so(emulator: Emulator) -> None:
    for use in (lambda: emulator.instructions, emulator.profile, emulator.clear_profile):
        with pytest.raises(UsageError, match="count_instructions"):
            use()


# Faults


@pytest.mark.parametrize("count", [False, True])
@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        ("forever", (), r"did not end in 5000 instructions: it is at pc 0x\w+ in forever\+0x0"),
        ("peek", (0, 0xDEAD_0000), r"read.*in peek\+0x4"),
        ("poke", (0xDEAD_0000,), r"write.*in poke\+0x2"),
        ("poke", (0x100,), r"[Ww]rite.*in poke\+0x2"),
        ("undefined", (), r"Invalid instruction.*in undefined\+0x0"),
        ("jump", (0xDEAD_0001,), r"pc 0xdead0000 in \?.*jump"),
        ("deep", (100,), r"in deep\+"),
    ],
)
def test_fault_names_place_and_function(
    image: Path, count: bool, function: str, arguments: tuple[int, ...], message: str
) -> None:
    emulator = Emulator(CORTEX_M4, image, count_instructions=count)
    with pytest.raises(EmulationError, match=message) as caught:
        emulator.call(function, *arguments, max_instructions=5000)
    assert str(caught.value).startswith(f"{function}")
    assert caught.value.exit_code == MismatchError.exit_code
    assert emulator.call("negate", -7) == 7


def test_missing_names_and_addresses(emulator: Emulator) -> None:
    with pytest.raises(EmulationError, match="no symbol 'nothing'"):
        emulator.call("nothing")
    with pytest.raises(EmulationError, match="cannot read 4 bytes at 0xf0000000"):
        emulator.read(0xF000_0000, 4)
    with pytest.raises(EmulationError, match="cannot write 1 bytes at 0xf0000000"):
        emulator.write(0xF000_0000, b"x")
    with pytest.raises(UsageError, match="no register 'X99'"):
        emulator.register("X99")


def test_targets_and_files_that_cannot_be_emulated(image: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="target 'host' has no emulator"):
        Emulator(get_target("host"), image)
    with pytest.raises(ToolchainError, match="cannot read"):
        Emulator(CORTEX_M4, tmp_path / "missing.elf")


def test_scratch_memory_is_aligned_limited_and_reused(emulator: Emulator) -> None:
    emulator.alloc(3)
    second = emulator.alloc(5, align=64)
    assert second % 64 == 0
    emulator.write(second, b"12345")
    with pytest.raises(EmulationError, match="used up"):
        emulator.alloc(SCRATCH.size)
    emulator.free_all()
    assert emulator.alloc(8) == SCRATCH.origin
    assert emulator.read(second, 5) == bytes(5)


# Another architecture, by record alone

AARCH64 = Target(
    name="aarch64-bare",
    description="64-bit Arm without a system",
    arch="aarch64",
    triple="aarch64-freestanding-none",
    cpu="cortex_a53",
    pointer_bytes=8,
    emulator=EmulatorModel(
        arch="UC_ARCH_ARM64",
        mode=("UC_MODE_ARM",),
        cpu="UC_CPU_ARM64_A53",
        constants="arm64_const",
        register_prefix="UC_ARM64_REG_",
        arguments=tuple(f"X{i}" for i in range(8)),
        result="X0",
        stack_pointer="SP",
        link="LR",
        program_counter="PC",
        instruction_bytes=4,
        entry="elf_entry",
    ),
    memory=Memory(Region(0x4000_0000, 65536), Region(0x5000_0000, 65536)),
)
AARCH64_PROGRAM = """
#include <stdint.h>
double scale = 3.0;
void firmware_halt(int status);
__attribute__((noinline)) void firmware_halt(int status) {
  for (;;) { __asm volatile("" : : "r"(status)); }
}
int64_t times(int64_t x) { return (int64_t)((double)x * scale); }
int64_t sum(int64_t a, int64_t b, int64_t c, int64_t d, int64_t e, int64_t f, int64_t g, int64_t h,
            int64_t i) { return a + b + c + d + e + f + g + h + 2 * i; }
int main(void) { firmware_halt((int)times(-7)); return 0; }
"""
AARCH64_SCRIPT = """
SECTIONS {
  . = 0x40000000; .text : { *(.text*) *(.rodata*) }
  . = 0x50000000; .data : { *(.data*) *(.bss*) }
}
"""


def test_a_record_is_all_another_architecture_needs(tmp_path: Path) -> None:
    source, script, image = (tmp_path / name for name in ("main.c", "link.ld", "main.elf"))
    source.write_text(AARCH64_PROGRAM)
    script.write_text(AARCH64_SCRIPT)
    (built,) = compile_objects(AARCH64, [source], [], tmp_path)
    command = [*zig_command(), "cc", "-target", AARCH64.triple, "-nostdlib", "-Wl,-e,main"]
    command += ["-T", str(script), str(built), "-o", str(image)]
    subprocess.run(command, env=compiler_environment(), check=True)
    emulator = Emulator(AARCH64, image, count_instructions=True)
    assert emulator.reset() == -21
    assert emulator.call("times", 2**40) == 3 * 2**40
    assert emulator.call("sum", *range(1, 10)) == 36 + 18
    assert sum(emulator.profile().values()) > emulator.instructions > 0


def test_an_image_outside_memory_is_refused(image: Path) -> None:
    assert CORTEX_M4.memory is not None
    moved = replace(CORTEX_M4.memory, flash=Region(0x1000_0000, 65536))
    with pytest.raises(EmulationError, match="cannot write"):
        Emulator(replace(CORTEX_M4, memory=moved), image)
