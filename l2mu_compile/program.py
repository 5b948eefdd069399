"""The Program: one time step as an ordered list of kernel calls on the planned arrays.

``lower`` turns a planned Network into a Program and takes no decision: kernels were chosen by
select-kernels, places by plan-memory. Emitters print it, reports count it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.buffers import keeps_last_spikes, reads_late
from l2mu_compile.errors import ModelError
from l2mu_compile.interpreter import LOWEST_F32
from l2mu_compile.network import Buffer, Network, Population, Projection, identifier, spiking
from l2mu_compile.neurons import CuBaLIF, parameter_names

Field = tuple[str, str | int | None]

# The generated API's functions; no constant may take their names.
API_FUNCTIONS = ("init", "reset", "step", "classify", "scores", "run")


@dataclass(frozen=True)
class Data:
    """A constant array, flat, in the order its kernel reads it."""

    name: str
    ctype: str
    values: NDArray


@dataclass(frozen=True)
class Record:
    """A constant C struct: field by field a number, the name of a `Data`, or None for NULL."""

    name: str
    ctype: str
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Place:
    """Argument: a planned buffer, or the function's own ``sample``."""

    name: str


@dataclass(frozen=True)
class Constant:
    """Argument: a `Data` array (``address`` False) or a `Record` by address."""

    name: str
    address: bool = False


Argument = Place | Constant | int | float


@dataclass(frozen=True)
class Call:
    """One kernel call. ``kernel`` is the C function's name, ``owner`` what it works for."""

    kernel: str
    arguments: tuple[Argument, ...]
    owner: str


@dataclass(frozen=True)
class Program:
    """One time step of one network, ready to print.

    ``buffers`` are the arena; ``reset`` runs before a window on an arena of zeros, ``step`` once
    for each sample, ``classify`` after the last. ``rule`` is the readout's.
    """

    name: str
    inputs: int
    classes: int
    window: int | None
    rule: str
    buffers: tuple[Buffer, ...]
    data: tuple[Data, ...]
    records: tuple[Record, ...]
    reset: tuple[Call, ...]
    step: tuple[Call, ...]
    classify: Call

    @property
    def kernels(self) -> tuple[str, ...]:
        """Names of all kernels called, sorted."""
        calls = (*self.reset, *self.step, self.classify)
        return tuple(sorted({call.kernel for call in calls}))

    @property
    def data_bytes(self) -> int:
        """Bytes of all constant arrays."""
        return sum(d.values.nbytes for d in self.data)

    def __str__(self) -> str:
        lines = [f"program {self.name} inputs={self.inputs} classes={self.classes}"]
        lines += [
            f"  {b.lifetime:7} {b.ctype}[{b.count}] {b.name} @{b.offset}" for b in self.buffers
        ]
        lines += [f"  const   {d.ctype}[{d.values.size}] {d.name}" for d in self.data]
        lines += [f"  reset   {_call_text(call)}" for call in self.reset]
        lines += [f"  step    {_call_text(call)}" for call in self.step]
        return "\n".join([*lines, f"  decide  {_call_text(self.classify)}"]) + "\n"


def lower(network: Network) -> Program:
    """The Program of a planned network. Raises `ModelError` on a kernel it cannot call."""
    if network.stage != "planned":
        raise ModelError(
            f"network {network.name} is {network.stage}; only a planned one can be lowered"
        )
    return _Lowering(network).program()


