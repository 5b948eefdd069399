"""docs/misra.md: the emitted C deviates from those rules, all of them, and from no others."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path

import pytest
from exactness import storing_tiles
from networks import PORTABLE, planned
from packages import need
from reference_models import Options, RawNet, save_state
from test_emit_c import cpp_caller

from l2mu_compile.frontend import load_model
from l2mu_compile.lowering import lower
from l2mu_compile.network import READOUT_RULES, Readout
from l2mu_compile.sparse import TILES
from l2mu_compile.stream import Stream
from l2mu_compile.targets.build import write_sources

PAGE = Path(__file__).parents[2] / "docs" / "misra.md"
CALLER = "caller.c"
SOME_KINDS = [
    ("plain", "leaky", False),
    ("plain", "leaky", True),
    ("stacked", "synaptic", False),
    ("single", "synaptic", True),
]
OTHER_KINDS = [
    ("single", "leaky", False),
    ("stacked", "leaky", True),
    ("plain", "synaptic", False),
    ("plain", "synaptic", True),
]
CPPCHECK = (
    *("cppcheck", "--quiet", "--std=c99", "--platform=unix32", "--enable=style"),
    *("--addon=misra", "--template={file}:{id}"),
)
_ROW = re.compile(r"^\| (\d+\.\d+) \| (\w+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
_REPORT = re.compile(r"^(?:.*/)?([^/:]+):misra-c2012-(\d+\.\d+)$", re.MULTILINE)


def documented() -> set[tuple[str, str]]:
    """Rules and patterns of files from the page's table."""
    rows = _ROW.findall(PAGE.read_text(encoding="utf-8"))
    assert {category for _, category, _, _ in rows} <= {"advisory", "required"}
    return {(rule, file) for rule, _, where, _ in rows for file in re.findall(r"`([^`]+)`", where)}


def reported(sources: Iterable[Path]) -> set[tuple[str, str]]:
    """Rules and files that the add-on names, but for the calling program's own."""
    done = subprocess.run([*CPPCHECK, *map(str, sources)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "misra" in done.stderr, "the add-on has run"
    return {(rule, file) for file, rule in _REPORT.findall(done.stderr) if file != CALLER}


def write_models(folder: Path, kinds: Iterable[tuple[str, str, bool]]) -> list[Path]:
    """Models of these encoders, neurons and numbers, each with a caller of its whole API; the
    first decides early; of those quantized every fourth has packed weights, the first of four
    sparse ones."""
    folders = []
    for i, (encoder, neuron, quantized) in enumerate(kinds):
        place = folder / f"{encoder}_{neuron}_{'int8' if quantized else 'float32'}"
        place.mkdir()
        net = RawNet(Options(encoder, neuron))
        save_state(net.state_dict(), place / "net.pt", net.hyper_parameters())
        network = load_model(place / "net.pt", name="model").network
        rule = READOUT_RULES[i % len(READOUT_RULES)]
        margins = (1,) * network.classes if i == 0 else None
        readout = Readout(network.readout.population, rule, margins=margins)
        network = network.replace(readout=readout)
        bits = 4 if i % 4 == 3 else 8
        stream = Stream(10, 4) if i % 3 else None
        final = planned(network, quantized, bits=bits)
        if quantized and i % 4 == 1:
            final = storing_tiles(final.replace(stage="quantized", buffers=()), PORTABLE, *TILES)
        program = lower(final, stream)
        write_sources(program, ["test"], place)
        (place / CALLER).write_text(cpp_caller(program))
        folders.append(place)
    return folders


def check(folder: Path, kinds: Iterable[tuple[str, str, bool]]) -> set[tuple[str, str]]:
    """What is reported on such models is what the page says; rows of the page that were not.

    Kernels are the same files in all models: they are looked at in the first that has them.
    """
    known = documented()
    unused, seen = set(known), set[str]()
    for place in write_models(folder, kinds):
        sources = [path for path in sorted(place.glob("*.c")) if path.name not in seen]
        seen |= {path.name for path in sources if path.name.startswith("l2mu_")}
        for rule, file in reported(sources):
            rows = {row for row in known if row[0] == rule and fnmatch(file, row[1])}
            assert rows, f"{place.name}/{file} deviates from rule {rule}"
            unused -= rows
    return unused


def test_deviations_are_those_documented(tmp_path: Path) -> None:
    need("cppcheck")
    assert not check(tmp_path, SOME_KINDS), "documented, but not so any more"


@pytest.mark.slow
def test_deviations_of_other_kinds_of_models_are_those_documented(tmp_path: Path) -> None:
    need("cppcheck")
    check(tmp_path, OTHER_KINDS)


def test_other_deviations_are_reported(tmp_path: Path) -> None:
    need("cppcheck")
    (tmp_path / "bad.c").write_text(
        "int f(int x);\nint f(int x)\n{\n    goto end;\nend:\n    return x;\n}\n"
    )
    assert ("15.1", "bad.c") in reported([tmp_path / "bad.c"])
