"""Output directories appear whole or not at all, and only where that harms nobody."""

from __future__ import annotations

import hashlib
import itertools
import stat
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from l2mu_compile.errors import UsageError
from l2mu_compile.output import (
    check_output,
    file_digest,
    files_below,
    lasting_directory,
    whole_directory,
    write_together,
    write_whole,
)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


REPORT = '{"artifacts": [{"path": "left-over"}]}'


def names() -> list[str]:
    return sorted(str(p) for p in Path().rglob("*"))


def test_directory_appears_at_the_end():
    with whole_directory(Path("a/b/out")) as folder:
        (folder / "report.json").write_text("new")
        (folder / "lib").mkdir()
        assert not Path("a/b/out").exists()
    assert names() == ["a", "a/b", "a/b/out", "a/b/out/lib", "a/b/out/report.json"]
    others = stat.S_IMODE(Path("a/b/out").stat().st_mode) & 0o055
    assert others == stat.S_IMODE(Path("a").stat().st_mode) & 0o055


def test_nothing_appears_after_a_failure():
    with pytest.raises(ZeroDivisionError), whole_directory(Path("out")) as folder:
        (folder / "report.json").write_text("new")
        raise ZeroDivisionError
    assert names() == []


def test_failure_keeps_what_was_there():
    Path("out").mkdir()
    Path("out/report.json").write_text(REPORT)
    with pytest.raises(KeyboardInterrupt), whole_directory(Path("out")) as folder:
        (folder / "report.json").write_text("new")
        raise KeyboardInterrupt
    assert names() == ["out", "out/report.json"]
    assert Path("out/report.json").read_text() == REPORT


def test_interrupted_swap_puts_back_what_was_there(monkeypatch):
    Path("out").mkdir()
    Path("out/report.json").write_text(REPORT)
    move = Path.replace

    def interrupted(self, target):
        if self.name == "new":
            raise KeyboardInterrupt
        return move(self, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt), whole_directory(Path("out")):
        pass
    assert names() == ["out", "out/report.json"]
    assert Path("out/report.json").read_text() == REPORT


def left_over(name: str, *parts: str) -> Path:
    work = Path(name)
    for part in parts:
        (work / part).mkdir(parents=True)
        (work / part / "report.json").write_text(part)
    return work


def test_left_over_directories_go():
    """Of this output only, and only what has the form of ours."""
    left_over(".out.l2mu-tmp-dead", "new")
    left_over(".out.l2mu-tmp-old", "new", "old")
    kept = [
        left_over(".other.l2mu-tmp-dead", "new"),
        left_over(".out.l2mu-tmp-other", "data"),
        left_over(".out", "new"),
        left_over("place", "new"),
    ]
    Path(".out.l2mu-tmp-link").symlink_to("place")
    Path("out").mkdir()
    with whole_directory(Path("out")) as folder:
        (folder / "report.json").write_text("new")
    found = {path.name for path in Path().iterdir()}
    assert found == {"out", ".out.l2mu-tmp-link", *(path.name for path in kept)}


def test_a_left_over_directory_that_is_still_written_to_goes():
    """By a compiler that outlives the killed process by half a second."""
    work = left_over(".out.l2mu-tmp-dead", "new")
    end = time.monotonic() + 0.5

    def write() -> None:
        for number in itertools.count():
            if time.monotonic() > end:
                return
            with suppress(FileNotFoundError):
                (work / f"new/{number}.o").touch()

    writer = threading.Thread(target=write)
    writer.start()
    with whole_directory(Path("out")) as folder:
        (folder / "report.json").write_text("new")
    writer.join()
    assert [path.name for path in Path().iterdir()] == ["out"]


def test_a_directory_in_use_is_left_alone():
    with whole_directory(Path("out")) as first:
        with whole_directory(Path("out")) as second:
            (second / "report.json").write_text(REPORT)
        assert first.is_dir()
        (first / "report.json").write_text("first")
    assert names() == ["out", "out/report.json"]
    assert Path("out/report.json").read_text() == "first"


def test_output_taken_away_by_a_killed_run_is_put_back():
    left_over(".out.l2mu-tmp-dead", "new", "old")
    with pytest.raises(ZeroDivisionError), whole_directory(Path("out")):
        assert Path("out/report.json").read_text() == "old"
        raise ZeroDivisionError
    assert names() == ["out", "out/report.json"]


def test_siblings_of_the_fresh_directory_go():
    with whole_directory(Path("out")) as folder:
        folder.with_name("objects").mkdir()
    assert names() == ["out"]


def test_own_files_go():
    Path("out").mkdir()
    Path("out/report.json").write_text(REPORT)
    Path("out/left-over").write_text("old")
    with whole_directory(Path("out")) as folder:
        (folder / "report.json").write_text("new")
    assert names() == ["out", "out/report.json"]
    assert Path("out/report.json").read_text() == "new"


def test_free_places():
    Path("empty").mkdir()
    Path("ours").mkdir()
    Path("ours/report.json").write_text(REPORT)
    Path("ours/left-over").touch()
    for name in ("nothing", "empty", "ours"):
        check_output(Path(name))


