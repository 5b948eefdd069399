"""``l2mu-compile build``: what is made, what is kept, and what a budget says of it."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from build_files import FILE, FLOAT, INT8, make_project
from command_line import ok, readable, run
from filelock import FileLock
from refusals import contents, files_at_most, refused, spawn, unprivileged
from rich.console import Console

from l2mu_compile.budgets import FIGURES, Figures
from l2mu_compile.build_report import load_build_report
from l2mu_compile.compiled import load_host_model
from l2mu_compile.windows import load_windows

THIRD, FOURTH = "net/here/third", "net/here/fourth"


@pytest.fixture
def place(workplace, data):
    """A directory with a checkpoint, windows and a file of builds."""
    make_project(data)
    return workplace


def states(result):
    return {build["id"]: build["state"] for build in result.json["builds"]}


def test_what_is_unchanged_is_not_built_again(place):
    assert states(ok("build", "--json")) == {INT8: "built", FLOAT: "built"}
    windows = load_windows("windows.npz").x
    decisions = load_host_model(f"build/{INT8}").run(windows)
    first = contents(Path("build"))
    assert all(build.seconds > 0 for build in load_build_report("build").builds)
    assert states(ok("build", "--json")) == {INT8: "unchanged", FLOAT: "unchanged"}
    assert all(build.seconds == 0 for build in load_build_report("build").builds)
    assert {**first, "build.json": 0, "junit.xml": 0, "summary.md": 0} == {
        **contents(Path("build")),
        **{"build.json": 0, "junit.xml": 0, "summary.md": 0},
    }
    shutil.rmtree("build/net")
    assert states(ok("build", "--json", "int8")) == {INT8: "from cache"}
    assert (load_host_model(f"build/{INT8}").run(windows) == decisions).all()
    assert states(ok("build", "--json", "int8", "--rebuild")) == {INT8: "built"}


def test_what_depends_on_a_change_is_built_again(place):
    ok("build", INT8)
    Path("l2mu.toml").write_text(FILE.replace('test = "windows.npz"', ""))
    assert states(ok("build", "--json", INT8)) == {INT8: "built"}
    Path("l2mu.toml").write_text(FILE)
    assert states(ok("build", "--json", INT8)) == {INT8: "from cache"}
    content = Path("net.pt").read_bytes()
    Path("net.pt").write_bytes(content[:-1])
    result = run("build", "--json", INT8)
    assert result.code == 3
    assert "net.pt" in result.json["builds"][0]["failure"]["message"]
    assert Path(f"build/{INT8}/report.json").exists(), "what was there stays"


def test_a_damaged_cache_is_not_used(place):
    ok("build", INT8)
    (entry,) = (p for p in Path(".l2mu-cache").iterdir() if p.is_dir())
    (entry / "network.txt").write_text("damaged")
    assert states(ok("build", "--json", INT8)) == {INT8: "built"}
    assert "damaged" not in (entry / "network.txt").read_text()
    Path(f"build/{INT8}/network.txt").write_text("damaged")
    result = run("build", "--json", INT8)
    assert result.json["builds"][0]["state"] == "from cache"
    assert "damaged" not in Path(f"build/{INT8}/network.txt").read_text()


def test_a_run_of_some_builds_keeps_what_is_known_of_the_others(place):
    Path("l2mu.toml").write_text(FILE + "[pipeline.third]\n[pipeline.fourth]\n")
    ok("build")
    before = {build.id: build for build in load_build_report("build").builds}
    assert list(before) == [INT8, FLOAT, THIRD, FOURTH]
    shutil.rmtree(f"build/{THIRD}")
    Path("l2mu.toml").write_text(FILE + "[pipeline.third]\n")
    result = run("build", "--json", FLOAT, "--set", "budget.max_flash=1KiB")
    assert result.code == 5
    assert states(result) == {FLOAT: "unchanged"}
    found = load_build_report("build").builds
    assert [build.id for build in found] == [INT8, FLOAT], "in the order of the file"
    assert found[0] == before[INT8]
    assert found[1].violations and not before[FLOAT].violations
    for name in ("junit.xml", "summary.md"):
        assert "int8" not in Path("build", name).read_text()
    assert run("build", INT8).code == 0, "what is wrong with others is not asked for"
    assert load_build_report("build").builds[1].violations
    made_again = ok("verify-build", "build", "--json").json["directories"]
    assert [entry["path"] for entry in made_again] == [f"build/{INT8}", f"build/{FLOAT}"]


@pytest.mark.parametrize(
    ("text", "says"),
    [("{", "Invalid JSON"), ('{"format_version": 2, "builds": []}', "format_version")],
)
def test_a_run_of_some_builds_replaces_a_record_that_it_cannot_read(place, text, says):
    ok("build")
    Path("build/build.json").write_text(text)
    said = " ".join(ok("build", FLOAT).err.split())
    assert "build/build.json: " in said and says in said
    assert "only builds that were asked for are in the new one" in said
    assert [build.id for build in load_build_report("build").builds] == [FLOAT]
    Path("build/build.json").write_text(text)
    assert "build.json: " not in ok("build").err, "a whole run has no use for it"
    assert [build.id for build in load_build_report("build").builds] == [INT8, FLOAT]


def test_budgets(place):
    result = run("build", INT8, "--set", "budget.max_flash=1KiB", "--set", "budget.min_accuracy=0")
    assert result.code == 5
    readable(result.out)
    assert f"{INT8}: flash " in result.err and "max_flash 1,024 bytes" in result.err
    assert "accuracy" not in result.err
    (build,) = load_build_report("build").builds
    assert len(build.violations) == 1
    assert "1 broken" in Path("build/summary.md").read_text()
    result = run("build", INT8, "--set", "budget.max_instructions_per_step=1000000")
    assert result.code == 5
    assert "instructions per step: not known of this build" in result.err


def test_budgets_of_change(place):
    ok("build")
    figures = json.loads(Path("build/build.json").read_text())
    for build in figures["builds"]:
        build["figures"]["flash"] = build["figures"]["flash"] * 97 // 100
    Path("base.json").write_text(json.dumps(figures))
    options = ("build", "--baseline", "base.json", "--set", "budget.max_flash_growth")
    assert run(*options[:-1], 'budget.max_flash_growth="4 %"').code == 0
    result = run(*options[:-1], 'budget.max_flash_growth="2 %"')
    assert result.code == 5
    assert result.err.count("grew by 3.") == 2
    figures["builds"][0]["figures"]["flash"] = None
    Path("base.json").write_text(json.dumps(figures))
    result = ok(*options[:-1], 'budget.max_flash_growth="4 %"')
    assert f"note: not in the baseline: {INT8} (flash)\n" in result.out + result.err
    result = ok("build", "--set", "budget.max_flash_growth=0")
    assert "there is no baseline" in result.err + result.out


@pytest.fixture
def changed(place):
    """What every cell of the table says of a build whose figures were all others before."""
    ok("build", INT8)
    report = load_build_report("build")
    (build,) = report.builds
    before = {name: value and value / 2 for name, value in build.figures}
    figures = Figures(**{k: v if v is None or v < 1 else int(v) for k, v in before.items()})
    report = report.model_copy(update={"builds": [build.model_copy(update={"figures": figures})]})
    Path("base.json").write_text(report.to_json())
    names = [
        figure.with_change(getattr(build.figures, f), getattr(figures, f)).split(" (")
        for f, figure in FIGURES.items()
        if getattr(build.figures, f) is not None
    ]
    assert all(len(cell) == 2 for cell in names)
    return names


def test_no_figure_is_cut_off_where_nobody_sees_a_terminal(changed, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    lines = ok("build", INT8, "--baseline", "base.json").out.splitlines()
    assert lines[0].split()[:3] == ["build", "flash", "RAM"]
    for figure, change in changed:
        assert figure in lines[1] and f"({change}" in lines[2]


def test_a_narrow_terminal_has_a_line_for_every_figure(changed, monkeypatch):
    shown = io.StringIO()
    narrow = Console(file=shown, force_terminal=True, color_system=None, width=40)
    monkeypatch.setattr("l2mu_compile.build_command.out", narrow)
    ok("build", INT8, "--baseline", "base.json")
    lines = [line for line in shown.getvalue().splitlines() if line.startswith("  ")]
    assert all(len(line) <= 40 for line in lines)
    for line, cell in zip(lines, changed, strict=True):
        assert line.endswith(" (".join(cell))


def test_the_configuration_is_printed(place):
    result = ok("build", "--print-config", INT8, "--jobs", 3, "--set", "budget.max_ram=8KiB")
    assert result.json["jobs"] == 3
    assert result.json["builds"] == {INT8: {"max_ram": 8192}}
    assert not Path("build").exists()


def test_one_that_fails_keeps_no_other_from_being_made(place):
    text = FILE.replace("[target.here]", '[model.bad]\ncheckpoint = "nothing.pt"\n[target.here]')
    Path("l2mu.toml").write_text(text)
    result = run("build", "float")
    assert result.code == 3
    assert "bad/here/float: " in result.err and "nothing.pt" in result.err
    made = {build.id: build.state for build in load_build_report("build").builds}
    assert made == {FLOAT: "built", "bad/here/float": "failed"}


def test_refusals(place):
    refused(2, "build: no build of l2mu.toml", arguments=("build", "build"))
    refused(2, "--set x: write KEY=VALUE", arguments=("build", "--set", "x"))
    refused(
        3, "base.json: there is no such baseline", arguments=("build", "--baseline", "base.json")
    )
    refused(2, "nowhere.toml: cannot be read", arguments=("build", "--config", "nowhere.toml"))
    refused(
        2,
        "l2mu.toml, line 8: target.here: unknown target 'hots'",
        arguments=("build", "--set", "target.here.target=hots"),
    )
    refused(
        2,
        "l2mu.toml, line 11: pipeline.int8: unknown pass 'shrink'",
        arguments=(
            *("build", "--set", "pipeline.int8.passes=shrink"),
            *("--set", "pipeline.int8.quantize=none"),
        ),
    )
    refused(2, "plug-in", arguments=("build", "--set", 'plugins=["windows.npz"]'))
    Path("l2mu.toml").unlink()
    refused(2, "no l2mu.toml here", arguments=("build",))


@pytest.mark.slow
def test_several_runs_with_one_cache(place):
    """Of several at a time each build is made once."""
    command = [sys.executable, "-m", "l2mu_compile.cli", "build", "--json", "--jobs", "2", "-o"]
    runs = [
        subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True)
        for name in ("one", "two", "three")
    ]
    found = [json.loads(process.communicate()[0]) for process in runs]
    assert [process.returncode for process in runs] == [0, 0, 0]
    for name in (INT8, FLOAT):
        done = [b["state"] for run in found for b in run["builds"] if b["id"] == name]
        assert sorted(done) == ["built", "from cache", "from cache"]
    assert contents(Path("one/net")) == contents(Path("two/net")) == contents(Path("three/net"))


def test_one_directory_at_a_time(place):
    Path("build").mkdir()
    with FileLock("build/.lock"):
        result = run("build")
    assert result.code == 2
    assert "another build is working there" in result.err


@pytest.mark.parametrize("place_of", ["--output", "--cache"])
def test_a_file_where_a_directory_is_to_be(place, place_of):
    Path("taken").write_text("mine")
    Path("build").mkdir()
    result = run("build", FLOAT, place_of, "taken")
    assert result.code == 2
    assert result.err.endswith("taken: is no directory\n") and result.err.count("\n") == 1
    assert Path("taken").read_text() == "mine"


def test_windows_that_are_gone(place):
    Path("l2mu.toml").write_text(
        FILE + '[model.other]\ncheckpoint = "net.pt"\ncalibrate = "c.npz"\n'
    )
    result = run("build", "float")
    assert result.code == 3
    assert (
        "other/here/float: " in result.err and "c.npz: cannot be read: No such file" in result.err
    )
    assert Path("build", FLOAT, "report.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_an_interrupted_run_leaves_nothing_half_done(place, jobs):
    """Compilers of its processes, which are in sessions of their own, end too."""
    mark = f"L2MU_TEST_{random.random()}"
    command = [sys.executable, "-m", "l2mu_compile.cli", "build", "--jobs", str(jobs)]
    process = subprocess.Popen(
        command, env=os.environ | {mark: "1"}, stderr=subprocess.PIPE, text=True
    )
    while not list(Path(".l2mu-cache").glob(".*.l2mu-tmp-*/made/src")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[1].endswith("error: interrupted\n")
    assert process.returncode == 130
    assert not marked(mark)
    assert not list(Path().rglob(".*.l2mu-tmp-*"))
    assert states(ok("build", "--json")) == {INT8: "built", FLOAT: "built"}


def marked(name: str) -> list[Path]:
    """Processes with an environment variable."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            found += [path] if f"{name}=".encode() in path.read_bytes() else []
    return found


