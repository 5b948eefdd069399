"""Numbers and arrays as C text."""

from __future__ import annotations

import ast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2mu_compile.targets.c_text import COLUMNS, array_body, number, string, string_body

INTEGERS = {"int8_t": 8, "int16_t": 16, "int32_t": 32}


@pytest.mark.parametrize(
    ("value", "ctype", "text"),
    [
        (0.1, "float", "0.1f"),
        (np.float32(0.1), "float", "0.1f"),
        (1, "float", "1.0f"),
        (-0.0, "float", "-0.0f"),
        (1e-45, "float", "1e-45f"),
        (3.4028235e38, "float", "3.4028235e+38f"),
        (65536.0, "float", "65536.0f"),
        (np.int8(-128), "int8_t", "-128"),
        (2**31 - 1, "int32_t", "2147483647"),
        (-(2**31), "int32_t", "(-2147483647 - 1)"),
        (7.0, "uint16_t", "7"),
    ],
)
def test_literals(value: float, ctype: str, text: str) -> None:
    assert number(value, ctype) == text


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_float_literal_reads_back_as_the_same_bits(value: float) -> None:
    text = number(value, "float")
    assert text.endswith("f")
    assert "." in text or "e" in text, "C has no literal like 1f"
    assert np.float32(text[:-1]).tobytes() == np.float32(value).tobytes()


@given(st.sampled_from(sorted(INTEGERS)), st.data())
def test_an_integer_literal_reads_back_as_the_same_number(ctype: str, data: st.DataObject) -> None:
    bits = INTEGERS[ctype]
    value = data.draw(st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1))
    text = number(value, ctype)
    assert eval(text, {}) == value
    assert "2147483648" not in text, "which would be a long in C"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39, -1e39])
def test_a_float_without_a_literal_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="has no place in generated code"):
        number(value, "float")


@pytest.mark.parametrize(
    ("text", "literal"),
    [
        ("walk", '"walk"'),
        ('a "b" \\', r'"a \"b\" \\"'),
        ("??/", r'"\?\?/"'),
        ("ü1", r'"\303\2741"'),
        ("\n\0", r'"\012\000"'),
        ("\x7f", r'"\177"'),
        ("", '""'),
    ],
)
def test_strings(text: str, literal: str) -> None:
    assert string(text) == literal


@given(st.text())
def test_a_string_literal_reads_back_as_the_same_bytes(text: str) -> None:
    literal = string(text)
    assert literal.isascii()
    assert literal.isprintable()
    assert "??" not in literal
    assert ast.literal_eval("b" + literal.replace(r"\?", "?")) == text.encode()


def test_strings_are_broken_into_lines() -> None:
    names = [f"class {i}" for i in range(50)] + ["x" * 2 * COLUMNS]
    lines = string_body(names).split("\n    ")
    assert all(len(line) <= COLUMNS for line in lines[:-1])
    assert ast.literal_eval(f"[{' '.join(lines)}]") == names


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_an_array_keeps_every_element_on_lines_of_bounded_width(values: list[float]) -> None:
    lines = array_body(np.float32(values), "float").split("\n    ")
    assert all(len(line) <= COLUMNS for line in lines)
    elements = " ".join(lines).split()
    assert elements == [number(v, "float") + "," for v in values]


def test_lines_are_filled() -> None:
    lines = array_body(np.arange(100, 200), "int32_t").split("\n    ")
    assert all(len(line) > COLUMNS - 5 for line in lines[:-1])
