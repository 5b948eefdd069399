"""The page of ``l2mu-compile view`` in a browser that has no network: what is seen of it."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import ok
from networks import l2mu, samples

from l2mu_compile.network_files import save_network

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("workplace"),
    pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed (apt: chromium)"),
]

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
MEASURE = """<pre id="measured"></pre><script>
const box = e => {
  const b = e.getBoundingClientRect();
  return [b.left, b.top, b.right, b.bottom];
};
const boxes = s => [...document.querySelectorAll(s)].map(box);
document.getElementById("measured").textContent = JSON.stringify({
  width: innerWidth, content: document.documentElement.scrollWidth,
  images: [...document.images].map(i => [i.naturalWidth, ...box(i)]),
  labels: boxes(".drawing .label, .drawing .heading, .card text"),
  cards: [...document.querySelectorAll(".card")].map(
    c => [box(c.querySelector("rect")), [...c.querySelectorAll("text")].map(box)]),
  drawing: boxes(".drawing")[0], traces: boxes(".trace .shown"), tables: boxes("table"),
});
</script></body>"""


@pytest.fixture
def page(workplace: Path) -> Path:
    network = l2mu()
    save_network(network, "net.txt")
    np.savez("data.npz", x=samples(network, windows=8, steps=30))
    ok("compile", "net.txt", "--quantize", "int8", "--calibrate", "data.npz", "-o", "out")
    ok("view", "out", "--data", "data.npz", "-o", "page.html")
    return workplace / "page.html"


def load(path: Path, width: int) -> subprocess.CompletedProcess[str]:
    """The page in a window of this ``width``: its elements on stdout, its complaints on stderr."""
    assert BROWSER is not None
    profile = path.parent / f"profile{width}"
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr")
    alone = "--host-resolver-rules=MAP * ~NOTFOUND"
    place = (f"--user-data-dir={profile}", f"--window-size={width},2000", "--dump-dom")
    command = (BROWSER, *options, alone, *place, path.as_uri())
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)


def measured(page: Path, width: int) -> Any:
    """Where things are: the same page, with a script that its own policy would not let run."""
    text = page.read_text(encoding="utf-8")
    assert POLICY in text
    text = text.replace(POLICY, f"{POLICY}; script-src 'unsafe-inline'")
    probe = page.with_name("probe.html")
    probe.write_text(text.replace("</body>", MEASURE), encoding="utf-8")
    found = re.search(r'<pre id="measured">(.*?)</pre>', load(probe, width).stdout, re.DOTALL)
    assert found is not None
    return json.loads(html.unescape(found[1]))


def test_the_page_loads_without_complaints(page: Path) -> None:
    result = load(page, 1300)
    assert "CONSOLE" not in result.stderr, result.stderr
    assert "Populations and projections" in result.stdout


@pytest.mark.parametrize("width", [1300, 500])
def test_everything_is_seen_and_nothing_overlaps(page: Path, width: int) -> None:
    found = measured(page, width)
    assert found["content"] <= found["width"]
    assert len(found["images"]) == 10 and len(found["cards"]) == 6
    for natural, left, top, right, bottom in found["images"]:
        assert natural == 30 and right - left > 200 and bottom - top >= 20
    for left, top, right, bottom in (found["drawing"], *found["traces"], *found["tables"]):
        assert right - left > 50 and bottom - top > 0
    labels = found["labels"]
    for i, a in enumerate(labels):
        assert a[2] - a[0] > 5 and a[3] - a[1] > 5
        for b in labels[i + 1 :]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] + 2 or b[3] <= a[1] + 2, (a, b)
    for card, texts in found["cards"]:
        for text in texts:
            assert card[0] < text[0] and text[2] < card[2]
            assert card[1] < text[1] and text[3] < card[3]
    left, top, right, bottom = found["drawing"]
    for label in labels:
        assert left <= label[0] and label[2] <= right and top <= label[1] and label[3] <= bottom
