"""A CMake package: sources for ``add_subdirectory``, installable for ``find_package``."""

from __future__ import annotations

from l2mu_compile.targets.emit_c import render
from l2mu_compile.targets.packaging.common import (
    Files,
    c_files,
    processors,
    view,
    with_notes,
    write_tree,
)
from l2mu_compile.targets.product import Product


def make_cmake(product: Product) -> None:
    """Write ``cmake/NAME/``."""
    write_tree(product.output / "cmake" / product.name, cmake_files(product))


def cmake_files(product: Product) -> Files:
    """The package's files: it compiles with whatever toolchain its user's project has."""
    name, values = product.name, view(product)
    files = {
        "CMakeLists.txt": render("cmake/CMakeLists.txt.jinja", values),
        f"{name}Config.cmake": render("cmake/Config.cmake.jinja", values),
        **c_files(product, "include", "src"),
    }
    use = (
        f"`add_subdirectory({name})`, or install it and `find_package({name} CONFIG REQUIRED)`; "
        f"then `target_link_libraries(app PRIVATE {name}::{name})`. "
        f"{processors(product)}"
    )
    return with_notes(product, files, "CMake package", use)
