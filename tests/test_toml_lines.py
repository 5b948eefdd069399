"""TOML, and where its keys are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2mu_compile.toml_lines import TomlError, line_of, read_toml

TEXT = """\
# a comment
top = 1
[model.har]
checkpoint = "har.ckpt"
classes = [
  "a",
  "b",
]
[model."a.b"]
inner = {x = 1, y = [1, 2]}

[[build]]
models = "har"
[[build]]
models = "b"
"""


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (("top",), 2),
        (("model", "har"), 3),
        (("model", "har", "checkpoint"), 4),
        (("model", "har", "classes"), 8),
        (("model", "har", "classes", 1), 8),
        (("model", "a.b", "inner", "y"), 10),
        (("build", 0, "models"), 13),
        (("build", 1, "models"), 15),
        (("build", 1), 14),
    ],
)
def test_line_of_a_key(key, line):
    assert line_of(TEXT, key) == line


def test_a_key_that_is_not_there_is_where_its_table_is():
    assert line_of(TEXT, ("model", "har", "nobody")) == 3
    assert line_of(TEXT, ("build", 7)) == 12
    assert line_of(TEXT, ("nobody", "at", "all")) is None


def test_what_is_no_toml():
    with pytest.raises(TomlError, match="Invalid value") as caught:
        read_toml("a = 1\nb = \n")
    assert caught.value.line == 2
    with pytest.raises(TomlError) as caught:
        read_toml('a = """')
    assert caught.value.line is None
    with pytest.raises(TomlError, match="nested too deeply"):
        read_toml("a = " + "[" * 100_000)


names = st.text(alphabet="abcxyz_-", min_size=1, max_size=4)


@given(st.dictionaries(names, st.dictionaries(names, st.integers(), max_size=3), min_size=1))
def test_every_key_is_found_on_its_own_line(tables):
    lines, places = [], {}
    for table, values in tables.items():
        lines.append(f"[{table}]")
        places[(table,)] = len(lines)
        for key, value in values.items():
            lines.append(f"{key} = {value}")
            places[(table, key)] = len(lines)
    assert {key: line_of("\n".join(lines), key) for key in places} == places
