"""Measure what every kernel takes on every target that something counts for, and write it down.

`targets/kernel_costs.json`, which select-kernels and the report read, is written anew for all
targets, or for those named, and for all kernels or those of the operations named; what cannot be
measured here stays. `targets/kernel_costs.py` says what
its terms mean.

    python benchmarks/measure_kernels.py [--target NAME]... [--operation NAME]... [--output FILE]
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Optional

import numpy as np
import typer
from counted_code import cannot_count
from kernel_counter import Case, counts, spiking_neurons
from numpy.typing import NDArray

from l2mu_compile.convolution import Convolution
from l2mu_compile.display import bars, err
from l2mu_compile.output import write_whole
from l2mu_compile.sparse import tile_of
from l2mu_compile.targets.kernel_costs import GROUPS, TABLE, as_measured, unit
from l2mu_compile.targets.kernel_sets import parts
from l2mu_compile.targets.kernel_table import kernel_table
from l2mu_compile.targets.record import Target
from l2mu_compile.targets.registry import TARGETS, get_target

# ruff: noqa: UP045 (typer reads annotations at run time, on Python 3.10 too)

# Operations of a step, by the beginnings of their names.
MANY_TARGETS = ("accumulate_dense",)
SPARSE = ("accumulate_sparse",)
MULTIPLYING = ("multiply_dense",)
BLOCKS = ("accumulate_shared", "accumulate_distinct")
CONVOLVED = ("accumulate_conv",)
CONVOLVED_INPUT = ("input_conv",)
INPUT = ("input",)
NEURONS = ("fire", "leak", "saturate")
UNDECIDED = ("count_undecided",)
LISTING = ("list_samples", "count_spikes", "flag_spikes")
CHANNELS = ("quantize_sample", "maximum", "sum", "copy")
OPERATIONS = (
    *(*MANY_TARGETS, *SPARSE, *MULTIPLYING, *BLOCKS, *CONVOLVED, *INPUT),
    *(*NEURONS, *LISTING, *UNDECIDED, *CHANNELS),
)

SIZES = (1, 3, 7, 8, 12, 16, 20, 27, 33, 56, 64, 70, 100, 128, 160, 200, 250, 300, 400, 512)
SMALL = (1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 24)
SPIKES = (0, 1, 2, 3, 6, 13, 40, 100)
KERNELS = (1, 2, 3, 5)  # rows and columns of kernels
OUT = (1, 2, 3, 4, 6, 8, 12, 16, 33)  # target channels
TILES = (0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 16, 24, 33, 64)
RATES = (0, 0.01, 0.03, 0.1, 0.3, 1)
SOURCES = 128
SYNAPSES = 2**16  # that the program's memory holds of any numbers

# Ways to cut n elements into those that are worked on together: terms for each.
EVEN_CUTS = (
    ("{}",),
    *((f"{{}}+{n - 1}/{n}",) for n in (2, 4, 8, 16, 32)),
    *((f"{{}}/{n}", f"{{}}%{n}") for n in (2, 4, 8, 16, 32)),
)
FLAGGED = ("{}/16", "{}%16/8", "{}%8", "{}/8?", "{}/16?")
CUTS = (
    *EVEN_CUTS,
    *((f"{{}}/{n}", f"{{}}+{n - 1}/{n}", f"{{}}%{n}") for n in (4, 8, 16)),
    *(
        ("{}", f"{{}}*{{}}/{n}?", f"{{}}+{n - 1}/{n}", f"{{}}/{n}?", f"{{}}/{n + 1}?")
        for n in (4, 8)
    ),
    ("{}/4", "{}%4", "{}%4?", "{}/4?", "{}/5?"),
    ("{}+3/16", "{}+3%16/8", "{}+3%8/4"),
    ("{}+7/16", "{}+7%16/8", "{}+7%16/12"),
    ("{}+7/16", "{}+7%16/8", "{}+7/16?"),
    ("{}/32", "{}%32/8", "{}%8"),
    ("{}/16", "{}%16/8", "{}%8"),
    ("{}/16", "{}%16/4", "{}%4"),
    (*FLAGGED, "{}%8?", "{}%16/8?"),
    ("{}/32", "{}%32/16", "{}%16", "{}/16?", "{}/32?", "{}%16?", "{}%16/4", "{}%4"),
    ("{}+7/32", "{}+7%32/8"),
    ("{}+7/32", "{}+7%32/8", "{}+7/32?"),
    ("{}+7/32", "{}+7/32?", "{}+7%32*{}+7%32/8?", "{}+7%32/8?"),
    ("{}+55/56", "{}+7/8"),
    ("{}+55/56", "{}+7/8", "{}+7%56/8", "{}+7%16/8"),
    ("{}+7/96", "{}+7%96/64", "{}+7%96%64/32", "{}+7%32/8"),
    *(
        (
            *(f"{{}}+{tile - 1}/{tile}", f"{{}}+{n - 1}/{n}"),
            *(f"{{}}+{n - 1}%{tile}/{tile // part}?" for part in (2, 4)),
        )
        for tile, n in ((128, 8), (128, 16), (256, 16), (256, 32))
    ),
    ("{}+7/160", *(f"{{}}+7%160/{n}?" for n in (128, 96, 64, 32)), "{}+7%160", "{}+7%32/8"),
)
SEVERAL = "columns/2?"
# Rows of packed weights that are added up at once, by the beginnings of numbers.
PIECES = {
    "i4": ((), ("spikes/16",), ("spikes/17",)),
    "i2": ((), ("spikes+6/7",)),
    "s4": ((), ("spikes/2",), ("spikes/4",), ("spikes/8",), ("spikes/16",)),
}
GOOD = 0.03  # an error that no further term is worth
STATED = 0.05  # what terms should be good for
FEW = 100  # instructions: an error counts relative to at least so many


def cases_of(kernel: str) -> list[Case]:
    """Awkward and realistic sizes of calls."""
    operation = parts(kernel)[0]
    if operation.startswith((*MANY_TARGETS, *MULTIPLYING)):
        some = (16, 40, 90, 128) if operation.startswith(MULTIPLYING) else (SOURCES,)
        return [
            Case(n, sources=sources, spikes=min(spikes, sources))
            for n, sources, spikes in product(SIZES, some, SPIKES)
        ]
    if operation.startswith(SPARSE):
        width = tile_of(kernel) or 1
        return [
            Case(tiles * width, columns=tiles, sources=SOURCES, spikes=spikes)
            for tiles, spikes in product(TILES, SPIKES)
        ]
    if operation.startswith(BLOCKS):
        return [
            Case(rows, columns=columns, sources=64 * columns, spikes=min(spikes, 64 * columns))
            for rows, columns, spikes in product(SMALL, (1, 4, 7), SPIKES)
        ]
    if operation.startswith((*CONVOLVED, *CONVOLVED_INPUT)):
        channels, sides, spikes = (1, 3), (1, 2, 5), (0, 1, 6, 13, 40)
        if operation.startswith(CONVOLVED_INPUT):
            channels, sides, spikes = (1, 2, 5), (1, 2, 3, 5), (0,)
        return [
            Case(n, k, c, c * (k + m - 1) ** 2, min(s, c * (k + m - 1) ** 2), side=k + m - 1)
            for n, k, c, m, s in product(OUT, KERNELS, channels, sides, spikes)
        ]
    if operation.startswith(INPUT):
        whole = [Case(n, columns=columns) for n, columns in product(SIZES, (1, 2, 3, 6, 9, 24, 64))]
        parted = product(SMALL, (1, 2, 3, 5), (2, 7, 32))
        return whole + [Case(n, columns=columns, blocks=blocks) for n, columns, blocks in parted]
    if operation.startswith(UNDECIDED):
        return [
            Case(n, sources=n, spikes=round(n * r)) for n, r in product((*SMALL, *SIZES), RATES)
        ]
    rates = RATES if operation.startswith(("fire", *LISTING)) else (0.1,)
    plain = [Case(n, sources=n, spikes=round(n * rate)) for n, rate in product(SIZES, rates)]
    if not operation.startswith(NEURONS):
        return plain
    some = [Case(n, sources=n, spikes=n // 10) for n in SIZES]
    kinds = ("biased", "own", "bounded")
    return [*plain, *(replace(c, **{kind: 1}) for kind, c in product(kinds, some))]


def sizes_of(case: Case) -> dict[str, float]:
    """The sizes that terms are made of."""
    if case.side:
        return _convolved_sizes(case)
    spiking = spiking_neurons(case)
    return {
        **{"spikes": float(case.spikes), "any": float(case.spikes > 0)},
        **{f"full{n}": float(len({j // n for j in spiking})) for n in GROUPS},
        **{name: float(case.n) for name in ("targets", "rows", "neurons")},
        **{name: float(getattr(case, name)) for name in ("columns", "blocks", "sources")},
        "tiles": float(case.columns),
        **{name: float(getattr(case, name)) for name in ("biased", "own", "bounded")},
    }


def _convolved_sizes(case: Case) -> dict[str, float]:
    """Of what is read, the averages over the sources that spike; without any, over targets."""
    convolution = Convolution(
        (case.blocks, case.side, case.side), (case.n, case.target_side, case.target_side)
    )
    lines = convolution.reads(0, case.columns).sum(axis=(0, 1))
    rows, columns = np.divmod(np.array(spiking_neurons(case), int) % case.side**2, case.side)
    own = lines[rows], lines[rows] * lines[columns]
    each = (case.columns, case.columns**2) if case.spikes == 0 else tuple(a.mean() for a in own)
    return {
        **{"spikes": float(case.spikes), "any": float(case.spikes > 0)},
        **{"lines": float(each[0]), "reads": float(each[1])},
        **{"targets": float(case.n * convolution.positions), "out": float(case.n)},
        **{"channels": float(case.blocks), "single": float(convolution.positions == 1)},
        "many": float(convolution.positions > 1),
    }


def models_of(kernel: str) -> Iterator[list[str]]:
    """Sums of terms that may describe a kernel, those with few terms first."""
    operation, numbers, _ = parts(kernel)
    found: list[list[str]] = []
    if operation.startswith(MULTIPLYING):
        for targets, sources in product(_cuts("targets"), _cuts("sources", EVEN_CUTS)):
            found.append(_products(targets, sources))
    elif operation.startswith(MANY_TARGETS):
        pieces = PIECES.get(numbers[:2], ((),))
        for cut, piece in product(_cuts("targets"), pieces):
            terms = _products(("1", "any", "spikes", *piece), cut)
            found += [terms, [*terms, f"any*{cut[1]}?"]]
    elif operation.startswith(SPARSE):
        terms = ["1", "any", "spikes", "spikes*tiles"]
        found += [terms, [*terms, "spikes*tiles?"]]  # those of other sources are on average as many
    elif operation.startswith(BLOCKS):
        for cut in _cuts("rows"):
            each = ["any", *_products(("spikes",), cut)]
            both = _products(("any", "spikes"), cut)
            found += [["1", *each], ["1", *each, *_products(("1", "any", "spikes"), (SEVERAL,))]]
            found += [["1", *both], ["1", *both, *_products(both, (SEVERAL,))]]
    elif operation.startswith(CONVOLVED):
        for many, single in product(_cuts("out", EVEN_CUTS), _cuts("out")):
            each = [*_products(("many",), many), *_products(("single",), single)]
            found.append(["1", "spikes", "spikes*lines", *_products(("spikes*reads",), each)])
    elif operation.startswith(CONVOLVED_INPUT):
        sums = ("channels*lines", "channels*reads")
        found.append(["1", *_products(("targets",), ("1", "channels", *sums))])
    elif operation.startswith(INPUT):
        for rows, columns in product(_cuts("rows"), _cuts("columns", (*EVEN_CUTS, FLAGGED))):
            several = _products((SEVERAL,), columns)  # kernels may do one channel by other means
            each = _products(rows, ("1", *several))
            found.append(["1", SEVERAL, *_products(("blocks",), each)])
    elif operation.startswith("fire"):
        for cut, groups in product(_cuts("neurons"), ((), *((f"full{n}",) for n in GROUPS))):
            kinds = _products(("1", "biased", "own", "bounded"), cut)
            found.append([*kinds, "any", "spikes", *groups])
    elif operation.startswith(NEURONS):
        found += [_products(("1", "biased", "own"), cut) for cut in _cuts("neurons")]
    elif operation.startswith(LISTING):
        size = "sources" if operation.startswith("flag") else "neurons"
        for cut, spikes in product(_cuts(size), (("spikes",), ("spikes/8", "spikes%8"))):
            found.append([*cut, "any", *spikes])
    elif operation.startswith(UNDECIDED):
        found += [["1", *_products(("any",), cut), "spikes"] for cut in _cuts("neurons")]
    else:
        found += [list(cut) for cut in _cuts("neurons")]
    yield from sorted(found, key=len)


def _cuts(size: str, cuts: Sequence[Sequence[str]] = CUTS) -> list[tuple[str, ...]]:
    return [("1", *(part.replace("{}", size) for part in cut)) for cut in cuts]


def _products(left: Sequence[str], right: Sequence[str]) -> list[str]:
    return ["*".join(x for x in pair if x != "1") or "1" for pair in product(left, right)]


def fitted(kernel: str, cases: Sequence[Case], counted: NDArray) -> dict[str, float]:
    """The row of a kernel: of the models that are good enough the shortest, else the best."""
    sizes = [sizes_of(case) for case in cases]
    known: dict[str, NDArray] = {}
    scale = np.maximum(counted, FEW)
    best: dict[str, float] = {}
    for model in models_of(kernel):
        terms = list(dict.fromkeys(model))
        for term in terms:
            if term not in known:
                known[term] = np.array([unit(term, one) for one in sizes])
        units = np.stack([known[term] for term in terms], axis=1)
        values = np.linalg.lstsq(units / scale[:, None], counted / scale, rcond=None)[0].round(3)
        off = float((np.abs(units @ values - counted) / scale).max())
        if not best or off < best["off"]:
            chosen = {t: float(v) for t, v in zip(terms, values, strict=True) if v}
            best = {"off": round(off, 4), **chosen}
        if best["off"] <= GOOD:
            break
    return best


def measure(target: Target, operations: Sequence[str] = OPERATIONS) -> dict[str, Any]:
    """A target's entry of the table, with the kernels of ``operations``."""
    target = as_measured(target)
    names = [
        name
        for name in kernel_table()
        if parts(name)[0].startswith(tuple(operations)) and parts(name)[2] in target.kernel_sets
    ]
    cases = {name: cases_of(name) for name in names}
    with tempfile.TemporaryDirectory() as folder:
        counted = counts(target, cases, Path(folder))
    rows = {name: fitted(name, cases[name], counted[name]) for name in names}
    return {"triple": target.triple, "cpu": target.cpu, "kernels": rows}


