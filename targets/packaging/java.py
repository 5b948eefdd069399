"""The ``java`` artifact: a jar, and a native library that has the class's native methods too.

The same class and the same native code, built for each ABI, make the Android archive (`aar`).
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from l2mu_compile import processes
from l2mu_compile.program import Program
from l2mu_compile.saved import saved_bytes
from l2mu_compile.targets.build import write_sources
from l2mu_compile.targets.commands import run_command
from l2mu_compile.targets.emit_c import (
    SCORE_MEANINGS,
    render,
    state_bytes,
    state_layout,
    stream_bytes,
)
from l2mu_compile.targets.linking import shared_library
from l2mu_compile.targets.packaging.common import Files, documents, write_tree, write_zip
from l2mu_compile.targets.packaging.java_names import JavaNames, java_names
from l2mu_compile.targets.product import Product
from l2mu_compile.targets.toolchain import RUNTIME_DIR, compile_objects

# Of every class, of one that decides early, and of one with streams.
NATIVE_METHODS = (
    *("bufferBytes", "versionText", "digestText", "classNameText"),
    *("resetState", "takeSamples", "takeCounts", "classifyState", "copyScores"),
    *("saveState", "restoreState"),
)
EARLY_METHODS = ("decidedClass",)
STREAM_METHODS = ("resetStream", "pushSample", "pushCounts", "streamDecision", "copyStreamScores")

# javac knows --release since 9. Java 8 is what minSdk 21 can be given.
OLDEST_JAVAC = 9
JAVAC_FLAGS = (
    *("--release", "8", "-Xlint:-options"),  # later ones warn that 8 is old
    *("-encoding", "UTF-8", "-g:source,lines", "-proc:none"),
)

_JAVA_TYPES = {"int32_t": "int", "int64_t": "long", "float": "float"}
_JAR_MANIFEST = {"META-INF/MANIFEST.MF": "Manifest-Version: 1.0\r\n\r\n"}


def make_java(product: Product) -> None:
    """Write ``java/``: the jar, the library, the class's source, README, licence and report.

    Without a JDK there is no jar, and a note says so. Raises `MismatchError` if the library is not
    bit-exact, `ToolchainError` if it or the class cannot be built.
    """
    library = native_library(product, product.scratch / "java")
    checked = product.check(library, f"java/{library.name}")
    classes = class_files(product)
    if classes:
        write_zip(product.output / "java" / f"{product.name}.jar", jar_files(classes))
    values = view(product) | {"library": checked, "has_classes": bool(classes)}
    report = product.report_with(checked)
    files = documents(product, "java/README.md.jinja", values, report)
    files |= {library.name: library.read_bytes()} | sources(product)
    write_tree(product.output / "java", files)


def names_of(product: Product) -> JavaNames:
    """The model's names in Java."""
    return java_names(product.name, product.java_package)


def view(product: Product) -> dict[str, Any]:
    """What templates say about a model and its class."""
    program = product.program
    return {
        "stamp": product.stamp,
        "name": program.name,
        "NAME": program.name.upper(),
        "program": program,
        "java": names_of(product),
        "save_bytes": saved_bytes(program.members),
        "instance_bytes": state_bytes(program) + stream_bytes(program),
        "score_type": _JAVA_TYPES[state_layout(program)["score"].ctype],
        "score_meaning": SCORE_MEANINGS[program.rule],
    }


def native_methods(program: Program) -> tuple[str, ...]:
    """The native methods of a model's class."""
    early = EARLY_METHODS if program.decided else ()
    return NATIVE_METHODS + early + (STREAM_METHODS if program.stream else ())


def native_library(product: Product, folder: Path) -> Path:
    """Build ``folder/libNAME.so``, which shows the model's API and the class's native methods."""
    target, log = product.target, product.log
    written = write_sources(product.program, product.stamp, folder / "src")
    header = render("java/jni_model.h.jinja", view(product))
    (folder / "src" / "l2mu_jni_model.h").write_text(header, encoding="utf-8")
    every = [*written, RUNTIME_DIR / "l2mu_jni.c"]
    objects = compile_objects(target, every, [folder / "src"], folder / "objects", log)
    prefix = names_of(product).native_prefix
    methods = native_methods(product.program)
    exports = [*product.api(), *(prefix + method for method in methods)]
    library = folder / f"lib{product.name}{target.shared_suffix}"
    return shared_library(target, objects, library, log, exports=exports)


def sources(product: Product) -> Files:
    """The Java class's source, by its place in a package."""
    text = render("java/model.java.jinja", view(product))
    return {f"sources/{names_of(product).path}.java": text}


def class_files(product: Product) -> Files:
    """Class files by their place in a jar, sorted; none, and a note, where there is no JDK.

    Raises `ToolchainError` if javac fails.
    """
    javac = _javac()
    if javac is None:
        product.note(
            f"no javac {OLDEST_JAVAC} or later on PATH: the Java class is shipped as source alone"
        )
        return {}
    text, classes = product.scratch / "java-source", product.scratch / "java-classes"
    written = sources(product)
    write_tree(text, written)
    files = [str(text / name) for name in written]
    run_command([javac[0], *JAVAC_FLAGS, "-d", str(classes), *files], product.log)
    found = sorted(classes.rglob("*.class"))
    return {path.relative_to(classes).as_posix(): path.read_bytes() for path in found}


def jar_files(classes: Files) -> Files:
    """What a jar of these classes, which may be none, holds."""
    return {**_JAR_MANIFEST, **classes}


def jdk_version() -> str | None:
    """The version of the Java compiler that makes class files; None where there is none to use."""
    found = _javac()
    return None if found is None else found[1]


def _javac() -> tuple[str, str] | None:
    """The Java compiler on PATH and its version, unless it is too old or is there only to say that
    there is none."""
    javac = shutil.which("javac")
    if javac is None:
        return None
    done = processes.run([javac, "-version"])
    version = re.search(r"javac ((\d+)\S*)", done.stdout)
    if done.returncode != 0 or version is None or int(version[2]) < OLDEST_JAVAC:
        return None
    return javac, version[1]
