"""A static executable for Linux that classifies files of windows."""

from __future__ import annotations

from l2mu_compile.targets.emit_c import render
from l2mu_compile.targets.linking import static_executable
from l2mu_compile.targets.packaging.common import checked_report, documents, view, write_tree
from l2mu_compile.targets.product import Product, executable_path
from l2mu_compile.targets.toolchain import RUNTIME_DIR

PROGRAM = ("executable_main.c", "sample_reader.c")


def make_executable(product: Product) -> None:
    """Write ``executable/``: the program, its README, licence note and report.

    Raises `ToolchainError` if a tool is missing or fails.
    """
    report = checked_report(product)
    output = executable_path(product.program, product.output)
    headers = product.scratch / "executable"
    headers.mkdir(exist_ok=True)
    values = {**view(product), "window": False}
    model = headers / "l2mu_model.h"
    model.write_text(render("l2mu_model.h.jinja", values), encoding="utf-8")
    static_executable(
        product.target,
        [RUNTIME_DIR / name for name in PROGRAM],
        [product.library],
        output,
        [headers, product.sources],
        product.log,
    )
    values |= {"description": product.target.description, "bytes": output.stat().st_size}
    readme = "executable_readme.md.jinja"
    write_tree(output.parent, documents(product, readme, values, report, c_library=True))