def is_counted(target: Target) -> bool:
    """Whether something here counts instructions of code for ``target``; says why not."""
    reason = "" if target.counts_instructions else cannot_count(target)
    if reason:
        err.print(f"{target.name}: not measured, as {reason}", highlight=False)
    return not reason


def as_text(table: dict[str, Any]) -> str:
    """JSON with a line for every kernel."""
    entries = []
    for name, entry in table.items():
        lines = (f"   {json.dumps(k)}: {json.dumps(row)}" for k, row in entry["kernels"].items())
        rows = ",\n".join(lines)
        head = f'"triple": {json.dumps(entry["triple"])}, "cpu": {json.dumps(entry["cpu"])}'
        entries.append(f' {json.dumps(name)}: {{{head}, "kernels": {{\n{rows}\n }}}}')
    return "{\n" + ",\n".join(entries) + "\n}\n"


def main(
    target: Annotated[
        Optional[list[str]], typer.Option(help="Only this one; may be given several times.")
    ] = None,
    output: Annotated[Path, typer.Option(help="The table; what others it has stays.")] = TABLE,
    operation: Annotated[
        Optional[list[str]],
        typer.Option(help="Only kernels of operations that begin so; others' rows stay."),
    ] = None,
) -> None:
    """Measure the kernels of targets and write them into the table."""
    chosen = [get_target(name) for name in target or TARGETS]
    if target is None:
        chosen = [one for one in chosen if is_counted(one)]
    table = json.loads(output.read_text(encoding="utf-8")) if output.exists() else {}
    with bars(False) as progress, ProcessPoolExecutor() as pool:
        shown = progress.phase("measuring targets")
        measured = pool.map(partial(measure, operations=operation or OPERATIONS), chosen)
        for i, (one, entry) in enumerate(zip(chosen, measured, strict=True), 1):
            kept = table.get(one.name, {}).get("kernels", {}) if operation else {}
            rows = kept | entry["kernels"]
            ordered_rows = {name: rows[name] for name in kernel_table() if name in rows}
            table[one.name] = entry | {"kernels": ordered_rows}
            offs = [row["off"] for row in entry["kernels"].values()]
            good = sum(off <= STATED for off in offs)
            err.print(
                f"{one.name}: {good} of {len(offs)} kernels within {STATED:.0%}, "
                f"all within {max(offs):.0%}"
            )
            if shown:
                shown(i, len(chosen))
    ordered = {name: table.pop(name) for name in TARGETS if name in table} | table
    write_whole(output, as_text(ordered))


if __name__ == "__main__":
    typer.run(main)
