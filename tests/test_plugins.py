"""Plug-ins: files and entry points that bring passes, targets and importers, and bad ones."""

from __future__ import annotations

import importlib
import json
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from command_line import ok, run
from networks import feed_forward
from refusals import refused

from l2mu_compile import plugins
from l2mu_compile.errors import UsageError
from l2mu_compile.frontend import load_model
from l2mu_compile.network_files import load_network, save_network
from l2mu_compile.pipeline import known_passes, parse_pipeline
from l2mu_compile.plugins import fingerprint, load_plugin, loaded_files
from l2mu_compile.targets.registry import TARGETS, get_target, known_targets

HEAD = """
from dataclasses import dataclass, replace
from typing import ClassVar
import numpy as np
from l2mu_compile import Context, Importer, Network, Pass, get_target, load_network
"""
HALVE = (
    HEAD
    + '''
@dataclass(frozen=True)
class Halve(Pass):
    """Requires a float network; divides all weights; lossy."""

    name: ClassVar[str] = "halve"
    by: float = 2.0

    def apply(self, network: Network, context: Context) -> Network:
        return network.map_projections(lambda p: replace(p, weight=p.weight / np.float32(self.by)))

PLUGIN = [Halve]
'''
)
TARGET = HEAD + 'PLUGIN = (replace(get_target("host"), name="here", description="me again"),)\n'
IMPORTER = HEAD + (
    "def read(path):\n"
    '    return load_network(path.with_suffix(".txt"))\n'
    'PLUGIN = [Importer("sibling", (".same",), read)]\n'
)
BROKEN_PASS = HALVE.replace("p.weight / np.float32(self.by)", "p.weight[:1]")


