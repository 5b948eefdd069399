"""Time on this machine from what activity on multiplying all weights pays, and write a table of it.

That is what `byte_cost` of the host's record rests on. Dense kernels of int8 weights and int16 sums
are called alone, hot, with as many spikes as the activity says: the one that follows spikes, and
the one that multiplies after flags were made.

    python benchmarks/crossover.py [--page FILE] [--json FILE]
"""

from __future__ import annotations

import ctypes
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import typer
from kernel_counter import Case, image_of, record
from measure_kernels import sizes_of
from numpy.typing import NDArray
from page import JsonFile, PageFile, Place, processor, table

from l2mu_compile.errors import ToolchainError
from l2mu_compile.targets.kernel_costs import costs_for, weights_read
from l2mu_compile.targets.kernel_sets import usable_sets
from l2mu_compile.targets.registry import get_target

PAGE, PLACE = Path(__file__).parent.parent / "docs" / "benchmarks.md", "crossover"
FOLLOW = "l2mu_accumulate_dense_i8_i16_avx512"
MULTIPLY, FLAG = "l2mu_multiply_dense_i8_i16_vnni", "l2mu_flag_spikes_vnni"
KERNELS = (FOLLOW, MULTIPLY, FLAG)
SHAPES = (
    *((64, 64), (128, 128), (200, 200), (256, 256), (512, 64), (64, 512), (160, 1000)),
    (512, 512),
)
ACTIVITIES = np.linspace(0, 1, 21)
ROUNDS, SECONDS = 40, 2e-4
HEAD = (
    *("targets × sources", "kB of weights", "pays from, by instructions", "with `byte_cost`"),
    *("by time", "multiplying × following, at 30 %", "at 60 %", "at 90 %"),
)

Costs = Callable[[str, Case], float]


def cases_of(targets: int, sources: int) -> list[Case]:
    """One for each of ACTIVITIES."""
    return [
        Case(targets, sources=sources, spikes=round(sources * activity)) for activity in ACTIVITIES
    ]


def timed(library: ctypes.CDLL, kernel: str, case: Case) -> float:
    """Least mean seconds of a call, among rounds of some."""
    index = KERNELS.index(kernel)
    call = library[f"call_{index}"]
    library.prepare(np.array(record(index, kernel, case), "<u2").tobytes())
    many, best = 1, np.inf
    while (spent := _seconds(library, call, many)) < SECONDS:
        many *= 2
    for _ in range(ROUNDS):
        spent = min(spent, _seconds(library, call, many))
        best = min(best, spent / many)
    return best


def pays_from(saved: NDArray) -> float | None:
    """The activity from which on something is ``saved`` at ACTIVITIES; None if it is nowhere."""
    lost = np.flatnonzero(saved <= 0)
    if not len(lost):
        return 0.0
    last = lost[-1]
    if last == len(saved) - 1:
        return None
    step = saved[last] / (saved[last] - saved[last + 1])
    return float(ACTIVITIES[last] + step * (ACTIVITIES[last + 1] - ACTIVITIES[last]))


def saved_of(costs: Costs, cases: list[Case]) -> NDArray:
    """What multiplying saves, in whatever ``costs`` are in."""
    return np.array(
        [costs(FOLLOW, case) - costs(MULTIPLY, case) - costs(FLAG, case) for case in cases]
    )


def predicted_costs(byte_cost: float) -> Costs:
    """As select-kernels compares them."""
    costs = costs_for(get_target("host"))

    def cost(kernel: str, case: Case) -> float:
        sizes = sizes_of(case)
        read = 0.0 if kernel == FLAG else weights_read(kernel, sizes)
        return costs[kernel].of(sizes) + byte_cost * read

    return cost


def measure() -> dict[str, dict[str, float | None]]:
    """What the table has, by its columns, of every shape."""
    host = get_target("host")
    missing = [name for name in host.kernel_sets if name not in usable_sets(host)]
    if host.arch != "x86_64" or missing:
        raise ToolchainError(f"this machine has no {', '.join(missing) or 'AVX-512'}")
    found: dict[str, dict[str, float | None]] = {}
    with tempfile.TemporaryDirectory() as folder:
        image = image_of(host, KERNELS, Path(folder), counting=False)
        library = ctypes.CDLL(str(image))
        library.start()
        for targets, sources in SHAPES:
            cases = cases_of(targets, sources)
            times = {(k, c.spikes): timed(library, k, c) for k in KERNELS for c in cases}
            ratios = [
                (times[MULTIPLY, c.spikes] + times[FLAG, c.spikes]) / times[FOLLOW, c.spikes]
                for c in cases
            ]
            values = (
                targets * sources / 1024,
                pays_from(saved_of(predicted_costs(0.0), cases)),
                pays_from(saved_of(predicted_costs(host.byte_cost), cases)),
                pays_from(saved_of(lambda k, c, t=times: t[k, c.spikes], cases)),
                *(ratios[np.searchsorted(ACTIVITIES, share - 0.01)] for share in (0.3, 0.6, 0.9)),
            )
            found[f"{targets} × {sources}"] = dict(zip(HEAD[1:], values, strict=True))
    return found


def _seconds(library: ctypes.CDLL, call: object, many: int) -> float:
    start = time.perf_counter()
    library.repeat(call, many)
    return time.perf_counter() - start


def as_text(found: Mapping[str, Mapping[str, float | None]]) -> str:
    """Where it was measured, and the table."""
    rows = []
    for shape, values in found.items():
        size, *shares, little, more, most = values.values()
        percent = ["nowhere" if share is None else f"{share:.0%}" for share in shares]
        rows.append((shape, f"{size:.0f}", *percent, *(f"{r:.2f}" for r in (little, more, most))))
    return f"{processor()}; least of {ROUNDS} rounds.\n\n{table(HEAD, rows)}"


def main(
    page: PageFile = PAGE,
    json_file: JsonFile = None,
) -> None:
    """Time where multiplying pays and write it into a page."""
    place = Place.of(page, PLACE)
    try:
        found = measure()
    except ToolchainError as error:
        sys.exit(str(error))
    figures = {"processor": processor(), "shapes": found}
    place.write(as_text(found), json_file, figures)


if __name__ == "__main__":
    typer.run(main)