class _Lowering:
    def __init__(self, network: Network) -> None:
        self.network = network
        self.names = {f"{network.name}_{word}" for word in (*API_FUNCTIONS, "state_t", "window")}
        # A scratch buffer is a local variable: it would hide a constant of its name.
        self.names |= {buffer.name for buffer in network.buffers}
        self.data: list[Data] = []
        self.records: list[Record] = []
        self.calls: list[Call] = []

    def program(self) -> Program:
        network = self.network
        self._prepare()
        for population in network.order():
            self._update(population)
        reset, score, classify = self._readout()
        return Program(
            name=network.name,
            inputs=network.input.size,
            classes=network.classes,
            window=network.window,
            rule=network.readout.rule,
            buffers=network.buffers,
            data=tuple(self.data),
            records=tuple(self.records),
            reset=reset,
            step=(*self.calls, score),
            classify=classify,
        )

    def _call(self, kernel: str, owner: str, *arguments: Argument) -> None:
        self.calls.append(Call(f"l2mu_{kernel}", arguments, owner))

    def _constant(self, name: str, array: NDArray) -> Constant:
        ctype = {"f": "float", "i1": "int8_t", "i4": "int32_t"}
        kind = "f" if array.dtype.kind == "f" else array.dtype.str[1:]
        name = self._unused(name)
        self.data.append(Data(name, ctype[kind], np.ravel(array)))
        return Constant(name)

    def _record(self, name: str, ctype: str, fields: list[Field]) -> Constant:
        name = self._unused(name)
        self.records.append(Record(name, ctype, tuple(fields)))
        return Constant(name, address=True)

    def _unused(self, name: str) -> str:
        name = identifier(name, self.names)
        self.names.add(name)
        return name

    def _prepare(self) -> None:
        network = self.network
        for population in network.order():
            if keeps_last_spikes(network, population):
                name = population.name
                self._call("copy_spikes", name, Place(f"{name}_last"), Place(f"{name}_spikes"))
        fraction = network.input.fraction
        if fraction is not None:
            place, owner = Place("quantized_sample"), network.input.name
            channels, scale = network.input.size, 2.0**fraction
            self._call("quantize_sample", owner, place, channels, Place("sample"), scale)

    def _update(self, population: Population) -> None:
        name, kernel, reset = population.name, population.kernel, population.neuron.reset
        parameters = self._neurons(population)
        membrane = Place(f"{name}_membrane")
        if isinstance(population.neuron, CuBaLIF):
            synapse = Place(f"{name}_synapse")
            self._call(f"decay_synapse_{kernel}", name, parameters, synapse)
            self._gather(population, synapse)
            self._call(f"integrate_{reset}_{kernel}", name, parameters, membrane, synapse)
        else:
            self._call(f"decay_{reset}_{kernel}", name, parameters, membrane)
            self._gather(population, membrane)
        if spiking(population):
            self._call(f"fire_{kernel}", name, parameters, membrane, Place(f"{name}_spikes"))
        elif self.network.quantized:
            self._call(f"saturate_{kernel}", name, parameters, membrane)

    def _neurons(self, population: Population) -> Constant:
        fields: list[Field] = []
        neuron = population.neuron
        for parameter in ("alpha", "beta", "threshold"):
            values = getattr(neuron, parameter) if parameter in parameter_names(neuron) else None
            fields.append((parameter, self._array(population.name, parameter, values)))
            if values is not None:
                fields.append((f"{parameter}_step", values.ndim))
        fields.append(("bias", self._array(population.name, "bias", population.bias)))
        fields.append(("size", population.size))
        if population.membrane_bits is not None:
            limit = 2 ** (population.membrane_bits - 1)
            fields += [("low", -limit), ("high", limit - 1)]
        ctype = "l2mu_neurons_i32_t" if self.network.quantized else "l2mu_neurons_f32_t"
        return self._record(f"{population.name}_neurons", ctype, fields)

    def _array(self, owner: str, name: str, values: NDArray | None) -> str | None:
        return None if values is None else self._constant(f"{owner}_{name}", values).name

    def _gather(self, population: Population, accumulator: Place) -> None:
        for projection in self.network.into(population.name):
            for prefix, lowering in PROJECTION_KERNELS.items():
                if projection.kernel and projection.kernel.startswith(prefix):
                    lowering(self, projection, accumulator)
                    break
            else:
                raise ModelError(f"{projection.name}: no such kernel: {projection.kernel!r}")

    def _spikes(self, projection: Projection) -> Place:
        late = reads_late(self.network, projection)
        return Place(f"{projection.source}_last" if late else f"{projection.source}_spikes")

    def _accumulate_dense(self, projection: Projection, accumulator: Place) -> None:
        weights = self._constant(_weights(projection), projection.weight.T)
        arguments = (accumulator, projection.shape[0], weights, self._spikes(projection))
        self._call(str(projection.kernel), projection.name, *arguments)

    def _accumulate_blocks(self, projection: Projection, accumulator: Place) -> None:
        rows, columns = projection.weight.shape[-2:]
        weights = self._constant(_weights(projection), np.swapaxes(projection.weight, -1, -2))
        arguments = (accumulator, rows, columns, weights, self._spikes(projection))
        self._call(str(projection.kernel), projection.name, *arguments)

    def _input(self, projection: Projection, accumulator: Place) -> None:
        rows, columns = projection.weight.shape[-2:]
        name = _weights(projection)
        fields: list[Field] = [
            ("weights", self._constant(name, projection.weight).name),
            ("blocks", max(projection.blocks, 1)),
            ("rows", rows),
            ("columns", columns),
            ("block_step", 0 if projection.weight.ndim == 2 else rows * columns),
        ]
        if self.network.quantized:
            shift = np.asarray(0, np.int32) if projection.shift is None else projection.shift
            fields.append(("shift", self._constant(f"{name}_shift", shift).name))
            fields.append(("shift_step", shift.ndim))
        ctype = "l2mu_input_i8_t" if self.network.quantized else "l2mu_input_f32_t"
        source = Place("quantized_sample" if self.network.quantized else "sample")
        parameters = self._record(f"{name}_synapses", ctype, fields)
        self._call(str(projection.kernel), projection.name, parameters, accumulator, source)

    def _readout(self) -> tuple[tuple[Call, ...], Call, Call]:
        network = self.network
        name, classes = network.readout.population, network.classes
        score, membrane = Place("score"), Place(f"{name}_membrane")
        number = "i32" if network.quantized else "f32"
        reset: tuple[Call, ...] = ()
        if network.readout.rule == "spike_count":
            number = "i32"
            update = Call("l2mu_count_spikes", (score, Place(f"{name}_spikes")), "readout")
        elif network.readout.rule == "last_membrane":
            update = Call(f"l2mu_copy_{number}", (score, classes, membrane), "readout")
        elif network.readout.rule == "max_membrane":
            lowest: Argument = -(2**31) if network.quantized else float(LOWEST_F32)
            reset = (Call(f"l2mu_fill_{number}", (score, classes, lowest), "readout"),)
            update = Call(f"l2mu_maximum_{number}", (score, classes, membrane), "readout")
        else:
            number = "i64" if network.quantized else "f32"
            update = Call(f"l2mu_sum_{number}", (score, classes, membrane), "readout")
        return reset, update, Call(f"l2mu_argmax_{number}", (score, classes), "readout")


PROJECTION_KERNELS: dict[str, Callable[[_Lowering, Projection, Place], None]] = {
    "accumulate_dense": _Lowering._accumulate_dense,
    "accumulate_shared": _Lowering._accumulate_blocks,
    "accumulate_distinct": _Lowering._accumulate_blocks,
    "input": _Lowering._input,
}


def _weights(projection: Projection) -> str:
    return projection.name.replace(".", "_from_", 1).replace(".", "_")


def _call_text(call: Call) -> str:
    shown = ", ".join(str(getattr(a, "name", a)) for a in call.arguments)
    return f"{call.kernel}({shown})"