@pytest.mark.parametrize(
    "report",
    ["", "{}", "[]", "[" * 9999, '{"artifacts": [{"path": 5}]}', "{'artifacts': 5}", REPORT],
)
def test_a_report_does_not_make_other_files_ours(report):
    Path("project").mkdir()
    Path("project/report.json").write_text(report)
    Path("project/thesis.tex").touch()
    with pytest.raises(UsageError, match="holds files this tool did not write"):
        check_output(Path("project"))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("file", "is not a directory"),
        ("link", "is not a directory"),
        ("loose", "is not a directory"),
        ("foreign", "holds files this tool did not write"),
        ("/proc", "is a mount point; give -o a name below it"),
        ("x" * 300, "cannot be written: File name too long"),
        ("a\0b", "cannot write to names with"),
        ("100%", "the C compiler cannot write to names with '%' in them"),
        (".", "give -o the name of a directory"),
        ("foreign/..", "give -o the name of a directory"),
    ],
)
def test_places_that_are_not_free(name, reason):
    Path("file").touch()
    Path("foreign").mkdir()
    Path("foreign/report.json").mkdir()
    Path("link").symlink_to("foreign")
    Path("loose").symlink_to("nowhere")
    before = names()
    with pytest.raises(UsageError, match=reason), whole_directory(Path(name)):
        pytest.fail("was let in")
    assert names() == before


def test_parents_made_for_nothing_go_again():
    Path("a").mkdir()
    with pytest.raises(ZeroDivisionError), whole_directory(Path("a/b/c/out")):
        raise ZeroDivisionError
    assert names() == ["a"]


def test_errors_in_the_block_name_the_output():
    with (
        pytest.raises(UsageError, match=r"^out: cannot be written: No space left on device$"),
        whole_directory("out"),
    ):
        Path("/dev/full").write_text("x")
    assert names() == []


@pytest.mark.parametrize("name", ["file/out", "file/a/out", "/proc/nothing/out", "/proc/out"])
def test_places_that_cannot_be_written(name):
    Path("file").touch()
    with pytest.raises(UsageError, match="cannot be written"), whole_directory(Path(name)):
        pytest.fail("was let in")
    assert names() == ["file"]


@pytest.mark.parametrize("content", ["ü\n", b"\x00\xff"])
def test_write_whole(content):
    path = Path("text")
    path.write_text("old")
    write_whole(path, content)
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert names() == ["text"]


def test_write_whole_leaves_no_litter(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    Path("text").write_text("old")
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(Path("text"), "new")
    assert names() == ["text"]
    assert Path("text").read_text() == "old"


def test_write_together_replaces_all_or_nothing():
    Path("a").write_text("old")
    write_together({Path("a"): "new", Path("b"): b"new"})
    assert [Path(name).read_text() for name in names()] == ["new", "new"]
    with pytest.raises(FileNotFoundError):
        write_together({Path("a"): "newer", Path("none/b"): "newer"})
    assert names() == ["a", "b"]
    assert Path("a").read_text() == "new"


def test_temporary_files_of_ours_are_not_foreign():
    """A process killed while it replaced a file leaves one."""
    Path("out").mkdir()
    Path("out/report.json").write_text(REPORT)
    Path("out/.report.json.l2mu-tmp-dead").touch()
    check_output(Path("out"))


def test_files_below():
    Path("d/e").mkdir(parents=True)
    for name, text in (("d/z", "zz"), ("d/e/a", "")):
        Path(name).write_text(text)
    found = files_below(Path("d"))
    assert [(name, size) for name, size, _ in found] == [("e/a", 0), ("z", 2)]
    assert found[1][2] == file_digest(Path("d/z")) == hashlib.sha256(b"zz").hexdigest()


# ---- what a killed run leaves to the next one ----

KEPT = ".out.l2mu-kept"


def test_lasting_directory_goes_at_the_end():
    with lasting_directory(Path("a/out"), ".kept") as folder:
        (folder / "one.kept").write_text("1")
        assert names() == ["a", f"a/{KEPT}", f"a/{KEPT}/one.kept"]
    assert names() == ["a"]


def test_lasting_directory_stays_after_a_failure_and_is_found_again():
    with pytest.raises(ZeroDivisionError), lasting_directory(Path("a/out"), ".kept") as folder:
        (folder / "one.kept").write_text("1")
        (folder / ".one.kept.l2mu-tmp-x").write_text("half")
        raise ZeroDivisionError
    with lasting_directory(Path("a/out"), ".kept") as folder:
        assert (folder / "one.kept").read_text() == "1"
    assert names() == ["a"]


def test_an_empty_lasting_directory_goes_even_then():
    with pytest.raises(ZeroDivisionError), lasting_directory(Path("a/out"), ".kept"):
        raise ZeroDivisionError
    assert names() == []


def test_a_lasting_directory_belongs_to_one_run():
    with lasting_directory(Path("out"), ".kept") as folder:
        (folder / "one.kept").write_text("1")
        with (
            pytest.raises(UsageError, match="another run is working there"),
            lasting_directory(Path("out"), ".kept"),
        ):
            pass
        assert (folder / "one.kept").exists()


def test_other_files_are_not_ours():
    Path(KEPT).mkdir()
    Path(KEPT, "mine").write_text("mine")
    message = "holds mine, which no run put there"
    with pytest.raises(UsageError, match=message), lasting_directory(Path("out"), ".kept"):
        pass
    assert names() == [KEPT, f"{KEPT}/mine"]


def test_a_lasting_directory_that_cannot_be_made():
    Path("a").write_text("a file")
    with (
        pytest.raises(UsageError, match="cannot be written: Not a directory"),
        lasting_directory(Path("a/out"), ".kept"),
    ):
        pass


def test_another_marker():
    Path("out").mkdir()
    Path("out/tune.json").write_text(REPORT)
    check_output(Path("out"), "tune.json")
    with pytest.raises(UsageError, match=r"did not write \(tune.json\)"):
        check_output(Path("out"))
