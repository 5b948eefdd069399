"""``l2mu.toml``: what it means, and what is wrong with it, by file, line and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from l2mu_compile.build_config import MAX_FILE_BYTES, find_config, load_config
from l2mu_compile.errors import UsageError

WHOLE = """\
jobs = 2

[budget]
max_flash = "128 KiB"
min_accuracy = 0.8

[model.har]
checkpoint = "har.ckpt"
[model.braille]
module = "nets:make"
classes = ["a", "b"]
input_scale = 0.5

[target.watch]
board = "microbit"
artifacts = "firmware"
[target.pi]
target = "cortex-a53"

[pipeline.int8]
quantize = "int8"
[pipeline.small]
passes = ["prune-population{sparsity=0.5}", "quantize"]
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def put(text: str, name: str = "l2mu.toml") -> Path:
        Path(name).write_text(text)
        return Path(name)

    return put


def ids(file):
    return [build.id for build in file.builds]


def test_everything_by_everything(write):
    file = load_config(write(WHOLE))
    assert ids(file) == [
        f"{model}/{target}/{pipeline}"
        for model in ("har", "braille")
        for target in ("watch", "pi")
        for pipeline in ("int8", "small")
    ]
    first = file.builds[0]
    assert first.budget.limits() == {"max_flash": 131072, "min_accuracy": 0.8}
    assert first.recipe.target.artifacts == ("firmware",)
    assert file.builds[1].recipe.pipeline.passes == "prune-population{sparsity=0.5}, quantize"
    assert file.config.model["braille"].input_scale == (0.5,)
    assert file.config.model["braille"].classes == ("a", "b")


def test_chosen_combinations_with_budgets_of_their_own(write):
    text = WHOLE + (
        '[[build]]\nmodels = "har"\ntargets = ["watch"]\nbudget.max_flash = 1000\n'
        '[[build]]\nmodels = ["braille"]\npipelines = "small"\n'
    )
    file = load_config(write(text))
    assert ids(file) == [
        *("har/watch/int8", "har/watch/small"),
        *("braille/watch/small", "braille/pi/small"),
    ]
    limits = [build.budget.limits() for build in file.builds]
    assert limits[0] == {"max_flash": 1000, "min_accuracy": 0.8}
    assert limits[2] == {"max_flash": 131072, "min_accuracy": 0.8}


def test_without_pipelines_there_is_the_default_one(write):
    file = load_config(write('[model.a]\ncheckpoint = "a.pt"\n[target.b]\n'))
    assert ids(file) == ["a/b/default"]
    assert file.config.output == Path("build")


def test_in_a_pyproject(write):
    text = '[project]\nname = "x"\n[tool.l2mu-compile.model.a]\ncheckpoint = "a.pt"\n'
    path = write(text + "[tool.l2mu-compile.target.b]\nbord = 1\n", "pyproject.toml")
    with pytest.raises(UsageError, match=r"pyproject.toml, line 6: target.b.bord: unknown key"):
        load_config(path)
    path = write(text + "[tool.l2mu-compile.target.b]\n", "pyproject.toml")
    assert ids(load_config(path)) == ["a/b/default"]
    write('[project]\nname = "x"\n', "pyproject.toml")
    with pytest.raises(UsageError, match=r"pyproject.toml: has no table \[tool.l2mu-compile\]"):
        load_config(path)


def test_the_file_is_found(write):
    with pytest.raises(UsageError, match=r"no l2mu\.toml here"):
        find_config(Path())
    write("", "pyproject.toml")
    assert find_config(Path()).name == "pyproject.toml"
    write("")
    assert find_config(Path()).name == "l2mu.toml"


def test_changes_win(write):
    file = load_config(
        write(WHOLE),
        {"jobs": 3, "budget.max_flash": "1 KiB", "target.pi.target": "host", "output": "/x"},
    )
    assert (file.config.jobs, file.config.budget.max_flash) == (3, 1024)
    assert file.config.target["pi"].target == "host"
    assert file.place(file.config.output) == Path("/x")
    with pytest.raises(UsageError, match=r"--set jobs\.x: jobs is no table"):
        load_config(write(WHOLE), {"jobs.x": 1})


