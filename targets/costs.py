"""What a build costs its user, measured on images that are linked for this and then thrown away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from l2mu_compile.targets.elf import footprint
from l2mu_compile.targets.emit_c import render, state_bytes
from l2mu_compile.targets.product import Product
from l2mu_compile.targets.stack import stack_bounds
from l2mu_compile.targets.stack_code import UnboundedStackError
from l2mu_compile.targets.step_costs import instructions_per_call
from l2mu_compile.targets.toolchain import compile_objects, link_firmware, shared_library


@dataclass(frozen=True)
class Costs:
    """``flash`` and ``ram`` bytes of what a user links, the most ``stack`` that each function of
    the API takes, the instructions of each of a step's ``calls`` on the product's window, and those
    of a step when ``all_spike``; None where that cannot be told."""

    flash: int
    ram: int
    stack: dict[str, int] | None
    calls: tuple[float, ...] | None
    all_spike: int | None = None


def measured_costs(product: Product, objects: Sequence[Path]) -> Costs:
    """Costs of a product that was built from ``objects``, but for the worst case.

    A microcontroller's are those of start-up code and a main that takes samples and decides, with
    one state; functions it does not call are left out. A shared library's are those of the library,
    which has all functions, and of one state. Raises `ToolchainError` if a tool fails.
    """
    image = product.scratch / "whole"
    if product.target.shared:
        exports = product.api()
        shared_library(product.target, objects, image, product.log, exports=exports, strip=False)
        library = footprint(product.image)
        ram = library.ram + state_bytes(product.program)
        return Costs(library.flash, ram, *_of_code(product, image))
    main = product.scratch / "cost_main.c"
    view = {"name": product.name, "stamp": product.stamp}
    main.write_text(render("cost_main.c.jinja", view), encoding="utf-8")
    compiled = product.scratch / "cost"
    linked = compile_objects(product.target, [main], [product.sources], compiled, product.log)
    linked += objects
    user = product.scratch / "user"
    link_firmware(product.target, linked, user, log=product.log)
    link_firmware(product.target, linked, image, log=product.log, keep=product.api())
    size = footprint(user)
    return Costs(size.flash, size.ram, *_of_code(product, image))


def _of_code(
    product: Product, image: Path
) -> tuple[dict[str, int] | None, tuple[float, ...] | None]:
    """``stack`` and ``calls``, of an image that has its symbols."""
    program, target = product.program, product.target
    calls = instructions_per_call(program, target, image, product.window.samples)
    return _stack(product, image), calls


def _stack(product: Product, image: Path) -> dict[str, int] | None:
    try:
        return stack_bounds(image, product.api())
    except UnboundedStackError:
        return None
