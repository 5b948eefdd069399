"""Firmware images for microcontrollers: start-up code, the model, and a window to classify."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from l2mu_compile.targets.c_text import number
from l2mu_compile.targets.devices import CHECKED_FUNCTIONS
from l2mu_compile.targets.emit_c import render
from l2mu_compile.targets.flash_image import write_flash_images
from l2mu_compile.targets.linking import link_firmware
from l2mu_compile.targets.product import Product, model_names
from l2mu_compile.targets.toolchain import compile_objects, runtime_file


def make_firmware(product: Product, objects: Sequence[Path]) -> list[Path]:
    """Write ``firmware/``: images as ELF, ``.bin`` and ``.hex``, their own sources, and a
    ``board_main.c`` for a board without a host. Returns the objects around the model's.

    Raises `ToolchainError` if a tool is missing or fails.
    """
    target, folder = product.target, product.output / "firmware"
    assert target.memory is not None, "a record with firmware has memory"
    _write_sources(product, folder)
    around = compile_objects(
        target,
        [folder / Path(name).name for name in target.program if name.endswith(".c")],
        [product.sources],
        product.scratch / "firmware",
        product.log,
    )
    link_checked(product, [*around, *objects], product.image)
    write_flash_images(product.image, target.memory.flash)
    return around


def link_checked(product: Product, objects: Sequence[Path], image: Path) -> None:
    """Link firmware that has all the functions which are called by name when it is checked.

    Inlined into one another, they would leave nothing to call.
    """
    keep = [f"{product.name}_{word}" for word in CHECKED_FUNCTIONS]
    link_firmware(product.target, objects, image, log=product.log, keep=keep)


def firmware_use(product: Product) -> str:
    """How to run the images and where to start on a board, as Markdown."""
    return render("firmware_use.md.jinja", _view(product)).rstrip()


def _view(product: Product) -> dict[str, Any]:
    window = product.window
    return {
        **model_names(product),
        "target": product.target,
        "window": True,
        "origin": window.origin,
        "samples": [", ".join(number(v, "float") for v in row) for row in window.samples],
    }


def _write_sources(product: Product, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*product.target.program, *product.target.startup):
        path = runtime_file(name)
        shutil.copyfile(path, folder / path.name)
    view = _view(product)
    for template, name in (
        ("l2mu_model.h.jinja", "l2mu_model.h"),
        ("window.h.jinja", f"{product.name}_window.h"),
        ("board_main.c.jinja", "board_main.c"),
    ):
        (folder / name).write_text(render(template, view), encoding="utf-8")
