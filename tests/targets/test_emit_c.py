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
from networks import (
    chain,
    cuba,
    f32,
    feed_forward,
    integer_toy,
    l2mu,
    late_reader,
    li,
    planned,
    samples,
)

from l2mu_compile.errors import ModelError
from l2mu_compile.interpreter import run
from l2mu_compile.network import CTYPE_BYTES, READOUT_RULES, Network
from l2mu_compile.passbase import Context
from l2mu_compile.pipeline import parse_pipeline, run_passes
from l2mu_compile.program import Call, Program, lower
from l2mu_compile.targets.emit_c import emit_c, render, state_bytes, state_layout
from l2mu_compile.targets.kernel_table import KERNEL_DIR
from l2mu_compile.targets.registry import get_target
from l2mu_compile.targets.toolchain import RUNTIME_DIR
from l2mu_compile.targets.zig import zig_command, zig_environment

Golden = Callable[[str, str], None]
NUMPY_TYPES = {"float": "<f4", "int32_t": "<i4", "int64_t": "<i8"}
STRICT = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror", "-pedantic")


def integer_program() -> Program:
    context = Context(target=get_target("host"))
    return lower(run_passes(integer_toy(), parse_pipeline("select-kernels,plan-memory"), context))


def float_program() -> Program:
    return lower(planned(feed_forward(), windows=samples(feed_forward())))


# ---- golden ------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [float_program, integer_program], ids=["float", "int8"])
def test_golden_sources(golden: Golden, make: Callable[[], Program]) -> None:
    program = make()
    sources = emit_c(program, ["made by a test", "of two lines"])
    for suffix in (".h", ".c", "_weights.h"):
        golden(f"{program.name}{suffix}", sources[program.name + suffix])


def test_sources_are_the_models_own_files_and_the_kernels_it_calls() -> None:
    assert sorted(emit_c(float_program(), [])) == [
        "l2mu_accumulate_f32.c",
        "l2mu_arith.h",
        "l2mu_decay_f32.c",
        "l2mu_fire_f32.c",
        "l2mu_input_f32.c",
        "l2mu_kernels.h",
        "l2mu_score.c",
        "toy.c",
        "toy.h",
        "toy_weights.h",
    ]


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
        env=zig_environment(),
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
    return [feed_forward(), clamped, leaky_readout(), late_reader(), chain(), l2mu(), deaf()]


@pytest.mark.parametrize("quantized", [False, True])
def test_sources_compile_as_strict_c99_and_the_header_as_cpp(
    tmp_path: Path, quantized: bool
) -> None:
    for i, network in enumerate(kinds()):
        folder = tmp_path / str(i)
        folder.mkdir()
        program = lower(planned(network, quantized))
        for name, text in emit_c(program, ["test"]).items():
            (folder / name).write_text(text, encoding="utf-8")
        for source in sorted(folder.glob("*.c")):
            if i == 0 or source.stem == program.name:
                compile_strictly(folder, "c", source.name)
        main = f'#include "{program.name}.h"\nint main() {{ {program.name}_state_t s; '
        main += f"{program.name}_init(&s); return {program.name}_classify(&s); }}\n"
        (folder / "main.cpp").write_text(main)
        compile_strictly(folder, "c++", "main.cpp")


def test_all_kernels_compile_as_strict_c99(tmp_path: Path) -> None:
    for source in sorted(KERNEL_DIR.glob("*.c")):
        compile_strictly(KERNEL_DIR, "c", source.name)


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


def test_the_window_a_model_was_made_for_is_in_the_header() -> None:
    program = lower(planned(feed_forward().replace(window=12)))
    assert "#define TOY_STEPS 12 " in emit_c(program, ["s"])["toy.h"]
    assert "TOY_STEPS" not in emit_c(float_program(), ["s"])["toy.h"]


# ---- refusals ----------------------------------------------------------------------------------


def test_an_unknown_kernel_is_refused_with_its_owner() -> None:
    program = replace(float_program(), classify=Call("l2mu_guess", (), "readout"))
    with pytest.raises(ModelError, match="readout: no C kernel l2mu_guess"):
        emit_c(program, [])


def test_a_wrong_number_of_arguments_is_refused() -> None:
    program = float_program()
    short = replace(program.step[0], arguments=program.step[0].arguments[:1])
    with pytest.raises(ModelError, match="h: l2mu_decay_subtract_f32 takes 2 arguments, not 1"):
        emit_c(replace(program, step=(short, *program.step[1:])), [])


@pytest.mark.parametrize(
    "name", ["l2mu_kernels", "l2mu_score", "string", "Stdint", "semihosting", "l2mu_model", "stdio"]
)
def test_a_name_that_other_c_files_have_is_refused(name: str) -> None:
    program = lower(planned(feed_forward().replace(name=name)))
    with pytest.raises(ModelError, match=f"network {name}: its files would take the name"):
        emit_c(program, [])


def test_a_weight_that_is_not_finite_is_refused() -> None:
    program = float_program()
    broken = replace(program.data[0], values=f32([np.nan]))
    with pytest.raises(ValueError, match="nan has no place in generated code"):
        emit_c(replace(program, data=(broken, *program.data[1:])), [])


def test_a_template_with_an_unknown_name_is_an_error() -> None:
    with pytest.raises(Exception, match="undefined"):
        render("model.h.jinja", {"name": "x"})
