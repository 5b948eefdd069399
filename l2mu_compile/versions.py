"""Versions of what is written to be read again: one that a release does not know is refused."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from l2mu_compile.errors import ModelError
from l2mu_compile.paths import printable

MAX_SHOWN = 20  # letters of a version


class _Versioned(BaseModel):
    """Of a JSON object, how to read it."""

    format_version: Any = None


def require_json_version(text: str, known: int) -> None:
    """`require_version` of the JSON object ``text``. Raises `ValidationError` if it is none."""
    require_version(_Versioned.model_validate_json(text).format_version, known)


def require_version(found: object, known: int, key: str = "format_version") -> None:
    """Raise `ModelError`, naming no file, unless what ``key`` says is the version ``known``."""
    if type(found) is not int or found != known:
        raise ModelError(unknown_version(found, known, key))


def unknown_version(found: object, known: int, key: str = "format_version") -> str:
    """What is wrong with a file of version ``found``, None if it says none, and what to do."""
    says = f"no {key}" if found is None else f"{key} {printable(str(found))[:MAX_SHOWN]}"
    return f"{says}; this release reads {known}: use the release that wrote it, or write it again"
