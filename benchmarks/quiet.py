"""How often groups of neurons are quiet: what skipping their update could save.

A group is quiet in a step if all its membranes (and synapses) are 0 or -1, which integer decay
leaves as they are, and it has no bias.

    python benchmarks/quiet.py [--network NAME]... [--page FILE] [--json FILE]
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import typer
from instructions import PAGE, Subject, subjects
from numpy.typing import NDArray
from page import JsonFile, NetworkNames, PageFile, Place, table

from l2mu_compile.display import bars
from l2mu_compile.interpreter import Run, run
from l2mu_compile.network import Population
from l2mu_compile.passbase import Context
from l2mu_compile.pipeline import default_pipeline, run_passes
from l2mu_compile.targets.registry import get_target

PLACE = "quiet"
GROUPS = (4, 8, 16)  # neurons that a kernel updates at once
TARGET = "cortex-m4"  # any: quiet is a property of the network


@dataclass(frozen=True)
class Quiet:
    """Of a population: the share of its groups, by their size, that are quiet in a step."""

    network: str
    population: str
    neurons: int
    share: dict[int, float]


def measure(subject: Subject) -> list[Quiet]:
    """Every population of a model's int8 network, on the windows to measure."""
    context = Context(get_target(TARGET), subject.calibration.x)
    network = run_passes(subject.model.network, default_pipeline(True, True), context)
    result = run(network, subject.measured.x, record=("membranes",))
    return [
        Quiet(subject.name, p.name, p.size, {group: _share(result, p, group) for group in GROUPS})
        for p in network.populations
    ]


def _share(result: Run, population: Population, group: int) -> float:
    """Neurons that fill no group up are left out."""
    whole = population.size // group * group
    if not whole:
        return 0.0
    still = _stays(result.membranes[population.name])
    if population.name in result.synapses:
        still &= _stays(result.synapses[population.name])
    if population.bias is not None:
        still &= population.bias == 0
    return float(still[..., :whole].reshape(*still.shape[:2], -1, group).all(axis=-1).mean())


def _stays(membrane: NDArray) -> NDArray:
    return (membrane == 0) | (membrane == -1)


def as_table(found: list[Quiet]) -> str:
    """A row for every population with quiet groups."""
    head = ("network", "population", "neurons", *(f"groups of {group}" for group in GROUPS))
    rows = [
        (q.network, q.population, f"{q.neurons:,}", *(f"{q.share[g]:.0%}" for g in GROUPS))
        for q in found
        if q.share[GROUPS[0]] >= 0.01
    ]
    return table(head, rows)


def main(
    page: PageFile = PAGE,
    json_file: JsonFile = None,
    network: NetworkNames = None,
) -> None:
    """Count quiet groups and write their shares into a page."""
    place = Place.of(page, PLACE)
    with tempfile.TemporaryDirectory() as folder, bars(False) as progress:
        progress.say("drawing networks")
        drawn = subjects(Path(folder), network)
        report = progress.phase("running")
        found = []
        for k, subject in enumerate(drawn):
            found += measure(subject)
            if report:
                report(k + 1, len(drawn))
    figures = {"quiet": [asdict(q) for q in found]}
    place.write(as_table(found), json_file, figures)


if __name__ == "__main__":
    typer.run(main)
