"""What is kept of builds, and for how long: only what is old, nobody's and the cache's own goes."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from build_files import FILE, FLOAT, INT8, make_project
from command_line import ok, run
from filelock import FileLock
from refusals import contents

from l2mu_compile import build_cache
from l2mu_compile.build_cache import entry_of, mark_used, remove_unused
from l2mu_compile.output import whole_directory

KEYS = [f"{number:064x}" for number in range(8)]
OLD, NOW = 40, 0
DAYS = 30


def aged(path: Path, days: float = OLD) -> Path:
    """``path``, last changed ``days`` days ago."""
    then = time.time() - days * build_cache.SECONDS_OF_A_DAY
    os.utime(path, (then, then), follow_symlinks=False)
    return path


def entry(cache: Path, key: str, days: float = OLD) -> Path:
    """A build in ``cache`` that was last used ``days`` days ago, and its lock."""
    cache.mkdir(exist_ok=True)
    with entry_of(cache, key) as folder, whole_directory(folder) as fresh:
        (fresh / "lib").mkdir()
        (fresh / "lib/net.a").write_text(key)
        (fresh / "report.json").write_text('{"artifacts": [{"path": "lib/net.a"}]}')
    aged(cache / f"{key}.lock", days)
    return aged(folder, days)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_is_not_used_goes_with_its_lock(tmp_path):
    entry(tmp_path, KEYS[0])
    entry(tmp_path, KEYS[1])
    entry(tmp_path, KEYS[2], NOW)
    aged(tmp_path / f"{KEYS[2]}.lock")  # as it was made, with its first use
    mark_used(entry(tmp_path, KEYS[3]))
    assert remove_unused(tmp_path, DAYS) == 2
    assert names(tmp_path) == {KEYS[2], f"{KEYS[2]}.lock", KEYS[3], f"{KEYS[3]}.lock"}
    assert remove_unused(tmp_path, DAYS) == 0


def test_what_killed_runs_left_goes_when_it_is_old(tmp_path):
    for key, days in ((KEYS[0], OLD), (KEYS[1], NOW)):
        left = tmp_path / f".{key}.l2mu-tmp-x{days}"
        (left / "new/src").mkdir(parents=True)
        (left / "new/src/net.c").write_text("half")
        aged(left, days)
        aged(tmp_path / f"{key}.lock", days) if (tmp_path / f"{key}.lock").exists() else None
    (tmp_path / f"{KEYS[2]}.lock").touch()
    aged(tmp_path / f"{KEYS[2]}.lock")
    assert remove_unused(tmp_path, DAYS) == 0, "no build went"
    assert names(tmp_path) == {f".{KEYS[1]}.l2mu-tmp-x{NOW}"}


FOREIGN: dict[str, Callable[[Path], object]] = {
    "source.c": lambda path: path.write_text("mine"),
    "lib": lambda path: path.mkdir(),
    ".l2mu-tmp-x": lambda path: path.mkdir(),
    f".{KEYS[0][1:]}.l2mu-tmp-x": lambda path: path.mkdir(),
    f".{KEYS[0]}.l2mu-kept": lambda path: path.mkdir(),
    KEYS[0][:-1]: lambda path: path.mkdir(),
    KEYS[0] + "0": lambda path: path.mkdir(),
    "F" * 64: lambda path: path.mkdir(),
    KEYS[1]: lambda path: path.mkdir(),
    KEYS[2]: lambda path: path.write_text("a blob of another tool's store"),
    KEYS[3]: lambda path: path.symlink_to("lib"),
    f"{KEYS[4]}.lock": lambda path: path.write_text("1234"),
    f"{KEYS[5]}.lock": lambda path: path.symlink_to("source.c"),
    f"{KEYS[6]}.lock": lambda path: path.mkdir(),
    f".{KEYS[7]}.l2mu-tmp-x": lambda path: path.write_text("no directory"),
}


def test_what_is_not_the_caches_stays(tmp_path):
    for name, make in FOREIGN.items():
        make(tmp_path / name)
    with_more = entry(tmp_path, "a" * 64)
    (with_more / "notes.txt").write_text("by hand")
    aged(with_more)
    for path in tmp_path.iterdir():
        aged(path)
    before = contents(tmp_path)
    assert remove_unused(tmp_path, DAYS) == 0
    assert names(tmp_path) == {*FOREIGN, "a" * 64, f"{'a' * 64}.lock"}
    assert contents(tmp_path) == before


def test_what_another_holds_stays(tmp_path):
    for key in KEYS[:2]:
        entry(tmp_path, key)
    with FileLock(tmp_path / f"{KEYS[0]}.lock"):
        assert remove_unused(tmp_path, DAYS) == 1
    assert names(tmp_path) == {KEYS[0], f"{KEYS[0]}.lock"}


def test_a_build_used_while_its_removal_waits_stays(tmp_path, monkeypatch):
    """Between the first look at its age and the lock, another run takes it."""
    found = entry(tmp_path, KEYS[0])
    lock = build_cache.locked

    def late(path: Path, wait: bool = True):
        mark_used(found)
        return lock(path, wait)

    monkeypatch.setattr(build_cache, "locked", late)
    assert remove_unused(tmp_path, DAYS) == 0
    assert (found / "lib/net.a").read_text() == KEYS[0]


def test_who_waited_for_a_lock_that_is_gone_shares_its_name_with_nobody(tmp_path):
    """Who has waited while the lock file was removed gets a lock that a third one waits for."""
    path = tmp_path / f"{KEYS[0]}.lock"
    inside, most, done = 0, 0, threading.Barrier(3)

    def hold() -> None:
        nonlocal inside, most
        with build_cache.locked(path):
            inside += 1
            most = max(most, inside)
            time.sleep(0.3)
            inside -= 1
        done.wait()

    with build_cache.locked(path):
        first = threading.Thread(target=hold)
        first.start()
        time.sleep(0.2)
        path.unlink()
        second = threading.Thread(target=hold)
        second.start()
        time.sleep(0.1)
    done.wait(timeout=30)
    assert most == 1


def _use(cache: Path, seed: int, seconds: float) -> None:
    """Take builds from ``cache``, or make them, at random; each is whole whenever it is seen."""
    draw = random.Random(seed)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        key = draw.choice(KEYS[:3])
        with entry_of(cache, key) as folder:
            token = folder.with_name(f"in-use-{key}")
            token.touch(exist_ok=False)  # nobody else is here
            if not folder.exists():
                with whole_directory(folder) as fresh:
                    (fresh / "net.a").write_text(key)
                    (fresh / "report.json").write_text('{"artifacts": [{"path": "net.a"}]}')
            for _ in range(3):
                assert (folder / "net.a").read_text() == key
            aged(folder, draw.choice([OLD, NOW]))
            token.unlink()


def _clean(cache: Path, seconds: float) -> None:
    end = time.monotonic() + seconds
    removed = 0
    while time.monotonic() < end:
        for lock in cache.glob("*.lock"):
            try:
                aged(lock)
            except FileNotFoundError:
                continue
        removed += remove_unused(cache, DAYS)
    sys.exit(0 if removed else 9)


def test_runs_at_the_same_time(tmp_path):
    """Two that use builds and two that remove old ones, all the time."""
    context = multiprocessing.get_context("fork")
    tasks = [(_use, (tmp_path, 1, 3.0)), (_use, (tmp_path, 2, 3.0))]
    tasks += [(_clean, (tmp_path, 3.0))] * 2
    processes = [context.Process(target=work, args=arguments) for work, arguments in tasks]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    left = {name for name in names(tmp_path) if name[:64] not in KEYS[:3]}
    assert not left, "of builds that were made or removed"


# ---- through the command line ----


@pytest.fixture
def place(workplace, data):
    make_project(data)
    return workplace


def test_a_run_removes_what_no_run_uses_and_says_so(place):
    ok("build", INT8)
    (old,) = (path for path in Path(".l2mu-cache").iterdir() if path.is_dir())
    for path in Path(".l2mu-cache").iterdir():
        aged(path)
    assert "removed" not in (result := ok("build", INT8)).out + result.err, "it was just used"
    assert old.is_dir()
    for path in Path(".l2mu-cache").iterdir():
        aged(path)
    assert "removed" not in (result := ok("build", FLOAT, "--set", "cache_days=0")).err + result.out
    assert old.is_dir()
    result = ok("build", FLOAT)
    said = "removed from the cache: 1 build that no run had used for 30 days"
    assert said in " ".join((result.out + result.err).split())
    assert said in Path("build/summary.md").read_text()
    assert not old.exists() and not Path(f"{old}.lock").exists()
    assert len(names(Path(".l2mu-cache"))) == 2, "one build and its lock"


def test_a_run_that_fails_removes_too(place):
    old = entry(Path(".l2mu-cache"), KEYS[0])
    Path("net.pt").write_bytes(b"")
    assert run("build", FLOAT).code == 3
    assert not old.exists()


def test_a_cache_that_is_the_project_loses_nothing(place):
    for path in Path().iterdir():
        aged(path)
    before = contents(Path())
    ok("build", FLOAT, "--cache", ".")
    ok("build", FLOAT, "--cache", ".", "--set", "cache_days=1")
    after = contents(Path())
    assert {name: after[name] for name in before} == before


@pytest.mark.slow
def test_what_a_killed_run_left_goes(place):
    """In the middle of builds that nobody makes again."""
    command = [sys.executable, "-m", "l2mu_compile.cli", "build", "--jobs", "2"]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    cache = Path(".l2mu-cache")
    deadline = time.monotonic() + 120
    while not (left := [p for p in cache.glob(".*.l2mu-tmp-*") if (p / "new").is_dir()]):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert any(path.exists() for path in left)
    Path("l2mu.toml").write_text(FILE.replace('test = "windows.npz"', ""))
    ok("build", FLOAT, "--set", "cache_days=1000")
    assert [path for path in left if path.exists()], "it is not old"
    for path in cache.iterdir():
        aged(path)
    ok("build", FLOAT)
    assert not list(cache.glob(".*.l2mu-tmp-*"))
    assert len(names(cache)) == 2, "the build that was used, and its lock"
