"""The kernel calls of a projection, by what its kernel's name begins with, and the records of its
weights in the order the kernel reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.convolution import Convolution
from l2mu_compile.draft import Draft
from l2mu_compile.errors import ModelError
from l2mu_compile.neuron_calls import accumulator
from l2mu_compile.program import Argument, Constant, Field, Place
from l2mu_compile.projection import Projection
from l2mu_compile.sparse import tiles_of
from l2mu_compile.targets.dense_layouts import multiply_weights_for, weights_for
from l2mu_compile.targets.input_layouts import input_weights_for
from l2mu_compile.targets.layouts import set_of
from l2mu_compile.targets.packed_layouts import filled_quanta, packed_weights_for
from l2mu_compile.targets.structured_layouts import (
    block_weights_for,
    slide_weights,
    sparse_weights_for,
)

_SAMPLE = Place("sample")


def add_currents(draft: Draft, projection: Projection) -> None:
    """Add the calls that add a projection's currents to its target's accumulator.

    Raises `ModelError` for a kernel that is unknown or does not fit the projection.
    """
    target = accumulator(draft.network.population(projection.target))
    for prefix, add in _ADDING.items():
        if projection.kernel and projection.kernel.startswith(prefix):
            add(draft, projection, target)
            return
    raise ModelError(f"{projection.name}: no such kernel: {projection.kernel!r}")


def _accumulate_dense(draft: Draft, projection: Projection, target: Place) -> None:
    kernel = str(projection.kernel)
    if projection.quantum is not None:
        synapses = _packed_record(draft, projection, projection.quantum)
    else:
        synapses = _dense_record(draft, projection, weights_for(kernel, projection.weight.T))
    draft.call(kernel, projection.name, synapses, target, _spikes(draft, projection))


def _multiply_dense(draft: Draft, projection: Projection, target: Place) -> None:
    """Its flags are those of its source; the first that reads them has them made."""
    kernel, flags = str(projection.kernel), Place(f"{projection.source}_flags")
    if not draft.uses(flags):
        flag = f"flag_spikes_{set_of(kernel)}"
        sources = projection.shape[1]
        draft.call(flag, projection.name, flags, sources, _spikes(draft, projection))
    ordered = multiply_weights_for(kernel, projection.weight.T)
    synapses = _dense_record(draft, projection, ordered)
    draft.call(kernel, projection.name, synapses, target, flags)


def _accumulate_sparse(draft: Draft, projection: Projection, target: Place) -> None:
    synapses = _sparse_record(draft, projection)
    spikes = _spikes(draft, projection)
    draft.call(str(projection.kernel), projection.name, synapses, target, spikes)


def _accumulate_blocks(draft: Draft, projection: Projection, target: Place) -> None:
    kernel, (rows, columns) = str(projection.kernel), projection.weight.shape[-2:]
    by_source = block_weights_for(kernel, np.swapaxes(projection.weight, -1, -2))
    weights = Constant(draft.store(_weights(projection), by_source))
    spikes = _spikes(draft, projection)
    draft.call(kernel, projection.name, target, rows, columns, weights, spikes)


def _accumulate_conv(draft: Draft, projection: Projection, target: Place) -> None:
    convolution = _convolution(projection)
    by_source = slide_weights(projection.weight, convolution.groups)
    slide = _slide_record(draft, projection, convolution, of_targets=False)
    weights = Constant(draft.store(_weights(projection), by_source))
    spikes = _spikes(draft, projection)
    draft.call(str(projection.kernel), projection.name, slide, weights, target, spikes)


def _input_conv(draft: Draft, projection: Projection, target: Place) -> None:
    slide = _slide_record(draft, projection, _convolution(projection), of_targets=True)
    weights = Constant(draft.store(_weights(projection), projection.weight))
    arguments: list[Argument] = [slide, weights]
    if draft.network.quantized:
        shift = _shift(projection)
        arguments += [Constant(draft.store(f"{_weights(projection)}_shift", shift)), shift.ndim]
    draft.call(str(projection.kernel), projection.name, *arguments, target, _SAMPLE)


def _input(draft: Draft, projection: Projection, target: Place) -> None:
    synapses = _input_record(draft, projection)
    draft.call(str(projection.kernel), projection.name, synapses, target, _SAMPLE)


_ADDING: dict[str, Callable[[Draft, Projection, Place], None]] = {
    "accumulate_dense": _accumulate_dense,
    "accumulate_sparse": _accumulate_sparse,
    "accumulate_shared": _accumulate_blocks,
    "accumulate_distinct": _accumulate_blocks,
    "multiply_dense": _multiply_dense,
    "accumulate_conv": _accumulate_conv,
    "input_conv": _input_conv,
    "input": _input,
}


def _dense_record(draft: Draft, projection: Projection, ordered: NDArray) -> Constant:
    """Of dense weights that are in the kernel's order."""
    targets, sources = projection.shape
    fields: list[Field] = [
        ("weights", draft.store(_weights(projection), ordered)),
        ("targets", targets),
        ("sources", sources),
    ]
    numbers = "i8" if draft.network.quantized else "f32"
    return _record(draft, projection, f"dense_{numbers}", fields)