@pytest.mark.slow
def test_a_build_whose_process_dies(place):
    """The others are made."""
    Path("l2mu.toml").write_text(
        FILE + '[model.bad]\ncheckpoint = "net.pt"\ncalibrate = "windows.npz"\n'
    )
    command = [sys.executable, "-m", "l2mu_compile.cli", "build", "--json", "--jobs", "2", "float"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while not (found := [p for p in children.read_text().split() if is_worker(p)]):
        time.sleep(0.02)
    os.kill(int(found[0]), signal.SIGKILL)
    builds = json.loads(process.communicate()[0])["builds"]
    assert sorted(build["state"] for build in builds) == ["built", "failed"]
    (failure,) = (build["failure"] for build in builds if build["failure"])
    assert failure["message"].startswith("its process died, perhaps out of memory")
    assert process.returncode == failure["exit_code"] == 1


def is_worker(number: str) -> bool:
    try:
        return b"spawn_main" in Path(f"/proc/{number}/cmdline").read_bytes()
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.5, 2.5, 4.0, 6.0])
def test_a_killed_run_leaves_what_was_there_or_all(place, delay):
    ok("build", INT8)
    before = contents(Path("build", INT8))
    Path("l2mu.toml").write_text(FILE.replace('quantize = "int8"', 'quantize = "none"'))
    process = subprocess.Popen(
        [sys.executable, "-m", "l2mu_compile.cli", "build", "--jobs", "2"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    time.sleep(delay)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    left = contents(Path("build", INT8))
    ok("build")
    assert left in (before, contents(Path("build", INT8)))


@pytest.fixture
def kept(place):
    """What an earlier run left; it may be removed again afterwards."""
    ok("build", FLOAT)
    Path("l2mu.toml").write_text(FILE.replace("[pipeline.float]", "[pipeline.other]"))
    yield contents(Path())
    for path in (Path(), *Path().rglob("*")):
        path.chmod(0o755)


def read_only(*folders: str) -> None:
    for folder in map(Path, folders):
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)


@pytest.mark.parametrize("folder", ["build", ".l2mu-cache", "."])
def test_read_only_directories(kept, folder):
    read_only(folder)
    result = spawn("build", "other", prepare=unprivileged)
    assert result.code == 2, result.err
    assert "Permission denied" in result.err
    assert "Traceback" not in result.err
    said = ("build/build.json", "build/junit.xml", "build/summary.md") if "cache" in folder else ()
    before = {name: data for name, data in kept.items() if name not in said}
    assert {k: v for k, v in contents(Path()).items() if k in before} == before
    assert not list(Path().rglob("other"))


@pytest.mark.parametrize("size", [100, 3000, 20_000])
def test_full_disk(kept, size):
    """Nothing that an earlier run made is changed, and nothing is half there."""
    result = spawn("build", "other", prepare=files_at_most(size))
    assert result.code in (2, 6), result.err
    assert "Traceback" not in result.err
    before = {name: data for name, data in kept.items() if name.startswith("build/net/")}
    assert {k: v for k, v in contents(Path()).items() if k.startswith("build/net/")} == before
    assert not Path("build/net/here/other").exists()
    ok("build")
