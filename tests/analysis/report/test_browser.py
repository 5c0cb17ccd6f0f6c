"""The report in a real browser, from the file system, as a light page and on a dark phone."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from analysis.fronts.survey import survey
from analysis.report.abstract import export_line, recommended
from analysis.report.page import write_report
from analysis.runs.load import load_run

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
  window.parent.postMessage(JSON.stringify(said), "*");
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
  const mark = all("#front .mark-symbol path").find((path) => (path.__data__.datum || {}).key);
  const box = mark.getBoundingClientRect();
  const at = { bubbles: true, clientX: box.x + box.width / 2, clientY: box.y + box.height / 2 };
  mark.dispatchEvent(new MouseEvent("mousemove", at));
  mark.dispatchEvent(new PointerEvent("pointermove", at));
  await wait(300);
  const tooltip = document.getElementById("vg-tooltip-element");
  said.tooltip = tooltip ? tooltip.textContent : "";
  filter.value = "";
  filter.dispatchEvent(new Event("input"));
  await lookAround(said, all, wait);
}

async function lookAround(said, all, wait) {
  const copies = all(".run .copy, #the-front .copy, #trial-table .copy");
  said.copied = [];
  const clipboard = { writeText: async (text) => { said.copied.push(text); } };
  Object.defineProperty(navigator, "clipboard", { value: clipboard, configurable: true });
  for (const button of copies.slice(0, 2).concat(copies.slice(-1))) button.click();
  await wait(50);
  said.button = copies[0].textContent;
  Object.defineProperty(navigator, "clipboard", { value: undefined });
  document.execCommand = (name) => { said.selected = [name, document.activeElement.value]; };
  copies[0].click();
  await wait(50);
  said.areas = all("textarea").length;

  const places = () => ({
    figures: all(".chart .picked").map((mark) => mark.closest(".chart").id),
    front: all("#the-front tr.picked").map((row) => row.dataset.point),
    offers: all("#offers tr.picked").map((row) => row.dataset.point),
    trials: all("#trial-table tr.picked").map((row) => row.dataset.point),
    note: document.getElementById("picked").textContent,
    hidden: document.getElementById("picked").hidden,
  });
  const press = (element, key) =>
    element.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  const row = all("#the-front tr[data-point]")[0];
  said.point = row.dataset.point;
  row.focus();
  said.focused = document.activeElement === row;
  press(row, "Enter");
  said.byKey = places();
  press(row, "Escape");
  said.let = places();
  const marks = all("#front .mark-symbol path").filter((mark) =>
    mark.__data__.datum && mark.__data__.datum.point === said.point);
  marks[0].dispatchEvent(new MouseEvent("click", { bubbles: true }));
  said.byMark = places();
  marks[0].dispatchEvent(new MouseEvent("click", { bubbles: true }));
  said.again = places();
  const trial = all("#trial-table tr.trial")[0];
  press(trial, " ");
  said.opened = all("#trial-table tr.config code").length;
  press(trial, "Escape");
  said.contents = all("nav a").map((link) => Boolean(document.querySelector(link.hash)));

  const frame = document.documentElement;
  said.width = window.innerWidth;
  said.overflow = frame.scrollWidth - frame.clientWidth;
  const over = (element, edge) => element.getBoundingClientRect().right > edge + 1;
  said.outside = all("main *").filter((element) =>
    !element.closest(".wide, svg") && over(element, frame.clientWidth)).map((e) => e.outerHTML);
  const texts = all(".chart svg text").filter((text) => text.textContent);
  said.cut = texts.filter((text) =>
    over(text, text.closest(".chart").getBoundingClientRect().right)).map((t) => t.textContent);
  said.recommended = texts.some((text) => text.textContent.startsWith("recommended"));
  said.figures = all("#first .figures div").length;
  said.sentences = all("#first .say p").length;
  const paint = (element, of) => getComputedStyle(element)[of];
  said.paper = paint(document.body, "backgroundColor");
  said.inks = Array.from(new Set(texts
    .filter((text) => paint(text, "fill") !== paint(text, "stroke"))
    .map((text) => paint(text, "fill")).concat([paint(document.body, "color")])));
  said.marks = Array.from(new Set(all(".chart .role-mark path, .chart .role-mark line")
    .flatMap((mark) => [paint(mark, "fill"), paint(mark, "stroke")])
    .filter((colour) => colour.startsWith("rgb("))));
}
</script>
"""


FRAME = """<!doctype html><meta name="color-scheme" content="light dark">
<iframe src="driven.html" style="border:0;width:{width}px;height:2000px"></iframe><script>
window.addEventListener("message", (event) => {{
  const made = document.createElement("pre");
  made.id = "said";
  made.textContent = event.data;
  document.body.append(made);
}});
</script>"""
"""A frame may be as narrow as a phone, which a window may not."""


