"""A CMSIS-Pack: one software component, described by a ``.pdsc`` file, in a ``.pack`` archive."""

from __future__ import annotations

from datetime import date

from l2mu_compile.targets.emit_c import render
from l2mu_compile.targets.kernel_table import functions_in
from l2mu_compile.targets.packaging.common import (
    DATE,
    Files,
    c_files,
    processors,
    release_version,
    view,
    with_notes,
    write_zip,
)
from l2mu_compile.targets.product import Product

VENDOR = "L2MU"
# The longest part of a component's identifier that the schema allows.
_LONGEST_SUB = 32


def make_cmsis_pack(product: Product) -> None:
    """Write ``cmsis-pack/VENDOR.NAME.VERSION.pack``."""
    pack = f"{VENDOR}.{product.name}.{release_version()}.pack"
    write_zip(product.output / "cmsis-pack" / pack, cmsis_pack_files(product))


def cmsis_pack_files(product: Product) -> Files:
    """The pack's files."""
    name, values = product.name, view(product)
    values |= {
        "vendor": VENDOR,
        "sub": name[:_LONGEST_SUB],
        "date": date(*DATE).isoformat(),
        "kernels": functions_in(values["sources"]),
    }
    files = {
        f"{VENDOR}.{name}.pdsc": render("cmsis_pack/package.pdsc.jinja", values),
        f"templates/{name}_main.c": render("board_main.c.jinja", values),
        **c_files(product, "include", "src"),
    }
    component = f"{VENDOR}::Machine Learning:L2MU:{values['sub']}"
    use = (
        f"`cpackget add {VENDOR}.{name}.{values['version']}.pack`, then `component: {component}` "
        f"and `pack: {VENDOR}::{name}` in the solution. {processors(product)}"
    )
    return with_notes(product, files, "CMSIS-Pack", use)
