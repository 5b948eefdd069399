"""A Program as a module of TensorIR: one function for each entry, its kernels' loops inside.

Functions take tensors and write into them: first those of the state, in the order of the arena,
then a sample (or, for a whole window, samples ``[steps, inputs]``) and last, where there is one, an
int32 for the result. ``NAME_step`` takes float32, ``NAME_step_raw`` counts as int16, ``NAME_run``
and ``NAME_run_raw`` reset, run a window and decide; ``NAME_reset``, ``NAME_classify`` and, of a
network that decides early, ``NAME_decided`` are those of the C API.

Constants are not part of TensorIR. All of them are one array of bytes (`constants`), linked to the
code, whose address ``NAME_constants`` returns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder as T

from l2mu_compile.buffers import CONVERTED_SAMPLE
from l2mu_compile.errors import ModelError
from l2mu_compile.program import Argument, Call, Constant, Place, Program
from l2mu_compile.targets.emit_c import state_layout
from l2mu_compile.targets.tvm_kernels import kernels
from l2mu_compile.targets.tvm_loops import local

ALIGNMENT = 16  # bytes, of constants

Places = Mapping[str, Any]


def tensor_module(program: Program) -> tvm.IRModule:
    """The module of a program; `ModelError` on a kernel that TensorIR has no version of."""
    known = kernels()
    for call in program.calls:
        if call.kernel not in known and call not in (program.save, program.restore):
            raise ModelError(
                f"{call.owner}: {call.kernel} has no TensorIR version; use --backend c, or a "
                "network whose kernels are not chosen yet"
            )
    return tvm.IRModule(_Functions(program, known).all())


def constants(program: Program) -> NDArray:
    """All constants as the code finds them, uint8."""
    filled = [np.pad(_bytes(d.values), (0, -d.values.nbytes % ALIGNMENT)) for d in program.data]
    return np.concatenate(filled) if filled else np.zeros(ALIGNMENT, np.uint8)


def dtype(ctype: str) -> str:
    """The type of a C array's elements, by TVM's name."""
    return "float32" if ctype == "float" else ctype.removesuffix("_t")


def _bytes(values: NDArray) -> NDArray:
    little = values.astype(values.dtype.newbyteorder("<"))
    return np.frombuffer(little.tobytes(), np.uint8)


class _Row:
    """One sample of a window of samples."""

    def __init__(self, samples: Any, step: Any) -> None:
        self.samples, self.step, self.dtype = samples, step, samples.dtype

    def __getitem__(self, channel: Any) -> Any:
        return self.samples[self.step, channel]


class _Functions:
    def __init__(self, program: Program, known: Mapping[str, Callable[..., None]]) -> None:
        self.program = program
        self.kernels = known
        self.state = state_layout(program)

    def all(self) -> dict[str, Any]:
        """Every function by its name."""
        p = self.program
        found = self._function("reset", self._reset)
        found |= self._function("classify", self._result, p.classify)
        if p.decided:
            found |= self._function("decided", self._result, p.decided)
        for suffix, given, convert in (
            ("", "float32", p.from_floats),
            ("_raw", "int16", p.from_counts),
        ):
            found |= self._function(f"step{suffix}", self._step, given, convert)
            found |= self._function(f"run{suffix}", self._run, given, convert)
        return found

    def _function(self, word: str, body: Callable[..., None], *details: Any) -> dict[str, Any]:
        name = f"{self.program.name}_{word}"
        with IRBuilder() as builder, T.prim_func():
            T.func_name(name)
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            state = {name: _argument(name, b.count, b.ctype) for name, b in self.state.items()}
            body(state, *details)
        return {name: builder.get()}

    def _reset(self, state: Places) -> None:
        self._start(self._with_constants(state))

    def _start(self, places: Places) -> None:
        """Zeros, and what a window starts with instead."""
        for name, buffer in self.state.items():
            with T.serial(0, buffer.count) as j:
                T.buffer_store(places[name], T.cast(0, places[name].dtype), [j])
        self._emit(self.program.reset, places)

    def _result(self, state: Places, call: Call) -> None:
        result = _argument("result", 1, "int32_t")
        self._emit([call], self._with_constants(state), result)

    def _step(self, state: Places, given: str, convert: Call | None) -> None:
        sample = T.arg("sample", T.buffer((self.program.inputs,), given))
        self._advance(self._with_scratch(self._with_constants(state)), sample, convert)

    def _run(self, state: Places, given: str, convert: Call | None) -> None:
        p = self.program
        handle = T.arg("samples", T.handle())
        result = _argument("result", 1, "int32_t")
        steps = T.int32()
        samples = T.match_buffer(handle, (steps, p.inputs), given)
        places = self._with_scratch(self._with_constants(state))
        self._start(places)
        with T.serial(0, steps) as step:
            if p.decided is None:
                self._advance(places, _Row(samples, step), convert)
            else:
                self._emit([p.decided], places, result)
                with T.If(result[0] < 0), T.Then():
                    self._advance(places, _Row(samples, step), convert)
        self._emit([p.classify], places, result)

    def _advance(self, places: Places, sample: Any, convert: Call | None) -> None:
        """The calls of a step, on a sample as it is given or converted first."""
        if convert is not None:
            self._emit([convert], {**places, "sample": sample, "counts": sample})
            sample = places["converted"]
        self._emit(self.program.step, {**places, "sample": sample})

    def _with_constants(self, state: Places) -> Places:
        """The places of a call with the constants, by their names."""
        base = T.bind(T.call_extern("handle", f"{self.program.name}_constants"))
        found, offset = dict(state), 0
        for data in self.program.data:
            place = T.bind(T.handle_add_byte_offset(base, offset))
            constant = T.decl_buffer(
                (data.values.size,), dtype(data.ctype), data=place, align=ALIGNMENT
            )
            found[data.name] = IRBuilder.name(data.name, constant)
            offset += -(-data.values.nbytes // ALIGNMENT) * ALIGNMENT
        for record in self.program.records:
            fields = {n: found[v] if isinstance(v, str) else v for n, v in record.fields}
            found[record.name] = fields
        return found

    def _with_scratch(self, places: Places) -> Places:
        """Places with what lives within a step."""
        p = self.program
        scratch = {
            b.name: IRBuilder.name(b.name, local(b.count, dtype(b.ctype)))
            for b in p.buffers
            if b.lifetime == "scratch" and b.name != CONVERTED_SAMPLE
        }
        converted = local(p.sample_count, dtype(p.sample_ctype))
        return {**places, **scratch, "converted": converted}

    def _emit(self, calls: Sequence[Call], places: Places, *result: Any) -> None:
        for call in calls:
            arguments = [_value(argument, places) for argument in call.arguments]
            self.kernels[call.kernel](*arguments, *result)


def _argument(name: str, count: int, ctype: str) -> Any:
    return T.arg(name, T.buffer((count,), dtype(ctype)))


def _value(argument: Argument, places: Places) -> Any:
    return places[argument.name] if isinstance(argument, Place | Constant) else argument
