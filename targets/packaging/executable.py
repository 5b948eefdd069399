"""A static executable for Linux that classifies files of windows."""

from __future__ import annotations

from l2mu_compile.targets.emit_c import render
from l2mu_compile.targets.product import Product, executable_path, model_names
from l2mu_compile.targets.toolchain import RUNTIME_DIR, static_executable

PROGRAM = ("executable_main.c", "sample_reader.c")


def make_executable(product: Product) -> None:
    """Write ``executable/``: the program, its README and the report.

    Raises `ToolchainError` if a tool is missing or fails.
    """
    report = product.report
    assert report is not None, "packages are made of checked builds"
    output = executable_path(product.program, product.output)
    headers = product.scratch / "executable"
    headers.mkdir(exist_ok=True)
    view = {
        **model_names(product),
        "target": product.target,
        "window": False,
        "steps": product.window.samples.shape[0],
        "inputs": product.program.inputs,
        "report": report,
    }
    model = headers / "l2mu_model.h"
    model.write_text(render("l2mu_model.h.jinja", view), encoding="utf-8")
    static_executable(
        product.target,
        [RUNTIME_DIR / name for name in PROGRAM],
        [product.library],
        output,
        [headers, product.sources],
        product.log,
    )
    folder = output.parent
    view["bytes"] = output.stat().st_size
    (folder / "README.md").write_text(render("executable_readme.md.jinja", view), encoding="utf-8")
    (folder / "report.json").write_text(report.to_json(), encoding="utf-8")
