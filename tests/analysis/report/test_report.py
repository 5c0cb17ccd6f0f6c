from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import vl_convert

from analysis.report import page as report
from analysis.report.__main__ import main
from analysis.report.page import write_report
from analysis.runs.load import RunError, load_run
from tests.analysis.conftest import POINTS, WriteRun

NASTY = "<script>alert('x')</script>&\"</textarea>"


class _Page(HTMLParser):
    """Elements, their attributes, and the text outside of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._silent = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._silent += tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.text += data


@pytest.fixture(scope="module")
def page(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("report") / "report.html"
    return write_report(run_folder, out).read_text(encoding="utf-8")


def test_the_report_refers_to_nothing_outside(page: str) -> None:
    for tag, attributes in _Page(page).elements:
        assert tag not in ("link", "iframe", "img", "base")
        assert not {"src", "srcset", "action"} & set(attributes)
        assert str(attributes.get("href", "#")).startswith("#")
    ours = page.replace(report._vega_scripts(), "")
    assert "http://" not in ours
    assert "https://" not in ours
    assert "@import" not in ours
    assert "url(" not in ours


def test_scripts_are_bundled_once_for_a_version_and_anew_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snippets: list[str] = []

    def bundle(snippet: str, version: str) -> str:
        snippets.append(snippet)
        return f"Vega-Lite {version}"

    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / name)
    monkeypatch.setattr(vl_convert, "javascript_bundle", bundle)
    scripts = report._vega_scripts.__wrapped__
    assert scripts() == scripts() == f"Vega-Lite {report._vegalite_version()}"
    assert snippets == ["window.vegaEmbed = vegaEmbed;"]
    monkeypatch.setattr("importlib.metadata.version", lambda _: "99.0")
    assert scripts() == f"Vega-Lite {report._vegalite_version()}"
    assert len(snippets) == 2


def test_the_page_forbids_itself_the_network(page: str) -> None:
    policies = [a["content"] for tag, a in _Page(page).elements if "http-equiv" in a]
    assert len(policies) == 1
    assert "default-src 'none'" in str(policies[0])
    assert "http" not in str(policies[0])


def test_the_report_is_a_megabyte_of_scripts_and_little_else(page: str) -> None:
    assert 500_000 < len(page.encode()) < 1_500_000


def test_the_report_says_what_was_found(page: str) -> None:
    text = _Page(page).text
    assert "trained 12 routers" in text
    assert "Synthetic data" in text
    assert "The best trade, picked on selection, is alpha" in text
    assert "Partial" not in text


def test_every_trial_is_a_row_of_the_tables_data_with_its_whole_configuration(page: str) -> None:
    trials = _data(page, "trial-data")
    assert len(trials["rows"]) == len(trials["own"]) == 12
    assert all(len(row) == len(trials["columns"]) for row in trials["rows"])
    assert set(trials["digits"]) <= set(trials["columns"])
    assert trials["columns"].count("alpha") == 1


def test_a_configuration_is_what_all_have_and_what_is_ones_own(written: WriteRun) -> None:
    from analysis.fronts.survey import survey
    from analysis.report._trials import trial_table

    run = load_run(written("configured"))
    table = trial_table(run, survey(run, resamples=20))
    place = table["columns"].index("key")
    by_key = run.trials.set_index("key")["config"]
    for row, own in zip(table["rows"], table["own"], strict=True):
        complete = {**table["base"], **own}
        wanted = json.loads(by_key[row[place]])
        assert complete == _flat(wanted)


def _flat(tree: dict[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in tree.items():
        path = f"{before}{name}"
        found |= _flat(value, f"{path}.") if isinstance(value, dict) else {path: value}
    return found


PICTURES = {"front", "headroom", "use", "curve-score", "curve-cost"}


def test_every_figure_has_its_place_and_its_data(page: str) -> None:
    specs = _specs(page)
    places = {str(a.get("id")) for tag, a in _Page(page).elements if tag == "div"}
    assert set(specs) >= PICTURES
    assert set(specs) <= places
    assert '"point":"p0"' in specs["front"]
    assert '"seeds":"0, 1, 2"' in specs["front"]


def _data(page: str, name: str) -> dict[str, Any]:
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page, re.S)
    assert found is not None
    data: dict[str, Any] = json.loads(found.group(1))
    return data


def _specs(page: str) -> dict[str, str]:
    specs = _data(page, "specs")
    return {name: json.dumps(spec, separators=(",", ":")) for name, spec in specs.items()}


@pytest.mark.usefixtures("quick_reports")
def test_names_from_a_run_cannot_become_markup(written: WriteRun, tmp_path: Path) -> None:
    folder = written(
        "nasty",
        run=NASTY,
        names=("org/<img src=x>a", "org/base", "org/large"),
        notes=(NASTY,),
        status={(1, 1): "FAILED"},
        reasons={"FAILED": NASTY},
    )
    page = write_report(folder, tmp_path / "nasty.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "</textarea>" not in page
    assert NASTY in _Page(page).text
    assert "<img src=x" not in page
    assert "<img src=x>a" in _specs(page)["front"]


@pytest.mark.usefixtures("quick_reports")
def test_failed_and_interrupted_trials_are_announced(written: WriteRun, tmp_path: Path) -> None:
    folder = written(
        "broken",
        status={(0, 0): "FAILED", (3, 2): "INTERRUPTED"},
        reasons={"FAILED": "loss_task is NaN at step 7"},
    )
    text = _Page(write_report(folder, tmp_path / "r.html").read_text()).text
    assert "Partial: 1 trial interrupted." in text
    assert "1 trial failed (k0s0): loss_task is NaN at step 7." in text
    assert "2 points left out of the front" in text


@pytest.mark.usefixtures("quick_reports")
@pytest.mark.parametrize("task", ["stsb", "mnli", "cola"])
def test_every_kind_of_task_has_a_report_in_its_run_unless_told(
    task: str, written: WriteRun
) -> None:
    folder = written(f"reported-{task}", task=task)
    assert write_report(folder) == folder / "report.html"
    assert not list(folder.glob(".report*"))
    assert task.upper() in _Page((folder / "report.html").read_text()).text


def test_a_run_of_failed_trials_only_has_no_report(written: WriteRun, tmp_path: Path) -> None:
    status = {(point, seed): "FAILED" for point in range(4) for seed in range(3)}
    folder = written("all_failed", status=status, reasons={"FAILED": "NaN in task"})
    with pytest.raises(RunError, match="12 FAILED"):
        write_report(folder, tmp_path / "r.html")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("quick_reports")
def test_the_command_prints_where_the_report_lies_and_marks_costs_as_if(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "own.html"
    assert main([str(run_folder), "--out", str(out), "--costs", "mpc_seconds_as_if"]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    assert "Costs are as if" in _Page(out.read_text()).text


@pytest.mark.usefixtures("quick_reports")
@pytest.mark.parametrize("out", ["missing/own.html"])
def test_a_place_that_cannot_be_written_is_one_line_and_exit_2(
    out: str, written: WriteRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(two_points(written)), "--out", str(tmp_path / out)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_figures_are_valid_for_the_renderer_that_is_inlined(run_folder: Path) -> None:
    from analysis.figures.front import front_figure
    from analysis.fronts.survey import survey

    run = load_run(run_folder)
    chart = front_figure(run, survey(run, resamples=20)).to_dict()
    svg = vl_convert.vegalite_to_svg(chart, vl_version=report._vegalite_version())
    assert svg.count("large") >= 1
    assert "cost per example (units, constants)" in svg


def two_points(written: WriteRun) -> Path:
    """A run whose report has few pictures."""
    return written("two-points", points=POINTS[:2], seeds=(0,))


@pytest.mark.slow
@pytest.mark.usefixtures("quick_reports")
def test_the_command_writes_every_picture_and_csv_where_it_is_told(
    written: WriteRun, tmp_path: Path
) -> None:
    run_folder = two_points(written)
    out = ["--out", str(tmp_path / "r.html"), "--csv", str(tmp_path / "csv")]
    assert main([str(run_folder), *out, "--figures", str(tmp_path / "figures")]) == 0
    names = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert names >= PICTURES
    files = list((tmp_path / "figures").iterdir())
    assert {path.name for path in files} == {
        f"{name}.{ending}" for name in names for ending in ("svg", "png", "pdf")
    }
    assert all(path.stat().st_size > 1000 for path in files)
    assert {path.name for path in (tmp_path / "csv").iterdir()} == {
        *("trials.csv", "reports.csv", "examples.csv", "points.csv"),
    }
