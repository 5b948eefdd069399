"""Options that say what a model is: every command that takes a model has them, and does by them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from command_line import ok
from networks import recurrent

from l2mu_compile.frontend import load_model
from l2mu_compile.network_files import save_network

MODEL = "params module inputs readout nir name input-scale input-offset classes".split()
TAKING_MODELS = ("inspect", "compile", "tune", "search", "export", "view")


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("command", TAKING_MODELS)
def test_commands_have_all_options_of_a_model(command: str) -> None:
    _, _, panel = ok(command, "--help").out.partition("─ Model ─")
    assert re.findall(r"│ --([a-z-]+)", panel) == MODEL


def test_what_is_shown(tmp_path: Path) -> None:
    save_network(recurrent(), tmp_path / "net.txt")
    options = ("--name", "mine", "--classes", "walk,sit", "--input-scale", "0.5")
    found = ok("inspect", tmp_path / "net.txt", *options, "--json").json
    assert (found["name"], found["class_names"]) == ("mine", ["walk", "sit"])


def test_what_is_written(tmp_path: Path) -> None:
    save_network(recurrent(), tmp_path / "net.txt")
    options = ("--classes", "walk,sit", "--input-scale", "0.5", "--input-offset", "1,2")
    ok("export", tmp_path / "net.txt", *options, "-o", tmp_path / "net.onnx")
    again = load_model(tmp_path / "net.onnx").network
    assert again.input.scale == 0.5
    assert np.array_equal(again.input.offset, [1, 2])
    assert again.class_names == ("walk", "sit")