def test_builds_are_chosen_by_whole_parts(write):
    file = load_config(write(WHOLE))
    assert file.chosen(()) == file.builds
    assert [b.id for b in file.chosen(["har/pi"])] == ["har/pi/int8", "har/pi/small"]
    assert [b.id for b in file.chosen(["pi/small"])] == ["har/pi/small", "braille/pi/small"]
    assert len(file.chosen(["int8", "har"])) == 6
    with pytest.raises(UsageError, match=r"ha: no build of l2mu\.toml"):
        file.chosen(["ha"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("jobs = \n", "l2mu.toml, line 1: Invalid value"),
        ("", "l2mu.toml: model: Field required"),
        ('[model.a]\ncheckpoint="a"\n', "l2mu.toml: target: Field required"),
        ("[model]\n[target.b]\n", "line 1: model: Dictionary should have at least 1 item"),
        ("[model.a]\n[target.b]\n", "line 1: model.a: has neither a checkpoint nor a module"),
        (
            WHOLE.replace("artifacts", "artefacts"),
            "line 16: target.watch.artefacts: unknown key (known: target, board, backend,",
        ),
        ("job = 1\n" + WHOLE, "line 1: job: unknown key (known: output, cache, cache_days,"),
        (
            WHOLE.replace("max_flash", "max_flsh"),
            "line 4: budget.max_flsh: unknown key (known: max_flash, max_ram,",
        ),
        (WHOLE.replace("128 KiB", "128 miles"), "line 4: budget.max_flash: write bytes, KiB"),
        (WHOLE.replace("0.8", "8"), "line 5: budget.min_accuracy: Input should be less than"),
        (WHOLE.replace("= 0.5", "= 'x'"), "line 12: model.braille.input_scale"),
        (WHOLE.replace('"int8"', '"int9"'), "line 21: pipeline.int8.quantize"),
        (WHOLE.replace("model.har", "model.'../har'"), "line 7: model.../har: names"),
        (WHOLE.replace("target.pi", "target.'..'"), "line 17: target...: names"),
        (WHOLE.replace("target.pi", "target.Watch"), "line 17: target.Watch: differs from watch"),
        (WHOLE.replace("target.pi", "target.'pi.'"), "line 17: target.pi.: no directory can"),
        (WHOLE.replace("model.har", "model.'Aux.v2'"), "line 7: model.Aux.v2: no directory can"),
        (WHOLE.replace("pipeline.small", "pipeline.COM1"), "line 22: pipeline.COM1: no dir"),
        (WHOLE.replace("model.har", "model.'Build.json'"), "line 7: model.Build.json: a file be"),
        (WHOLE.replace("pipeline.small", "pipeline.'a\\u000ab'"), "pipeline.a"),
        (WHOLE.replace('"har.ckpt"', '"a\\u0000b"'), "line 8: model.har.checkpoint: is no path"),
        (WHOLE.replace("jobs = 2", "jobs = 10000"), "line 1: jobs: Input should be less than"),
        (WHOLE + '[[build]]\nmodels = "ha"\n', "line 25: build.0.models: no 'ha' (known: har,"),
        (
            WHOLE + '[[build]]\n[[build]]\ntargets = "pi"\n',
            "build.1: har/pi/int8 is built by an earlier [[build]] already",
        ),
    ],
)
def test_what_is_wrong_is_named_by_line_and_key(write, text, said):
    with pytest.raises(UsageError) as caught:
        load_config(write(text))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_none(write, tmp_path):
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        load_config(tmp_path)
    with pytest.raises(UsageError, match="nothing: cannot be read"):
        load_config("nothing")
    Path("l2mu.toml").write_bytes(b"a = '\xff'")
    with pytest.raises(UsageError, match="cannot be read"):
        load_config("l2mu.toml")
    write("#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(UsageError, match="larger than"):
        load_config("l2mu.toml")
