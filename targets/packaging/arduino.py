"""An Arduino library (specification 1.5) as a zip archive for the IDE's «Add .ZIP Library»."""

from __future__ import annotations

from l2mu_compile.errors import UsageError
from l2mu_compile.targets.emit_c import render
from l2mu_compile.targets.packaging.common import (
    Files,
    c_files,
    processors,
    view,
    with_notes,
    write_zip,
)
from l2mu_compile.targets.product import Product

# A sketch's folder name has at most 63 characters.
_LONGEST_PREFIX = 63 - len("Classify")


def make_arduino(product: Product) -> None:
    """Write ``arduino/NAME.zip``; `UsageError` for a name that libraries may not have."""
    path = product.output / "arduino" / f"{product.name}.zip"
    write_zip(path, arduino_files(product), root=product.name)


def arduino_files(product: Product) -> Files:
    """The library's files; only ``src/NAME.h`` is on the sketch's include path by its own name."""
    name, values = product.name, view(product)
    if name.lower().startswith("arduino"):
        raise UsageError(
            f"artifact 'arduino': no library may be called '{name}', as names that start with "
            "'arduino' are reserved; give another --name"
        )
    sketch = f"{name[:1].upper()}{name[1:_LONGEST_PREFIX]}Classify"
    files = {
        "library.properties": render("arduino/library.properties.jinja", values),
        "keywords.txt": render("arduino/keywords.txt.jinja", {**values, "api": product.api()}),
        f"examples/{sketch}/{sketch}.ino": render("arduino/Classify.ino.jinja", values),
        **c_files(product, "src", "src/l2mu"),
    }
    use = (
        f"Sketch > Include Library > Add .ZIP Library, then `#include <{name}.h>`; "
        f"start from File > Examples > {name} > {sketch}. {processors(product)}"
    )
    return with_notes(product, files, "Arduino library", use)
