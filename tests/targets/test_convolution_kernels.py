"""Kernels of convolutions alone, against the matrix that each stands for."""

from __future__ import annotations

import numpy as np
from kernel_machines import Array, Call, Struct, Variant, kernels
from kernel_values import (
    NUMBERS,
    activities,
    array,
    filled,
    of_targets,
    same,
    spike_list,
    states,
    states_before,
    weights,
)

from l2mu_compile.convolution import Convolution
from l2mu_compile.targets.structured_layouts import (
    slide_weights,
)

# A plain one; strides, padding, groups; pools and dilation that leave rest rows; one target row.
SLIDES = (
    (Convolution((2, 3, 4), (3, 3, 4), padding=(1, 0)), (3, 2, 3, 1)),
    (Convolution((2, 7, 5), (4, 4, 3), (2, 2), (1, 1), groups=2), (4, 1, 3, 3)),
    (Convolution((1, 9, 8), (2, 3, 1), dilation=(1, 2), pool=(2, 3)), (2, 1, 2, 1)),
    (Convolution((3, 4, 4), (17, 1, 1), pool=(2, 2)), (17, 3, 2, 2)),
    (Convolution((2, 1, 9), (5, 1, 5), (1, 2), (0, 2)), (5, 2, 1, 5)),
)


def slide_record(made: Convolution, shape: tuple[int, ...], of_targets: bool) -> Struct:
    tables = {
        f"{word}_{part}": Array(table)
        for axis, word in enumerate(("row", "column"))
        for part, table in zip(
            ("start", "kernel", "other"),
            made.tables(axis, shape[2 + axis], of_targets),
            strict=True,
        )
    }
    return Struct(
        "l2mu_slide_t",
        **tables,
        height=made.source[1],
        width=made.source[2],
        channels=made.source[0] // made.groups,
        out=made.target[0] // made.groups,
        target_channels=made.target[0],
        positions=made.positions,
        target_width=made.target[2],
        kernel_height=shape[2],
        kernel_width=shape[3],
    )


@kernels("accumulate_conv")
def test_accumulate_conv(call: Call, kernel: Variant) -> None:
    rng = np.random.default_rng(23)
    for made, shape in SLIDES:
        kernels = weights(rng, kernel.numbers, *shape)
        record = slide_record(made, shape, of_targets=False)
        stored, joined = slide_weights(kernels, made.groups), made.dense(np.ones(shape, bool)).T
        full = made.dense(kernels).T
        for fired in activities(rng, made.shape[1]):
            start = states_before(rng, of_targets(kernel), full[fired])
            v = array(of_targets(kernel), start)
            call(kernel, record, Array(stored), v, Array(spike_list(fired)), changes=(v,))
            wanted = start.copy()
            for source in np.flatnonzero(fired):
                reached = joined[source]
                wanted[reached] += full[source, reached]
            same(v.values, filled(of_targets(kernel), wanted))


@kernels("input_conv")
def test_input_conv(call: Call, kernel: Variant) -> None:
    rng = np.random.default_rng(24)
    for made, shape in SLIDES:
        kernels = weights(rng, kernel.numbers, *shape)
        record, stored = slide_record(made, shape, of_targets=True), Array(kernels.ravel())
        targets, sources = made.shape
        if kernel.numbers == "f32":
            values = states(rng, "f32", sources)
            values[np.isinf(values)] = 3
            v = array("f32", states(rng, "f32", targets))
            call(kernel, record, stored, v, Array(values), changes=(v,))
            wanted = v.before.copy()
            made.add_samples(wanted[None], kernels, values[None])
            same(v.values, wanted)
            continue
        values = rng.choice([-32768, 32767, 0, 1, -7, 300], sources).astype(np.int16)
        total = made.applied(kernels.astype(np.int64), values)
        for shift in (np.int32(16), rng.integers(14, 23, targets).astype(np.int32)):
            start = states(rng, "i32", targets).astype(NUMBERS[of_targets(kernel)])
            v = array(of_targets(kernel), start)
            shifts = Array(np.atleast_1d(shift).astype(np.int32))
            arguments = (record, stored, shifts, np.ndim(shift), v, Array(values))
            call(kernel, *arguments, changes=(v,))
            half = (np.int64(1) << shift) >> 1
            wanted = start + ((total + half) >> shift)
            same(v.values, filled(of_targets(kernel), wanted.astype(start.dtype)))
