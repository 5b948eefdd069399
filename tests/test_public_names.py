"""The package's public names."""

from __future__ import annotations

import pytest

import l2mu_compile


@pytest.mark.parametrize("name", l2mu_compile.__all__)
def test_every_public_name_is_there(name: str) -> None:
    value = getattr(l2mu_compile, name)
    assert getattr(value, "__name__", name) == name
    assert name in dir(l2mu_compile)


def test_others_are_not() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        l2mu_compile.nothing  # noqa: B018