@pytest.fixture(autouse=True)
def nothing_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Every test in a directory of its own, in which ``toy.txt`` is a network."""
    monkeypatch.setattr(plugins, "_files", {})
    monkeypatch.chdir(tmp_path)
    save_network(feed_forward(), "toy.txt")
    yield


def written(text: str, name: str = "mine.py") -> str:
    Path(name).write_text(textwrap.dedent(text))
    return name


# ---- files -------------------------------------------------------------------------------------


def test_a_file_brings_a_pass_with_options() -> None:
    load_plugin(written(HALVE))
    (item,) = parse_pipeline("halve{by=4}")
    assert str(item) == "halve{by=4.0}"
    assert known_passes()["halve"] is type(item)


def test_a_file_brings_a_target() -> None:
    load_plugin(written(TARGET))
    assert get_target("here").description == "me again"
    assert set(known_targets()) == {*TARGETS, "here"}


def test_a_file_brings_an_importer() -> None:
    load_plugin(written(IMPORTER))
    Path("toy.same").write_text("what is in toy.txt")
    model = load_model("toy.same", name="other")
    assert model.network == feed_forward().replace(name="other")
    assert (model.source.kind, model.source.name) == ("sibling", "toy.same")
    assert model.source.sha256


def test_a_file_is_loaded_once() -> None:
    name = written(HALVE)
    load_plugin(name)
    first, digest = known_passes()["halve"], fingerprint()
    load_plugin(Path(name).resolve())
    assert known_passes()["halve"] is first
    assert loaded_files() == (Path(name).resolve(),)
    assert fingerprint() == digest != ""


def test_two_files_may_have_one_name() -> None:
    Path("other").mkdir()
    load_plugin(written(HALVE))
    load_plugin(written(TARGET, "other/mine.py"))
    assert "halve" in known_passes()
    assert "here" in known_targets()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("PLUGIN = [1", "plug-in mine.py: cannot be loaded: SyntaxError: "),
        ("x = 1\n\ny = 1 / 0", "plug-in mine.py, line 3: cannot be loaded: ZeroDivisionError: "),
        ("import no_such_package", "mine.py, line 1: cannot be loaded: ModuleNotFoundError: "),
        ("raise SystemExit(7)", "plug-in mine.py, line 1: cannot be loaded: SystemExit: 7"),
        ("x = 1", "plug-in mine.py: has no PLUGIN = [...] of the passes, targets and importers"),
        ("PLUGIN = []", "plug-in mine.py: has no PLUGIN = [...]"),
        (
            "PLUGIN = [len]",
            "plug-in mine.py: PLUGIN holds 'len', which is no Pass",
        ),
        (HEAD + "PLUGIN = [Pass]", "PLUGIN holds 'Pass', which is no Pass, Target or Importer"),
        (
            HALVE.replace("@dataclass(frozen=True)", ""),
            "pass 'Halve': is not a dataclass: write @dataclass(frozen=True) above it",
        ),
        (HALVE.replace('"halve"', '"my halve"'), "pass 'Halve': its name 'my halve' is not lett"),
        (HALVE.replace('"halve"', '"quantize"'), "plug-in mine.py: the name 'quantize' is taken"),
        (HALVE.replace(" = 2.0", ""), "pass 'Halve': its option by has no default value"),
        (
            HALVE.replace('"""Requires a float network; divides all weights; lossy."""', ""),
            "pass 'Halve': has no docstring that states its contract",
        ),
        (
            HALVE.replace("def apply", "def do"),
            "'Halve': has no apply(self, network, context)",
        ),
        (
            HALVE.replace("by: float", "by: 'Unknown'"),
            "pass 'Halve': the types of its options cannot be read: name 'Unknown' is not defined",
        ),
        (TARGET.replace('"here"', '"host"'), "plug-in mine.py: the name 'host' is taken"),
        (
            TARGET.replace('name="here"', 'name="here", kernel_sets=("sse", "ref")'),
            "target 'here': unknown kernel set 'sse'; known: ref, dsp",
        ),
        (
            TARGET.replace('name="here"', 'name="here", pointer_bytes=3'),
            "cannot be loaded: ValueError: target 'here': pointer_bytes is 4 or 8",
        ),
        (IMPORTER.replace('"sibling"', '"a b"'), "importer 'a b': its name is not letters"),
        (IMPORTER.replace('(".same",)', '".same"'), "'sibling': its suffixes are not a tuple"),
        (IMPORTER.replace(".same", "same"), "importer 'sibling': suffix 'same' is not a point and"),
        (IMPORTER.replace(".same", ".nir"), "suffix '.nir' is one that l2mu-compile reads itself"),
        (IMPORTER.replace(", read)", ", 1)"), "importer 'sibling': its read is not a function"),
    ],
)
def test_a_bad_file_is_named_with_the_rule(text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        load_plugin(written(text))
    assert message in str(error.value)
    assert loaded_files() == ()
    assert known_targets() == TARGETS


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.py", "plug-in absent.py: cannot be read: No such file"),
        (".", "cannot be read: Is a directory"),
        ("toy.txt", "plug-in toy.txt: is no Python file"),
    ],
)
def test_what_is_no_file_of_python_is_refused(name: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        load_plugin(name)
    assert message in str(error.value)


def test_two_files_that_bring_one_name_clash() -> None:
    load_plugin(written(HALVE))
    with pytest.raises(UsageError, match=r"plug-in again.py: the name 'halve' is taken"):
        load_plugin(written(HALVE + "\n", "again.py"))
    assert parse_pipeline("halve")


# ---- entry points ------------------------------------------------------------------------------


def install(monkeypatch: pytest.MonkeyPatch, kind: str, text: str, value: str) -> None:
    """As if a package ``their_package`` with an entry point of this ``kind`` were installed."""
    Path("their_package.py").write_text(text)
    monkeypatch.syspath_prepend(".")
    monkeypatch.delitem(sys.modules, "their_package", raising=False)
    importlib.invalidate_caches()
    point = EntryPoint("x", f"their_package:{value}", f"l2mu_compile.{kind}")
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point] * (group == point.group))


def test_packages_bring_passes_targets_and_importers(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "passes", HALVE, "Halve")
    assert "halve" in known_passes()
    install(monkeypatch, "targets", TARGET + "HERE = PLUGIN[0]\n", "HERE")
    assert get_target("here").name == "here"
    install(monkeypatch, "importers", IMPORTER + "SIBLING = PLUGIN[0]\n", "SIBLING")
    Path("toy.same").touch()
    assert load_model("toy.same").network == feed_forward()


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("targets", "Halve", "plug-in their_package:Halve: is no target"),
        ("passes", "Absent", "plug-in their_package:Absent: cannot be loaded: AttributeError"),
        ("passes", "PLUGIN", "plug-in their_package:PLUGIN: is no pass"),
    ],
)
def test_a_bad_entry_point_ends_a_command(
    monkeypatch: pytest.MonkeyPatch, kind: str, value: str, message: str
) -> None:
    install(monkeypatch, kind, HALVE, value)
    target = ("--target", "theirs") if kind == "targets" else ()
    refused(2, message, arguments=("opt", "toy.txt", "-p", "remove-dead", *target))


# ---- the command line --------------------------------------------------------------------------


def test_listings_show_what_plug_ins_bring() -> None:
    mine, other = written(HALVE), written(TARGET, "other.py")
    both = ("--plugin", mine, "--plugin", other)
    assert "halve{by=2.0}" in ok("passes", *both).out
    assert "here" in {t["name"] for t in ok("targets", "--json", *both).json}


def test_a_network_is_compiled_with_passes_and_for_a_target_of_plug_ins() -> None:
    mine, other = written(HALVE), written(TARGET, "other.py")
    names = "fold-input,halve{by=1},select-kernels,plan-memory"
    plugged = ("--plugin", mine, "--plugin", other)
    ok("compile", "toy.txt", "--target", "here", "--passes", names, "-o", "out", *plugged)
    report = json.loads(Path("out/report.json").read_text())
    assert report["target"] == "here"
    assert report["passes"][1] == "halve{by=1.0}"
    assert report["verify"]["bit_exact"]
    np.savez("windows.npz", x=np.ones((2, 5, 2), "f4"))
    ok("verify", "out", "--data", "windows.npz", *plugged)


def test_without_its_plug_in_a_target_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    ok("compile", "toy.txt", "--target", "here", "-o", "out", "--plugin", written(TARGET))
    np.savez("windows.npz", x=np.ones((2, 5, 2), "f4"))
    monkeypatch.setattr(plugins, "_files", {})
    refused(2, "unknown target 'here'", arguments=("verify", "out", "--data", "windows.npz"))


@pytest.mark.parametrize("flags", [(), ("--no-verify-passes",)])
def test_a_pass_that_breaks_an_invariant_leaves_nothing(flags: tuple[str, ...]) -> None:
    passes = "fold-input,halve,select-kernels,plan-memory"
    plugin = ("--plugin", written(BROKEN_PASS))
    arguments = ("compile", "toy.txt", "-o", "out", "--passes", passes, *plugin, *flags)
    refused(
        3,
        "pass halve of mine.py (after fold-input): network toy (folded): h.x: weights map 2 to 1",
        arguments=arguments,
    )


def test_a_bad_plug_in_ends_every_command_that_takes_one() -> None:
    bad = written("PLUGIN = []")
    np.savez("windows.npz", x=np.ones((4, 5, 2), "f4"), y=np.arange(4) % 2)
    for command in (
        ("inspect", "toy.txt"),
        ("compile", "toy.txt", "-o", "out"),
        ("verify", "out", "--data", "windows.npz"),
        ("tune", "toy.txt", "--data", "windows.npz", "-o", "out"),
        ("search", "toy.txt", "--data", "windows.npz", "-o", "out"),
        ("export", "toy.txt", "-o", "toy.onnx"),
        ("view", "toy.txt", "-o", "toy.html"),
        ("opt", "toy.txt", "-p", "remove-dead"),
        ("passes",),
        ("targets",),
    ):
        refused(2, "plug-in mine.py: has no PLUGIN", arguments=(*command, "--plugin", bad))


# ---- importers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return None", "toy.same: importer sibling: returned a NoneType, not a Network"),
        ("return 1 / 0", "toy.same: importer sibling: ZeroDivisionError: division by zero"),
        (
            'return load_network("toy.txt").replace(stage="folded")',
            "toy.same: importer sibling: returned a folded network; importers return traced ones",
        ),
        (
            'return load_network("toy.txt").replace(name="a b")',
            "toy.same: importer sibling: network a b (traced): 'a b': is not a usable C identifier",
        ),
    ],
)
def test_a_bad_importer_is_named(body: str, message: str) -> None:
    Path("toy.same").touch()
    text = IMPORTER.replace('return load_network(path.with_suffix(".txt"))', body)
    arguments = ("compile", "toy.same", "-o", "out", "--plugin", written(text))
    refused(3, message, arguments=arguments)


def test_what_belongs_to_other_files_is_refused() -> None:
    Path("toy.same").touch()
    load_plugin(written(IMPORTER))
    refused(
        2, "--params belongs to a checkpoint", arguments=("inspect", "toy.same", "--params", "a")
    )
    result = run("inspect", "toy.same", "--readout", "last_membrane")
    assert result.code == 2
    assert "--readout belongs to" in result.err


def test_importers_that_read_the_same_files_are_named() -> None:
    load_plugin(written(IMPORTER))
    load_plugin(written(IMPORTER.replace("sibling", "brother"), "other.py"))
    Path("toy.same").touch()
    with pytest.raises(UsageError, match=r"by more than one importer: sibling and brother"):
        load_model("toy.same")


def test_a_network_text_needs_no_importer() -> None:
    load_plugin(written(IMPORTER))
    assert load_model("toy.txt").network == load_network("toy.txt")
    assert replace(feed_forward()) == load_network("toy.txt")
