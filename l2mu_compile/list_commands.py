"""The commands that list what there is: ``l2mu-compile passes | targets | boards``."""

from __future__ import annotations

import json
from typing import Any

from l2mu_compile.display import amount, out, show_entries, show_rows
from l2mu_compile.options import AsJson, Plugins


def passes(plugin: Plugins = None, as_json: AsJson = False) -> None:
    """List the passes, with their options and contracts."""
    from l2mu_compile.pipeline import FLOAT_PIPELINE, INT8_PIPELINE, TUNE_PIPELINE, known_passes

    known = known_passes()
    pipelines = {"float32": FLOAT_PIPELINE, "int8": INT8_PIPELINE, "tune": TUNE_PIPELINE}
    if as_json:
        listed = [
            {"name": name, "spelling": str(kind()), "contract": kind.contract()}
            for name, kind in known.items()
        ]
        _print_json({"passes": listed, "pipelines": pipelines})
        return
    show_entries([(str(p()), p.contract()) for p in known.values()])
    out.print("\nDefault pipelines:")
    show_entries([(name, ", ".join(names)) for name, names in pipelines.items()])


def targets(plugin: Plugins = None, as_json: AsJson = False) -> None:
    """List the targets and what is built for each."""
    from l2mu_compile.targets.registry import known_targets

    rows: list[dict[str, Any]] = [
        {
            "name": t.name,
            "description": t.description,
            "artifacts": list(t.artifacts),
            "kernel_sets": list(t.kernel_sets),
            "runs_on": t.runs_on,
        }
        for t in known_targets().values()
    ]
    if as_json:
        _print_json(rows)
        return
    show_rows(
        ("target", "description", "artifacts", "verified on"),
        [(r["name"], r["description"], ", ".join(r["artifacts"]), r["runs_on"]) for r in rows],
    )


def boards(as_json: AsJson = False) -> None:
    """List the boards, with their target, memory and clock."""
    from l2mu_compile.targets.boards import BOARDS

    rows: list[dict[str, Any]] = [
        {
            "name": b.name,
            "description": b.description,
            "target": b.target,
            "flash_bytes": None if b.memory is None else b.memory.flash.size,
            "ram_bytes": b.ram_bytes,
            "clock_hz": b.clock_hz,
        }
        for b in BOARDS.values()
    ]
    if as_json:
        _print_json(rows)
        return
    shown = [(*list(r.values())[:3], *map(amount, list(r.values())[3:5])) for r in rows]
    show_rows(
        ("board", "description", "target", "flash", "RAM", "clock"),
        [(*s, f"{r['clock_hz'] // 10**6} MHz") for s, r in zip(shown, rows, strict=True)],
    )


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))
