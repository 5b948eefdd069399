"""What is given as a file and is none: pipes, sockets and devices are refused at once, not read."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from networks import feed_forward

from l2mu_compile import output
from l2mu_compile.build_config import load_config
from l2mu_compile.build_report import load_build_report
from l2mu_compile.errors import L2MUError
from l2mu_compile.frontend import load_model
from l2mu_compile.hyperparameters import read_params
from l2mu_compile.labels import read_labels
from l2mu_compile.output import file_digest
from l2mu_compile.plugins import load_plugin
from l2mu_compile.provenance import load_provenance
from l2mu_compile.report import load_report
from l2mu_compile.text import to_text
from l2mu_compile.windows import load_windows


def _sidecar(path: Path) -> Any:
    text = path.with_suffix(".txt")
    text.write_text(to_text(feed_forward()))
    return load_model(text)


READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    **{s: (f"net.{s}", load_model) for s in ("pt", "ckpt", "safetensors", "nir", "onnx", "txt")},
    "tensors of a text": ("net.safetensors", _sidecar),
    "JSON": ("params.json", read_params),
    "YAML": ("params.yaml", read_params),
    "TOML": ("l2mu.toml", load_config),
    "windows": ("windows.npz", load_windows),
    "report": ("report.json", load_report),
    "report of builds": ("build.json", load_build_report),
    "provenance": ("provenance.json", lambda path: load_provenance(path.parent)),
    "plug-in": ("mine.py", load_plugin),
    "labels": ("labels.txt", read_labels),
}
MADE: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "socket": lambda path: socket.socket(socket.AF_UNIX).bind(str(path)),
    "device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.fixture(autouse=True)
def at_once() -> Iterator[None]:
    """Waiting at a pipe for who writes into it is a failure."""

    def waited(*_: object) -> None:
        raise TimeoutError("waits for ever")

    before = signal.signal(signal.SIGALRM, waited)
    signal.setitimer(signal.ITIMER_REAL, 120)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    name, read = READERS[reader]
    MADE[kind](Path(name))
    with pytest.raises(L2MUError) as caught:
        read(Path(name))
    assert name.partition(".")[0] in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_pipe_has_no_digest(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="Not a regular file"):
        file_digest(tmp_path / "pipe")


def test_a_directory_whose_report_is_a_pipe_is_not_written_over(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / output.MARKER)
    (tmp_path / "mine").touch()
    with (
        pytest.raises(L2MUError, match="holds files this tool did not write"),
        output.whole_directory(tmp_path),
    ):
        raise AssertionError("was begun")
