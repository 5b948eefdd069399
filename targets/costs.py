"""What a build costs its user, measured on images that are linked for this and then thrown away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from l2mu_compile.program import Program
from l2mu_compile.targets.commands import CommandLog
from l2mu_compile.targets.elf import footprint
from l2mu_compile.targets.emit_c import render, state_bytes
from l2mu_compile.targets.linking import link_firmware, shared_library
from l2mu_compile.targets.product import Product
from l2mu_compile.targets.record import Target
from l2mu_compile.targets.stack import stack_bounds
from l2mu_compile.targets.stack_code import UnboundedStackError
from l2mu_compile.targets.step_costs import instructions_per_call
from l2mu_compile.targets.toolchain import compile_objects


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
    program, target = product.program, product.target
    image = product.scratch / "whole"
    if target.shared:
        exports = product.api()
        shared_library(target, objects, image, product.log, exports=exports, strip=False)
        return Costs(*linked_bytes(program, target, product.image), *_of_code(product, image))
    main = user_main(program, target, product.sources, product.scratch, product.log)
    linked = [*main, *objects]
    user = product.scratch / "user"
    link_firmware(target, linked, user, log=product.log)
    link_firmware(target, linked, image, log=product.log, keep=product.api())
    return Costs(*linked_bytes(program, target, user), *_of_code(product, image))


def user_main(
    program: Program, target: Target, sources: Path, folder: Path, log: CommandLog
) -> list[Path]:
    """Objects of a main that takes samples and decides, compiled in ``folder``."""
    main = folder / "cost_main.c"
    main.write_text(render("cost_main.c.jinja", {"name": program.name, "stamp": ()}))
    return compile_objects(target, [main], [sources], folder / "cost", log)


def linked_bytes(program: Program, target: Target, image: Path) -> tuple[int, int]:
    """Bytes of an image that a user links; a library has no state in itself."""
    size = footprint(image)
    return size.flash, size.ram + (state_bytes(program) if target.shared else 0)


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
