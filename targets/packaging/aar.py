"""The ``aar`` artifact: an Android archive with the model for every ABI and its Java class.

Its layout is that of "Create an Android library", section "AAR files" (developer.android.com);
Android's tools leave alone what it does not name, such as README.md, and so keep it out of apps.
"""

from __future__ import annotations

from l2mu_compile.report import PackagedLibrary
from l2mu_compile.targets.android import ABIS
from l2mu_compile.targets.emit_c import render
from l2mu_compile.targets.packaging.common import (
    README,
    Files,
    documents,
    write_tree,
    write_zip,
)
from l2mu_compile.targets.packaging.java import (
    class_files,
    jar_files,
    native_library,
    sources,
    view,
)
from l2mu_compile.targets.product import Product

MIN_SDK = 21
# What the Android Gradle plugin reads first, as of its version 4.1.
METADATA = "META-INF/com/android/build/gradle/aar-metadata.properties"


def make_aar(product: Product) -> None:
    """Write ``aar/NAME.aar``, which holds all ABIs whichever is the target, and its README.

    Without a JDK the archive holds the class as source alone, and a note says so. Raises
    `MismatchError` if a library is not bit-exact, `ToolchainError` if something cannot be built.
    """
    folder, archive = product.output / "aar", f"{product.name}.aar"
    files, checked = _libraries(product, f"aar/{archive}")
    classes = class_files(product)
    jar = product.scratch / "classes.jar"
    write_zip(jar, jar_files(classes))
    values = view(product) | {"min_sdk": MIN_SDK, "abis": _by_abi(checked)}
    values["has_classes"] = bool(classes)
    report = product.report_with(*checked)
    texts = documents(product, "aar/README.md.jinja", values, report)
    files |= sources(product) | texts
    files |= {
        "AndroidManifest.xml": render("aar/AndroidManifest.xml.jinja", values),
        "classes.jar": jar.read_bytes(),
        METADATA: render("aar/aar-metadata.properties.jinja", values),
        "proguard.txt": render("aar/proguard.txt.jinja", values),
        "R.txt": "",
    }
    write_zip(folder / archive, files)
    write_tree(folder, {README: texts[README]})


def _libraries(product: Product, archive: str) -> tuple[Files, list[PackagedLibrary]]:
    """One library for each ABI by its place in the archive, and what was checked of it."""
    files: Files = {}
    checked = []
    for abi, target in ABIS.items():
        variant = product.for_target(target)
        library = native_library(variant, variant.scratch / "aar")
        place = f"jni/{abi}/{library.name}"
        checked.append(variant.check(library, f"{archive}:{place}"))
        files[place] = library.read_bytes()
    return files, checked


def _by_abi(checked: list[PackagedLibrary]) -> dict[str, PackagedLibrary]:
    return dict(zip(ABIS, checked, strict=True))
