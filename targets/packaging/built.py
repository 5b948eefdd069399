"""Notes for what every build makes: the library and, for a microcontroller, the firmware."""

from __future__ import annotations

import shutil

from l2mu_compile.targets.firmware import firmware_use
from l2mu_compile.targets.packaging.common import write_notes
from l2mu_compile.targets.product import Product


def complete_library(product: Product) -> None:
    """Put the header and the notes beside the library."""
    name, folder = product.name, product.library.parent
    shutil.copyfile(product.sources / f"{name}.h", folder / f"{name}.h")
    libraries = " or ".join(
        f"`{path.name}`" for path in sorted(folder.iterdir()) if path.suffix != ".h"
    )
    use = f'`#include "{name}.h"` and link {libraries} (`{product.target.triple}`).'
    write_notes(product, folder, f"library for {product.target.name}", use)


def complete_firmware(product: Product) -> None:
    """Put the notes beside the firmware."""
    kind = f"firmware for {product.target.name}"
    write_notes(product, product.image.parent, kind, firmware_use(product))
