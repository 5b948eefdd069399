"""Lines of user code are found below library code, and only those."""

from __future__ import annotations

import torch
from torch import nn

from l2mu_compile.source_lines import calling_line, failing_line, first_line


def failure_of(function):
    try:
        function()
    except Exception as failure:
        return failure
    raise AssertionError("nothing failed")


def test_an_error_inside_torch_is_the_callers():
    failure = failure_of(lambda: nn.Linear(2, 3)(torch.zeros(5)))
    line = failing_line(failure)
    assert line.startswith("test_source_lines.py:")
    assert line.endswith("failure = failure_of(lambda: nn.Linear(2, 3)(torch.zeros(5)))")


def test_the_first_line_of_an_error_and_its_place():
    def fail():
        raise ValueError("two.\nlines")

    text = first_line(failure_of(fail))
    assert text.startswith("two (test_source_lines.py:") and text.endswith('"two.\\nlines"))')
    assert first_line(ValueError("never raised.")) == "never raised"
    assert first_line(ValueError()) == "ValueError"


def test_code_without_a_file_has_a_number():
    code = compile("1 / 0", "made up", "exec")
    assert failing_line(failure_of(lambda: exec(code))) == "made up:1"


def test_the_line_that_calls():
    def outer():
        return inner()

    def inner():
        return calling_line(outer.__code__)

    assert outer().endswith("return calling_line(outer.__code__)")

    def unseen():
        return calling_line(unseen.__code__)

    assert unseen() == ""
