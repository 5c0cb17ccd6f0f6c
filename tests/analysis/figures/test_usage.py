"""Pictures of the use of experts and of paths."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.figures.usage import route_colours, runs_figure, utilization_figure
from analysis.fronts.survey import survey
from analysis.questions.utilization import utilization
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
