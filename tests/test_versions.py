"""Every kind of file that is read again says its version, and another one is refused by it.

Not here, because they need no version: ``l2mu.toml`` and whatever else people write (keys that are
not known are refused by name); what is written for others alone (``search.json``, ``junit.xml``,
``summary.md``, ``sbom.cdx.json``, ``program.txt``); the arrays beside a network's text, each of
which the text names by its digest; tables inside the package. The state that devices save is in
``targets/test_save.py``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from build_files import FLOAT, make_project
from command_line import ok
from refusals import refused
from toy_training import network, windows

from l2mu_compile import training
from l2mu_compile.build_cache import is_whole
from l2mu_compile.labelled import labelled
from l2mu_compile.network_files import save_network
from l2mu_compile.output import file_digest

MISSING = object()
VERSIONS = [2, 999, 0, "1", "two", None, True, 1.5, [1], MISSING]


def shown(version: Any) -> str:
    missing = version is MISSING or version is None
    return "no format_version" if missing else f"format_version {version}"


Written = tuple[tuple[str, ...], str]  # a command that reads the file, and how the file is named


def set_version(path: Path, version: Any) -> None:
    """Have a JSON file be of ``version``."""
    content = json.loads(path.read_text())
    assert content.pop("format_version") == 1
    path.write_text(json.dumps(content | said(version)))


def said(version: Any) -> dict[str, Any]:
    return {} if version is MISSING else {"format_version": version}


def report(version: Any) -> Written:
    set_version(Path("out/report.json"), version)
    return ("verify", "out", "--data", "windows.npz"), "out/report.json"


def provenance(version: Any) -> Written:
    path = Path("out/provenance.json")
    set_version(path, version)
    listed = json.loads(Path("out/report.json").read_text())
    for artifact in listed["artifacts"]:
        if artifact["path"] == path.name:
            artifact.update(bytes=path.stat().st_size, sha256=file_digest(path))
    Path("out/report.json").write_text(json.dumps(listed))
    return ("verify-build", "out"), "out/provenance.json"


def builds(version: Any) -> Written:
    set_version(Path("build/build.json"), version)
    return ("verify-build", "build"), "build/build.json"


def baseline(version: Any) -> Written:
    set_version(Path("build/build.json"), version)
    return ("build", "--baseline", "build/build.json"), "build/build.json"


def tuned(version: Any) -> Written:
    set_version(Path("tuned/tune.json"), version)
    return ("view", "tuned", "-o", "page.html"), "tuned/tune.json"


JSON_FILES: list[Callable[[Any], Written]] = [report, provenance, builds, baseline, tuned]


@pytest.fixture(scope="module")
def made(data, tmp_path_factory) -> Path:
    """A directory with one file of each kind."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        make_project(data)
        ok("build", FLOAT)
        shutil.copytree(Path("build", FLOAT), "out")
        ok("tune", "net.pt", "--data", "windows.npz", "--passes", "remove-dead", "-o", "tuned")
    return folder


@pytest.fixture
def place(made, workplace) -> None:
    shutil.copytree(made, workplace, dirs_exist_ok=True)


@pytest.mark.parametrize("version", VERSIONS, ids=shown)
@pytest.mark.parametrize("kind", JSON_FILES)
def test_json(place, kind, version):
    arguments, file = kind(version)
    refused(
        3,
        f"{file}: {shown(version)}; this release reads 1: use the release that wrote it",
        arguments=arguments,
    )


@pytest.mark.parametrize("version", ["2", "999", "1.0", "two", "", "1" * 5000])
def test_network_texts(place, version):
    text = Path("out/network.txt").read_text()
    shutil.copy("out/network.safetensors", "n.safetensors")
    Path("n.txt").write_text(text.replace("format 1\n", f"format {version}\n", 1))
    refused(
        3,
        f"n.txt: line 1: format {version[:20]}; this release reads 1: use the release",
        arguments=("inspect", "n.txt"),
    )


@pytest.mark.parametrize("version", VERSIONS, ids=shown)
def test_own_checkpoints(place, version):
    content = {"format": "l2mu-compile", "version": version, "config": {}, "state_dict": {}}
    if version is MISSING:
        del content["version"]
    torch.save(content, "own.ckpt")
    says = shown(version).replace("format_version", "version")
    refused(3, f"own.ckpt: {says}; this release reads 1", arguments=("inspect", "own.ckpt"))


@pytest.mark.parametrize("version", VERSIONS, ids=shown)
def test_what_nir_graphs_say_beside_the_graph(place, version):
    h5py = pytest.importorskip("h5py")
    pytest.importorskip("nir")
    ok("export", "out/float/network.txt", "-o", "net.nir")
    with h5py.File("net.nir", "r+") as file:
        metadata = file["node/metadata"]
        content = json.loads(metadata["l2mu_compile"][()])
        assert content.pop("format_version") == 1
        del metadata["l2mu_compile"]
        metadata["l2mu_compile"] = json.dumps(content | said(version))
    refused(
        3,
        f"net.nir: metadata l2mu_compile: {shown(version)}; this release reads 1",
        arguments=("inspect", "net.nir"),
    )


def test_what_onnx_models_say_beside_the_graph(place):
    onnx = pytest.importorskip("onnx")
    ok("export", "out/float/network.txt", "-o", "net.onnx")
    model = onnx.load("net.onnx")
    (text,) = (entry for entry in model.metadata_props if entry.key == "l2mu.text")
    assert text.value.startswith("format 1\n")
    text.value = text.value.replace("format 1\n", "format 2\n", 1)
    onnx.save(model, "net.onnx")
    refused(
        3,
        "net.onnx: metadata l2mu.text: line 1: format 2; this release reads 1",
        arguments=("inspect", "net.onnx"),
    )


@pytest.mark.parametrize("version", ["0.0.9", "999", 2, MISSING], ids=shown)
def test_studies_belong_to_a_release(place, version):
    optuna = pytest.importorskip("optuna")
    from optuna.storages.journal import JournalFileBackend

    from l2mu_compile.search import STUDY_NAME
    from l2mu_compile.study import DIRECTIONS

    storage = optuna.storages.JournalStorage(JournalFileBackend("x.study"))
    study = optuna.create_study(storage=storage, study_name=STUDY_NAME, directions=DIRECTIONS)
    key = "version of this program"
    study.set_user_attr("l2mu-compile", {} if version is MISSING else {key: version})
    save_network(network(), "net.txt")
    data = windows()
    np.savez("train.npz", x=data.x, y=data.y, group=data.group)
    refused(
        2,
        f"x.study: is a search with another {key} ({'none' if version is MISSING else version}, "
        f"here {training.__version__})",
        arguments=(
            *("search", "net.txt", "--data", "train.npz", "--target", "cortex-m4"),
            *("--study", "x.study", "-o", "found"),
        ),
    )


def test_what_training_keeps_is_named_by_the_release(monkeypatch):
    """A file of another release is not even looked at."""
    data = labelled(windows(), None, network(), 0)
    recipe = training.Recipe(epochs=1, learning_rate=0.1, batch=4)
    names = set()
    for version in ("1", "2"):
        monkeypatch.setattr(training, "__version__", version)
        names.add(training._key(network(), data, recipe, None))
    assert len(names) == 2


def test_a_build_in_the_cache_of_another_version_is_none(place):
    (entry,) = (path for path in Path(".l2mu-cache").iterdir() if path.is_dir())
    assert is_whole(entry)
    set_version(entry / "report.json", 2)
    assert not is_whole(entry)
