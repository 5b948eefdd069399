"""Names of a model in Java: its package, its class, and the C functions behind native methods."""

from __future__ import annotations

import re
from dataclasses import dataclass

from l2mu_compile.errors import UsageError

LONGEST_PACKAGE = 128

# Android's manifest asks for two words at least, each beginning with a letter.
_PACKAGE = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)+\Z")

# Reserved words and literals: Java Language Specification, 3.9 and 3.10.
_KEYWORDS = frozenset(
    """abstract assert boolean break byte case catch char class const continue default do double
    else enum extends false final finally float for goto if implements import instanceof int
    interface long native new null package private protected public return short static strictfp
    super switch synchronized this throw throws transient true try void volatile while""".split()
)

# Classes that the template uses by their simple names, and one that Android's tools make.
_USED_CLASSES = frozenset(
    """R ByteBuffer IllegalArgumentException StandardCharsets String System
    UnsatisfiedLinkError""".split()
)


@dataclass(frozen=True)
class JavaNames:
    """What a model is called in Java."""

    package: str
    class_name: str

    @property
    def qualified(self) -> str:
        """The class with its package."""
        return f"{self.package}.{self.class_name}"

    @property
    def path(self) -> str:
        """The class's file without suffix, from the root of a source tree or jar."""
        return self.qualified.replace(".", "/")

    @property
    def native_prefix(self) -> str:
        """What precedes a native method's own name in its C function's.

        Java Native Interface Specification, chapter 2, "Resolving Native Method Names"; all our
        names are ASCII.
        """
        return f"Java_{self.qualified.replace('_', '_1').replace('.', '_')}_"


def java_names(model: str, package: str | None = None) -> JavaNames:
    """The names for a model that is called ``model`` in C, in ``package`` or one of its own.

    ``java_names("smart_watch")`` is the class ``l2mu.smart_watch.SmartWatch``. Raises `UsageError`
    for a package that Java or Android would refuse.
    """
    words = [word for word in model.split("_") if word]
    class_name = "".join(word[0].upper() + word[1:] for word in words)
    if class_name in _USED_CLASSES:
        class_name += "Model"
    if package is None:
        word = model.lower()
        return JavaNames(f"l2mu.{word}_" if word in _KEYWORDS else f"l2mu.{word}", class_name)
    check_package(package)
    return JavaNames(package, class_name)


def check_package(package: str) -> None:
    """Refuse, with `UsageError`, a package name that Java or Android would refuse."""
    if len(package) > LONGEST_PACKAGE or not _PACKAGE.match(package):
        raise UsageError(
            f"--java-package {package[:LONGEST_PACKAGE]!r}: write two or more words of letters, "
            "digits and _, separated by dots, each beginning with a letter"
        )
    words = package.split(".")
    reserved = next((word for word in words if word in _KEYWORDS), None)
    if reserved is not None:
        raise UsageError(f"--java-package {package!r}: {reserved!r} is a reserved word of Java")
    if words[0] == "java":
        raise UsageError(f"--java-package {package!r}: no class but Java's own may be in 'java'")
