"""Report and terminal of a run whose routers let several experts run for an example."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from analysis.figures.usage import route_colours, runs_figure, utilization_figure
from analysis.front import print_front
from analysis.fronts.survey import survey
from analysis.questions.utilization import utilization
from analysis.report.page import write_report
from analysis.runs.alternatives import alternatives
from analysis.runs.load import Run, load_run
from tests.analysis.path_runs import ROUTERS, world, write


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return load_run(write(tmp_path_factory.mktemp("report") / "r", world(examples=40)))


def test_the_picture_of_use_has_every_path_and_a_second_one_the_experts_that_run(run: Run) -> None:
    taken = survey(run, resamples=10)
    use = utilization(run)
    routes = str(utilization_figure(run, taken, use).to_dict())
    assert all(name in routes for name in alternatives(run).names)
    experts = runs_figure(run, taken, use)
    assert experts is not None
    drawn = str(experts.to_dict())
    assert all(name in drawn for name in run.expert_names)
    assert "logistic" not in drawn.replace("combine logistic", "")


def test_every_route_has_a_colour_of_its_own(run: Run) -> None:
    colours = route_colours(run)
    assert len(set(colours)) == len(alternatives(run).names)


def test_a_run_of_gates_has_no_second_picture(tmp_path: Path) -> None:
    run = load_run(write(tmp_path / "r", world(routers=ROUTERS[:1], examples=20)))
    assert runs_figure(run, survey(run, resamples=0), utilization(run)) is None


@pytest.mark.usefixtures("quick_reports")
def test_the_report_says_what_a_path_is_and_which_kind_a_point_is_of(run: Run) -> None:
    page = write_report(run).read_text()
    assert "its route is their path" in page
    assert "tiny + large, average" in page
    assert "<th" in page
    assert "router kind" in page
    assert "sequential" in page


def test_the_terminal_counts_the_experts_that_run(run: Run) -> None:
    text = io.StringIO()
    print_front(run, Console(file=text, width=160))
    assert "runs %" in text.getvalue()
    assert "router_kind" in text.getvalue()
