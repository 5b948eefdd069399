"""Firmware images for microcontrollers: start-up code, the model, and a window to classify."""

from __future__ import annotations

from pathlib import Path

from l2mu_compile.targets.c_text import number
from l2mu_compile.targets.devices import CHECKED_FUNCTIONS
from l2mu_compile.targets.emit_c import render
from l2mu_compile.targets.product import Product
from l2mu_compile.targets.toolchain import compile_objects, link_firmware


def make_firmware(product: Product, objects: list[Path]) -> None:
    """Write ``firmware/``: an ELF image, its linker script and its own sources.

    Raises `ToolchainError` if a tool is missing or fails.
    """
    folder = product.output / "firmware"
    main = _write_main(product, folder)
    scratch = product.scratch / "main"
    linked = compile_objects(product.target, [main], [product.sources], scratch, product.log)
    # Inlined into one another, the API's functions would leave nothing to call by name.
    keep = [f"{product.name}_{word}" for word in CHECKED_FUNCTIONS]
    link_firmware(product.target, [*linked, *objects], product.image, log=product.log, keep=keep)


def _write_main(product: Product, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    name, window = product.name, product.window
    view = {
        "stamp": product.stamp,
        "name": name,
        "NAME": name.upper(),
        "origin": window.origin,
        "steps": window.samples.shape[0],
        "inputs": product.program.inputs,
        "samples": [", ".join(number(v, "float") for v in row) for row in window.samples],
    }
    (folder / f"{name}_window.h").write_text(render("window.h.jinja", view), encoding="utf-8")
    main = folder / "main.c"
    main.write_text(render("firmware_main.c.jinja", view), encoding="utf-8")
    return main
