"""Packages of an extra, imported where they are used."""

from __future__ import annotations

import importlib
from typing import Any

from l2mu_compile.errors import UsageError


def require(package: str, extra: str, what: str) -> Any:
    """The package ``package`` of ``extra``, for ``what``; `UsageError` if it is not installed."""
    try:
        return importlib.import_module(package)
    except ImportError:
        raise UsageError(
            f"{what} need {package}, which is not installed: pip install 'l2mu-compile[{extra}]'"
        ) from None
