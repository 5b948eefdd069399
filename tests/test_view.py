"""``l2mu-compile view``: what the page holds, what it must not, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nir
import numpy as np
import pytest
from command_line import ok
from networks import chain, feed_forward, samples
from pages import pixels, read_page
from refusals import contents, refused
from test_nir_convolutions import chain as chain_of
from test_nir_convolutions import conv, fires, saved
from toy_training import network, windows

from l2mu_compile.activity import watch
from l2mu_compile.interpreter import run
from l2mu_compile.network_files import load_network, save_network
from l2mu_compile.recipe import ModelTable
from l2mu_compile.report import load_report
from l2mu_compile.subject import load_subject
from l2mu_compile.view import percent, view
from l2mu_compile.windows import load_windows

pytestmark = pytest.mark.usefixtures("workplace")

NASTY = "<script>alert(1)</script>\"'&amp;\x1b[2J\u202e\n"


@pytest.fixture(autouse=True)
def files(workplace: Path) -> None:
    data = windows()
    np.savez("data.npz", x=data.x, y=data.y, group=data.group)
    save_network(network(), "net.txt")


def test_a_network_is_drawn_and_listed() -> None:
    shown = ok("view", "net.txt")
    page = read_page("network.html")
    assert shown.out == f"network.html: {Path('network.html').stat().st_size:,} bytes\n"
    drawn = network()
    assert [row["population"] for row in page.table("population")] == ["h", "out"]
    rows = page.table("from")
    assert [(r["from"], r["to"], r["delay"]) for r in rows] == [
        (p.source, p.target, str(p.delay)) for p in drawn.projections
    ]
    assert [int(r["synapses"]) for r in rows] == [p.synapses for p in drawn.projections]
    assert [int(r["bytes"]) for r in rows] == [p.stored_bytes for p in drawn.projections]
    assert len(page.all("g", "card")) == 3
    assert len(page.all("path", "head")) == len(page.all("text", "label")) == 3
    assert len(page.all("path", "wire")) == 3  # x and h to the right, h to the left
    assert "Spike rates are not known" in page.text and not page.all("img")


def test_a_page_needs_nothing_else() -> None:
    ok("view", "net.txt", "--data", "data.npz")
    page = read_page("network.html")
    assert not page.all("script") and not page.all("link") and not page.all("a")
    policy = next(m["content"] for m in page.all("meta") if "http-equiv" in m)
    assert "default-src 'none'" in policy
    assert all(i["src"].startswith("data:image/png;base64,") for i in page.all("img"))
    assert not [a for _, attributes in page.elements for a in attributes if a.startswith("on")]
    assert "http:" not in Path("network.html").read_text().replace("http-equiv", "")
    assert "https:" not in Path("network.html").read_text()


def test_figures_are_the_interpreters() -> None:
    ok("compile", "net.txt", "--quantize", "int8", "--calibrate", "data.npz", "-o", "out")
    ok("view", "out", "--data", "data.npz", "--window", 7)
    page = read_page("network.html")
    x = windows().x[7:8]
    compiled = run(load_network("out/network.txt"), x, record=("spikes",))
    original = run(load_network("out/float/network.txt"), x, record=("spikes",))
    scores = page.table("class")
    for column, result in (("compiled", compiled), ("the network as given", original)):
        assert [int(row[column].strip("◀")) for row in scores] == result.scores[0].tolist()
        assert [row[column].endswith("◀") for row in scores].index(True) == result.decisions[0]
    assert [row["class"].endswith("label") for row in scores].index(True) == windows().y[7]
    images = page.all("img", "raster")
    assert len(images) == 4
    for i, name in enumerate(("h", "out")):
        before, after = (pixels(image["src"]) for image in images[2 * i : 2 * i + 2])
        a, b = original.spikes[name][0].T, compiled.spikes[name][0].T
        np.testing.assert_array_equal(before, np.where(a, np.where(b, 1, 2), 0))
        np.testing.assert_array_equal(after, np.where(b, np.where(a, 1, 2), 0))
        rate = f"{100 * compiled.rate(load_network('out/network.txt').population(name)):.1f} %"
        assert (
            next(r for r in page.table("population") if r["population"] == name)["spikes"] == rate
        )


def test_a_compiled_directory_shows_its_report() -> None:
    ok("compile", "net.txt", "--quantize", "int8", "--calibrate", "data.npz", "-o", "out")
    ok("view", "out")
    page, report = read_page("network.html"), load_report("out/report.json")
    steps = page.table("after")
    assert [r["after"] for r in steps[1:]] == [p.partition("{")[0] for p in report.passes]
    assert [int(r["bytes"].replace(",", "")) for r in steps] == [
        s.parameter_bytes for s in report.steps
    ]
    assert f"{report.flash_bytes:,}" in page.text and "bit-exact" in page.text
    # Its network is not another one than the report is on.
    save_network(feed_forward(), "out/network.txt")
    refused(3, "out/network.txt: has changed since", arguments=("view", "out", "-o", "b.html"))


def test_a_tuned_directory_beside_what_it_was_made_from() -> None:
    passes = "prune-population{sparsity=0.5},quantize"
    ok("tune", "net.txt", "--data", "data.npz", "--passes", passes, "-o", "tuned")
    ok("view", "tuned", "--data", "data.npz", "--against", "net.txt", "-o", "page.html")
    page, tuned = read_page("page.html"), load_network("tuned/network.txt")
    steps = json.loads(Path("tuned/tune.json").read_text())["steps"]
    found = [row["accuracy"] for row in page.table("after")]
    assert found == [f"{100 * s['accuracy']:.2f} %" for s in steps]
    assert tuned.population("h").size == 3
    shapes = [pixels(image["src"]).shape for image in page.all("img")]
    assert shapes == [(6, 12), (3, 12), (3, 12), (3, 12)]
    assert "6 neurons before, not compared one by one" in page.text
    assert "net.txt" in page.text


def test_equal_inputs_make_equal_pages() -> None:
    for name in ("a.html", "b.html"):
        ok("view", "net.txt", "--data", "data.npz", "-o", name)
    assert Path("a.html").read_bytes() == Path("b.html").read_bytes()
    assert ok("view", "net.txt", "-o", "c.html", "--json").json == {
        "page": "c.html",
        "bytes": Path("c.html").stat().st_size,
        "notes": [],
    }


def test_names_of_files_stay_text() -> None:
    ok("compile", "net.txt", "--classes", "a,b,c", "-o", "out")
    path = Path("out/report.json")
    report = json.loads(path.read_text())
    report["source"]["name"] = report["target"] = NASTY
    report["notes"] = [NASTY, "long " * 10_000, *[NASTY] * 500]
    report["command"] = [NASTY] * 1000
    for step in report["steps"]:
        step["after"] = NASTY
        step["populations"][0]["name"] = NASTY
    path.write_text(json.dumps(report))
    Path("<b>.npz").write_bytes(Path("data.npz").read_bytes())
    ok("view", "out", "--data", "<b>.npz")
    text, page = Path("network.html").read_text(), read_page("network.html")
    assert not page.all("script") and "alert(1)" in page.text
    assert "<b>.npz" in page.text
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", text)
    assert len(text) < 200_000
    assert "more in the report" in page.text


def test_large_networks_stay_small_and_say_what_is_missing() -> None:
    save_network(chain(100, 3), "long.txt")
    np.savez("long.npz", x=samples(chain(100, 3), windows=1, steps=1030))
    ok("view", "long.txt", "--data", "long.npz")
    page = read_page("network.html")
    for text in (
        "40 of 100 populations",
        "The first 60 of 100 populations.",
        "Only the first 1,024 of 1,030 steps are shown.",
        "Only the first 40 of 100 populations are shown.",
    ):
        assert text in page.text
    assert pixels(page.all("img")[0]["src"]).shape == (3, 1024)
    assert Path("network.html").stat().st_size < 2 << 20
    wide = chain(1, 3000)
    save_network(wide, "wide.txt")
    np.savez("wide.npz", x=samples(wide, windows=1, steps=2))
    ok("view", "wide.txt", "--data", "wide.npz")
    assert "3000 neurons, of which 512 are shown" in read_page("network.html").text


def test_a_long_window_is_run_once_and_whole() -> None:
    """Scores and rates are those of all its steps, rasters those of the first."""
    drawn, x = chain(2, 3), samples(chain(2, 3), windows=1, steps=1100)
    save_network(drawn, "long.txt")
    np.savez("long.npz", x=x)
    page = view(load_subject(Path("long.txt"), None, ModelTable(), None), load_windows("long.npz"))
    Path("page.html").write_text(page)
    told, table = run(drawn, x, record=("spikes",)), read_page("page.html")
    column = table.table("class")
    assert [int(row[drawn.name].strip("◀").replace(",", "")) for row in column] == told.scores[
        0
    ].tolist()
    for p, row in zip(drawn.order(), table.table("population"), strict=True):
        assert row["spikes"] == percent(told.rate(p))
    counted: list[int] = []
    watch(drawn, None, load_windows("long.npz"), 0, lambda step, steps: counted.append(step))
    assert counted == list(range(1, 1101))


def test_options_of_a_model_are_those_of_compile() -> None:
    """Raw counts are what the float network saw in its units, and classes have names."""
    x = windows().x
    np.savez("raw.npz", x=2 * x - 6)
    ok("view", "net.txt", "--data", "data.npz", "-o", "a.html")
    raw = ("--data", "raw.npz", "--input-scale", "0.5", "--input-offset", "3")
    ok("view", "net.txt", *raw, "--classes", "up,down,left", "-o", "b.html")
    plain, named = read_page("a.html").table("class"), read_page("b.html").table("class")
    assert [row["class"].removesuffix("label") for row in named] == ["up", "down", "left"]
    assert [row["toy"] for row in named] == [row["toy"] for row in plain]


def test_convolutions_of_a_nir_graph(tmp_path: Path) -> None:
    """Maps and kernels are drawn as such; what the file leaves open is said on the command line."""
    nodes, edges = chain_of(
        nir.Input(np.array([2, 7, 9])),
        conv(1, (4, 2, 3, 3), stride=2, padding=1),
        fires(4, 4, 5),
        nir.Flatten(np.array([4, 4, 5]), 0, -1),
        nir.Linear(np.ones((3, 80), np.float32)),
        fires(3),
    )
    path = saved(tmp_path, nodes, edges)
    ok("view", path, "--nir", "producer=snntorch,reset=zero")
    page = read_page("network.html")
    assert "2 × 7 × 9 channels of samples" in page.text and "4 × 4 × 5 neurons" in page.text
    first, last = page.table("from")
    assert first["weights"] == "conv 4 × 2 × 3 × 3"
    assert "stride 2 × 2, padding 1 × 1" in page.text
    assert last["weights"] == "3 × 80"
    assert page.table("population")[0]["reset"] == "zero"
    refused(2, "--nir", arguments=("view", path, "--nir", "reset=sometimes"))


def test_refusals_leave_nothing() -> None:
    Path("empty").mkdir()
    save_network(feed_forward(), "other.txt")
    refused(
        2,
        "--output page.pdf: a page ends in .html",
        arguments=("view", "net.txt", "-o", "page.pdf"),
    )
    refused(2, "--window: of which file?", arguments=("view", "net.txt", "--window", "1"))
    many = ("view", "net.txt", "--data", "data.npz", "--window", "90")
    refused(2, "--window 90: data.npz has 90 windows, counted from 0", arguments=many)
    none = "empty: holds none of report.json, tune.json and search.json"
    refused(3, none, arguments=("view", "empty"))
    nir = ("view", "net.txt", "--nir", "reset=zero")
    refused(2, "--nir belongs to a NIR graph", arguments=nir)
    scale = ("view", "net.txt", "--input-scale", "1,2")
    refused(2, "--input-scale: 2 numbers for 3 channels", arguments=scale)
    refused(3, "--classes: ", arguments=("view", "net.txt", "--classes", "a,b"))
    refused(3, "data.npz: windows have", arguments=("view", "other.txt", "--data", "data.npz"))
    refused(
        2,
        "nowhere/a.html: cannot be written",
        arguments=("view", "net.txt", "-o", "nowhere/a.html"),
    )
    against = ("view", "net.txt", "--against", "other.txt")
    refused(2, "other.txt: maps 2 channels to 2 classes", arguments=against)
    refused(2, "give a checkpoint", arguments=("view",))


def test_an_earlier_page_stays_until_the_new_one_is_whole() -> None:
    ok("view", "net.txt")
    before = contents(Path())
    refused(3, "missing.txt", arguments=("view", "missing.txt"))
    assert contents(Path()) == before