def _packed_record(draft: Draft, projection: Projection, quantum: NDArray) -> Constant:
    """Of dense weights that are packed multiples of quanta."""
    targets, sources = projection.shape
    name = _weights(projection)
    multiples = (projection.weight // quantum.reshape(-1, 1)).astype(np.int8)
    packed = packed_weights_for(str(projection.kernel), multiples.T)
    quanta = filled_quanta(np.broadcast_to(quantum, targets))
    fields: list[Field] = [
        ("weights", draft.store(name, packed)),
        ("quantum", draft.store(f"{name}_quantum", quanta)),
        ("targets", targets),
        ("sources", sources),
    ]
    return _record(draft, projection, "packed", fields)


def _sparse_record(draft: Draft, projection: Projection) -> Constant:
    """The tiles, where they are, and which of them are a source's."""
    if projection.tile is None or projection.weight.dtype != np.int8:
        raise ModelError(
            f"{projection.name}: {projection.kernel} is for dense projections of int8 weights"
        )
    tiles = tiles_of(projection.weight.T, projection.tile)
    if not tiles.can_be_stored:
        raise ModelError(f"{projection.name}: {len(tiles.delta)} tiles cannot be stored")
    name = _weights(projection)
    fields: list[Field] = [
        ("weights", draft.store(name, sparse_weights_for(str(projection.kernel), tiles.weights))),
        ("delta", draft.store(f"{name}_delta", tiles.delta)),
        ("start", draft.store(f"{name}_start", tiles.start.astype(np.uint16))),
        ("targets", projection.shape[0]),
    ]
    return _record(draft, projection, "sparse_i8", fields)


def _input_record(draft: Draft, projection: Projection) -> Constant:
    """Of weights of samples, and the shift of their sums."""
    rows, columns = projection.weight.shape[-2:]
    name = _weights(projection)
    weights = input_weights_for(str(projection.kernel), projection.weight, projection.shift)
    fields: list[Field] = [
        ("weights", draft.store(name, weights)),
        ("blocks", max(projection.blocks, 1)),
        ("rows", rows),
        ("columns", columns),
        ("block_step", weights.shape[1] if len(weights) > 1 else 0),
    ]
    if draft.network.quantized:
        shift = _shift(projection)
        fields += [("shift", draft.store(f"{name}_shift", shift)), ("shift_step", shift.ndim)]
    numbers = "i8" if draft.network.quantized else "f32"
    return _record(draft, projection, f"input_{numbers}", fields)


def _slide_record(
    draft: Draft, projection: Projection, slide: Convolution, of_targets: bool
) -> Constant:
    """How a kernel slides: what it reads along each axis, and sizes."""
    name, (height, width) = _weights(projection), projection.weight.shape[-2:]
    fields: list[Field] = []
    for axis, word, size in ((0, "row", height), (1, "column", width)):
        tables = slide.tables(axis, size, of_targets)
        for part, table in zip(("start", "kernel", "other"), tables, strict=True):
            read = table if table.size else np.zeros(1, table.dtype)  # C has no empty arrays
            fields.append((f"{word}_{part}", draft.store(f"{name}_{word}_{part}", read)))
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
    return draft.record(f"{name}_slide", "l2mu_slide_t", fields)


def _record(draft: Draft, projection: Projection, kind: str, fields: Sequence[Field]) -> Constant:
    return draft.record(f"{_weights(projection)}_synapses", f"l2mu_{kind}_t", fields)


def _weights(projection: Projection) -> str:
    """What a projection's weights are called in C."""
    return projection.name.replace(".", "_from_", 1).replace(".", "_")


def _spikes(draft: Draft, projection: Projection) -> Place:
    if projection.source == draft.network.input.name:
        return _SAMPLE
    return Place(f"{projection.source}_spikes")


def _shift(projection: Projection) -> NDArray:
    return np.asarray(0, np.int32) if projection.shift is None else projection.shift


def _convolution(projection: Projection) -> Convolution:
    if projection.convolution is None:
        raise ModelError(f"{projection.name}: {projection.kernel} is for convolutions")
    return projection.convolution
