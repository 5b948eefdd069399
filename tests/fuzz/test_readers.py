"""Readers of users' files on changed inputs: the saved ones, and new ones for some seconds."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fuzzer import CPU_SECONDS, corpus
from loaders import SPLIT, loaders

from l2mu_compile.errors import L2MUError

SECONDS = float(os.environ.get("SECONDS", "4"))
FUZZER = Path(__file__).with_name("fuzzer.py")

# What is saved was taken badly once: each is refused now.
SAVED = [(name, path) for name in sorted(loaders()) for path in corpus(name)]


@pytest.mark.parametrize("name", sorted(loaders()))
def test_what_others_are_made_of_is_taken(name, tmp_path):
    for data in loaders()[name].seeds():
        loaders()[name].feed(data, tmp_path)


@pytest.mark.parametrize(("name", "path"), SAVED, ids=[f"{n}-{p.name}" for n, p in SAVED])
def test_saved_inputs(name, path, tmp_path):
    begin = time.process_time()
    with pytest.raises(L2MUError):
        loaders()[name].feed(path.read_bytes(), tmp_path)
    assert time.process_time() - begin < CPU_SECONDS


def test_the_corpus_is_all_used_and_small():
    folders = {path.name for path in (FUZZER.parent / "corpus").iterdir()}
    assert folders <= set(loaders())
    assert sum(path.stat().st_size for _, path in SAVED) < 100_000
    assert all(SPLIT in path.read_bytes() for name, path in SAVED if name == "net.txt")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(loaders()))
def test_new_inputs(name, tmp_path, record_property):
    command = [sys.executable, FUZZER, name, "--seconds", str(SECONDS), "--found", tmp_path]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    record_property("said", f"fuzzed {done.stdout.strip()}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{name}: " in done.stdout
