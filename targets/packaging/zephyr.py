"""A Zephyr module: ``zephyr/module.yml``, Kconfig, CMake, and a sample application."""

from __future__ import annotations

from l2mu_compile.targets.emit_c import render
from l2mu_compile.targets.kernel_table import functions_in
from l2mu_compile.targets.packaging.common import (
    Files,
    c_files,
    checked_report,
    processors,
    view,
    with_notes,
    write_tree,
)
from l2mu_compile.targets.product import Product

_TEMPLATES = {
    "zephyr/module.yml": "module.yml",
    "Kconfig": "Kconfig",
    "CMakeLists.txt": "CMakeLists.txt",
    "samples/classify/CMakeLists.txt": "sample_CMakeLists.txt",
    "samples/classify/prj.conf": "prj.conf",
    "samples/classify/sample.yaml": "sample.yaml",
    "samples/classify/src/main.c": "main.c",
}
_KIB = 1024


def make_zephyr(product: Product) -> None:
    """Write ``zephyr/NAME/``."""
    write_tree(product.output / "zephyr" / product.name, zephyr_files(product))


def zephyr_files(product: Product) -> Files:
    """The module's files; its option is ``CONFIG_L2MU_MODEL_NAME``."""
    values, report = view(product), checked_report(product)
    stack = max((report.stack_bounds or {}).values(), default=report.stack_bytes or 0)
    values |= {
        "kernels": functions_in(values["sources"]),
        "main_stack": _KIB * (2 + stack // _KIB),
    }
    files: Files = {
        path: render(f"zephyr/{template}.jinja", values) for path, template in _TEMPLATES.items()
    }
    files |= c_files(product, "include", "src")
    use = (
        "add this folder to `EXTRA_ZEPHYR_MODULES`, or its repository to `west.yml`, and set "
        f"`CONFIG_L2MU_MODEL_{product.name.upper()}=y`; `west build -b BOARD samples/classify` "
        f"builds the sample. {processors(product)}"
    )
    return with_notes(product, files, "Zephyr module", use)
