"""The steps of the CI examples, run as they are written, in a clean directory."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml
from clean_python import clean_python

from l2mu_compile.build_config import load_config

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples" / "ci"
HAR = ROOT / "examples" / "har_smartwatch"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A repository of a user's: the example's file and data, not all windows, nothing else."""
    monkeypatch.chdir(tmp_path)
    Path("repository/data").mkdir(parents=True)
    for name in ("har.ckpt", "calibration.npz"):
        shutil.copy(HAR / name, "repository/data")
    with np.load(HAR / "heldout.npz") as stored:
        np.savez("repository/data/heldout.npz", x=stored["x"][::6], y=stored["y"][::6])
    text = (EXAMPLES / "l2mu.toml").read_text()
    Path("repository/l2mu.toml").write_text(text.replace("../har_smartwatch", "data"))
    shutil.copy(ROOT / "constraints.txt", "repository")
    return tmp_path / "repository"


@pytest.fixture
def python(tmp_path):
    return clean_python(tmp_path / "venv")


def run_step(text: str, place: Path, python: Path, **variables: str) -> subprocess.CompletedProcess:
    environment = os.environ | variables | {"PATH": f"{python}:{os.environ['PATH']}"}
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", text],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
    )


def filled(text: str, inputs: dict[str, str]) -> str:
    """``${{ inputs.name }}`` replaced, as a runner does."""
    return re.sub(r"\$\{\{ inputs\.(\w+) \}\}", lambda m: inputs[m[1]], text)


@pytest.mark.slow
def test_the_github_action(place, python, tmp_path):
    action = yaml.safe_load((EXAMPLES / "github" / "action.yml").read_text())
    inputs = {name: entry["default"] for name, entry in action["inputs"].items()}
    inputs |= {"package": str(ROOT), "constraints": "constraints.txt"}
    summary = tmp_path / "summary.md"
    steps = [step for step in action["runs"]["steps"] if "run" in step]
    assert [step["name"] for step in steps] == ["Install", "Build"]

    def run_all(**given: str) -> subprocess.CompletedProcess:
        for step in steps:
            env = {name: filled(text, inputs | given) for name, text in step["env"].items()}
            assert step["shell"] == "bash"
            done = run_step(step["run"], place, python, **env, GITHUB_STEP_SUMMARY=str(summary))
            if done.returncode:
                return done
        return done

    done = run_all()
    assert done.returncode == 0, done.stderr
    assert "| har/watch/int8 | built |" in summary.read_text()
    assert (place / "build/har/watch/int8/firmware").is_dir()
    assert (python / "l2mu-compile").exists()
    report = json.loads((place / "build/build.json").read_text())
    for build in report["builds"]:
        build["figures"]["flash"] //= 2
    (place / "baseline.json").write_text(json.dumps(report))
    done = run_all(baseline="baseline.json")
    assert done.returncode == 5
    assert "max_flash_growth 2 %" in done.stderr
    assert "| har/watch/int8 | unchanged |" in summary.read_text()


@pytest.mark.slow
def test_the_gitlab_job(place, python):
    job = yaml.safe_load((EXAMPLES / "gitlab" / "gitlab-ci.yml").read_text())
    script = "\n".join(job["device-binaries"]["before_script"] + job["device-binaries"]["script"])
    done = run_step(script, place, python, **(job["variables"] | {"PACKAGE": str(ROOT)}))
    assert done.returncode == 0, done.stderr
    for name in job["device-binaries"]["artifacts"]["paths"]:
        assert (place / name).exists()
    assert (place / job["device-binaries"]["artifacts"]["reports"]["junit"]).is_file()


def test_the_workflow_gives_the_action_inputs_that_it_has():
    action = yaml.safe_load((EXAMPLES / "github" / "action.yml").read_text())
    workflow = yaml.safe_load((EXAMPLES / "github" / "workflow.yml").read_text())
    (step,) = (s for s in workflow["jobs"]["build"]["steps"] if s["uses"].startswith("./"))
    assert set(step["with"]) <= set(action["inputs"])


def test_the_file_of_the_page_is_one(tmp_path):
    page = (ROOT / "docs" / "build.md").read_text()
    (text,) = re.findall(r"```toml\n(.*?)```", page, flags=re.DOTALL)
    path = tmp_path / "l2mu.toml"
    path.write_text(text)
    assert [build.id for build in load_config(path).builds] == [
        "har/watch/int8",
        "har/watch/small",
    ]


def test_the_page_has_all_limits():
    from l2mu_compile.budgets import Budget

    page = (ROOT / "docs" / "build.md").read_text().partition("## Budgets")[2]
    assert set(re.findall(r"`((?:max|min)_\w+)`", page)) == set(Budget.model_fields)
