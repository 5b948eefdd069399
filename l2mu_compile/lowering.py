"""Lowering: a planned Network becomes a Program.

It takes no decision: kernels were chosen by select-kernels, places by plan-memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.bounds import membrane_limit, narrow, unsaturated_range
from l2mu_compile.buffers import filled_up, sample_form
from l2mu_compile.convolution import Convolution
from l2mu_compile.errors import ModelError
from l2mu_compile.network import NARROW_BITS, Network, Population, identifier, spiking
from l2mu_compile.neurons import CuBaLIF
from l2mu_compile.program import (
    API_FUNCTIONS,
    API_TYPES,
    EARLY_FUNCTION,
    LAYOUT,
    STREAM_FUNCTIONS,
    Argument,
    Call,
    Constant,
    Data,
    Field,
    Place,
    Program,
    Record,
)
from l2mu_compile.projection import Projection
from l2mu_compile.saved import saved_members
from l2mu_compile.schedule import Turn, turns
from l2mu_compile.scores import LOWEST_F32
from l2mu_compile.sparse import tiles_of
from l2mu_compile.stream import Stream
from l2mu_compile.targets.dense_layouts import multiply_weights_for, weights_for
from l2mu_compile.targets.input_layouts import input_weights_for
from l2mu_compile.targets.packed_layouts import filled_quanta, packed_weights_for
from l2mu_compile.targets.structured_layouts import (
    block_weights_for,
    slide_weights,
    sparse_weights_for,
)
from l2mu_compile.text import network_digest


def lower(network: Network, stream: Stream | None = None) -> Program:
    """The Program of a planned network, for windows of a ``stream`` if their length is known.

    Raises `ModelError` on a kernel it cannot call.
    """
    if network.stage != "planned":
        raise ModelError(
            f"network {network.name} is {network.stage}; only a planned one can be lowered"
        )
    return _Lowering(network, stream).program()


class _Lowering:
    def __init__(self, network: Network, stream: Stream | None) -> None:
        self.network = network
        self.stream = stream
        words = (*API_FUNCTIONS, *STREAM_FUNCTIONS, EARLY_FUNCTION, *API_TYPES, "window")
        self.names = {f"{network.name}_{word}" for word in words}
        # A scratch buffer is a local variable: it would hide a constant of its name.
        self.names |= {buffer.name for buffer in network.buffers}
        self.data: list[Data] = []
        self.records: list[Record] = []
        self.calls: list[Call] = []
        self.flagged: set[Place] = set()

    def program(self) -> Program:
        network = self.network
        self.records_of = {p.name: self._neurons(p) for p in network.order()}
        early = self._early()
        starts, score, classify = self._readout(early)
        for turn in turns(network):
            self._take(turn, score)
        reset = (*self._biases(), *starts)
        saved = (LAYOUT, Place("state"), Place("bytes"))
        return Program(
            name=network.name,
            inputs=network.input.size,
            labels=network.class_names,
            digest=network_digest(network),
            stream=self.stream,
            rule=network.readout.rule,
            buffers=network.buffers,
            data=tuple(self.data),
            records=tuple(self.records),
            members=saved_members(network),
            sample_ctype=sample_form(network)[0],
            sample_count=sample_form(network)[1],
            from_floats=self._from_floats(),
            from_counts=self._from_counts(),
            reset=reset,
            step=tuple(self.calls),
            classify=classify,
            decided=Call("l2mu_decided_i32", early, "readout") if early else None,
            save=Call("l2mu_save_state", saved, "save"),
            restore=Call("l2mu_restore_state", (*saved, Place("size")), "restore"),
        )

    def _call(self, kernel: str, owner: str, *arguments: Argument) -> None:
        self.calls.append(Call(f"l2mu_{kernel}", arguments, owner))

    def _constant(self, name: str, array: NDArray) -> Constant:
        ctype = {"f": "float", "i1": "int8_t", "i2": "int16_t", "i4": "int32_t"}
        ctype |= {"u1": "uint8_t", "u2": "uint16_t"}
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

    def _from_floats(self) -> Call | None:
        entry = self.network.input
        arguments: tuple[Argument, ...] = (Place("converted"), entry.size, Place("sample"))
        if entry.spiking:
            return Call("l2mu_list_samples", arguments, entry.name)
        if entry.fraction is None:
            return None
        arguments += (entry.fraction,)
        return Call("l2mu_quantize_sample", arguments, entry.name)

    def _from_counts(self) -> Call:
        entry = self.network.input
        arguments: tuple[Argument, ...] = (Place("converted"), entry.size, Place("counts"))
        if entry.spiking:
            return Call("l2mu_list_counts", arguments, entry.name)
        if entry.fraction is None:
            return Call("l2mu_convert_counts", arguments, entry.name)
        arguments += count_scale(entry.fraction)
        return Call("l2mu_quantize_counts", arguments, entry.name)

    def _take(self, turn: Turn, score: Call) -> None:
        population = turn.population
        read = self.network.readout.population == population.name
        for projection in turn.arriving:
            self._add(projection)
        if read and score.arguments[-1] == accumulator(population):
            self._show_membranes(population)
            self.calls.append(score)
            self._fire(population)
        else:
            self._fire(population)
            self.calls += [score] if read else []
        for projection in turn.leaving:
            self._add(projection)

    def _fire(self, population: Population) -> None:
        """Fire, decay and reset; what stays is what the next step starts with."""
        name = population.name
        arguments: list[Argument] = [self.records_of[name], Place(f"{name}_membrane")]
        arguments += [Place(f"{name}_synapse")] * isinstance(population.neuron, CuBaLIF)
        arguments += [Place(f"{name}_spikes")] * spiking(population)
        self._call(f"{update(population)}_{population.kernel}", name, *arguments)

    def _show_membranes(self, population: Population) -> None:
        if self.network.quantized:
            arguments = (self.records_of[population.name], accumulator(population))
            self._call("saturate_i32", population.name, *arguments)

    def _biases(self) -> list[Call]:
        """An accumulator starts with its bias."""
        return [
            Call(
                f"l2mu_add_bias_{number(self.network, p)}",
                (self.records_of[p.name], accumulator(p)),
                p.name,
            )
            for p in self.network.order()
            if p.bias is not None
        ]

    def _neurons(self, population: Population) -> Constant:
        neuron, numbers = population.neuron, number(self.network, population)
        values = {name: getattr(neuron, name, None) for name in ("alpha", "beta", "threshold")}
        if not spiking(population):
            values["threshold"] = None
        values["bias"] = population.bias
        if numbers == "i16":
            values = _narrow_parameters(values, population.size)
        fields: list[Field] = []
        for name, array in values.items():
            fields.append((name, self._array(population.name, name, array)))
            if array is not None and name in _STEPPED[numbers]:
                fields.append((f"{name}_step", array.ndim))
        fields.append(("size", population.size))
        if numbers == "i32":
            limit = membrane_limit(population)
            fields += [("low", -limit), ("high", limit - 1)]
        if numbers == "i16":
            bounded = unsaturated_range(self.network, population) is not None
            fields.append(("bounded", int(bounded)))
        return self._record(f"{population.name}_neurons", f"l2mu_neurons_{numbers}_t", fields)

    def _array(self, owner: str, name: str, values: NDArray | None) -> str | None:
        return None if values is None else self._constant(f"{owner}_{name}", values).name

    def _add(self, projection: Projection) -> None:
        target = accumulator(self.network.population(projection.target))
        for prefix, lowering in PROJECTION_KERNELS.items():
            if projection.kernel and projection.kernel.startswith(prefix):
                lowering(self, projection, target)
                return
        raise ModelError(f"{projection.name}: no such kernel: {projection.kernel!r}")

    def _spikes(self, projection: Projection) -> Place:
        if projection.source == self.network.input.name:
            return Place("sample")
        return Place(f"{projection.source}_spikes")

    def _accumulate_dense(self, projection: Projection, accumulator: Place) -> None:
        kernel = str(projection.kernel)
        if projection.quantum is not None:
            synapses = self._packed(projection, projection.quantum)
        else:
            synapses = self._dense(projection, weights_for(kernel, projection.weight.T))
        self._call(kernel, projection.name, synapses, accumulator, self._spikes(projection))

    def _packed(self, projection: Projection, quantum: NDArray) -> Constant:
        """The record of a dense projection whose weights are packed."""
        targets, sources = projection.shape
        name = _weights(projection)
        multiples = (projection.weight // quantum.reshape(-1, 1)).astype(np.int8)
        packed = packed_weights_for(str(projection.kernel), multiples.T)
        quanta = filled_quanta(np.broadcast_to(quantum, targets))
        fields: list[Field] = [
            ("weights", self._constant(name, packed).name),
            ("quantum", self._constant(f"{name}_quantum", quanta).name),
            ("targets", targets),
            ("sources", sources),
        ]
        return self._record(f"{name}_synapses", "l2mu_packed_t", fields)

    def _accumulate_sparse(self, projection: Projection, accumulator: Place) -> None:
        """The tiles, where they are, and which of them are a source's."""
        if projection.tile is None or projection.weight.dtype != np.int8:
            raise ModelError(
                f"{projection.name}: {projection.kernel} is for dense projections of int8 weights"
            )
        tiles = tiles_of(projection.weight.T, projection.tile)
        if not tiles.can_be_stored:
            raise ModelError(f"{projection.name}: {len(tiles.delta)} tiles cannot be stored")
        kernel, name = str(projection.kernel), _weights(projection)
        fields: list[Field] = [
            ("weights", self._constant(name, sparse_weights_for(kernel, tiles.weights)).name),
            ("delta", self._constant(f"{name}_delta", tiles.delta).name),
            ("start", self._constant(f"{name}_start", tiles.start.astype(np.uint16)).name),
            ("targets", projection.shape[0]),
        ]
        synapses = self._record(f"{name}_synapses", "l2mu_sparse_i8_t", fields)
        self._call(kernel, projection.name, synapses, accumulator, self._spikes(projection))

    def _multiply_dense(self, projection: Projection, accumulator: Place) -> None:
        """Its flags are those of its source; the first that reads them has them made."""
        kernel, flags = str(projection.kernel), Place(f"{projection.source}_flags")
        if flags not in self.flagged:
            self.flagged.add(flags)
            arguments = (flags, projection.shape[1], self._spikes(projection))
            self._call(f"flag_spikes_{kernel.rpartition('_')[2]}", projection.name, *arguments)
        synapses = self._dense(projection, multiply_weights_for(kernel, projection.weight.T))
        self._call(kernel, projection.name, synapses, accumulator, flags)

    def _dense(self, projection: Projection, ordered: NDArray) -> Constant:
        """The record of a dense projection whose weights are in this order."""
        targets, sources = projection.shape
        name = _weights(projection)
        fields: list[Field] = [
            ("weights", self._constant(name, ordered).name),
            ("targets", targets),
            ("sources", sources),
        ]
        numbers = "i8" if self.network.quantized else "f32"
        return self._record(f"{name}_synapses", f"l2mu_dense_{numbers}_t", fields)

    def _accumulate_blocks(self, projection: Projection, accumulator: Place) -> None:
        rows, columns = projection.weight.shape[-2:]
        by_source = np.swapaxes(projection.weight, -1, -2)
        weights = self._constant(
            _weights(projection), block_weights_for(str(projection.kernel), by_source)
        )
        arguments = (accumulator, rows, columns, weights, self._spikes(projection))
        self._call(str(projection.kernel), projection.name, *arguments)

    def _accumulate_conv(self, projection: Projection, accumulator: Place) -> None:
        convolution = _convolution(projection)
        kernel = slide_weights(projection.weight, convolution.groups)
        slide = self._slide(projection, convolution, of_targets=False)
        weights = self._constant(_weights(projection), kernel)
        arguments = (slide, weights, accumulator, self._spikes(projection))
        self._call(str(projection.kernel), projection.name, *arguments)

    def _input_conv(self, projection: Projection, accumulator: Place) -> None:
        slide = self._slide(projection, _convolution(projection), of_targets=True)
        name = _weights(projection)
        arguments: list[Argument] = [slide, self._constant(name, projection.weight)]
        if self.network.quantized:
            shift = np.asarray(0, np.int32) if projection.shift is None else projection.shift
            arguments += [self._constant(f"{name}_shift", shift), shift.ndim]
        arguments += [accumulator, Place("sample")]
        self._call(str(projection.kernel), projection.name, *arguments)

    def _slide(self, projection: Projection, slide: Convolution, of_targets: bool) -> Constant:
        """The record of how a kernel slides."""
        name, height, width = _weights(projection), *projection.weight.shape[-2:]
        fields: list[Field] = []
        for axis, word, size in ((0, "row", height), (1, "column", width)):
            tables = slide.tables(axis, size, of_targets)
            for part, table in zip(("start", "kernel", "other"), tables, strict=True):
                read = table if table.size else np.zeros(1, table.dtype)  # C has no empty arrays
                stored = self._constant(f"{name}_{word}_{part}", read)
                fields.append((f"{word}_{part}", stored.name))
        fields += [
            ("height", slide.source[1]),
            ("width", slide.source[2]),
            ("channels", slide.source[0] // slide.groups),
            ("out", slide.target[0] // slide.groups),
            ("target_channels", slide.target[0]),
            ("positions", slide.positions),
            ("target_width", slide.target[2]),
            ("kernel_height", height),
            ("kernel_width", width),
        ]
        return self._record(f"{name}_slide", "l2mu_slide_t", fields)

    def _input(self, projection: Projection, accumulator: Place) -> None:
        rows, columns = projection.weight.shape[-2:]
        name = _weights(projection)
        weights = input_weights_for(str(projection.kernel), projection.weight, projection.shift)
        fields: list[Field] = [
            ("weights", self._constant(name, weights).name),
            ("blocks", max(projection.blocks, 1)),
            ("rows", rows),
            ("columns", columns),
            ("block_step", weights.shape[1] if len(weights) > 1 else 0),
        ]
        if self.network.quantized:
            shift = np.asarray(0, np.int32) if projection.shift is None else projection.shift
            fields.append(("shift", self._constant(f"{name}_shift", shift).name))
            fields.append(("shift_step", shift.ndim))
        ctype = "l2mu_input_i8_t" if self.network.quantized else "l2mu_input_f32_t"
        parameters = self._record(f"{name}_synapses", ctype, fields)
        self._call(
            str(projection.kernel), projection.name, parameters, accumulator, Place("sample")
        )

    def _early(self) -> tuple[Argument, ...] | None:
        """What tells whether a window is decided: scores, and the margin of each."""
        margins = self.network.readout.margins
        if margins is None:
            return None
        name = f"{self.network.readout.population}_margin"
        margin = self._constant(name, np.array(margins, dtype=np.int32))
        return Place("score"), self.network.classes, margin

    def _readout(self, early: tuple[Argument, ...] | None) -> tuple[tuple[Call, ...], Call, Call]:
        network = self.network
        name, classes = network.readout.population, network.classes
        score, membrane = Place("score"), Place(f"{name}_membrane")
        number = "i32" if network.quantized else "f32"
        reset: tuple[Call, ...] = ()
        if network.readout.rule == "spike_count":
            number = "i32"
            spikes = Place(f"{name}_spikes")
            update = Call("l2mu_count_spikes", (score, spikes), "readout")
            if early:
                update = Call("l2mu_count_undecided_i32", (*early, spikes), "readout")
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
    "accumulate_sparse": _Lowering._accumulate_sparse,
    "accumulate_shared": _Lowering._accumulate_blocks,
    "accumulate_distinct": _Lowering._accumulate_blocks,
    "multiply_dense": _Lowering._multiply_dense,
    "accumulate_conv": _Lowering._accumulate_conv,
    "input_conv": _Lowering._input_conv,
    "input": _Lowering._input,
}


_STEPPED = {"f32": ("alpha", "beta", "threshold"), "i16": ("beta",)}
_STEPPED["i32"] = _STEPPED["f32"]


def _narrow_parameters(values: dict[str, Any], size: int) -> dict[str, Any]:
    """Those of a population with int16 accumulators: Q16 decays, and arrays filled up."""

    def fill(array: NDArray | None, dtype: type, value: int) -> NDArray | None:
        if array is None or array.ndim == 0:
            return None if array is None else array.astype(dtype)
        padding: NDArray = np.full(filled_up(size) - size, value, dtype)
        return np.concatenate([array.astype(dtype), padding])

    # Alike for both decays: one for all neurons, or one for each.
    given = {name: values[name] * 2 for name in ("alpha", "beta") if values[name] is not None}
    decays = dict(zip(given, np.broadcast_arrays(*given.values()), strict=True))
    # No membrane is beyond this threshold, so greater ones are the same.
    threshold = np.minimum(values["threshold"], 2 ** (NARROW_BITS - 1) - 1)
    return {
        "alpha": fill(decays.get("alpha"), np.int32, 0),
        "beta": fill(decays["beta"], np.int32, 0),
        "threshold": fill(np.broadcast_to(threshold, size), np.int16, 2**15 - 1),
        "bias": fill(values["bias"], np.int16, 0),
    }


def accumulator(population: Population) -> Place:
    """What gathers a population's currents."""
    synaptic = isinstance(population.neuron, CuBaLIF)
    return Place(f"{population.name}_{'synapse' if synaptic else 'membrane'}")


def update(population: Population) -> str:
    """The operation that ends a population's turn: ``fire_subtract``, ``leak``, …"""
    if isinstance(population.neuron, CuBaLIF):
        return f"fire_synaptic_{population.neuron.reset}"
    return f"fire_{population.neuron.reset}" if spiking(population) else "leak"


def number(network: Network, population: Population) -> str:
    """What a population's kernels compute with: ``f32``, or integers ``i32`` or ``i16``."""
    if not network.quantized:
        return "f32"
    return "i16" if narrow(network, population) else "i32"


def count_scale(fraction: int) -> tuple[int, int]:
    """2^fraction as a factor and a right shift, for counts that are clipped to int16.

    A count times 2^16 is zero or clipped, and over 2^17 it rounds to zero: so are those beyond.
    """
    return 1 << min(max(fraction, 0), 16), min(max(-fraction, 0), 17)


def _convolution(projection: Projection) -> Convolution:
    if projection.convolution is None:
        raise ModelError(f"{projection.name}: {projection.kernel} is for convolutions")
    return projection.convolution


def _weights(projection: Projection) -> str:
    return projection.name.replace(".", "_from_", 1).replace(".", "_")
