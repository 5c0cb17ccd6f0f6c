"""The report in a real browser, from the file system: no error, hover, sorting, filtering."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from analysis.report.page import write_report

BROWSER = next(
    (
        found
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (found := shutil.which(name))
    ),
    None,
)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")

DRIVER = """
<script>
window.errors = [];
window.addEventListener("error", (event) => window.errors.push(String(event.message)));
for (const name of ["error", "warn"]) {
  const before = console[name];
  console[name] = (...words) => {
    window.errors.push(words.map(String).join(" "));
    before(...words);
  };
}
</script>
"""

PROBE = """
<script>
(async function () {
  const said = {};
  try {
    await look(said);
  } catch (error) {
    window.errors.push(String(error));
  }
  said.errors = window.errors;
  const made = document.createElement("pre");
  made.id = "said";
  made.textContent = JSON.stringify(said);
  document.body.append(made);
})();

async function look(said) {
  const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const all = (query) => Array.from(document.querySelectorAll(query));
  await wait(500);
  const cells = (c) => all("#trial-table tbody tr.trial").map((row) => row.cells[c].textContent);
  const heads = all("#trial-table thead th").map((head) => head.textContent.trim());
  const score = heads.findIndex((name) => name.endsWith("validation score"));
  said.pictures = all(".chart svg").map((svg) => svg.closest(".chart").id);
  all("#trial-table thead button")[score].click();
  said.rising = cells(score);
  all("#trial-table thead button")[score].click();
  said.falling = cells(score);
  const filter = document.getElementById("filter");
  filter.value = "seed 1";
  filter.dispatchEvent(new Event("input"));
  said.filtered = cells(heads.indexOf("seed"));
  said.count = document.getElementById("shown").textContent;
  filter.value = "alpha 0";
  filter.dispatchEvent(new Event("input"));
  said.begun = cells(heads.indexOf("alpha"));
  said.unmatched = ["seed 1, gone", "seed 0, seed 1"].map((text) => {
    filter.value = text;
    filter.dispatchEvent(new Event("input"));
    return document.getElementById("shown").textContent;
  });
  filter.value = "seed 1";
  filter.dispatchEvent(new Event("input"));
  all("#trial-table tbody tr.trial")[0].click();
  said.configuration = all("#trial-table tr.config code").length;
  const mark = document.querySelector("#front .mark-symbol path");
  const box = mark.getBoundingClientRect();
  const at = { bubbles: true, clientX: box.x + box.width / 2, clientY: box.y + box.height / 2 };
  mark.dispatchEvent(new MouseEvent("mousemove", at));
  mark.dispatchEvent(new PointerEvent("pointermove", at));
  await wait(300);
  const tooltip = document.getElementById("vg-tooltip-element");
  said.tooltip = tooltip ? tooltip.textContent : "";
}
</script>
"""


@pytest.fixture(scope="module")
def said(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a script in the page saw and did, the network being off."""
    folder = tmp_path_factory.mktemp("browser")
    page = write_report(run_folder, folder / "report.html").read_text(encoding="utf-8")
    page = page.replace("<head>", f"<head>{DRIVER}", 1)
    before, _, after = page.rpartition("</body>")
    page = f"{before}{PROBE}</body>{after}"
    (folder / "driven.html").write_text(page, encoding="utf-8")
    assert BROWSER is not None
    found = subprocess.run(
        [
            *(BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1440,2000"),
            *("--virtual-time-budget=20000", f"--user-data-dir={folder / 'profile'}"),
            *("--dump-dom", (folder / "driven.html").as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    text = re.search(r'<pre id="said">(.*?)</pre>', found.stdout, re.S)
    assert text is not None, found.stdout[-2000:]
    answer: dict[str, Any] = json.loads(html.unescape(text.group(1)))
    return answer


def test_the_page_says_no_error_and_draws_every_picture(said: dict[str, Any]) -> None:
    assert said["errors"] == []
    assert {"front", "headroom", "use", "curve-score", "curve-cost"} <= set(said["pictures"])


def test_a_filter_that_matches_nothing_says_why(said: dict[str, Any]) -> None:
    missing, apart = said["unmatched"]
    assert missing.startswith("no trial has \u201cgone\u201d; write a column and a value (")
    assert apart.startswith("no trial has all of them: \u201cseed 0\u201d has ")
    assert all(int(count) > 0 for count in re.findall(r"has (\d+)", apart))


def test_a_heading_sorts_up_and_down(said: dict[str, Any]) -> None:
    rising = [float(value) for value in said["rising"]]
    assert len(rising) == 12
    assert rising == sorted(rising)
    assert [float(value) for value in said["falling"]] == sorted(rising, reverse=True)


def test_the_filter_keeps_the_trials_that_are_asked_for(said: dict[str, Any]) -> None:
    assert said["filtered"] == ["1"] * 4
    assert said["count"] == "4 of 12 trials"


def test_a_filters_number_is_whole(said: dict[str, Any]) -> None:
    """Of the run's alphas 0, 0.01 and 1 the first two begin alike."""
    assert said["begun"] == ["0"] * 3


def test_a_trials_configuration_is_one_click_away(said: dict[str, Any]) -> None:
    assert said["configuration"] > 0


def test_hovering_a_point_says_what_it_is(said: dict[str, Any]) -> None:
    assert "score" in said["tooltip"] or "cost" in said["tooltip"]