def _look(folder: Path, *, width: int, dark: bool) -> dict[str, Any]:
    """What a script in the page saw and did, the network being off."""
    (folder / f"frame{width}.html").write_text(FRAME.format(width=width), encoding="utf-8")
    assert BROWSER is not None
    found = subprocess.run(
        [
            *(BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1500,2100"),
            *("--virtual-time-budget=20000", f"--user-data-dir={folder / f'profile{width}'}"),
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            *("--dump-dom", (folder / f"frame{width}.html").as_uri()),
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


@pytest.fixture(scope="module")
def folder(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page lies that looks at itself."""
    made = tmp_path_factory.mktemp("browser")
    page = write_report(run_folder, made / "report.html").read_text(encoding="utf-8")
    page = page.replace("<head>", f"<head>{DRIVER}", 1)
    before, _, after = page.rpartition("</body>")
    (made / "driven.html").write_text(f"{before}{PROBE}</body>{after}", encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def said(folder: Path) -> dict[str, Any]:
    """The page as a screen shows it, light and 1440 pixels wide."""
    return _look(folder, width=1440, dark=False)


@pytest.fixture(scope="module")
def phone(folder: Path) -> dict[str, Any]:
    """The page as a phone shows it, dark and 390 pixels wide."""
    return _look(folder, width=390, dark=True)


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
    assert re.search(r"router:?p\d", tooltip := said["tooltip"].replace(" ", "")), tooltip


def test_the_first_screen_marks_a_point_and_says_three_sentences_and_four_figures(
    said: dict[str, Any], phone: dict[str, Any]
) -> None:
    for page in (said, phone):
        assert page["recommended"]
        assert (page["sentences"], page["figures"]) == (3, 4)
        assert all(page["contents"])


def test_nothing_is_wider_than_the_page_and_no_word_of_a_picture_is_cut(
    said: dict[str, Any], phone: dict[str, Any]
) -> None:
    assert (said["width"], phone["width"]) == (1440, 390)
    for page in (said, phone):
        assert page["errors"] == []
        assert page["overflow"] == 0
        assert page["outside"] == []
        assert page["cut"] == []


def test_a_button_copies_command_and_keys_with_and_without_a_clipboard(
    said: dict[str, Any], run_folder: Path
) -> None:
    row = recommended(load_run(run_folder), survey(load_run(run_folder)))
    assert row is not None
    command, front_key, trial_key = said["copied"]
    assert command == export_line(load_run(run_folder), survey(load_run(run_folder)))
    keys = set(load_run(run_folder).trials["key"])
    assert {front_key, trial_key} <= keys
    assert said["button"] == "Copied"
    assert said["selected"] == ["copy", command]
    assert said["areas"] == 0


@pytest.mark.parametrize("way", ["byKey", "byMark"])
def test_pictures_and_tables_select_one_router_together(said: dict[str, Any], way: str) -> None:
    point, places = said["point"], said[way]
    assert {"front", "use"} <= set(places["figures"])
    assert any(name.startswith("setting-") for name in places["figures"])
    assert places["front"] == [point]
    assert places["trials"] == [point] * 3
    assert point in places["note"]
    assert not places["hidden"]


@pytest.mark.parametrize("way", ["let", "again"])
def test_escape_or_a_second_click_lets_a_selection_go(said: dict[str, Any], way: str) -> None:
    places = said[way]
    assert (places["figures"], places["front"], places["trials"]) == ([], [], [])
    assert places["hidden"]


def test_the_keyboard_reaches_rows_and_opens_a_configuration(said: dict[str, Any]) -> None:
    assert said["focused"]
    assert said["opened"] > 0


def _contrast(one: str, two: str) -> float:
    """WCAG 2.2's ratio of two colours `rgb(r, g, b)`."""
    lights = []
    for colour in (one, two):
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(lights) + 0.05) / (min(lights) + 0.05)


def test_a_dark_page_has_dark_pictures_whose_words_and_marks_can_be_seen(
    said: dict[str, Any], phone: dict[str, Any]
) -> None:
    assert _contrast(phone["paper"], "rgb(0, 0, 0)") < 1.5
    assert _contrast(said["paper"], "rgb(0, 0, 0)") > 20
    for page in (said, phone):
        assert min(_contrast(ink, page["paper"]) for ink in page["inks"]) >= 4.5
    seen = [mark for mark in phone["marks"] if mark != phone["paper"]]
    assert [mark for mark in seen if _contrast(mark, phone["paper"]) < 2.5] == []
