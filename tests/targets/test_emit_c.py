"""Emitted C: golden text, strict compilers, and refusals."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import HostCompiler
from exactness import product_of, storing_tiles, thinned
from kernel_machines import sources
from networks import (
    PORTABLE,
    chain,
    cuba,
    f32,
    feed_forward,
    integer_toy,
    l2mu,
    late_reader,
    li,
    narrow,
    planned,
    samples,
)

from l2mu_compile.errors import ModelError
from l2mu_compile.interpreter import run
from l2mu_compile.lowering import lower
from l2mu_compile.network import CTYPE_BYTES, READOUT_RULES, Network, Readout
from l2mu_compile.passbase import Context
from l2mu_compile.pipeline import parse_pipeline, run_passes
from l2mu_compile.program import Call, Program
from l2mu_compile.stream import Stream
from l2mu_compile.targets.emit_c import emit_c, render, state_bytes, state_layout
from l2mu_compile.targets.kernel_table import KERNEL_DIR
from l2mu_compile.targets.registry import get_target
from l2mu_compile.targets.toolchain import RUNTIME_DIR
from l2mu_compile.targets.zig import compiler_environment, zig_command

Golden = Callable[[str, str], None]
DOCS = Path(__file__).parents[2] / "docs"
NUMPY_TYPES = {"float": "<f4", "int32_t": "<i4", "int64_t": "<i8"}
STRICT = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror", "-pedantic")


def integer_program() -> Program:
    """With a stream and names."""
    context = Context(target=PORTABLE)
    network = run_passes(integer_toy(), parse_pipeline("select-kernels,plan-memory"), context)
    readout = replace(network.readout, labels=("up", 'down "??/"'))
    return lower(network.replace(readout=readout), Stream(10, 4))


def sparse_program() -> Program:
    """One projection of fours, one of single weights."""
    network = thinned(narrow(9, "zero", True, "thin"), np.random.default_rng(3))
    return lower(storing_tiles(network, PORTABLE, 4, 1))


def float_program() -> Program:
    return lower(planned(feed_forward(), windows=samples(feed_forward())))


# ---- golden ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make", [float_program, integer_program, sparse_program], ids=["float", "int8", "sparse"]
)
def test_golden_sources(
    golden: Golden, make: Callable[[], Program], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("l2mu_compile.targets.emit_c.TOOL", "l2mu-compile of a test")
    program = make()
    sources = emit_c(program, ["made by a test", "of two lines"])
    for suffix in (".h", ".c", "_weights.h"):
        golden(f"{program.name}{suffix}", sources[program.name + suffix])


def test_sources_are_the_models_own_files_and_the_kernels_it_calls() -> None:
    assert sorted(emit_c(float_program(), [])) == [
        "l2mu_accumulate_f32.c",
        "l2mu_arith.h",
        "l2mu_blocks.h",
        "l2mu_counts.c",
        "l2mu_fire_f32.c",
        "l2mu_input_f32.c",
        "l2mu_kernels.h",
        "l2mu_packed.h",
        "l2mu_powers.h",
        "l2mu_save.c",
        "l2mu_score.c",
        "l2mu_sparse.h",
        "l2mu_strips.h",
        "toy.c",
        "toy.h",
        "toy_weights.h",
    ]


@pytest.mark.parametrize("quantized", [False, True])
def test_kernels_that_kernels_call_come_with_them(tmp_path: Path, quantized: bool) -> None:
    """Those of current-based neurons call one in the file of the others."""
    network, number = feed_forward(cuba()), "i16" if quantized else "f32"
    program = lower(planned(network, quantized))
    assert not any("fire_subtract" in kernel for kernel in program.kernels)
    assert {f"l2mu_synaptic_{number}.c", f"l2mu_fire_{number}.c"} <= set(emit_c(program, ["test"]))
    target = get_target("cortex-m4")
    window = samples(network)[0]
    product = product_of(planned(network, quantized, target=target.name), target, window, tmp_path)
    assert product.image.is_file()


def test_the_same_program_prints_the_same_bytes() -> None:
    assert emit_c(float_program(), ["s"]) == emit_c(float_program(), ["s"])


def test_a_stamp_cannot_end_its_comment() -> None:
    sources = emit_c(float_program(), ["evil */ int x; /*"])
    for name in ("toy.h", "toy.c", "toy_weights.h"):
        assert sources[name].startswith("/* evil * / int x; /*")


# ---- strict compilers --------------------------------------------------------------------------


def compile_strictly(folder: Path, language: str, source: str, *flags: str) -> None:
    """Check a file's syntax and types with this machine's compiler, or else with zig's clang."""
    standard = {"c": "-std=c99", "c++": "-std=c++11"}[language]
    own = shutil.which({"c": "cc", "c++": "c++"}[language])
    command = [own] if own else [*zig_command(), {"c": "cc", "c++": "c++"}[language]]
    arguments = [standard, *STRICT, *flags, "-idirafter", str(RUNTIME_DIR)]
    done = subprocess.run(
        [*command, *arguments, "-fsyntax-only", "-x", language, source],
        cwd=folder,
        env=compiler_environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def leaky_readout() -> Network:
    network = feed_forward(rule="mean_membrane")
    hidden, out = network.populations
    return network.replace(populations=(hidden, replace(out, neuron=li())))


def deaf() -> Network:
    """A network whose neurons read no sample: biases alone drive it."""
    network = feed_forward()
    driven = replace(network.populations[0], bias=f32([0.5, 1, 1.5]))
    return network.replace(
        populations=(driven, network.populations[1]), projections=network.projections[1:]
    )


def kinds() -> list[Network]:
    """Networks that together use every feature of the templates."""
    clamped = feed_forward(cuba(reset="clamp"), "max_membrane")
    named = l2mu(name="l2mu")  # like the kernels
    early = chain().replace(readout=Readout("p4", margins=(1, 2, 3)))
    return [feed_forward(), clamped, leaky_readout(), late_reader(), early, named, deaf()]


def cpp_caller(program: Program) -> str:
    """C++ that uses the whole API."""
    calls = """
        init(s) reset(s) step(s, f) step_raw(s, i) classify(s) scores(s) run(s, f, 1)
        run_raw(s, i, 1) class_name(0) version() digest() save(s, bytes)
        restore(s, bytes, sizeof bytes)"""
    streams = """
        stream_init(t) stream_reset(t) push(t, f) push_raw(t, i) decision(t) stream_scores(t)"""
    name, macro = program.name, program.name.upper()
    calls += (streams if program.stream else "") + (" decided(s)" if program.decided else "")
    known = re.findall(r"\w+\([^)]*\)", calls)
    assert {f"{name}_{call.partition('(')[0]}" for call in known} == set(program.functions)
    stream = f"static {name}_stream_t stream, *t = &stream;" if program.stream else ""
    return f"""#include "{name}.h"
        static {name}_state_t state, *s = &state; {stream}
        static float f[{macro}_INPUTS]; static int16_t i[{macro}_INPUTS];
        static uint8_t bytes[{macro}_SAVE_BYTES];
        int main() {{ {"".join(f"(void){name}_{call};" for call in known)} return 0; }}
        """


@pytest.mark.parametrize("quantized", [False, True])
def test_sources_compile_as_strict_c99_and_the_header_as_cpp(
    tmp_path: Path, quantized: bool
) -> None:
    for i, network in enumerate(kinds()):
        folder = tmp_path / str(i)
        folder.mkdir()
        program = lower(planned(network, quantized), Stream(10, 4) if i % 2 else None)
        for name, text in emit_c(program, ["test"]).items():
            (folder / name).write_text(text, encoding="utf-8")
        for source in sorted(folder.glob("*.c")):
            if i == 0 or source.stem == program.name:
                compile_strictly(folder, "c", source.name)
        (folder / "main.cpp").write_text(cpp_caller(program))
        compile_strictly(folder, "c++", "main.cpp")


def test_the_documented_firmware_compiles_as_strict_c99(tmp_path: Path) -> None:
    network = planned(l2mu(name="har"), quantized=True)
    for name, text in emit_c(lower(network, Stream(100, 25)), ["test"]).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    page = (DOCS / "generated_code.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```c\n(.*?)```", page, re.DOTALL)
    include = '#include "har.h"\n'
    assert example.count(include) == 1
    sensor = "int read_sensor(int16_t *counts);\n"
    (tmp_path / "main.c").write_text(example.replace(include, include + sensor))
    compile_strictly(tmp_path, "c", "main.c")


def test_every_function_is_in_the_documentation() -> None:
    program = lower(planned(l2mu(name="har")), Stream(100, 25))
    page = (DOCS / "generated_code.md").read_text(encoding="utf-8")
    table = page[page.index("## API") : page.index("## Streams")]
    assert {name for name in program.functions if name not in table} == set()


def test_all_portable_kernels_compile_as_strict_c99() -> None:
    for source in sources(["ref"]):
        compile_strictly(KERNEL_DIR, "c", source)


@pytest.mark.parametrize("optimize", ["-O0", "-Os"])
def test_constants_are_aligned_to_four_bytes(tmp_path: Path, optimize: str) -> None:
    """Kernels read several int8 or int16 at once."""
    program = lower(planned(l2mu(name="cell"), quantized=True))
    for name, text in emit_c(program, []).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    checks = "".join(
        f"typedef char check_{i}[__alignof__({d.name}) >= 4 ? 1 : -1];\n"
        for i, d in enumerate(program.data)
    )
    assert {"int8_t", "int16_t", "int32_t"} == {d.ctype for d in program.data}
    source = f'#include "cell_weights.h"\n{checks}'
    (tmp_path / "check.c").write_text(source, encoding="utf-8")
    flags = (optimize, "-Wno-unused-variable", "-Wno-unused-const-variable")
    compile_strictly(tmp_path, "c", "check.c", *flags)


def test_generated_code_uses_no_memory_of_its_own() -> None:
    """No allocation, and no variable that is not constant."""
    for quantized in (False, True):
        program = lower(planned(l2mu(), quantized))
        for name, text in emit_c(program, ["s"]).items():
            code = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
            assert not re.search(r"\b(malloc|calloc|realloc|free|printf)\b", code), name
            for line in code.splitlines():
                if line.startswith("static") and "(" not in line:
                    assert line.startswith("static const"), (name, line)
                assert not re.match(r"const char \*\w+( =|;|\[)", line), (name, line)
                assert not re.match(r"(float|u?int\d+_t|int) \w+(\[.*)?( =|;)", line), (name, line)


# ---- layout and API ----------------------------------------------------------------------------


@pytest.mark.parametrize("rule", READOUT_RULES)
@pytest.mark.parametrize("quantized", [False, True])
def test_state_is_laid_out_as_planned(rule: str, quantized: bool) -> None:
    program = lower(planned(l2mu(rule=rule), quantized))
    layout = state_layout(program)
    assert all(b.lifetime == "state" for b in layout.values())
    end = 0
    for buffer in layout.values():
        assert buffer.offset == end, "members follow each other without padding"
        assert buffer.offset % CTYPE_BYTES[buffer.ctype] == 0
        end = buffer.end
    assert state_bytes(program) >= max(b.end for b in program.buffers)
    widest = max(CTYPE_BYTES[b.ctype] for b in program.buffers)
    assert state_bytes(program) % widest == 0


def test_the_api_in_one_piece_equals_the_api_step_by_step(host: HostCompiler) -> None:
    network = planned(l2mu())
    model = host.model(lower(network))
    x = samples(network, windows=6)
    whole = model.run(x).tolist()
    for window, decision in zip(x, whole, strict=True):
        model.reset()
        for sample in window:
            model.step(sample)
        assert model.classify() == decision
    assert whole == run(network, x).decisions.tolist()


@pytest.mark.parametrize("rule", READOUT_RULES)
@pytest.mark.parametrize("quantized", [False, True])
def test_scores_are_the_interpreters(host: HostCompiler, rule: str, quantized: bool) -> None:
    network = planned(l2mu(rule=rule), quantized)
    program = lower(network)
    model = host.model(program)
    score = state_layout(program)["score"]
    scores = model._library[f"{program.name}_scores"]
    scores.restype = ctypes.c_void_p
    x = samples(network)
    for window, expected in zip(x, run(network, x).scores, strict=True):
        model.run(window[None])
        found = ctypes.string_at(scores(model._pointer), score.end - score.offset)
        assert found == expected.astype(NUMPY_TYPES[score.ctype]).tobytes()


def test_a_reset_clears_everything(host: HostCompiler) -> None:
    network = planned(l2mu(rule="max_membrane"))
    model = host.model(lower(network))
    model.reset()
    fresh = model.state()
    model.run(samples(network))
    assert model.state() != fresh
    model.reset()
    assert model.state() == fresh


def test_a_step_writes_nothing_outside_the_state(host: HostCompiler) -> None:
    program = lower(planned(l2mu(), quantized=True))
    model = host.model(program)
    guard, size = 64, state_bytes(program)
    memory = np.full(size + 2 * guard, 0xA5, np.uint8)
    state = ctypes.c_void_p(memory.ctypes.data + guard)
    sample = f32([1.5, -2.5])
    model._functions["reset"](state)
    for _ in range(20):
        model._functions["step"](state, ctypes.c_void_p(sample.ctypes.data))
    assert (memory[:guard] == 0xA5).all()
    assert (memory[-guard:] == 0xA5).all()
    assert sample.tolist() == [1.5, -2.5]


# ---- refusals ----------------------------------------------------------------------------------


def test_an_unknown_kernel_is_refused_with_its_owner() -> None:
    program = replace(float_program(), classify=Call("l2mu_guess", (), "readout"))
    with pytest.raises(ModelError, match="readout: no C kernel l2mu_guess"):
        emit_c(program, [])


def test_a_wrong_number_of_arguments_is_refused() -> None:
    program = float_program()
    short = replace(program.step[0], arguments=program.step[0].arguments[:1])
    with pytest.raises(ModelError, match=r"h\.x: l2mu_input_f32 takes 3 arguments, not 1"):
        emit_c(replace(program, step=(short, *program.step[1:])), [])


def test_a_name_that_other_c_has_is_refused() -> None:
    program = lower(planned(feed_forward().replace(name="stdio")))
    with pytest.raises(ModelError, match="network stdio: its files would take the name"):
        emit_c(program, [])


def test_a_weight_that_is_not_finite_is_refused() -> None:
    program = float_program()
    broken = replace(program.data[0], values=f32([np.nan]))
    with pytest.raises(ValueError, match="nan has no place in generated code"):
        emit_c(replace(program, data=(broken, *program.data[1:])), [])


def test_a_template_with_an_unknown_name_is_an_error() -> None:
    with pytest.raises(Exception, match="undefined"):
        render("model.h.jinja", {"name": "x"})
