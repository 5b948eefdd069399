"""Files of hyper-parameters: names wherever they lie, numbers however they are written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

from l2mu_compile.errors import ModelError
from l2mu_compile.hyperparameters import (
    as_number,
    class_labels,
    flatten,
    params_beside,
    read_params,
)


def test_what_never_ends_is_no_file():
    with pytest.raises(ModelError, match="/dev/zero: cannot read hyper-parameters"):
        read_params(Path("/dev/zero"))


@pytest.mark.parametrize("suffix", [".json", ".JSON", ".yaml", ".yml"])
@pytest.mark.parametrize(
    "content",
    [
        {"beta_spk_u": 0.5, "order": 7.0},
        {"architecture": "l2mu", "params": {"beta_spk_u": 0.5, "order": 7.0}},
        {"parameter_id": 3, "parameters": {"order": 7.0, "x": {"y": {"z": {"beta_spk_u": 0.5}}}}},
    ],
)
def test_names_at_any_depth(tmp_path, content, suffix):
    path = tmp_path / f"params{suffix}"
    write = json.dumps if suffix.lower() == ".json" else yaml.safe_dump
    path.write_text(write(content))
    found = read_params(path)
    assert (found["beta_spk_u"], found["order"]) == (0.5, 7.0)


def test_written_on_windows(tmp_path):
    path = tmp_path / "params.json"
    path.write_bytes(b"\xef\xbb\xbf" + b'{\r\n"order": 7}\r\n')
    assert read_params(path) == {"order": 7}


def test_file_beside(tmp_path):
    assert params_beside(tmp_path / "net.pt") is None
    (tmp_path / "net.yml").write_text("order: 7")
    assert params_beside(tmp_path / "net.pt") == tmp_path / "net.yml"


def test_flatten_without_one_mapping():
    state = {"beta_spk_u": 0.1}
    content = {"model": state, "p": {"order": 3}, "n": 1}
    assert flatten(content, without=state) == {"order": 3, "n": 1}


def test_flatten_of_mappings_that_hold_each_other():
    shared = {"order": 3}
    circle = {"a": shared, "b": shared, "c": {"d": shared}}
    circle["self"] = circle
    assert flatten(circle) == {"order": 3}
    deep = {"order": 4}
    for _ in range(100_000):
        deep = {"x": deep}
    assert flatten(deep) == {"order": 4}
    assert flatten([1, 2]) == flatten(None) == {}


def test_flatten_of_names_that_disagree():
    agree = flatten({"order": 7, "params": {"order": 7.0, "x": {"order": "7"}}})
    assert as_number(agree["order"]) == 7
    found = flatten({"order": 7, "params": {"order": 8}})["order"]
    assert as_number(found) is None
    assert repr(found) == "7 in one place and 8 in another"


@pytest.mark.parametrize(
    ("hyper", "labels"),
    [
        ({"class_names": ["a", "b"]}, ("a", "b")),
        ({"classes": 2, "labels": ("a", "b")}, ("a", "b")),
        ({"classes": ["a", 1], "labels": []}, None),
        (flatten({"labels": ["a", "b"], "params": {"labels": ("a", "b")}}), ("a", "b")),
        (flatten({"labels": ["a", "b"], "params": {"labels": ["b", "a"]}}), None),
        ({}, None),
    ],
)
def test_class_labels(hyper, labels):
    assert class_labels(hyper) == labels


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (7, 7.0),
        (0.9, 0.9),
        ("7", 7.0),
        ("0.9", 0.9),
        ("5e-3", 0.005),
        (torch.tensor(0.5), 0.5),
        (torch.tensor([0.5, 0.25]), [0.5, 0.25]),
        ([0.1, "0.2"], [0.1, 0.2]),
        ([[1, 2], (3, 4)], [[1.0, 2.0], [3.0, 4.0]]),
        (True, None),
        (None, None),
        ("", None),
        ("seven", None),
        ("nan", None),
        (float("inf"), None),
        (10**400, None),
        ("9" * 100, None),
        ([1, None], None),
        ([[[1]]], None),
        ({"a": 1}, None),
        (torch.tensor([True, False]), None),
        ([0.5] * (1 << 17), None),
        ([[0.5] * (1 << 12)] * (1 << 12), None),
    ],
)
def test_numbers(value, number):
    assert as_number(value) == number


@pytest.mark.parametrize(
    ("text", "suffix", "reason"),
    [
        ("[1, 2]", ".json", "must be names and values"),
        ("", ".yaml", "must be names and values"),
        ("{", ".json", "cannot read hyper-parameters"),
        ("a: [", ".yaml", "cannot read hyper-parameters"),
        ("a: !!python/object/apply:os.getcwd []", ".yaml", "cannot read hyper-parameters"),
        ("a: &x [1]\nb: *x", ".yaml", "aliases are not supported"),
        ("[" * 60_000, ".json", "cannot read hyper-parameters"),
        ("[" * 60_000, ".yaml", "cannot read hyper-parameters"),
        ('{"order": ' + "9" * 5000 + "}", ".json", "cannot read hyper-parameters"),
        ("#" * (1 << 20) + "##", ".yaml", "larger than"),
    ],
)
def test_bad_files(tmp_path, text, suffix, reason):
    path = tmp_path / f"params{suffix}"
    path.write_text(text)
    with pytest.raises(ModelError, match=reason) as caught:
        read_params(path)
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path):
    with pytest.raises(ModelError, match=r"none\.json: cannot read hyper-parameters"):
        read_params(tmp_path / "none.json")
