"""Report and terminal of a run whose routers let several experts run for an example."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from analysis.front import print_front
from analysis.report.page import write_report
from analysis.runs.load import Run, load_run
from tests.analysis.path_runs import world, write


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return load_run(write(tmp_path_factory.mktemp("report") / "r", world(examples=40)))


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
